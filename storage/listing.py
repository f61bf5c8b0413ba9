"""Studies in a table: what came last, and how far each has come. Nothing that says whose they are."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select

from storage.database import Database
from storage.records import InstanceRole, Stage
from storage.tables import instances, jobs, studies, study_identifiers


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
        of_study = jobs.alias()
        newest_job = (
            select(func.max(of_study.c.number))
            .where(of_study.c.study_instance_uid == studies.c.study_instance_uid)
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
        has_patient = exists().where(study_identifiers.c.study_instance_uid == studies.c.study_instance_uid)
        newest = instances.alias()
        query = (
            select(
                studies.c.study_instance_uid,
                newest.c.received_at,
                newest.c.calling_ae_title,
                images,
                studies.c.modalities,
                studies.c.fetched_from,
                has_patient,
                jobs.c.number,
                jobs.c.revision,
                jobs.c.stage,
                jobs.c.opened_at,
                jobs.c.changed_at,
                func.coalesce(jobs.c.problem, studies.c.conflict),
            )
            .join(newest, newest.c.number == studies.c.newest_number)
            .outerjoin(jobs, jobs.c.number == newest_job)
            .order_by(studies.c.newest_number.desc())
            .limit(limit)
        )
        conditions = [
            *([] if stage is None else [jobs.c.stage == stage]),
            *([] if since is None else [newest.c.received_at >= since]),
            *([~has_patient] if only_without_patient else []),
        ]
        with self._database.reading() as connection:
            rows = connection.execute(query.where(*conditions))
            return tuple(ListedStudy(*row) for row in rows)
