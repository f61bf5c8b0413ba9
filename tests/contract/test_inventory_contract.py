"""Every file that a row speaks of is in the inventory, once, on both databases."""

import pytest

from storage import inventory
from storage.database import Database
from storage.index import Index
from storage.inventory import Inventory, StoredAs
from storage.jobs import Jobs
from storage.reports import Reports
from tests.storage.builders import STUDY, a_quarantined_message, composed, put


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_every_instance_is_listed_once_however_many_come_at_a_time(
    database: Database, index: Index, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
):
    monkeypatch.setattr(inventory, "_ROWS_AT_ONCE", rows_at_once)
    stored = [put(index, f"2.25.{number}").instance for number in range(4)]

    files = list(Inventory(database).files())

    assert sorted(file.path for file in files) == sorted(one.path for one in stored)


def test_images_results_and_messages_are_listed_with_their_study(
    database: Database, index: Index, jobs: Jobs, reports: Reports
):
    composed(index, jobs, "pacs")
    reports.quarantine(a_quarantined_message())

    files = {file.stored_as: file.study_instance_uid for file in Inventory(database).files()}

    assert files == {StoredAs.INSTANCE: STUDY, StoredAs.RESULT: STUDY, StoredAs.MESSAGE: ""}
