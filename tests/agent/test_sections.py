"""Findings, impression and what surrounds them are found in the layouts in which reports really come."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sections import ReportText, find_sections, report_text, tidy


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


def test_paragraphs_after_the_preamble_are_the_findings_where_no_heading_names_them():
    found = the_text_of(
        "COMPARISON: None.\n\nPA view. Lungs are clear.\n\nHeart normal.\n\nIMPRESSION: Normal."
    )

    assert found.comparison == "None."
    assert found.findings == "PA view. Lungs are clear.\n\nHeart normal."


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
    "piece", ["Findings\n", "FINDINGS / ", "*", "FINDINGS (", ". Findings ", "\n\n", "x "]
)
def test_a_hostile_text_costs_time_linear_in_its_length(piece: str):
    """Four times the text may take eight times the time, not sixteen."""

    def seconds(characters: int) -> float:
        taken = []
        for _ in range(3):  # the quickest, since other processes disturb each in its own way
            started = time.process_time()
            find_sections(piece * (characters // len(piece)))
            taken.append(time.process_time() - started)
        return min(taken)

    assert seconds(200_000) < 8 * seconds(50_000) + 0.1


@given(st.lists(st.sampled_from(["Findings", ":", "\n", " ", "IMPRESSION", "clear.", "\n\n", "history"])))
def test_the_passages_are_pieces_of_the_text_in_their_order(pieces: list[str]):
    text = tidy("".join(pieces))

    place = 0
    for passage in find_sections(text):
        place = text.index(passage.text, place) + len(passage.text)
