"""The end of a draft: withdrawn by a person, or by the report of a radiologist."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage

from agent.casework import withdrawal_objects
from agent.demo.pacs import MiniPacs
from agent.hl7.message import parse_message
from agent.manifest import load_manifest
from agent.overview import status, why_text
from agent.reports.results import result_messages
from agent.steps import close_reported
from agent.withdrawing import withdraw
from config.settings import AgentSettings, Settings, StorageSettings
from inference.case import Case
from inference.reading import Reading
from storage.records import Stage
from tests.agent.archives import an_archive
from tests.agent.line import PATIENCE, Line
from tests.builders import a_radiograph
from tests.hl7.builders import an_obx, an_oru
from tests.outgoing.builders import a_drop_folder, a_fhir_server, an_hl7_receiver
from tests.outgoing.conftest import OpenLine
from tests.outgoing.peers import Script, acknowledged, dead, mllp_peer, web_peer
from tests.scripted_engine import IDENTITY, ScriptedEngine, an_effusion

pytestmark = pytest.mark.slow


def a_study_read(line: Line, **about: object) -> str:
    study = line.arrive(a_radiograph(accession="4711", rows=200, columns=180, **about))
    line.wait(60)
    line.run()
    return study


def settings_of(line: Line, *, rejection_notes: bool = False) -> Settings:
    """What a command sees: the settings of the line, and where its store is."""
    storage = StorageSettings(folder=line.folder, database_url=f"sqlite:///{line.folder / 'preread.sqlite'}")
    peers = line.tools.settings.peers
    destinations = tuple(
        one.model_copy(update={"rejection_notes": rejection_notes}) for one in peers.destinations
    )
    return line.tools.settings.model_copy(
        update={
            "agent": AgentSettings(storage=storage),
            "peers": peers.model_copy(update={"destinations": destinations}),
        }
    )


def reported(line: Line, status: str = "F", **about: str) -> str:
    """A result message comes in, and the clock ticks."""
    message = parse_message(
        an_oru(an_obx("FINDINGS: Clear."), accession="4711", patients="A1", status=status, **about).encode()
    )
    kind = result_messages(line.tools.reports)
    outcome = kind.store(kind.parse(message, line.now))
    close_reported(line.tools, 0)
    return outcome


def received(line: Line, study: str, modality: str) -> list[Dataset]:
    return [one for one in line.pacs.datasets(study) if one.Modality == modality]


def test_a_withdrawal_reaches_everybody_who_has_the_draft_and_takes_its_place(open_line: OpenLine):
    with mllp_peer(acknowledged("AA")) as ris, web_peer(200) as fhir:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),), fhir_servers=(a_fhir_server(fhir.port),))
        study = a_study_read(line)

        said = withdraw(settings_of(line), study, "wrong patient", line.now)
        line.run()

    draft, withdrawal = (parse_message(message) for message in ris.received)
    report = json.loads(fhir.received[-1][1])["entry"][-2]["resource"]
    assert "is withdrawn: revision 2" in said
    assert line.job(study).stage is Stage.DONE
    assert withdrawal.first("OBR").text(3) == draft.first("OBR").text(3)
    assert withdrawal.first("OBR").text(25) == "X"
    assert (report["resourceType"], report["status"]) == ("DiagnosticReport", "entered-in-error")


@pytest.mark.parametrize(("notes", "kind"), [(False, "report_sr"), (True, "rejection_note")])
def test_the_messages_of_a_withdrawal_name_its_objects_in_the_pacs(
    notes: bool, kind: str, open_line: OpenLine, tmp_path: Path
):
    (tmp_path / "drafts").mkdir()
    line = open_line(drop_folders=(a_drop_folder(tmp_path / "drafts"),))
    study = a_study_read(line)
    drafted = {one.sop_instance_uid for one in line.pacs.received(study)}

    withdraw(settings_of(line, rejection_notes=notes), study, "wrong patient", line.now)
    line.run()

    (file,) = (tmp_path / "drafts").glob("*_r2.json")
    (named,) = json.loads(file.read_text())["objects"]
    assert {named["sop_instance_uid"]} == {
        one.sop_instance_uid for one in line.pacs.received(study)
    } - drafted
    assert named["kind"] == kind


def test_a_pacs_without_rejection_notes_gets_a_text_that_says_so_in_place_of_the_last_one(
    open_line: OpenLine,
):
    line = open_line()
    study = a_study_read(line)

    withdraw(settings_of(line), study, "wrong patient", line.now)
    line.run()

    first, second = sorted(
        (one for one in received(line, study, "SR") if one.SeriesDescription.startswith("AI DRAFT")),
        key=lambda one: int(one.InstanceNumber),
    )
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert predecessor.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    words = str(second.to_json())
    assert "must not be used: wrong patient" in words


def test_a_pacs_that_got_nothing_but_pictures_gets_one_that_says_so(tmp_path: Path, pacs: MiniPacs):
    line = Line(tmp_path, pacs, outputs=("secondary_capture",))
    study = a_study_read(line)

    withdraw(settings_of(line), study, "wrong patient", line.now)
    line.run()

    drawn, withdrawn = sorted(
        (one for one in received(line, study, "DX") + received(line, study, "OT") if "AI" in one.ImageType),
        key=lambda one: int(one.InstanceNumber),
    )
    assert withdrawn.SeriesInstanceUID == drawn.SeriesInstanceUID
    assert str(withdrawn.ImageComments).endswith("was withdrawn and must not be used: wrong patient")
    assert received(line, study, "SR") == []


def test_a_pacs_that_has_refused_reports_is_told_of_a_withdrawal_by_a_picture(tmp_path: Path):
    classes = (GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage)
    with an_archive(classes=classes, ae_title="TESTPACS") as archive:
        line = Line(tmp_path, archive, outputs=("report_sr", "presentation_state"))
        study = a_study_read(line)
        before = archive.classes.copy()

        withdraw(settings_of(line), study, "wrong patient", line.now)
        line.run()

    assert sorted(before) == sorted(classes)
    assert archive.classes[len(before) :] == [SecondaryCaptureImageStorage]
    assert line.job(study).stage is Stage.DONE


def test_a_withdrawal_that_is_refused_is_given_up_and_never_becomes_a_draft(tmp_path: Path):
    with an_archive(ae_title="TESTPACS") as archive:
        line = Line(tmp_path, archive, outputs=("report_sr",))
        study = a_study_read(line)
        withdraw(settings_of(line), study, "wrong patient", line.now)
    with an_archive(classes=[SecondaryCaptureImageStorage], ae_title="TESTPACS") as archive:
        destination = line.tools.settings.peers.destinations[0].model_copy(update={"port": archive.port})
        peers = line.tools.settings.peers.model_copy(update={"destinations": (destination,)})
        tools = replace(line.tools, settings=line.tools.settings.model_copy(update={"peers": peers}))
        line.worker.take(tools, PATIENCE, leaves_alone=(), leaves_unasked=())
        line.run()

    job = line.job(study)
    assert (job.revision, job.stage, archive.classes) == (2, Stage.FAILED, [])
    (delivery,) = line.tools.jobs.deliveries.of_job(job.number)
    assert (delivery.replaced_by, delivery.failed_at is not None) == (None, True)
    assert "TESTPACS" in str(delivery.problem)
    assert "internal error" not in str(job.problem)


def test_a_pacs_that_follows_rejection_notes_gets_one_of_our_objects_and_no_others(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    ours = {str(one.SOPInstanceUID) for one in line.pacs.datasets(study)}

    withdraw(settings_of(line, rejection_notes=True), study, "wrong patient", line.now)
    line.run()

    (note,) = received(line, study, "KO")
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    named = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert named == ours


def test_who_was_never_sent_a_draft_is_told_nothing(open_line: OpenLine):
    with mllp_peer(acknowledged("AR")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)

        said = withdraw(settings_of(line), study, "wrong patient", line.now)
        line.run()

    assert "pacs will be told" in said
    assert "ris" not in said
    assert len(ris.received) == 1


def test_who_may_have_it_without_having_said_so_is_told_and_gets_no_draft_any_more(open_line: OpenLine):
    with mllp_peer(dead, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)

        withdraw(settings_of(line), study, "wrong patient", line.now)
        line.wait(3600)
        line.run()

    assert [parse_message(one).first("OBR").text(25) for one in ris.received] == ["R", "X"]


@pytest.mark.parametrize("last", [dead, acknowledged("AR", text="duplicate")], ids=["no answer", "refused"])
def test_who_may_have_a_draft_that_was_given_up_is_told(open_line: OpenLine, last: Script):
    with mllp_peer(dead, last, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)
        line.wait(4000)
        line.run()
        assert line.job(study).stage is Stage.FAILED

        said = withdraw(settings_of(line), study, "wrong patient", line.now)
        line.run()

    assert "ris will be told" in said
    assert [parse_message(one).first("OBR").text(25) for one in ris.received] == ["R", "R", "X"]


def test_a_withdrawal_is_tried_again_until_it_is_taken(open_line: OpenLine):
    with mllp_peer(acknowledged("AA"), dead, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)
        withdraw(settings_of(line), study, "wrong patient", line.now)
        line.run()
        assert line.job(study).stage is Stage.DELIVER

        line.wait(10)
        line.run()

    assert line.job(study).stage is Stage.DONE
    assert ris.received[1] == ris.received[2]


def test_late_images_of_a_withdrawn_study_open_no_draft_and_why_says_so(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    withdraw(settings_of(line), study, "wrong patient", line.now)
    line.run()

    a_study_read(line, view="LL")

    story = why_text(settings_of(line), study)
    assert [job.revision for job in line.tools.jobs.jobs_of_study(study)] == [1, 2]
    assert "withdrawn: wrong patient" in story
    assert "are not read: wrong patient" in story


def test_a_withdrawn_study_is_read_again_when_the_operator_asks(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    withdraw(settings_of(line), study, "wrong patient", line.now)
    line.run()

    line.tools.jobs.again(study, line.now)
    line.run()

    assert line.job(study).revision == 3
    assert line.job(study).stage is Stage.DONE


@pytest.mark.parametrize("why", ["", " \n ", "x" * 501])
def test_a_withdrawal_needs_a_reason(open_line: OpenLine, why: str):
    line = open_line()
    study = a_study_read(line)

    with pytest.raises(ValueError, match="--why needs a reason of 1 to 500 characters"):
        withdraw(settings_of(line), study, why, line.now)


def test_a_study_without_a_draft_and_one_withdrawn_already_are_said(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    with pytest.raises(LookupError, match=r"there is no draft of study 1\.2\.3"):
        withdraw(settings_of(line), "1.2.3", "wrong patient", line.now)
    withdraw(settings_of(line), study, "wrong patient", line.now)
    line.run()

    with pytest.raises(LookupError, match="is withdrawn already"):
        withdraw(settings_of(line), study, "once more", line.now)


def test_a_withdrawal_that_a_crash_cut_off_before_its_commit_can_be_given_again(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    tools, job = line.tools, replace(line.job(study), revision=2)
    manifest, held = load_manifest(job.manifest_json or ""), {"pacs": tools.jobs.results_of_job(job.number)}

    first, again = (
        withdrawal_objects(job, manifest, IDENTITY, why, held, tools.files, tools.jobs, tools.settings)[
            "pacs"
        ]
        for why in ("wrong patient", "wrong patient, said otherwise")
    )

    assert first.sop_instance_uid == again.sop_instance_uid
    assert tools.files.read(first.path) != tools.files.read(again.path)


@pytest.mark.parametrize("status_code", ["F", "C"])
def test_a_final_report_stops_what_is_not_delivered_and_why_names_it(open_line: OpenLine, status_code: str):
    with mllp_peer(dead, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)

        reported(line, status_code)
        line.wait(3600)
        line.run()

    assert len(ris.received) == 1
    assert line.job(study).stage is Stage.DONE
    (closing,) = line.tools.jobs.closings.of_study(study)
    assert closing.report_number == 1
    story = why_text(settings_of(line), study)
    assert "report RIS CLINIC MSG1 (hl7) is here, by accession number" in story
    assert "to ris: stopped" in story


@pytest.mark.parametrize(
    "about",
    [{"status": "P"}, {"status": "X"}, {"birth_date": "19800101"}],
    ids=["preliminary", "withdrawn", "of somebody else"],
)
def test_what_is_no_final_report_of_this_study_ends_nothing(open_line: OpenLine, about: dict[str, str]):
    line = open_line()
    study = a_study_read(line)

    reported(line, **about)

    assert line.tools.jobs.closings.of_study(study) == ()


def test_a_study_that_is_reported_before_it_is_gathered_is_not_read(open_line: OpenLine):
    line = open_line()
    study = line.arrive(a_radiograph(accession="4711"))
    reported(line)
    line.wait(60)
    line.run()

    assert line.job(study).stage is Stage.SKIPPED
    assert line.engine.cases == []
    assert line.pacs.datasets(study) == ()


def test_a_study_that_is_reported_while_the_model_reads_it_goes_nowhere(tmp_path: Path, pacs: MiniPacs):
    line: Line

    def while_reading(case: Case) -> Reading:
        reported(line)
        return an_effusion(case)

    line = Line(tmp_path, pacs, engine=ScriptedEngine(while_reading))
    study = a_study_read(line)

    assert line.job(study).stage is Stage.SKIPPED
    assert line.pacs.datasets(study) == ()


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[MiniPacs]:
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")
    yield pacs
    pacs.close()


def test_a_report_closes_once_and_the_operator_can_have_the_study_read_all_the_same(open_line: OpenLine):
    line = open_line()
    study = a_study_read(line)
    reported(line)

    line.tools.jobs.again(study, line.now)
    line.run()
    close_reported(line.tools, 0)

    assert (line.job(study).revision, line.job(study).stage) == (2, Stage.DONE)
    assert len(line.tools.jobs.closings.of_study(study)) == 1


def test_a_site_may_have_drafts_of_reported_studies(open_line: OpenLine):
    line = open_line()
    study_settings = line.tools.settings.reading.study
    object.__setattr__(study_settings, "close_when_reported", False)
    study = a_study_read(line)

    reported(line)

    assert line.tools.jobs.closings.of_study(study) == ()


def test_status_does_not_call_undelivered_what_was_stopped(open_line: OpenLine):
    with mllp_peer(dead) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        a_study_read(line)
        before = status(settings_of(line), 10)["undelivered"]

        reported(line)

    assert [one["destination"] for one in before] == ["ris"]
    assert status(settings_of(line), 10)["undelivered"] == []
