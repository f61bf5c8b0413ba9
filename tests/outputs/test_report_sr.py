"""The text report."""

from pathlib import Path

import pytest
from pydicom import Dataset

from agent.outputs import Predecessor, build
from agent.outputs.report_sr import QUESTION_CHARACTERS_MAX, impression_of, split_report
from inference.reading import Change, Finding, Score, Status, Turn
from tests.outputs.drafts import (
    DEMO,
    KOREAN,
    SOURCES,
    a_box,
    a_full_reading,
    a_narrative,
    a_reading,
    a_source,
    a_stamp,
    an_effusion,
    built,
    sources_of,
    texts,
    the_one,
)
from tests.outputs.validators import dcmtk, written


def headings(document: Dataset) -> list[str]:
    return [
        item.ConceptNameCodeSequence[0].CodeMeaning
        for item in document.ContentSequence
        if item.ValueType == "CONTAINER"
    ]


def reasons(document: Dataset) -> list[tuple[str, str]]:
    """(concept, text) of the section on how the draft came about."""
    items = document.ContentSequence[-1].ContentSequence
    return [(item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue) for item in items]


def report_of(**narrative: object) -> Dataset:
    header = a_source()
    reading = a_reading(an_effusion(a_box(header)), compared_with_prior=bool(narrative.get("comparison")))
    (document,) = build("report_sr", sources_of(header), reading, a_narrative(**narrative), a_stamp())
    return document


def test_the_reasons_say_why_each_prior_study_was_chosen():
    document = report_of(chosen=(("1.2.3", "patient ID and issuer agree; 30 days before"),))

    assert "Prior study 1.2.3: patient ID and issuer agree; 30 days before" in [
        text for _, text in reasons(document)
    ]


def test_the_draft_is_preliminary_and_signed_by_nobody():
    document = the_one("report_sr", a_source())

    assert (document.PreliminaryFlag, document.CompletionFlag) == ("PRELIMINARY", "COMPLETE")
    assert document.VerificationFlag == "UNVERIFIED"
    assert document.CompletionFlagDescription == "AI draft; awaiting radiologist verification"
    assert "VerifyingObserverSequence" not in document


def test_the_clinical_part_comes_first_and_the_reasons_last():
    document = report_of(comparison="DX chest 2025-05-06")

    assert headings(document) == [
        "Request",
        "Prior Procedure Descriptions",
        "Findings",
        "Key Images",
        "How this AI draft came about",
    ]


def test_the_findings_begin_with_the_banner():
    header = a_source()
    document = the_one("report_sr", header, a_reading())
    demo = the_one("report_sr", header, a_reading(engine=DEMO))

    assert "AI DRAFT - NOT VERIFIED" in texts(document)
    assert "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL" in texts(demo)
    assert any("synthetic images only" in text for text in texts(demo))


@pytest.mark.parametrize("kind", ["report_sr", "secondary_capture"])
def test_a_later_draft_says_which_one_it_takes_the_place_of(kind: str):
    before = Predecessor(kind, "1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3.4.5", revision=2)
    sources = sources_of(a_source(), predecessors=(before,))

    (first,) = built("report_sr", sources_of(a_source()), a_reading())
    (later,) = built("report_sr", sources, a_reading(), revision=4)

    said = "Revision 4 of this draft; it takes the place of revision 2."
    assert texts(later)[texts(later).index("AI DRAFT - NOT VERIFIED") + 1] == said
    assert not any("takes the place" in text for text in texts(first))


def test_a_comparison_is_claimed_only_if_the_model_saw_the_prior():
    header = a_source()
    narrative = a_narrative(comparison="DX chest 2025-05-06")

    (document,) = build("report_sr", sources_of(header), a_reading(), narrative, a_stamp())

    assert "Prior Procedure Descriptions" not in headings(document)
    assert not any("Comparison:" in text for text in texts(document))
    assert ("Limits", "No prior exam was shown to the model; nothing here is a comparison.") in reasons(
        document
    )


@pytest.mark.parametrize(
    "words",
    [{"report": "The effusion is unchanged."}, {"impression": "Unchanged."}, {"differential": "Unchanged."}],
)
def test_words_of_comparison_without_a_prior_are_told_and_not_denied(words: dict[str, str]):
    document = the_one("report_sr", a_source(), a_reading(**words))

    said = 'No prior exam was shown to the model; what reads like a comparison here ("unchanged") is none.'
    assert ("Limits", said) in reasons(document)
    assert not any("nothing here is a comparison" in text for text in texts(document))


