"""A study that was read leaves without its patient: what goes along, what stays, and what is refused."""

import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from pydicom import Dataset, dcmread

from agent.demo.pacs import MiniPacs
from agent.exporting.export import export
from config.settings import AgentSettings, OutputKind, Settings, StorageSettings
from inference.case import Case
from inference.reading import Reading
from storage.audit_records import AuditEvent
from storage.audits import Audits
from storage.database import connect
from tests.agent.line import Line
from tests.builders import a_code, a_radiograph, a_report_sr, having
from tests.outputs.validators import dciodvfy_errors
from tests.scripted_engine import ScriptedEngine, an_effusion

pytestmark = pytest.mark.slow

KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
PATIENT = {"patient_id": "MRN20477", "name": KOREAN, "birth_date": "19510417"}
NEVER = (
    "Hong",
    "Gildong",
    "吉洞",
    "길동",
    "MRN20477",
    "19510417",
    "1951-04-17",
    "ACC-NOW-1",
    "ACC-OLD-9",
    "Nurse",
)


def talkative(case: Case) -> Reading:
    """Says what a model may say that was shown a report: the patient's name."""
    said = replace(an_effusion(case), report="Gildong Hong has an effusion.", impression="As for Hong.")
    turn = replace(said.turns[0], question="Report of MRN20477: <image>", answer="Hong, born 1951-04-17.")
    return replace(said, turns=(turn,), problems=('"Hong" could not be parsed (accession ACC-NOW-1).',))


def a_full_radiograph(**about: Any) -> Dataset:
    """With what a sender may add: a nested name, private attributes, an overlay, an institution."""
    nurse = Dataset()
    nurse.PersonName, nurse.InstitutionName = "Nurse^Nora", "Ward 7"
    step = Dataset()
    step.ScheduledProcedureStepID, step.PerformingPhysicianName = "S1", "Nurse^Nora"
    step.ScheduledProtocolCodeSequence = [having(a_code("1", "L", "x"), PersonName="Nurse^Nora")]
    image = having(
        a_radiograph(rows=200, columns=180, **PATIENT, **about),
        RequestAttributesSequence=[step],
        OperatorIdentificationSequence=[nurse],
        InstitutionName="General Hospital",
        DeviceSerialNumber="SN-4711",
        FrameOfReferenceUID="2.25.991199119911991199119911",
        ImageComments="Hong could not stand",
    )
    image.private_block(0x0011, "ACME 1.0", create=True).add_new(0x01, "LO", "Hong, Gildong")
    image.add_new(0x60000010, "US", 200)
    image.add_new(0x60000022, "LO", "Hong")
    image.add_new(0x60003000, "OW", b"\0\0")
    return image


def a_line(folder: Path, outputs: tuple[OutputKind, ...]) -> Line:
    (folder / "store").mkdir()
    pacs = MiniPacs("TESTPACS", folder / "pacs")
    return Line(folder / "store", pacs, engine=ScriptedEngine(talkative), outputs=outputs)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = a_line(tmp_path, ("findings_sr",))
    yield line
    line.pacs.close()


def settings_of(line: Line) -> Settings:
    return Settings(agent=AgentSettings(storage=StorageSettings(folder=line.folder)))


def read_through(line: Line, *current: Dataset) -> str:
    """An earlier exam with its report, and then the exam itself, both read."""
    prior = a_full_radiograph(days_ago=30, accession="ACC-OLD-9")
    line.arrive(prior, a_report_sr(**PATIENT, days_ago=30, findings="Hong has a small effusion."))
    line.wait(60)
    line.run()
    study = line.arrive(*(current or (a_full_radiograph(accession="ACC-NOW-1"),)))
    line.wait(60)
    line.run()
    return study


