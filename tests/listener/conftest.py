"""A listener on a free loopback port with real files and a real index behind it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from agent.dicom.headers import headers_from_elements
from agent.identity import IdentifierRules, SenderRule
from agent.listener import Commitments, Listener
from config.agent_settings import ListenerSettings
from config.peers_settings import SenderSettings
from storage.database import Database, connect
from storage.files import Files
from storage.index import Index
from storage.records import Instance, Refusal
from tests.builders import a_radiograph

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Inbox:
    """What a test sees of a running listener."""

    listener: Listener
    index: Index
    files: Files
    stored: list[Instance]
    database: Database

    @property
    def port(self) -> int:
        return self.listener.port

    def refusals(self) -> tuple[Refusal, ...]:
        return self.index.refusals(100)

    def the_refusal(self) -> Refusal:
        """The one refusal, which may come a moment after the sender noticed."""
        await_that(lambda: len(self.refusals()) == 1)
        return self.refusals()[0]

    def instance_count(self) -> int:
        studies = self.index.recent_studies(1000)
        return sum(len(self.index.instances(study.study_instance_uid)) for study in studies)

    def dataset_bytes(self, sop_instance_uid: str) -> bytes:
        """The stored dataset without preamble and file meta."""
        instance = self.index.known(sop_instance_uid)
        assert instance is not None
        return dataset_of(self.files.read(instance.path))

    def part_files(self) -> list[Path]:
        return list(self.files.absolute("x").parent.glob("**/*.part"))


StartListener = Callable[..., Inbox]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows; to be copied, since the migration takes half a second."""
    path = tmp_path_factory.mktemp("empty") / "preread.sqlite"
    connect(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def start(tmp_path: Path, empty_database: Path) -> Iterator[StartListener]:
    """Starts a listener with the given limits; it is stopped after the test."""
    with ExitStack() as stack:

        def _start(
            *,
            senders: tuple[SenderSettings, ...] = (),
            accept_any_sender: bool | None = None,
            archives: tuple[SenderSettings, ...] = (),
            also_called: tuple[str, ...] = (),
            headers: Any = headers_from_elements,
            commitments: Commitments | None = None,
            **limits: Any,
        ) -> Inbox:
            values = {"free_bytes_min": 0, "idle_seconds": 20, "stall_seconds": 20} | limits
            settings = ListenerSettings(**values).model_copy(update={"port": 0})
            if not (tmp_path / "preread.sqlite").exists():
                shutil.copy(empty_database, tmp_path / "preread.sqlite")
            database = connect(f"sqlite:///{tmp_path / 'preread.sqlite'}")
            stack.callback(database.close)
            stored: list[Instance] = []
            files = Files(tmp_path / "files")
            listener = Listener(
                listener=settings,
                ae_title="PREREAD",
                also_called=also_called,
                senders=senders,
                files=files,
                index=Index(database),
                headers=headers,
                clock=lambda: NOW,
                on_stored=stored.append,
                accept_any_sender=accept_any_sender,
                archives=archives,
                commitments=commitments,
                identifiers=IdentifierRules(
                    senders={one.ae_title: SenderRule(one.default_issuer) for one in (*archives, *senders)}
                ),
            )
            listener.start()
            stack.callback(listener.stop, 2.0)
            return Inbox(listener, Index(database), files, stored, database)

        yield _start


@pytest.fixture
def inbox(start: StartListener) -> Inbox:
    """A listener with the default limits."""
    return start()


def await_that(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until something is so; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.01)


def dataset_of(file: bytes) -> bytes:
    """The dataset of a DICOM file: what stands behind preamble and file meta."""
    meta = dcmread(BytesIO(file), specific_tags=[], stop_before_pixels=True, force=True).file_meta
    return file[132 + 12 + meta.FileMetaInformationGroupLength :]


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a dataset in its transfer syntax."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return dataset_of(buffer.getvalue())


def a_cr(number: int = 1, **arguments: Any) -> tuple[str, bytes]:
    """(SOP Instance UID, encoded dataset) of a small CR image."""
    image = a_radiograph(modality="CR", **arguments)
    image.SOPInstanceUID = f"1.2.826.0.1.3680043.10.999.{number}"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return str(image.SOPInstanceUID), encoded(image)
