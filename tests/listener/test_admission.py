"""Who and what is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID, UID_dictionary

from agent.admission import (
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
    Sender,
    SenderRules,
    role_of,
    sender_problem,
    valid_uid,
)
from storage.records import InstanceRole

RULES = SenderRules(
    "PREREAD",
    (
        Sender("ROOM_3", ("192.0.2.0/24", "2001:db8::7")),
        Sender("ROOM_4", ("198.51.100.9",)),
        Sender("ANYWHERE"),
    ),
)


@pytest.mark.parametrize("uid", SOP_CLASSES)
def test_the_sop_classes_are_storage_classes_of_the_standard(uid: str) -> None:
    assert UID_dictionary[uid][1] == "SOP Class"
    assert UID(uid).name.replace(" Storage", "") == SOP_CLASSES[uid][0]


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES)
def test_the_transfer_syntaxes_are_named_once_and_none_is_video(uid: str) -> None:
    assert valid_uid(uid)
    assert not any(word in UID(uid).name for word in ("MPEG", "HEVC", "JPIP", "SMPTE"))


def test_the_role_of_a_class_is_what_an_instance_of_it_is_to_us() -> None:
    assert role_of("1.2.840.10008.5.1.4.1.1.1.1") is InstanceRole.IMAGE
    assert role_of("1.2.840.10008.5.1.4.1.1.88.11") is InstanceRole.REPORT
    assert role_of("1.2.840.10008.5.1.4.1.1.88.67") is InstanceRole.OTHER
    with pytest.raises(KeyError):
        role_of("1.2.840.10008.5.1.4.1.1.2")


@pytest.mark.parametrize(
    ("calling", "address"),
    [
        ("ROOM_3", "192.0.2.200"),
        (" ROOM_3 ", "192.0.2.1"),
        ("ROOM_3", "2001:db8::7"),
        ("ROOM_3", "::ffff:192.0.2.5"),
        ("ANYWHERE", "203.0.113.1"),
        ("ANYWHERE", "fe80::1%eth0"),
    ],
)
def test_a_listed_sender_at_its_address_is_welcome(calling: str, address: str) -> None:
    assert sender_problem(calling, "PREREAD", address, RULES) is None


@pytest.mark.parametrize(
    ("calling", "called", "address", "problem"),
    [
        ("ROOM_3", "PREREAD", "198.51.100.9", '"ROOM_3" may not send from 198.51.100.9'),
        ("room_3", "PREREAD", "192.0.2.1", 'calling AE title "room_3" is not known here'),
        ("", "PREREAD", "192.0.2.1", 'calling AE title "" is not known here'),
        ("ROOM_3", "ARCHIVE", "192.0.2.1", 'called AE title is "ARCHIVE", ours is "PREREAD"'),
    ],
)
def test_everybody_else_hears_why_not(calling: str, called: str, address: str, problem: str) -> None:
    said = sender_problem(calling, called, address, RULES)

    assert said is not None
    assert said.startswith(problem)


def test_we_may_have_several_ae_titles() -> None:
    rules = SenderRules("PREREAD", RULES.senders, also_called=("BEDSIDE",))

    assert sender_problem("ROOM_3", "BEDSIDE", "192.0.2.1", rules) is None
    assert 'ours is "PREREAD" or "BEDSIDE"' in (sender_problem("ROOM_3", "X", "192.0.2.1", rules) or "")


def test_anybody_may_come_where_the_rules_say_so_but_the_listed_only_from_their_addresses() -> None:
    rules = SenderRules("PREREAD", RULES.senders, accept_any_sender=True)

    assert sender_problem("STRANGER", "PREREAD", "203.0.113.1", rules) is None
    assert sender_problem("ROOM_3", "PREREAD", "203.0.113.1", rules) is not None


@pytest.mark.parametrize("uid", ["1", "0", "1.2.840.10008.1.2", "2.25." + "9" * 38, "1.0.0", "1" * 64])
def test_a_uid_is_one(uid: str) -> None:
    assert valid_uid(uid)


@pytest.mark.parametrize(
    "uid",
    ["", ".", "..", "1.", ".1", "1..2", "01.2", "1.02", "1.2.a", "1.2 ", "1\n", "1/2", "1.２", "1" * 65],
)
def test_what_is_no_uid_is_none(uid: str) -> None:
    assert not valid_uid(uid)


@given(st.text())
def test_a_valid_uid_is_safe_as_a_file_name(text: str) -> None:
    if valid_uid(text):
        assert set(text) <= set("0123456789.")
        assert text.strip(".") == text
        assert ".." not in text
