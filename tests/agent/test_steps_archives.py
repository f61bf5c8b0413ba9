"""The straight line with an archive beside it: real queries and C-GETs on loopback, time passes when told to."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pynetdicom import evt
from pynetdicom.sop_class import CTImageStorage
from structlog.testing import capture_logs

from agent import manifest as manifests
from agent.demo.pacs import MiniPacs
from agent.manifest import Manifest, ManifestOrder
from agent.ordering import take_order
from agent.overview import status, status_text, why_text
from agent.steps import settle
from agent.worker import Worker
from config.settings import AgentSettings, SenderSettings, Settings, StorageSettings
from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import Audits
from storage.database import connect
from storage.patients import Patients
from storage.records import PatientIdentifier, Stage
from tests.agent.archives import a_free_port
from tests.agent.line import PATIENCE, Away, Line
from tests.agent.query_archives import Answer, QueryArchive, a_query_archive, archive_settings
from tests.builders import a_day, a_radiograph, a_report_sr
from tests.storage.builders import a_prior, an_order

pytestmark = pytest.mark.slow

MakeLine = Callable[..., Line]
PRIOR = a_radiograph(days_ago=20, issuer="CLINIC")
REPORT = a_report_sr(days_ago=20, issuer="CLINIC", findings="Small left effusion.")


def current(**fields: object):
    return a_radiograph(issuer="CLINIC", **fields)


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[MakeLine]:
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")

    def make(port: int, *, senders: tuple[SenderSettings, ...] = (), **settings: object) -> Line:
        archive = archive_settings(port, retrieve="c-get", **settings)
        return Line(tmp_path, pacs, archives=(archive,), senders=senders)

    yield make
    pacs.close()


@pytest.fixture
def archive() -> Iterator[QueryArchive]:
    with a_query_archive(PRIOR, REPORT) as archive:
        yield archive


def read(line: Line, study: str, *pauses: float) -> Manifest:
    """Lets the study settle, then time pass, and gives what the model was shown."""
    for seconds in (60, 0, *pauses):
        line.wait(seconds)
        line.run()
    return manifests.load_manifest(line.job(study).manifest_json or "")


def test_the_model_sees_a_prior_that_the_archive_had_with_its_report(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)

    manifest = read(line, line.arrive(current()), 1)

    (prior,) = manifest.priors
    assert prior.report is not None
    assert (prior.report.text, prior.days_before, manifest.notes) == ("Small left effusion.", 20, ())
    assert line.tools.jobs.jobs_of_study(PRIOR.StudyInstanceUID) == ()


def test_a_prior_that_is_here_is_not_fetched_again(make_line: MakeLine, archive: QueryArchive):
    line = make_line(archive.port)
    line.arrive(PRIOR, REPORT)

    manifest = read(line, line.arrive(current()), 1)

    assert len(manifest.priors) == 1
    assert archive.moved == []


def test_films_of_the_hand_that_are_here_keep_no_chest_in_the_archive(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    for days_ago in (3, 4, 5):
        line.arrive(a_radiograph(issuer="CLINIC", days_ago=days_ago, body_part="HAND"))

    manifest = read(line, line.arrive(current()), 1)

    assert [prior.study_instance_uid for prior in manifest.priors] == [PRIOR.StudyInstanceUID]
    assert len(manifest.passed_over) == 3


def test_newer_films_of_the_hand_in_the_archive_are_left_there_and_told(
    make_line: MakeLine, archive: QueryArchive
):
    hands = [
        a_radiograph(issuer="CLINIC", days_ago=days_ago, body_part="HAND", study_description="XR HAND")
        for days_ago in (3, 4, 5)
    ]
    archive.holds = [*hands, *archive.holds]
    line = make_line(archive.port)

    manifest = read(line, line.arrive(current()), 1)

    assert archive.moved == [PRIOR.StudyInstanceUID]
    assert len(manifest.priors) == 1
    assert all("its description names hand" in one.reason for one in manifest.passed_over)
    assert {one.study_instance_uid for one in manifest.passed_over} == {one.StudyInstanceUID for one in hands}


def linked(line: Line, old: str, new: str) -> None:
    """As a registry says by HL7, or a person by `preread patients link`."""
    numbers = (PatientIdentifier(old, "CLINIC"), PatientIdentifier(new, "CLINIC"))
    Patients(connect(f"sqlite:///{line.folder / 'preread.sqlite'}")).link(*numbers, "merge", "HIS", line.now)


def test_an_exam_that_the_archive_has_under_an_old_number_is_fetched_by_one_request(
    make_line: MakeLine, archive: QueryArchive
):
    newer = a_radiograph(days_ago=5, issuer="CLINIC", patient_id="B2", study_uid="2.25.5")
    archive.holds.append(newer)
    line = make_line(archive.port)
    linked(line, "A1", "B2")

    study = line.arrive(current(patient_id="B2"))
    manifest = read(line, study, 1)

    assert [query.PatientID for query in archive.queries] == ["B2", "A1"]
    assert [prior.study_instance_uid for prior in manifest.priors] == [PRIOR.StudyInstanceUID]
    assert set(archive.moved) == {PRIOR.StudyInstanceUID, newer.StudyInstanceUID}
    assert len(line.tools.requests.of_job(line.job(study).number)) == 1
    assert [one.detail for one in queried(line)] == ["2 exams chosen"]


def test_a_study_that_the_archive_tells_of_under_both_numbers_is_one(
    make_line: MakeLine, archive: QueryArchive
):
    def whoever_it_is(event: evt.Event) -> Iterator[Answer]:
        query = deepcopy(event.identifier)
        query.PatientID = ""
        return archive._answers(query)

    archive.on_find = whoever_it_is
    line = make_line(archive.port)
    linked(line, "A1", "B2")

    manifest = read(line, line.arrive(current(patient_id="B2")), 1)

    assert (len(archive.queries), archive.moved) == (2, [PRIOR.StudyInstanceUID])
    assert len(manifest.priors) == 1


def test_a_query_under_the_second_number_that_fails_puts_the_whole_request_off(
    make_line: MakeLine, archive: QueryArchive
):
    refused = iter([None, 0xA700])

    def refuse_the_second(event: evt.Event) -> Iterator[Answer]:
        status = next(refused, None)
        yield from archive._answers(event.identifier) if status is None else [(status, None)]

    archive.on_find = refuse_the_second
    line = make_line(archive.port)
    linked(line, "A1", "B2")

    manifest = read(line, line.arrive(current(patient_id="B2")), 10, 10)

    assert [query.PatientID for query in archive.queries] == ["B2", "A1", "B2", "A1"]
    assert (len(manifest.priors), manifest.notes) == (1, ())
    assert len(queried(line)) == 1


def test_in_patient_root_the_archive_is_asked_for_the_exam_s_own_number_alone(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port, information_model="patient")
    linked(line, "A1", "B2")

    read(line, line.arrive(current(patient_id="B2")), 1)

    assert {query.PatientID for query in archive.queries} == {"B2"}


def test_in_patient_root_the_retrieval_names_the_patient_as_the_query_did(
    make_line: MakeLine, archive: QueryArchive
):
    named: list[str] = []
    archive.on_get = lambda event: iter([named.append(event.identifier.PatientID) or 0])
    senders = (SenderSettings(ae_title="XRAY", remove_id_prefix="N-"),)
    line = make_line(archive.port, senders=senders, information_model="patient")

    ordered = an_order(
        source="XRAY",
        patient_id="N-A1",
        issuer_of_patient_id="CLINIC",
        scheduled_date=a_day(),
        heard_at=line.now,
    )
    take_order(ordered, line.tools.orders, line.tools.settings)
    line.run()

    assert ({query.PatientID for query in archive.queries}, named) == ({"A1"}, ["A1"])


def queried(line: Line) -> list[AuditRecord]:
    records = Audits(connect(f"sqlite:///{line.folder / 'preread.sqlite'}")).waiting("filed_at", 100)
    return [one for one in records if one.event is AuditEvent.QUERIED]


def test_two_studies_of_a_patient_fetch_their_prior_once(make_line: MakeLine, archive: QueryArchive):
    line = make_line(archive.port)
    studies = [line.arrive(current(study_uid=f"2.25.{n}", time=f"0{n}0000")) for n in (8, 9)]

    manifests = [read(line, study, 1) for study in studies]

    assert all(PRIOR.StudyInstanceUID in [p.study_instance_uid for p in m.priors] for m in manifests)
    assert archive.moved == [PRIOR.StudyInstanceUID]


def test_a_stranger_of_the_same_id_is_not_moved(make_line: MakeLine):
    with a_query_archive(a_radiograph(days_ago=20, issuer="CLINIC", birth_date="19840615")) as archive:
        line = make_line(archive.port)
        manifest = read(line, line.arrive(current()), 1)

    assert (manifest.priors, manifest.notes, archive.moved) == ((), (), [])
    assert len(archive.queries) == 1
    (left,) = manifest.passed_over
    assert "birth date" in left.reason
    assert left.reason.endswith("(in arch)")


def test_an_archive_that_is_down_holds_the_study_no_longer_than_the_wait(make_line: MakeLine):
    line = make_line(a_free_port())
    study = line.arrive(current())

    line.wait(60)
    line.run()
    line.wait(59)
    line.run()
    waiting = line.job(study)
    line.wait(1)
    line.run()

    assert (waiting.stage, waiting.attempts) == (Stage.GATHER, 0)
    assert waiting.problem == "waits for earlier exams from arch"
    assert line.job(study).stage is Stage.DONE
    assert manifests.load_manifest(line.job(study).manifest_json or "").notes != ()


def test_why_and_status_and_the_log_say_what_an_archive_that_is_down_answered(
    make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
):
    line = make_line(a_free_port())
    study = line.arrive(current())
    with capture_logs() as log:
        read(line, study, 59, 1, 1)

    monkeypatch.setattr("agent.overview.system_clock", lambda: line.now)
    told, life = status_text(status(settings_on_disk(line), 20)), why_text(settings_on_disk(line), study)

    refused = [entry["reason"] for entry in log if entry["event"] == "archive refused"]
    assert len(refused) == 1
    assert "cannot be connected (Connection refused)" in refused[0]
    assert f"  arch: 1 times since 2026-03-02T12:01:00+00:00: {refused[0]}" in told.splitlines()
    assert f"  archive arch was asked: {refused[0]}" in life.splitlines()


def settings_on_disk(line: Line) -> Settings:
    """What a command sees: the settings of the line, and where its store is."""
    storage = StorageSettings(folder=line.folder, database_url=f"sqlite:///{line.folder / 'preread.sqlite'}")
    return line.tools.settings.model_copy(update={"agent": AgentSettings(storage=storage)})


def test_an_archive_that_is_back_within_the_wait_is_asked_again(make_line: MakeLine, archive: QueryArchive):
    answers = iter([0xA700])

    def refuse_once(event: evt.Event) -> Iterator[Answer]:
        status = next(answers, None)
        yield from archive._answers(event.identifier) if status is None else [(status, None)]

    archive.on_find = refuse_once
    line = make_line(archive.port)

    manifest = read(line, line.arrive(current()), 10, 10)

    assert (len(manifest.priors), manifest.notes) == (1, ())


def test_half_a_prior_is_told_of_and_fetched_again_for_the_next_study(
    make_line: MakeLine, archive: QueryArchive
):
    unwanted = deepcopy(REPORT)
    unwanted.SOPClassUID = CTImageStorage  # we take none, so it counts as failed
    archive.on_get = lambda event: iter([2, (0xFF00, PRIOR), (0xFF00, unwanted)])
    line = make_line(archive.port)

    half = read(line, line.arrive(current()), 1)
    archive.on_get = None
    whole = read(line, line.arrive(current(study_uid="2.25.9", time="093000")), 1)

    assert half.notes == (f"prior of {_iso(20)} was asked from arch: 1 of 2 objects came",)
    assert half.passed_over[0].reason == "it has no report (engine m4cxr needs one with findings)"
    assert whole.priors[0].report is not None
    assert whole.notes == ()


def test_a_worker_that_dies_while_it_fetches_leaves_nothing_doubled_and_nothing_stuck(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    study = line.arrive(current())
    line.wait(60)
    settle(line.tools)
    _do(line, stages=(Stage.GATHER,))
    request = line.tools.requests.claim("dead", line.now, PATIENCE.lease_seconds)
    assert request is not None

    manifest = read(line, study, 1)

    assert manifest.notes == ("arch was asked for earlier exams and did not answer in 60 s",)
    assert line.job(study).stage is Stage.DONE
    assert line.tools.requests.of_job(line.job(study).number)[0].failed_at is not None


def test_a_fetch_that_was_cut_off_in_the_middle_is_done_again_and_doubles_nothing(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    take_order(
        an_order(issuer_of_patient_id="CLINIC", scheduled_date=a_day(), heard_at=line.now),
        line.tools.orders,
        line.tools.settings,
    )
    request = line.tools.requests.claim("dead", line.now, PATIENCE.lease_seconds)
    assert request is not None
    uid = PRIOR.StudyInstanceUID
    line.tools.requests.found(request, [a_prior(uid, archive="arch")], line.now)
    line.tools.requests.fetching(request, uid, line.now)
    line.arrive(PRIOR, calling_ae_title="ARCH")

    line.wait(PATIENCE.lease_seconds)
    line.run()

    assert len(line.tools.index.instances(uid)) == 2
    assert line.tools.index.unread() == ()
    assert line.tools.requests.studies([uid])[0].ended_at == line.now


def test_a_prior_of_which_a_modality_sends_images_later_is_read_as_a_study(
    make_line: MakeLine, archive: QueryArchive
):
    prior = a_radiograph(days_ago=0, issuer="CLINIC", study_uid="2.25.7", time="070000")
    archive.holds = [prior]
    line = make_line(archive.port)
    read(line, line.arrive(current()), 1)
    assert line.tools.jobs.jobs_of_study("2.25.7") == ()

    line.arrive(a_radiograph(issuer="CLINIC", study_uid="2.25.7", time="070000", view="LL", number=2))
    manifest = read(line, "2.25.7", 1)

    assert len(manifest.current.images) == 2


def test_an_order_has_priors_fetched_before_the_exam_and_gives_its_indication(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    ordered = an_order(issuer_of_patient_id="CLINIC", scheduled_date=a_day(), heard_at=line.now)
    take_order(ordered, line.tools.orders, line.tools.settings)
    line.run()
    assert line.tools.index.study(PRIOR.StudyInstanceUID) is not None

    archive.on_find = lambda event: iter([(0xC001, None)])
    manifest = read(line, line.arrive(current(accession="4711")), 60)

    assert manifest.indication == "Cough for two weeks."
    assert len(manifest.priors) == 1
    assert "the indication is that of the order, told by ris; no image has one" in manifest.notes
    assert manifest.order == ManifestOrder("ris", "P1", "F1", "XR CHEST 2 VIEWS")


def test_the_indication_of_an_order_of_another_patient_is_not_shown(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    take_order(an_order(patient_id="B2", heard_at=line.now), line.tools.orders, line.tools.settings)

    assert read(line, line.arrive(current(accession="4711")), 1).indication is None


def test_the_indication_of_an_image_goes_before_that_of_the_order(make_line: MakeLine, archive: QueryArchive):
    line = make_line(archive.port)
    take_order(an_order(heard_at=line.now), line.tools.orders, line.tools.settings)

    manifest = read(line, line.arrive(current(accession="4711", indication="Fever.")), 1)

    assert (manifest.indication, manifest.notes) == ("Fever.", ())


def test_a_request_to_an_archive_that_was_taken_out_ends_and_says_so(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    take_order(an_order(heard_at=line.now), line.tools.orders, line.tools.settings)
    peers = line.tools.settings.peers.model_copy(update={"archives": ()})
    without = replace(line.tools, settings=line.tools.settings.model_copy(update={"peers": peers}))

    assert Worker("ask nobody", without, PATIENCE, leaves_unasked=()).work_once()

    assert line.tools.requests.claim("asker", line.now + timedelta(days=1), 60) is None


def test_an_outage_that_outlasts_the_lease_costs_a_request_no_attempt(
    make_line: MakeLine, archive: QueryArchive
):
    line = make_line(archive.port)
    take_order(an_order(heard_at=line.now), line.tools.orders, line.tools.settings)
    requests = Away(line.tools.requests, "found", "later", "give_back", "extend")
    tools = replace(line.tools, requests=requests)  # type: ignore[arg-type]
    worker = Worker("ask", tools, PATIENCE, leaves_unasked=())

    for requests.is_away in (True, False):
        worker._turn()
        line.wait(3600)

    request = line.tools.requests.claim("other", line.now, 60)
    assert request is not None
    assert request.attempts == 0


def test_an_outage_of_our_database_is_no_problem_of_the_archive(make_line: MakeLine, archive: QueryArchive):
    line = make_line(archive.port)
    for number in ("1", "2"):
        order = an_order(heard_at=line.now, accession_number=number, study_instance_uid=f"2.25.{number}")
        take_order(order, line.tools.orders, line.tools.settings)
    requests = Away(line.tools.requests, "found")
    worker = Worker("ask", replace(line.tools, requests=requests), PATIENCE, leaves_unasked=())  # type: ignore[arg-type]

    worker._turn()

    assert line.tools.requests.unanswered(line.now, 9) == ()
    other = line.tools.requests.claim("other", line.now, 60)
    assert other is not None
    assert (other.number, other.problem) == (2, None)


def _do(line: Line, stages: tuple[Stage, ...]) -> None:
    """One step of the line and no request."""
    assert Worker("gather", line.tools, PATIENCE, stages=stages).work_once()


def _iso(days_ago: int) -> str:
    day = a_day(days_ago)
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"
