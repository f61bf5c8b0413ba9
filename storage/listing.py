"""Studies in a table: what came last, and how far each has come. Nothing that says whose they are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, not_, select

from storage.database import Database
from storage.records import InstanceRole, Stage
from storage.tables import instances, jobs, second_readings, studies


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """One study and its newest job.

    Attributes:
        received_at: when the newest of its instances came; received_from: the AE title that sent that one.
        images: how many, of every revision.
        fetched_from: the archive that it was fetched from as a prior, or None.
        has_patient: whether its patient has a number that means something; if not, it has no priors.
        job_number, revision, stage, opened_at, changed_at: of the newest job; None if there was none yet.
        problem: of that job, or why nobody reads the study; a sentence, or None.
        second: how far the second reading of that job is: "open", "read" or "failed"; None if none was begun.
    """

    study_instance_uid: str
    received_at: datetime
    received_from: str
    images: int
    modalities: tuple[str, ...]
    fetched_from: str | None
    has_patient: bool
    job_number: int | None
    revision: int | None
    stage: Stage | None
    opened_at: datetime | None
    changed_at: datetime | None
    problem: str | None
    second: str | None


_ARRIVED = instances.alias("newest")
_HAS_PATIENT = studies.c.identifiers != literal((), studies.c.identifiers.type)
_SECOND = case(
    (second_readings.c.number.is_(None), None),
    (second_readings.c.done_at.is_not(None), "read"),
    (second_readings.c.failed_at.is_not(None), "failed"),
    else_="open",
)


class Listing:
    """Lists studies; safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self,
        limit: int,
        *,
        stage: Stage | None = None,
        since: datetime | None = None,
        only_without_patient: bool = False,
    ) -> tuple[ListedStudy, ...]:
        """The studies in which something arrived last, newest first.

        Args:
            stage: of the newest job; None takes all, those without a job too.
            since: nothing that has been silent since before this time.
        """
        conditions: list[ColumnElement[bool]] = []
        if stage is not None:
            conditions.append(jobs.c.stage == stage)
        if since is not None:
            conditions.append(_ARRIVED.c.received_at >= since)
        if only_without_patient:
            conditions.append(not_(_HAS_PATIENT))
        with self._database.reading() as connection:
            rows = connection.execute(_newest_first().where(*conditions).limit(limit))
            return tuple(ListedStudy(*row) for row in rows)


def _newest_first() -> Select[*tuple[Any, ...]]:
    """Every study with its newest instance and its newest job, in the order of `ListedStudy`."""
    other_jobs = jobs.alias()
    newest_job = (
        select(func.max(other_jobs.c.number))
        .where(other_jobs.c.study_instance_uid == studies.c.study_instance_uid)
        .correlate(studies)
        .scalar_subquery()
    )
    images = (
        select(func.count())
        .where(
            instances.c.study_instance_uid == studies.c.study_instance_uid,
            instances.c.role == InstanceRole.IMAGE,
        )
        .correlate(studies)
        .scalar_subquery()
    )
    return (
        select(
            studies.c.study_instance_uid,
            _ARRIVED.c.received_at,
            _ARRIVED.c.calling_ae_title,
            images,
            studies.c.modalities,
            studies.c.fetched_from,
            _HAS_PATIENT,
            jobs.c.number,
            jobs.c.revision,
            jobs.c.stage,
            jobs.c.opened_at,
            jobs.c.changed_at,
            func.coalesce(jobs.c.problem, studies.c.conflict),
            _SECOND,
        )
        .join(_ARRIVED, _ARRIVED.c.number == studies.c.newest_number)
        .outerjoin(jobs, jobs.c.number == newest_job)
        .outerjoin(second_readings, second_readings.c.job_number == jobs.c.number)
        .order_by(studies.c.newest_number.desc())
    )
