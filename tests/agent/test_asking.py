"""`preread ask`: an answer about a study that was read, and who must not be believed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.pacs import MiniPacs
from inference.case import Case
from inference.reading import Reading, Score
from tests.agent.line import Line
from tests.builders import a_radiograph
from tests.scripted_engine import IDENTITY, ScriptedEngine, an_effusion

pytestmark = pytest.mark.slow

SCRIPTED = '[engine]\nname = "tests.scripted_engine:open_scripted"\n'


def a_read_study(tmp_path: Path, script: Callable[[Case], Reading] = an_effusion) -> tuple[str, Path]:
    """A study that was read, and the config folder of its store."""
    line = Line(tmp_path, MiniPacs("TESTPACS", tmp_path / "pacs"), engine=ScriptedEngine(script))
    uid = line.arrive(a_radiograph(rows=300, columns=280))
    line.wait(61)
    line.run()
    line.pacs.close()
    config = tmp_path / "config"
    config.mkdir()
    (config / "agent.toml").write_text(f'[storage]\nfolder = "{tmp_path}"\n')
    return uid, config


@pytest.fixture
def study(tmp_path: Path) -> tuple[str, Path]:
    return a_read_study(tmp_path)


def run(study: tuple[str, Path], *arguments: str | Path, reading: str = SCRIPTED) -> tuple[int, str]:
    uid, config = study
    (config / "reading.toml").write_text(reading)
    words = ["ask", uid, *(str(argument) for argument in arguments), "--config", str(config)]
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def test_an_answer_begins_with_what_it_is_not(study: tuple[str, Path]):
    code, said = run(study, "finding", "edema")

    assert code == 0, said
    assert said.splitlines()[0] == "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL"
    assert "asked: Where is edema? <image>" in said
    assert "said:  There." in said
    assert "place: edema [28 180 112 270] (left top right bottom, in stored pixels)" in said


def test_an_answer_is_there_for_programs_too(study: tuple[str, Path]):
    code, said = run(study, "finding", "edema", "--json")

    answer = json.loads(said)
    assert code == 0
    assert answer["notice"] == "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL"
    assert answer["task"] == "finding"
    assert answer["places"][0]["boxes"][0]["top"] == pytest.approx(180)


def test_a_picture_shows_the_boxes(study: tuple[str, Path], tmp_path: Path):
    code, said = run(study, "finding", "edema", "--picture", tmp_path / "answer.png")

    assert code == 0, said
    with Image.open(tmp_path / "answer.png") as picture:
        assert picture.mode == "RGB"
        assert picture.height > picture.width >= 478


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fly",), 'there is no task "fly"; there are: abnormal, difference'),
        (("view",), 'was not trained for the task "view"; it knows: finding'),
        (("finding",), 'the task "finding" needs a text: the finding'),
        (("finding", "edema", "--image", "1.2.3"), "the current exam has no image 1.2.3; it has: "),
        (
            ("finding", "edema", "--picture", "answer.nothing"),
            "the picture cannot be written to answer.nothing",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    study: tuple[str, Path], arguments: tuple[str, ...], sentence: str
):
    code, said = run(study, *arguments)

    assert code == 1
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_a_study_that_nobody_gathered_is_one_sentence(study: tuple[str, Path]):
    code, said = run(("1.2.3", study[1]), "finding", "edema")

    assert code == 1
    assert "study 1.2.3 has never been gathered" in said


def test_a_model_that_cannot_be_opened_is_one_sentence(study: tuple[str, Path]):
    reading = '[engine]\nmodel_folder = "nowhere"\naccepted_licence = "CC-BY-NC-4.0"\n'

    code, said = run(study, "finding", "edema", reading=reading)

    assert code == 1
    assert "nowhere" in said
    assert "then: preread check" in said


def test_why_tells_impression_differential_and_what_scores_are_worth(tmp_path: Path):
    def script(case: Case) -> Reading:
        scores = (Score("edema", 0.92, 0.61, "9 cases"), Score("fracture", 0.1))
        return replace(an_effusion(case), impression="Effusion.", differential="Failure.", scores=scores)

    uid, config = a_read_study(tmp_path, script)

    said = CliRunner().invoke(app, ["why", uid, "--config", str(config)]).output

    assert "impression (the model's summary of its own draft): Effusion." in said
    assert "considered by the model: Failure." in said
    assert "scores (uncalibrated): edema 92 %, fracture 10 %" in said
    assert "calibrated edema: 61 %, fitted on 9 cases" in said


def test_scores_of_a_study_come_as_a_table_for_its_truth(tmp_path: Path):
    scores = (Score("edema", 0.125), Score("fracture", 0.5))
    uid, config = a_read_study(tmp_path, lambda case: replace(an_effusion(case), scores=scores))

    said = CliRunner().invoke(app, ["scores", "--config", str(config)]).output

    assert said.splitlines() == [
        "study,weights_digest,finding,score,truth",
        f"{uid},{IDENTITY.weights_digest},edema,0.125,",
        f"{uid},{IDENTITY.weights_digest},fracture,0.5,",
    ]


def test_check_names_a_calibration_of_other_weights(study: tuple[str, Path]):
    _, config = study
    table = '[[calibration]]\nfinding = "edema"\nslope = 1\nintercept = 0\nfitted_on = "x"\n'
    (config / "reading.toml").write_text(f'{SCRIPTED}{table}weights_digest = "sha256:{"9" * 64}"\n')

    result = CliRunner().invoke(app, ["check", "--config", str(config)])

    assert result.exit_code == 1
    assert "PROBLEM calibration of edema: fitted to other weights" in result.output


def test_the_demo_model_answers_in_a_process_of_its_own(study: tuple[str, Path]):
    uid, config = study
    (config / "reading.toml").write_text("[engine]\nthreads = 1\n")
    command = [
        sys.executable,
        "-m",
        "agent",
        "ask",
        uid,
        "finding",
        "pleural effusion",
        "--config",
        str(config),
    ]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL" in ended.stdout
    assert "said:  Yes." in ended.stdout or "said:  Not present." in ended.stdout
