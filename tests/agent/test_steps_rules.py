"""The straight line under rules: what a study's rule makes of each step, on a real store with a real receiver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import manifest as manifests
from agent.demo.pacs import MiniPacs
from agent.dicom.attributes import vr_by_keyword
from agent.manifest import Manifest
from agent.reader import open_configured_engine
from config.conditions import read_conditions
from config.settings import (
    AdapterSettings,
    DropFolderSettings,
    EngineSettings,
    ReadingSettings,
    RulePriorSettings,
    RuleSettings,
    Settings,
)
from storage.records import Priority, Stage
from tests.agent.line import Line
from tests.agent.query_archives import a_query_archive, archive_settings
from tests.builders import a_radiograph, a_report_sr, having
from tests.scripted_engine import ScriptedEngine
from tests.storage.builders import an_order

pytestmark = pytest.mark.slow

MakeLine = Callable[..., Line]


def a_rule(name: str = "one", when: dict[str, Any] | None = None, **settings: Any) -> RuleSettings:
    return RuleSettings(name=name, when=read_conditions(when or {}, vr_by_keyword), **settings)


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[MakeLine]:
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")
    yield lambda *rules, **settings: Line(tmp_path, pacs, rules=rules, **settings)
    pacs.close()


def run(line: Line, study: str) -> Manifest:
    for seconds in (60, 1):
        line.wait(seconds)
        line.run()
    return manifests.load_manifest(line.job(study).manifest_json or "")


def life_of(line: Line, study: str) -> str:
    return "\n".join(event.text for event in line.tools.jobs.events_of_study(study))


def test_a_rule_keeps_a_study_from_being_read_and_its_name_is_the_reason(make_line: MakeLine):
    line = make_line(a_rule("no bedside", {"StationName": {"matches": "ICU*"}}, read=False))
    study = line.arrive(having(a_radiograph(), StationName="ICU-2"))

    line.wait(60)
    line.run()

    assert line.job(study).stage is Stage.SKIPPED
    assert line.job(study).rule == "no bedside"
    assert line.job(study).problem == 'rule "no bedside" of reading.toml says not to read it'
    assert 'rule "no bedside": StationName is ICU-2, matching ICU*' in life_of(line, study)


def test_the_rule_of_a_study_is_in_its_manifest_and_told_once(make_line: MakeLine):
    line = make_line(a_rule("film", {"Modality": "CR"}), a_rule("digital", {"Modality": "DX"}))
    study = line.arrive(a_radiograph())

    manifest = run(line, study)

    assert manifest.rule is not None
    assert (manifest.rule.name, manifest.rule.because) == ("digital", "Modality is DX")
    told = 'rule "digital": Modality is DX; not "film": Modality is DX, not CR (priority routine)'
    assert life_of(line, study).count(told) == 1
    assert line.job(study).stage is Stage.DONE


def test_a_study_that_no_rule_fits_is_read_as_ever(make_line: MakeLine):
    line = make_line(a_rule("film", {"Modality": "CR"}, read=False))
    study = line.arrive(a_radiograph())

    run(line, study)

    assert (line.job(study).stage, line.job(study).rule) == (Stage.DONE, "")


def test_a_rule_that_says_read_overrules_age_and_part_of_the_body(make_line: MakeLine):
    line = make_line(a_rule("old ribs", {"BodyPartExamined": "TRUNK"}, read=True))
    wanted = line.arrive(a_radiograph(body_part="TRUNK", days_ago=400))
    other = line.arrive(a_radiograph(body_part="HAND", days_ago=1))

    line.wait(60)
    line.run()

    assert line.job(wanted).stage is Stage.DONE
    assert line.job(other).stage is Stage.SKIPPED


def test_in_shadow_the_model_reads_and_nobody_gets_anything(make_line: MakeLine):
    line = make_line(a_rule("watch", shadow=True))
    study = line.arrive(a_radiograph())

    run(line, study)

    assert line.job(study).stage is Stage.DONE
    assert line.job(study).reading_json is not None
    assert line.tools.jobs.results_of_job(line.job(study).number) == ()
    assert line.pacs.received(study) == ()
    assert 'nothing is sent: rule "watch" is in shadow' in life_of(line, study)


def test_a_rule_says_what_its_destinations_get(make_line: MakeLine):
    line = make_line(a_rule(destinations=("pacs",), outputs=("report_sr",)))
    study = line.arrive(a_radiograph())

    run(line, study)

    assert [result.kind for result in line.tools.jobs.results_of_job(line.job(study).number)] == ["report_sr"]
    assert len(line.pacs.received(study)) == 1


def test_a_destination_that_a_rule_does_not_name_gets_nothing(make_line: MakeLine):
    line = make_line(a_rule(destinations=("elsewhere",)))
    study = line.arrive(a_radiograph())

    run(line, study)

    assert line.pacs.received(study) == ()


@pytest.mark.parametrize("named", ["pacs", "dictation"])
def test_a_receiver_of_messages_is_named_like_a_destination(make_line: MakeLine, tmp_path: Path, named: str):
    dictation = DropFolderSettings(name="dictation", path=tmp_path)
    line = make_line(a_rule(destinations=(named,)), receivers={"drop_folders": (dictation,)})
    study = line.arrive(a_radiograph())

    run(line, study)

    deliveries = line.tools.jobs.deliveries.of_job(line.job(study).number)
    assert {delivery.destination for delivery in deliveries} == {named}


def test_a_rule_reads_with_its_adapter(make_line: MakeLine):
    bedside = AdapterSettings(name="bedside", folder=Path("adapters/bedside"))
    line = make_line(a_rule(adapter="bedside"), adapters=(bedside,))

    run(line, line.arrive(a_radiograph()))

    assert [case.adapter for case in line.engine.cases] == ["bedside"]


def open_noting(**settings: object) -> ScriptedEngine:
    """An engine of a site that keeps what it was opened with."""
    engine = ScriptedEngine()
    engine.opened_with = settings  # type: ignore[attr-defined]
    return engine


def test_every_adapter_is_beside_the_weights_when_the_model_is_opened(tmp_path: Path):
    own = EngineSettings(name="tests.agent.test_steps_rules:open_noting")
    bedside = AdapterSettings(name="bedside", folder=tmp_path)

    engine = open_configured_engine(Settings(reading=ReadingSettings(engine=own, adapters=(bedside,))))

    assert engine.opened_with["adapters"] == {"bedside": tmp_path}  # type: ignore[attr-defined]


def test_an_adapter_that_is_gone_fails_the_study_with_a_sentence(make_line: MakeLine):
    line = make_line(a_rule(adapter="bedside"))
    study = line.arrive(a_radiograph())

    line.wait(60)
    line.run()

    assert line.job(study).stage is Stage.FAILED
    assert 'adapter "bedside", which rule "one" reads with, is no longer' in (line.job(study).problem or "")


def test_a_rule_wants_its_own_priors(make_line: MakeLine):
    line = make_line(
        a_rule("alone", {"time_of_day": {"from": "00:00"}}, priors=RulePriorSettings(count_max=0))
    )
    line.arrive(a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="Effusion."))
    study = line.arrive(a_radiograph())

    manifest = run(line, study)

    assert manifest.priors == ()
    assert [one.reason for one in manifest.passed_over] == [
        "no earlier exam is wanted (priors.count_max = 0)"
    ]


def test_an_archive_is_asked_within_the_window_of_the_rule(make_line: MakeLine):
    prior = a_radiograph(days_ago=20, issuer="CLINIC"), a_report_sr(days_ago=20, issuer="CLINIC")
    with a_query_archive(*prior) as archive:
        asked = archive_settings(archive.port, retrieve="c-get")
        line = make_line(a_rule(priors=RulePriorSettings(window_days=10)), archives=(asked,))
        study = line.arrive(a_radiograph(issuer="CLINIC"))

        manifest = run(line, study)

    assert manifest.priors == ()
    assert archive.moved == []


def test_the_way_of_a_called_ae_title_and_the_order_can_be_told_apart(make_line: MakeLine):
    line = make_line(
        a_rule("emergency", {"called_ae_title": "PREREAD", "order_priority": "stat"}, priority="stat")
    )
    line.tools.orders.put(an_order(priority="stat"), (), line.now)
    ordered = line.arrive(a_radiograph(accession="4711"))
    other = line.arrive(a_radiograph(patient_id="B2"))

    line.wait(60)
    line.run()

    assert (line.job(ordered).priority, line.job(ordered).rule) == (Priority.STAT, "emergency")
    assert (line.job(other).priority, line.job(other).rule) == (Priority.ROUTINE, "")


def test_a_stat_study_is_read_before_a_routine_one_that_was_there_first(make_line: MakeLine):
    line = make_line(a_rule("emergency", {"StationName": "ER"}, priority="stat"))
    routine = line.arrive(a_radiograph())
    line.wait(60)
    line.gather()
    stat = line.arrive(having(a_radiograph(patient_id="B2"), StationName="ER"))
    line.wait(60)
    line.gather()

    first = line.tools.jobs.claim((Stage.READ,), "reader", line.now, 60)

    assert first is not None
    assert (first.study_instance_uid, first.priority) == (stat, Priority.STAT)
    assert line.job(routine).stage is Stage.READ


def test_no_patient_is_named_in_what_a_rule_says(make_line: MakeLine):
    line = make_line(a_rule("by name", {"PatientName": {"matches": "Doe*"}}, read=False))
    study = line.arrive(a_radiograph(name="Doe^Jane"))

    line.wait(60)
    line.run()

    assert "PatientName is as the rule asks" in life_of(line, study)
    assert "Doe" not in life_of(line, study)
