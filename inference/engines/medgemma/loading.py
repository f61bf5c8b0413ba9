"""A folder becomes a MedGemma: transformers' own classes, with every tensor and every token accounted for.

Nothing is fetched and no code of the folder is run. transformers renames the published tensors,
and leaves random what it does not find; it makes up a vocabulary where there is none. Here these are errors.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.utils.logging import disable_progress_bar

from inference.engines.adapters import AttachedAdapters
from inference.engines.filling import fill
from inference.engines.medgemma.model import MedGemma
from inference.engines.medgemma.prompts import (
    BEGIN,
    END_OF_TURN,
    IMAGE,
    IMAGES_OF_CURRENT_MAX,
    IMAGES_OF_PRIOR_MAX,
    INDICATION_CHARACTERS_MAX,
    PRIOR_REPORT_CHARACTERS_MAX,
    START_OF_IMAGE,
    START_OF_TURN,
    START_OF_USER_TURN,
    SYSTEM_SENTENCE,
)
from inference.engines.memory import TextShape
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import account, by_x, existing, json_object

_MODEL_TYPE = "gemma3"


TEXT_LAYERS = "model.language_model.layers."
"""What the names of the language model's layers begin with."""

_SPELT_OR_NOT = ("base_model", "model", "vision_model")
"""Parts of names that transformers has moved, and peft's wrapper; no two tensors differ in these alone."""

