"""What holds for PostgreSQL only."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine, text, update

from storage.database import Database, connect
from storage.index import Index
from storage.jobs import Jobs
from storage.records import Closing, ClosingKind
from storage.tables import deliveries, jobs
from tests.databases import empty_database
from tests.listener.conftest import await_that
from tests.storage.builders import NOW, STUDY, claimed_deliveries, composed, later

_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def test_a_commit_survives_a_power_cut_even_where_the_server_is_set_up_otherwise(postgresql: str):
    server = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE hasty"))
        connection.execute(text("ALTER DATABASE hasty SET synchronous_commit = off"))
    address = server.url.set(database="hasty").render_as_string(hide_password=False)
    server.dispose()

    database = connect(address)

    with database.writing() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    database.close()


def test_a_closing_waits_for_what_is_just_delivered_and_does_not_stop_it(postgresql_database: Database):
    empty_database(postgresql_database)
    worklist = Jobs(postgresql_database)
    job = composed(Index(postgresql_database), worklist, "PACS")
    taken, _ = claimed_deliveries(worklist.deliveries)
    closing = Closing(STUDY, ClosingKind.REPORTED, "report RIS 1 is there", None, later(10))

    with ThreadPoolExecutor(1) as threads:
        with postgresql_database.writing() as delivering:  # in the order of `Deliveries.delivered`
            change = update(jobs).where(jobs.c.number == job.number).values(changed_at=NOW)
            delivering.execute(change)
            closed = threads.submit(worklist.closings.close, closing)
            await_that(lambda: delivering.scalar(_WAITING) > 0)
            done = update(deliveries).where(deliveries.c.number == taken.number)
            delivering.execute(done.values(done_at=NOW, taken_at=NOW))
            delivering.execute(change)
        assert closed.result(30)

    ended = worklist.deliveries.of_job(job.number)
    assert [(one.done_at is not None, one.is_stopped) for one in ended] == [(True, False), (False, True)]
