"""Weights on disk become a model, with every tensor accounted for; and a model becomes weights on disk.

The modules here are called as in the published checkpoint, so no name is changed on the way.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inference.engines.adapters import AttachedAdapters
from inference.engines.cxr_llava.config import config_from, config_sections
from inference.engines.cxr_llava.draft import CONVERSATION_IDS_MAX
from inference.engines.cxr_llava.model import CXRLLaVA, CXRLLaVAConfig, text_config
from inference.engines.dimensions import found_in
from inference.engines.filling import fill
from inference.engines.memory import TextShape
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import Shapes, account

UNUSED_TENSORS = frozenset({"vision_tower.proj"})
"""In the published checkpoint but no part of the computation; the only one that may be absent."""


TEXT_LAYERS = "llama.layers."
"""What the names of the language model's layers begin with."""

_WRAPPER = "base_model.model."
"""What peft puts before the names of an adapter's tensors."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, with the adapters that are attached to it."""

    model: CXRLLaVA
    adapters: AttachedAdapters


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names as stored to those of the published checkpoint: an adapter's have a wrapper before them."""
    return {name: name.removeprefix(_WRAPPER) for name in names}


def config_of(sources: Sources) -> CXRLLaVAConfig:
    """Finds a model's dimensions in its config.json and its tensors. Raises ValueError if these are no CXR-LLaVA's."""
    return found_in(sources, config_from)


def text_shape(config: CXRLLaVAConfig, answer_tokens_max: int) -> TextShape:
    """Says how much of the language model's memory one case takes at its worst: one conversation about one image."""
    asked = CONVERSATION_IDS_MAX + config.patch_count + answer_tokens_max
    conversation = min(config.positions_max, asked)
    return TextShape(
        layers=TEXT_LAYERS,
        layer_count=config.text_layers,
        key_value_heads=config.text_key_value_heads,
        head_width=config.text_head_width,
        width=config.text_width,
        mlp_width=config.text_mlp_width,
        tokens_at_once=conversation,
        tokens_kept=conversation,
    )


def load_model(model_folder: Path, place: Place = IN_FLOAT32_ON_CPU) -> LoadedModel:
    """Finds weights in a folder and loads them; see `load_sources`."""
    return load_sources(find_sources(model_folder, published_names), place)


def accounted(sources: Sources) -> CXRLLaVA:
    """Makes the model that weights are for, without numbers, and accounts for every one of their tensors.

    Raises:
        ValueError: as `load_sources`.
    """
    with torch.device("meta"):
        model = CXRLLaVA(config_of(sources))
    account("CXR-LLaVA", sources.folder, tensor_shapes(model), sources.shapes, unused=UNUSED_TENSORS)
    return model


def load_sources(sources: Sources, place: Place) -> LoadedModel:
    """Loads weights, every one accounted for, and lays adapters over them.

    Args:
        sources: found by `published_names`, with config.json in their folder.

    Raises:
        ValueError: if a file or a tensor is missing, left over or does not fit; the message names them.
    """
    model = accounted(sources)
    adapters = fill(model, sources, place, spelling=str, text_layers=TEXT_LAYERS, model_name="CXR-LLaVA")
    # The one buffer that no file holds; built on the meta device it has no numbers yet.
    model.llama.rotary_emb = LlamaRotaryEmbedding(text_config(model.config)).to(place.device)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    sources.check_unchanged()
    return LoadedModel(model.eval().requires_grad_(False), adapters)


def save_model(model: CXRLLaVA, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes model.safetensors and config.json under the published checkpoint's names and sections."""
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(config_sections(model.config), indent=2) + "\n", encoding="utf-8"
    )


def tensor_shapes(model: CXRLLaVA) -> Shapes:
    """Lists the tensors that a model is made of, by their published names."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
