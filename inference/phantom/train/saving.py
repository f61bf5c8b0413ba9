"""A trained model becomes the folder that the engine opens."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from inference.engines.m4cxr.loading import save_model
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.prompts import SYSTEM_SENTENCE

MODEL_NAME = "preread synthetic demo model"

TASKS = ["finding"]
"""What it can be asked beside the draft, as model_card.json says it."""

_CHECKED_TEXTS = (SYSTEM_SENTENCE, " radiology image: ", " ", "Yes. [0,63,25,90], [57,66,90,98].")
"""Texts whose ids are stored beside the vocabulary, so that another one is refused."""


def save_weights(model: M4CXR, tokenizer: Tokenizer, folder: Path, card: dict[str, Any]) -> None:
    """Writes config.json, generation_config.json, the weights in float16 and the tokenizer, and a model card.

    Args:
        card: what model_card.json says besides the name, that it is a demonstration, and the weights' digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generation = {
        "bos_token_id": model.config.begin_id,
        "eos_token_id": model.config.end_id,
        "do_sample": False,
        "max_new_tokens": 500,
    }
    _write_json(folder / "generation_config.json", generation)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in _CHECKED_TEXTS}
    _write_json(folder / "tokenizer_check.json", ids)
    save_model(model, folder, torch.float16)
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    parameters = sum(weight.numel() for weight in model.parameters())
    whole = {
        "name": MODEL_NAME,
        "is_demo": True,
        "tasks": TASKS,
        "sha256": digest,
        "parameters": parameters,
        **card,
    }
    _write_json(folder / "model_card.json", whole)


def add_to_card(folder: Path, **facts: Any) -> None:
    """Adds facts to the model card of a folder, or replaces them."""
    path = folder / "model_card.json"
    _write_json(path, json.loads(path.read_text(encoding="utf-8")) | facts)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
