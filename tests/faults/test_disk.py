"""A disk that is really full, or has become read-only: nothing is acknowledged falsely, nothing fails for it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import Dataset

from storage.records import Stage
from tests.builders import a_radiograph
from tests.crash.observer import store_problems
from tests.faults.conftest import Clinic, a_tmpfs
from tests.listener.conftest import encoded
from tests.listener.wire import EXPLICIT, RawSender

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MB for everything that is stored: files and database."""
    with a_tmpfs(tmp_path / "clinic" / "data", "8m") as place:
        yield place


@pytest.fixture
def small_clinic(small_disk: Path, clinic: Clinic) -> Clinic:
    return clinic


def fill(disk: Path) -> Path:
    """Writes until the disk takes no byte more."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size_bytes in (65_536, 4096, 1):
            with suppress(OSError):
                while file.write(b"\0" * size_bytes):
                    pass
    assert os.statvfs(disk).f_bavail == 0
    return filler


def an_image(number: int = 1) -> Dataset:
    return a_radiograph(patient_id="F1", number=number, modality="CR", rows=64, columns=48)


def status_of_sending(clinic: Clinic, image: Dataset) -> int:
    with RawSender(clinic.running().port) as sender:
        sender.associate({1: (str(image.SOPClassUID), [EXPLICIT])})
        answer = sender.store(encoded(image), str(image.SOPInstanceUID), sop_class_uid=str(image.SOPClassUID))
    return answer.status


def test_a_full_disk_is_told_to_the_sender_and_taken_back_when_there_is_room(
    small_disk: Path, small_clinic: Clinic
):
    filler = fill(small_disk)

    full = status_of_sending(small_clinic, an_image())
    filler.unlink()
    small_clinic.send(an_image())

    assert full == 0xA700
    assert list(store_problems(small_clinic.product.serving._store, small_clinic.acknowledged)) == []


@pytest.mark.parametrize("stage", [None, Stage.GATHER, Stage.READ, Stage.COMPOSE, Stage.DELIVER])
def test_a_disk_that_is_full_for_an_hour_costs_no_study_its_draft(
    small_disk: Path, small_clinic: Clinic, stage: Stage | None
):
    image = an_image()
    study = str(image.StudyInstanceUID)
    small_clinic.send(image)
    if stage is not None:
        small_clinic.until_stage(study, stage)

    filler = fill(small_disk)
    small_clinic.rounds(120)
    during = small_clinic.jobs(study)
    filler.unlink()
    small_clinic.until_it_is_quiet()

    assert all(job.stage is not Stage.FAILED for job in during)
    assert small_clinic.ended(study) == [Stage.DONE]
    assert small_clinic.results("pacs").total() == 2
    assert list(store_problems(small_clinic.product.serving._store, small_clinic.acknowledged)) == []


def test_a_store_that_has_become_read_only_is_told_to_the_sender_and_waited_for(
    tmp_path: Path, clinic: Clinic
):
    files = clinic.settings.agent.storage.folder / "files"
    clinic.stop()
    with a_tmpfs(files, "8m"):
        clinic.product = clinic.started()
        clinic.send(an_image(1))
        clinic.until_stage(str(an_image().StudyInstanceUID), Stage.COMPOSE)

        subprocess.run(["mount", "-o", "remount,ro", str(files)], check=True)
        refused = status_of_sending(clinic, an_image(2))
        clinic.rounds(1)
        subprocess.run(["mount", "-o", "remount,rw", str(files)], check=True)
        clinic.send(an_image(2))
        clinic.until_it_is_quiet()
        problems = list(store_problems(clinic.product.serving._store, clinic.acknowledged))

    assert refused == 0xA700
    assert clinic.ended(str(an_image().StudyInstanceUID)) == [Stage.DONE, Stage.DONE]
    assert problems == []
    assert not os.path.ismount(files)
