"""Destinations that are reached by STOW-RS: what a scripted service says of each object, and what that means for us."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.peers import Peers, StoreOutcome
from config.settings import DestinationSettings, Secret
from tests.agent.archives import a_free_port
from tests.agent.line import Line
from tests.builders import a_radiograph, a_report_sr, a_uid, write

Answer = tuple[int, object]


class Service:
    """Answers each POST as told; keeps what it was sent."""

    def __init__(self, answer: Callable[[list[str]], Answer], uids: list[str]) -> None:
        self.answer = answer
        self.uids = uids
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.port = 0

    def take(self, headers: dict[str, str], body: bytes) -> Answer:
        self.headers.append(headers)
        self.bodies.append(body)
        return self.answer(self.uids)


@contextmanager
def a_service(answer: Callable[[list[str]], Answer], uids: list[str] = ()) -> Iterator[Service]:
    service = Service(answer, list(uids))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self._body()
            status, said = service.take(dict(self.headers), body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join(10)


def items(uids: list[str], tag: str = "", reason: int = 0) -> dict[str, object]:
    """A sequence of the Store Instances Response (PS3.18 Annex I.2)."""
    return {
        "vr": "SQ",
        "Value": [
            {"00081155": {"vr": "UI", "Value": [uid]}}
            | ({tag: {"vr": "US", "Value": [reason]}} if tag else {})
            for uid in uids
        ],
    }


def taken(uids: list[str], warning: int = 0) -> dict[str, object]:
    return {"00081199": items(uids, "00081196" if warning else "", warning)}


def failed(uids: list[str], reason: int) -> dict[str, object]:
    return {"00081198": items(uids, "00081197", reason)}


def web_destination(port: int, **values: object) -> DestinationSettings:
    url = f"http://127.0.0.1:{port}/dicom-web"
    return DestinationSettings(name="web", protocol="dicomweb", url=url, connect_seconds=2.0, **values)


def two_reports(folder: Path) -> tuple[list[Path], list[str]]:
    files, uids = [], []
    for number in (1, 2):
        report = a_report_sr(number=number)
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = a_uid("stow", number)
        files.append(write(report, folder / f"{number}.dcm"))
        uids.append(str(report.SOPInstanceUID))
    return files, uids


def store(folder: Path, answer: Callable[[list[str]], Answer], **values: object) -> tuple[StoreOutcome, ...]:
    files, uids = two_reports(folder)
    with a_service(answer, uids) as service:
        return Peers("PREREAD").store(web_destination(service.port, **values), files)


def test_all_objects_go_in_one_request_byte_for_byte(tmp_path: Path):
    files, uids = two_reports(tmp_path)

    with a_service(lambda uids: (200, taken(uids)), uids) as service:
        outcomes = Peers("PREREAD").store(web_destination(service.port), files)

    assert [(one.sop_instance_uid, one.kind, one.problem) for one in outcomes] == [
        (uid, "taken", None) for uid in uids
    ]
    (body,) = service.bodies
    assert all(file.read_bytes() in body for file in files)


def test_each_object_has_its_own_verdict(tmp_path: Path):
    def answer(uids: list[str]) -> Answer:
        return 202, taken(uids[:1], warning=0xB000) | failed(uids[1:], 0xA700)

    first, second = store(tmp_path, answer)

    assert (first.kind, first.status) == ("taken", 0xB000)
    assert (second.kind, second.status) == ("refused_for_now", 0xA700)
    assert "(http://127.0.0.1:" in (second.problem or "")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (0x0122, "class_refused"),
        (0xC122, "refused_for_good"),
        (0xA900, "refused_for_good"),
        (0x0111, "taken"),
        (0x0110, "refused_for_now"),
    ],
)
def test_a_conflict_is_judged_by_its_reasons(tmp_path: Path, reason: int, kind: str):
    outcomes = store(tmp_path, lambda uids: (409, failed(uids, reason)))

    assert [outcome.kind for outcome in outcomes] == [kind, kind]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "refused_for_good"),
        (401, "refused_for_now"),
        (404, "refused_for_now"),
        (413, "refused_for_good"),
        (429, "refused_for_now"),
        (500, "refused_for_now"),
        (503, "refused_for_now"),
    ],
)
def test_a_status_for_the_whole_request_counts_for_each_object(tmp_path: Path, status: int, kind: str):
    outcomes = store(tmp_path, lambda _: (status, b"<html>no</html>"))

    assert [outcome.kind for outcome in outcomes] == [kind, kind]
    assert f"answered HTTP status {status}" in (outcomes[0].problem or "")


def test_success_without_a_word_is_success(tmp_path: Path):
    assert [one.kind for one in store(tmp_path, lambda _: (200, b""))] == ["taken", "taken"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda uids: (409, b"<html>conflict</html>"),
        lambda uids: (409, failed(["1.2.3"], 0xA700)),
        lambda uids: (202, failed(["1.2.3"], 0xA700)),
    ],
)
def test_an_object_of_which_a_failing_service_says_nothing_is_sent_again(tmp_path: Path, answer):
    outcomes = store(tmp_path, answer)

    assert [outcome.kind for outcome in outcomes] == ["not_sent", "not_sent"]
    assert "says nothing of this object" in (outcomes[0].problem or "")


def test_an_answer_that_is_no_answer_leaves_the_objects_for_later(tmp_path: Path):
    outcomes = store(tmp_path, lambda _: (200, b"{no json"))

    assert [outcome.kind for outcome in outcomes] == ["not_sent", "not_sent"]


def test_a_service_that_is_not_there_is_named(tmp_path: Path):
    files, _ = two_reports(tmp_path)

    outcomes = Peers("PREREAD").store(web_destination(a_free_port()), files)

    assert [outcome.kind for outcome in outcomes] == ["not_sent", "not_sent"]
    assert "cannot be connected" in (outcomes[0].problem or "")


def test_an_authorization_is_read_where_the_settings_say_and_sent(tmp_path: Path):
    (tmp_path / "token").write_text("Bearer of-good-news\n")
    (tmp_path / "token").chmod(0o600)
    files, uids = two_reports(tmp_path)
    secret = Secret(file=tmp_path / "token")

    with a_service(lambda uids: (200, taken(uids)), uids) as service:
        Peers("PREREAD").store(web_destination(service.port, authorization=secret), files)
        (tmp_path / "token").unlink()
        lost = Peers("PREREAD").store(web_destination(service.port, authorization=secret), files)

    assert [headers["Authorization"] for headers in service.headers] == ["Bearer of-good-news"]
    assert {outcome.kind for outcome in lost} == {"not_sent"}
    assert "its authorization in peers.toml is not there" in (lost[0].problem or "")


def test_a_draft_walks_the_line_to_a_web_destination_and_a_refused_class_falls_back(tmp_path: Path):
    tries: list[int] = []

    def answer(_: list[str]) -> Answer:
        tries.append(1)
        if len(tries) > 1:
            return 200, b""
        (wanted,) = line.tools.jobs.deliveries.of_job(1)
        return 409, failed([wanted.sop_instance_uid], 0x0122)

    with a_service(answer) as service:
        url = f"http://127.0.0.1:{service.port}/dicom-web"
        line = Line(
            tmp_path, service, outputs=("report_sr",), destination={"protocol": "dicomweb", "url": url}
        )
        study = line.arrive(a_radiograph(rows=200, columns=180))
        line.wait(60)
        line.run()

    made = [result.kind for result in line.tools.jobs.results_of_job(line.job(study).number)]
    assert (line.job(study).stage, made) == ("done", ["encapsulated_pdf", "report_sr"])
