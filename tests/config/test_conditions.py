"""What may be written as a condition, and what is said of the rest."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.conditions import (
    FACTS,
    Matches,
    Mistake,
    Mistakes,
    OneOf,
    Present,
    When,
    Within,
    conditions_table,
    read_conditions,
)
from config.conditions import (
    Test as Condition,
)
from config.effective import toml_value

DICTIONARY = {
    "Modality": "CS",
    "StationName": "SH",
    "KVP": "DS",
    "SmallestImagePixelValue": "US or SS",
    "StudyDate": "DA",
    "AcquisitionTime": "TM",
    "PatientAge": "AS",
    "PixelData": "OB or OW",
    "ProcedureCodeSequence": "SQ",
    "CodeValue": "SH",
}


def when(text: str) -> When:
    return read_conditions(tomllib.loads(f"when = {text}")["when"], lambda: DICTIONARY)


def mistakes(text: str) -> tuple[Mistake, ...]:
    with pytest.raises(Mistakes) as found:
        when(text)
    return found.value.mistakes


def test_a_value_alone_is_equal_and_a_list_is_one_of():
    read = when('{ Modality = "DX", StationName = ["A", "B"] }')

    assert [test.wanted for test in read.tests] == [OneOf(("DX",)), OneOf(("A", "B"))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{ StationName = { matches = "ICU*" } }', Matches("ICU*")),
        ("{ KVP = { from = 60, to = 120.5 } }", Within(60, 120.5)),
        ("{ SmallestImagePixelValue = { from = 1 } }", Within(1, None)),
        ('{ StudyDate = { to = "20261231" } }', Within(None, "20261231")),
        ('{ time_of_day = { from = "22:00", to = "06:00" } }', Within("22:00", "06:00")),
        ("{ ProcedureCodeSequence = { present = false } }", Present(False)),
    ],
)
def test_an_operator_is_read(text: str, wanted: object):
    (test,) = when(text).tests

    assert test.wanted == wanted


def test_an_attribute_inside_a_sequence_is_named_by_both():
    (test,) = when('{ ProcedureCodeSequence = { CodeValue = "36643-5" } }').tests

    assert test == Condition("ProcedureCodeSequence.CodeValue", "text", OneOf(("36643-5",)), "SH")


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ('{ Modalty = "DX" }', ".Modalty", "did you mean Modality?"),
        ('{ calling_ae = "X" }', ".calling_ae", "did you mean calling_ae_title?"),
        ('{ ProcedureCodeSequence = { CodeValu = "1" } }', ".ProcedureCodeSequence.CodeValu", "CodeValue?"),
        ('{ PatientAge = "045Y" }', ".PatientAge", "ask patient_age_years"),
        ('{ PixelData = "x" }', ".PixelData", "which VR OB is not"),
        ("{ Modality = 1 }", ".Modality", "a text, a list of texts"),
        ("{ Modality = [] }", ".Modality", "a list of texts"),
        ('{ KVP = { matches = "1*" } }', ".KVP", "{ from = 1, to = 9 }"),
        ("{ KVP = { from = 9, to = 1 } }", ".KVP.from", "at most to = 1"),
        (
            '{ StudyDate = { from = "20261231", to = "20260101" } }',
            ".StudyDate.from",
            'at most to = "20260101"',
        ),
        ("{ KVP = { from = true, to = 1 } }", ".KVP", "a number"),
        ("{ KVP = true }", ".KVP", "a number"),
        ('{ StudyDate = "2026-03-01" }', ".StudyDate", 'a date "YYYYMMDD"'),
        ('{ time_of_day = { from = "24:00" } }', ".time_of_day", '"22:00"'),
        ('{ order_priority = "high" }', ".order_priority", '"stat", "urgent" or "routine"'),
        ('{ view = { matches = "P*" } }', ".view", '"PA", "AP"'),
        ("{ any = [] }", ".any", "a list of at least one group"),
        ("{ not = {} }", ".not", "conditions such as"),
        ("{ all = [{ Modality = 1 }] }", ".all[1].Modality", "a text"),
        ('"DX"', "", "conditions such as"),
        ("{ not = " * 8 + "{}" + " }" * 8, ".not" * 8, "nested at most 8 deep"),
    ],
)
def test_what_cannot_be_asked_is_told_with_its_place_and_what_may_stand_there(
    text: str, place: str, expected: str
):
    (found,) = mistakes(text)

    assert found.key == place
    assert expected in found.expected


def test_every_mistake_is_told_at_once():
    found = mistakes('{ Modality = 1, any = [{ KVP = "x" }, { Nothing = 1 }] }')

    assert [one.key for one in found] == [".Modality", ".any[1].KVP", ".any[2].Nothing"]


def test_without_a_dictionary_no_keyword_is_taken_on_trust():
    with pytest.raises(Mistakes):
        read_conditions({"Modality": "DX"}, None)


def conditions_for_keys() -> st.SearchStrategy[dict[str, Any]]:
    texts = st.text(min_size=1, max_size=9).filter(str.strip)
    numbers = st.integers(-999, 999) | st.floats(-9, 9, allow_nan=False)
    present = st.fixed_dictionaries({"present": st.booleans()})
    text = (
        texts | st.lists(texts, min_size=1, max_size=3) | present | st.fixed_dictionaries({"matches": texts})
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "Modality": text,
            "KVP": numbers | present | st.fixed_dictionaries({"from": numbers}),
            "time_of_day": st.just({"from": "22:00", "to": "06:00"}),
            "ProcedureCodeSequence": present | st.fixed_dictionaries({"CodeValue": text}),
        },
    )


@given(
    st.recursive(
        conditions_for_keys(),
        lambda inner: st.fixed_dictionaries(
            {},
            optional={"not": inner.filter(bool), "any": st.lists(inner.filter(bool), min_size=1, max_size=2)},
        ),
        max_leaves=4,
    )
)
def test_conditions_written_as_toml_are_read_as_the_same(table: dict[str, Any]):
    read = read_conditions(table, lambda: DICTIONARY)

    assert when(toml_value(conditions_table(read))) == read


def test_every_fact_of_ours_can_be_asked_and_has_its_meaning():
    for name, fact in FACTS.items():
        text = {"number": "1", "text": f'"{(fact.words or ("X",))[0]}"', "time": '{ from = "08:00" }'}[
            fact.kind
        ]
        assert when(f"{{ {name} = {text} }}").tests[0].fact == name
        assert fact.meaning
