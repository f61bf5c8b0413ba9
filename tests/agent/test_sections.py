"""Findings, impression and what surrounds them are found in the layouts in which reports really come."""

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.message import parse_message
from agent.hl7.oru import parse_results
from agent.sections import ReportText, find_sections, only_points_elsewhere, report_text, tidy
from tests.real_data import real_data


def the_text_of(text: str) -> ReportText:
    found = report_text(find_sections(text))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: Clear.\nIMPRESSION: Normal.",
        "Findings:\nClear.\n\nImpression:\nNormal.",
        "FINDINGS\nClear.\nIMPRESSION\nNormal.",
        "FINDINGS: Clear. IMPRESSION: Normal.",
        "Findings: Clear. Impression: Normal.",
        "  **Findings:** Clear.\r\n  **Impression:** Normal.",
        "FINDINGS (CHEST): Clear.\nOPINION: Normal.",
        "Befund: Clear.\nBeurteilung: Normal.",
        "RÉSULTATS : Clear.\nCONCLUSION : Normal.",
        "Hallazgos: Clear.\nImpresión: Normal.",
        "Achados: Clear.\nConclusão: Normal.",
        "소견: Clear.\n결론: Normal.",
        "检查所见：Clear.\n诊断意见：Normal.",
        "Befund vom 03.03.2026:\nClear.\nBeurteilung vom 03.03.2026, 10:15 Uhr: Normal.",
        "FINDINGS #1: Clear.\nIMPRESSION: Normal.",
    ],
)
def test_findings_and_impression_are_found_in_this_layout(text: str):
    found = the_text_of(text)

    assert (found.findings, found.impression) == ("Clear.", "Normal.")


def test_what_surrounds_them_is_set_apart():
    found = the_text_of(
        "EXAM: XR CHEST\nCLINICAL HISTORY/INDICATION: Cough.\nCOMPARISON: None.\nTECHNIQUE: PA.\nFINDINGS: Clear."
    )

    assert (found.indication, found.comparison, found.technique) == ("Cough.", "None.", "PA.")
    assert found.findings == "Clear."
    assert found.whole.startswith("Exam:\nXR CHEST\nClinical history/indication:\nCough.")


def test_findings_and_impression_under_one_heading_are_findings():
    found = the_text_of("HISTORY: Cough.\nFINDINGS AND IMPRESSION: Clear.")

    assert (found.findings, found.impression) == ("Clear.", None)


@pytest.mark.parametrize(
    "text",
    [
        "HISTORY: Cough.\nREPORT:\nClear.\nIMPRESSION: Normal.",
        "HISTORY: Cough. REPORT: Clear lungs. IMPRESSION: Normal.",
        "REPORT\nClear.\nIMPRESSION: Normal.",
        "HISTORY: Cough.\nRESULT: Clear.\nIMPRESSION: Normal.",
        "HISTORY: Cough.\nRESULT(S): Clear.\nIMPRESSION: Normal.",
        "HISTORY: Cough.\nResults:\nClear.\nConclusion:\nNormal.",
        "HISTORY: Cough.\nInterpretation: Clear.\nConclusion: Normal.",
        "CHEST, 2 VIEWS: Clear.\nIMPRESSION: Normal.",
        "XR CHEST PORTABLE AP 03/03/2026: Clear.\nIMPRESSION: Normal.",
        "PA and lateral views of the chest: Clear.\nIMPRESSION: Normal.",
        "Rö-Thorax a.p. im Liegen:\nClear.\nBeurteilung: Normal.",
    ],
)
def test_other_names_of_the_findings_count_before_an_impression(text: str):
    found = the_text_of(text.replace("Clear.", "The lungs are clear."))

    assert (found.findings, found.impression) in (
        ("The lungs are clear.", "Normal."),
        ("Clear lungs.", "Normal."),
    )


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("FINDINGS: Clear.\nResult: negative.\nIMPRESSION: Normal.", "Clear.\nResult: negative."),
        ("FINDINGS: Clear.\nRESULT: No change.\nIMPRESSION: Normal.", "Clear.\nRESULT: No change."),
        ("INDICATION: Test.\nResult: negative here.\n\nClear.\n\nIMPRESSION: Normal.", "Clear."),
        ("REPORT: CHEST, TWO VIEWS\nHISTORY: Cough.\n\nClear.\n\nIMPRESSION: Normal.", "Clear."),
        ("XR CHEST 2 VIEWS: 03/03/2026 at 10:30\nIMPRESSION: Normal.", None),
        ("Reason for chest x-ray: cough for days\nIMPRESSION: Normal.", None),
        ("REPORT: Final\nIMPRESSION: Normal.", None),
        ("IMPRESSION: Normal.\nREPORT: told to the ward by phone.", None),
        ("Lungs are clear.\nREPORT: told to the ward by phone.", None),
    ],
)
def test_other_names_of_the_findings_take_no_other_place(text: str, findings: str | None):
    assert the_text_of(text).findings == findings


