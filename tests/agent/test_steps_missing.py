"""What becomes of a draft of which one form cannot be made."""

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from agent.manifest import load_manifest
from inference.case import Case
from inference.reading import Reading
from storage.records import Stage
from tests.agent.line import Line
from tests.builders import a_radiograph
from tests.outputs.drafts import texts
from tests.scripted_engine import ScriptedEngine, an_effusion


def a_side_without_a_code(case: Case) -> Reading:
    """A side that no code table has: the words can tell it, the findings SR cannot."""
    reading = an_effusion(case)
    return replace(reading, findings=(replace(reading.findings[0], side="behind"),))


def test_a_form_that_cannot_be_made_costs_the_others_nothing_and_is_told(line: Line):
    line.engine.script = a_side_without_a_code
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)

    with capture_logs() as entries:
        line.run()

    received = line.pacs.datasets(study)
    problem = '"AI CXR findings (DRAFT)" could not be made of this study'
    assert line.job(study).stage is Stage.DONE
    assert sorted(str(dataset.Modality) for dataset in received) == ["PR", "SR"]
    assert any(problem in words for dataset in received for words in texts(dataset))
    assert any(problem in event.text for event in line.tools.jobs.events_of_study(study))
    (entry,) = [entry for entry in entries if entry.get("kind") == "findings_sr"]
    assert (entry["log_level"], entry["exc_info"]) == ("error", True)


def test_a_draft_of_which_nothing_can_be_made_has_failed(tmp_path: Path, line: Line):
    line = Line(tmp_path, line.pacs, engine=ScriptedEngine(a_side_without_a_code), outputs=("findings_sr",))
    study = line.arrive(a_radiograph())

    with capture_logs():
        for _ in range(3):
            line.wait(60)
            line.run()

    assert line.job(study).stage is Stage.FAILED
    assert line.job(study).problem == (
        f"internal error in stage compose, see the log line of job {line.job(study).number}"
    )
    assert line.pacs.datasets(study) == ()


def test_an_earlier_exam_whose_file_is_gone_is_passed_over_and_the_draft_is_made(line: Line):
    line.arrive(a_radiograph(days_ago=9))
    for path in (line.folder / "files").rglob("*.dcm"):
        path.unlink()
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    manifest = load_manifest(line.job(study).manifest_json or "")
    assert line.pacs.datasets(study)
    assert "gone; send the study again" in manifest.passed_over[0].reason


def test_an_image_whose_file_is_gone_is_left_out_and_the_study_says_so(line: Line):
    study = line.arrive(a_radiograph())
    for path in (line.folder / "files").rglob("*.dcm"):
        path.unlink()
    line.wait(60)

    line.run()

    assert "gone; send the study again" in (line.job(study).problem or "")