_QUESTIONS_TOKENS = 1000
"""Of both questions and the system's sentence, more than they take."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, with the adapters that are attached to it."""

    model: MedGemma
    adapters: AttachedAdapters


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names as stored to one spelling of the several that transformers reads."""
    return {name: spelling(name) for name in names}


def spelling(name: str) -> str:
    """Spells a name without the parts that come and go with versions."""
    return ".".join(part for part in name.split(".") if part not in _SPELT_OR_NOT)


def load_model(model_folder: Path, place: Place = IN_FLOAT32_ON_CPU) -> LoadedModel:
    """Finds weights in a folder and loads them; see `load_sources`."""
    check_config(model_folder)
    return load_sources(find_sources(model_folder, published_names), place)


def check_config(model_folder: Path) -> None:
    """Raises ValueError if a folder holds no MedGemma, by its config.json, or an adapter beside it."""
    if not model_folder.is_dir():
        raise ValueError(f"{model_folder} is no folder; model_folder must be where MedGemma's files are")
    config_file = existing(model_folder / "config.json")
    model_type = json_object(config_file).get("model_type")
    if model_type != _MODEL_TYPE:
        raise ValueError(f'{config_file}: model_type is "{model_type}", expected "{_MODEL_TYPE}"')
    if (model_folder / "adapter_config.json").exists():
        # transformers would lay it over the weights unasked.
        raise ValueError(
            f"{model_folder}/adapter_config.json: an adapter lies beside the weights; give it a folder of its own and "
            "name that as adapter_folder"
        )


def text_shape(model_folder: Path, answer_tokens_max: int) -> TextShape:
    """Says how much of the language model's memory one case takes at its worst: one conversation of two turns.

    Texts of a case are bounded in characters, and no character takes more than a token. That some layers keep a
    window only is left out of account.
    """
    config = Gemma3Config.from_pretrained(model_folder, local_files_only=True)
    text = config.get_text_config()
    images = (IMAGES_OF_CURRENT_MAX + IMAGES_OF_PRIOR_MAX) * config.mm_tokens_per_image
    words = PRIOR_REPORT_CHARACTERS_MAX + INDICATION_CHARACTERS_MAX + _QUESTIONS_TOKENS
    conversation = min(text.max_position_embeddings, images + words + 2 * answer_tokens_max)
    return TextShape(
        layers=spelling(TEXT_LAYERS),
        layer_count=text.num_hidden_layers,
        key_value_heads=text.num_key_value_heads,
        head_width=text.head_dim,
        width=text.hidden_size,
        mlp_width=text.intermediate_size,
        tokens_at_once=conversation,
        tokens_kept=conversation,
    )


def load_sources(sources: Sources, place: Place) -> LoadedModel:
    """Loads the weights and the processor, and lays adapters over the weights.

    transformers reads into the machine's memory; what becomes smaller does so there, before it goes to a card.

    Args:
        sources: as published: config.json, weights, tokenizer.json, tokenizer_config.json, preprocessor_config.json,
            processor_config.json and the chat template.

    Raises:
        ValueError: if a file, a tensor or a token is missing, left over or does not fit; the message names it.
    """
    network = _network(sources, place.dtype)
    adapters = fill(
        network,
        replace(sources, base={}),
        replace(place, device="cpu"),
        spelling=spelling,
        text_layers=TEXT_LAYERS,
        model_name="MedGemma",
    )
    network.eval().requires_grad_(False)
    model = MedGemma(network.to(place.device), _processor(sources.folder))
    _check_fit(sources.folder, model)
    _check_template(sources.folder, model)
    sources.check_unchanged()
    return LoadedModel(model, adapters)


def _network(sources: Sources, dtype: torch.dtype) -> Gemma3ForConditionalGeneration:
    disable_progress_bar()
    network, loaded = Gemma3ForConditionalGeneration.from_pretrained(
        sources.folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=sources.files[0].suffix == ".safetensors",
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    account(
        "MedGemma",
        sources.folder,
        needed=dict.fromkeys(loaded["missing_keys"], ()),
        stored={},
        left_over=loaded["unexpected_keys"],
        misshapen=[
            *(
                f"{name} is {by_x(stored)}, expected {by_x(needed)}"
                for name, stored, needed in sorted(loaded["mismatched_keys"])
            ),
            *loaded["error_msgs"],
        ],
    )
    # Contiguous, or torch copies the output layer for the sum: 1.3 GB in the published model.
    network.lm_head.register_forward_pre_hook(lambda _, hidden: (hidden[0].contiguous(),))
    return network


def _processor(model_folder: Path) -> Gemma3Processor:
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        existing(model_folder / name)
    try:
        # PIL's resizing, with which the model was published, also where torchvision would be there.
        return Gemma3Processor.from_pretrained(
            model_folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except AttributeError as error:
        raise ValueError(
            f"{model_folder}/tokenizer_config.json names no tokens for images: {error}; fetch it again"
        ) from error


def _check_fit(model_folder: Path, model: MedGemma) -> None:
    """Holds that the processor makes the tokens and the pixels that the network was built for."""
    config, processor = model.network.config, model.processor
    tokenizer, pictures = processor.tokenizer, processor.image_processor
    for token in (BEGIN, START_OF_TURN, END_OF_TURN, START_OF_IMAGE, tokenizer.image_token):
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise ValueError(f"{model_folder}: the tokenizer has no token {token}; it is not MedGemma's")
    if not isinstance(pictures, Gemma3ImageProcessorPil):
        raise ValueError(
            f"{model_folder}/preprocessor_config.json is for {type(pictures).__name__}, expected Gemma 3's"
        )
    side_px = config.vision_config.image_size
    for what, found, expected in (
        ("image tokens", _image_ids(tokenizer), _image_ids(config)),
        ("tokens an image", processor.image_seq_length, config.mm_tokens_per_image),
        ("image size", (pictures.size.height, pictures.size.width), (side_px, side_px)),
    ):
        if found != expected:
            raise ValueError(f"{model_folder}: {what}: the processor has {found}, config.json {expected}")
    if len(tokenizer) > config.get_text_config().vocab_size:
        raise ValueError(
            f"{model_folder}: the tokenizer has {len(tokenizer)} tokens, "
            f"the model knows {config.get_text_config().vocab_size}"
        )


def _check_template(model_folder: Path, model: MedGemma) -> None:
    """Holds that the chat template writes turns as the engine reads them back."""
    if not model.processor.chat_template:
        raise ValueError(f"{model_folder} holds no chat template (chat_template.jinja); fetch it again")
    rendered = model.render([f"One:{IMAGE}Which?", "Why?"], ["None."])
    user, answer = START_OF_USER_TURN, f"{START_OF_TURN}model\n"
    first = (BEGIN, user, SYSTEM_SENTENCE, "One:", START_OF_IMAGE, "Which?", END_OF_TURN)
    later = (answer, "None.", END_OF_TURN, user, "Why?", END_OF_TURN, answer)
    if not re.fullmatch(r"\s*".join(map(re.escape, first + later)), rendered):
        raise ValueError(f"{model_folder}: its chat template is not MedGemma's; it writes {rendered!r}")


def _image_ids(whose: Any) -> tuple[int, int, int]:
    """Gives the ids that begin, are and end an image, by the tokenizer or by the configuration."""
    return whose.boi_token_id, whose.image_token_id, whose.eoi_token_id
