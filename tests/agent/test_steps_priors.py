"""Which earlier exams and reports a study on the straight line is read with."""

from dataclasses import replace

import pytest
from pydicom import Dataset

from agent import manifest as manifests
from agent.gathering import prior_rules_of
from agent.manifest import ManifestReport
from config.settings import Settings
from inference.engines.m4cxr.prompts import clean_report
from storage.database import connect
from storage.outside_records import Report, ReportStatus
from storage.patients import Patients
from storage.records import PatientIdentifier, Stage
from tests.agent.line import NOON, Line
from tests.builders import a_day, a_radiograph, a_report_sr
from tests.outputs.drafts import texts
from tests.storage.builders import a_report

pytestmark = pytest.mark.slow


def test_the_model_sees_the_earlier_exam_with_its_report(line: Line):
    line.arrive(a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="Small left effusion."))
    line.wait(60)
    line.run()
    line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    case = line.engine.cases[-1]
    assert [exam.report for exam in case.priors] == ["Small left effusion."]
    assert case.priors[0].days_before == 20


def test_an_earlier_report_without_findings_is_shown_and_the_draft_says_which_part(line: Line):
    line.gatherer._tools = replace(line.tools, settings=with_engine(line.tools.settings, "medgemma"))
    earlier = line.arrive(
        a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="", impression="Effusion.")
    )
    line.wait(60)
    line.run()
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    assert line.engine.cases[-1].priors[0].report == "Effusion."
    (report,) = (
        one for one in line.pacs.datasets(study) if one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.11"
    )
    said = f"The report of the earlier exam {earlier} does not set findings apart; its impression was taken."
    assert said in texts(report)


def test_for_a_model_that_has_only_learned_findings_an_impression_is_no_report(line: Line):
    earlier = line.arrive(
        a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="", impression="Effusion.")
    )
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    (left,) = manifest_of(line, study).passed_over
    assert (left.study_instance_uid, left.reason) == (
        earlier,
        "it has no report (engine m4cxr needs one with findings)",
    )


def with_engine(settings: Settings, name: str) -> Settings:
    engine = settings.reading.engine.model_copy(update={"name": name})
    return settings.model_copy(update={"reading": settings.reading.model_copy(update={"engine": engine})})


def report_shown(line: Line, *versions: Report, prior: tuple[Dataset, ...] = ()) -> ManifestReport | None:
    """What a model is shown of the reports of an exam of 20 days ago, whose accession number is ACC1.

    MedGemma, since M4CXR takes no impression for a report.
    """
    line.gatherer._tools = replace(line.tools, settings=with_engine(line.tools.settings, "medgemma"))
    line.arrive(a_radiograph(days_ago=20, accession="ACC1"), *prior)
    line.tools.reports.add(versions)
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    priors = manifests.load_manifest(line.job(study).manifest_json or "").priors
    return priors[0].report if priors else None


def test_a_report_from_outside_that_came_before_its_images_is_shown_with_them(line: Line):
    line.tools.reports.add([a_report("FINDINGS: Small left effusion.\nIMPRESSION: Effusion.")])

    shown = report_shown(line)

    assert shown is not None
    assert (shown.section, shown.text) == ("findings", "Small left effusion.")
    assert shown.origin == "hl7 final report RIS 1, by accession number"
    assert line.engine.cases[-1].priors[0].report == "Small left effusion."


@pytest.mark.parametrize(
    ("hour", "status", "text"),
    [("10", ReportStatus.FINAL, "From the PACS."), ("12", ReportStatus.CORRECTED, "From the RIS.")],
)
def test_the_later_of_a_structured_and_an_outside_report_is_shown(
    line: Line, hour: str, status: ReportStatus, text: str
):
    structured = a_report_sr(days_ago=20, time="110000", findings="From the PACS.", accession="ACC1")
    outside = a_report("FINDINGS: From the RIS.", status=status, reported_at=f"{a_day(20)}{hour}0000")

    shown = report_shown(line, outside, prior=(structured,))

    assert shown is not None
    assert shown.text == text


