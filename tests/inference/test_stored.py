"""What lies in a folder of weights is read whole, or one sentence says what is wrong with it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from structlog.testing import capture_logs

from inference.engine import open_engine
from inference.engines.m4cxr import open_m4cxr
from inference.engines.m4cxr.loading import load_sources, published_names
from inference.engines.opening import IN_FLOAT32_ON_CPU
from inference.engines.sources import find_sources
from inference.engines.stored import weight_files
from tests.inference.small import TINY, write_vocabulary

ENGINES = ("cxr_llava", "m4cxr", "medgemma")


def pickled(folder: Path, shards: int = 1) -> Path:
    """Writes the tiny model as pickles."""
    shutil.copyfile(TINY / "config.json", folder / "config.json")
    tensors = load_file(TINY / "model.safetensors")
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    places = {name: f"pytorch_model-{number % shards}.bin" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        torch.save({name: t for name, t in tensors.items() if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def found(folder: Path, **settings: object):
    return find_sources(folder, published_names, **settings)


def test_a_pickle_is_refused_with_the_reason_and_both_ways_out(tmp_path):
    with pytest.raises(
        ValueError, match=r"a pickle can run code: convert it .* allow_pickled_weights = true"
    ):
        found(pickled(tmp_path))


@pytest.mark.parametrize("shards", [1, 3])
def test_an_allowed_pickle_gives_the_same_weights(tmp_path, tiny, shards):
    sources = found(pickled(tmp_path, shards), allow_pickled=True)
    loaded = load_sources(sources, IN_FLOAT32_ON_CPU).model.state_dict()

    assert len(sources.files) == shards
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny.state_dict().items())


def test_an_allowed_pickle_is_warned_of_once_when_it_is_opened(tmp_path):
    write_vocabulary(pickled(tmp_path), size=320)

    with capture_logs() as logs:
        open_m4cxr(tmp_path, device="cpu", allow_pickled_weights=True)

    assert [(entry["log_level"], entry["files"]) for entry in logs] == [
        ("warning", [str(tmp_path / "pytorch_model.bin")])
    ]


def test_safetensors_are_taken_where_both_are_there(tmp_path):
    shutil.copyfile(TINY / "model.safetensors", tmp_path / "model.safetensors")

    files = weight_files(pickled(tmp_path), allow_pickled=True)

    assert [path.name for path in files] == ["model.safetensors"]


def test_weights_that_lie_there_twice_are_refused(tmp_path):
    shutil.copyfile(TINY / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')

    with pytest.raises(ValueError, match=r"weights twice, model\.safetensors and the shards of"):
        weight_files(tmp_path)


@pytest.mark.parametrize("weight_map", [[], ["a"], {"a": 7}, {"a": "../b"}, None])
def test_an_index_in_another_form_is_refused(tmp_path, weight_map):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    with pytest.raises(ValueError, match="weight_map does not name files of this folder"):
        weight_files(tmp_path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_an_allowed_pickle_runs_no_code_even_so(tmp_path):
    torch.save({"weight": Bomb(tmp_path / "gone-off")}, pickled(tmp_path) / "pytorch_model.bin")

    with pytest.raises(ValueError, match=r"pytorch_model\.bin cannot be read: "):
        found(tmp_path, allow_pickled=True)

    assert not (tmp_path / "gone-off").exists()


def test_a_pickle_of_other_things_than_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {}}, pickled(tmp_path) / "pytorch_model.bin")

    with pytest.raises(ValueError, match="holds other things than tensors by name"):
        found(tmp_path, allow_pickled=True)


@pytest.mark.parametrize("kept_bytes", [0, 7, 5000, 2_000_000])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_that_was_cut_off_is_named(tmp_path, name, kept_bytes):
    path = pickled(tmp_path) / name
    shutil.copyfile(TINY / "model.safetensors", tmp_path / "model.safetensors")
    if name == "pytorch_model.bin":
        (tmp_path / "model.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:kept_bytes])

    with pytest.raises(ValueError, match=rf"{path} cannot be read: .*; fetch it again"):
        found(tmp_path, allow_pickled=True)


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_a_shard_of_an_index_that_is_missing_is_named(tmp_path, index):
    (tmp_path / index).write_text('{"weight_map": {"a": "b.safetensors"}}')

    with pytest.raises(ValueError, match=r"b\.safetensors is not there; fetch it"):
        found(tmp_path, allow_pickled=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_folder_without_weights_or_config_is_named(tmp_path, engine):
    with pytest.raises(ValueError, match="is not there; fetch it, or name the folder that holds it"):
        open_engine(engine, model_folder=tmp_path, device="cpu")
    with pytest.raises(ValueError, match="nowhere is no folder"):
        open_engine(engine, model_folder=tmp_path / "nowhere", device="cpu")


def test_weights_that_change_while_they_are_loaded_are_refused(tmp_path):
    shutil.copyfile(TINY / "config.json", tmp_path / "config.json")
    shutil.copyfile(TINY / "model.safetensors", tmp_path / "model.safetensors")
    sources = found(tmp_path)

    (tmp_path / "model.safetensors").touch()

    with pytest.raises(ValueError, match="a file changed while it was loaded"):
        load_sources(sources, IN_FLOAT32_ON_CPU)


def test_weights_that_are_written_over_later_do_not_change_a_loaded_model(tmp_path, tiny):
    shutil.copyfile(TINY / "config.json", tmp_path / "config.json")
    shutil.copyfile(TINY / "model.safetensors", tmp_path / "model.safetensors")
    loaded = load_sources(found(tmp_path), IN_FLOAT32_ON_CPU).model

    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.write(bytes((tmp_path / "model.safetensors").stat().st_size))

    assert torch.equal(loaded.abstractor.pos_emb, tiny.abstractor.pos_emb)
