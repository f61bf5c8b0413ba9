"""What a draft says of the exams it is about is what the model saw of them, whatever it was meant to see."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from pydicom import Dataset, dcmread

from agent import manifest as manifests
from agent.demo.pacs import MiniPacs
from agent.manifest import Manifest, as_shown
from agent.overview import why_text
from config.settings import EngineSettings, OutputKind, Settings, StorageSettings
from inference.case import Case
from inference.reading import Reading
from tests.agent.line import Line
from tests.builders import a_day, a_radiograph, a_report_sr
from tests.outgoing.builders import a_drop_folder, a_fhir_server, an_hl7_receiver
from tests.outputs.drafts import texts
from tests.outputs.test_encapsulated_pdf import pages_of
from tests.scripted_engine import an_effusion

pytestmark = pytest.mark.slow

NONE_SHOWN = "No prior exam was shown to the model; nothing here is a comparison."


def seeing_the_latest(case: Case) -> Reading:
    """An engine that takes one prior, as most do."""
    said = an_effusion(replace(case, priors=case.priors[-1:]))
    return replace(said, problems=(f"Of {len(case.priors)} prior exams the model was shown one.",))


def seeing_none(case: Case) -> Reading:
    return an_effusion(replace(case, priors=()))


class Clinic(Line):
    """A line whose engine of the site is handed every prior, with every output and a message to each receiver."""

    old, new, study = "", "", ""

    def with_two_priors(
        self, script: Callable[[Case], Reading] = an_effusion, *, laterals: bool = False
    ) -> "Clinic":
        engine = EngineSettings(name="tests.scripted_engine:open_scripted")
        storage = StorageSettings(folder=self.folder)
        reading = self.tools.settings.reading.model_copy(update={"engine": engine})
        agent = self.tools.settings.agent.model_copy(update={"storage": storage})
        self.settings: Settings = self.tools.settings.model_copy(update={"reading": reading, "agent": agent})
        self.tools = replace(self.tools, settings=self.settings)
        for worker in (self.gatherer, self.worker):
            worker.take(self.tools, worker._patience, leaves_alone=(), leaves_unasked=())
        self.engine.script = script
        self.old, self.new = (
            self.arrive(a_radiograph(days_ago=days), a_report_sr(days_ago=days, findings="", impression=said))
            for days, said in ((400, "Old effusion."), (40, "New effusion."))
        )
        if laterals:
            self.arrive(a_radiograph(study_uid=self.new, days_ago=40, view="LL", number=2))
        self.wait(60)
        self.run()
        self.study = self.arrive(a_radiograph(rows=200, columns=180, accession="4711"))
        if laterals:
            self.arrive(a_radiograph(study_uid=self.study, view="LL", number=2))
        self.wait(60)
        self.gather()
        return self

    def lose(self, prior: str) -> str:
        """Takes the image of an earlier exam off the disk; gives its path."""
        path = next(one.path for one in self.tools.index.instances(prior) if one.view_group)
        self.tools.files.absolute(path).unlink()
        return path

    def made(self, kind: str) -> Dataset:
        results = self.tools.jobs.results_of_job(self.job(self.study).number)
        path = next(result.path for result in results if result.kind == kind)
        return dcmread(self.tools.files.absolute(path))

    def told(self) -> str:
        """Every word that is made of the draft: objects, the page's print and messages."""
        results = self.tools.jobs.results_of_job(self.job(self.study).number)
        objects = [dcmread(self.tools.files.absolute(one.path)) for one in results if one.sop_class_uid]
        messages = [self.tools.files.absolute(one.path) for one in results if not one.sop_class_uid]
        assert {one.kind for one in results if one.sop_class_uid} == set(get_args(OutputKind))
        assert len(messages) == 3
        words = [str(element.value) for one in objects for element in one.iterall() if element.VR != "SQ"]
        return "\n".join(
            [*words, *pages_of(self.made("encapsulated_pdf")), *(m.read_text() for m in messages)]
        )

    def chosen(self) -> Manifest:
        return manifests.load_manifest(self.job(self.study).manifest_json or "")

    def shown(self) -> Manifest:
        chosen = self.chosen()
        assert len(chosen.priors) == 2, "both were chosen"
        return as_shown(chosen, manifests.load_reading(self.job(self.study).reading_json or ""))


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    (tmp_path / "drop").mkdir()
    receivers = {
        "hl7_receivers": (an_hl7_receiver(1),),
        "fhir_servers": (a_fhir_server(1),),
        "drop_folders": (a_drop_folder(tmp_path / "drop"),),
    }
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")
    yield Clinic(tmp_path, pacs, outputs=get_args(OutputKind), receivers=receivers)
    pacs.close()


def readable(days_ago: int) -> str:
    day = a_day(days_ago)
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def studies_of_evidence(document: Dataset) -> set[str]:
    return {str(item.StudyInstanceUID) for item in document.get("PertinentOtherEvidenceSequence", ())}