def test_of_structured_reports_the_one_that_holds_is_shown_in_whichever_order_they_came(line: Line):
    final = a_report_sr(days_ago=20, time="120000", number=2, findings="No effusion.", accession="ACC1")
    early = a_report_sr(
        days_ago=20, time="090000", number=1, findings="Effusion?", accession="ACC1", verified=False
    )

    shown = report_shown(line, prior=(final, early))

    assert shown is not None
    assert shown.text == "No effusion."


@pytest.mark.parametrize(
    ("report", "section", "text"),
    [
        (
            "FINDINGS: No pneumothorax\nIMPRESSION: Normal.\nADDENDUM: There is a mass.",
            "findings",
            "No pneumothorax.\nAddendum: There is a mass.",
        ),
        (
            "ADDENDUM: There is a mass.\n\nORIGINAL REPORT\nFINDINGS: No pneumothorax.",
            "findings",
            "No pneumothorax.\nAddendum: There is a mass.",
        ),
        (
            "IMPRESSION: Normal.\nADDENDUM #1: A mass\nADDENDUM #2: On the left.",
            "impression",
            "Normal.\nAddendum #1: A mass.\nAddendum #2: On the left.",
        ),
        (
            "No pneumothorax.\n\nADDENDUM: There is a mass.",
            "whole",
            "No pneumothorax.\nAddendum:\nThere is a mass.",
        ),
    ],
)
def test_an_addendum_is_shown_after_the_words_that_it_corrects(
    line: Line, report: str, section: str, text: str
):
    shown = report_shown(line, a_report(report, status=ReportStatus.CORRECTED))

    assert shown is not None
    assert (shown.section, shown.text) == (section, text)
    assert line.engine.cases[-1].priors[0].report == text


def test_an_addendum_survives_the_cleaning_of_m4cxr_as_a_sentence(line: Line):
    shown = report_shown(
        line, a_report("FINDINGS: No pneumothorax\nADDENDUM 03/02/2026: There is a 3 cm mass.")
    )

    assert shown is not None
    assert clean_report(shown.text).text == "No pneumothorax. Addendum There is a mass."


def test_the_draft_says_that_an_addendum_was_shown(line: Line):
    line.gatherer._tools = replace(line.tools, settings=with_engine(line.tools.settings, "medgemma"))
    earlier = line.arrive(a_radiograph(days_ago=20, accession="ACC1"))
    line.tools.reports.add([a_report("IMPRESSION: Normal.\nADDENDUM: A mass.")])
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    (report,) = (
        one for one in line.pacs.datasets(study) if one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.11"
    )
    part = f"The report of the earlier exam {earlier} does not set findings apart; its impression with the addendum"
    assert f"{part} was taken." in texts(report)
    assert any("impression and addendum of the report of" in words for words in texts(report))


@pytest.mark.parametrize("findings", ["See impression.", "As below."])
def test_an_impression_is_shown_where_the_findings_only_point_to_it(line: Line, findings: str):
    shown = report_shown(line, a_report(f"FINDINGS: {findings}\nIMPRESSION: Pneumonia."))

    assert shown is not None
    assert (shown.section, shown.text) == ("impression", "Pneumonia.")


def test_a_report_whose_sections_all_point_elsewhere_is_shown_whole(line: Line):
    shown = report_shown(line, a_report("Large effusion.\nIMPRESSION: As above."))

    assert shown is not None
    assert (shown.section, shown.text) == ("whole", "Large effusion.\nImpression:\nAs above.")


def test_a_withdrawn_report_is_shown_in_no_form(line: Line):
    structured = a_report_sr(days_ago=20, time="110000", accession="ACC1")
    withdrawn = a_report("", status=ReportStatus.CANCELLED, reported_at=a_day(20) + "120000")

    shown = report_shown(line, withdrawn, prior=(structured,))

    assert shown is None


