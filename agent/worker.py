"""Claims work, does one step, commits, again and again; the one place that turns errors into retries."""

import errno
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from agent.errors import GiveUp, TryLater
from agent.outage import Outage
from agent.pairing import Pair
from agent.patience import Patience, pause_seconds
from agent.requesting import ask
from agent.second import read_second, wanted_of
from agent.steps import STEPS, Tools, deliver, keep_reading, read_ahead
from storage.jobs import LeaseLost
from storage.outside_records import PriorRequest
from storage.records import Delivery, Job, SecondReading, Stage

if TYPE_CHECKING:
    from inference.reading import Reading

log = structlog.get_logger()

_DATABASE_SECONDS = 5.0

Row = TypeVar("Row")
PutOff = Callable[[Row, str, datetime, datetime], object]
"""Writes of a row that is in hand: the reason, when it is due again, and the time now."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Worker(threading.Thread):
    """A thread that carries jobs of some stages, deliveries, requests to archives or second readings one step further
    at a time.

    Args:
        stages: of the jobs it takes.
        leaves_alone: destinations whose deliveries are not its business; None if it delivers nothing.
        leaves_unasked: archives whose requests are not its business; None if it asks none.
        reads_second: takes what a second engine is to read, if that is the engine of its tools.
        outage: what is known of the database in this process.
        batch_max: jobs at stage read that it takes at once, if so many wait; above 1 only with a BatchEngine.
        pair: with whom it shares its engine; None if with nobody.
        is_ahead: whether it is the one of the pair that works ahead.
    """

    def __init__(
        self,
        name: str,
        tools: Tools,
        patience: Patience,
        *,
        stages: tuple[Stage, ...] = (),
        leaves_alone: Collection[str] | None = None,
        leaves_unasked: Collection[str] | None = None,
        reads_second: bool = False,
        batch_max: int = 1,
        pair: Pair | None = None,
        is_ahead: bool = False,
        poll_seconds: float = 0.2,
        outage: Outage | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._tools = tools
        self._patience = patience
        self._stages = stages
        self._leaves_alone = leaves_alone
        self._leaves_unasked = leaves_unasked
        self._reads_second = reads_second
        self._batch_max = batch_max
        self._pair = pair or Pair()
        self._is_ahead = is_ahead
        self._poll_seconds = poll_seconds
        self._outage = outage or Outage()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._in_hand: tuple[Job, ...] = ()
        self._sending: tuple[Delivery, ...] = ()
        self._asking: PriorRequest | None = None
        self._second_in_hand: SecondReading | None = None
        self._owed: list[Callable[[], None]] = []

    def take(
        self,
        tools: Tools,
        patience: Patience,
        *,
        leaves_alone: Collection[str] | None = None,
        leaves_unasked: Collection[str] | None = None,
    ) -> None:
        """Works with these from the next step on; the step in hand keeps the tools that it began with."""
        self._leaves_alone, self._leaves_unasked = leaves_alone, leaves_unasked
        self._tools, self._patience = tools, patience

    def wake(self) -> None:
        """Looks for work now instead of at the next poll."""
        self._woken.set()

    def stop(self) -> None:
        """Ends after the step in hand; `finish` waits for that."""
        self._stopping.set()
        self._woken.set()

    def finish(self, seconds: float) -> None:
        """Waits for the step in hand; one that takes longer is given back, which costs the job no attempt."""
        if not self.is_alive():
            return
        self.join(seconds)
        if not self.is_alive():
            return
        with self._noticing():  # what is not given back runs out by itself
            self._give_back()

    def _give_back(self) -> None:
        for job in self._in_hand:
            with suppress(LeaseLost):
                self._tools.jobs.give_back(job, self._tools.clock())
        for delivery in self._sending:
            with suppress(LeaseLost):
                self._tools.jobs.deliveries.give_back(delivery, self._tools.clock())
        if self._asking is not None:
            with suppress(LeaseLost):
                self._tools.requests.give_back(self._asking)
        if self._second_in_hand is not None:
            with suppress(LeaseLost):
                self._tools.jobs.second_readings.give_back(self._second_in_hand)

    def run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            if not self._turn():
                self._woken.wait(self._poll_seconds)
        with self._noticing():  # what is still owed runs out by itself
            self._write_owed()

    def _turn(self) -> bool:
        """One piece of work, if there is any. An unreachable store is waited for, not died of."""
        try:
            was_due = self.work_once()
        except Exception as error:  # the worker loop is one of the places that may catch all
            if not self._outage.notice(error):
                log.exception("the store could not be asked for work; trying again", worker=self.name)
            # Who owes is to be there before others, who would take for dead what has run out meanwhile.
            self._stopping.wait(self._poll_seconds if self._owed else self._patience.retry_seconds_min)
            return False
        if was_due and not self._owed:  # something was written; a turn without work has only read
            self._outage.over()
        return was_due

    def work_once(self) -> bool:
        """Claims and does one step; False if nothing is due."""
        self._write_owed()
        now = self._tools.clock()
        if self._stages:
            job = self._claim(now)
            if job is not None:
                try:
                    self._do_jobs((job, *self._beside(job, now)))
                finally:
                    if self._is_ahead:
                        self._pair.done_ahead()
                return True
        if self._leaves_alone is not None:
            deliveries = self._tools.jobs.deliveries.claim(
                self.name, now, self._patience.lease_seconds, self._leaves_alone
            )
            if deliveries:
                self._do_deliveries(deliveries)
                return True
        if self._leaves_unasked is not None:
            request = self._tools.requests.claim(
                self.name, now, self._patience.lease_seconds, self._leaves_unasked
            )
            if request is not None:
                self._do_request(request)
                return True
        if self._reads_second:
            claimed = self._tools.jobs.second_readings.claim(
                self.name, now, self._patience.lease_seconds, wanted_of(self._tools.settings, now)
            )
            if claimed is not None:
                self._do_second(*claimed)
                return True
        return False

    def _claim(self, now: datetime) -> Job | None:
        claim = partial(self._tools.jobs.claim, self._stages, self.name, now, self._patience.lease_seconds)
        return self._pair.claim_ahead(partial(claim, only_untried=True)) if self._is_ahead else claim()

    def _beside(self, job: Job, now: datetime) -> Iterator[Job]:
        """Claims what waits to be read at once with a job.

        What was tried before is read alone: if it ends the process, no other job pays for that.
        """
        if job.stage is not Stage.READ or job.attempts:
            return
        for _ in range(self._batch_max - 1):
            other = None
            with self._noticing():  # those claimed so far are read without it
                other = self._tools.jobs.claim(
                    (Stage.READ,), self.name, now, self._patience.lease_seconds, only_untried=True
                )
            if other is None:
                return
            yield other

    def _do_jobs(self, jobs: tuple[Job, ...]) -> None:
        self._in_hand = jobs
        try:
            with self._holding(lambda: self._extend(jobs)), self._room_for(jobs):
                readings = self._read_ahead(jobs) if len(jobs) > 1 else {}
                for job in jobs:
                    self._do_job(job, readings.get(job.number))
        finally:
            self._in_hand = ()

    def _room_for(self, jobs: tuple[Job, ...]) -> AbstractContextManager[None]:
        was_tried = any(job.attempts for job in jobs)
        return self._pair.alone() if was_tried and not self._is_ahead else nullcontext()

    def _extend(self, jobs: tuple[Job, ...]) -> None:
        for job in jobs:
            with suppress(LeaseLost):  # its step is done, or another worker has it
                self._tools.jobs.extend(job, self._tools.clock(), self._patience.lease_seconds)

    def _read_ahead(self, jobs: tuple[Job, ...]) -> dict[int, "Reading"]:
        """Reads several cases at once; if that fails, each is read alone, so that one fails alone."""
        log.info("reading at once", jobs=[job.number for job in jobs])
        try:
            return read_ahead(jobs, self._tools)
        except Exception:  # as in _step
            log.exception("internal error; reading one by one", jobs=[job.number for job in jobs])
            return {}

    def _do_job(self, job: Job, reading: "Reading | None") -> None:
        log.info("step begins", job=job.number, study=job.study_instance_uid, stage=job.stage)
        try:
            with self._keeping_attempts(self._tools.jobs.later, job):
                self._step(job, reading)
        except LeaseLost:
            log.warning("lease lost; another worker has the job", job=job.number, stage=job.stage)

    def _step(self, job: Job, reading: "Reading | None") -> None:
        try:
            if job.attempts >= self._patience.attempts_max:
                raise GiveUp(
                    f"stage {job.stage} was tried {job.attempts} times and its worker died or failed each time; "
                    f"see the log for job {job.number}, then: preread again {job.study_instance_uid}"
                )
            if reading is None:
                moved = STEPS[job.stage](job, self._tools)
            else:
                moved = keep_reading(job, self._tools, reading)
            log.info("step done", job=job.number, stage=job.stage, now=moved.stage)
        except LeaseLost:
            raise
        except TryLater as later:
            self._wait(job, later)
        except GiveUp as given_up:
            stage = Stage.SKIPPED if given_up.is_skip else Stage.FAILED
            log.warning(
                "job ends", job=job.number, study=job.study_instance_uid, stage=stage, reason=given_up.reason
            )
            self._tools.jobs.end(job, stage, given_up.reason, self._tools.clock())
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                self._wait(job, TryLater("the disk is full; make room in the folder of [storage]", 60))
            elif self._outage.notice(error):
                raise
            else:
                self._stumble(job)

    def _wait(self, job: Job, later: TryLater) -> None:
        now = self._tools.clock()
        waited = (now - (job.waiting_since or now)).total_seconds()
        if waited > self._patience.wait_seconds.get(job.stage, 0.0):
            reason = f"waited {waited:.0f} s in stage {job.stage}: {later.reason}"
            log.warning("job fails", job=job.number, study=job.study_instance_uid, reason=reason)
            self._tools.jobs.end(job, Stage.FAILED, reason, now)
            return
        log.info(
            "job waits", job=job.number, stage=job.stage, seconds=later.after_seconds, reason=later.reason
        )
        self._tools.jobs.later(job, later.reason, now + timedelta(seconds=later.after_seconds), now)

    def _stumble(self, job: Job) -> None:
        log.exception("internal error", job=job.number, study=job.study_instance_uid, stage=job.stage)
        now = self._tools.clock()
        problem = f"internal error in stage {job.stage}, see the log line of job {job.number}"
        if job.attempts + 1 >= self._patience.attempts_max:
            self._tools.jobs.end(job, Stage.FAILED, problem, now)
            return
        self._tools.jobs.retry(job, problem, self._due(job.attempts, now), now)

    def _do_request(self, request: PriorRequest) -> None:
        requests = self._tools.requests
        self._asking = request

        def extend() -> None:
            requests.extend(request, self._tools.clock(), self._patience.lease_seconds)

        def later(own: PriorRequest, _reason: str, due_at: datetime, _now: datetime) -> None:
            # Not `requests.later`, which says of the archive that it cannot be asked, to all who wait for it.
            requests.give_back(own, min(due_at, own.expires_at))

        try:
            with self._keeping_attempts(later, request):
                self._ask(request, extend)
        except LeaseLost:
            log.warning("lease lost; asked again by another", request=request.number, archive=request.archive)
        finally:
            self._asking = None

    def _ask(self, request: PriorRequest, extend: Callable[[], object]) -> None:
        requests = self._tools.requests
        try:
            if request.attempts >= self._patience.attempts_max:
                reason = f"was asked {request.attempts} times, and its worker died or failed each time"
                requests.failed(request, f"{request.archive} {reason}; see the log", self._tools.clock())
                return
            with self._holding(extend):
                ask(request, self._tools, self._patience)
        except LeaseLost:
            raise
        except Exception as error:  # as in _step
            if self._outage.notice(error):
                raise
            log.exception("internal error", request=request.number, archive=request.archive)
            now = self._tools.clock()
            problem = (
                f"internal error while asking {request.archive}, see the log of request {request.number}"
            )
            with suppress(LeaseLost):
                if request.attempts + 1 >= self._patience.attempts_max:
                    requests.failed(request, problem, now)
                else:
                    requests.retry(request, problem, self._due(request.attempts, now))

    def _do_second(self, second: SecondReading, job: Job) -> None:
        seconds = self._tools.jobs.second_readings
        self._second_in_hand = second

        def extend() -> None:
            seconds.extend(second, self._tools.clock(), self._patience.lease_seconds)

        try:
            with self._keeping_attempts(seconds.later, second), self._holding(extend):
                self._read_second(second, job)
        except LeaseLost:
            log.warning("lease lost; what the second engine read is dropped", job=job.number)
        finally:
            self._second_in_hand = None

    def _read_second(self, second: SecondReading, job: Job) -> None:
        seconds = self._tools.jobs.second_readings
        try:
            if second.attempts >= self._patience.attempts_max:
                raise GiveUp(
                    f"the second engine tried it {second.attempts} times and died or failed each time; "
                    f"see the log for job {job.number}"
                )
            read_second(second, job, self._tools)
        except LeaseLost:
            raise
        except TryLater as later:
            now = self._tools.clock()
            waited = (now - (second.waiting_since or now)).total_seconds()
            if waited > self._patience.wait_seconds.get(Stage.READ, 0.0):
                self._give_up_second(second, job, f"waited {waited:.0f} s: {later.reason}")
            else:
                seconds.later(second, later.reason, now + timedelta(seconds=later.after_seconds), now)
        except GiveUp as given_up:
            self._give_up_second(second, job, given_up.reason)
        except Exception as error:
            if self._outage.notice(error):
                raise
            log.exception("internal error", job=job.number, study=job.study_instance_uid)
            problem = f"internal error of the second engine, see the log line of job {job.number}"
            if second.attempts + 1 >= self._patience.attempts_max:
                seconds.fail(second, problem, self._tools.clock())
            else:
                now = self._tools.clock()
                seconds.retry(second, problem, self._due(second.attempts, now), now)

    def _give_up_second(self, second: SecondReading, job: Job, reason: str) -> None:
        log.warning("the second engine gives up", job=job.number, study=job.study_instance_uid, reason=reason)
        self._tools.jobs.second_readings.fail(second, reason, self._tools.clock())

    def _do_deliveries(self, deliveries: tuple[Delivery, ...]) -> None:
        first = deliveries[0]
        self._sending = deliveries

        def extend() -> None:
            self._tools.jobs.deliveries.extend(deliveries, self._tools.clock(), self._patience.lease_seconds)

        try:
            with self._keeping_attempts(self._tools.jobs.deliveries.later, *deliveries):
                self._deliver(deliveries, extend)
        except LeaseLost:
            log.warning(
                "lease lost; sent again by another", job=first.job_number, destination=first.destination
            )
        finally:
            self._sending = ()

    def _deliver(self, deliveries: tuple[Delivery, ...], extend: Callable[[], object]) -> None:
        first = deliveries[0]
        try:
            with self._holding(extend):
                deliver(deliveries, self._tools, self._patience)
        except LeaseLost:
            raise
        except Exception as error:  # as in _step
            if self._outage.notice(error):
                raise
            log.exception("internal error", job=first.job_number, destination=first.destination)
            for delivery in deliveries:
                self._stumble_over(delivery)

    def _stumble_over(self, delivery: Delivery) -> None:
        now = self._tools.clock()
        problem = f"internal error while sending to {delivery.destination}, see the log of job {delivery.job_number}"
        with suppress(LeaseLost):  # those sent before the error are done
            if delivery.attempts + 1 >= self._patience.attempts_max:
                self._tools.jobs.deliveries.failed(delivery, problem, now, is_error=True)
            else:
                self._tools.jobs.deliveries.retry(delivery, problem, self._due(delivery.attempts, now), now)

    def _due(self, tries: int, now: datetime) -> datetime:
        so_far = tries * self._patience.retry_seconds_min
        return now + timedelta(seconds=pause_seconds(so_far, self._patience, random.random()))

    @contextmanager
    def _keeping_attempts(self, later: PutOff[Row], *rows: Row) -> Iterator[None]:
        """Puts off what is in hand when the database goes, as soon as it is back; the step is done once more then.

        Without that its lease would run out, and a lease that ran out counts as an attempt: three outages would end
        a study.
        """
        try:
            yield
        except Exception as error:
            if not self._outage.notice(error):
                raise
            self._owed += [partial(self._put_off, later, row) for row in rows]
            with self._noticing():
                self._write_owed()

    def _put_off(self, later: PutOff[Row], row: Row) -> None:
        now = self._tools.clock()
        later(row, "the database could not be used", now + timedelta(seconds=_DATABASE_SECONDS), now)

    def _write_owed(self) -> None:
        """Writes what the database has not taken yet. Raises what it raises; the rest is owed on."""
        while self._owed:
            write = self._owed.pop(0)
            try:
                write()
            except LeaseLost:  # done before the database went, or another worker has it
                continue
            except Exception as error:
                if self._outage.notice(error):
                    self._owed.insert(0, write)
                raise

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Raises nothing that only says that the database is away."""
        try:
            yield
        except Exception as error:
            if not self._outage.notice(error):
                raise

    @contextmanager
    def _holding(self, extend: Callable[[], object]) -> Iterator[None]:
        """Extends leases while the step runs, so that a long reading is not claimed twice."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(self._patience.lease_seconds / 3):
                try:
                    extend()
                except LeaseLost:
                    return
                except Exception as error:
                    # The step goes on; the next time may still come before the lease ends.
                    if not self._outage.notice(error):
                        log.exception("the lease could not be extended", worker=self.name)

        keeper = threading.Thread(target=keep, name=f"{self.name} lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()


def stop_all(workers: Collection[Worker], seconds: float) -> None:
    """Ends each after the step in hand, or gives that back when as many seconds are over for all of them together."""
    for worker in workers:
        worker.stop()
    ends_at = time.monotonic() + seconds
    for worker in workers:
        worker.finish(max(0.0, ends_at - time.monotonic()))
