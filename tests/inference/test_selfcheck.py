"""A folder is checked before it is opened: every problem at once, in sentences that say what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.folders import look_into, write_source
from inference.published import DEMO_FOLDER
from inference.verification import Verification, check
from tests.inference import cxr_llava_small, medgemma_small
from tests.inference.references import change_tensor, drop_tensor
from tests.inference.small import TINY


def lines(found: Verification) -> dict[str, str]:
    return {line.text.partition(": ")[0]: line.text for line in found.checks}


def said(found: Verification) -> str:
    return "\n".join(line.text for line in found.checks if not line.ok)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the demo weights that a test may break."""
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "demo"))


def a_cxr_llava(folder: Path) -> Path:
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(cxr_llava_small.TINY / name, folder / name)
    cxr_llava_small.write_vocabulary(folder)
    return folder


@pytest.mark.parametrize(
    ("engine", "write"),
    [("cxr_llava", a_cxr_llava), ("medgemma", medgemma_small.write_medgemma)],
)
def test_a_folder_that_fits_is_well_in_every_line(tmp_path: Path, engine: str, write: Callable):
    found = check(write(tmp_path))

    assert (found.engine, said(found), found.passed) == (engine, "", True)
    assert any("sha256:" in line.text for line in found.checks)


def test_the_demo_weights_are_well_and_say_what_they_are():
    found = check(DEMO_FOLDER, device="cpu")

    assert found.passed
    assert (
        "images of 140 px in 25 places, vision 5 layers of 128, text 4 of 192" in lines(found)["dimensions"]
    )
    assert "as float32 on cpu" in lines(found)["memory"]


def test_every_problem_is_told_at_once(demo: Path):
    drop_tensor(demo / "model.safetensors", "abstractor.readout.0.bias")
    (demo / "tokenizer_check.json").write_text('{"edema": [1]}')

    found = check(demo)

    assert "abstractor.readout.0.bias" in lines(found)["tensors"]
    assert "the model was trained with [1]" in lines(found)["tokenizer"]
    assert not found.passed


def test_an_adapter_for_other_weights_is_a_problem(demo: Path):
    found = check(demo, TINY / "adapter")

    assert not found.passed
    assert str(TINY / "adapter") in lines(found)["adapter"]


def test_weights_that_the_machine_has_no_room_for_are_not_loaded_to_be_looked_at(monkeypatch):
    monkeypatch.setattr("inference.engines.selfcheck.free_memory_bytes", lambda device: 2_000_000)

    found = lines(check(TINY, TINY / "adapter", device="cpu"))

    assert "loaded into 2.135 MB of this machine's memory, and 2 MB are free" in found["adapter"]
    assert "each is there" in found["tensors"]


def test_an_adapter_that_fits_is_counted_into_the_digest():
    found = lines(check(TINY, TINY / "adapter"))

    assert found["tensors"].rpartition("sha256:")[2] != found["adapter"].rpartition("sha256:")[2]


def test_a_file_that_was_cut_off_is_named_once(demo: Path):
    whole = (demo / "model.safetensors").read_bytes()
    (demo / "model.safetensors").write_bytes(whole[: len(whole) // 2])

    found = check(demo)

    assert [line.ok for line in found.checks] == [False]
    assert "model.safetensors is damaged or cut off" in said(found)
    assert "fetch it again" in said(found)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("tokenizer.json", '{"model": 3}', "tokenizer"),
        ("model_card.json", '{"is_demo": true}', "model_card.json"),
        ("model_card.json", '{"name": "a", "is_demo": "no"}', "model_card.json"),
        ("model_card.json", '{"name": "a", "tasks": [["fly"]]}', "model_card.json"),
    ],
)
def test_a_file_in_another_form_is_one_line_and_the_others_are_told(demo: Path, name, content, line):
    (demo / name).write_text(content)

    found = check(demo, device="cpu")

    assert [one.text.partition(": ")[0] for one in found.checks if not one.ok] == [line]
    assert {"dimensions", "tensors", "tokenizer", "model_card.json", "memory"} == set(lines(found))


