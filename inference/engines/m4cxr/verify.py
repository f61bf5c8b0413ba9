"""Our M4CXR against the reference: every part on the stored inputs of golden.safetensors and its companions."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
    Bound,
    References,
    answer_comparisons,
    prompt_cases,
    read_references,
    text_comparison,
)
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXR, M4CXRConfig
from inference.engines.m4cxr.preprocess import model_image
from inference.engines.m4cxr.prompts import first_question, render
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.verdict import Comparison

_MEAN_AND_SPREAD = Bound(1e-6, grows=True)
"""Of a sum over 268,324 pixels, which is added up in another order each time."""


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
    left_over: list[str] = []
    config = M4CXRConfig()
    if (folder / "golden.safetensors").is_file():
        model = load_model(folder, place).model
        config = model.config
        golden = read_references(folder / "golden.safetensors", place=place)
        done += [*_vision(model, golden), *_abstractor(model, golden), *_language(model, golden)]
        left_over += golden.left_over()
        del model
        if (folder / "adapter" / "golden_adapter.safetensors").is_file():
            adapted, adapter_left_over = _adapter(folder, golden, place)
            done += adapted
            left_over += adapter_left_over
    if (folder / "preprocess_golden.safetensors").is_file():
        images = read_references(folder / "preprocess_golden.safetensors", "preprocess: ")
        done += _preprocessing(images, config)
        left_over += images.left_over()
    return (*done, *_prompts(folder, config)), tuple(left_over)


def step_logits(model: M4CXR, pixel_values: Tensor, input_ids: Tensor, new_ids: Tensor) -> Tensor:
    """Gives the logits (T, W) from which each of `new_ids` (1, T) was taken, behind `input_ids` (1, L)."""
    whole = torch.cat([input_ids, new_ids], dim=1)  # (1, L + T)
    return model(pixel_values, whole)[0, input_ids.shape[1] - 1 : -1]


def _vision(model: M4CXR, golden: References) -> Iterator[Comparison]:
    """Each layer on the reference's input to it, so that a fault is named where it is; then all together."""
    vision, layers = model.vision_model, model.vision_model.encoder.layer

    def hidden(number: int) -> Tensor:
        return golden[f"vision_hidden_states.{number}"]

    yield from golden.compare(
        "vision_hidden_states.0", INTERMEDIATE, lambda: vision.embeddings(golden["pixel_values"])
    )
    for number in range(len(layers)):
        following = partial(lambda n: layers[n](hidden(n)), number)
        yield from golden.compare(f"vision_hidden_states.{number + 1}", INTERMEDIATE, following)
    # It computes nothing that we use, and a checkpoint may leave it out; then it is zero here.
    if vision.layernorm.weight.any():
        yield from golden.compare(
            "vision_last_hidden_state_layernormed",
            INTERMEDIATE,
            lambda: vision.layernorm(hidden(len(layers))),
        )
    yield from golden.compare(
        "vision_features",
        FEATURES.through(len(layers)),
        lambda: model.vision_features(golden["pixel_values"]),
    )


def _abstractor(model: M4CXR, golden: References) -> Iterator[Comparison]:
    abstractor, grid, depth = model.abstractor, model.config.patch_grid, model.config.abstractor_depth

    def laid_out() -> Tensor:
        x = golden["vision_features"] + abstractor.pos_emb  # (N, P, V)
        return x.transpose(1, 2).unflatten(2, (grid, grid))  # (N, V, g, g)

    first, pool, second = abstractor.net
    for name, layers, ours in (
        ("abstractor_s1_b1_nchw", 1, lambda: first.b1(laid_out())),
        ("abstractor_s1_nchw", depth, lambda: first(laid_out())),
        ("abstractor_pool_nchw", 1, lambda: pool(golden["abstractor_s1_nchw"])),
        ("abstractor_s2_nchw", depth, lambda: second(golden["abstractor_pool_nchw"])),
        ("projector_output", _image_layers(model), lambda: model.image_rows(golden["pixel_values"])),
    ):
        yield from golden.compare(name, FEATURES.through(layers), ours)


def _image_layers(model: M4CXR) -> int:
    """Counts the layers from pixels to rows, the projection at the end included."""
    return model.config.vision_layers + 2 * model.config.abstractor_depth + 1


def _logits(model: M4CXR) -> Bound:
    return LOGITS.through(_image_layers(model) + model.config.text_layers)


