"""A rule is tried before it decides: on files, on a study that is here, and on those of yesterday."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent import clock
from agent.store import open_store
from config.loading import load
from tests.agent.line import NOON, Line
from tests.agent.test_cli import a_config, run
from tests.agent.test_steps_rules import a_rule
from tests.builders import a_radiograph, a_report_sr, having, write

NO_CHILDREN = '[[rule]]\nname = "children"\nwhen = { patient_age_years = { to = 17 } }\nread = false\n'
SETTLE = "[study]\ncomplete_when_views = []\n"


def a_folder(folder: Path, data: Path, reading: str) -> Path:
    folder.mkdir()
    return a_config(folder, agent=f'[storage]\nfolder = "{data}"\n', reading=reading)


@pytest.fixture
def yesterday(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A child's study and a woman's, gathered a day ago under no rule; their UIDs."""
    child = line.arrive(a_radiograph(patient_id="C1", birth_date="20200101"))
    woman = line.arrive(a_radiograph(patient_id="W1", birth_date="19600101"))
    line.wait(60)
    line.gather()
    monkeypatch.setattr(clock, "system_clock", lambda: NOON + timedelta(hours=23))
    return child, woman


def test_only_the_studies_that_a_new_rule_would_send_another_way_are_listed(
    yesterday: tuple[str, str], tmp_path: Path
):
    now, new = (
        a_folder(tmp_path / name, tmp_path, SETTLE + rules)
        for name, rules in (("now", ""), ("new", NO_CHILDREN))
    )

    code, said = run("rules", "test", "--since", "1d", "--config", now, "--new", new)

    child, _ = yesterday
    assert code == 0
    assert said.splitlines() == [
        f"study {child}",
        '  rule: none -> "children"',
        '  read: yes -> no, rule "children" of reading.toml says not to read it',
        "  priority: routine -> -",
        "  priors: 3 at most, within 1825 days, 2 images each, report optional, views frontal -> -",
        "  sent to: nowhere, there is no destination -> -",
        '  because rule "children": patient_age_years is 6, up to 17',
        "1 of 2 studies would go another way",
    ]


def test_a_study_that_is_here_is_tried_as_on_the_day_when_it_came(yesterday: tuple[str, str], tmp_path: Path):
    config = a_folder(tmp_path / "now", tmp_path, SETTLE + NO_CHILDREN)

    code, said = run("rules", "test", "--study", yesterday[1], "--config", config)

    assert code == 0
    assert said.startswith(f'study {yesterday[1]}\n  no rule fits; not "children": patient_age_years is 66')
    assert "  read: yes\n" in said


def test_a_study_whose_file_is_gone_is_told_in_a_sentence(
    yesterday: tuple[str, str], line: Line, tmp_path: Path
):
    for path in (line.folder / "files").rglob("*.dcm"):
        path.unlink()
    config = a_folder(tmp_path / "now", tmp_path, SETTLE)

    code, said = run("rules", "test", "--study", yesterday[1], "--config", config)

    assert code == 0
    assert "gone; send the study again" in said


def test_trying_rules_changes_nothing(yesterday: tuple[str, str], line: Line, tmp_path: Path):
    config = a_folder(tmp_path / "now", tmp_path, SETTLE + NO_CHILDREN)
    before = [line.tools.jobs.events_of_study(study) for study in yesterday]

    run("rules", "test", "--since", "1d", "--config", config)

    assert [line.tools.jobs.events_of_study(study) for study in yesterday] == before


def test_several_files_are_the_images_of_one_study(tmp_path: Path):
    rules = '[[rule]]\nname = "two views"\nwhen = { image_count = 2, all = [{ view = "PA" }, { view = "LATERAL" }] }\n'
    frontal = write(a_radiograph(), tmp_path / "pa.dcm")
    lateral = write(a_radiograph(view="LL", number=2), tmp_path / "ll.dcm")
    config = a_folder(tmp_path / "config", tmp_path / "data", rules)

    code, said = run("rules", "test", "--file", frontal, "--file", lateral, "--config", config)

    assert code == 0
    assert 'rule "two views": image_count is 2; view is PA, FRONTAL, LATERAL' in said
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_tried_is_told_in_a_sentence(tmp_path: Path):
    config = a_folder(tmp_path / "config", tmp_path / "data", "")
    open_store(load(config)).database.close()
    report = write(a_report_sr(), tmp_path / "report.dcm")
    other = write(having(a_radiograph(), StudyInstanceUID="2.25.9"), tmp_path / "other.dcm")
    film = write(a_radiograph(), tmp_path / "film.dcm")
    tries = {
        ("--study", "2.25.404"): "no instance of study 2.25.404 was ever received",
        ("--since", "yesterday"): '"yesterday" is no time; write 30m, 12h or 7d',
        ("--since", "1d"): "no study has come in that time",
        ("--file", report): "is no radiograph",
        ("--file", tmp_path / "nowhere.dcm"): "cannot be read (No such file or directory)",
        ("--file", film, "--file", other): "the files are of several studies",
    }

    for arguments, sentence in tries.items():
        code, said = run("rules", "test", *arguments, "--config", config)
        assert code == 1
        assert sentence in said


def test_a_mistake_in_the_new_rules_is_told_and_nothing_is_tried(tmp_path: Path):
    new = a_folder(tmp_path / "new", tmp_path / "data", '[[rule]]\nname = "a"\nwhen = { Modalty = "DX" }\n')

    code, said = run("rules", "test", "--since", "1d", "--new", new)

    assert code == 2
    assert "rule[1].when.Modalty" in said


def test_why_tells_the_rule_of_a_study_and_what_it_made_of_its_way(line: Line, tmp_path: Path):
    line = Line(
        tmp_path, line.pacs, rules=(a_rule("watch", {"Modality": "DX"}, shadow=True, priority="stat"),)
    )
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()

    code, said = run("why", study, "--config", a_folder(tmp_path / "config", tmp_path, ""))

    assert code == 0
    assert 'rule "watch": Modality is DX (priority stat)' in said
    assert '  rule "watch", priority stat' in said
    assert "  in shadow: kept for comparison, nothing is sent" in said
