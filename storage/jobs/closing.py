"""The end of the drafts of a study: withdrawn, or reported by a radiologist."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of
from storage.database import Database
from storage.jobs import rows
from storage.jobs.stages import CLAIMABLE
from storage.outside_records import ReportStatus
from storage.records import Closing, ClosingKind, Event, Job, ResultObject, Stage
from storage.tables import (
    closings,
    columns_of,
    deliveries,
    events,
    is_open_delivery,
    jobs,
    reports,
    row_of,
    studies,
)

CLOSING = columns_of(closings, Closing)


class Closings:
    """What ends the drafts of studies. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self, closing: Closing) -> bool:
        """Ends the drafts of a study: nothing on its way goes on, and no job opens by itself any more.

        Returns:
            False if it is closed already, or was once by this report or a later one.

        Raises:
            LookupError: if the study is unknown.
        """
        with self._database.writing() as connection:
            rows.lock_study(connection, closing.study_instance_uid)
            before = closings_of(connection, closing.study_instance_uid)
            if any(one.reopened_at is None or _is_told(one, closing) for one in before):
                return False
            add_closing(connection, closing)
            return True

    def withdraw(
        self,
        closing: Closing,
        revision: int,
        results: Sequence[ResultObject],
        destinations: Mapping[str, Sequence[str]],
        withdrawn_by: str = "the operator",
    ) -> Job | None:
        """Closes a study, and opens a last revision that tells those who may hold a draft, all in one commit.

        Args:
            revision: what `results` were made for.
            results: the withdrawal in every form; their `job_number` is set here.
            destinations: as in `advance`; with nothing to send there is no job.
            withdrawn_by: for the history and the audit trail; what the receivers are sent does not name who it was.

        Returns:
            The job, at stage `deliver`; None if there is nothing to send.

        Raises:
            LookupError: if the study is unknown, withdrawn already, or has got another revision meanwhile.
        """
        uid, now = closing.study_instance_uid, closing.closed_at
        with self._database.writing() as connection:
            newest_number = rows.lock_study(connection, uid)
            before = closings_of(connection, uid)
            if any(one.kind == closing.kind and one.reopened_at is None for one in before):
                raise LookupError(f"study {uid} is withdrawn already")
            add_closing(connection, closing, withdrawn_by)
            if not any(destinations.values()):
                return None
            because = f"withdrawn: {closing.because}"
            job = rows.open_job(connection, uid, newest_number, because, now, Stage.DELIVER)
            if job.revision != revision:
                raise LookupError(f"study {uid} was just read again; look at it, then withdraw once more")
            for result in results:
                rows.add_result(connection, replace(result, job_number=job.number))
            for destination, sop_instance_uids in destinations.items():
                for sop_instance_uid in sop_instance_uids:
                    rows.add_delivery(connection, job, sop_instance_uid, destination, now)
            return job

    def of_study(self, study_instance_uid: str) -> tuple[Closing, ...]:
        """Every closing of a study, oldest first; those that hold have no `reopened_at`."""
        with self._database.reading() as connection:
            return closings_of(connection, study_instance_uid)

    def reported_since(self, report_number: int, received_since: datetime) -> tuple[int, tuple[str, ...]]:
        """Looks for final reports that may end drafts.

        Args:
            report_number: those that came later are looked at,
            received_since: unless they came before this.

        Returns:
            The number of the newest report, and the studies with a job and no closing that a final or corrected
            one names, by Study Instance UID or accession number. Whether it is of the same patient is not asked.
        """
        is_definite = reports.c.status.in_((ReportStatus.FINAL, ReportStatus.CORRECTED))
        numbers = (reports.c.accession_number, reports.c.report_key)
        # Two joins, each by its own index: for one with "or" between them both databases walk through all studies.
        ties = (
            studies.c.study_instance_uid == reports.c.study_instance_uid,
            *(and_(studies.c.accession_number == one, one != "") for one in numbers),
        )
        newer = and_(reports.c.number > report_number, reports.c.received_at >= received_since, is_definite)
        closed = select(closings.c.study_instance_uid).where(closings.c.reopened_at.is_(None))
        with self._database.reading() as connection:
            newest = connection.scalar(select(func.max(reports.c.number))) or 0
            if newest <= report_number:
                return report_number, ()
            found: set[str] = set()
            for tie in ties:
                query = (
                    select(studies.c.study_instance_uid).select_from(reports.join(studies, tie)).where(newer)
                )
                open_ones = studies.c.study_instance_uid.not_in(closed)
                has_job = studies.c.study_instance_uid.in_(select(jobs.c.study_instance_uid))
                found.update(connection.scalars(query.where(open_ones, has_job)))
            return newest, tuple(sorted(found))

    def pass_over(self, study_instance_uid: str, up_to_number: int, reason: str, now: datetime) -> None:
        """Lets images be, without a job: they count as seen."""
        of_study = and_(
            studies.c.study_instance_uid == study_instance_uid, studies.c.watermark < up_to_number
        )
        with self._database.writing() as connection:
            connection.execute(update(studies).where(of_study).values(watermark=up_to_number))
            text = f"images up to instance {up_to_number} are not read: {reason}"
            tell_study(connection, study_instance_uid, now, text)


