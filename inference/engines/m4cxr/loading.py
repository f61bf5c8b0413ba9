"""Weights on disk become a model, with every tensor accounted for; and a model becomes weights on disk.

What the published checkpoint looks like inside is known only in part, and transformers 5 renamed the vision
encoder's attention. So names are brought to one spelling first (the published one), then compared with what
the model needs (`inference.engines.stored`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding

from inference.engines.adapters import AttachedAdapters
from inference.engines.dimensions import found_in
from inference.engines.filling import fill
from inference.engines.m4cxr.config import config_from, config_sections
from inference.engines.m4cxr.draft import CONVERSATION_TOKENS_MAX
from inference.engines.m4cxr.model import M4CXR, M4CXRConfig, text_config
from inference.engines.memory import TextShape
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.report_words import FINDING_NAMES
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import account

UNUSED_TENSORS = frozenset(
    {
        "vision_model.layernorm.weight",
        "vision_model.layernorm.bias",
        "vision_model.embeddings.mask_token",
    }
)
"""In the published checkpoint but no part of the computation; the only ones that may be absent."""

_VISION_RENAMES = (
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
)
_WRAPPERS = ("module.", "base_model.model.", "base_model.", "model.")
_ANCHORS = (
    ("embeddings.patch_embeddings.projection.weight", "vision_model."),
    ("net.0.b1.conv1.conv.weight", "abstractor."),
    ("embed_tokens.weight", "language_model.model."),
    ("lm_head.weight", "language_model."),
)
"""Unmistakable ends of names, and what the part before them is called in the published checkpoint."""

TEXT_LAYERS = "language_model.model.layers."
"""What the names of the language model's layers begin with."""

_GROUNDING_TOKENS = 128
"""Of a question for a place, the image left out: 68 with Mistral's vocabulary."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, with the adapters that are attached to it."""

    model: M4CXR
    adapters: AttachedAdapters


def upstream_name(name: str) -> str:
    """Spells a tensor's name as the published checkpoint does, whichever way transformers spells it."""
    if name.startswith("vision_model."):
        for renamed, published in _VISION_RENAMES:
            name = name.replace(renamed, published)
    return name


def config_of(sources: Sources) -> M4CXRConfig:
    """Finds a model's dimensions in its config.json and its tensors. Raises ValueError if these are no M4CXR's."""
    return found_in(sources, config_from)


def text_shape(config: M4CXRConfig, answer_tokens_max: int) -> TextShape:
    """Says how much of the language model's memory one case takes at its worst.

    That is when all thirteen findings were named: the questions for the places on one film are answered while the
    longest conversation of the report is kept.
    """
    conversation = min(config.positions_max, CONVERSATION_TOKENS_MAX + 2 * answer_tokens_max)
    question = config.query_count + _GROUNDING_TOKENS + answer_tokens_max
    return TextShape(
        layers=TEXT_LAYERS,
        layer_count=config.text_layers,
        key_value_heads=config.text_key_value_heads,
        head_width=config.text_head_width,
        width=config.text_width,
        mlp_width=config.text_mlp_width,
        tokens_at_once=conversation,
        tokens_kept=conversation + len(FINDING_NAMES) * min(config.positions_max, question),
    )


def load_model(
    model_folder: Path, place: Place = IN_FLOAT32_ON_CPU, *, adapter_folder: Path | None = None
) -> LoadedModel:
    """Finds weights in a folder and loads them, an adapter merged into them if there is one; see `load_sources`."""
    return load_sources(find_sources(model_folder, published_names, adapter_folder=adapter_folder), place)


def accounted(sources: Sources) -> M4CXR:
    """Makes the model that weights are for, without numbers, and accounts for every one of their tensors.

    Raises:
        ValueError: as `load_sources`.
    """
    with torch.device("meta"):
        model = M4CXR(config_of(sources))
    needed = {upstream_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    account("M4CXR", sources.folder, needed, sources.shapes, unused=UNUSED_TENSORS)
    return model


def load_sources(sources: Sources, place: Place) -> LoadedModel:
    """Loads weights, every one accounted for, and lays adapters over them.

    Args:
        sources: found by `published_names`, with config.json in their folder. An adapter may hold other parts in full
            beside LoRA, as upstream training writes them.

    Raises:
        ValueError: if a file or a tensor is missing, left over or does not fit; the message names them.
    """
    model = accounted(sources)
    adapters = fill(
        model, sources, place, spelling=upstream_name, text_layers=TEXT_LAYERS, model_name="M4CXR"
    )
    # The one buffer that no file holds; built on the meta device it has no numbers yet.
    model.language_model.model.rotary_emb = MistralRotaryEmbedding(text_config(model.config)).to(place.device)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    sources.check_unchanged()
    return LoadedModel(model.eval().requires_grad_(False), adapters)


def save_model(model: M4CXR, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes model.safetensors and config.json under the published checkpoint's names and sections."""
    tensors = {
        upstream_name(name): tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(config_sections(model.config), indent=2) + "\n", encoding="utf-8"
    )


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names as stored to those of the published checkpoint; leaves out peft's `original_module` twins.

    Wrappers in front are dropped where they stand before every name; peft's words inside are dropped; parts
    with other names are known by the unmistakable end of one of their tensors.
    """
    plain = {name: name for name in names if ".original_module." not in name}
    for old in plain:
        plain[old] = old.replace("modules_to_save.default.", "").replace("base_layer.", "")
    while plain and (wrapper := _common_wrapper(plain.values())):
        plain = {old: name.removeprefix(wrapper) for old, name in plain.items()}
    parts = {
        name.removesuffix(anchor): part
        for name in plain.values()
        for anchor, part in _ANCHORS
        if name.endswith(anchor)
    }
    by_length = sorted(parts, key=len, reverse=True)
    for old, name in plain.items():
        prefix = next((prefix for prefix in by_length if name.startswith(prefix)), None)
        plain[old] = upstream_name(name if prefix is None else parts[prefix] + name.removeprefix(prefix))
    return plain


def _common_wrapper(names: Iterable[str]) -> str:
    """Gives the wrapper that stands before every one of `names`, or ""."""
    every = tuple(names)
    return next((wrapper for wrapper in _WRAPPERS if all(name.startswith(wrapper) for name in every)), "")
