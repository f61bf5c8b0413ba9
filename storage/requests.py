"""Requests to archives for earlier exams: rows that are their own queue entries, one for each archive asked."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of, shown_patient
from storage.database import Database, lock_writers
from storage.jobs.rows import NO_LEASE, change, is_claimable, lease
from storage.outside_records import ExplainedStudy, PriorRequest, RequestedStudy, Unanswered
from storage.records import PatientIdentifier
from storage.tables import (
    columns_of,
    is_open_request,
    jobs,
    orders,
    prior_requests,
    requested_studies,
    row_of,
    studies,
)

_REQUEST = columns_of(prior_requests, PriorRequest)
_UNANSWERED_MAX = 1000
"""Requests that `unanswered` looks at: by their number, so that it needs no index of its own."""


class PriorRequests:
    """What archives are asked for. Safe for several threads and processes; leases as in `Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, job_number: int, archives: Sequence[str], now: datetime, expires_at: datetime) -> None:
        """Opens a request to each archive for the priors of a job; those that are there stay as they are."""
        with self._database.writing() as connection:
            lock_writers(connection, "requests")
            add_requests(connection, archives, now, expires_at, job_number=job_number)

    def of_job(self, job_number: int) -> tuple[PriorRequest, ...]:
        """The requests of a job, in the order they were opened."""
        with self._database.reading() as connection:
            return _requests(connection, prior_requests.c.job_number == job_number)

    def unanswered(self, since: datetime, limit: int) -> tuple[Unanswered, ...]:
        """What waits for an archive that has a problem, or was given up for it since, by archive and problem.

        Args:
            limit: groups at most, those of most requests first. The newest 1,000 requests are looked at.
        """
        newest = select(func.max(prior_requests.c.number) - _UNANSWERED_MAX).scalar_subquery()
        archive, problem = prior_requests.c.archive, prior_requests.c.problem
        wrong = and_(
            prior_requests.c.number > newest,
            problem.is_not(None),
            or_(is_open_request, prior_requests.c.failed_at >= since),
        )
        count, first = func.count(), func.min(prior_requests.c.asked_at)
        query = select(archive, count, first, problem).where(wrong).group_by(archive, problem)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(count.desc(), archive, problem).limit(limit)).all()
        return tuple(Unanswered(name, number, since, why or "") for name, number, since, why in rows)

    def studies(self, study_instance_uids: Collection[str]) -> tuple[RequestedStudy, ...]:
        """What became of these studies, those that never had to be fetched left out; oldest exam first."""
        found = select(requested_studies).where(
            requested_studies.c.study_instance_uid.in_(study_instance_uids)
        )
        by_date = found.order_by(requested_studies.c.study_date, requested_studies.c.study_instance_uid)
        with self._database.reading() as connection:
            return tuple(RequestedStudy(**row) for row in connection.execute(by_date).mappings())

    def claim(
        self, owner: str, now: datetime, lease_seconds: float, busy_archives: Collection[str] = ()
    ) -> PriorRequest | None:
        """Takes the request that is due longest, or None. A lease that ran out counts one attempt.

        Args:
            busy_archives: those that are to be left alone now.
        """
        due = and_(
            is_open_request,
            is_claimable(prior_requests, now),
            prior_requests.c.archive.not_in(busy_archives),
        )
        with self._database.reading() as connection:  # looks before it claims, as Jobs does
            if connection.execute(select(prior_requests.c.number).where(due).limit(1)).first() is None:
                return None
        oldest = select(prior_requests.c.number).where(due)
        oldest = oldest.order_by(prior_requests.c.due_at, prior_requests.c.number).limit(1)
        with self._database.writing() as connection:
            number = connection.scalar(oldest.with_for_update(skip_locked=True))
            if number is None:
                return None
            lease(connection, prior_requests, [number], owner, now, lease_seconds)
            return _request(connection, number)

    def extend(self, request: PriorRequest, now: datetime, lease_seconds: float) -> None:
        """Puts off the end of the lease to `lease_seconds` from now. Raises LeaseLost."""
        with self._database.writing() as connection:
            change(
                connection, prior_requests, request, {"lease_until": now + timedelta(seconds=lease_seconds)}
            )

    def found(
        self,
        request: PriorRequest,
        chosen: Sequence[RequestedStudy],
        now: datetime,
        note: str | None = None,
        passed_over: tuple[ExplainedStudy, ...] = (),
    ) -> PriorRequest:
        """Notes which exams the archive has that are wanted; each is then fetched by one request only.

        One that another request is to fetch stays with that one. One that ended before is fetched again.

        Raises:
            LeaseLost: if the request is no longer the caller's.
        """
        uids = tuple(study.study_instance_uid for study in chosen)
        answer = {"found_at": now, "study_instance_uids": uids, "passed_over": passed_over, "note": note}
        with self._database.writing() as connection:
            lock_writers(connection, "requests")
            change(connection, prior_requests, request, {**answer, "problem": None})
            _audit_query(connection, request, len(uids), now)
            for study in chosen:
                _request_study(connection, replace(study, request_number=request.number, asked_at=now))
            return _request(connection, request.number)

    def to_fetch(self, request: PriorRequest) -> tuple[RequestedStudy, ...]:
        """The studies that this request still has to fetch, newest exam first."""
        mine = and_(
            requested_studies.c.request_number == request.number, requested_studies.c.ended_at.is_(None)
        )
        newest = select(requested_studies).where(mine).order_by(requested_studies.c.study_date.desc())
        with self._database.reading() as connection:
            return tuple(RequestedStudy(**row) for row in connection.execute(newest).mappings())

    def fetching(self, request: PriorRequest, study_instance_uid: str, now: datetime) -> None:
        """Notes, before the archive is told to send it, that this study comes as a prior. Raises LeaseLost."""
        self._change_study(request, study_instance_uid, fetching_since=now)

    def fetched(
        self, request: PriorRequest, study_instance_uid: str, now: datetime, problem: str | None
    ) -> None:
        """Ends the fetching of one study; `problem` says in a few words what is missing. Raises LeaseLost."""
        self._change_study(request, study_instance_uid, ended_at=now, problem=problem)

    def done(self, request: PriorRequest, now: datetime) -> None:
        """Ends a request whose studies have all ended. Raises LeaseLost."""
        with self._database.writing() as connection:
            change(connection, prior_requests, request, {**NO_LEASE, "done_at": now, "problem": None})

    def failed(self, request: PriorRequest, problem: str, now: datetime) -> None:
        """Gives a request up, and with it the studies that it still had to fetch. Raises LeaseLost."""
        with self._database.writing() as connection:
            change(connection, prior_requests, request, {**NO_LEASE, "failed_at": now, "problem": problem})
            mine = and_(
                requested_studies.c.request_number == request.number, requested_studies.c.ended_at.is_(None)
            )
            given_up = {"ended_at": now, "problem": "the archive could not be asked"}
            connection.execute(update(requested_studies).where(mine).values(given_up))

    def later(self, request: PriorRequest, problem: str, due_at: datetime, now: datetime) -> None:
        """Puts a request off since the archive cannot be asked now, and all others to it as well, for the same problem.

        None is put off beyond its `expires_at`. Costs no attempt. Raises LeaseLost.
        """
        values = {"due_at": due_at, "waiting_since": request.waiting_since or now, "problem": problem}
        with self._database.writing() as connection:
            lock_writers(connection, "requests")
            change(connection, prior_requests, request, {**NO_LEASE, **values})
            others = and_(
                is_open_request,
                prior_requests.c.archive == request.archive,
                prior_requests.c.lease_owner.is_(None),
            )
            sooner = update(prior_requests).where(others, prior_requests.c.due_at < due_at)
            connection.execute(sooner.values(due_at=due_at, problem=problem))
            late = update(prior_requests).where(others, prior_requests.c.due_at > prior_requests.c.expires_at)
            connection.execute(late.values(due_at=prior_requests.c.expires_at))

    def retry(self, request: PriorRequest, problem: str, due_at: datetime) -> None:
        """Puts a request off after a try that ended in an error of ours; counts an attempt. Raises LeaseLost."""
        values = {"attempts": prior_requests.c.attempts + 1, "due_at": due_at, "problem": problem}
        with self._database.writing() as connection:
            change(connection, prior_requests, request, {**NO_LEASE, **values})

    def give_back(self, request: PriorRequest, due_at: datetime | None = None) -> None:
        """Ends the lease for a reason that is not the archive's; costs no attempt. Raises LeaseLost.

        Args:
            due_at: when it is to be claimed again; None: at once.
        """
        due = {} if due_at is None else {"due_at": due_at}
        with self._database.writing() as connection:
            change(connection, prior_requests, request, {**NO_LEASE, **due})

    def _change_study(self, request: PriorRequest, study_instance_uid: str, **values: Any) -> None:
        its_own = and_(
            requested_studies.c.study_instance_uid == study_instance_uid,
            requested_studies.c.request_number == request.number,
        )
        with self._database.writing() as connection:
            # The same lock as `Index.put`: what arrives is judged before or after this, not meanwhile.
            lock_writers(connection, "intake")
            change(connection, prior_requests, request, {"lease_owner": request.lease_owner})
            connection.execute(update(requested_studies).where(its_own).values(**values))


def add_requests(
    connection: Connection,
    archives: Sequence[str],
    now: datetime,
    expires_at: datetime,
    *,
    job_number: int | None = None,
    order_number: int | None = None,
) -> None:
    """Opens a request to each archive that is not asked yet for this job or order."""
    table = prior_requests.c
    of_it = table.order_number == order_number if job_number is None else table.job_number == job_number
    asked = set(connection.execute(select(table.archive).where(of_it)).scalars())
    row = {
        "job_number": job_number,
        "order_number": order_number,
        "asked_at": now,
        "expires_at": expires_at,
        "study_instance_uids": (),
        "attempts": 0,
        "due_at": now,
        "claim_number": 0,
    }
    for archive in archives:
        if archive not in asked:
            connection.execute(insert(prior_requests).values(archive=archive, **row))


def _audit_query(connection: Connection, request: PriorRequest, chosen: int, now: datetime) -> None:
    """The archive was asked for one patient's exams: those of a job's study, or of an order."""
    of_job = select(jobs.c.study_instance_uid).where(jobs.c.number == request.job_number)
    study_instance_uid = connection.scalar(of_job) or ""
    patient_id = patient_of(connection, study_instance_uid)
    of_order = select(orders.c.patient_id, orders.c.issuer_of_patient_id)
    for order in connection.execute(of_order.where(orders.c.number == request.order_number)):
        patient_id = shown_patient([PatientIdentifier(*order)])
    detail = f"{chosen} exams chosen"
    record = AuditRecord(
        now, AuditEvent.QUERIED, request.archive, "", study_instance_uid, patient_id, 0, detail
    )
    audit(connection, [record])


def _request_study(connection: Connection, study: RequestedStudy) -> None:
    """Adds the study, or takes it over from a request that has ended with it."""
    its_own = requested_studies.c.study_instance_uid == study.study_instance_uid
    query = select(requested_studies.c.ended_at).where(its_own)
    before = connection.execute(query.with_for_update()).first()
    if before is None:
        # It may have come from elsewhere since the choice was made: then it is here, and stays what it is.
        is_here = select(studies.c.study_instance_uid).where(
            studies.c.study_instance_uid == study.study_instance_uid, studies.c.images_deleted_at.is_(None)
        )
        if connection.execute(is_here).first() is None:
            connection.execute(insert(requested_studies), row_of(study))
    elif before.ended_at is not None:
        connection.execute(update(requested_studies).where(its_own).values(row_of(study)))


def _request(connection: Connection, number: int) -> PriorRequest:
    (request,) = _requests(connection, prior_requests.c.number == number)
    return request


def _requests(connection: Connection, condition: Any) -> tuple[PriorRequest, ...]:
    query = select(*_REQUEST).where(condition).order_by(prior_requests.c.number)
    return tuple(PriorRequest(**row) for row in connection.execute(query).mappings())
