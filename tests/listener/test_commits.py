"""Rows that share a commit share its fsync, and not what is wrong with one of them."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from agent.listener.commits import Commits
from storage.index import Put, PutVerdict
from storage.records import Instance, Study
from tests.listener.conftest import Inbox, await_that
from tests.storage.builders import a_study, an_instance


def put_together(commits: Commits, arrivals: list[tuple[Instance, Study]]) -> list[Future[Put]]:
    """Puts all in one commit, each from a thread of its own."""
    with ThreadPoolExecutor(len(arrivals)) as threads, commits._turn:
        puts = [threads.submit(commits.put, *arrival) for arrival in arrivals]
        await_that(lambda: len(commits._waiting) == len(arrivals))
    return puts


def test_an_instance_that_the_index_does_not_take_leaves_its_company_stored(inbox: Inbox) -> None:
    good, bad = an_instance("2.25.1"), an_instance("2.25.2", study="2.25.200")

    stored, refused, other = put_together(
        Commits(inbox.index),
        [(good, a_study()), (bad, a_study("2.25.300")), (an_instance("2.25.3"), a_study())],
    )

    assert [stored.result().verdict, other.result().verdict] == [PutVerdict.STORED] * 2
    with pytest.raises(ValueError, match=r"instance 2\.25\.2 is of study 2\.25\.200"):
        refused.result()
    assert inbox.instance_count() == 2


def test_a_database_that_takes_nothing_is_asked_once_for_all(inbox: Inbox) -> None:
    with inbox.database.writing() as connection:
        connection.execute(text("ALTER TABLE instances RENAME TO gone"))

    puts = put_together(Commits(inbox.index), [(an_instance(f"2.25.{n}"), a_study()) for n in (1, 2)])

    errors = [one.exception() for one in puts]
    assert isinstance(errors[0], OperationalError)
    assert errors[0] is errors[1]
