"""Our CXR-LLaVA against the reference: every part on the stored inputs of golden.safetensors."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.engines.comparing import (
    EXACT,
    FEATURES,
    INTERMEDIATE,
    LOGITS,
    References,
    answer_comparisons,
    prompt_cases,
    read_references,
    text_comparison,
)
from inference.engines.cxr_llava.loading import load_model
from inference.engines.cxr_llava.model import IMAGE_MARKER, CXRLLaVA, CXRLLaVAConfig
from inference.engines.cxr_llava.preprocess import model_image
from inference.engines.cxr_llava.prompts import first_question, render
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.verdict import Comparison


@torch.inference_mode()
def comparisons(
    folder: Path, place: Place = IN_FLOAT32_ON_CPU
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Runs the engine's parts on the references in a model's folder, at a place.

    Returns:
        One Comparison for each reference tensor, and the names of tensors that no part of the engine makes.

    Raises:
        ValueError: if the weights or a file of references cannot be opened.
    """
    done: list[Comparison] = []
    left_over: tuple[str, ...] = ()
    if (folder / "golden.safetensors").is_file():
        model = load_model(folder, place).model
        golden = read_references(folder / "golden.safetensors", place=place)
        done += [*_vision(model, golden), *_language(model, golden), *_preprocessing(model, golden)]
        left_over = golden.left_over()
    return (*done, *_prompts(folder)), left_over


def with_places(input_ids: Tensor, place_count: int) -> Tensor:
    """Widens the one place of the image in ids (1, T) to `place_count`, as the engine's own prompts have it."""
    ids: list[int] = []
    for token in input_ids[0].tolist():
        ids += [token] * (place_count if token == IMAGE_MARKER else 1)
    return torch.tensor([ids], device=input_ids.device)


def step_logits(model: CXRLLaVA, pixel_values: Tensor, input_ids: Tensor, new_ids: Tensor) -> Tensor:
    """Gives the logits (T, W) from which each of `new_ids` (1, T) was taken, behind `input_ids` (1, L)."""
    whole = torch.cat([input_ids, new_ids], dim=1)  # (1, L + T)
    return model(pixel_values, whole)[0, input_ids.shape[1] - 1 : -1]


def _vision(model: CXRLLaVA, golden: References) -> Iterator[Comparison]:
    """Each stage on the reference's input to it, so that a fault is named where it is; then all together."""
    tower, layers = model.vision_tower, model.config.vision_layers
    for name, bound, ours in (
        ("vision_after_ln_pre", INTERMEDIATE, lambda: tower.embed(golden["pixel_values"])),
        (
            "vision_transformer_out_LND",
            INTERMEDIATE.through(layers),
            lambda: tower.transformer(golden["vision_after_ln_pre"]).transpose(0, 1),
        ),
        (
            "vision_after_ln_post",
            INTERMEDIATE,
            lambda: tower.ln_post(golden["vision_transformer_out_LND"].transpose(0, 1)),
        ),
        ("vision_features", FEATURES.through(layers), lambda: model.vision_features(golden["pixel_values"])),
        ("projector_output", FEATURES.through(layers + 1), lambda: model.image_rows(golden["pixel_values"])),
    ):
        yield from golden.compare(name, bound, ours)


def _language(model: CXRLLaVA, golden: References) -> Iterator[Comparison]:
    def ids() -> Tensor:
        return with_places(golden["input_ids"], model.config.patch_count)

    def prompt() -> tuple[Tensor, None]:
        return model.embed(ids(), model.image_rows(golden["pixel_values"])), None

    bound = LOGITS.through(model.config.vision_layers + 1 + model.config.text_layers)
    yield from golden.compare(
        "inputs_embeds", INTERMEDIATE, lambda: model.embed(ids(), golden["projector_output"])
    )
    yield from golden.compare("logits", bound, lambda: model(golden["pixel_values"], ids()))
    yield from answer_comparisons(golden, "generated_ids", model, prompt, bound)
    yield from golden.compare(
        "greedy_step_logits",
        bound,
        lambda: step_logits(model, golden["pixel_values"], ids(), golden["generated_ids"]),
    )


def _preprocessing(model: CXRLLaVA, golden: References) -> Iterator[Comparison]:
    """Images `pre_in_0`, ..., at the model's own side."""
    for number in range(len([name for name in golden.tensors if re.fullmatch(r"pre_in_\d+", name)])):
        ours = partial(_seen, golden, f"pre_in_{number}", model.config)
        yield from golden.compare(f"pre_out_{number}", EXACT, ours)


def _seen(golden: References, name: str, config: CXRLLaVAConfig) -> Tensor:
    return torch.from_numpy(model_image(golden.as_stored(name).numpy(), config)[None])


def _prompts(folder: Path) -> Iterator[Comparison]:
    """The conversations as the reference renders them; their ids are those of a stand-in and say nothing."""
    name, cases = prompt_cases(folder)
    if cases:
        yield text_comparison(
            f"{name}: rendered_prompt",
            [_rendered(case["chat"]) for case in cases],
            [case["rendered_prompt"] for case in cases],
        )


def _rendered(chat: list[Mapping[str, Any]]) -> str:
    """Writes a chat of a system message, then user and assistant by turns, up to the last user's message."""
    questions = [message["content"] for message in chat if message["role"] == "user"]
    answers = [message["content"] for message in chat if message["role"] == "assistant"]
    first, *later = (question.removeprefix("<image>\n").strip() for question in questions)
    return render([first_question(first), *later], answers)
