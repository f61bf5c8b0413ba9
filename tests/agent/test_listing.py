"""`preread list` as it is typed, and what it shows of a study."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import GiveUp
from agent.listing import since_of
from agent.store import open_store
from config.loading import load
from storage.records import InstanceRole, Stage
from tests.agent.test_cli import a_config, run
from tests.storage.builders import NOW, a_study, an_instance


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site with one study that failed and one that nobody has read yet."""
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n')
    store = open_store(load(config))
    store.index.put(an_instance(), a_study(patient_name="Zzyzx^Quilla", patient_id="ZXID77"))
    job = store.jobs.open("2.25.100", 1, "no image for 60 s", NOW)
    assert job is not None
    claimed = store.jobs.claim([Stage.GATHER], "worker", NOW, 60)
    assert claimed is not None
    store.jobs.end(claimed, Stage.FAILED, "no frontal image", NOW + timedelta(seconds=2))
    store.index.put(an_instance("2.25.9", study="2.25.200"), a_study("2.25.200", patient_id=""))
    store.database.close()
    return config


def test_the_table_shows_how_far_each_study_has_come_and_not_whose_it_is(config: Path):
    code, said = run("list", "--config", config)

    unread, failed = said.splitlines()[2:]
    assert code == 0
    assert [word in failed for word in ("XRAY1", "failed", "2.0", "2.25.100", "no frontal image")] == [
        True
    ] * 5
    assert "not read yet" in unread
    assert "patient without an identifier" in unread
    assert not any(word in said for word in ("Zzyzx", "Quilla", "ZXID77"))


def test_a_study_that_has_no_radiograph_is_not_shown_as_one_that_will_be_read(config: Path):
    store = open_store(load(config))
    report = an_instance("2.25.8", study="2.25.300", role=InstanceRole.REPORT)
    store.index.put(report, a_study("2.25.300"))
    store.database.close()

    said = run("list", "--config", config)[1]

    (line,) = [line for line in said.splitlines() if "2.25.300" in line]
    assert "no radiograph" in line
    assert "not read yet" not in line


def test_options_choose_and_programs_get_json(config: Path):
    _, failed = run("list", "--stage", "failed", "--json", "--config", config)
    _, nameless = run("list", "--patient-less", "--json", "--config", config)
    _, recent = run("list", "--since", "1h", "--json", "--config", config)

    assert [study["study_instance_uid"] for study in json.loads(failed)] == ["2.25.100"]
    assert [study["study_instance_uid"] for study in json.loads(nameless)] == ["2.25.200"]
    assert json.loads(recent) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(("--stage", "red"), "expected one of gather, read"), (("--since", "soon"), "expected 90m, 12h")],
)
def test_a_word_that_means_nothing_is_refused_with_those_that_do(
    config: Path, arguments: tuple[str, str], expected: str
):
    code, said = run("list", *arguments, "--config", config)

    assert code == 1
    assert expected in said


@pytest.mark.parametrize(
    ("text", "ago"), [("90m", timedelta(minutes=90)), ("3d", timedelta(days=3)), ("2w", timedelta(weeks=2))]
)
def test_since_may_be_so_long_ago(text: str, ago: timedelta):
    assert since_of(text, NOW) == NOW - ago


def test_since_may_be_a_local_day():
    day = since_of("2026-03-01", NOW)

    assert (day.hour, day.day) == (0, 1)
    assert day.tzinfo is not None
    with pytest.raises(GiveUp):
        since_of("2026-13-01", NOW)
