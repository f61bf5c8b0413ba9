"""Writes small model folders with reference tensors: other dimensions and other random numbers than the vectors have.

The references are made the plain way: hooks look into one whole forward pass, and each new id comes from a forward
pass over everything before it, without a cache.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inference.engines.cxr_llava import loading as cxr_llava_loading
from inference.engines.cxr_llava.model import CXRLLaVA, CXRLLaVAConfig
from inference.engines.m4cxr import loading as m4cxr_loading
from inference.engines.m4cxr.model import M4CXR, M4CXRConfig

M4CXR_CONFIG = M4CXRConfig(
    image_size_px=56,
    vision_width=48,
    vision_layers=3,
    vision_heads=3,
    abstractor_width=40,
    abstractor_depth=2,
    query_count=9,
    text_width=40,
    text_layers=3,
    text_heads=5,
    text_key_value_heads=1,
    text_head_width=8,
    text_mlp_width=72,
    vocabulary_size=211,
    positions_max=512,
)
CXR_LLAVA_CONFIG = CXRLLaVAConfig(
    image_size_px=48,
    vision_width=48,
    vision_layers=2,
    vision_head_width=16,
    vision_mlp_width=80,
    vision_embedding_width=12,
    text_width=40,
    text_layers=3,
    text_heads=5,
    text_key_value_heads=5,
    text_head_width=8,
    text_mlp_width=72,
    vocabulary_size=211,
    positions_max=512,
)
NEW_IDS = 6


@torch.no_grad()
def write_m4cxr_references(folder: Path, seed: int) -> None:
    """Writes weights, golden.safetensors, an adapter with its own references, and preprocess_golden.safetensors."""
    model = _random(M4CXR(M4CXR_CONFIG), model_seed=seed)
    m4cxr_loading.save_model(model, folder)
    places = [model.image_marker] * M4CXR_CONFIG.query_count
    pixels = torch.randn(2, 3, 56, 56)
    ids = torch.tensor([[1, 7, 8, *places, 9, *places, 10, 11]])
    kept: dict[str, Tensor] = {}
    encoder, abstractor = model.vision_model.encoder, model.abstractor
    looked_at = {"vision_hidden_states.0": model.vision_model.embeddings}
    looked_at |= {f"vision_hidden_states.{number}": layer for number, layer in enumerate(encoder.layer, 1)}
    looked_at |= {"abstractor_s1_b1_nchw": abstractor.net[0].b1, "projector_output": abstractor}
    looked_at |= {f"abstractor_{name}_nchw": abstractor.net[n] for n, name in enumerate(("s1", "pool", "s2"))}
    with _kept(looked_at, kept):
        logits = model(pixels, ids)
    last = kept[f"vision_hidden_states.{len(encoder.layer)}"]
    one, steps = _continued(lambda ids: model(pixels, ids), ids)
    short = torch.tensor([[1, 12, *places, 13]])
    two, _ = _continued(lambda ids: model(pixels[:1], ids), short)
    text = torch.tensor([[1, 5, 6, 7]])
    gap = ids.shape[1] - short.shape[1]
    best, second = steps.topk(2).values.unbind(1)
    golden = kept | {
        "pixel_values": pixels,
        "input_ids": ids,
        "vision_last_hidden_state_layernormed": model.vision_model.layernorm(last),
        "vision_features": last[:, 1:],
        "inputs_embeds": model.embed(ids, kept["projector_output"]),
        "logits": logits,
        "generated_ids": one,
        "greedy_step_logits": steps,
        "greedy_top2_margin": best - second,
        "batch_pixel_values": torch.cat([pixels, pixels[:1]]),
        "batch_input_ids": torch.cat([ids, nn.functional.pad(short, (gap, 0))]),
        "batch_attention_mask": torch.cat(
            [torch.ones_like(ids), nn.functional.pad(torch.ones_like(short), (gap, 0))]
        ),
        "batch_generated_ids": torch.cat([one, two]),
        "text_only_input_ids": text,
        "text_only_generated_ids": _continued(lambda ids: model(None, ids), text)[0],
    }
    _save(golden, folder / "golden.safetensors")
    _save(_images("in_{}", "out_{}", 56, "RGB"), folder / "preprocess_golden.safetensors")
    _write_adapter(model, folder / "adapter", pixels, ids)


@torch.no_grad()
def write_cxr_llava_references(folder: Path, seed: int) -> None:
    """Writes weights and golden.safetensors, the preprocessing's references in it."""
    model = _random(CXRLLaVA(CXR_LLAVA_CONFIG), model_seed=seed)
    cxr_llava_loading.save_model(model, folder)
    pixels = torch.randn(1, 1, 48, 48)
    before, after = [1, 1, 7, 8], [9, 10, 11]
    ids = torch.tensor([[*before, *[model.image_marker] * CXR_LLAVA_CONFIG.patch_count, *after]])
    kept: dict[str, Tensor] = {}
    tower = model.vision_tower
    looked_at = {"vision_after_ln_pre": tower.ln_pre, "vision_transformer_out_LND": tower.transformer}
    looked_at |= {"vision_after_ln_post": tower.ln_post, "vision_features": tower}
    looked_at |= {"projector_output": model.mm_projector}
    with _kept(looked_at, kept):
        logits = model(pixels, ids)
    new_ids, steps = _continued(lambda ids: model(pixels, ids), ids)
    golden = kept | {
        "pixel_values": pixels,
        "input_ids": torch.tensor([[*before, model.image_marker, *after]]),
        "vision_transformer_out_LND": kept["vision_transformer_out_LND"].transpose(0, 1),
        "inputs_embeds": model.embed(ids, kept["projector_output"]),
        "logits": logits,
        "generated_ids": new_ids,
        "greedy_step_logits": steps,
    }
    _save(golden | _images("pre_in_{}", "pre_out_{}", 48, "L"), folder / "golden.safetensors")


