"""A folder becomes a MedGemma: transformers' own classes, with every tensor and every token accounted for.

Nothing is fetched, no pickle is read and no code of the folder is run. transformers renames the published tensors,
and leaves random what it does not find; it makes up a vocabulary where there is none. Here these are errors.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.utils.logging import disable_progress_bar

from inference.engines.medgemma.model import MedGemma
from inference.engines.medgemma.prompts import (
    BEGIN,
    END_OF_TURN,
    IMAGE,
    START_OF_IMAGE,
    START_OF_TURN,
    START_OF_USER_TURN,
    SYSTEM_SENTENCE,
)
from inference.engines.stored import (
    account,
    by_x,
    digest_of,
    existing,
    json_object,
    stored_tensors,
    weight_files,
)

_MODEL_TYPE = "gemma3"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, and the digest of what it was loaded from ("sha256:<hex>")."""

    model: MedGemma
    digest: str


def load_model(model_folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Loads the weights and the processor, and says what the weights were.

    Args:
        model_folder: as published: config.json, model.safetensors or shards with their index, tokenizer.json,
            tokenizer_config.json, preprocessor_config.json, processor_config.json and the chat template.
        dtype: what all weights become, however they are stored.

    Raises:
        ValueError: if a file, a tensor or a token is missing, left over or does not fit; the message names it.
    """
    if not model_folder.is_dir():
        raise ValueError(f"{model_folder} is no folder; model_folder must be where MedGemma's files are")
    config_file = existing(model_folder / "config.json")
    model_type = json_object(config_file).get("model_type")
    if model_type != _MODEL_TYPE:
        raise ValueError(f'{config_file}: model_type is "{model_type}", expected "{_MODEL_TYPE}"')
    files = weight_files(model_folder)
    # Only the headers, and before transformers reads the rest: damaged files and quantised weights are named here.
    stored_tensors(files, _published_names)
    network = _network(model_folder, dtype)
    model = MedGemma(network.to(device), _processor(model_folder))
    _check_fit(model_folder, model)
    _check_template(model_folder, model)
    return LoadedModel(model, digest_of(files))


def _published_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names as stored to one spelling of the several that transformers reads, to find what is there twice."""
    return {
        name: ".".join(part for part in name.split(".") if part not in ("model", "vision_model"))
        for name in names
    }


def _network(model_folder: Path, dtype: torch.dtype) -> Gemma3ForConditionalGeneration:
    disable_progress_bar()
    network, loaded = Gemma3ForConditionalGeneration.from_pretrained(
        model_folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    account(
        "MedGemma",
        model_folder,
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
    return network.eval().requires_grad_(False)


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
