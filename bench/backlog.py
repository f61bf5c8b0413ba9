"""Studies an hour from a backlog, with one worker and with two, where the model leaves the processor free.

A card is stood for by an engine that waits: it takes its seconds for each study and no processor. The rest is preread
as in production: its reader decodes and renders the films, makes the objects and writes its rows; a service beside it
delivers to a mini PACS.

    python -m bench.backlog [--studies 16] [--seconds 1.0]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from agent.clock import system_clock
from agent.configuration import load
from agent.demo.pacs import MiniPacs
from agent.demo.run import PACS_AE_TITLE, running_preread, write_config
from agent.demo.studies import DemoPatient, demo_patient
from agent.store import Store, open_store
from config.settings import Settings
from inference.case import Case
from inference.question import Answer, CannotAsk, Question, Task
from inference.reading import Box, EngineIdentity, Finding, Reading, Status, Turn
from storage.records import Stage

_SECONDS, _ON_CARD = "PREREAD_BENCH_SECONDS", "PREREAD_BENCH_ON_CARD"
_WAIT_SECONDS_MAX = 600
FILMS = {"uncompressed": ExplicitVRLittleEndian, "JPEG 2000": JPEG2000Lossless}


class StandIn:
    """Waits as long as a card would take, and names one finding with a box."""

    def __init__(self) -> None:
        self.identity = EngineIdentity("stand-in", "1", "a stand-in for a card", "sha256:", is_demo=True)
        self.tasks: frozenset[Task] = frozenset()
        self.is_on_card = os.environ[_ON_CARD] == "yes"
        self._seconds = float(os.environ[_SECONDS])
        self._one_at_a_time = threading.Lock()

    def read(self, case: Case) -> Reading:
        with self._one_at_a_time:
            time.sleep(self._seconds)
        image = case.current.images[0]
        box = Box(image.key, 0.1 * image.columns, 0.6 * image.rows, 0.4 * image.columns, 0.9 * image.rows)
        finding = Finding("pleural effusion", Status.PRESENT, side="right", boxes=(box,))
        turn = Turn("findings", (image.key,), "Which findings? <image>", "pleural effusion.", 0.1, 10, 3)
        return Reading(
            (finding,), "There is a right effusion.", (turn,), self.identity, seconds=self._seconds
        )

    def ask(self, case: Case, question: Question) -> Answer:
        raise CannotAsk("a stand-in answers nothing")

    def close(self) -> None:
        return None


def open_stand_in(**settings: object) -> StandIn:
    """What reading.toml names."""
    return StandIn()


def seconds_a_study(patients: list[DemoPatient], seconds: float, *, on_card: bool) -> float:
    """Lets a backlog come up, then a reader work it off; from the second study made to the last."""
    os.environ[_SECONDS], os.environ[_ON_CARD] = str(seconds), "yes" if on_card else "no"
    with tempfile.TemporaryDirectory(prefix="preread-bench-") as folder:
        out = Path(folder)
        pacs = MiniPacs(PACS_AE_TITLE, out / "objects")
        settings = _settings(out, pacs)
        store = open_store(settings)
        try:
            with running_preread(settings, out):
                for one in patients:
                    port = settings.agent.listener.port
                    pacs.send([*one.prior_objects, *one.current_objects], "127.0.0.1", port, "PREREAD")
                studies = [one.study_instance_uid for one in patients]
                _wait(lambda: _at(store, studies, Stage.READ) == len(studies))
                made_at: list[float] = []

                def are_made() -> bool:
                    made = len(studies) - _at(store, studies, Stage.READ, Stage.COMPOSE)
                    made_at.extend([time.monotonic()] * (made - len(made_at)))
                    return made == len(studies)

                with _reader(settings):
                    _wait(are_made)
            return (made_at[-1] - made_at[1]) / (len(made_at) - 2)
        finally:
            store.database.close()
            pacs.close()


def _settings(out: Path, pacs: MiniPacs) -> Settings:
    write_config(out / "config", pacs.port)
    with (out / "config" / "reading.toml").open("a") as file:
        file.write('\n[engine]\nname = "bench.backlog:open_stand_in"\n\n[reader]\nchild = false\n')
    return load(out / "config")


@contextmanager
def _reader(settings: Settings) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "agent", "read", "--config", str(settings.folder)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _at(store: Store, studies: list[str], *stages: Stage) -> int:
    jobs = [store.jobs.jobs_of_study(study) for study in studies]
    return sum(bool(one) and one[-1].stage in stages for one in jobs)


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS_MAX
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the backlog did not come up, or does not go down; see preread.log")
        time.sleep(0.01)


def _patients(count: int, syntax: str, rows: int, columns: int) -> list[DemoPatient]:
    patients = [
        demo_patient(position, system_clock().astimezone(), rows=rows, columns=columns)
        for position in range(count)
    ]
    for image in [image for one in patients for image in (*one.prior_objects, *one.current_objects)]:
        if "PixelData" in image and syntax != ExplicitVRLittleEndian:
            image.compress(syntax, generate_instance_uid=False)
    return patients


def main() -> None:
    """Prints the table, each way measured by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="that the model takes for a study")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--columns", type=int, default=2048)
    asked = parser.parse_args()
    sys.stdout.write(
        "| films | one worker, s a study | two workers, s a study | times faster |\n|---|---|---|---|\n"
    )
    for name, syntax in FILMS.items():
        patients = _patients(asked.studies, syntax, asked.rows, asked.columns)
        taken: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(asked.rounds):
            for on_card, seconds in taken.items():
                seconds.append(seconds_a_study(patients, asked.seconds, on_card=on_card))
        one, two = median(taken[False]), median(taken[True])
        sys.stdout.write(f"| {name} | {one:.2f} | {two:.2f} | {one / two:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
