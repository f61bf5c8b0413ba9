"""Asking archives: what a whole one answers, and what becomes of one that answers junk, too much, or for ever."""

import time
from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pynetdicom import evt

from agent.fetching import StudyQuery
from agent.peers import Arrived, Peers
from tests.agent.archives import a_bare_socket, a_free_port
from tests.agent.query_archives import Answer, a_query_archive, archive_settings
from tests.builders import a_day, a_radiograph, a_report_sr, a_uid

QUERY = StudyQuery("A1", a_day(1000), a_day())


def find(port: int, **settings: object):
    return Peers("PREREAD").find_studies(archive_settings(port, **settings), QUERY)


def retrieve(port: int, study: str, retrieve: str = "c-get", take=lambda arrived: 0x0000, **settings: object):
    archive = archive_settings(port, retrieve=retrieve, **settings)
    return Peers("PREREAD").retrieve(archive, study, "A1", "PREREAD", take)


def test_an_archive_is_asked_for_the_patient_and_the_days_and_tells_what_it_has():
    prior = a_radiograph(days_ago=30, name="Müller^Ünal", issuer="CLINIC", accession="7")
    report = a_report_sr(days_ago=30, issuer="CLINIC")

    with a_query_archive(prior, report, a_radiograph(patient_id="B2")) as archive:
        found = find(archive.port)

    (one,) = found.studies
    assert (found.problem, found.note, one.instances) == (None, None, 2)
    assert one.study.patient_name == "Müller^Ünal"
    assert (one.study.issuer_of_patient_id, one.study.modalities) == ("CLINIC", ("DX", "SR"))
    assert archive.queries[0].StudyDate == f"{a_day(1000)}-{a_day()}"


def test_patient_root_asks_for_the_patient_on_its_own_level():
    with a_query_archive(a_radiograph(days_ago=30)) as archive:
        found = find(archive.port, information_model="patient")

    assert [query.QueryRetrieveLevel for query in archive.queries] == ["STUDY", "PATIENT"]
    assert "PatientBirthDate" not in archive.queries[0]
    assert found.studies[0].study.birth_date == "19500101"


def test_two_patients_of_one_id_leave_the_patient_of_a_study_unknown():
    holds = [a_radiograph(days_ago=30), a_radiograph(days_ago=30)]
    twice = [(0xFF00, one) for one in holds]

    def answers(event: evt.Event) -> Iterator[Answer]:
        answer = Dataset()
        answer.StudyInstanceUID = a_uid("study")
        yield from twice if event.identifier.QueryRetrieveLevel == "PATIENT" else [(0xFF00, answer)]

    with a_query_archive(on_find=answers) as archive:
        found = find(archive.port, information_model="patient")

    assert found.studies[0].study.birth_date == ""


def test_modalities_that_are_not_told_are_asked_for_series_by_series():
    holds = [a_radiograph(days_ago=30), a_report_sr(days_ago=30)]

    with a_query_archive(*holds, leaves_out=frozenset({"ModalitiesInStudy"})) as archive:
        found = find(archive.port)

    assert [query.QueryRetrieveLevel for query in archive.queries] == ["STUDY", "SERIES"]
    assert found.studies[0].study.modalities == ("DX", "SR")


def test_answers_without_what_was_asked_for_and_junk_cost_only_themselves():
    good, no_uid, odd_uid = Dataset(), Dataset(), Dataset()
    good.StudyInstanceUID, good.NumberOfStudyRelatedInstances = a_uid("study"), None
    with disable_value_validation():
        no_uid.PatientID, odd_uid.StudyInstanceUID = "A1", "../../etc"

    with a_query_archive(
        on_find=lambda event: iter([(0xFF00, d) for d in (no_uid, odd_uid, good)])
    ) as archive:
        found = find(archive.port)

    (one,) = found.studies
    assert (one.study.study_instance_uid, one.instances) == (a_uid("study"), None)
    assert (one.study.patient_id, one.study.modalities) == ("A1", ())


def test_text_without_its_character_set_is_read_as_the_settings_say():
    answer = Dataset()
    answer.StudyInstanceUID, answer.PatientName = a_uid("study"), "Müller^Ünal"
    answer.SpecificCharacterSet = "ISO_IR 100"
    raw = Dataset.from_json(answer.to_json())
    raw.SpecificCharacterSet = "ISO_IR 100"

    with a_query_archive(on_find=lambda event: iter([(0xFF00, raw)])) as archive:
        found = find(archive.port, assume_charset="ISO_IR 100", default_issuer="CLINIC")

    assert found.studies[0].study.patient_name == "Müller^Ünal"
    assert found.studies[0].study.issuer_of_patient_id == "CLINIC"


def endless(event: evt.Event) -> Iterator[Answer]:
    for number in range(100_000):
        answer = Dataset()
        answer.StudyInstanceUID = a_uid("endless", number)
        answer.ModalitiesInStudy = "CR"
        yield 0xFF00, answer


def test_more_answers_than_the_limit_are_cancelled_and_said():
    with a_query_archive(on_find=endless) as archive:
        found = find(archive.port, answers_max=9)
        assert archive.cancelled.wait(10)

    assert len(found.studies) == 9
    assert found.note == "arch has more than 9 answers; the first 9 were looked at"


