"""Runs the demo: starts preread as it is in production, sends synthetic patients, waits for the drafts, shows them."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent import manifest as manifests
from agent.configuration import load
from agent.demo.pacs import MiniPacs
from agent.demo.page import write_page
from agent.demo.pictures import write_picture
from agent.demo.studies import DemoPatient, demo_patient
from agent.manifest import Manifest
from agent.peers import Peers
from agent.store import Store, open_store
from config.settings import DestinationSettings, Settings
from inference.reading import Finding, Reading, Status
from storage.records import Job, Stage

ROWS, COLUMNS = 1280, 1120
START_SECONDS_MAX = 120.0
DRAFT_SECONDS_MAX = 120.0
FINISHED = (Stage.DONE, Stage.FAILED, Stage.SKIPPED)
PACS_AE_TITLE = "DEMOPACS"
TABLE_COLUMNS_MIN = 120

AGENT_TOML = """\
[listener]
port = {port}

[storage]
folder = "../preread"

[worker]
tick_seconds = 0.25
poll_seconds = 0.1

[log]
file = "../preread.log"
"""
PEERS_TOML = """\
[[sender]]
ae_title = "{ae_title}"
addresses = ["127.0.0.1"]

[[destination]]
name = "demo-pacs"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
outputs = ["report_sr", "findings_sr", "presentation_state", "secondary_capture"]
"""
READING_TOML = """\
[study]
settle_seconds = 2.0
complete_when_views = ["frontal", "lateral"]
study_age_days_max = 0
"""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What became of one synthetic patient.

    Attributes:
        manifest: as the model saw it.
        seconds: from the last image sent to the last object back in the PACS, settle time included.
        objects: kind of object to how many the PACS got.
        problem: a sentence if no draft came back.
    """

    patient: DemoPatient
    job: Job | None
    manifest: Manifest | None
    reading: Reading | None
    objects: dict[str, int]
    seconds: float | None
    problem: str | None
    picture: Path | None


def demo(out: Path, *, patients: int, as_json: bool) -> bool:
    """Plays the whole day; True if every draft came back."""
    console = Console(stderr=as_json)
    console.width = max(console.width, TABLE_COLUMNS_MIN)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    pacs = MiniPacs(PACS_AE_TITLE, out / "objects")
    try:
        settings = write_config(out / "config", pacs.port)
        with (
            running_preread(settings, out),
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
            ) as progress,
        ):
            results = _play(settings, pacs, patients, out, progress)
    finally:
        pacs.close()
    page = write_page(
        out, results, {result.patient.patient_id: truth_lines(result.patient) for result in results}
    )
    if as_json:
        print(json.dumps([_summary(result) for result in results], indent=2, ensure_ascii=False))  # noqa: T201
    else:
        console.print(_table(results))
        console.print(f"Everything is in {out}/; to look at: {page}")
    return all(result.problem is None for result in results)


def write_config(folder: Path, pacs_port: int) -> Settings:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "agent.toml").write_text(AGENT_TOML.format(port=port), encoding="utf-8")
    (folder / "peers.toml").write_text(
        PEERS_TOML.format(ae_title=PACS_AE_TITLE, port=pacs_port), encoding="utf-8"
    )
    (folder / "reading.toml").write_text(READING_TOML, encoding="utf-8")
    return load(folder)


