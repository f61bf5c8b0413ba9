"""How much there is and how much has happened: what is counted for a monitor, by no worker on its way."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, exists, func, select

from storage.database import Database
from storage.jobs.stages import ENDS, STAGES
from storage.records import InstanceRole, Stage, StepTime
from storage.tables import (
    columns_of,
    deliveries,
    instances,
    is_open_delivery,
    is_unread,
    jobs,
    quarantined_messages,
    refusals,
    step_times,
    studies,
)


@dataclass(frozen=True, slots=True)
class Marks:
    """The highest numbers that have been counted."""

    instance: int
    refusal: int
    step_time: int


@dataclass(frozen=True, slots=True)
class Happened:
    """What has happened since some marks.

    Attributes:
        marks: to go on from.
        studies: whose first instance came.
        instances: (how many, their bytes) by role.
        refusals: how many by DIMSE status answered, None where there was none to give.
        step_times: in the order in which they were written.
    """

    marks: Marks
    studies: int
    instances: Mapping[InstanceRole, tuple[int, int]]
    refusals: Mapping[int | None, int]
    step_times: tuple[StepTime, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand.

    Attributes:
        jobs: how many at each stage; every stage is there.
        oldest_opened_at: when the oldest job of a stage was opened, for stages that have one and are no end.
        deliveries: (how many are open, since when the oldest waits or None if none does) by destination.
        unread_studies: with images that no job has seen.
        quarantined: messages that nobody has seen to.
    """

    jobs: Mapping[Stage, int]
    oldest_opened_at: Mapping[Stage, datetime]
    deliveries: Mapping[str, tuple[int, datetime | None]]
    unread_studies: int
    quarantined: int

    @property
    def is_work_open(self) -> bool:
        """Whether a study or a delivery waits for somebody to go on with it."""
        return bool(self.oldest_opened_at or self.deliveries or self.unread_studies)


class Census:
    """Counts. What may be asked every few seconds costs what is new or open, and the jobs' index once through."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def marks(self) -> Marks:
        """The marks of now: from here on everything is new."""

        def newest(table: Table) -> int:
            return int(connection.scalar(select(func.max(table.c.number))) or 0)

        with self._database.reading() as connection:
            return Marks(newest(instances), newest(refusals), newest(step_times))

    def since(self, marks: Marks) -> Happened:
        """What has happened since; ask with the marks of the answer before, and nothing is counted twice."""
        now = self.marks()
        new = instances.c.number.between(marks.instance + 1, now.instance)
        before = instances.alias()
        is_first = ~exists().where(
            before.c.study_instance_uid == instances.c.study_instance_uid, before.c.number <= marks.instance
        )
        count = func.count()
        by_role = select(instances.c.role, count, func.sum(instances.c.size_bytes)).where(new)
        new_studies = select(func.count(instances.c.study_instance_uid.distinct())).where(new, is_first)
        by_status = select(refusals.c.status, count).where(
            refusals.c.number.between(marks.refusal + 1, now.refusal)
        )
        times = select(*columns_of(step_times, StepTime)).where(
            step_times.c.number.between(marks.step_time + 1, now.step_time)
        )
        times = times.order_by(step_times.c.number)
        with self._database.reading() as connection:
            rows = connection.execute(by_role.group_by(instances.c.role))
            return Happened(
                marks=now,
                studies=int(connection.scalar(new_studies) or 0),
                instances={role: (number, int(size)) for role, number, size in rows},
                refusals=dict(connection.execute(by_status.group_by(refusals.c.status)).all()),
                step_times=tuple(StepTime(*row) for row in connection.execute(times)),
            )

    def standing(self) -> Standing:
        """How things stand now."""
        count = func.count()
        by_stage = select(jobs.c.stage, count).group_by(jobs.c.stage)
        oldest = select(jobs.c.stage, func.min(jobs.c.opened_at)).where(
            jobs.c.stage.in_([stage for stage in STAGES if stage not in ENDS])
        )
        waiting = select(deliveries.c.destination, count, func.min(deliveries.c.waiting_since))
        waiting = waiting.where(is_open_delivery).group_by(deliveries.c.destination)
        in_quarantine = quarantined_messages.c.resolved_at.is_(None)
        with self._database.reading() as connection:
            return Standing(
                jobs=dict.fromkeys(STAGES, 0) | dict(connection.execute(by_stage).all()),
                oldest_opened_at=dict(connection.execute(oldest.group_by(jobs.c.stage)).all()),
                deliveries={name: (number, since) for name, number, since in connection.execute(waiting)},
                unread_studies=int(
                    connection.scalar(select(count).select_from(studies).where(is_unread)) or 0
                ),
                quarantined=int(
                    connection.scalar(select(count).select_from(quarantined_messages).where(in_quarantine))
                    or 0
                ),
            )

    def bytes_since(self, since: datetime) -> int:
        """How many bytes have been received since; looks at every instance, so not for a loop."""
        size = select(func.coalesce(func.sum(instances.c.size_bytes), 0)).where(
            instances.c.received_at >= since
        )
        with self._database.reading() as connection:
            return int(connection.scalar(size) or 0)
