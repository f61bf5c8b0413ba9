"""Every number of the demo model's training, in one place."""

from dataclasses import dataclass, replace

from inference.engines.m4cxr.model import M4CXRConfig
from inference.phantom.train.tokenizer import BEGIN_ID, END_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the demo model is built and trained.

    Attributes:
        film_px: side of the films as they are drawn. They are then brought to `image_size_px` as the engine does
            it, since a film drawn at the model's size has other noise than one that was brought to it.
        patients: number of synthetic patients, three exams each; seeds 0 and up.
        vision_steps, language_steps, joint_steps: optimiser steps of the three stages.
        vision_batch: films of a step. language_batch, joint_batch: conversations of a step.
        *_rate: highest learning rate of a stage, of the matrices (Muon) and of all else (AdamW).
        average_decay: of the running average of the weights, which is what is saved.
        joint_seeing_weight: of the heads' loss beside the answers'.
        grounding_share: of the conversations that ask for a place.
        seed: of weights and order.
    """

    image_size_px: int = 140
    vision_width: int = 128
    vision_layers: int = 5
    vision_heads: int = 4
    abstractor_width: int = 128
    query_count: int = 25
    text_width: int = 192
    text_layers: int = 4
    text_heads: int = 6
    text_key_value_heads: int = 2
    text_head_width: int = 32
    text_mlp_width: int = 512
    positions_max: int = 4096

    film_px: int = 280
    patients: int = 9000
    vision_steps: int = 5500
    vision_batch: int = 24
    vision_matrix_rate: float = 0.02
    vision_other_rate: float = 3e-3
    language_steps: int = 4500
    language_batch: int = 24
    language_matrix_rate: float = 0.015
    language_other_rate: float = 3e-3
    joint_steps: int = 1200
    joint_batch: int = 24
    joint_matrix_rate: float = 0.004
    joint_other_rate: float = 6e-4
    joint_seeing_weight: float = 0.3
    average_decay: float = 0.998
    grounding_share: float = 0.3
    seed: int = 7

    def model_config(self, vocabulary_size: int) -> M4CXRConfig:
        """Says the model's dimensions in the engine's words."""
        return M4CXRConfig(
            image_size_px=self.image_size_px,
            vision_width=self.vision_width,
            vision_layers=self.vision_layers,
            vision_heads=self.vision_heads,
            abstractor_width=self.abstractor_width,
            query_count=self.query_count,
            text_width=self.text_width,
            text_layers=self.text_layers,
            text_heads=self.text_heads,
            text_key_value_heads=self.text_key_value_heads,
            text_head_width=self.text_head_width,
            text_mlp_width=self.text_mlp_width,
            rope_theta=10_000.0,
            vocabulary_size=vocabulary_size,
            positions_max=self.positions_max,
            begin_id=BEGIN_ID,
            end_id=END_ID,
        )


FULL = Recipe()

TINY = replace(
    FULL,
    image_size_px=70,
    film_px=70,
    vision_width=32,
    vision_layers=2,
    vision_heads=2,
    abstractor_width=32,
    text_width=64,
    text_layers=2,
    text_heads=2,
    text_key_value_heads=1,
    text_mlp_width=128,
    patients=20,
    vision_steps=20,
    vision_batch=16,
    language_steps=60,
    language_batch=16,
    joint_steps=5,
    joint_batch=8,
    average_decay=0.8,
)
"""A proof that the loop learns, in under a minute: its model is of no use."""
