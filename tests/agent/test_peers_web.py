"""Archives that are reached by DICOMweb: what a whole one answers, and what becomes of one that misbehaves."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydicom import Dataset

from agent.fetching import StudyQuery
from agent.peers import Arrived, Peers
from tests.agent.archives import a_free_port
from tests.agent.query_archives import archive_settings
from tests.builders import a_day, a_radiograph, a_report_sr, as_bytes

QUERY = StudyQuery("SECRET-7", a_day(1000), a_day())
Answer = tuple[int, str, bytes]


@contextlib.contextmanager
def a_web_archive(answer: Callable[[str], Answer]) -> Iterator[int]:
    """Serves HTTP on loopback: `answer` gives status, content type and body for a path with its query."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content_type, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have gone
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


def settings(port: int, **values: object):
    return archive_settings(port, retrieve="dicomweb", url=f"http://127.0.0.1:{port}/dicom-web", **values)


def find(port: int, **values: object):
    return Peers("PREREAD").find_studies(settings(port, **values), QUERY)


def retrieve(port: int, take: Callable[[Arrived], int]):
    return Peers("PREREAD").retrieve(settings(port), "2.25.50", "A1", "PREREAD", take)


def studies(*datasets: Dataset) -> Callable[[str], Answer]:
    body = json.dumps([dataset.to_json_dict() for dataset in datasets]).encode()
    return lambda path: (200, "application/dicom+json", body)


def parts(*datasets: Dataset, cut_bytes: int = 0) -> Callable[[str], Answer]:
    whole = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + as_bytes(one) + b"\r\n" for one in datasets
    )
    body = whole[: len(whole) - cut_bytes] + (b"" if cut_bytes else b"--b--\r\n")
    return lambda path: (200, 'multipart/related; type="application/dicom"; boundary=b', body)


def a_found_study(uid: str = "2.25.50") -> Dataset:
    dataset = Dataset()
    dataset.StudyInstanceUID, dataset.PatientName, dataset.PatientID = uid, "Müller^Ünal", "SECRET-7"
    dataset.ModalitiesInStudy, dataset.NumberOfStudyRelatedInstances = ["DX", "SR"], 2
    return dataset


def test_studies_are_asked_for_by_patient_and_day_and_read_as_told():
    paths: list[str] = []

    with a_web_archive(lambda path: paths.append(path) or studies(a_found_study())(path)) as port:
        (one,) = find(port).studies

    assert (one.study.patient_name, one.study.modalities, one.instances) == ("Müller^Ünal", ("DX", "SR"), 2)
    assert "PatientID=SECRET-7" in paths[0]
    assert f"StudyDate={a_day(1000)}-{a_day()}" in paths[0]


def test_more_answers_than_the_limit_are_left_out_and_said():
    with a_web_archive(studies(*(a_found_study(f"2.25.{n}") for n in range(5)))) as port:
        found = find(port, answers_max=4)

    assert (len(found.studies), found.note) == (4, "arch has more than 4 answers; the first 4 were looked at")


@pytest.mark.parametrize(("status", "is_for_good"), [(404, True), (401, True), (429, False), (500, False)])
def test_a_refusal_says_whether_it_is_worth_asking_again_and_names_no_patient(status, is_for_good, caplog):
    with a_web_archive(lambda path: (status, "text/plain", b"SECRET-7")) as port:
        found = find(port)

    assert f"answered HTTP status {status}" in found.problem
    assert found.is_for_good is is_for_good
    assert "SECRET-7" not in found.problem + caplog.text


@pytest.mark.parametrize("body", [b"<html>", b'{"a": 1}', b"[1, 2]", b"[{}]"])
def test_junk_is_no_study_and_no_crash(body):
    with a_web_archive(lambda path: (200, "application/dicom+json", body)) as port:
        assert find(port).studies == ()


def test_an_archive_that_is_down_is_a_sentence_with_its_address():
    port = a_free_port()

    assert find(port).problem.startswith(
        f'Archive "arch" (http://127.0.0.1:{port}/dicom-web) cannot be connected'
    )
    assert not Peers("PREREAD").echo(settings(port)).ok


def test_every_object_arrives_as_the_bytes_that_were_sent():
    sent = [a_radiograph(), a_report_sr()]
    arrived: list[Arrived] = []

    with a_web_archive(parts(*sent)) as port:
        outcome = retrieve(port, lambda one: arrived.append(one) or 0x0000)

    assert (outcome.completed, outcome.failed, outcome.problem, outcome.is_ended) == (2, 0, None, True)
    assert all(as_bytes(dataset).endswith(one.content) for dataset, one in zip(sent, arrived, strict=True))
    assert [one.transfer_syntax_uid for one in arrived] == [
        str(one.file_meta.TransferSyntaxUID) for one in sent
    ]


def test_a_study_that_breaks_off_is_asked_for_again():
    with a_web_archive(parts(a_report_sr(), a_radiograph(), cut_bytes=6500)) as port:
        outcome = retrieve(port, lambda one: 0x0000)

    assert outcome.problem is not None
    assert not outcome.is_ended


def test_an_object_that_we_cannot_keep_is_said():
    with a_web_archive(parts(a_radiograph())) as port:
        outcome = retrieve(port, lambda one: 0xA700)

    assert (outcome.completed, outcome.failed, outcome.is_ended) == (0, 1, True)
    assert "sent 1 objects that could not be kept" in outcome.problem
