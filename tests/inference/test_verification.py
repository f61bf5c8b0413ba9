"""A model's folder is held against its references: what fits passes, and what does not is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inference.verification import Verification, verify
from tests.inference import cxr_llava_small
from tests.inference.pretended_card import pretended_card
from tests.inference.references import (
    change_tensor,
    drop_tensor,
    write_cxr_llava_references,
    write_m4cxr_references,
)
from tests.inference.small import TINY, VECTORS

pytestmark = pytest.mark.slow

WRITERS = {"m4cxr": write_m4cxr_references, "cxr_llava": write_cxr_llava_references}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Gives a folder of references of an engine's form, written once for each seed."""
    folders: dict[tuple[str, int], Path] = {}

    def folder(engine: str, seed: int) -> Path:
        if (engine, seed) not in folders:
            folders[engine, seed] = tmp_path_factory.mktemp(f"{engine}-{seed}")
            WRITERS[engine](folders[engine, seed], seed)
        return folders[engine, seed]

    return folder


@pytest.fixture
def a_copy(written: Callable[[str, int], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Gives a folder of references that a test may break."""
    return lambda engine: Path(shutil.copytree(written(engine, 3), tmp_path / engine))


def failed(found: Verification) -> list[str]:
    return [one.name for one in found.comparisons if not one.passed]


def said(found: Verification) -> str:
    return "\n".join(line.text for line in found.checks if not line.ok)


@pytest.mark.parametrize(("folder", "count"), [(TINY, 28), (cxr_llava_small.TINY, 12)])
def test_the_vectors_of_the_reference_classes_pass_and_none_is_left_out(folder, count):
    found = verify(folder)

    assert (failed(found), said(found), found.not_compared) == ([], "", ())
    assert len(found.comparisons) == count
    assert found.passed


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("engine", WRITERS)
def test_a_folder_of_other_dimensions_and_numbers_passes(written, engine, seed):
    found = verify(written(engine, seed))

    assert (failed(found), said(found), found.not_compared) == ([], "", ())
    assert len(found.comparisons) > 10


BROKEN = [
    ("m4cxr", "vision_model.encoder.layer.1.mlp.fc1.weight", "vision_hidden_states.2"),
    ("m4cxr", "abstractor.net.0.b2.se.fc1.weight", "abstractor_s1_nchw"),
    ("m4cxr", "abstractor.net.2.b1.conv1.conv.weight", "abstractor_s2_nchw"),
    ("m4cxr", "abstractor.readout.2.weight", "projector_output"),
    ("m4cxr", "language_model.model.embed_tokens.weight", "inputs_embeds"),
    ("m4cxr", "language_model.lm_head.weight", "logits"),
    ("cxr_llava", "vision_tower.conv1.weight", "vision_after_ln_pre"),
    ("cxr_llava", "vision_tower.transformer.resblocks.1.mlp.c_fc.weight", "vision_transformer_out_LND"),
    ("cxr_llava", "mm_projector.weight", "projector_output"),
    ("cxr_llava", "llama.layers.2.self_attn.o_proj.weight", "logits"),
]


@pytest.mark.parametrize(("engine", "weight", "first"), BROKEN, ids=[weight for _, weight, _ in BROKEN])
def test_weights_that_are_not_the_reference_s_fail_from_where_they_matter(a_copy, engine, weight, first):
    folder = a_copy(engine)
    change_tensor(folder / "model.safetensors", weight, lambda tensor: tensor + tensor.roll(1, 0) / 20)

    found = verify(folder)

    assert failed(found)[0] == first
    assert "greedy_step_logits" in failed(found)
    assert not found.passed


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("logits", lambda tensor: tensor[:, 1:], "it is 1x24x211, expected 1x23x211"),
        ("logits", lambda tensor: tensor * float("nan"), "it holds what is not a number"),
        (
            "pixel_values",
            lambda tensor: tensor[:1],
            "it cannot be computed: the text has places for 2 images",
        ),
        ("pixel_values", lambda tensor: tensor[:, :, 1:], "it cannot be computed"),
    ],
)
def test_a_reference_that_cannot_be_compared_fails_and_says_why(a_copy, name, change, problem):
    folder = a_copy("m4cxr")
    change_tensor(folder / "golden.safetensors", name, change)

    found = verify(folder)

    assert problem in next(one.problem for one in found.comparisons if one.name == "logits")
    assert "logits" in failed(found)


def test_a_reference_without_its_input_fails_and_names_the_input(a_copy):
    folder = a_copy("cxr_llava")
    drop_tensor(folder / "golden.safetensors", "pixel_values")

    problems = {one.problem for one in verify(folder).comparisons if not one.passed}

    assert problems == {"it cannot be computed: the references hold no pixel_values"}


def test_a_reference_that_nobody_knows_is_named_and_fails_nothing(a_copy):
    folder = a_copy("m4cxr")
    drop_tensor(folder / "preprocess_golden.safetensors", "out_0")

    found = verify(folder)

    assert found.not_compared == ("preprocess: in_0",)
    assert found.passed


def test_an_image_one_grey_level_off_fails(a_copy):
    folder = a_copy("m4cxr")
    change_tensor(folder / "preprocess_golden.safetensors", "out_1", lambda tensor: tensor + 1 / 255 / 0.2583)

    assert failed(verify(folder)) == ["preprocess: out_1"]


def test_an_adapter_of_another_strength_fails_and_names_its_references(a_copy):
    folder = a_copy("m4cxr")
    (folder / "adapter" / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 9}')

    assert failed(verify(folder))[0] == "adapter: logits_with_adapter"


def test_behind_its_end_token_a_reference_may_hold_padding(a_copy):
    folder = a_copy("m4cxr")
    golden, config = folder / "golden.safetensors", json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = int(load_file(str(golden))["text_only_generated_ids"][0, 2])
    (folder / "config.json").write_text(json.dumps(config))
    change_tensor(golden, "text_only_generated_ids", lambda ids: ids * (torch.arange(6) < 3))

    assert "text_only_generated_ids" not in failed(verify(folder))


@pytest.mark.parametrize(
    ("folder", "file"),
    [(TINY, "m4cxr-prompts.json"), (cxr_llava_small.TINY, "cxr-llava-prompts.json")],
)
def test_the_conversations_of_training_are_compared_where_they_are_there(tmp_path, folder, file):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    text = (VECTORS / file).read_text()
    (copy / file).write_text(text)
    assert [one.passed for one in verify(copy).comparisons if one.name == f"{file}: rendered_prompt"] == [
        True
    ]

    (copy / file).write_text(text.replace("[/INST]", "[/INST] ", 1))

    assert failed(verify(copy)) == [f"{file}: rendered_prompt"]


@pytest.mark.parametrize("cases", ["[1]", "[{}]", '[{"turns": 3}]'])
def test_conversations_in_another_form_are_one_problem(tmp_path, cases):
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    (copy / "m4cxr-prompts.json").write_text(f'{{"cases": {cases}}}')

    found = verify(copy)

    assert said(found).startswith("references: they are not in the form that is expected (")
    assert not found.passed


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("engine", WRITERS)
def test_in_coarser_numbers_the_bounds_are_those_of_rounding(written, engine, dtype):
    folder = written(engine, 3)

    found = verify(folder, dtype=dtype)

    assert (failed(found), said(found), found.not_compared) == ([], "", ())
    assert [one.name for one in found.comparisons] == [one.name for one in verify(folder).comparisons]
    rounded = {one.name: one.difference / one.bound for one in found.comparisons if one.bound}
    assert 0.05 < rounded["logits"] < 0.9


@pytest.mark.parametrize(("engine", "weight", "first"), BROKEN, ids=[weight for _, weight, _ in BROKEN])
def test_weights_far_off_fail_in_bfloat16_too_from_where_they_matter(a_copy, engine, weight, first):
    folder = a_copy(engine)
    change_tensor(folder / "model.safetensors", weight, lambda tensor: tensor + tensor.roll(1, 0) / 2)

    assert failed(verify(folder, dtype="bfloat16"))[0] == first


def test_in_coarser_numbers_an_answer_may_take_a_token_that_is_as_likely_and_no_other(a_copy):
    folder = a_copy("m4cxr")
    golden = load_file(str(folder / "golden.safetensors"))
    as_likely, unlikely = golden["greedy_step_logits"][-1].topk(2).indices[1], 3

    def verdict(last):
        change_tensor(
            folder / "golden.safetensors",
            "generated_ids",
            lambda ids: torch.cat([ids[:, :-1], torch.tensor([[last]])], dim=1),
        )
        found = {one.name: one.passed for one in verify(folder, dtype="bfloat16").comparisons}
        return found["generated_ids"]

    assert golden["greedy_top2_margin"][-1] < 0.3
    assert verdict(int(as_likely))
    assert not verdict(unlikely)


@pytest.mark.parametrize("engine", WRITERS)
def test_a_card_is_held_against_the_references_in_its_own_numbers(written, engine):
    folder = written(engine, 3)
    with pretended_card():
        found = verify(folder, device="cuda:0")

    assert found.comparisons == verify(folder, dtype="bfloat16").comparisons
    assert found.passed


def test_a_card_that_is_not_there_is_one_problem(written):
    found = verify(written("m4cxr", 3), device="cuda:7")

    assert said(found).startswith('device "cuda:7" is not there')
    assert found.comparisons == ()
