"""A model's dimensions: found in its tensors and its config.json, and written to one."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from inference.engines.dimensions import count_of, section_of, shape_of
from inference.engines.m4cxr.model import M4CXRConfig
from inference.engines.stored import Shapes

_NEEDED: Mapping[str, Mapping[str, Any]] = {
    "vision_config": {"hidden_act": "gelu", "use_swiglu_ffn": False},
    "projector_config": {
        "projector_type": "c-abs",
        "num_eos_tokens": 0,
        "prenorm": False,
        "feature_layer_index": -1,
    },
    "text_config": {
        "hidden_act": "silu",
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
}
"""What this model computes, by section; config.json may not say, but not say otherwise."""

_ATTENTION = "language_model.model.layers.0.self_attn."

_shape = partial(shape_of, model="an M4CXR")


def config_from(sections: Mapping[str, Any], shapes: Shapes) -> M4CXRConfig:
    """Finds the dimensions: from the tensors where they can be seen there, else from config.json's sections.

    What neither says is as in the published model. `vision_config.image_mean` and `image_std` are not read:
    upstream wrote defaults there that its own images never saw.

    Raises:
        ValueError: if a tensor that tells dimensions is missing, or config.json asks for another computation.
    """
    vision, projector, text = (section_of(sections, name) for name in _NEEDED)
    for section in (vision, projector, text):
        section.check_needed(_NEEDED[section.name])
    published = M4CXRConfig()
    query_rows, key_rows = (_shape(shapes, f"{_ATTENTION}{part}_proj.weight", 2)[0] for part in "qk")
    return M4CXRConfig(
        **_visible(shapes),
        vision_heads=vision.told("num_attention_heads", published.vision_heads),
        vision_norm_epsilon=vision.told("layer_norm_eps", published.vision_norm_epsilon),
        query_count=projector.told("num_query_tokens", published.query_count),
        **text.language(query_rows, key_rows, published),
    )


def config_sections(config: M4CXRConfig) -> dict[str, Any]:
    """Says the dimensions in the sections and words of the published config.json."""
    return {
        "architectures": ["MllmForConditionalGeneration"],
        "vision_config": {
            "encoder_type": "dinov2",
            "image_size": config.image_size_px,
            "patch_size": config.patch_size_px,
            "hidden_size": config.vision_width,
            "num_hidden_layers": config.vision_layers,
            "num_attention_heads": config.vision_heads,
            "mlp_ratio": config.vision_mlp_ratio,
            "layer_norm_eps": config.vision_norm_epsilon,
        },
        "projector_config": {
            **_NEEDED["projector_config"],
            "pos_emb": True,
            "depth": config.abstractor_depth,
            "mlp_depth": config.readout_depth,
            "hidden_size": config.abstractor_width,
            "num_query_tokens": config.query_count,
            "encoder_hidden_size": config.vision_width,
            "output_hidden_size": config.text_width,
        },
        "text_config": {
            "model_type": "mistral",
            "vocab_size": config.vocabulary_size,
            "hidden_size": config.text_width,
            "intermediate_size": config.text_mlp_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.text_heads,
            "num_key_value_heads": config.text_key_value_heads,
            "head_dim": config.text_head_width,
            "rms_norm_eps": config.text_norm_epsilon,
            "rope_theta": config.rope_theta,
            "max_position_embeddings": config.positions_max,
            "bos_token_id": config.begin_id,
            "eos_token_id": config.end_id,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    }


def _visible(shapes: Shapes) -> dict[str, int]:
    """Reads the dimensions that tensors show, by the names of M4CXRConfig."""
    _, positions, vision_width = _shape(shapes, "vision_model.embeddings.position_embeddings", 3)
    patch_size_px = _shape(shapes, "vision_model.embeddings.patch_embeddings.projection.weight", 4)[-1]
    vision_mlp_width = _shape(shapes, "vision_model.encoder.layer.0.mlp.fc1.weight", 2)[0]
    vocabulary_size, text_width = _shape(shapes, "language_model.model.embed_tokens.weight", 2)
    return {
        "image_size_px": math.isqrt(positions - 1) * patch_size_px,
        "patch_size_px": patch_size_px,
        "vision_width": vision_width,
        "vision_layers": count_of(shapes, r"vision_model\.encoder\.layer\.(\d+)\."),
        "vision_mlp_ratio": vision_mlp_width // vision_width,
        "abstractor_width": _shape(shapes, "abstractor.net.0.b1.conv1.conv.weight", 4)[0],
        "abstractor_depth": count_of(shapes, r"abstractor\.net\.0\.b(\d+)\."),
        "readout_depth": count_of(shapes, r"abstractor\.readout\.(\d+)\."),
        "text_width": text_width,
        "text_layers": count_of(shapes, r"language_model\.model\.layers\.(\d+)\."),
        "text_mlp_width": _shape(shapes, "language_model.model.layers.0.mlp.gate_proj.weight", 2)[0],
        "vocabulary_size": vocabulary_size,
    }
