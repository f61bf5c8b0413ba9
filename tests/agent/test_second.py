"""A second engine beside the first, on a real store with a real receiver: after it, never in its way, for nobody."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from agent import listing
from agent import manifest as manifests
from agent.cli import app
from agent.comparing import compared, compared_text
from agent.demo.pacs import MiniPacs
from agent.overview import status, status_text, why_text
from agent.worker import Worker
from config.settings import AdapterSettings, EngineSettings, RuleSettings, Settings, StorageSettings
from inference.case import Case
from inference.engine import OutOfMemory
from inference.reading import EngineIdentity, Reading, Score
from storage.deletions import Deletions
from storage.records import Closing, ClosingKind, SecondReading, Stage
from tests.agent.line import PATIENCE, Away, Line
from tests.agent.test_steps_rules import a_rule
from tests.builders import a_radiograph, a_report_sr
from tests.scripted_engine import ScriptedEngine, an_effusion

pytestmark = pytest.mark.slow

CANDIDATE = EngineIdentity("scripted", "2", "the candidate", "sha256:" + "1" * 64, is_demo=True)


def no_finding(case: Case) -> Reading:
    return replace(an_effusion(case), findings=(), report="Clear.", engine=CANDIDATE)


class Beside(Line):
    """A line and a second reader beside it; `run` leaves that one alone, `run_second` lets it work."""

    second: ScriptedEngine

    def with_second(self, script: Callable[[Case], Reading], **engine: object) -> "Beside":
        self.second = ScriptedEngine(script)
        chosen = EngineSettings(name="tests.scripted_engine:open_scripted", **engine)  # type: ignore[arg-type]
        settings = self.tools.settings
        reading = settings.reading.model_copy(update={"second_engine": chosen})
        storage = StorageSettings(folder=self.folder)
        agent = settings.agent.model_copy(update={"storage": storage})
        self.settings: Settings = settings.model_copy(update={"reading": reading, "agent": agent})
        tools = replace(self.tools, engine=self.second, settings=self.settings)
        self.second_worker = Worker("second", tools, PATIENCE, reads_second=True)
        return self

    def run_second(self) -> None:
        while self.second_worker.work_once():
            pass

    def read_one(self, **radiograph: object) -> str:
        study = self.arrive(a_radiograph(**radiograph))  # type: ignore[arg-type]
        self.wait(60)
        self.run()
        return study

    def second_of(self, study: str) -> SecondReading | None:
        return self.tools.jobs.second_readings.of_job(self.job(study).number)


MakeLine = Callable[..., Beside]


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[MakeLine]:
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")

    def make(
        script: Callable[[Case], Reading] = no_finding,
        *rules: RuleSettings,
        adapters: tuple[AdapterSettings, ...] = (),
    ) -> Beside:
        return Beside(tmp_path, pacs, rules=rules, adapters=adapters).with_second(script)

    yield make
    pacs.close()


def test_the_second_engine_reads_after_the_first_one_and_only_once(make_line: MakeLine):
    line = make_line()
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.gather()
    line.run_second()
    assert line.second.cases == []

    line.run()
    line.run_second()
    line.run_second()

    assert len(line.second.cases) == 1
    kept = line.second_of(study)
    assert kept is not None
    reading = manifests.load_reading(kept.reading_json or "")
    assert (reading.report, reading.engine) == ("Clear.", CANDIDATE)
    assert reading.configuration == line.settings.digest


def test_it_sees_the_very_images_priors_and_reports_that_the_first_one_saw(make_line: MakeLine):
    line = make_line()
    line.arrive(a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="Small effusion."))
    line.wait(60)
    line.run()
    line.read_one()

    line.run_second()

    first, second = line.engine.cases[-1], line.second.cases[0]
    for one, other in zip((first.current, *first.priors), (second.current, *second.priors), strict=True):
        assert [image.key for image in one.images] == [image.key for image in other.images]
        pairs = zip(one.images, other.images, strict=True)
        assert all((a.pixels == b.pixels).all() for a, b in pairs)
        assert (one.report, one.days_before) == (other.report, other.days_before)
    assert second.priors[0].report == "Small effusion."


def test_the_list_says_how_far_it_is_and_only_where_there_is_one(make_line: MakeLine):
    line = make_line()
    study = line.read_one()
    line.run_second()

    studies = listing.listed(line.settings, 10, None, None, only_without_patient=False)

    beside, alone = listing.as_text(studies, with_second=True), listing.as_text(studies)
    assert re.search(r"study +second +problem", beside)
    assert re.search(rf"{study} +read", beside)
    assert "second  " not in alone
    assert not re.search(rf"{study} +read", alone)


def test_an_outage_that_outlasts_the_lease_costs_a_second_reading_no_attempt(make_line: MakeLine):
    line = make_line()
    study = line.read_one()
    jobs = Away(line.tools.jobs)
    jobs.second_readings = Away(line.tools.jobs.second_readings, "keep", "later", "extend")
    line.second_worker._tools = replace(line.second_worker._tools, jobs=jobs)  # type: ignore[arg-type]

    for jobs.second_readings.is_away in (True, False):
        line.second_worker._turn()
        line.wait(3600)

    kept = line.second_of(study)
    assert kept is not None
    assert (kept.attempts, kept.problem) == (0, "the database could not be used")
    assert kept.lease_owner is None


def test_nothing_is_made_or_sent_of_what_it_says(make_line: MakeLine):
    line = make_line()
    study = line.read_one()
    job, results = line.job(study), line.tools.jobs.results_of_job(line.job(study).number)
    received = len(line.pacs.received(study))

    line.run_second()
    line.run()

    assert line.job(study) == job
    assert line.tools.jobs.results_of_job(job.number) == results
    assert len(line.pacs.received(study)) == received


def test_what_is_in_shadow_or_closed_is_still_compared(make_line: MakeLine):
    line = make_line(no_finding, a_rule("watch", shadow=True))
    study = line.read_one()
    line.tools.jobs.closings.close(Closing(study, ClosingKind.REPORTED, "a report came", None, line.now))

    line.run_second()

    assert line.second_of(study) is not None


def test_a_rule_may_leave_its_studies_to_the_first_engine(make_line: MakeLine):
    line = make_line(no_finding, a_rule("films", {"Modality": "DX"}, compare=False))
    study = line.read_one()

    line.run_second()

    assert line.second_of(study) is None


def test_the_adapter_of_a_rule_is_the_first_engine_s_alone(make_line: MakeLine):
    bedside = AdapterSettings(name="bedside", folder=Path("adapters/bedside"))
    line = make_line(no_finding, a_rule(adapter="bedside"), adapters=(bedside,))
    line.read_one()

    line.run_second()

    assert line.engine.cases[0].adapter == "bedside"
    assert line.second.cases[0].adapter is None


def test_a_second_engine_that_always_fails_is_tried_so_often_and_the_line_goes_on(make_line: MakeLine):
    def broken(case: Case) -> Reading:
        raise RuntimeError("a fault of the candidate")

    line = make_line(broken)
    study = line.read_one()

    for _ in range(PATIENCE.attempts_max + 2):
        line.run_second()
        line.wait(120)
    other = line.read_one(patient_id="B2")

    assert len(line.second.cases) == PATIENCE.attempts_max
    assert line.job(study).stage is Stage.DONE
    assert line.job(other).stage is Stage.DONE
    failed = line.second_of(study)
    assert failed is not None
    assert failed.failed_at is not None
    assert "internal error of the second engine" in (failed.problem or "")


def test_short_memory_costs_no_attempt_and_is_not_waited_for_for_ever(make_line: MakeLine):
    def short(case: Case) -> Reading:
        raise OutOfMemory("the card is full; give the second engine another")

    line = make_line(short)
    study = line.read_one()
    line.run_second()
    waiting = line.second_of(study)
    assert waiting is not None
    assert (waiting.attempts, waiting.failed_at) == (0, None)

    line.wait(PATIENCE.wait_seconds[Stage.READ] + 1)
    line.run_second()

    failed = line.second_of(study)
    assert failed is not None
    assert "the card is full" in (failed.problem or "")
    assert failed.failed_at is not None


def test_a_second_reader_that_dies_in_the_middle_leaves_its_study_to_the_next(make_line: MakeLine):
    def dies(case: Case) -> Reading:
        raise SystemExit

    line = make_line(dies)
    study = line.read_one()
    with pytest.raises(SystemExit):
        line.second_worker.work_once()
    line.with_second(no_finding).run_second()
    assert line.second.cases == []

    line.wait(PATIENCE.lease_seconds)
    line.run_second()

    kept = line.second_of(study)
    assert kept is not None
    assert kept.attempts == 1
    assert kept.done_at is not None


def test_what_kills_the_second_reader_each_time_is_given_up(make_line: MakeLine):
    def dies(case: Case) -> Reading:
        raise SystemExit

    line = make_line(dies)
    study = line.read_one()
    for _ in range(PATIENCE.attempts_max):
        with pytest.raises(SystemExit):
            line.second_worker.work_once()
        line.wait(PATIENCE.lease_seconds)

    line.run_second()

    failed = line.second_of(study)
    assert failed is not None
    assert "tried it 3 times and died or failed each time" in (failed.problem or "")


def test_a_study_that_is_deleted_while_it_is_read_leaves_nothing(make_line: MakeLine):
    def deleting(case: Case) -> Reading:
        deletions = Deletions(line.tools.jobs._database)
        deletions.delete_study(study, "somebody", "wrong patient", line.now)
        return no_finding(case)

    line = make_line(deleting)
    study = line.read_one()
    job = line.job(study)

    line.run_second()

    assert len(line.second.cases) == 1
    assert line.tools.jobs.second_readings.of_job(job.number) is None


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"no image")])
def test_a_case_that_is_not_the_same_any_more_is_not_compared(
    make_line: MakeLine, spoil: Callable[[Path], object]
):
    line = make_line()
    line.arrive(a_radiograph(days_ago=20), a_report_sr(days_ago=20))
    line.wait(60)
    line.run()
    study = line.read_one()
    (prior,) = manifests.load_manifest(line.job(study).manifest_json or "").priors
    spoil(line.tools.files.absolute(prior.images[0].path))

    line.second_worker.work_once()

    kept = line.second_of(study)
    assert kept is not None
    assert kept.failed_at is not None
    assert "the case is no longer what the first engine saw" in (kept.problem or "")
    assert line.second.cases == []


def test_a_second_reader_that_is_stopped_gives_its_study_back_and_that_costs_no_attempt(make_line: MakeLine):
    begun, let_go = Event(), Event()

    def slow(case: Case) -> Reading:
        begun.set()
        let_go.wait(10)
        return no_finding(case)

    line = make_line(slow)
    study = line.read_one()
    line.second_worker.start()
    assert begun.wait(10)

    line.second_worker.stop()
    line.second_worker.finish(0.05)

    given_back = line.second_of(study)
    let_go.set()
    line.second_worker.join(10)
    assert given_back is not None
    assert (given_back.lease_owner, given_back.attempts, given_back.done_at) == (None, 0, None)


def test_the_comparison_names_the_studies_that_differ_and_in_what(make_line: MakeLine):
    line = make_line()
    study = line.read_one()
    line.run_second()

    report = compared(line.settings, line.now.replace(hour=0), line.now, 100)

    (one,) = report["comparisons"]
    assert one["differing"] == [{"study": study, "differences": ["pleural effusion: only the first"]}]
    text = compared_text(json.loads(json.dumps(report)))
    assert "AI drafts, not verified; those of the second engine were delivered to nobody" in text
    assert "1 studies: 1 differ in findings, 0 have the same words" in text
    assert "the candidate" in text


def test_the_comparison_leaves_out_what_the_second_engine_is_not_asked_about(make_line: MakeLine):
    line = make_line(lambda case: replace(no_finding(case), scores=(Score("edema", 0.1),)))
    line.read_one()
    line.run_second()

    report = compared(line.settings, line.now.replace(hour=0), line.now, 100)

    (one,) = report["comparisons"]
    assert (one["differing"], one["findings"]) == ([], [])
    assert "not asked of the other: pleural effusion (1 studies)" in compared_text(
        json.loads(json.dumps(report))
    )


def test_the_same_model_differs_in_nothing_from_itself(make_line: MakeLine):
    line = make_line(an_effusion)
    line.read_one()
    line.run_second()

    (one,) = compared(line.settings, line.now.replace(hour=0), line.now, 100)["comparisons"]

    assert (one["studies"], one["same_words"], one["differing"]) == (1, 1, [])
    assert (one["findings"][0]["both"], one["findings"][0]["overlap"]) == (1, 1.0)


def test_why_shows_both_readings_and_which_of_them_went_to_nobody(make_line: MakeLine):
    line = make_line()
    study = line.read_one()
    line.run_second()

    lines = why_text(line.settings, study).splitlines()

    heading = lines.index("  second engine, not delivered:")
    assert "  report: There is a small right pleural effusion." in lines[:heading]
    assert "  | report: Clear." in lines[heading:]


def test_status_says_how_many_second_readings_wait(make_line: MakeLine, monkeypatch: pytest.MonkeyPatch):
    line = make_line()
    monkeypatch.setattr("agent.overview.system_clock", lambda: line.now)
    line.read_one()
    assert "second engine: 1 waiting (preread compare)" in status_text(status(line.settings, 20))

    line.run_second()

    assert "second engine: 1 read (preread compare)" in status_text(status(line.settings, 20))


def test_a_since_that_nobody_can_read_is_one_sentence():
    from typer.testing import CliRunner

    answer = CliRunner().invoke(app, ["compare", "--since", "yesterday"])

    assert answer.exit_code == 1
    assert 'since "yesterday": expected 90m, 12h, 3d' in answer.output