def comparisons(document: Dataset) -> list[str]:
    return [text for text in texts(document) if text.startswith("Comparison")]


def test_every_prior_that_was_shown_is_named(clinic: Clinic):
    clinic.with_two_priors().run()

    document = clinic.made("report_sr")
    both = f"Comparison: chest radiograph {readable(400)}, chest radiograph {readable(40)}"
    assert comparisons(document) == [both]
    assert studies_of_evidence(document) == {clinic.old, clinic.new}
    assert clinic.shown().passed_over == ()


def test_a_prior_whose_file_was_lost_is_named_nowhere_as_compared_with(clinic: Clinic):
    path = clinic.with_two_priors().lose(clinic.old)

    clinic.run()

    assert comparisons(clinic.made("report_sr")) == [f"Comparison: chest radiograph {readable(40)}"]
    for kind in ("report_sr", "findings_sr", "findings_sr_air"):
        assert studies_of_evidence(clinic.made(kind)) == {clinic.new}
    assert readable(400) not in clinic.told()
    assert f"report of the earlier exam {clinic.old}" not in clinic.told()
    (passed,) = clinic.shown().passed_over
    assert passed.study_instance_uid == clinic.old
    assert passed.reason.startswith(
        f"it was chosen, but not shown, because the stored file {path} is gone; send the study again"
    )


def test_a_prior_that_the_engine_left_out_is_passed_over_with_the_reason(clinic: Clinic):
    clinic.with_two_priors(seeing_the_latest).run()

    document = clinic.made("report_sr")
    assert comparisons(document) == [f"Comparison: chest radiograph {readable(40)}"]
    assert studies_of_evidence(document) == {clinic.new}
    assert readable(400) not in clinic.told()
    because = "because engine scripted put none of its images before the model"
    assert f"{clinic.old}: it was chosen, but not shown, {because}" in texts(document)


@pytest.mark.parametrize("why", ["both files lost", "left out by the engine"])
def test_where_no_prior_was_shown_nothing_is_said_of_a_comparison(clinic: Clinic, why: str):
    clinic.with_two_priors(seeing_none if why == "left out by the engine" else an_effusion)
    if why == "both files lost":
        clinic.lose(clinic.old)
        clinic.lose(clinic.new)

    clinic.run()

    told = clinic.told()
    assert "Comparison" not in told
    assert readable(400) not in told
    assert readable(40) not in told
    assert NONE_SHOWN in texts(clinic.made("report_sr"))
    assert studies_of_evidence(clinic.made("report_sr")) == set()
    assert [one.study_instance_uid for one in clinic.shown().passed_over] == [clinic.old, clinic.new]


def test_an_image_of_a_prior_that_was_left_out_is_no_evidence(clinic: Clinic):
    def seeing_one_image(case: Case) -> Reading:
        (prior,) = case.priors[-1:]
        return an_effusion(replace(case, priors=(replace(prior, images=prior.images[:1]),)))

    clinic.with_two_priors(seeing_one_image, laterals=True).run()

    (prior,) = clinic.shown().priors
    seen = [text for text in texts(clinic.made("report_sr")) if text.startswith("Prior image")]
    assert len(clinic.chosen().priors[-1].images) == 2
    assert len(prior.images) == len(seen) == 1


def test_an_image_of_the_current_exam_that_the_engine_left_out_is_told_as_left_out(clinic: Clinic):
    def seeing_the_first_image(case: Case) -> Reading:
        return an_effusion(replace(case, current=replace(case.current, images=case.current.images[:1])))

    clinic.with_two_priors(seeing_the_first_image, laterals=True).run()

    document = clinic.made("report_sr")
    _, lateral = clinic.chosen().current.images
    assert len([text for text in texts(document) if text.startswith("Current image")]) == 1
    left_out = f"{lateral.sop_instance_uid}: engine scripted did not put it before the model"
    assert left_out in texts(document)
    assert "images shown: 1; left out: 1" in why_text(clinic.settings, clinic.study)


def test_of_an_engine_that_names_no_image_nothing_of_the_current_exam_is_left_out(clinic: Clinic):
    def silent(case: Case) -> Reading:
        said = an_effusion(case)
        return replace(said, turns=tuple(replace(turn, image_keys=()) for turn in said.turns))

    clinic.with_two_priors(silent).run()

    assert clinic.shown().left_out == ()
    assert len(clinic.shown().current.images) == 1


def test_why_tells_a_prior_that_was_shown_from_one_that_was_not(clinic: Clinic):
    clinic.with_two_priors(seeing_the_latest)
    before = why_text(clinic.settings, clinic.study)

    clinic.run()

    assert f"prior {a_day(400)} {clinic.old}: " in before
    said = why_text(clinic.settings, clinic.study)
    assert f"prior {a_day(400)} {clinic.old}: " not in said
    assert f"prior {a_day(40)} {clinic.new}: " in said
    assert f"passed over {clinic.old}: it was chosen, but not shown, because engine scripted" in said