def change_tensor(path: Path, name: str, change: Callable[[Tensor], Tensor]) -> None:
    """Changes one tensor of a safetensors file."""
    tensors = load_file(str(path))
    tensors[name] = change(tensors[name])
    _save(tensors, path)


def drop_tensor(path: Path, name: str) -> None:
    """Takes one tensor out of a safetensors file."""
    tensors = load_file(str(path))
    del tensors[name]
    _save(tensors, path)


def _random(model: nn.Module, model_seed: int) -> nn.Module:
    """Gives a model numbers so large that each part matters to its end."""
    torch.manual_seed(model_seed)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))
        else:
            fan_in = parameter[0].numel() if parameter.dim() != 3 else parameter.shape[-1]
            parameter.copy_(torch.randn_like(parameter) * 1.2 / fan_in**0.5)
    return model.eval()


@contextmanager
def _kept(modules: Mapping[str, nn.Module], kept: dict[str, Tensor]) -> Iterator[None]:
    """Keeps what modules give while this is open, by the names of references."""

    def keep(name: str) -> Callable:
        return lambda module, inputs, output: kept.update({name: output})

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    yield
    for hook in hooks:
        hook.remove()


def _continued(logits_of: Callable[[Tensor], Tensor], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Gives NEW_IDS likeliest ids (1, T), each after a pass over all before it, and their logits (T, W)."""
    steps = []
    for _ in range(NEW_IDS):
        steps.append(logits_of(ids)[0, -1])
        ids = torch.cat([ids, steps[-1].argmax()[None, None]], dim=1)
    return ids[:, -NEW_IDS:], torch.stack(steps)


def _write_adapter(model: M4CXR, folder: Path, pixels: Tensor, ids: Tensor) -> None:
    """Writes a LoRA of rank 2 on q_proj of layer 0, and what the model says with it; changes the model."""
    width = M4CXR_CONFIG.text_width
    a, b = torch.randn(2, width) * 0.2, torch.randn(width, 2) * 0.2
    layer = "language_model.model.layers.0.self_attn.q_proj"
    model.get_submodule(layer).weight += 4.0 * b @ a
    folder.mkdir()
    halves = {f"base_model.model.{layer}.lora_{half}.weight": tensor for half, tensor in (("A", a), ("B", b))}
    _save(halves, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    new_ids, _ = _continued(lambda ids: model(pixels, ids), ids)
    _save(
        {"logits_with_adapter": model(pixels, ids), "generated_ids_with_adapter": new_ids},
        folder / "golden_adapter.safetensors",
    )


def _images(name_in: str, name_out: str, side_px: int, mode: str) -> dict[str, Tensor]:
    """Draws grey images and prepares them as the two processors do: bicubic for "RGB", Lanczos for "L"."""
    mean, spread = (0.5307, 0.2583) if mode == "RGB" else (0.5518136078431373, 0.3821719215686275)
    resample = Image.Resampling.BICUBIC if mode == "RGB" else Image.Resampling.LANCZOS
    made: dict[str, Tensor] = {}
    for number, (rows, columns) in enumerate(((70, 91), (99, 60))):
        grey = torch.randint(0, 256, (rows, columns), dtype=torch.uint8)
        short = min(rows, columns)
        size = (int(side_px * columns / short), int(side_px * rows / short))
        whole = np.asarray(Image.fromarray(grey.numpy()).resize(size, resample))
        top, left = (whole.shape[0] - side_px) // 2, (whole.shape[1] - side_px) // 2
        square = whole[top : top + side_px, left : left + side_px] * (1 / 255)
        normalised = (square.astype(np.float32) - np.float32(mean)) / np.float32(spread)
        made[name_in.format(number)] = grey
        made[name_out.format(number)] = torch.from_numpy(normalised)[None]
    return made if mode == "RGB" else {k: v[None] if "out" in k else v for k, v in made.items()}


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, str(path))
