"""The small M4CXRs that tests look at: one of random numbers with known answers, one taught a single case."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from inference.engines.m4cxr.loading import load_model, save_model
from inference.engines.m4cxr.model import M4CXR
from tests.inference.small import TINY, VECTORS, Lesson, draft_lessons, task_lessons, teach, write_vocabulary


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keeps torch from taking the cores that other tests run on."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> M4CXR:
    return load_model(TINY).model


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    return load_file(TINY / "golden.safetensors")


@pytest.fixture(scope="session")
def conversations() -> dict:
    return json.loads((VECTORS / "m4cxr-prompts.json").read_text())


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model with a vocabulary beside it, as `open_m4cxr` wants it."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(TINY / name, folder / name)
    write_vocabulary(folder, size=320)
    return folder


@pytest.fixture(scope="session")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that learned a draft by heart."""
    return _taught(tmp_path_factory.mktemp("taught"), draft_lessons())


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that learned an answer to every other task by heart."""
    return _taught(tmp_path_factory.mktemp("tasks"), task_lessons())


def _taught(folder: Path, lessons: list[Lesson]) -> Path:
    write_vocabulary(folder, 320, (text for *turns, _ in lessons for texts in turns for text in texts))
    save_model(teach(folder, lessons), folder)
    (folder / "model_card.json").write_text('{"name": "a model for tests", "is_demo": true}')
    return folder
