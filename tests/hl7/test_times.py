"""Times of other systems become digits that can be compared: those of this machine's clock."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hl7.times import date_digits, local_digits

CENTRAL_EUROPE = "CET-1CEST,M3.5.0,M10.5.0/3"  # POSIX: needs no files of the machine


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("20260301093000+0000", "20260301103000"),
        ("20260301093000.1234-0500", "20260301153000"),
        ("202603010930+0000", "202603011030"),
        ("2026030109+0000", "2026030110"),
        ("2026-03-01T09:30:00Z", "20260301103000"),
        ("2026-03-01T09:30:15.123+09:00", "20260301013015"),
        ("2026-03-01 23:30 Z", "202603020030"),
        ("2026-07-01T09:30:00Z", "20260701113000"),
    ],
)
def test_a_time_with_an_offset_becomes_this_machines_local_time(
    machine_zone: Callable[[str], None], written: str, digits: str
):
    machine_zone(CENTRAL_EUROPE)

    assert local_digits(written) == digits


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("20260301", "20260301"),
        ("2026-03-01", "20260301"),
        ("2026-03-01 08:30", "202603010830"),
        ("20260301083015.5", "20260301083015"),
        ("2026-03-01T08:30:15.123", "20260301083015"),
        ("20260301+0900", "20260301"),
        ("2026-03", ""),
        ("2026", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_a_time_without_an_offset_and_a_day_keep_their_own_digits(
    machine_zone: Callable[[str], None], written: str, digits: str
):
    machine_zone(CENTRAL_EUROPE)

    assert local_digits(written) == digits


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("2026-02-30T08:30:00Z", "20260230083000"),
        ("20260301083000+9900", "20260301083000"),
        ("99991231235959-1200", "99991231235959"),
        ("00010101000000+1200", "00010101000000"),
        ("00000000000000+0000", "00000000000000"),
    ],
)
def test_what_is_no_moment_keeps_its_own_digits(
    machine_zone: Callable[[str], None], written: str, digits: str
):
    machine_zone(CENTRAL_EUROPE)

    assert local_digits(written) == digits


@given(st.text(max_size=30) | st.from_regex(r"\d{4,15}(\.\d*)?([+-]\d{2,5}|Z)?", fullmatch=True))
def test_whatever_is_written_becomes_digits(written: str):
    digits = local_digits(written) + date_digits(written)

    assert digits == "" or (digits.isascii() and digits.isdecimal())


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("1950-03-12", "19500312"),
        ("19500312", "19500312"),
        ("19500312000000+1400", "19500312"),
        ("1950-03", ""),
        ("1950", ""),
        ('""', ""),
    ],
)
def test_a_birth_date_is_a_whole_day_or_not_known(written: str, digits: str):
    assert date_digits(written) == digits