def test_an_impression_gets_a_section_that_begins_with_the_banner():
    reading = a_reading(report="FINDINGS: The lungs are clear.\n\nIMPRESSION:\nNo acute disease.")

    document = the_one("report_sr", a_source(), reading)

    assert headings(document)[1:3] == ["Findings", "Impressions"]
    assert "The lungs are clear." in texts(document)
    assert "AI DRAFT - NOT VERIFIED\r\nNo acute disease." in texts(document)


def test_an_impression_the_model_was_asked_for_says_that_it_is_a_summary_of_the_draft():
    document = the_one("report_sr", a_source(), a_reading(impression="Right effusion."))

    assert headings(document)[1:3] == ["Findings", "Impressions"]
    assert (
        "AI DRAFT - NOT VERIFIED\r\n"
        "The model's summary of its own draft, not an independent judgement:\r\nRight effusion."
    ) in texts(document)


def test_the_drafts_own_impression_stands_before_the_summary_of_it():
    reading = a_reading(report="Clear.\nIMPRESSION: No disease.", impression="Nothing found.")

    assert impression_of(reading).splitlines()[0] == "No disease."
    assert impression_of(reading).splitlines()[-1] == "Nothing found."


def test_diagnoses_the_model_considers_get_a_section_of_their_own_words():
    document = the_one("report_sr", a_source(), a_reading(differential="Heart failure."))

    assert headings(document)[1:3] == ["Findings", "Considered by the model"]
    assert "Impressions" not in headings(document)
    (considered,) = (text for text in texts(document) if text.endswith("Heart failure."))
    assert considered.startswith("AI DRAFT - NOT VERIFIED\r\nConsidered by the model")


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        ("Clear lungs.", ("Clear lungs.", "")),
        ("Findings: a\nImpression: b", ("a", "b")),
        ("IMPRESSION: b", ("", "b")),
        ("The impression: is not a heading here", ("The impression: is not a heading here", "")),
        ("", ("", "")),
    ],
)
def test_a_report_is_split_at_its_headings_only(report: str, parts: tuple[str, str]):
    assert split_report(report) == parts


def test_every_paragraph_is_a_text_of_its_own():
    document = the_one("report_sr", a_source(), a_reading(report="One.\nStill one.\n\nTwo."))

    assert texts(document)[6:8] == ["One.\r\nStill one.", "Two."]


def test_what_is_not_named_is_never_called_absent():
    named, nothing = (
        the_one("report_sr", a_source(), reading) for reading in (a_reading(an_effusion()), a_reading())
    )

    for document in (named, nothing):
        words = " ".join(texts(document))
        assert "What is not named here is not thereby absent" in words
        assert "Called absent" not in words
    assert any(text.startswith("The model named no finding.") for text in texts(nothing))


def test_findings_stand_under_what_the_model_says_of_them():
    findings = (
        Finding("pleural effusion", Status.PRESENT, Change.SMALLER, "left"),
        Finding("edema", Status.UNCERTAIN),
        Finding("fracture", Status.ABSENT),
    )

    document = the_one("report_sr", a_source(), a_reading(*findings))

    line = next(text for text in texts(document) if text.startswith("Named by the model"))
    assert line.startswith(
        "Named by the model: Pleural effusion, left, smaller than before. "
        "Named as uncertain: Edema. Called absent by the model: Fracture."
    )


def test_every_turn_is_there_with_its_answer_word_for_word():
    turns = (
        Turn("findings", ("a", "b"), "<image><image> What?", "effusion; edema", 1.234, 512, 7),
        Turn("report", ("a",), "Describe.", "Line one.\nLine two.", 2.0, 600, 30),
    )

    document = the_one("report_sr", a_source(), a_reading(turns=turns))

    assert [text for concept, text in reasons(document) if concept == "Question and answer"] == [
        "1. findings (images shown: 2, 1.23 s, 512 + 7 tokens)\r\n"
        "Question: <image><image> What?\r\nAnswer: effusion; edema",
        "2. report (images shown: 1, 2.00 s, 600 + 30 tokens)\r\n"
        "Question: Describe.\r\nAnswer: Line one.\r\nLine two.",
    ]


def test_a_long_question_is_shortened_and_a_long_answer_is_not():
    turn = Turn("report", (), "q" * 3000, "a" * 3000, 1, 1, 1)

    document = the_one("report_sr", a_source(), a_reading(turns=(turn,)))

    (text,) = (text for concept, text in reasons(document) if concept == "Question and answer")
    assert text.count("q") < QUESTION_CHARACTERS_MAX + 10
    assert "[... 2000 characters left out ...]" in text
    assert text.endswith("a" * 3000)