def test_paragraphs_after_the_preamble_are_the_findings_where_no_heading_names_them():
    found = the_text_of(
        "COMPARISON: None.\n\nPA view. Lungs are clear.\n\nHeart normal.\n\nIMPRESSION: Normal."
    )

    assert found.comparison == "None."
    assert found.findings == "PA view. Lungs are clear.\n\nHeart normal."


@pytest.mark.parametrize(
    ("heading", "shown"),
    [
        ("ADDENDUM:", "Addendum"),
        ("Addendum\n", "Addendum"),
        ("*** ADDENDUM ***\n", "Addendum"),
        ("===== ADDENDUM =====\n", "Addendum"),
        ("ADDENDUM #1:", "Addendum #1"),
        ("ADDENDUM 2\n", "Addendum 2"),
        ("ADDENDUM 03/02/2026:", "Addendum 03/02/2026"),
        ("ADDENDUM 03/02/2026 10:30:", "Addendum 03/02/2026 10:30"),
        ("Addendum dated March 2, 2026 at 10:30 am:", "Addendum dated march 2, 2026 at 10:30 am"),
        ("ADDENDUM (03/02/2026):", "Addendum"),
        ("CORRECTION:", "Correction"),
        ("Nachtrag vom 02.03.2026:", "Nachtrag vom 02.03.2026"),
    ],
)
@pytest.mark.parametrize("layout", ["{}\n\n{}", "{1}\n\nORIGINAL REPORT\n{0}", "{1}\n{0}"])
def test_an_addendum_above_or_below_the_report_is_set_apart(heading: str, shown: str, layout: str):
    found = the_text_of(layout.format("FINDINGS: Clear.\nIMPRESSION: Normal.", f"{heading} A mass."))

    assert (found.findings, found.impression) == ("Clear.", "Normal.")
    assert found.addenda == (f"{shown}: A mass.",)


@pytest.mark.parametrize("heading", ["ADDENDUM:", "Addendum:", "ADDENDUM #2 03/02/2026 10:30:", "NACHTRAG:"])
def test_an_addendum_is_set_apart_within_a_line(heading: str):
    found = the_text_of(f"FINDINGS: Clear. IMPRESSION: Normal. {heading} A mass.")

    assert found.impression == "Normal."
    assert found.addenda == (f"{heading.capitalize()} A mass.",)


def test_several_addenda_stay_in_their_order():
    found = the_text_of("ADDENDUM #2: Left.\nADDENDUM #1: A mass.\nFINDINGS: Clear.\nNachtrag: Right.")

    assert found.addenda == ("Addendum #2: Left.", "Addendum #1: A mass.", "Nachtrag: Right.")


def test_findings_and_impression_of_an_addendum_are_not_those_of_the_report():
    found = the_text_of(
        "FINDINGS: Clear.\nIMPRESSION: Normal.\nADDENDUM:\nFINDINGS: A mass.\nIMPRESSION: Tumour."
    )

    assert (found.findings, found.impression) == ("Clear.", "Normal.")
    assert found.addenda == ("Addendum, findings: A mass.", "Addendum, impression: Tumour.")


