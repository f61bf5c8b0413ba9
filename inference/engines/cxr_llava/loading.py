"""Weights on disk become a model, with every tensor accounted for; and a model becomes weights on disk.

The modules here are called as in the published checkpoint, so no name is changed on the way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inference.engines.cxr_llava.config import config_from, config_sections
from inference.engines.cxr_llava.model import CXRLLaVA, text_config
from inference.engines.stored import (
    Shapes,
    StoredTensor,
    account,
    digest_of,
    existing,
    json_object,
    opened,
    stored_tensors,
    weight_files,
)

UNUSED_TENSORS = frozenset({"vision_tower.proj"})
"""In the published checkpoint but no part of the computation; the only one that may be absent."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, and the digest of what it was loaded from ("sha256:<hex>")."""

    model: CXRLLaVA
    digest: str


def load_model(model_folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Loads weights and says what they were.

    The model is built without memory and each tensor read straight into place, so that the peak is one copy
    of the weights and the largest tensor.

    Args:
        model_folder: config.json and model.safetensors, or shards with model.safetensors.index.json.
        dtype: what all weights become, however they are stored.

    Raises:
        ValueError: if a file or a tensor is missing, left over or does not fit; the message names them.
    """
    files = weight_files(model_folder)
    tensors = stored_tensors(files, lambda names: {name: name for name in names})
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = config_from(json_object(existing(model_folder / "config.json")), shapes)
    with torch.device("meta"):
        model = CXRLLaVA(config)
    account("CXR-LLaVA", model_folder, tensor_shapes(model), shapes, unused=UNUSED_TENSORS)
    _fill(model, tensors, device, dtype)
    return LoadedModel(model.eval().requires_grad_(False), digest_of(files))


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


def _fill(model: CXRLLaVA, tensors: Mapping[str, StoredTensor], device: str, dtype: torch.dtype) -> None:
    """Puts the stored tensors in the place of the model's empty ones."""
    with opened((tensor.path for tensor in tensors.values()), device) as read:
        filled = {
            name: read(tensors[name]).to(dtype)
            if name in tensors
            else torch.zeros(empty.shape, dtype=dtype, device=device)
            for name, empty in model.state_dict().items()
        }
    model.load_state_dict(filled, strict=True, assign=True)
    # The one buffer that no file holds; built on the meta device it has no numbers yet.
    model.llama.rotary_emb = LlamaRotaryEmbedding(text_config(model.config)).to(device)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
