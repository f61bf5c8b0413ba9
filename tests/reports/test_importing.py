"""Files of every kind are taken in, and nothing in them is lost without a word."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.reports.importing import ImportCount, Importer, replay
from tests.hl7.builders import NOW, an_obx, an_oru
from tests.hl7.conftest import Inbox, empty_database, inbox
from tests.real_data import real_data
from tests.reports.test_fhir import a_resource

__all__ = ["empty_database", "inbox"]

ROW = {"text": "IMPRESSION: Normal.", "patient_id": "A1", "accession_number": "ACC1"}
CSV = "patient_id,accession_number,text,ward\nA1,ACC1,IMPRESSION: Normal.,7\n"


@pytest.fixture
def imported(inbox: Inbox, tmp_path: Path) -> Callable[..., ImportCount]:
    def _import(content: str | bytes, name: str, *, is_dry_run: bool = False) -> ImportCount:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Importer(inbox.intake, inbox.reports, lambda: NOW, is_dry_run).take(path)

    return _import


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (an_oru(an_obx("IMPRESSION: Normal.")), "report.hl7"),
        (CSV, "reports.csv"),
        ("\ufeff" + CSV.replace("\n", "\r\n"), "Reports.CSV"),
        (json.dumps(ROW), "report.json"),
        (json.dumps([ROW]), "reports.json"),
        (json.dumps(ROW) + "\n\n", "reports.jsonl"),
        (json.dumps(a_resource(conclusion="Normal.")), "report.json"),
        (json.dumps(a_resource(conclusion="Normal.")), "reports.ndjson"),
    ],
)
def test_the_report_in_this_kind_of_file_is_taken_in(
    inbox: Inbox, imported: Callable[..., ImportCount], content: str, name: str
):
    count = imported(content, name)

    assert (count.files, count.found, count.versions, count.sectioned, count.refused) == (1, 1, 1, 1, [])
    assert inbox.texts() == ["IMPRESSION: Normal."]


def test_the_same_file_again_adds_nothing(inbox: Inbox, imported: Callable[..., ImportCount]):
    imported(CSV, "reports.csv")

    again = imported(CSV, "reports.csv")

    assert again.outcomes == {"known already": 1}
    assert inbox.reports.counts()["report_versions"] == 1


def test_a_dry_run_counts_and_stores_nothing(inbox: Inbox, imported: Callable[..., ImportCount]):
    count = imported(an_oru() + "\r" + an_oru(filler=""), "log.hl7", is_dry_run=True)

    assert (count.found, count.versions, len(count.refused)) == (2, 1, 1)
    assert inbox.reports.counts() == {"reports": 0, "report_versions": 0, "quarantined": 0}


def test_a_bad_message_among_good_ones_is_in_quarantine(inbox: Inbox, imported: Callable[..., ImportCount]):
    count = imported(an_oru() + an_oru(filler="") + an_oru(an_obx("Other."), filler="F2"), "log.hl7")

    assert count.refused[0][0] == "log.hl7 2"
    assert len(inbox.texts()) == 2
    assert inbox.reports.quarantined()[0].origin == "log.hl7 2"


@pytest.mark.parametrize(
    ("content", "name", "places"),
    [
        ("patient_id,text\nA1,x\nA2,y\n", "a.csv", ["a.csv line 2", "a.csv line 3"]),
        ("text\n\xff", "a.csv", ["a.csv line 2"]),
        (b"text\n\xff", "a.csv", ["a.csv"]),
        ('{"text": 1}\nnonsense\n[7]\n', "a.jsonl", ["a.jsonl line 1", "a.jsonl line 2", "a.jsonl line 3 1"]),
        ("[" * 100_000, "a.json", ["a.json line 1"]),
        ("7", "a.json", ["a.json"]),
    ],
)
def test_what_is_no_report_is_named_with_its_place(
    imported: Callable[..., ImportCount], content: str | bytes, name: str, places: list[str]
):
    assert [place for place, _ in imported(content, name).refused] == places


def test_a_folder_is_taken_in_with_all_that_is_below_it(inbox: Inbox, tmp_path: Path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b.hl7").write_text(an_oru(), newline="")
    (folder / "a.csv").write_text(CSV)

    count = Importer(inbox.intake, inbox.reports, lambda: NOW).take(folder)

    assert (count.files, count.versions) == (2, 2)


def test_a_message_that_is_replayed_after_the_fault_is_mended_leaves_the_quarantine(inbox: Inbox):
    inbox.intake.take(
        b"\r\n".join([an_oru().encode(), an_oru(an_obx("Two."), filler="F2").encode()]), "10.1.2.3"
    )
    (kept,) = inbox.reports.quarantined()

    outcome = replay(kept, inbox.intake, inbox.reports, inbox.files, NOW)

    assert outcome == "held 2 messages: 2 taken, 0 in quarantine"
    assert inbox.reports.quarantined() == ()
    assert len(inbox.texts()) == 2


def test_a_message_that_is_still_wrong_stays_in_quarantine(inbox: Inbox):
    inbox.intake.take(an_oru(filler="").encode(), "10.1.2.3")
    (kept,) = inbox.reports.quarantined()

    outcome = replay(kept, inbox.intake, inbox.reports, inbox.files, NOW)

    assert outcome.startswith("still not taken: OBR-3")
    assert len(inbox.reports.quarantined()) == 1


@pytest.mark.data
def test_every_real_message_is_in_the_table_or_in_quarantine(inbox: Inbox, tmp_path: Path):
    lines = real_data("reports", "hl7_oru_scout.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number:03}.hl7").write_text(json.loads(line)["message"], newline="")

    count = Importer(inbox.intake, inbox.reports, lambda: NOW).take(tmp_path / "in")

    assert (count.found, count.versions, len(count.refused)) == (586, 555, 31)
    assert sum(count.outcomes.values()) == 555
    assert inbox.reports.counts()["quarantined"] == len(inbox.reports.quarantined()) == 31
    assert {reason for _, reason in count.refused} == {"its report has no text (OBX-2 TX, FT or ST)"}


@pytest.mark.data
def test_every_piece_of_real_logs_and_samples_is_taken_or_refused(inbox: Inbox):
    importer = Importer(inbox.intake, inbox.reports, lambda: NOW)

    logs = importer.take(real_data("reports", "hl7_raw_logs"))
    samples = importer.take(real_data("reports", "hl7_samples"))

    assert (logs.files, logs.found, logs.versions, len(logs.refused)) == (69, 164, 154, 10)
    assert samples.found == samples.versions + len(samples.refused)
    assert inbox.reports.counts()["quarantined"] == 10 + len(samples.refused)
