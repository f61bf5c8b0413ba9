"""Segments, fields, escape sequences and character sets come out as their sender meant them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.message import CHARSETS, MessageError, parse_message
from config.values import Hl7Charset
from tests.hl7.builders import an_obx, an_oru


def the_text(message: bytes, **options: str) -> str:
    segment = parse_message(message, **options).first("OBX")
    return segment.unescaped(segment.raw(5))


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
def test_segments_end_with_whatever_the_sender_ends_them(ending: str):
    message = parse_message(an_oru(ending=ending).encode())

    assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBR", "OBX"]
    assert message.first("OBX").raw(5) == "FINDINGS: Clear."


def test_a_line_feed_inside_a_field_stays_in_it():
    content = an_oru(an_obx("FINDINGS:\nClear.\n\nHeart normal."), ending="\r").encode()

    assert the_text(content) == "FINDINGS:\nClear.\n\nHeart normal."


def test_fields_of_the_header_are_numbered_as_in_the_standard():
    message = parse_message(an_oru(control_id="M 7", sender="RIS^1.2^ISO|CLINIC").encode())

    assert (message.kind, message.control_id, message.sender) == ("ORU^R01", "M 7", "RIS CLINIC")
    assert message.first("MSH").raw(1) == "|"


def test_parts_of_a_field_that_are_not_there_are_empty():
    patient = parse_message(an_oru(patients="A1^^^ABC&1.2.3&ISO~B2").encode()).first("PID")

    assert [patient.part(one) for one in patient.repetitions(3)] == ["A1", "B2"]
    assert (patient.text(3, 4), patient.text(3, 4, 2)) == ("ABC", "1.2.3")
    assert (patient.text(3, 9), patient.text(3, 4, 9), patient.text(99), patient.repetitions(99)) == (
        *("", "", ""),
        [],
    )


def test_a_sender_may_choose_its_own_delimiters():
    content = b"MSH$%!?*$RIS$$$$$$ORU%R01$1$P$2.3\rOBX$1$TX$$$a?S?b?T?c!d\r"

    segment = parse_message(content).first("OBX")

    assert [segment.unescaped(one) for one in segment.repetitions(5)] == ["a%b*c", "d"]


@pytest.mark.parametrize(
    "header", [b"MSH|\rPID|1||A1\r", b"MSH|^~A&|RIS\r", b"MSH|^~ &|RIS\r", b"MSH\x01^~\\&\x01\r"]
)
def test_a_letter_a_blank_or_a_line_end_divides_nothing(header: bytes):
    with pytest.raises(MessageError, match="five delimiters"):
        parse_message(header)


@pytest.mark.parametrize("sent", ["a\0b", "a\\X00\\b"])
def test_no_text_holds_a_nul_which_postgresql_would_refuse(sent: str):
    assert the_text(an_oru(an_obx(sent)).encode()) == "a b"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\.br\b", "a\nb"),
        (r"a\.sp2\b\.ce\c", "a\n\nb\nc"),
        (r"\F\\S\\T\\R\\E\ ", "|^&~\\ "),
        (r"\H\no\N\ change\.in+4\\.ti-2\\.fi\ ", "no change "),
        (r"5\X20\mm\X0A\x", "5 mm\nx"),
        (r"caf\XC3A9\ and \XC3\\XA9\ ", "café and é "),
        (r"\Zlocal\seen", "seen"),
        (r"C:\reports\new", r"C:\reports\new"),
        (r"either \ or", r"either \ or"),
        (r"\.sp999\x", "\n" * 20 + "x"),
        (r"\XZZ\ ", r"\XZZ\ "),
    ],
)
def test_an_escape_sequence_means(sent: str, meant: str):
    assert the_text(an_oru(an_obx(sent)).encode()) == meant


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("8859/1", "latin-1", "Müller, Größe"),
        ("UNICODE UTF-8", "utf-8", "폐는 깨끗하다"),
        ("KS X 1001", "cp949", "폐는 깨끗하다"),
        ("~ISO IR87", "utf-8", "肺野"),
        ("ISO IR87", "iso2022_jp", "肺野に異常なし"),
        ("GB 18030-2000", "gb18030", "两肺清晰"),
        ("", "utf-8", "é"),
        ("", "latin-1", "é"),
        ("ASCII", "latin-1", "é"),
        ("no such set", "utf-8", "é"),
    ],
)
def test_the_text_is_read_in_the_character_set_that_it_came_in(charset: str, codec: str, text: str):
    assert the_text(an_oru(an_obx(text), charset=charset).encode(codec)) == text


def test_a_message_that_names_no_character_set_is_read_in_the_assumed_one():
    content = an_oru(an_obx("폐는 깨끗하다")).encode("cp949")

    assert the_text(content, assumed_charset="KS X 1001") == "폐는 깨끗하다"


def test_every_character_set_that_may_be_configured_can_be_read():
    assert set(Hl7Charset.__args__) <= set(CHARSETS)


@pytest.mark.parametrize(
    "content",
    [b"", b"PID|1", b"MSH", b"MSH|^~\\", b"MSHA^~\\&|", b"MSH|||||||||", b"GET / HTTP/1.1\r\n", b"\0" * 50],
)
def test_what_does_not_begin_as_a_message_is_refused(content: bytes):
    with pytest.raises(MessageError, match=r"MSH"):
        parse_message(content)


def test_two_messages_under_one_start_are_refused():
    with pytest.raises(MessageError, match="several messages"):
        parse_message(an_oru().encode() * 2)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"^~", b"|", b"\rOBX|", b"\\X41\\", b"\\", b"a\n"])
def test_a_hostile_message_is_parsed_in_seconds(piece: bytes):
    """2 MB of "^~" took the library that is not used 46 s and 1.3 GB."""
    started = time.process_time()

    the_text(an_oru(an_obx("")).encode() + b"OBX|1|TX|||" + piece * (2_000_000 // len(piece)))

    assert time.process_time() - started < 10


@given(st.binary(max_size=200))
def test_any_bytes_after_a_header_are_fields_that_can_be_read(content: bytes):
    message = parse_message(b"MSH|^~\\&|" + content.replace(b"MSH", b""))

    assert all(isinstance(segment.unescaped(segment.raw(5)), str) for segment in message.segments)