@pytest.fixture(scope="module")
def whole_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A study with every output, which the tests only look at."""
    line = a_line(tmp_path_factory.mktemp("whole"), get_args(OutputKind))
    read_through(line)
    yield line
    line.pacs.close()


@pytest.fixture(scope="module")
def exported(whole_line: Line) -> Path:
    study = whole_line.tools.jobs.latest(1)[0].study_instance_uid
    out = whole_line.folder.parent / "out"
    export(settings_of(whole_line), study, out)
    return out


def objects(folder: Path) -> dict[str, Dataset]:
    return {path.name: dcmread(path) for path in sorted(folder.glob("*.dcm"))}


def story(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "study.json").read_text())["study"]


def test_nothing_of_the_patient_stands_in_any_file(exported: Path, whole_line: Line):
    uids = [
        i.sop_instance_uid
        for s in whole_line.tools.index.recent_studies(9)
        for i in whole_line.tools.index.instances(s.study_instance_uid)
    ]

    whole = b"".join(path.read_bytes() for path in exported.iterdir())
    told = "\n".join(str(dataset) for dataset in objects(exported).values())

    assert len(uids) == 3
    for word in (*NEVER, *uids):
        assert word.encode() not in whole
        assert word not in told


def test_images_priors_and_drafts_go_along_and_pictures_pages_and_reports_do_not(exported: Path):
    kinds = {
        name.split("-")[-1].removesuffix(".dcm") for name in objects(exported) if name.startswith("draft")
    }

    assert {"image-1.dcm", "image-2-prior-1.dcm", "study.json"} <= {path.name for path in exported.iterdir()}
    assert kinds == set(get_args(OutputKind)) - {"secondary_capture", "encapsulated_pdf"}
    assert {dataset.Modality for dataset in objects(exported).values()} == {"DX", "SR", "PR", "KO", "SEG"}


def test_the_same_uid_becomes_the_same_everywhere(exported: Path):
    made = objects(exported)
    current, prior = made["image-1.dcm"], made["image-2-prior-1.dcm"]
    job = story(exported)["jobs"][0]

    for name, draft in made.items():
        if name.startswith("draft"):
            assert draft.StudyInstanceUID == current.StudyInstanceUID
            referenced = {str(e.value) for e in draft.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
            assert current.SOPInstanceUID in referenced
    assert job["manifest"]["priors"][0]["images"][0] == {
        "sop_instance_uid": prior.SOPInstanceUID,
        "file": "image-2-prior-1.dcm",
        "view": "PA",
        "rows": 200,
        "columns": 180,
    }
    assert job["reading"]["findings"][0]["boxes"][0]["image"] == current.SOPInstanceUID
    assert current.FrameOfReferenceUID == prior.FrameOfReferenceUID != "2.25.991199119911991199119911"


def test_days_between_exams_stay_what_they_were(exported: Path):
    made = objects(exported)
    days = [_day(made[name].StudyDate) for name in ("image-1.dcm", "image-2-prior-1.dcm")]

    assert days[0] - days[1] == 30
    assert made["image-1.dcm"].StudyDate != "20260302"
    assert story(exported)["jobs"][0]["manifest"]["priors"][0]["days_before"] == 30


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def test_two_exports_have_no_uid_and_no_patient_id_in_common(whole_line: Line, tmp_path: Path):
    study = whole_line.tools.jobs.latest(1)[0].study_instance_uid
    for name in ("first", "second"):
        export(settings_of(whole_line), study, tmp_path / name)

    first, second = (
        {
            str(e.value)
            for d in objects(tmp_path / name).values()
            for e in d.iterall()
            if e.keyword
            in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "TrackingUID", "PatientID")
        }
        for name in ("first", "second")
    )

    assert first & second == set()


def test_an_object_says_what_was_done_to_it(exported: Path):
    for dataset in objects(exported).values():
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        assert codes[:2] == ["113100", "113107"]
        assert "General Hospital" not in str(dataset)
        assert "SN-4711" not in str(dataset)
        assert not any(e.tag.is_private or e.tag.group in (0x6000, 0x5000) for e in dataset.iterall())


def test_the_pixels_and_what_they_are_shown_by_stay_to_the_bit(exported: Path):
    sent, left = a_full_radiograph(), objects(exported)["image-1.dcm"]

    for keyword in ("PixelData", "Rows", "BitsStored", "WindowCenter", "ViewPosition", "ImagerPixelSpacing"):
        assert left[keyword].value == sent[keyword].value


def test_an_object_is_as_valid_as_before(exported: Path, whole_line: Line):
    before = {path.name: dciodvfy_errors(path) for path in (whole_line.folder / "files").rglob("*.dcm")}
    known = {error for errors in before.values() for error in errors}

    for path in exported.glob("*.dcm"):
        assert [error for error in dciodvfy_errors(path) if error not in known] == [], path.name


def test_the_story_tells_stages_reasons_engine_and_versions(exported: Path):
    whole = json.loads((exported / "study.json").read_text())
    job = whole["study"]["jobs"][0]

    assert "not verified" in whole["notice"]
    assert (job["stage"], job["reading"]["engine"]["name"]) == ("done", "scripted")
    assert job["complete_because"] == "no image for 60.0 s (settle_seconds = 60)"
    assert job["manifest"]["priors"][0]["chosen_because"].endswith("the only one that fits")
    assert whole["study"]["received"][0]["seconds"] == 0.0
    assert job["opened_seconds"] == 60.0
    assert job["reading"]["report_characters"] == len("Gildong Hong has an effusion.")
    assert job["reading"]["problems"] == ["[answer] could not be parsed (accession [removed])."]
    assert whole["settings_digest"].startswith("sha256:")


def test_folder_and_files_are_closed_to_others_and_named_without_a_uid(exported: Path):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in exported.iterdir()}

    assert stat.S_IMODE(exported.stat().st_mode) == 0o700
    assert modes == {0o600}
    assert not any("2.25" in path.name for path in exported.iterdir())


def test_an_export_is_audited_with_who_and_how_many(line: Line, tmp_path: Path):
    study = read_through(line)

    export(settings_of(line), study, tmp_path / "out")

    records = Audits(connect(f"sqlite:///{line.folder / 'preread.sqlite'}")).waiting("filed_at", 1000)
    (record,) = [record for record in records if record.event is AuditEvent.EXPORTED]
    assert (record.study_instance_uid, record.patient_id) == (study, "MRN20477")
    assert record.instances == len(list((tmp_path / "out").glob("*.dcm")))
    assert "de-identified by operator" in record.detail


def test_a_folder_that_holds_something_is_refused(line: Line, tmp_path: Path):
    study = line.arrive(a_full_radiograph())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    with pytest.raises(ValueError, match="is not empty"):
        export(settings_of(line), study, tmp_path / "out")


def test_an_unknown_study_is_refused(line: Line, tmp_path: Path):
    with pytest.raises(LookupError, match=r"study 2\.25\.404 is unknown"):
        export(settings_of(line), "2.25.404", tmp_path / "out")


def _leak_in_a_code(image: Dataset) -> None:
    image.AnatomicRegionSequence[0].CodeMeaning = "Chest of GILDONG"


def _leak_in_a_kept_text(image: Dataset) -> None:
    image.RescaleType = "MRN20477"


def _leak_in_pixels(image: Dataset) -> None:
    image.PixelData = b"\0\0/ACC-NOW-1/\0" + image.PixelData[14:]


def _leak_of_a_birth_date(image: Dataset) -> None:
    image.RescaleType = "1951-04-17"


def _leak_of_a_uid(image: Dataset) -> None:
    image.RescaleType = str(image.StudyInstanceUID)


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        (_leak_in_a_code, "a part of a name"),
        (_leak_in_a_kept_text, "a patient ID"),
        (_leak_in_pixels, "a patient ID"),
        (_leak_of_a_birth_date, "a patient ID"),
        (_leak_of_a_uid, "a UID as it was"),
    ],
)
def test_what_is_found_again_leaves_nothing_behind(
    line: Line, tmp_path: Path, leak: Callable[[Dataset], None], kind: str
):
    image = a_full_radiograph(accession="ACC-NOW-1")
    leak(image)
    study = line.arrive(image)

    with pytest.raises(ValueError, match=f"^{kind}.*was found again in image-1.dcm.*--without 1$"):
        export(settings_of(line), study, tmp_path / "out")

    assert {path.name for path in tmp_path.iterdir()} == {"store", "pacs"}


def test_what_stands_in_a_draft_too_is_found_there_and_our_objects_may_stay_out(line: Line, tmp_path: Path):
    image = having(a_full_radiograph(), SoftwareVersions="Hong's")
    beside = a_full_radiograph(view="LL", number=2)
    study = read_through(line, image, beside)

    with pytest.raises(ValueError, match=r"found again in draft-1-1-findings_sr.dcm.*--images-only$"):
        export(settings_of(line), study, tmp_path / "out", without=(1,))
    said = export(settings_of(line), study, tmp_path / "out", without=(1,), images_only=True)

    assert "2 images and 0 objects of ours" in said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "text is burned into its pixels"),
        ({"RecognizableVisualFeatures": "YES"}, "show who it is"),
        ({"BurnedInAnnotation": None}, "add --pixels-seen"),
    ],
)
def test_an_image_that_may_show_a_name_is_refused_by_its_number(
    line: Line, tmp_path: Path, changes: dict[str, str | None], reason: str
):
    second = having(a_full_radiograph(view="LL", number=2), **changes)
    study = line.arrive(a_full_radiograph(), second)

    with pytest.raises(ValueError, match=f"^image 2 is not handed over: .*{reason}.*--without 2$"):
        export(settings_of(line), study, tmp_path / "out")

    said = export(settings_of(line), study, tmp_path / "out", without=(2,))
    assert "1 images" in said
    assert not (tmp_path / "out" / "image-2.dcm").exists()


def test_an_overlay_within_the_pixels_is_refused(line: Line, tmp_path: Path):
    image = a_full_radiograph()
    del image[0x60003000]
    study = line.arrive(image)

    with pytest.raises(ValueError, match="image 1 is not handed over: it carries an overlay"):
        export(settings_of(line), study, tmp_path / "out")


def test_somebody_who_has_looked_may_say_so_unless_the_header_speaks_against_it(line: Line, tmp_path: Path):
    silent = having(a_full_radiograph(), BurnedInAnnotation=None)
    burned = having(a_full_radiograph(view="LL", number=2), BurnedInAnnotation="YES")
    study = line.arrive(silent, burned)

    with pytest.raises(ValueError, match=r"^image 2 is not handed over"):
        export(settings_of(line), study, tmp_path / "out", pixels_seen=True)
    export(settings_of(line), study, tmp_path / "out", pixels_seen=True, without=(2,))

    assert (tmp_path / "out" / "image-1.dcm").exists()