def _language(model: M4CXR, golden: References) -> Iterator[Comparison]:
    def steps() -> Tensor:
        return step_logits(model, golden["pixel_values"], golden["input_ids"], golden["generated_ids"])

    def margins() -> Tensor:
        best, second = steps().topk(2).values.unbind(1)  # (T,) each
        return best - second

    def of_text() -> tuple[Tensor, None]:
        return model.embed(golden["text_only_input_ids"], None), None

    def of_batch() -> tuple[Tensor, Tensor]:
        rows = model.image_rows(golden["batch_pixel_values"])
        return model.embed(golden["batch_input_ids"], rows), golden["batch_attention_mask"]

    bound = _logits(model)
    yield from golden.compare(
        "inputs_embeds", INTERMEDIATE, lambda: model.embed(golden["input_ids"], golden["projector_output"])
    )
    yield from golden.compare("logits", bound, lambda: model(golden["pixel_values"], golden["input_ids"]))
    yield from answer_comparisons(golden, "generated_ids", model, partial(_prompt, model, golden), bound)
    yield from golden.compare("greedy_step_logits", bound, steps)
    yield from golden.compare(
        "greedy_top2_margin", replace(bound, times=2), margins, made_from="greedy_step_logits"
    )
    yield from answer_comparisons(golden, "batch_generated_ids", model, of_batch, bound)
    yield from answer_comparisons(golden, "text_only_generated_ids", model, of_text, bound)


def _prompt(model: M4CXR, golden: References) -> tuple[Tensor, None]:
    return model.embed(golden["input_ids"], model.image_rows(golden["pixel_values"])), None


def _adapter(
    folder: Path, golden: References, place: Place
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """The adapter merged into the weights, on the inputs of golden.safetensors."""
    model = load_model(folder, place, adapter_folder=folder / "adapter").model
    expected = read_references(folder / "adapter" / "golden_adapter.safetensors", "adapter: ", place)
    name, bound, prompt = "logits_with_adapter", _logits(model), partial(_prompt, model, golden)
    done = [
        *expected.compare(name, bound, lambda: model(golden["pixel_values"], golden["input_ids"])),
        *answer_comparisons(expected, "generated_ids_with_adapter", model, prompt, bound, name),
    ]
    return tuple(done), expected.left_over()


def _preprocessing(images: References, config: M4CXRConfig) -> Iterator[Comparison]:
    """Images `in_0`, ... at the side of `out_0`, ...; one film as large as the published model sees it."""
    for number in range(len([name for name in images.tensors if re.fullmatch(r"in_\d+", name)])):
        ours = partial(_like, images, f"in_{number}", f"out_{number}")
        yield from images.compare(f"out_{number}", EXACT, ours)
    if "big_in" not in images:
        return
    published_px = M4CXRConfig().image_size_px
    rows = len(images["big_out_every7"])
    side_px = published_px if rows == math.ceil(published_px / 7) else config.image_size_px
    seen = torch.from_numpy(model_image(images.as_stored("big_in").numpy(), side_px))[0]  # (side, side)
    yield from images.compare("big_out_every7", EXACT, lambda: seen[::7, ::7])
    yield from images.compare("big_out_corner64", EXACT, lambda: seen[:64, -64:])
    yield from images.compare("big_out_mean_std", _MEAN_AND_SPREAD, lambda: _mean_and_spread(seen))


def _like(images: References, name: str, expected_name: str) -> Tensor:
    """Preprocesses one image; of a grey one the reference holds one of three equal channels."""
    expected = images[expected_name]
    seen = torch.from_numpy(
        model_image(images.as_stored(name).numpy(), expected.shape[-1])
    )  # (3, side, side)
    is_one_of_equals = len(expected) == 1 and bool((seen == seen[:1]).all())
    return seen[:1] if is_one_of_equals else seen


def _mean_and_spread(seen: Tensor) -> Tensor:
    return torch.stack([seen.double().mean(), seen.double().std(correction=0)])


def _prompts(folder: Path, config: M4CXRConfig) -> Iterator[Comparison]:
    """The conversations of training: their text, and with the published vocabulary their ids."""
    name, cases = prompt_cases(folder)
    if not cases:
        return
    turns = [(case, number) for case in cases for number in range(len(case["turns"]))]
    expected = [case["turns"][number] for case, number in turns]
    yield text_comparison(
        f"{name}: rendered_prompt",
        [_rendered(case, number) for case, number in turns],
        [turn["rendered_prompt"] for turn in expected],
    )
    if config.vocabulary_size == M4CXRConfig().vocabulary_size:
        # One image takes as many places as the conversation says, whatever this model's own grid.
        vocabulary = replace(open_vocabulary(folder, config), query_count=1)
        yield text_comparison(
            f"{name}: prompt_ids",
            [vocabulary.ids(turn["rendered_prompt"]) for turn in expected],
            [[IMAGE_MARKER if isinstance(i, dict) else i for i in turn["prompt_ids"]] for turn in expected],
        )


def _rendered(case: Mapping[str, Any], number: int) -> str:
    """Writes a conversation up to the question of its turn `number`, from 0."""
    first, *later = [turn["user"] for turn in case["turns"]]
    answers = [turn["example_answer"] for turn in case["turns"]]
    questions = [first_question(case["preamble"][1], first), *later]
    return render(questions[: number + 1], answers[:number])