def test_an_addendum_ends_where_it_says_so():
    found = the_text_of(
        "*** ADDENDUM ***\nA mass.\n*** END ADDENDUM ***\nReader, R.\n\nEXAM: CHEST\nFINDINGS: Clear."
    )

    assert (found.findings, found.addenda) == ("Clear.", ("Addendum: A mass.",))


@pytest.mark.parametrize(
    "text",
    [
        "See addendum: none.",
        "With the\nAddendum notes a mass.",
        "Correction of scoliosis.",
        "Addendum 10:30 h",
    ],
)
def test_the_word_addendum_in_a_sentence_is_no_heading(text: str):
    found = the_text_of(f"FINDINGS: {text}\nIMPRESSION: Normal.")

    assert (found.findings, found.addenda) == (text, ())


@pytest.mark.parametrize(
    "text",
    [
        *("See impression.", "As below", "as above.", "Please refer to the impression section."),
        *("See CONCLUSION below.", "s. Beurteilung", "Siehe unten."),
    ],
)
def test_a_section_that_only_points_elsewhere_is_known(text: str):
    assert only_points_elsewhere(text)


@pytest.mark.parametrize(
    "text", ["Clear.", "Stable as above.", "No findings.", "See.", "Effusion, see impression.", "."]
)
def test_a_section_that_says_something_points_nowhere(text: str):
    assert not only_points_elsewhere(text)


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are clear.",
        "The previous findings: gone.",
        "Comparison is made to the study of last year.",
        "There are no other\nfindings\nto speak of.",
        "Dr. Reader\n\nThe lungs are clear.",
    ],
)
def test_words_that_are_no_heading_leave_the_text_in_one_piece(text: str):
    found = the_text_of(text)

    assert not found.is_sectioned
    assert found.whole == text


@pytest.mark.parametrize(
    "words", ["Dictated by: R. Reader", "Electronically signed by R. Reader", "Read By: R."]
)
def test_who_signed_is_no_part_of_the_impression(words: str):
    found = the_text_of(f"FINDINGS: Clear.\nIMPRESSION: Normal.\n{words}")

    assert found.impression == "Normal."


def test_an_empty_text_is_no_report():
    assert report_text(find_sections(" \r\n ")) is None


@pytest.mark.parametrize(
    "piece",
    [
        *("Findings\n", "FINDINGS / ", "*", "FINDINGS (", ". Findings ", "\n\n", "x "),
        *("ADDENDUM 1-1-1-1-1-1 ", "Addendum   #   -   ", "REPORT:\n", "chest x ray ", "chest\n", "-="),
    ],
)
def test_a_hostile_text_costs_time_linear_in_its_length(piece: str):
    """Four times the text may take eight times the time, not sixteen."""

    def seconds(characters: int) -> float:
        taken = []
        for _ in range(3):  # the quickest, since other processes disturb each in its own way
            started = time.process_time()
            find_sections(piece * (characters // len(piece)) + "\nIMPRESSION: x")
            taken.append(time.process_time() - started)
        return min(taken)

    assert seconds(200_000) < 8 * seconds(50_000) + 0.1


@given(st.lists(st.sampled_from(["Findings", ":", "\n", " ", "IMPRESSION", "clear.", "\n\n", "history"])))
def test_the_passages_are_pieces_of_the_text_in_their_order(pieces: list[str]):
    text = tidy("".join(pieces))

    place = 0
    for passage in find_sections(text):
        place = text.index(passage.text, place) + len(passage.text)


@pytest.mark.data
def test_every_addendum_of_the_real_messages_is_set_apart():
    lines = real_data("reports", "hl7_oru_scout.jsonl").read_text(encoding="utf-8").splitlines()
    addenda = [
        addendum
        for message in (json.loads(line)["message"] for line in lines)
        if "ADDENDUM:" in message
        for report in parse_results(parse_message(message.encode()), datetime(2026, 1, 1, tzinfo=UTC)).reports
        for addendum in the_text_of(report.text).addenda
    ]

    assert len(addenda) == 7
    assert all(len(addendum) > 100 for addendum in addenda)