@contextmanager
def running_preread(settings: Settings, out: Path) -> Iterator[None]:
    """Runs `preread serve` beside us until the block ends."""
    with (out / "preread.err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "serve", "--config", str(settings.folder)], stderr=errors
        )
    try:
        _wait_for_echo(settings, process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_for_echo(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    us = DestinationSettings(
        name="preread",
        ae_title=settings.agent.device.ae_title,
        host="127.0.0.1",
        port=settings.agent.listener.port,
        calling_ae_title=PACS_AE_TITLE,
    )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not Peers(PACS_AE_TITLE).echo(us).ok:
        if process.poll() is not None:
            raise RuntimeError(
                f"preread serve ended with exit code {process.returncode}; see preread.err and preread.log"
            )
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"preread did not answer a C-ECHO within {START_SECONDS_MAX:.0f} s; see preread.log"
            )
        time.sleep(0.1)


def _play(settings: Settings, pacs: MiniPacs, count: int, out: Path, progress: Progress) -> list[DemoResult]:
    port, ae_title = settings.agent.listener.port, settings.agent.device.ae_title
    now = datetime.now(UTC).astimezone()  # noqa: TID251 - the demo plays the hospital, and its clock
    patients, sent_at = [], []
    sending = progress.add_task("drawing and sending patients", total=count)
    for position in range(count):
        patient = demo_patient(position, now, rows=ROWS, columns=COLUMNS)
        if patient.prior_objects:
            pacs.send(patient.prior_objects, "127.0.0.1", port, ae_title)
        pacs.send(patient.current_objects, "127.0.0.1", port, ae_title)
        patients.append(patient)
        sent_at.append(datetime.now(UTC))  # noqa: TID251
        progress.advance(sending)
    store = open_store(settings)
    try:
        drafting = progress.add_task("drafts back in the PACS", total=count)
        results = []
        for patient, sent in zip(patients, sent_at, strict=True):
            results.append(_wait_for_draft(patient, sent, store, pacs, out))
            progress.advance(drafting)
        return results
    finally:
        store.database.close()


def _wait_for_draft(
    patient: DemoPatient, sent: datetime, store: Store, pacs: MiniPacs, out: Path
) -> DemoResult:
    study = patient.study_instance_uid
    deadline = time.monotonic() + DRAFT_SECONDS_MAX
    job: Job | None = None
    while time.monotonic() < deadline:
        job = next(reversed(store.jobs.jobs_of_study(study)), None)
        if job is not None and job.stage in FINISHED:
            break
        time.sleep(0.1)
    objects = _objects_of(store, job, {received.sop_instance_uid for received in pacs.received(study)})
    manifest = manifests.load_manifest(job.manifest_json) if job is not None and job.manifest_json else None
    reading = manifests.load_reading(job.reading_json) if job is not None and job.reading_json else None
    if manifest is not None and reading is not None:
        manifest = manifests.as_shown(manifest, reading)
    problem = _problem(job)
    if problem is None and not {"report_sr", "findings_sr"} & objects.keys():
        problem = "the job is done, but no report came back to the PACS"
    seconds = (job.changed_at - sent).total_seconds() if job is not None and problem is None else None
    picture = write_picture(out / "pictures", patient, reading) if reading is not None else None
    return DemoResult(patient, job, manifest, reading, objects, seconds, problem, picture)


def _problem(job: Job | None) -> str | None:
    if job is None:
        return "no job was opened for the study"
    if job.stage is Stage.DONE:
        return None
    return job.problem or f"still in stage {job.stage} after {DRAFT_SECONDS_MAX:.0f} s"


def _objects_of(store: Store, job: Job | None, received: set[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for result in store.jobs.results_of_job(job.number) if job is not None else ():
        if result.sop_instance_uid in received:
            counts[result.kind] = counts.get(result.kind, 0) + 1
    return counts


def _table(results: list[DemoResult]) -> Table:
    table = Table(title="AI DRAFT - NOT VERIFIED · synthetic demo model, synthetic patients", show_lines=True)
    for heading in ("patient", "truth", "what the draft says", "boxes", "what the PACS got", "seconds"):
        table.add_column(heading)
    for result in results:
        said = [_said(finding) for finding in result.reading.findings] if result.reading else []
        boxes = sum(len(finding.boxes) for finding in result.reading.findings) if result.reading else 0
        table.add_row(
            f"{result.patient.patient_id}\n{'with a prior' if result.patient.prior else 'first visit'}",
            "\n".join(truth_lines(result.patient)) or "no finding",
            result.problem or "\n".join(said) or "no finding named",
            str(boxes),
            "\n".join(f"{number} {kind}" for kind, number in sorted(result.objects.items())),
            "" if result.seconds is None else f"{result.seconds:.1f}",
        )
    return table


def truth_lines(patient: DemoPatient) -> list[str]:
    """What was drawn, one line for each finding."""
    return [
        " ".join(
            word
            for word in (true.size, true.side, true.name, f"({true.change})" if true.change else "")
            if word
        )
        for true in patient.current.findings
    ]


def _said(finding: Finding) -> str:
    status = "" if finding.status is Status.PRESENT else f"{finding.status}: "
    change = f"({finding.change})" if finding.change else ""
    return status + " ".join(word for word in (finding.side, finding.name, change) if word)


def _summary(result: DemoResult) -> dict[str, object]:
    return {
        "patient_id": result.patient.patient_id,
        "study_instance_uid": result.patient.study_instance_uid,
        "has_prior": result.patient.prior is not None,
        "truth": truth_lines(result.patient),
        "draft": [_said(finding) for finding in result.reading.findings] if result.reading else None,
        "report": result.reading.report if result.reading else None,
        "boxes": sum(len(finding.boxes) for finding in result.reading.findings) if result.reading else 0,
        "objects": result.objects,
        "seconds": result.seconds,
        "problem": result.problem,
    }