def test_what_transformers_raises_of_a_config_is_told_in_one_line(tmp_path: Path):
    medgemma_small.write_medgemma(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = "8"
    (tmp_path / "config.json").write_text(json.dumps(config))

    found = check(tmp_path, device="cpu")

    assert "Field 'num_attention_heads' expected int, got str (value: '8')); fetch it again" in said(found)
    assert len(said(found).splitlines()) == 1


@pytest.mark.parametrize("architectures", [5, [1, {}], "MllmForConditionalGeneration"])
def test_architectures_in_another_form_leave_the_tensors_to_tell(demo: Path, architectures):
    (demo / "config.json").write_text(json.dumps({"architectures": architectures}))

    assert look_into(demo).engine == "m4cxr"


@pytest.mark.parametrize("source", ['{"files": ["config.json"]}', '{"files": {"config.json": {}}}', "{}"])
def test_a_note_of_the_sums_in_another_form_is_one_line(demo: Path, source: str):
    (demo / "model_source.json").write_text(source)

    found = check(demo, device="cpu")

    assert said(found).startswith("model_source.json: it is not in the form that is expected (")
    assert len(said(found).splitlines()) == 1


def test_a_folder_without_vocabulary_cannot_read():
    assert "no tokenizer.model or tokenizer.json is here" in said(check(TINY))


def test_an_architecture_that_is_not_known_is_said(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llava", "architectures": ["Llava"]}')
    save_file({"language.weight": torch.zeros(2)}, str(tmp_path / "model.safetensors"))

    found = check(tmp_path)

    assert found.engine is None
    assert "config.json says model_type 'llava' and architectures ['Llava']" in said(found)
    assert "preread runs M4CXR, CXR-LLaVA v2, MedGemma 4B" in said(found)


@pytest.mark.parametrize(("folder", "engine"), [(TINY, "m4cxr"), (cxr_llava_small.TINY, "cxr_llava")])
def test_a_config_that_does_not_say_leaves_the_tensors_to_tell(tmp_path: Path, folder: Path, engine: str):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "", "architectures": None}))

    assert look_into(copy).engine == engine


def test_a_folder_that_is_not_there_says_how_to_fetch_it(tmp_path: Path):
    assert "fetch the weights with: preread models pull" in said(check(tmp_path / "nowhere"))


@pytest.mark.parametrize("write", [a_cxr_llava, medgemma_small.write_medgemma])
def test_an_adapter_of_another_engine_is_a_problem(tmp_path: Path, write: Callable):
    found = check(write(tmp_path), TINY / "adapter")

    assert not found.passed
    assert str(TINY / "adapter") in lines(found)["adapter"]


def test_a_device_that_is_not_there_is_a_problem_of_the_configuration():
    found = check(DEMO_FOLDER, device="cuda:99")

    assert 'device "cuda:99" is not there' in said(found)
    assert "correct the [engine] of reading.toml" in said(found)


def test_more_weights_than_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inference.engines.memory.free_memory_bytes", lambda device: 1000)

    assert "M4CXR needs" in said(check(DEMO_FOLDER, device="cpu"))


def test_files_that_are_not_as_fetched_are_named(demo: Path):
    noted = {name: {"sha256": "0" * 64} for name in ("config.json", "gone.json")}
    write_source(demo, {"repository": "a/b", "commit": "c" * 40, "files": noted})

    assert "not as fetched: config.json, gone.json; delete what is named here and pull again" in said(
        check(demo)
    )


def test_other_dimensions_are_a_problem_of_the_tensors(demo: Path):
    change_tensor(demo / "model.safetensors", "abstractor.readout.2.weight", lambda tensor: tensor[:-1])

    assert "abstractor.readout.2.weight is 191x192, expected 192x192" in said(check(demo))
