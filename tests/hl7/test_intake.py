"""Every message is in the table or in quarantine before its sender hears of it, and it hears the truth."""

import sqlite3

import pytest
from sqlalchemy.exc import DataError, OperationalError

from agent.hl7.acknowledgement import acknowledgement
from agent.hl7.message import Message, parse_message
from agent.messages import MessageIntake, MessageType
from agent.reports.results import result_messages
from storage.outside_records import ReportStatus
from storage.records import Stage
from tests.hl7.builders import NOW, an_obx, an_oru
from tests.hl7.conftest import Inbox, an_intake
from tests.storage.builders import a_result, at_compose


def answered(inbox: Inbox, content: str | bytes) -> Message:
    sent = content.encode() if isinstance(content, str) else content
    return parse_message(inbox.intake.answer(sent, "10.1.2.3"))


def test_a_report_is_in_the_table_when_its_sender_is_told_so(inbox: Inbox):
    told = answered(inbox, an_oru(control_id="M1")).first("MSA")

    assert (told.text(1), told.text(2), told.text(3)) == ("AA", "M1", "")
    assert inbox.texts() == ["FINDINGS: Clear."]


def test_the_answer_goes_back_to_where_the_message_came_from(inbox: Inbox):
    header = answered(inbox, an_oru(sender="RIS|CLINIC")).first("MSH")

    assert [header.text(number) for number in (3, 4, 5, 6)] == ["PREREAD", "HERE", "RIS", "CLINIC"]
    assert (header.raw(9), header.text(11), header.text(12)) == ("ACK^R01^ACK", "P", "2.5.1")
    assert header.text(7) == "20260302120000+0000"


def test_a_message_that_comes_twice_is_answered_alike_and_stored_once(inbox: Inbox):
    first = inbox.intake.answer(an_oru().encode(), "10.1.2.3")
    again = inbox.intake.answer(an_oru().encode(), "10.1.2.4")

    assert first == again
    assert inbox.reports.counts()["report_versions"] == 1


def test_a_later_version_comes_beside_the_earlier_one(inbox: Inbox):
    answered(inbox, an_oru(status="P"))
    answered(inbox, an_oru(an_obx("FINDINGS: Effusion."), status="C", control_id="M2"))

    statuses = [report.status for report in inbox.reports.versions_for("", "F100", [])]
    assert statuses == [ReportStatus.PRELIMINARY, ReportStatus.CORRECTED]


def test_what_cannot_be_taken_is_kept_with_its_reason_and_its_bytes(inbox: Inbox):
    content = an_oru(filler="", control_id="M9").encode()

    acknowledged = answered(inbox, content)

    assert (acknowledged.first("MSA").text(1), acknowledged.first("MSA").text(2)) == ("AE", "M9")
    assert acknowledged.first("ERR").text(3) == "101"
    (kept,) = inbox.reports.quarantined()
    assert kept.reason == acknowledged.first("ERR").text(8) != ""
    assert (inbox.files.read(kept.path), kept.origin) == (content, "10.1.2.3")


def test_a_type_that_nobody_takes_is_rejected_and_kept(inbox: Inbox):
    acknowledged = answered(inbox, an_oru().replace("ORU^R01^ORU_R01", "ADT^A08"))

    assert acknowledged.first("MSA").text(1) == "AR"
    assert (
        acknowledged.first("MSA")
        .text(3)
        .startswith('messages of type "ADT^A08" are not taken here, only ORU')
    )
    assert len(inbox.reports.quarantined()) == 1


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\0"])
def test_what_is_no_message_is_answered_too_and_kept(inbox: Inbox, content: bytes):
    acknowledged = answered(inbox, content).first("MSA")

    assert (acknowledged.text(1), acknowledged.text(2)) == ("AE", "")
    assert inbox.files.read(inbox.reports.quarantined()[0].path) == content


