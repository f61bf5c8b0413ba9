"""Drafts on their way to destinations that refuse forms, that are down, and that want few associations at once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock

import pytest
from pynetdicom import evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)
from typer.testing import CliRunner

from agent.cli import app
from agent.lanes import delivery_lanes
from agent.store import open_store
from agent.worker import Worker
from config.loading import load
from inference.reading import Reading
from storage.records import Stage
from tests.agent.archives import Archive, an_archive
from tests.agent.line import PATIENCE, Line
from tests.builders import a_radiograph
from tests.scripted_engine import IDENTITY
from tests.storage.builders import NOW, claimed_deliveries, composed, later

pytestmark = pytest.mark.slow

MakeLine = Callable[..., Line]


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """Makes a line whose only destination takes these SOP Classes."""
    with ExitStack() as stack:

        def make(*classes: str, outputs: tuple[str, ...] = (), **settings: object) -> Line:
            archive = stack.enter_context(an_archive(classes=classes, ae_title="TESTPACS"))
            return Line(tmp_path, archive, outputs=outputs, destination=settings)

        yield make


def sent(line: Line) -> list[str]:
    assert isinstance(line.pacs, Archive)
    return line.pacs.classes


def delivered(line: Line) -> str:
    """Lets a study walk the line; gives its UID."""
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.run()
    return study


def kinds_made(line: Line, study: str) -> set[str]:
    return {result.kind for result in line.tools.jobs.results_of_job(line.job(study).number)}


def events(line: Line, study: str) -> str:
    return "\n".join(event.text for event in line.tools.jobs.events_of_study(study))


def test_a_draft_has_no_form_that_nobody_asked_for(taking: MakeLine):
    line = taking(BasicTextSRStorage, ComprehensiveSRStorage, outputs=("report_sr", "findings_sr"))

    study = delivered(line)

    assert kinds_made(line, study) == {"report_sr", "findings_sr"}
    assert set(sent(line)) == {ComprehensiveSRStorage, BasicTextSRStorage}


def test_a_refused_form_is_not_sent_a_second_time_where_the_next_one_goes_anyway(taking: MakeLine):
    line = taking(BasicTextSRStorage, outputs=("report_sr", "findings_sr"))

    study = delivered(line)

    assert line.job(study).stage is Stage.DONE
    assert sent(line) == [BasicTextSRStorage]
    assert "refused by pacs, report_sr goes instead: Destination" in events(line, study)


def test_a_pacs_that_takes_pictures_only_gets_one_picture_for_all_that_it_refused(taking: MakeLine):
    line = taking(SecondaryCaptureImageStorage)

    study = delivered(line)

    assert line.job(study).stage is Stage.DONE
    assert sent(line) == [SecondaryCaptureImageStorage]
    told = [text for text in events(line, study).splitlines() if "goes instead" in text]
    assert [text.split(" goes instead")[0].split(", ")[1] for text in told] == [
        "encapsulated_pdf",
        "report_sr",
        "secondary_capture",
        "secondary_capture",
    ]


def test_a_form_that_a_draft_does_not_have_is_stepped_over(taking: MakeLine):
    line = taking(BasicTextSRStorage, profile="strict_air")
    line.engine.script = lambda case: Reading((), "Clear.", (), IDENTITY)

    study = delivered(line)

    assert line.job(study).stage is Stage.DONE
    assert sent(line) == [BasicTextSRStorage]
    assert kinds_made(line, study) == {"findings_sr_air", "report_sr"}


def test_without_a_fallback_what_is_refused_is_given_up_and_can_be_replayed(taking: MakeLine):
    line = taking(BasicTextSRStorage, outputs=("report_sr", "findings_sr"), fallback={})
    study = delivered(line)
    (given_up,) = line.tools.jobs.deliveries.given_up("pacs")
    assert line.job(study).stage is Stage.FAILED

    line.tools.jobs.deliveries.replay(given_up.number, line.now)
    line.run()

    assert line.job(study).stage is Stage.FAILED
    assert sent(line) == [BasicTextSRStorage]
    assert "Comprehensive SR Storage" in (line.job(study).problem or "")


@pytest.mark.parametrize(
    ("profile", "classes"),
    [
        ("ohif", {BasicTextSRStorage, ComprehensiveSRStorage}),
        ("weasis", {BasicTextSRStorage, ComprehensiveSRStorage, GrayscaleSoftcopyPresentationStateStorage}),
        ("legacy_pacs", {BasicTextSRStorage, SecondaryCaptureImageStorage}),
        ("sc_only", {SecondaryCaptureImageStorage}),
    ],
)
def test_a_profile_is_a_list_of_forms(taking: MakeLine, profile: str, classes: set[str]):
    every = (
        BasicTextSRStorage,
        ComprehensiveSRStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        SecondaryCaptureImageStorage,
    )
    line = taking(*every, profile=profile)

    delivered(line)

    assert set(sent(line)) == classes


def test_a_destination_that_is_down_rests_and_one_draft_tries_it_for_all(taking: MakeLine):
    line = taking(BasicTextSRStorage, outputs=("report_sr",), failures_max=2)
    assert isinstance(line.pacs, Archive)
    line.pacs.status = 0xA700
    for number in range(5):
        line.arrive(a_radiograph(patient_id=f"P{number}"))
    line.wait(60)
    line.run()
    assert len(line.pacs.received) == 2

    line.wait(20)
    line.run()
    assert len(line.pacs.received) == 3

    line.pacs.status = 0x0000
    line.wait(60)
    line.run()
    assert len(set(line.pacs.instances)) == 5
    assert len(line.pacs.instances) == 3 + 5
    assert line.tools.jobs.deliveries.troubles() == ()


def test_a_peer_that_dies_before_its_answer_has_the_object_once_to_the_eye(tmp_path: Path):
    kept: list[str] = []

    def store(event: evt.Event) -> int:
        kept.append(str(event.request.AffectedSOPInstanceUID))
        if len(kept) == 1:
            event.assoc.abort()
        return 0x0000

    with an_archive(classes=[BasicTextSRStorage], ae_title="TESTPACS", on_store=store) as archive:
        line = Line(tmp_path, archive, outputs=("report_sr",))
        study = delivered(line)
        (trouble,) = line.tools.jobs.deliveries.troubles()
        line.wait(60)
        line.run()

    assert "broke the association off while we sent" in trouble.problem
    assert line.job(study).stage is Stage.DONE
    assert (len(kept), len(set(kept))) == (2, 1)


def test_a_taken_object_is_not_sent_again_when_the_rest_of_its_draft_is(tmp_path: Path):
    kept: list[str] = []

    def store(event: evt.Event) -> int:
        kept.append(str(event.request.AffectedSOPInstanceUID))
        if len(kept) == 2:
            event.assoc.abort()
        return 0x0000

    classes = [BasicTextSRStorage, ComprehensiveSRStorage]
    with an_archive(classes=classes, ae_title="TESTPACS", on_store=store) as archive:
        line = Line(tmp_path, archive, outputs=("report_sr", "findings_sr"))
        study = delivered(line)
        line.wait(60)
        line.run()

    assert line.job(study).stage is Stage.DONE
    assert kept[1:] == [kept[1], kept[1]]
    assert kept[0] not in kept[1:]


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """A store with a delivery that was given up, at a destination that rests; gives the config folder."""
    for name, text in (("agent", '[storage]\nfolder = "data"\n'), ("peers", ""), ("reading", "")):
        (tmp_path / f"{name}.toml").write_text(text)
    store = open_store(load(tmp_path))
    composed(store.index, store.jobs, "PACS")
    lost, taken = claimed_deliveries(store.jobs.deliveries)
    store.jobs.deliveries.failed(lost, "it is full", NOW)
    store.jobs.deliveries.delivered(taken, 0x0000, NOW)
    store.jobs.deliveries.stumbled("PACS", "it is down", later(60), NOW)
    store.database.close()
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_status_says_which_destination_rests_since_when_and_why(troubled: Path):
    code, said = run("status", "--config", troubled)

    assert code == 0
    assert (
        "PACS: 1 tries in a row since 2026-03-01T08:00:00+00:00, rests until 2026-03-01T08:01:00+00:00, "
        "0 outputs wait: it is down" in said
    )


def test_what_was_given_up_is_listed_with_its_number_and_replayed_by_it(troubled: Path):
    _, listed = run("deliveries", "list", "--config", troubled)
    assert "to PACS, study 2.25.100 revision 1, object" in listed
    assert listed.endswith("it is full\n")

    code, said = run("deliveries", "replay", listed.split()[0], "--config", troubled)

    assert (code, said) == (0, f"delivery {listed.split()[0]} goes to PACS once more\n")
    assert run("deliveries", "list", "--config", troubled)[1] == "nothing was given up\n"


def test_a_whole_destination_is_replayed_and_nothing_that_it_has(troubled: Path):
    code, said = run("deliveries", "replay", "--destination", "PACS", "--config", troubled)

    assert (code, said.count("goes to PACS once more")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "say which"), (("99",), "delivery 99 was not given up")]
)
def test_a_replay_of_nothing_says_so(troubled: Path, arguments: tuple[str, ...], said: str):
    code, output = run("deliveries", "replay", *arguments, "--config", troubled)

    assert code == 1
    assert said in output


def test_a_destination_has_no_more_associations_at_once_than_it_may(tmp_path: Path):
    both, counting, open_now, most = Barrier(2), Lock(), [0], [0]

    def store(event: evt.Event) -> int:
        with counting:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        try:
            both.wait(2)  # two at once, or nobody goes on
        except BrokenBarrierError:
            return 0xC000
        finally:
            with counting:
                open_now[0] -= 1
        return 0x0000

    with an_archive(classes=[BasicTextSRStorage], ae_title="TESTPACS", on_store=store) as archive:
        line = Line(tmp_path, archive, outputs=("report_sr",), destination={"associations_max": 2})
        studies = [line.arrive(a_radiograph(patient_id=f"P{number}")) for number in range(4)]
        line.wait(60)
        line.gather()
        reader = Worker("reader", line.tools, PATIENCE, stages=(Stage.COMPOSE, Stage.READ))
        while reader.work_once():
            pass
        deliver_in_lanes(line)

    assert most == [2]
    assert {line.job(study).stage for study in studies} == {Stage.DONE}


def deliver_in_lanes(line: Line) -> None:
    """Runs the workers that the service has for deliveries until nothing is due."""
    lanes = delivery_lanes(line.tools.settings)
    workers = [
        Worker(name, line.tools, PATIENCE, leaves_alone=lane.leaves_alone, poll_seconds=0.01)
        for name, lane in lanes.items()
    ]
    for worker in workers:
        worker.start()
    while line.tools.jobs.counts()[Stage.DELIVER]:
        workers[0].join(0.02)
    for worker in workers:
        worker.stop()
    for worker in workers:
        worker.finish(10)
