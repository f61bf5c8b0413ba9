"""A draft as an ORU^R01: right by an independent library, and right where that library does not look."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message as parsed_by_hl7apy
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.message import Message, parse_message
from agent.hl7.oru import parse_results
from agent.hl7.writing import escaped
from agent.manifest import ManifestOrder
from agent.outgoing.draft import Draft, sections_of
from agent.outgoing.oru import oru_of
from storage.records import Study
from tests.outgoing.builders import (
    DEMO,
    KOREAN,
    NOW,
    STUDY_UID,
    UNCALIBRATED,
    a_draft,
    a_reading,
    a_withdrawal,
    an_hl7_receiver,
)
from tests.storage.builders import a_study


def told(draft: Draft | None = None, **receiver: Any) -> Message:
    return parse_message(oru_of(draft or a_draft(), an_hl7_receiver(**receiver)))


def rows(message: Message, code: str) -> list[str]:
    """The values of the OBX segments called `code`."""
    return [one.text(5) for one in message.segments if one.name == "OBX" and one.text(3) == code]


ORDER = ManifestOrder("ris", "P1", "F1", "XR CHEST 2 VIEWS")
VARIANTS = {
    "plain": (a_draft(), {}),
    "ordered": (a_draft(order=ORDER), {"status": "P"}),
    "Korean": (a_draft(study=a_study(STUDY_UID, patient_name=KOREAN)), {"charset": "KS X 1001"}),
    "withdrawn": (a_withdrawal(), {}),
}


@pytest.mark.parametrize(("draft", "receiver"), VARIANTS.values(), ids=VARIANTS)
def test_an_independent_library_finds_no_error(draft: Draft, receiver: dict[str, Any], tmp_path: Path):
    content = oru_of(draft, an_hl7_receiver(**receiver))
    text = content.decode("cp949" if "charset" in receiver else "utf-8")

    message = parsed_by_hl7apy(text, VALIDATION_LEVEL.TOLERANT)

    assert message.validate(report_file=str(tmp_path / "report"))

    # Its tables are those of 2.5.1 as printed: CWE in OBX-2, and code systems registered since, are not in them.
    warnings = set((tmp_path / "report").read_text().splitlines())
    assert {
        line for line in warnings if not any(known in line for known in ("CWE", "SCT", "UCUM", "99PREREAD"))
    } == set()


def test_the_same_draft_gives_the_same_bytes_and_another_revision_another_control_id():
    first, again, next_one = told(), told(), told(a_draft(revision=2, replaces=1))

    assert first == again
    assert first.control_id != next_one.control_id
    assert len(first.control_id) == 20


def test_every_revision_and_the_withdrawal_have_the_filler_number_of_the_report():
    drafts = [a_draft(), a_draft(revision=2, replaces=1), a_withdrawal()]

    assert {told(draft).first("OBR").text(3) for draft in drafts} == {"4711"}


@pytest.mark.parametrize(
    ("draft", "numbers"),
    [
        (a_draft(order=ORDER), ("P1", "F1")),
        (a_draft(), ("", "4711")),
        (a_draft(study=a_study(STUDY_UID)), ("", STUDY_UID)),
    ],
    ids=["of the order", "accession number", "study UID"],
)
def test_the_order_numbers_are_those_of_the_order_or_what_is_there_instead(
    draft: Draft, numbers: tuple[str, str]
):
    message = told(draft)

    for name in ("ORC", "OBR"):
        assert (message.first(name).text(2), message.first(name).text(3)) == numbers


def test_a_draft_is_stored_and_not_verified_and_nobody_has_interpreted_it():
    message = told()
    statuses = {one.text(11) for one in message.segments if one.name == "OBX"}

    assert message.first("OBR").text(25) == "R"
    assert message.first("OBR").raw(32) == ""
    assert statuses == {"R", "O"}


def test_a_system_that_takes_no_r_can_have_a_p():
    message = told(status="P")

    assert message.first("OBR").text(25) == "P"
    assert {one.text(11) for one in message.segments if one.name == "OBX"} == {"P", "O"}


def test_findings_and_impression_begin_with_the_words_that_say_what_they_are():
    message = told()

    for code in ("59776-5", "19005-8", "CONSIDERED"):
        assert rows(message, code)[0] == "AI DRAFT - NOT VERIFIED"


def test_the_drafts_of_the_demo_model_say_so():
    message = told(a_draft(reading=a_reading(engine=DEMO)))

    assert rows(message, "59776-5")[0] == "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL"


def test_only_a_present_finding_is_the_value_of_finding():
    message = told()

    assert rows(message, "121071") == ["60046008"]
    assert rows(message, "36118008") == ["272519000"]  # pneumothorax: absent
    assert rows(message, "8186001") == ["373068000"]  # cardiomegaly: undetermined


def test_the_lines_of_one_finding_share_their_sub_id_and_the_score_is_a_number():
    message = told()
    first = [one for one in message.segments if one.name == "OBX" and one.text(4) == "1"]
    codes = ["121071", "363698007", "272741003", "111049", "111012", "121106"]
    coded = [one for one in first if one.text(3) in codes]

    assert [one.text(3) for one in coded] == codes
    assert (coded[-2].text(5), coded[-2].text(6)) == ("61.0", "%")


@pytest.mark.parametrize("about", [{}, {"reasons": False}, {"observation_codes": "suffix"}])
def test_the_line_after_a_score_says_of_what_it_is_and_that_nobody_has_calibrated_it(about: dict[str, Any]):
    message = told(a_draft(reading=a_reading(scores=UNCALIBRATED)), **about)

    observed = [one for one in message.segments if one.name == "OBX"]
    (place,) = [number for number, one in enumerate(observed) if one.text(3) == "111012"]
    after = observed[place + 1]
    assert (observed[place].text(5), after.text(4)) == ("92.3", observed[place].text(4))
    assert after.text(5) == (
        "AI DRAFT - NOT VERIFIED; Pleural effusion, right, larger than before; model score 92 % (uncalibrated)"
    )


def test_coded_lines_and_reasons_can_be_left_out():
    message = told(findings=False, reasons=False)

    kinds = {one.text(2) for one in message.segments if one.name == "OBX"}
    assert kinds == {"ST", "TX"}
    assert rows(message, "REASONS") == []


def test_the_suffix_form_calls_lines_by_the_procedure():
    message = told(observation_codes="suffix", findings=False)
    names = [one.raw(3).split("^")[0] for one in message.segments if one.text(2) == "TX"]

    assert set(names) == {"18748-4&GDT", "18748-4&IMP"}


def test_every_group_of_a_name_is_there_and_the_suffix_comes_before_the_prefix():
    name = "Yi^Sun^Shin^Dr.^MD=李^舜臣=이^순신"

    message = told(a_draft(study=a_study(STUDY_UID, patient_name=name)))

    assert message.first("PID").repetitions(5) == [
        "Yi^Sun^Shin^MD^Dr.^^L^A",
        "李^舜臣^^^^^L^I",
        "이^순신^^^^^L^P",
    ]


@pytest.mark.parametrize(
    ("sent", "told_as"),
    [
        ("19500101", "19500101"),
        ("1950.01.01", "19500101"),
        ("00010101", "00010101"),
        ("01/01/1950", ""),
        ("19500101|M||||X", ""),
        ("19501301", ""),
        ("1950", ""),
        ("１９５００１０１", ""),
    ],
)
def test_a_date_is_a_whole_one_in_digits_or_empty(sent: str, told_as: str):
    message = told(a_draft(study=a_study(STUDY_UID, birth_date=sent, study_date=sent, study_time="0830")))

    assert message.first("PID").raw(7) == told_as
    assert message.first("OBR").raw(7) == (f"{told_as}0830" if told_as else "")


@pytest.mark.parametrize(
    ("sent", "told_as"),
    [
        ("083000.5", "20260301083000"),
        ("08:30:00", "20260301083000"),
        ("08", "2026030108"),
        ("8:30", "20260301"),
        ("2460", "20260301"),
        ("0830|X", "20260301"),
        ("²³", "20260301"),
    ],
)
def test_a_time_stands_behind_its_date_only_if_it_is_one(sent: str, told_as: str):
    message = told(a_draft(study=a_study(STUDY_UID, study_date="20260301", study_time=sent)))

    assert message.first("OBR").raw(7) == told_as


NASTY = "A|B^C~D\\E&F\rZZZ|1"
HEADER_TEXTS = [one.name for one in fields(Study) if one.type is str]


@pytest.mark.parametrize("name", HEADER_TEXTS)
def test_no_header_of_an_image_puts_a_field_or_a_segment_into_the_message(name: str):
    draft = a_draft(study=replace(a_draft().study, **{name: NASTY}))

    message, plain = told(draft), told()

    assert [one.name for one in message.segments] == [one.name for one in plain.segments]
    for one, other in zip(message.segments, plain.segments, strict=True):
        assert len(one.fields) == len(other.fields)
        assert len(one.repetitions(5)) <= 1


def test_no_number_of_an_order_puts_a_field_or_a_segment_into_the_message():
    message = told(a_draft(order=ManifestOrder("ris", NASTY, NASTY, NASTY)))

    assert (message.first("OBR").text(2), message.first("OBR").text(24)) == ("A|B^C~D\\E&F\nZZZ|1", "RAD")
    assert {one.name for one in message.segments} == {"MSH", "PID", "PV1", "ORC", "OBR", "OBX"}


def test_a_letter_that_the_character_set_cannot_hold_sends_the_message_as_utf8():
    korean = a_draft(study=a_study(STUDY_UID, patient_name=KOREAN))

    assert told(korean, charset="KS X 1001").first("MSH").text(18) == "KS X 1001"
    message = told(korean, charset="8859/1")

    assert message.first("MSH").text(18) == "UNICODE UTF-8"
    assert "洪^吉洞" in message.first("PID").raw(5)


def test_rules_of_the_site_put_other_numbers_into_fields():
    rules = ("OBR-3 = study_instance_uid", "ORC-5 = nothing", "OBR-20 = 'AI'", "OBR-4.2 = revision")

    message = told(fields=rules)

    order = message.first("OBR")
    assert (order.text(3), order.text(20), order.text(4, 2)) == (STUDY_UID, "AI", "1")
    assert message.first("ORC").text(5) == ""
    assert message.first("ORC").text(3) == "4711"


def test_a_withdrawal_says_so_with_its_reason_and_cancels_nobody_s_order():
    message = told(a_withdrawal())

    assert message.first("OBR").text(25) == "X"
    assert message.first("ORC").text(1) == "RE"
    assert rows(message, "59776-5") == [
        "AI DRAFT - NOT VERIFIED - WITHDRAWN",
        "The draft of this study was withdrawn and must not be used: wrong patient",
    ]
    assert rows(message, "121071") == []


@pytest.mark.parametrize(("status", "order"), [("X", "X"), ("C", "C"), ("D", "X"), ("W", "X")])
def test_the_status_of_a_withdrawal_is_what_the_receiver_takes(status: str, order: str):
    message = told(a_withdrawal(), withdrawal_status=status)

    assert message.first("OBR").text(25) == order
    assert {one.text(11) for one in message.segments if one.name == "OBX"} == {status, "O"}


@pytest.mark.parametrize("draft", [a_draft(), a_withdrawal()], ids=["draft", "withdrawal"])
@pytest.mark.parametrize("status", ["R", "P"])
def test_our_own_message_that_comes_back_is_known_for_ours(draft: Draft, status: str):
    message = told(draft, status=status, sending_application="ENGINE")

    assert parse_results(message, NOW).reports == ()


@given(st.text(max_size=60))
def test_whatever_a_model_writes_is_read_back_line_for_line(words: str):
    draft = a_draft(reading=a_reading(report=f"A{words}B"))

    message = told(draft)

    assert {one.name for one in message.segments} == {"MSH", "PID", "PV1", "ORC", "OBR", "OBX"}
    assert rows(message, "59776-5") == list(sections_of(draft)[0].lines)


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=40))
def test_an_escaped_text_is_read_back_whole(text: str):
    segment = told().first("OBX")

    assert segment.unescaped(escaped(text)) == text
