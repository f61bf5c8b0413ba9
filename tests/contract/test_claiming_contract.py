"""Several workers at one worklist: every row is somebody's, and no row is two workers'."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from storage.database import Database
from storage.index import Index
from storage.jobs import Deliveries, Jobs
from storage.records import Stage
from tests.storage.builders import LEASE_SECONDS, NOW, a_study, an_instance, composed

PROCESSES_MAX_SECONDS = 60


def opened(index: Index, jobs: Jobs, count: int) -> set[int]:
    """So many studies of one image, each with its job; the job numbers."""
    studies = [f"2.25.{1000 + number}" for number in range(count)]
    index.put_many([(an_instance(f"{study}.7", study=study), a_study(study)) for study in studies])
    made = [
        jobs.open(unread.study_instance_uid, unread.newest_number, "quiet", NOW) for unread in index.unread()
    ]
    return {job.number for job in made if job is not None}


def claimed_by_processes(kind: str, url: str, owners: Sequence[str]) -> list[list[int]]:
    """The numbers that one process for each owner got; none goes on before each has claimed once.

    What comes after the first claim may all be one's: who is held off by a lock may sleep through the rest.
    """
    command = [sys.executable, "-m", "tests.storage.claimer", kind, url]
    workers = [
        subprocess.Popen([*command, owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for owner in owners
    ]
    outputs = [worker.stdout.readline() for worker in workers if worker.stdout is not None]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for place, worker in enumerate(workers):
        outputs[place] += worker.communicate(timeout=PROCESSES_MAX_SECONDS)[0]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return [[int(number) for number in output.split()] for output in outputs]


@pytest.mark.slow
def test_two_processes_claim_three_hundred_jobs_and_none_twice(url: str, index: Index, jobs: Jobs):
    numbers = opened(index, jobs, 300)

    claims = claimed_by_processes("jobs", url, ["worker 1", "worker 2"])

    assert sorted(chain(*claims)) == sorted(numbers)
    assert min(map(len, claims)) > 0


@pytest.mark.slow
def test_two_processes_claim_all_deliveries_and_none_twice(
    url: str, index: Index, jobs: Jobs, deliveries: Deliveries
):
    names = [f"PACS{number}" for number in range(5)]
    made = [composed(index, jobs, *names, study=f"2.25.{100 + number}") for number in range(8)]

    claims = claimed_by_processes("deliveries", url, ["sender 1", "sender 2"])

    numbers = [delivery.number for job in made for delivery in deliveries.of_job(job.number)]
    assert sorted(chain(*claims)) == sorted(numbers)
    assert min(map(len, claims)) > 0


def test_threads_claim_every_job_once(index: Index, jobs: Jobs):
    numbers = opened(index, jobs, 60)

    def claim_all(owner: str) -> list[int]:
        claims = iter(lambda: jobs.claim([Stage.GATHER], owner, NOW, LEASE_SECONDS), None)
        return [job.number for job in claims]

    with ThreadPoolExecutor(4) as threads:
        claims = list(threads.map(claim_all, [f"worker {number}" for number in range(4)]))

    assert sorted(chain(*claims)) == sorted(numbers)


def test_a_worker_that_wants_untried_jobs_gets_none_that_failed_or_whose_worker_died(
    index: Index, jobs: Jobs
):
    opened(index, jobs, 3)
    failed = jobs.claim([Stage.GATHER], "worker", NOW, LEASE_SECONDS)
    assert failed is not None
    jobs.retry(failed, "a bug", NOW, NOW)
    died = jobs.claim([Stage.GATHER], "worker", NOW, 0.0, only_untried=True)

    untried = jobs.claim([Stage.GATHER], "worker", NOW, LEASE_SECONDS, only_untried=True)
    no_more = jobs.claim([Stage.GATHER], "worker", NOW, LEASE_SECONDS, only_untried=True)

    assert died is not None
    assert untried is not None
    assert len({failed.number, died.number, untried.number}) == 3
    assert no_more is None


def test_one_study_settled_by_two_threads_gets_one_job(index: Index, jobs: Jobs):
    index.put(an_instance(), a_study())

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: jobs.open("2.25.100", 1, "quiet", NOW), range(8)))

    assert len([job for job in made if job is not None]) == 1


def test_an_instance_sent_twice_at_once_is_stored_once(index: Index):
    with ThreadPoolExecutor(4) as threads:
        puts = list(threads.map(lambda _: index.put(an_instance(), a_study()), range(8)))

    assert sorted(one.verdict for one in puts) == ["duplicate"] * 7 + ["stored"]
    assert {one.instance.number for one in puts} == {1}


def test_an_idle_worker_does_not_wait_for_a_writer(database: Database, jobs: Jobs, deliveries: Deliveries):
    with database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM refusals")

        assert jobs.claim([Stage.GATHER], "worker", NOW, LEASE_SECONDS) is None
        assert deliveries.claim("sender", NOW, LEASE_SECONDS) == ()
