"""What ADT messages say of a patient's numbers, and that nothing is guessed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.message import MessageError, parse_message
from agent.hl7.patients import patient_changes_of
from agent.identity import IdentifierRules, IssuerRule
from storage.records import Demographics, PatientChange, PatientIdentifier

RULES = IdentifierRules(
    issuers={"north": IssuerRule("NORTH"), "1.2.3": IssuerRule("NORTH"), "old": IssuerRule("OLD", True)}
)
A1, B2 = PatientIdentifier("A1", "NORTH"), PatientIdentifier("B2", "NORTH")


def changes(event: str, *segments: str, default_issuer: str = "") -> tuple[PatientChange, ...]:
    lines = [rf"MSH|^~\&|HIS|NORTH|PREREAD||20260302||ADT^{event}|1|P|2.5.1", *segments]
    return patient_changes_of(parse_message("\r".join(lines).encode()), RULES, default_issuer)


def a_pid(identifiers: str, name: str = "", birth_date: str = "", sex: str = "") -> str:
    return f"PID|1||{identifiers}||{name}||{birth_date}|{sex}"


@pytest.mark.parametrize(("event", "reason"), [("A40^ADT_A39", "merge"), ("A47^ADT_A30", "change of ID")])
def test_the_old_number_is_followed_by_the_one_of_its_issuer(event: str, reason: str):
    pid = a_pid("B2^^^NORTH^MR~99^^^SOUTH^MR")

    (change,) = changes(event, pid, "MRG|A1^^^NORTH^MR")

    assert (change.reason, change.links) == (reason, ((A1, B2),))
    assert change.identifiers == (B2, PatientIdentifier("99", "SOUTH"))


@pytest.mark.parametrize("authority", ["NORTH", "north", "&1.2.3&ISO", "1.2.3"])
def test_an_issuer_is_known_by_every_name_of_its_rule(authority: str):
    (change,) = changes("A40", a_pid(f"B2^^^{authority}"), "MRG|A1^^^NORTH")

    assert change.links == ((A1, B2),)


def test_a_number_without_authority_is_of_the_sender_s_issuer():
    (change,) = changes("A40", a_pid("B2"), "MRG|A1", default_issuer="NORTH")

    assert change.links == ((A1, B2),)


def test_accounts_and_visits_are_no_patients():
    (change,) = changes("A40", a_pid("B2^^^NORTH^MR~7^^^NORTH^AN"), "MRG|A1^^^NORTH^MR~6^^^NORTH^AN")

    assert change.links == ((A1, B2),)


def test_of_two_numbers_of_one_issuer_the_one_of_the_same_type_follows():
    (change,) = changes("A40", a_pid("X^^^NORTH^PI~B2^^^NORTH^MR"), "MRG|A1^^^NORTH^MR")

    assert change.links == ((A1, B2),)


def test_one_message_may_merge_several_patients():
    pairs = [a_pid("B2^^^NORTH"), "MRG|A1^^^NORTH", a_pid("D^^^NORTH"), "PV1|1", "MRG|C^^^NORTH"]

    found = changes("A40", *pairs)

    assert [change.links[0][0].patient_id for change in found] == ["A1", "C"]


@pytest.mark.parametrize("event", ["A08", "A31"])
def test_an_update_says_what_is_true_of_the_patient_now(event: str):
    pid = a_pid("A1^^^NORTH", "Doe&van^Jane^M^Jr^Dr", "19500101083000", "F")

    assert changes(event, pid) == (
        PatientChange(
            "update", identifiers=(A1,), demographics=Demographics("Doe^Jane^M^Dr^Jr", "19500101", "F")
        ),
    )


def test_what_a_message_deletes_or_does_not_know_is_said_of_nobody():
    (change,) = changes("A08", a_pid("A1^^^NORTH", '""', "1950", "U"))

    assert change.demographics == Demographics()


@pytest.mark.parametrize(
    ("event", "segments", "why"),
    [
        ("A01", [a_pid("A1^^^NORTH")], r"ADT\^A01 is none of"),
        ("A40", [], "no PID segment"),
        ("A40", [a_pid("B2^^^NORTH")], "MRG-1 holds no patient identifier"),
        ("A40", [a_pid("UNKNOWN"), "MRG|A1^^^NORTH"], "PID-3 holds 0 identifiers of issuer NORTH"),
        ("A40", [a_pid(""), "MRG|A1^^^NORTH"], "PID-3 holds no patient identifier"),
        ("A40", [a_pid("B2^^^SOUTH"), "MRG|A1^^^NORTH"], "PID-3 holds 0 identifiers of issuer NORTH"),
        ("A40", [a_pid("B2^^^NORTH~C3^^^NORTH"), "MRG|A1^^^NORTH"], "PID-3 holds 2 identifiers"),
        ("A40", [a_pid("A1^^^NORTH"), "MRG|A1^^^NORTH"], "hold the same identifiers"),
        ("A40", [a_pid("7^^^OLD"), "MRG|007^^^OLD"], "hold the same identifiers"),
    ],
)
def test_what_cannot_be_told_for_sure_is_refused_in_a_sentence(event: str, segments: list[str], why: str):
    with pytest.raises(MessageError, match=why) as refused:
        changes(event, *segments)

    assert not {"A1", "B2", "C3"} & set(str(refused.value).replace(";", " ").split())


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_stands_in_a_message_no_number_is_linked_to_itself_or_to_another_issuer_s(
    pid: str, mrg: str
):
    with suppress(MessageError):
        found = changes("A40", f"PID|1||{pid}", f"MRG|{mrg}")
        assert all(old != new and old.issuer == new.issuer for change in found for old, new in change.links)