def test_the_reasons_tell_what_was_seen_passed_over_and_why_it_was_time():
    header, prior = a_source(), a_source(days_ago=300)
    narrative = a_narrative(
        passed_over=(("1.2.9", "birth date differs"),), reports=("findings of 2025-05-06",)
    )

    (document,) = build("report_sr", sources_of(header, priors=(prior,)), a_reading(), narrative, a_stamp())

    told = reasons(document)
    assert ("What the model saw", f"Current image, 20260302, PA: {header.SOPInstanceUID}") in told
    prior_line = f"Prior image, 20250506, PA: {prior.SOPInstanceUID}, study {prior.StudyInstanceUID}"
    assert ("What the model saw", prior_line) in told
    assert ("What the model saw", "Report: findings of 2025-05-06") in told
    assert ("What was passed over", "1.2.9: birth date differs") in told
    assert ("Why the study was called complete", "no image for 60 s") in told


def test_problems_and_dropped_boxes_reach_the_radiologist():
    header = a_source()
    speck = a_box(header, right=41)

    document = the_one(
        "report_sr", header, a_reading(an_effusion(speck), problems=("Answer 2 made no sense.",))
    )

    limits = [text for concept, text in reasons(document) if concept == "Limits"]
    assert limits[0] == "Answer 2 made no sense."
    assert "1 x 100 pixels" in limits[1]
    assert any("nothing was measured" in text for text in limits)


def test_the_model_is_named_with_its_weights():
    document = the_one("report_sr", a_source())

    words = " ".join(text for concept, text in reasons(document) if concept == "Program and model")
    assert "Model M4CXR, weights sha256:5a5a" in words
    equipment = [item.get("ManufacturerModelName") for item in document.ContributingEquipmentSequence]
    assert "M4CXR" in equipment


def test_the_scores_of_all_findings_stand_in_one_line_that_says_what_they_are_not():
    scores = (Score("edema", 0.034), Score("pleural effusion", 0.92))
    document = the_one("report_sr", a_source(), a_reading(scores=scores))

    (line,) = (text for concept, text in reasons(document) if concept == "Model scores")
    assert line.startswith("Model scores: pleural effusion 92 %; edema 3 %. ")
    assert "nobody has calibrated them" in line
    assert "rules nothing out" in line


def test_a_calibrated_score_stands_beside_the_raw_one_with_what_it_was_fitted_on():
    scores = (Score("edema", 0.034), Score("pleural effusion", 0.92, 0.61, "400 studies"))
    document = the_one("report_sr", a_source(), a_reading(scores=scores))

    (line,) = (text for concept, text in reasons(document) if concept == "Model scores")
    assert "pleural effusion 92 % (calibrated 61 %); edema 3 %." in line
    assert "what is calibrated was fitted on 400 studies" in line
    assert "nobody has calibrated them" not in line


def test_a_model_without_scores_gets_no_such_line():
    document = the_one("report_sr", a_source(), a_reading())

    assert "Model scores" not in [concept for concept, _ in reasons(document)]


def test_priors_are_other_evidence_and_current_images_are_the_procedures_own():
    header, lateral, prior = a_source(), a_source(view="LL"), a_source(days_ago=300)

    (document,) = built("report_sr", sources_of(header, lateral, priors=(prior,)), a_reading())

    (own,) = document.CurrentRequestedProcedureEvidenceSequence
    (other,) = document.PertinentOtherEvidenceSequence
    own_uids = {
        i.ReferencedSOPInstanceUID for s in own.ReferencedSeriesSequence for i in s.ReferencedSOPSequence
    }
    assert own_uids == {header.SOPInstanceUID, lateral.SOPInstanceUID}
    assert other.StudyInstanceUID == prior.StudyInstanceUID


@pytest.mark.peers
def test_dcmtk_prints_the_report_with_its_korean_name(tmp_path: Path):
    header = SOURCES["DX, MONOCHROME2, Korean"]()
    document = the_one("report_sr", header, a_full_reading(header, report="우측 흉수."))

    printed = dcmtk("dsrdump", "+Pl", written(document, tmp_path))

    assert KOREAN in printed
    assert '"우측 흉수."' in printed
    assert "PRELIMINARY" in printed
    assert "UNVERIFIED" in printed
