"""A FHIR server is asked for what is new, again and again, and nothing it says is lost or taken twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.peers import Peers
from agent.report_feed import ask_report_server
from agent.reports.importing import replay
from agent.steps import Tools
from config.settings import ReportServerSettings, Secret, Settings
from storage.jobs import Jobs
from storage.orders import Orders
from storage.requests import PriorRequests
from tests.agent.test_peers_web import a_web_archive
from tests.hl7.builders import NOW
from tests.hl7.conftest import Inbox, empty_database, inbox
from tests.reports.test_fhir import a_resource, an_identifier

__all__ = ["empty_database", "inbox"]


def a_told(number: int, **elements: Any) -> dict[str, Any]:
    changed = {"meta": {"lastUpdated": f"2026-03-01T10:00:{number:02}.000Z"}}
    return a_resource(id=f"dr{number}", conclusion=f"Report {number}.") | changed | elements


@dataclass
class FhirServer:
    """Answers a search with pages of two reports, as a server does that has `reports`."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    next_host: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str) -> tuple[int, str, bytes]:
        query = parse_qs(urlsplit(path).query)
        self.asked.append(query)
        since = query["_lastUpdated"][0].removeprefix("ge").replace("+00:00", "Z")
        new = [one for one in self.reports if one["meta"]["lastUpdated"] >= since]
        first = int(query.get("page", ["0"])[0])
        more = f"{path.partition('&page=')[0]}&page={first + 2}"
        host = self.next_host or f"http://127.0.0.1:{self.port}"
        links = [{"relation": "next", "url": host + more}] if len(new) > first + 2 else []
        bundle = {
            "resourceType": "Bundle",
            "link": links,
            "entry": [{"resource": r} for r in new[first : first + 2]],
        }
        return (
            self.status,
            "application/fhir+json",
            json.dumps(bundle).encode() if self.body is None else self.body,
        )


@pytest.fixture
def server() -> Iterator[FhirServer]:
    fhir = FhirServer()
    with a_web_archive(fhir.answer) as fhir.port:
        yield fhir


@dataclass(frozen=True)
class Feed:
    inbox: Inbox
    server: FhirServer

    def ask(self, **values: Any) -> int:
        settings = ReportServerSettings(name="ris", url=f"http://127.0.0.1:{self.server.port}/fhir", **values)
        return ask_report_server(settings, self._tools(), self.inbox.intake)

    def _tools(self) -> Tools:
        database = self.inbox.reports._database
        return Tools(
            clock=lambda: NOW,
            files=self.inbox.files,
            index=self.inbox.index,
            jobs=Jobs(database),
            reports=self.inbox.reports,
            requests=PriorRequests(database),
            orders=Orders(database),
            peers=Peers("PREREAD"),
            engine=None,
            settings=Settings(),
        )


@pytest.fixture
def feed(inbox: Inbox, server: FhirServer) -> Feed:
    return Feed(inbox, server)


def test_every_page_is_heard_and_the_next_question_begins_where_the_answer_ended(feed: Feed):
    feed.server.reports = [a_told(number) for number in range(5)]

    assert feed.ask() == 5
    feed.server.reports.append(a_told(7))
    assert feed.ask() == 1

    assert feed.inbox.texts() == [f"IMPRESSION: Report {number}." for number in (0, 1, 2, 3, 4, 7)]
    assert feed.server.asked[-1]["_lastUpdated"] == ["ge2026-03-01T10:00:04.000Z"]


def test_the_first_question_goes_back_so_many_days_and_names_the_site_s_search(feed: Feed):
    feed.ask(history_days=10, search="category=RAD&status=final")

    (asked,) = feed.server.asked
    assert asked["_lastUpdated"] == ["ge2026-02-20T12:00:00.000+00:00"]
    assert (asked["category"], asked["status"]) == (["RAD"], ["final"])


def test_a_patient_told_beside_the_report_is_its_patient(feed: Feed):
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"value": "P7"}],
        "birthDate": "1950-02-03",
    }
    bundle = {
        "resourceType": "Bundle",
        "entry": [{"resource": a_told(1, subject={"reference": "Patient/p"})}, {"resource": patient}],
    }
    feed.server.body = json.dumps(bundle).encode()

    feed.ask()

    (report,) = feed.inbox.reports.latest(1)
    assert ([one.patient_id for one in report.patients], report.birth_date) == (["P7"], "19500203")


def test_what_cannot_be_taken_is_in_quarantine_once_and_can_be_replayed(feed: Feed):
    feed.server.reports = [a_told(1), a_told(2, conclusion=7)]

    assert (feed.ask(), feed.ask()) == (1, 0)

    (kept,) = feed.inbox.reports.quarantined()
    assert (kept.origin, kept.times, kept.reason) == (
        "ris",
        1,
        "it is no FHIR R4 DiagnosticReport: conclusion",
    )
    said = replay(kept, feed.inbox.intake, feed.inbox.reports, feed.inbox.files, NOW)
    assert said == "still not taken: it is no FHIR R4 DiagnosticReport: conclusion"


def test_a_number_that_no_index_takes_keeps_no_other_report_out(feed: Feed):
    feed.server.reports = [a_told(1), a_told(2, identifier=[an_identifier("ACSN", "1" * 257)]), a_told(3)]

    assert (feed.ask(), feed.ask()) == (2, 0)

    (kept,) = feed.inbox.reports.quarantined()
    assert (kept.times, kept.reason) == (1, "its report ID has 257 characters; more than 256 are not taken")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 500}, "answered HTTP status 500"),
        ({"status": 401}, "Set its authorization in peers.toml"),
        ({"body": b"<html>"}, "answers with what is no JSON"),
        ({"body": b"[]"}, "answers with what is no FHIR Bundle"),
    ],
)
def test_a_server_that_answers_otherwise_is_one_sentence_and_is_asked_again(
    feed: Feed, fault: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
):
    vars(feed.server).update(fault)

    assert feed.ask() == 0

    assert words in capsys.readouterr().out
    assert feed.inbox.reports.heard_until("ris") is None


def test_a_draft_of_our_own_that_lies_there_is_no_report(feed: Feed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed.inbox.reports, "made_by_us", lambda uids: "2.25.7" in uids)
    own = {"identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:oid:2.25.7"}]}
    feed.server.reports = [a_told(1, **own), a_told(2)]

    assert feed.ask() == 1


def test_a_next_page_on_another_host_is_not_fetched(feed: Feed, capsys: pytest.CaptureFixture[str]):
    feed.server.reports = [a_told(number) for number in range(3)]
    feed.server.next_host = "http://elsewhere.invalid"

    assert feed.ask() == 2

    assert "has its next page at another address" in capsys.readouterr().out


def test_a_secret_that_is_not_there_is_named_by_its_place(
    feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    feed.ask(authorization=Secret(file=tmp_path / "token"))

    assert f"{tmp_path}/token cannot be read" in capsys.readouterr().out
    assert feed.server.asked == []
