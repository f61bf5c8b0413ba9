"""What the store promises about reports and messages in quarantine, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.index import Index
from storage.jobs import Jobs
from storage.outside_records import ReportSource, ReportStatus
from storage.records import PatientIdentifier, Stage
from storage.reports import Reports
from tests.storage.builders import (
    NOW,
    a_quarantined_message,
    a_report,
    a_result,
    at_compose,
    later,
)


def test_a_report_comes_back_as_it_was_added_with_its_number(reports: Reports):
    sent = a_report("소견: 정상", patient_id="A1", issuer="HOSP", status=ReportStatus.CORRECTED)

    added = reports.add([sent])

    assert added == 1
    assert reports.latest(10) == (replace(sent, number=1),)


def test_every_identifier_of_the_patient_comes_back_in_its_order(reports: Reports):
    both = (PatientIdentifier("B2", "EPIC"), PatientIdentifier("A1", "ABC"))

    reports.add([a_report(patients=both)])

    assert reports.latest(1)[0].patients == both
    assert len(reports.versions_for("", "", ["A1"])) == len(reports.versions_for("", "", ["B2"])) == 1


def test_a_version_that_says_the_same_is_no_second_row_however_it_came(reports: Reports):
    reports.add([a_report()])

    again = a_report(received_at=later(60), origin="reports.csv line 3", source=ReportSource.FILE)

    assert reports.add([again]) == 0
    assert reports.counts() == {"reports": 1, "report_versions": 1, "quarantined": 0}


def test_a_later_version_is_kept_beside_the_earlier_one(reports: Reports):
    reports.add([a_report(status=ReportStatus.PRELIMINARY)])
    reports.add([a_report("FINDINGS: Effusion.", reported_at="20260301110000")])

    assert [one.text for one in reports.versions_for("", "ACC1", [])] == [
        "FINDINGS: Clear.",
        "FINDINGS: Effusion.",
    ]
    assert reports.counts()["reports"] == 1


def test_the_versions_of_a_report_come_together_if_one_of_them_names_the_study(reports: Reports):
    named = a_report(report_key="F1", study_instance_uid="2.25.7", accession_number="")
    cancelled = replace(named, status=ReportStatus.CANCELLED, study_instance_uid="", text="", patients=())
    reports.add([named, cancelled, a_report(report_key="F2", accession_number="ACC2")])

    found = reports.versions_for("2.25.7", "", [])

    assert [one.status for one in found] == [ReportStatus.FINAL, ReportStatus.CANCELLED]


def test_empty_names_find_nothing(reports: Reports):
    reports.add([a_report(report_key="F1", accession_number="", patient_id="")])

    assert reports.versions_for("", "", ["", ""]) == ()


def test_text_that_a_database_cannot_hold_is_made_storable(reports: Reports):
    reports.add([a_report("Clear\0 \udc80.", origin="RIS\0")])

    assert reports.latest(1)[0].text == "Clear\ufffd \ufffd."


def test_the_same_version_from_many_threads_is_one_row(reports: Reports):
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: reports.add([a_report()]), range(16)))

    assert sum(added) == 1


def test_several_reports_come_in_all_or_none(reports: Reports):
    broken = replace(a_report("other"), received_at=NOW.replace(tzinfo=None))

    with pytest.raises(Exception, match="a time without a zone"):
        reports.add([a_report(), broken])

    assert reports.counts()["report_versions"] == 0


def test_an_object_that_preread_made_is_known_by_its_uid(reports: Reports, index: Index, jobs: Jobs):
    job = at_compose(index, jobs)
    result = a_result(job)
    jobs.advance(job, Stage.DELIVER, NOW, results=[result], destinations={}, event="composed")

    assert reports.made_by_us(["2.25.9", result.sop_instance_uid])
    assert not reports.made_by_us(["2.25.9"])
    assert not reports.made_by_us([])


def test_one_of_ours_is_found_among_more_uids_than_a_statement_takes(
    index: Index, jobs: Jobs, reports: Reports
):
    job = at_compose(index, jobs)
    result = a_result(job)
    jobs.advance(job, Stage.DELIVER, NOW, results=[result], event="composed")
    others = [f"2.25.{number}" for number in range(300_000)]

    assert reports.made_by_us([*others, result.sop_instance_uid])
    assert not reports.made_by_us(others)


def test_a_message_in_quarantine_is_counted_until_it_is_resolved(reports: Reports):
    kept = reports.quarantine(a_quarantined_message())
    assert reports.quarantined() == (kept,)

    reports.resolve(kept.number, later(5))

    assert reports.quarantined() == ()
    assert reports.counts()["quarantined"] == 0


def test_the_same_bytes_again_are_counted_on_their_row_and_open_it_again(reports: Reports):
    first = reports.quarantine(a_quarantined_message())
    reports.resolve(first.number, later(5))

    again = reports.quarantine(a_quarantined_message(at=later(60), reason="its PID segment is empty"))

    assert (again.number, again.times, again.at) == (first.number, 2, NOW)
    assert again.reason == "its PID segment is empty"
    assert reports.quarantined(1) == (again,)


def test_what_a_server_told_and_how_far_it_is_heard_are_one_commit(reports: Reports):
    assert reports.heard_until("ris") is None

    assert reports.hear("ris", [a_report(), a_report()], "2026-03-01T10:00:00Z") == 1
    assert reports.hear("ris", [], "2026-03-02T10:00:00Z") == 0
    reports.hear("other", [], "2020-01-01T00:00:00Z")

    assert reports.heard_until("ris") == "2026-03-02T10:00:00Z"
