"""A model's dimensions: found in its tensors and its config.json, and written to one."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.dimensions import Section, count_of, section_of, shape_of
from inference.engines.stored import Shapes

_NEEDED: Mapping[str, Mapping[str, Any]] = {
    "": {"clip_quick_gelu": False},
    "llama": {"hidden_act": "silu", "tie_word_embeddings": False},
}
"""What this model computes, by section; config.json may not say, but not say otherwise."""

_ATTENTION = "llama.layers.0.self_attn."
_BLOCK = "vision_tower.transformer.resblocks.0."

_shape = partial(shape_of, model="a CXR-LLaVA")


def config_from(sections: Mapping[str, Any], shapes: Shapes) -> CXRLLaVAConfig:
    """Finds the dimensions: from the tensors where they can be seen there, else from config.json's sections.

    What neither says is as in the published model.

    Raises:
        ValueError: if a tensor that tells dimensions is missing, or config.json asks for another computation.
    """
    top = Section("", sections)
    vision, grey, text = (
        section_of(sections, name) for name in ("clip_vision_cfg", "image_preprocess_cfg", "llama")
    )
    for section in (top, text):
        section.check_needed(_NEEDED[section.name])
    published = CXRLLaVAConfig()
    query_rows, key_rows = (_shape(shapes, f"{_ATTENTION}{part}_proj.weight", 2)[0] for part in "qk")
    return CXRLLaVAConfig(
        **_visible(shapes),
        pixel_mean=grey.told("mean", published.pixel_mean),
        pixel_spread=grey.told("std", published.pixel_spread),
        vision_head_width=vision.told("head_width", published.vision_head_width),
        vision_embedding_width=top.told("clip_embed_dim", published.vision_embedding_width),
        **text.language(query_rows, key_rows, published),
    )


def config_sections(config: CXRLLaVAConfig) -> dict[str, Any]:
    """Says the dimensions in the sections and words of the published config.json."""
    return {
        "model_type": "CXR-LLAVA",
        "architectures": ["CXRLLAVAModel"],
        "clip_embed_dim": config.vision_embedding_width,
        "clip_quick_gelu": False,
        "clip_vision_cfg": {
            "image_size": config.image_size_px,
            "patch_size": config.patch_size_px,
            "width": config.vision_width,
            "layers": config.vision_layers,
            "head_width": config.vision_head_width,
        },
        "image_preprocess_cfg": {"mean": config.pixel_mean, "std": config.pixel_spread},
        "mm_projector_dim": config.vision_width,
        "llama": {
            "model_type": "llama",
            "hidden_act": "silu",
            "vocab_size": config.vocabulary_size,
            "hidden_size": config.text_width,
            "intermediate_size": config.text_mlp_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.text_heads,
            "num_key_value_heads": config.text_key_value_heads,
            "head_dim": config.text_head_width,
            "rms_norm_eps": config.text_norm_epsilon,
            "rope_theta": config.rope_theta,
            "rope_scaling": None,
            "max_position_embeddings": config.positions_max,
            "bos_token_id": config.begin_id,
            "eos_token_id": config.end_id,
            "tie_word_embeddings": False,
        },
    }


def _visible(shapes: Shapes) -> dict[str, int]:
    """Reads the dimensions that tensors show, by the names of CXRLLaVAConfig."""
    positions, vision_width = _shape(shapes, "vision_tower.positional_embedding", 2)
    patch_size_px = _shape(shapes, "vision_tower.conv1.weight", 4)[-1]
    vocabulary_size, text_width = _shape(shapes, "llama.embed_tokens.weight", 2)
    return {
        "image_size_px": math.isqrt(positions - 1) * patch_size_px,
        "patch_size_px": patch_size_px,
        "vision_width": vision_width,
        "vision_layers": count_of(shapes, r"vision_tower\.transformer\.resblocks\.(\d+)\."),
        "vision_mlp_width": _shape(shapes, f"{_BLOCK}mlp.c_fc.weight", 2)[0],
        "text_width": text_width,
        "text_layers": count_of(shapes, r"llama\.layers\.(\d+)\."),
        "text_mlp_width": _shape(shapes, "llama.layers.0.mlp.gate_proj.weight", 2)[0],
        "vocabulary_size": vocabulary_size,
    }
