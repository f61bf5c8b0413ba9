"""What a result message says: whose report, of what, how final, and the words of it."""

from collections.abc import Callable

import pytest

from agent.hl7.message import MessageError, parse_message
from agent.hl7.oru import DRAFT_BANNER, Results, parse_results, status_of
from agent.outputs.wording import banner
from storage.outside_records import Report, ReportStatus
from storage.records import PatientIdentifier
from tests.hl7.builders import NOW, an_obx, an_oru
from tests.scripted_engine import ScriptedEngine


def results(content: str) -> Results:
    return parse_results(parse_message(content.encode()), NOW)


def the_report(content: str) -> Report:
    (report,) = results(content).reports
    return report


def test_a_report_says_whose_it_is_of_what_and_when():
    report = the_report(an_oru(filler="F7^RIS", patients="A1^^^ABC^MR~E2^^^EPIC^MRN~^^^X", accession="ACC9"))

    assert report.patients == (PatientIdentifier("A1", "ABC"), PatientIdentifier("E2", "EPIC"))
    assert (report.report_key, report.accession_number, report.birth_date) == ("F7", "ACC9", "19500101")
    assert (report.observed_at, report.reported_at) == ("20260301083000", "20260301100000")
    assert (report.procedure, report.origin) == ("XRCH\nXR CHEST", "RIS CLINIC MSG1")


def test_times_with_an_offset_are_local_ones_and_birth_dates_stay(machine_zone: Callable[[str], None]):
    machine_zone("CET-1")

    report = the_report(
        an_oru(
            birth_date="19500101000000+0900",
            observed_at="20260301073000+0000",
            reported_at="20260301100000+0100",
        )
    )

    assert (report.observed_at, report.reported_at) == ("20260301083000", "20260301100000")
    assert report.birth_date == "19500101"


def test_lines_and_repetitions_are_the_lines_of_the_text():
    observations = (
        an_obx("FINDINGS:~Clear.~~Heart\\T\\lungs normal."),
        an_obx(""),
        an_obx("IMPRESSION: None."),
    )

    assert the_report(an_oru(*observations)).text == (
        "FINDINGS:\nClear.\n\nHeart&lungs normal.\n\nIMPRESSION: None."
    )


@pytest.mark.parametrize("codes", [("X1&GDT", "X1&IMP"), ("59776-5^Findings^LN", "19005-8^Impressions^LN")])
def test_a_part_that_only_its_code_names_gets_its_heading(codes: tuple[str, str]):
    body = an_obx("FINDINGS: Clear." if "GDT" in codes[0] else "Clear.", code=codes[0])

    text = the_report(an_oru(body, an_obx("Normal.", code=codes[1]), an_obx("Sure.", code=codes[1]))).text

    assert text.replace("\n", " ") == "FINDINGS: Clear. IMPRESSION: Normal. Sure."


def test_a_heading_that_is_written_is_not_written_twice():
    text = the_report(an_oru(an_obx("IMPRESSION: Normal.", code="&IMP"))).text

    assert text == "IMPRESSION: Normal."


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["F"], ReportStatus.FINAL),
        (["Final"], ReportStatus.FINAL),
        (["P"], ReportStatus.PRELIMINARY),
        (["R"], ReportStatus.PRELIMINARY),
        (["Wet Read"], ReportStatus.PRELIMINARY),
        (["C"], ReportStatus.CORRECTED),
        (["F", "C"], ReportStatus.CORRECTED),
        (["F", "P"], ReportStatus.PRELIMINARY),
        (["X", "X"], ReportStatus.CANCELLED),
        (["D", "F"], ReportStatus.FINAL),
        (["", "?"], ReportStatus.PRELIMINARY),
        ([], ReportStatus.PRELIMINARY),
    ],
)
def test_the_status_is_what_the_codes_say_and_never_more(words: list[str], status: ReportStatus):
    assert status_of(words) is status


def test_the_lines_say_the_status_where_the_order_does_not():
    assert the_report(an_oru(an_obx("x", status="C"), status="")).status is ReportStatus.CORRECTED
    assert the_report(an_oru(an_obx("x", status="P"), status="F")).status is ReportStatus.FINAL


@pytest.mark.parametrize(
    "segment",
    [
        "ZDS|2.25.7.1.2.3^EPIC^APPLICATION^DICOM",
        "IPC|A|P|2.25.7.1.2.3",
        "OBX|9|ST|113014^DICOM Study^DCM|1|2.25.7.1.2.3||||||O",
        "OBX|9|HD|^Study Instance UID|1|2.25.7.1.2.3||||||O",
    ],
)
def test_the_study_uid_is_found_where_senders_put_it(segment: str):
    report = the_report(an_oru(more=(segment,)))

    assert report.study_instance_uid == "2.25.7.1.2.3"
    assert "2.25" not in report.text


def test_a_body_part_in_the_place_of_the_accession_number_is_none():
    assert the_report(an_oru(accession="CHEST")).accession_number == "F100"


def test_each_order_has_its_own_report():
    second = ("OBR|2||F200|XRAB^XR ABDOMEN||||||||||||||||||20260301110000|||P", an_obx("No ileus."))

    first, other = results(an_oru(more=second)).reports

    assert (first.report_key, first.status, first.text) == ("F100", ReportStatus.FINAL, "FINDINGS: Clear.")
    assert (other.report_key, other.status, other.text) == ("F200", ReportStatus.PRELIMINARY, "No ileus.")


def test_orders_that_are_read_together_share_the_one_text():
    found = results(an_oru(more=("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||F",))).reports

    assert [report.text for report in found] == ["FINDINGS: Clear."] * 2


