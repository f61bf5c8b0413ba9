"""`preread why` begins with how a study stands, and where something is wrong with its cause."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom.sop_class import Verification

from agent.errors import GiveUp
from agent.overview import why_text
from config.settings import AgentSettings, StorageSettings
from storage.records import Stage
from tests.agent.archives import an_archive
from tests.agent.line import Line
from tests.builders import a_radiograph, a_report_sr
from tests.storage.builders import a_report

pytestmark = pytest.mark.slow


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with an_archive(ae_title="TESTPACS") as archive:
        yield Line(tmp_path, archive, outputs=("report_sr",))


def why(line: Line, study: str) -> list[str]:
    """The lines of the answer, the one with the UID left out."""
    storage = StorageSettings(folder=line.folder, database_url=f"sqlite:///{line.folder / 'preread.sqlite'}")
    settings = line.tools.settings.model_copy(update={"agent": AgentSettings(storage=storage)})
    return [one.strip() for one in why_text(settings, study).splitlines()[1:]]


def image(**about: object) -> Dataset:
    return a_radiograph(rows=200, columns=180, **about)


def read_at_last(line: Line, study: str) -> None:
    line.wait(60)
    for _ in range(5):
        line.run()
        line.wait(3700)


def nothing_yet(line: Line) -> tuple[str, str]:
    return line.arrive(image()), "no draft was begun"


def two_patients(line: Line) -> tuple[str, str]:
    study = line.arrive(*(image(patient_id=f"A{n}", study_uid="2.25.9", number=n) for n in (1, 2)))
    read_at_last(line, study)
    return study, "in doubt: "


def no_frontal_image(line: Line) -> tuple[str, str]:
    study = line.arrive(image(view="LL"))
    read_at_last(line, study)
    return study, "revision 1 is not read: no frontal chest radiograph in the study"


def a_lost_file(line: Line) -> tuple[str, str]:
    study = line.arrive(image())
    line.wait(60)
    line.gather()
    (instance,) = line.tools.index.instances(study)
    line.tools.files.absolute(instance.path).unlink()
    read_at_last(line, study)
    return study, f"revision 1 failed: the stored file {instance.path} is gone; send the study again"


def a_model_that_gives_up(line: Line) -> tuple[str, str]:
    def script(_: object) -> None:
        raise GiveUp('the adapter "chest" is not loaded')

    line.engine.script = script  # type: ignore[assignment]
    study = line.arrive(image())
    read_at_last(line, study)
    return study, 'revision 1 failed: the adapter "chest" is not loaded'


def a_pacs_that_is_away(line: Line) -> tuple[str, str]:
    line.pacs.port = 1
    study = line.arrive(image())
    line.wait(60)
    line.worker.take(_elsewhere(line), line.worker._patience, leaves_alone=(), leaves_unasked=())
    line.run()
    return (
        study,
        'not delivered to pacs: Destination "pacs" (AE title TESTPACS at 127.0.0.1:1) cannot be connected',
    )


def a_pacs_that_refuses(line: Line) -> tuple[str, str]:
    with an_archive(classes=[Verification], ae_title="TESTPACS") as other:
        line.pacs.port = other.port
        study = line.arrive(image())
        line.worker.take(_elsewhere(line), line.worker._patience, leaves_alone=(), leaves_unasked=())
        read_at_last(line, study)
    return study, "not delivered to pacs: Destination"


def nothing_wrong(line: Line) -> tuple[str, str]:
    study = line.arrive(image())
    read_at_last(line, study)
    return study, "revision 1 is done"


@pytest.mark.parametrize(
    "end",
    [
        nothing_yet,
        two_patients,
        no_frontal_image,
        a_lost_file,
        a_model_that_gives_up,
        a_pacs_that_is_away,
        a_pacs_that_refuses,
        nothing_wrong,
    ],
)
def test_the_true_cause_comes_first(line: Line, end: Callable[[Line], tuple[str, str]]):
    study, cause = end(line)

    said = why(line, study)

    assert said[0].startswith(cause)


def _elsewhere(line: Line) -> object:
    destination = line.tools.settings.peers.destinations[0].model_copy(update={"port": line.pacs.port})
    peers = line.tools.settings.peers.model_copy(update={"destinations": (destination,)})
    return replace(line.tools, settings=line.tools.settings.model_copy(update={"peers": peers}))


def test_files_that_are_all_away_are_waited_for(line: Line):
    study = line.arrive(image())
    line.wait(60)
    line.gather()
    files = line.folder / "files"
    files.rename(line.folder / "unmounted")
    line.run()
    waiting = why(line, study)[0]

    shutil.rmtree(files, ignore_errors=True)
    (line.folder / "unmounted").rename(files)
    line.wait(60)
    line.run()

    assert waiting == "revision 1 is at stage read: the folder of stored files is away; mount its disk"
    assert (line.job(study).stage, line.job(study).attempts) == (Stage.DONE, 0)


def test_a_prior_whose_file_is_gone_costs_the_study_nothing_but_the_comparison(line: Line):
    prior = line.arrive(
        image(days_ago=30), a_report_sr(days_ago=30, findings="A small left effusion is seen.")
    )
    (instance, _) = line.tools.index.instances(prior)
    study = line.arrive(image())
    line.wait(60)
    line.gather()
    line.tools.files.absolute(instance.path).unlink()

    line.run()

    assert line.job(study).stage is Stage.DONE
    (case,) = [case for case in line.engine.cases if case.current.images[0].key not in instance.path]
    assert case.priors == ()
    assert f"the stored file {instance.path} is gone" in "\n".join(why(line, study))


def test_why_says_that_an_addendum_was_shown(line: Line):
    line.arrive(image(days_ago=20, accession="ACC1"))
    line.tools.reports.add([a_report("FINDINGS: Clear.\nADDENDUM: A mass.")])
    study = line.arrive(image())

    read_at_last(line, study)

    assert "findings and addendum of its report: hl7 final report RIS 1, by accession number" in why(
        line, study
    )