def test_a_stranger_with_the_same_id_is_passed_over_and_the_manifest_says_why(line: Line):
    line.arrive(a_radiograph(days_ago=20, birth_date="19840615"))
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    manifest = manifests.load_manifest(line.job(study).manifest_json or "")
    assert manifest.priors == ()
    assert manifest.passed_over[0].reason == "birth date differs: 19840615, current study 19500101"


def manifest_of(line: Line, study: str) -> manifests.Manifest:
    return manifests.load_manifest(line.job(study).manifest_json or "")


def test_the_manifest_holds_what_the_engine_looks_at_and_a_reason_for_every_exam(line: Line):
    line.arrive(a_radiograph(days_ago=90), a_report_sr(days_ago=90))
    line.arrive(a_radiograph(days_ago=40), a_report_sr(days_ago=40))
    line.arrive(a_radiograph(days_ago=9))
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    manifest = manifest_of(line, study)
    assert [exam.chosen_because for exam in manifest.priors] == [
        "neither has an issuer of the patient ID, but patient ID and birth date and sex or name agree; "
        "40 days before, with a report, number 1 of 2 that fit"
    ]
    assert [one.reason for one in manifest.passed_over] == [
        "it has no report (engine m4cxr needs one with findings)",
        "older than the 1 that go first (engine m4cxr looks at 1)",
    ]


def test_an_exam_under_an_old_number_is_a_prior_once_the_numbers_are_linked(line: Line):
    old, new = PatientIdentifier("A1", "NORTH"), PatientIdentifier("B2", "NORTH")
    Patients(connect(f"sqlite:///{line.folder / 'preread.sqlite'}")).link(old, new, "merge", "HIS", NOON)
    prior = line.arrive(a_radiograph(issuer="NORTH", days_ago=9), a_report_sr(issuer="NORTH", days_ago=9))
    study = line.arrive(a_radiograph(patient_id="B2", issuer="NORTH"))
    line.wait(60)

    line.run()

    assert [exam.study_instance_uid for exam in manifest_of(line, study).priors] == [prior]
    assert "since the patient's numbers were linked" in manifest_of(line, study).priors[0].chosen_because


def test_a_final_report_under_the_number_that_a_link_has_put_in_its_place_ends_the_draft(line: Line):
    old, new = PatientIdentifier("A1", "NORTH"), PatientIdentifier("B2", "NORTH")
    Patients(connect(f"sqlite:///{line.folder / 'preread.sqlite'}")).link(old, new, "merge", "HIS", NOON)
    study = line.arrive(a_radiograph(issuer="NORTH", accession="ACC1"))
    line.tools.reports.add([a_report(patient_id="B2", issuer="NORTH")])
    line.wait(60)

    line.run()

    assert (line.job(study).stage, line.engine.cases) == (Stage.SKIPPED, [])


def test_an_earlier_exam_of_another_body_part_says_so(line: Line):
    line.arrive(a_radiograph(days_ago=9, body_part="KNEE"), a_report_sr(days_ago=9))
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    assert (
        manifest_of(line, study)
        .passed_over[0]
        .reason.startswith("it has no image to show: body part is KNEE, none of CHEST")
    )


@pytest.mark.parametrize(("current_images", "count"), [(9, 1), (10, 0)])
def test_no_prior_is_chosen_that_the_engine_would_drop_for_too_many_images(
    line: Line, current_images: int, count: int
):
    rules = prior_rules_of(line.tools.settings, current_images)

    assert rules.count_max == count


def test_a_late_image_of_another_patient_is_read_by_nobody_and_makes_the_study_no_prior(line: Line):
    first = a_radiograph(days_ago=9)
    doubtful = line.arrive(first, a_report_sr(days_ago=9))
    line.wait(60)
    line.run()
    line.arrive(a_radiograph(patient_id="Q6", study_uid=doubtful, days_ago=9, number=2))
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    assert line.job(doubtful).stage is Stage.FAILED
    assert "two patients" in (line.job(doubtful).problem or "")
    assert manifest_of(line, study).passed_over[0].reason.startswith("the study is in doubt")