def _is_told(before: Closing, now: Closing) -> bool:
    return now.report_number is not None and (before.report_number or 0) >= now.report_number


def closings_of(connection: Connection, study_instance_uid: str) -> tuple[Closing, ...]:
    """Every closing of a study, oldest first."""
    query = select(*CLOSING).where(closings.c.study_instance_uid == study_instance_uid)
    found = connection.execute(query.order_by(closings.c.number)).mappings()
    return tuple(Closing(**row) for row in found)


def is_closed(connection: Connection, study_instance_uid: str) -> bool:
    """Is there one that nobody has reopened?"""
    return any(one.reopened_at is None for one in closings_of(connection, study_instance_uid))


def add_closing(connection: Connection, closing: Closing, closed_by: str = "") -> None:
    """Writes it down and ends what is on its way: jobs are skipped, open deliveries stopped.

    Args:
        closed_by: who withdraws it; "" for a closing that no person makes.
    """
    values = {name: value for name, value in row_of(closing).items() if name != "number"}
    connection.execute(insert(closings).values(values))
    uid, at = closing.study_instance_uid, closing.closed_at
    by = f" by {closed_by}" if closed_by else ""
    tell_study(connection, uid, at, f"{closing.kind}{by}: {closing.because}")
    if closing.kind is ClosingKind.WITHDRAWN:
        patient_id = patient_of(connection, uid)
        record = AuditRecord(at, AuditEvent.WITHDRAWN, closed_by, "", uid, patient_id, 0, closing.because)
        audit(connection, [record])
    of_study = jobs.c.study_instance_uid == closing.study_instance_uid
    _lock_jobs(connection, of_study)
    going = select(jobs.c.number).where(of_study, jobs.c.stage.in_(CLAIMABLE))
    for number in connection.scalars(going).all():
        skipped = {"stage": Stage.SKIPPED, "problem": closing.because, "changed_at": closing.closed_at}
        connection.execute(update(jobs).where(jobs.c.number == number).values(skipped | rows.NO_LEASE))
        job = rows.job_of(connection, number)
        rows.tell(connection, job, closing.closed_at, f"skipped: {closing.because}")
    ours = deliveries.c.job_number.in_(select(jobs.c.number).where(of_study))
    stop_deliveries(connection, ours, closing.because, closing.closed_at)


def reopen(connection: Connection, study_instance_uid: str, now: datetime, asked_by: str) -> None:
    """Ends the closings of a study; nothing that was stopped goes on."""
    open_ones = and_(closings.c.study_instance_uid == study_instance_uid, closings.c.reopened_at.is_(None))
    if connection.execute(update(closings).where(open_ones).values(reopened_at=now)).rowcount:
        tell_study(connection, study_instance_uid, now, f"reopened: asked for by {asked_by}")


def stop_earlier(connection: Connection, job: Job, destinations: Collection[str], now: datetime) -> None:
    """Stops what earlier revisions of a job's study have on their way to these destinations.

    A message that came after the one that replaces it would replace it in turn.
    """
    earlier = select(jobs.c.number).where(
        jobs.c.study_instance_uid == job.study_instance_uid, jobs.c.revision < job.revision
    )
    theirs = and_(deliveries.c.job_number.in_(earlier), deliveries.c.destination.in_(destinations))
    stop_deliveries(connection, theirs, f"revision {job.revision} takes its place", now)


def stop_deliveries(
    connection: Connection, condition: ColumnElement[bool], reason: str, now: datetime
) -> None:
    """Stops open deliveries; whoever has one in hand will find the lease lost. Ends jobs whose last one it was."""
    theirs = select(deliveries.c.job_number).where(condition, is_open_delivery)
    _lock_jobs(connection, jobs.c.number.in_(theirs))
    # Looked for behind the locks: one that was taken while we waited for them is not stopped.
    found = connection.execute(
        select(deliveries.c.number, deliveries.c.job_number).where(condition, is_open_delivery)
    ).all()
    numbers = [row.number for row in found]
    stopped = {"failed_at": now, "is_stopped": True, "problem": reason} | rows.NO_LEASE
    connection.execute(update(deliveries).where(deliveries.c.number.in_(numbers)).values(stopped))
    for job_number in dict.fromkeys(row.job_number for row in found):
        connection.execute(update(jobs).where(jobs.c.number == job_number).values(changed_at=now))
        job = rows.job_of(connection, job_number)
        count = sum(row.job_number == job_number for row in found)
        rows.tell(connection, job, now, f"{count} deliveries stopped: {reason}")
        rows.end_if_all_sent(connection, job, now)


def _lock_jobs(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Locks jobs until the commit.

    As with every change of a delivery, the job's row first: who has just delivered holds it and waits for the
    delivery's. Newest first: `advance` comes with its own job locked and goes on to earlier ones.
    """
    query = select(jobs.c.number).where(condition).order_by(jobs.c.number.desc())
    connection.execute(query.with_for_update(key_share=True)).all()


def tell_study(connection: Connection, study_instance_uid: str, now: datetime, text: str) -> None:
    """Adds a sentence to the life of a study that belongs to none of its jobs."""
    connection.execute(insert(events), row_of(Event(now, study_instance_uid, None, text)))
