"""What must be true after any life, however it was cut."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Table, select

from agent.store import Store, open_store
from storage.jobs import ENDS
from storage.records import Job, Stage
from storage.tables import deliveries, instances, jobs, prior_requests, quarantined_messages, result_objects
from tests.crash.hospital import EARLIER, EXPECTED, HAND, LATE, REPORT, Hospital
from tests.listener.conftest import dataset_of


def broken_promises(hospital: Hospital) -> list[str]:
    """What is not as it was promised, a sentence each; [] if all is well."""
    store = open_store(hospital.settings)
    try:
        return [*store_problems(store, hospital.acknowledged), *_line_problems(store, hospital)]
    finally:
        store.database.close()


def store_problems(store: Store, acknowledged: dict[str, str]) -> Iterator[str]:
    """Whatever the studies: all that was acknowledged is there, no row without its file, no lease is held.

    Args:
        acknowledged: SHA-256 of the dataset by SOP Instance UID.
    """
    for uid, sha256 in acknowledged.items():
        known = store.index.known(uid)
        if known is None:
            yield f"{uid} was acknowledged and is not in the index"
        elif not store.files.absolute(known.path).is_file():
            yield f"{uid} was acknowledged and its file is not there"
        elif hashlib.sha256(dataset_of(store.files.read(known.path))).hexdigest() != sha256:
            yield f"{uid} was acknowledged and is stored with other content"
    yield from _row_problems(store, instances, dataset_only=True)
    yield from _row_problems(store, result_objects)
    yield from _row_problems(store, quarantined_messages)
    with store.database.reading() as connection:
        for table in (jobs, deliveries, prior_requests):
            held = connection.execute(select(table.c.number).where(table.c.lease_owner.is_not(None))).all()
            yield from (f"number {row.number} of {table.name} is still leased" for row in held)
        ended = select(jobs.c.number, jobs.c.stage, jobs.c.problem)
        for row in connection.execute(ended):
            if row.stage not in ENDS:
                yield f"job {row.number} stands at {row.stage}"
            elif row.stage in (Stage.FAILED, Stage.SKIPPED) and not row.problem:
                yield f"job {row.number} is {row.stage} and does not say why"


def _row_problems(store: Store, table: Table, *, dataset_only: bool = False) -> Iterator[str]:
    with store.database.reading() as connection:
        found = connection.execute(select(table.c.path, table.c.sha256, table.c.size_bytes)).all()
    for row in found:
        path = store.files.absolute(row.path)
        if not path.is_file():
            yield f"{table.name}: {row.path} has a row and no file"
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(dataset_of(content) if dataset_only else content).hexdigest()
        if (digest, len(content)) != (row.sha256, row.size_bytes):
            yield f"{table.name}: {row.path} is not what its row says"


def _line_problems(store: Store, hospital: Hospital) -> Iterator[str]:
    """What this life must come to: a single cut costs no study its draft and doubles none."""
    for destination, expected in EXPECTED.items():
        results = hospital.results(destination)
        if results != expected:
            yield f"{destination} has {dict(results)}, not {dict(expected)}"
    for dataset, stages in (
        (EARLIER, [Stage.DONE]),
        (LATE, [Stage.DONE, Stage.DONE]),
        (HAND, [Stage.SKIPPED]),
    ):
        ended = store.jobs.jobs_of_study(str(dataset.StudyInstanceUID))
        if [job.stage for job in ended] != stages:
            yield f"stages are {[(job.stage, job.problem) for job in ended]}, not {stages}"
        elif dataset is LATE:
            yield from _prior_problems(ended)
    if store.reports.counts()["report_versions"] != 1:
        yield f"{store.reports.counts()['report_versions']} versions of {REPORT.split('|')[9]}"
    if len(store.patients.links(10)) != 1:
        yield f"{len(store.patients.links(10))} links of the merge"
    litter = list(Path(store.files.absolute("x")).parent.glob(".incoming/*"))
    # An open or an unlink that says it failed may leave one; the next start sweeps it.
    if litter and hospital.kind_cut not in ("open", "unlink"):
        yield f"{len(litter)} part files are left"


def _prior_problems(ended: tuple[Job, ...]) -> Iterator[str]:
    for job in ended:
        told = job.manifest_json or ""
        if str(EARLIER.StudyInstanceUID) not in told or "FINDINGS" not in told.upper():
            yield f"revision {job.revision} was read without its prior or the report of it"
