"""Weights on disk become a model, with every tensor accounted for; and a model becomes weights on disk.

What the published checkpoint looks like inside is known only in part, and transformers 5 renamed the vision
encoder's attention. So names are brought to one spelling first (the published one), then compared with what
the model needs (`inference.engines.stored`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding

from inference.engines.m4cxr.config import config_from, config_sections
from inference.engines.m4cxr.model import M4CXR, text_config
from inference.engines.stored import (
    StoredTensor,
    account,
    by_x,
    digest_of,
    existing,
    json_object,
    opened,
    some,
    stored_tensors,
    weight_files,
)

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
_LORA_NAME = re.compile(r"^(?P<layer>.+)\.lora_(?P<half>[AB])(\.default)?\.weight$")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to compute, and the digest of what it was loaded from ("sha256:<hex>")."""

    model: M4CXR
    digest: str


def upstream_name(name: str) -> str:
    """Spells a tensor's name as the published checkpoint does, whichever way transformers spells it."""
    if name.startswith("vision_model."):
        for renamed, published in _VISION_RENAMES:
            name = name.replace(renamed, published)
    return name


def load_model(
    model_folder: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    adapter_folder: Path | None = None,
) -> LoadedModel:
    """Loads weights, merges an adapter into them if there is one, and says what they were.

    The model is built without memory and each tensor read straight into place, so that the peak is one copy
    of the weights and the largest tensor.

    Args:
        model_folder: config.json and model.safetensors, or shards with model.safetensors.index.json.
        dtype: what all weights become, however they are stored.
        adapter_folder: adapter_config.json and adapter_model.safetensors as peft writes them: LoRA on any
            matrices, and other parts in full.

    Raises:
        ValueError: if a file or a tensor is missing, left over or does not fit; the message names them.
    """
    sources = [(model_folder, weight_files(model_folder))]
    if adapter_folder is not None:
        sources.append((adapter_folder, [existing(adapter_folder / "adapter_model.safetensors")]))
    chosen: dict[str, StoredTensor] = {}
    low_ranks: dict[str, list[_LowRank]] = {}
    files: list[Path] = []
    for folder, folder_files in sources:
        full, halves = _split_lora(stored_tensors(folder_files, published_names))
        chosen |= full
        files += folder_files
        if halves:
            files.append(folder / "adapter_config.json")
            for name, low_rank in _low_ranks(halves, folder).items():
                low_ranks.setdefault(name, []).append(low_rank)

    config = config_from(
        json_object(existing(model_folder / "config.json")),
        {name: tensor.shape for name, tensor in chosen.items()},
    )
    with torch.device("meta"):
        model = M4CXR(config)
    _account(model, chosen, low_ranks, model_folder)
    _fill(model, chosen, low_ranks, device, dtype)
    return LoadedModel(model.eval().requires_grad_(False), digest_of(files))


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


@dataclass(frozen=True, slots=True)
class _LowRank:
    """One LoRA layer: `scale` times B (out, rank) times A (rank, in) is added to the weight."""

    a: StoredTensor
    b: StoredTensor
    scale: float


def _split_lora(
    tensors: Mapping[str, StoredTensor],
) -> tuple[dict[str, StoredTensor], dict[str, dict[str, StoredTensor]]]:
    """Parts full tensors from LoRA halves; these by the weight they change, then "A" or "B"."""
    full: dict[str, StoredTensor] = {}
    halves: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        match = _LORA_NAME.match(name)
        if match is None:
            full[name] = tensor
        else:
            halves.setdefault(f"{match['layer']}.weight", {})[match["half"]] = tensor
    return full, halves


def _low_ranks(halves: Mapping[str, Mapping[str, StoredTensor]], folder: Path) -> dict[str, _LowRank]:
    """Pairs LoRA halves and gives them their scale, alpha / rank, by adapter_config.json.

    Raises:
        ValueError: if a half is alone, or the adapter is of a kind whose merging is another sum.
    """
    lonely = sorted(name for name, both in halves.items() if set(both) != {"A", "B"})
    if lonely:
        raise ValueError(f"{folder}: only one of lora_A and lora_B is there for {some(lonely)}")
    settings = json_object(existing(folder / "adapter_config.json"))
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    unknown = [
        key for key in ("use_dora", "use_rslora", "alpha_pattern", "rank_pattern") if settings.get(key)
    ]
    if unknown or not isinstance(rank, int) or not isinstance(alpha, (int, float)):
        raise ValueError(
            f"{folder}/adapter_config.json: r is {rank!r}, lora_alpha {alpha!r}, and set are {unknown}; "
            "only plain LoRA with both numbers can be merged"
        )
    other_rank = sorted(name for name, both in halves.items() if both["A"].shape[0] != rank)
    if other_rank:
        raise ValueError(f"{folder}: adapter_config.json says rank {rank}, not so for {some(other_rank)}")
    return {name: _LowRank(both["A"], both["B"], alpha / rank) for name, both in halves.items()}


def _account(
    model: M4CXR,
    chosen: Mapping[str, StoredTensor],
    low_ranks: Mapping[str, list[_LowRank]],
    model_folder: Path,
) -> None:
    needed = {upstream_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    account(
        "M4CXR",
        model_folder,
        needed,
        {name: tensor.shape for name, tensor in chosen.items()},
        unused=UNUSED_TENSORS,
        left_over=set(low_ranks) - set(needed),
        misshapen=[
            f"LoRA of {name} makes {by_x((part.b.shape[0], part.a.shape[1]))}, expected {by_x(needed[name])}"
            for name in sorted(set(low_ranks) & set(needed))
            for part in low_ranks[name]
            if (part.b.shape[0], part.a.shape[1]) != needed[name] or part.b.shape[1] != part.a.shape[0]
        ],
    )


def _fill(
    model: M4CXR,
    chosen: Mapping[str, StoredTensor],
    low_ranks: Mapping[str, list[_LowRank]],
    device: str,
    dtype: torch.dtype,
) -> None:
    """Puts the stored tensors in the place of the model's empty ones, adapters merged."""
    with opened((tensor.path for tensor in _all_of(chosen, low_ranks)), device) as read:
        filled: dict[str, Tensor] = {}
        for name, empty in model.state_dict().items():
            published = upstream_name(name)
            if published not in chosen:
                filled[name] = torch.zeros(empty.shape, dtype=dtype, device=device)
                continue
            weight = read(chosen[published])
            for part in low_ranks.get(published, ()):
                # In float32 before casting: a rank-8 change is small beside a bfloat16 weight's last bit.
                weight = weight.float() + part.scale * (read(part.b).float() @ read(part.a).float())
            filled[name] = weight.to(dtype)
    model.load_state_dict(filled, strict=True, assign=True)
    # The one buffer that no file holds; built on the meta device it has no numbers yet.
    model.language_model.model.rotary_emb = MistralRotaryEmbedding(text_config(model.config)).to(device)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def _all_of(
    chosen: Mapping[str, StoredTensor], low_ranks: Mapping[str, list[_LowRank]]
) -> Iterable[StoredTensor]:
    yield from chosen.values()
    for parts in low_ranks.values():
        for part in parts:
            yield from (part.a, part.b)


def _common_wrapper(names: Iterable[str]) -> str:
    """Gives the wrapper that stands before every one of `names`, or ""."""
    every = tuple(names)
    return next((wrapper for wrapper in _WRAPPERS if all(name.startswith(wrapper) for name in every)), "")