PDF = "OBX|1|ED|PDF||^application^pdf^Base64^JVBERi0xLjQK||||||F"


@pytest.mark.parametrize(
    "second",
    [
        ("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||S",),
        ("OBR|2||F200|XRRI^XR RIBS",),
        ("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||F", PDF),
        ("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||F", an_obx("")),
    ],
    ids=["in progress", "no status", "a document", "an empty line"],
)
def test_an_order_with_a_status_or_an_observation_of_its_own_gets_nobody_elses_text(second: tuple[str, ...]):
    (report,) = results(an_oru(more=second)).reports

    assert (report.report_key, report.text) == ("F100", "FINDINGS: Clear.")


def test_the_order_of_another_patient_gets_nobody_elses_text():
    stranger = ("PID|1||B2^^^ABC^MR||ROE^RITA", "OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||F")

    assert [report.report_key for report in results(an_oru(more=stranger)).reports] == ["F100"]


def test_a_cancelled_order_beside_a_report_is_withdrawn_without_its_text():
    found = results(an_oru(more=("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||X",))).reports

    assert [(one.status, one.text) for one in found] == [
        (ReportStatus.FINAL, "FINDINGS: Clear."),
        (ReportStatus.CANCELLED, ""),
    ]


def test_a_shared_text_is_as_final_for_each_order_as_its_lines_say():
    found = results(an_oru(status="", more=("OBR|2||F200|XRRI^XR RIBS",))).reports

    assert [report.status for report in found] == [ReportStatus.FINAL] * 2


def test_an_embedded_document_is_counted_and_not_taken_for_text():
    found = results(an_oru(more=(PDF,)))

    assert found.documents == 1
    assert found.reports[0].text == "FINDINGS: Clear."


@pytest.mark.parametrize("code", ["D", "W", "X"])
def test_a_line_that_was_withdrawn_is_not_in_the_text(code: str):
    wrong, right = an_obx("Large pneumothorax.", status=code), an_obx("No pneumothorax.", status="C")

    report = the_report(an_oru(wrong, right, status="C"))

    assert (report.status, report.text) == (ReportStatus.CORRECTED, "No pneumothorax.")


def test_a_line_without_a_status_stands_beside_a_withdrawn_one():
    report = the_report(an_oru(an_obx("Wrong.", status="W"), an_obx("Right.", status=""), status=""))

    assert (report.status, report.text) == (ReportStatus.PRELIMINARY, "Right.")


@pytest.mark.parametrize("status", ["F", "C", "P", "X", ""])
def test_a_report_all_of_whose_lines_are_withdrawn_is_withdrawn(status: str):
    lines = an_obx("Large pneumothorax.", status="W"), an_obx(""), an_obx("", status="D")

    assert the_report(an_oru(*lines, status=status)).status is ReportStatus.CANCELLED


@pytest.mark.parametrize("words", ["Large pneumothorax.", ""])
def test_a_shared_text_that_is_withdrawn_is_withdrawn_for_each_order(words: str):
    second = ("OBR|2||F200|XRRI^XR RIBS|||||||||||||||||||||F",)

    found = results(an_oru(an_obx(words, status="W"), more=second)).reports

    assert [report.status for report in found] == [ReportStatus.CANCELLED] * 2


def test_a_withdrawal_of_ours_is_known_by_its_words_when_it_comes_back():
    draft = an_oru(an_obx("AI DRAFT - NOT VERIFIED - WITHDRAWN", status="D"), status="X")

    assert results(draft).reports == ()


def test_a_report_that_is_withdrawn_needs_no_text():
    report = the_report(an_oru(an_obx("", status="X"), status="X"))

    assert (report.status, report.text) == (ReportStatus.CANCELLED, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (an_oru().replace("OBR|", "ZBR|"), "no OBR segment"),
        (an_oru(an_obx("")), r"has no text \(OBX-2 TX, FT or ST\)"),
        (an_oru("OBX|1|ED|PDF||^application^pdf^Base64^AA==||||||F"), "only 1 embedded or referenced"),
        (an_oru(filler=""), "OBR-3 .* are all empty"),
        (an_oru(patients=""), "PID-3 names no patient"),
    ],
)
def test_what_nobody_could_use_is_refused_with_the_reason(content: str, reason: str):
    with pytest.raises(MessageError, match=reason):
        results(content)


@pytest.mark.parametrize(
    "draft",
    [
        an_oru(an_obx("AI DRAFT - NOT VERIFIED"), an_obx("FINDINGS: Effusion."), status="P"),
        an_oru(sender="PREREAD|CLINIC", status="R"),
        an_oru(an_obx("Effusion.") + "|||||||PREREAD^x^2.25.1^ISO", status="P"),
        an_oru(an_obx("ai draft -~NOT verified. Effusion."), status="F"),
    ],
)
def test_a_draft_of_ours_that_comes_back_is_no_report(draft: str):
    assert results(draft).reports == ()


def test_what_a_radiologist_signed_is_her_report_whoever_drafted_it():
    signed = an_oru(sender="PREREAD|CLINIC", status="F", interpreter="7&Reader&Rita")

    assert len(results(signed).reports) == 1
    assert results(signed).is_signed


def test_the_words_that_a_draft_is_known_by_are_those_that_we_write():
    assert banner(ScriptedEngine().identity).startswith(DRAFT_BANNER)


def test_every_uid_of_a_message_is_mentioned():
    content = an_oru(more=("OBX|2|HD|^SR Instance UID||2.25.123.4.5.6||||||F",))

    assert "2.25.123.4.5.6" in results(content).mentioned_uids
