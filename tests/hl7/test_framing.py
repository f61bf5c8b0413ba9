"""Messages are found where they begin and end, on a connection and in every kind of file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.framing import Deframer, TooLong, framed, split_file
from tests.hl7.builders import an_oru

ONE, TWO = (an_oru(control_id=name).strip().encode() for name in ("ONE", "TWO"))


@given(st.lists(st.integers(1, 400), max_size=8))
def test_messages_come_out_however_the_network_cuts_them(cuts: list[int]):
    stream = framed(ONE) + framed(TWO)
    deframer, found = Deframer(10_000), []

    for cut in [*cuts, len(stream)]:
        found += deframer.feed(stream[:cut])
        stream = stream[cut:]

    assert found == [ONE, TWO]
    assert not deframer.is_inside


def test_what_stands_between_messages_is_passed_over():
    stream = b"\r\nnoise" + framed(ONE) + b"\r\n\x1c\r" + framed(TWO)

    assert list(Deframer(10_000).feed(stream)) == [ONE, TWO]


def test_the_carriage_return_after_a_message_may_be_missing():
    assert list(Deframer(10_000).feed(b"\x0b" + ONE + b"\x1c\x0b" + TWO + b"\x1c")) == [ONE, TWO]


def test_a_sender_that_begins_again_has_its_first_try_seen_too():
    assert list(Deframer(10_000).feed(b"\x0b" + ONE[:50] + framed(TWO))) == [ONE[:50], TWO]


def test_a_message_above_the_limit_is_too_long_before_it_ends():
    deframer = Deframer(1000)

    with pytest.raises(TooLong, match="message_bytes_max = 1000"):
        list(deframer.feed(b"\x0b" + b"x" * 1001))


@pytest.mark.parametrize(
    "content",
    [
        ONE + b"\r" + TWO,
        (ONE + b"\r" + TWO + b"\r").replace(b"\r", b"\r\n"),
        framed(ONE) + framed(TWO),
        b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + ONE + b"\r" + TWO + b"\rBTS|2\rFTS|1\r",
        b"12:00:01 in\r\n<SB>\r\n"
        + ONE.replace(b"\r", b"<R>\n")
        + b"<EB>\r\n12:00:02\n<SB>"
        + TWO
        + b"<EB>\n",
        b"<VT>" + ONE.replace(b"\r", b"<CR>") + b"<FS><CR>\n<VT>" + TWO.replace(b"\r", b"<CR>") + b"<FS><CR>",
        b"\xef\xbb\xbf" + ONE + b"\r\n\r\n" + TWO,
    ],
    ids=["plain", "crlf", "framed", "batch", "log", "log with other names", "with a BOM and blank lines"],
)
def test_both_messages_are_found_in_this_kind_of_file(content: bytes):
    found = [message.replace(b"\r\n", b"\r").strip() for message in split_file(content)]

    assert found == [ONE, TWO]


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        (b"Bad file", [b"Bad file"]),
        (b"<SB>Unparseable message<EB>", [b"Unparseable message"]),
        (b"<SB>\r\n<R>\n<EB>", [b""]),
        (b"", []),
        (b" \r\n", []),
    ],
)
def test_what_stands_where_a_message_should_be_is_not_lost(content: bytes, pieces: list[bytes]):
    assert list(split_file(content)) == pieces
