"""Derived UIDs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid, drawn_uid


@given(st.lists(st.text(), min_size=1))
def test_a_derived_uid_is_valid_and_the_same_every_time(parts: list[str]):
    uid = derived_uid(*parts)

    assert UID(uid).is_valid
    assert uid.startswith("2.25.")
    assert uid == derived_uid(*parts)


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_other_parts_give_another_uid(one: list[str], other: list[str]):
    assert (derived_uid(*one) == derived_uid(*other)) == (one == other)


def test_the_uids_of_old_results_never_change():
    assert derived_uid("1.2.3", "1", "report_sr") == "2.25.265973249402294690495555630869054805262"


def test_nothing_has_no_uid():
    with pytest.raises(ValueError, match="at least one part"):
        derived_uid()


def test_a_drawn_uid_is_valid_and_another_one_each_time():
    drawn = {drawn_uid() for _ in range(100)}

    assert len(drawn) == 100
    assert all(UID(uid).is_valid for uid in drawn)


def test_our_implementation_has_a_valid_name():
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert 0 < len(IMPLEMENTATION_VERSION_NAME) <= 16
