"""A product whose clock and loops the test turns, in the test's own process, and a hospital around it."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from config.settings import Settings
from storage.jobs import ENDS
from storage.records import Job, Stage
from tests.crash.effects import Cut, Effects
from tests.crash.hospital import Hospital
from tests.crash.product import Product, Ready, Start


@dataclass
class Clinic(Hospital):
    """The hospital of the crash suite with the product within reach.

    Attributes:
        change: makes other settings of the usual ones.
    """

    change: Callable[[Settings], Settings] = lambda settings: settings

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = self.change(self.settings)
        self.product = self.started()

    def started(self) -> Product:
        """A product with its ports open, on what is in the folder."""
        self.folder.mkdir(exist_ok=True)
        return Product(Start(self.settings, Cut(), self.now, self.folder / "log"), Effects(Cut()))

    def running(self) -> Ready:
        return self.product.ready()

    def until_it_is_quiet(self) -> None:
        turned = self.product.turn(self.product.now)
        assert turned.is_ended, "a study is stuck"

    def rounds(self, count: int, step: timedelta = timedelta(seconds=30)) -> None:
        """Lets the loops go round until nothing is due, `count` times, with so much time between."""
        for _ in range(count):
            self.product.work()
            self.product.now += step

    def until_stage(self, study: str, stage: Stage) -> None:
        """Lets the loops go round step by step until a study's newest job stands at a stage."""
        for _ in range(100):
            if (jobs := self.jobs(study)) and jobs[-1].stage is stage:
                return
            for loop in self.product.loops():
                self.product.attempt(loop)
                if (jobs := self.jobs(study)) and jobs[-1].stage is stage:
                    return
            self.product.now += timedelta(seconds=30)
        raise AssertionError(f"never came to {stage}")

    def jobs(self, study: str) -> tuple[Job, ...]:
        return self.product.tools.jobs.jobs_of_study(study)

    def ended(self, study: str) -> list[Stage]:
        return [job.stage for job in self.jobs(study) if job.stage in ENDS]

    def stop(self) -> None:
        self.product.serving.stop()


@pytest.fixture(autouse=True)
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Faults are loud: the log goes to a file, and a test that fails leaves it."""
    path = tmp_path / "log"
    before = structlog.get_config()
    with path.open("w", encoding="utf-8") as file:
        structlog.configure(
            processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
            logger_factory=structlog.WriteLoggerFactory(file=file),
        )
        yield path
        structlog.configure(**before)


MakeClinic = Callable[..., Clinic]


@pytest.fixture
def a_clinic(tmp_path: Path) -> Iterator[MakeClinic]:
    """Opens a clinic; it is closed after the test."""
    opened: list[Clinic] = []

    def _open(change: Callable[[Settings], Settings] = lambda settings: settings) -> Clinic:
        opened.append(Clinic(tmp_path / "clinic", "", change=change))
        return opened[-1]

    yield _open
    for clinic in opened:
        clinic.stop()
        clinic.close()


@pytest.fixture
def clinic(a_clinic: MakeClinic) -> Clinic:
    return a_clinic()


def with_destinations(settings: Settings, **values: object) -> Settings:
    """The settings with something else for every destination."""
    destinations = tuple(one.model_copy(update=values) for one in settings.peers.destinations)
    return settings.model_copy(
        update={"peers": settings.peers.model_copy(update={"destinations": destinations})}
    )


@contextmanager
def a_tmpfs(place: Path, size: str) -> Iterator[Path]:
    """A file system in memory of its own, for what is to be full or read-only; skips where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "preread-test", str(place)]
    try:
        mounted = subprocess.run(mounting, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount program here")
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