@pytest.mark.slow
def test_answers_without_end_are_left_when_the_time_is_over():
    def drip(event: evt.Event) -> Iterator[Answer]:
        for answer in endless(event):
            time.sleep(0.05)
            yield answer

    with a_query_archive(on_find=drip) as archive:
        started = time.monotonic()
        found = find(archive.port, request_seconds=1, answers_max=10_000)

    assert "did not come to the end of its answers within 1 s" in found.problem
    assert not found.is_for_good
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("status", "is_for_good"),
    [(0xA700, False), (0xA900, True), (0xC001, False), (0x0122, True), (0x0124, False)],
)
def test_a_refused_query_says_whether_it_is_worth_asking_again(status, is_for_good):
    with a_query_archive(on_find=lambda event: iter([(status, None)])) as archive:
        found = find(archive.port)

    assert f"status {status:04X}" in found.problem
    assert found.is_for_good is is_for_good


def test_an_archive_that_is_not_there_or_is_silent_is_a_sentence_that_names_it():
    down = find(a_free_port())
    with a_bare_socket(lambda connection, over: over.wait(10)) as port:
        silent = find(port, connect_seconds=0.5)

    assert down.problem.startswith('Archive "arch" (AE title ARCH at 127.0.0.1:')
    assert "did not answer our association request within 0.5 s" in silent.problem


def test_an_archive_that_ends_the_association_when_it_is_asked_is_told_with_the_likely_cause():
    def end(event: evt.Event) -> Iterator[Answer]:
        event.assoc.abort()
        yield 0x0000, None

    with a_query_archive(on_find=end) as archive:
        found = find(archive.port)

    assert "broke the association off while we asked. Does it know our AE title and address" in found.problem
    assert not found.is_for_good


@pytest.mark.slow
def test_an_archive_that_falls_silent_is_left_after_answer_seconds():
    def sleep(event: evt.Event) -> Iterator[Answer]:
        time.sleep(2)
        yield 0x0000, None

    with a_query_archive(on_find=sleep) as archive:
        found = find(archive.port, answer_seconds=0.5)

    assert "did not answer within 0.5 s" in found.problem


def test_c_get_brings_every_object_over_our_own_association_as_the_archive_keeps_it():
    prior = a_radiograph(days_ago=30)
    arrived: list[Arrived] = []

    with a_query_archive(prior, a_report_sr(days_ago=30)) as archive:
        outcome = retrieve(
            archive.port, prior.StudyInstanceUID, take=lambda one: arrived.append(one) or 0x0000
        )

    assert (outcome.completed, outcome.failed, outcome.problem, outcome.is_ended) == (2, 0, None, True)
    assert arrived[0].sop_instance_uid == prior.SOPInstanceUID
    assert arrived[0].transfer_syntax_uid == prior.file_meta.TransferSyntaxUID
    assert prior.PixelData in arrived[0].content


def test_an_object_that_we_cannot_keep_is_counted_as_failed():
    prior = a_radiograph(days_ago=30)

    with a_query_archive(prior, a_report_sr(days_ago=30)) as archive:
        outcome = retrieve(
            archive.port,
            prior.StudyInstanceUID,
            take=lambda one: 0xA700 if one.sop_instance_uid == prior.SOPInstanceUID else 0x0000,
        )

    assert (outcome.completed, outcome.failed, outcome.is_ended) == (1, 1, True)
    assert "1 objects sent, 1 not" in outcome.problem


def test_an_archive_without_c_get_is_told_to_be_asked_by_c_move():
    with a_query_archive(a_radiograph(), takes_get=False) as archive:
        outcome = retrieve(archive.port, a_uid("study"))

    assert 'accepts no C-GET. Write retrieve = "c-move"' in outcome.problem
    assert outcome.is_ended


def test_a_move_to_an_ae_title_that_the_archive_does_not_know_is_not_tried_again():
    def unknown(event: evt.Event) -> Iterator[object]:
        yield None, None

    with a_query_archive(a_radiograph(), on_move=unknown) as archive:
        outcome = retrieve(archive.port, a_uid("study"), "c-move")

    assert "does not know our AE title as a move destination" in outcome.problem
    assert outcome.is_ended


@pytest.mark.slow
def test_a_move_without_end_is_cancelled_when_the_time_is_over():
    def slow(event: evt.Event) -> Iterator[object]:
        yield archive.destination([a_radiograph()])
        yield 1000
        for _ in range(1000):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            time.sleep(0.1)
            yield 0xFF00, a_radiograph()

    with a_query_archive(on_move=slow) as archive:
        archive.moves_to = archive.port
        outcome = retrieve(archive.port, a_uid("study"), "c-move", request_seconds=1)

    assert "did not send the whole study within 1 s" in outcome.problem


def test_no_sentence_on_an_archive_names_the_patient(caplog):
    with a_query_archive(on_find=lambda event: iter([(0xA900, None)])) as archive:
        query = StudyQuery("SECRET-7", a_day(10), a_day())
        found = Peers("PREREAD").find_studies(archive_settings(archive.port), query)

    assert "SECRET-7" not in found.problem + caplog.text