def test_an_error_of_our_own_is_answered_and_the_message_kept(inbox: Inbox):
    def broken(message: Message, now: object) -> None:
        raise ZeroDivisionError

    intake = an_intake(inbox.reports, inbox.files, types={"ORU": MessageType(broken, str)})

    acknowledged = parse_message(intake.answer(an_oru().encode(), "10.1.2.3"))

    assert (acknowledged.first("MSA").text(1), acknowledged.first("ERR").text(3)) == ("AE", "207")
    assert len(inbox.reports.quarantined()) == 1


def an_intake_that_stumbles_once(inbox: Inbox, error: Exception) -> MessageIntake:
    taken, errors = result_messages(inbox.reports), iter([error])

    def store(results: object) -> str:
        for error in errors:
            raise error
        return taken.store(results)

    return an_intake(inbox.reports, inbox.files, types={"ORU": MessageType(taken.parse, store)})


def test_a_message_has_no_answer_while_the_database_is_away_and_is_taken_when_it_comes_again(inbox: Inbox):
    away = OperationalError("INSERT x", {}, sqlite3.OperationalError("database or disk is full"))
    intake = an_intake_that_stumbles_once(inbox, away)

    with pytest.raises(OperationalError):
        intake.answer(an_oru().encode(), "10.1.2.3")
    again = parse_message(intake.answer(an_oru().encode(), "10.1.2.3"))

    assert again.first("MSA").text(1) == "AA"
    assert inbox.reports.counts() == {"reports": 1, "report_versions": 1, "quarantined": 0}


def test_a_message_that_the_database_does_not_take_is_answered_and_kept_and_stands_in_nobody_s_way(
    inbox: Inbox,
):
    ours = DataError("INSERT x", {}, sqlite3.DataError("string or blob too big"))
    intake = an_intake_that_stumbles_once(inbox, ours)

    acknowledged = parse_message(intake.answer(an_oru().encode(), "10.1.2.3"))

    assert acknowledged.first("MSA").text(1) == "AE"
    assert len(inbox.reports.quarantined()) == 1


def test_nothing_is_taken_when_the_disk_is_nearly_full(inbox: Inbox):
    intake = an_intake(inbox.reports, inbox.files, free_bytes_min=2**62)

    acknowledged = parse_message(intake.answer(an_oru().encode(), "10.1.2.3"))

    assert acknowledged.first("MSA").text(1) == "AE"
    assert inbox.reports.counts() == {"reports": 0, "report_versions": 0, "quarantined": 0}


def test_a_draft_of_ours_is_known_by_its_uid_and_passed_over(inbox: Inbox):
    job = at_compose(inbox.index, inbox.jobs)
    result = a_result(job)
    inbox.jobs.advance(job, Stage.DELIVER, NOW, results=[result], destinations={}, event="composed")
    come_back = an_oru(more=(f"OBX|2|HD|^SR Instance UID||{result.sop_instance_uid}||||||F",))

    assert answered(inbox, come_back).first("MSA").text(1) == "AA"
    assert inbox.texts() == []


def test_another_type_is_plugged_in_as_a_parser_and_a_store(inbox: Inbox):
    heard: list[str] = []

    def store(control_id: str) -> str:
        heard.append(control_id)
        return "heard"

    kinds = {"ADT": MessageType(lambda message, now: message.control_id, store)}
    intake = an_intake(inbox.reports, inbox.files, types=kinds)

    taken = intake.take(an_oru(control_id="A8").replace("ORU^R01^ORU_R01", "ADT^A08").encode(), "10.1.2.3")

    assert (taken.code, taken.outcome, heard) == ("AA", "heard", ["A8"])


def test_delimiters_and_line_ends_in_a_reason_are_escaped():
    answer = acknowledgement(an_oru().encode(), "AE", NOW, reason="a|b^c\nd\\", condition="102")

    assert parse_message(answer).first("MSA").text(3) == "a|b^c d\\"


def test_the_answer_speaks_in_the_delimiters_of_the_message():
    answer = acknowledgement(b"MSH$%!?*$RIS$$US$$2026$$ORU%R01$7$P$2.3\r", "AA", NOW)

    assert answer.startswith(b"MSH$%!?*$US$$RIS$$")
    assert parse_message(answer).first("MSA").text(2) == "7"
