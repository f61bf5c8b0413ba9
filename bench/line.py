"""Seconds from the last image to the objects in the PACS, with settling and the model's own time told apart.

`make bench` runs it. preread runs as in production (`preread serve` with its reader), a mini PACS around it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent import manifest as manifests
from agent.clock import system_clock
from agent.demo.pacs import MiniPacs
from agent.demo.run import FINISHED, PACS_AE_TITLE, running_preread, write_config
from agent.demo.studies import demo_patient
from agent.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one study: from the last image acknowledged to the last object in the PACS, and its parts.

    Attributes:
        model: from the pictures, rendered, to the reading: looking at them and every answer.
    """

    total: float
    settling: float
    model: float

    @property
    def ours(self) -> float:
        return self.total - self.settling - self.model


def measure(cases: int, rows: int, columns: int) -> list[Timing]:
    """Sends the synthetic patients one after the other and times each draft."""
    with tempfile.TemporaryDirectory(prefix="preread-bench-") as folder:
        out = Path(folder)
        pacs = MiniPacs(PACS_AE_TITLE, out / "objects")
        settings = write_config(out / "config", pacs.port)
        store = open_store(settings)
        try:
            with running_preread(settings, out):
                return [
                    _one(position, rows, columns, pacs, settings.agent.listener.port, store)
                    for position in range(cases + 1)
                ][1:]
        finally:
            store.database.close()
            pacs.close()


def _one(position: int, rows: int, columns: int, pacs: MiniPacs, port: int, store: Store) -> Timing:
    patient = demo_patient(position, system_clock().astimezone(), rows=rows, columns=columns)
    if patient.prior_objects:
        pacs.send(patient.prior_objects, "127.0.0.1", port, "PREREAD")
    pacs.send(patient.current_objects, "127.0.0.1", port, "PREREAD")
    sent = system_clock()
    study = patient.study_instance_uid
    deadline = time.monotonic() + 120
    while not (jobs := store.jobs.jobs_of_study(study)) or jobs[0].stage not in FINISHED:
        if time.monotonic() > deadline:
            raise TimeoutError(f"study {study} was not finished within 120 s")
        time.sleep(0.01)
    job = jobs[0]
    assert job.reading_json is not None, job.problem
    reading = manifests.load_reading(job.reading_json)
    last_back = max(
        datetime.fromtimestamp(item.path.stat().st_mtime, sent.tzinfo) for item in pacs.received(study)
    )
    return Timing(
        total=(last_back - sent).total_seconds(),
        settling=max(0.0, (job.opened_at - sent).total_seconds()),
        model=reading.seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1280)
    parser.add_argument("--columns", type=int, default=1120)
    asked = parser.parse_args()
    timings = measure(asked.cases, asked.rows, asked.columns)
    lines = ["| seconds | median | p95 | longest |", "|---|---|---|---|"]
    for name in ("total", "settling", "model", "ours"):
        values = sorted(getattr(timing, name) for timing in timings)
        p95 = values[min(len(values) - 1, int(0.95 * len(values)))]
        lines.append(f"| {name} | {statistics.median(values):.2f} | {p95:.2f} | {values[-1]:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
