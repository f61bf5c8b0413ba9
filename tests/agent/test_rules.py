"""Which rule fits, and how it is explained."""

import time
from typing import Any

import pytest

from agent.rules import age_in_years, decide
from config.conditions import Value, read_conditions
from config.rule_settings import RuleSettings
from storage.records import Priority

DICTIONARY = {
    "Modality": "CS",
    "StationName": "SH",
    "PatientID": "LO",
    "PatientName": "PN",
    "ImageComments": "LT",
    "KVP": "DS",
    "StudyDate": "DA",
    "AcquisitionTime": "TM",
    "ViewPosition": "CS",
}


def a_rule(name: str, when: dict[str, Any], **settings: Any) -> RuleSettings:
    return RuleSettings(name=name, when=read_conditions(when, lambda: DICTIONARY), **settings)


def fits(when: dict[str, Any], **facts: Value | tuple[Value, ...]) -> bool:
    several = {name: value if isinstance(value, tuple) else (value,) for name, value in facts.items()}
    return decide(several, [a_rule("one", when)]).rule is not None


def because(when: dict[str, Any], **facts: tuple[Value, ...]) -> str:
    return decide(facts, [a_rule("one", when)]).words()


def test_the_first_rule_that_fits_decides_and_those_before_say_why_not():
    rules = [
        a_rule("computed", {"Modality": "CR"}, read=False),
        a_rule("bedside", {"StationName": {"matches": "ICU*"}}, priority="stat"),
        a_rule("rest", {}),
    ]

    decision = decide({"Modality": ("DX",), "StationName": ("icu-2",)}, rules)

    assert (decision.name, decision.priority) == ("bedside", Priority.STAT)
    assert decision.words() == (
        'rule "bedside": StationName is icu-2, matching ICU*; not "computed": Modality is DX, not CR'
    )


def test_where_no_rule_fits_each_says_why():
    decision = decide({"Modality": ("DX",)}, [a_rule("computed", {"Modality": ["CR", "RG"]})])

    assert decision.rule is None
    assert decision.priority is Priority.ROUTINE
    assert decision.words() == 'no rule fits; not "computed": Modality is DX, not one of CR, RG'


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ({"Modality": "dx "}, {"Modality": "DX"}),
        ({"StationName": {"matches": "*room ?"}}, {"StationName": "ER Room 2"}),
        ({"StationName": {"matches": "[a]*"}}, {"StationName": "[A] wing"}),
        ({"KVP": 80}, {"KVP": "80.0"}),
        ({"KVP": {"from": 60, "to": 80}}, {"KVP": "80"}),
        ({"StudyDate": {"from": "20260101"}}, {"StudyDate": "20260302"}),
        ({"time_of_day": {"from": "22:00", "to": "06:00"}}, {"time_of_day": "06:00"}),
        ({"time_of_day": {"from": "22:00", "to": "06:00"}}, {"time_of_day": "23:59"}),
        ({"AcquisitionTime": {"to": "08:30"}}, {"AcquisitionTime": "083059.12"}),
        ({"Modality": {"present": False}}, {}),
        ({"Modality": {"present": True}}, {"Modality": "DX"}),
        ({"not": {"Modality": "CR"}}, {"Modality": "DX"}),
        ({"any": [{"Modality": "CR"}, {"KVP": 80}]}, {"Modality": "DX", "KVP": "80"}),
        ({"all": [{"Modality": "DX"}, {"Modality": "CR"}]}, {"Modality": ("CR", "DX")}),
        ({"patient_age_years": {"to": 15}}, {"patient_age_years": 0.5}),
    ],
)
def test_these_conditions_hold(when: dict[str, Any], facts: dict[str, Any]):
    assert fits(when, **facts)


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ({"Modality": "D"}, {"Modality": "DX"}),
        ({"Modality": "DX"}, {}),
        ({"StationName": {"matches": "ROOM"}}, {"StationName": "ROOM 2"}),
        ({"KVP": {"from": 60}}, {"KVP": "many"}),
        ({"KVP": {"from": 60}}, {"KVP": "nan"}),
        ({"time_of_day": {"from": "22:00", "to": "06:00"}}, {"time_of_day": "06:01"}),
        ({"StudyDate": {"from": "20260101"}}, {"StudyDate": "2026"}),
        ({"not": {"any": [{"Modality": "DX"}, {"KVP": 80}]}}, {"Modality": "DX"}),
        ({"all": [{"Modality": "DX"}, {"Modality": "CR"}]}, {"Modality": "DX"}),
        ({"patient_age_years": {"to": 15}}, {}),
    ],
)
def test_these_conditions_do_not_hold(when: dict[str, Any], facts: dict[str, Any]):
    assert not fits(when, **facts)


def test_one_image_of_several_is_enough_and_not_means_none_of_them():
    views = ("PA", "LL")

    assert fits({"ViewPosition": "LL"}, ViewPosition=views)
    assert not fits({"not": {"ViewPosition": "LL"}}, ViewPosition=views)


def test_a_group_of_which_none_holds_says_so_of_each():
    said = because({"any": [{"Modality": "CR"}, {"KVP": {"to": 60}}]}, Modality=("DX",), KVP=("80",))

    assert said == 'no rule fits; not "one": Modality is DX, not CR; KVP is 80, not up to 60'


def test_what_was_not_sent_is_told():
    assert because({"KVP": 80}) == 'no rule fits; not "one": KVP is not there'
    assert because({"KVP": {"present": False}}) == 'rule "one": KVP is not there'


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "ImageComments"])
@pytest.mark.parametrize("value", ["Doe^Jane", "Roe^John"])
def test_no_explanation_tells_what_names_a_patient_or_the_rule_that_does(keyword: str, value: str):
    said = because({keyword: "Doe^Jane"}, **{keyword: (value,)})

    assert "Doe" not in said
    assert "Roe" not in said
    assert f"{keyword} is {'' if value == 'Doe^Jane' else 'not '}as the rule asks" in said


def test_of_many_rules_the_first_are_told_and_the_rest_counted():
    rules = [a_rule(f"rule {number}", {"Modality": "CR"}) for number in range(30)]

    said = decide({"Modality": ("DX",)}, rules).words()

    assert '; not "rule 19": Modality is DX, not CR; nor 10 more' in said
    assert "rule 20" not in said


def test_a_long_value_is_told_in_short():
    assert len(because({"StationName": "X"}, StationName=("A" * 60_000,))) < 200


def test_no_pattern_takes_long():
    began = time.perf_counter()

    assert not fits({"StationName": {"matches": "*a" * 127 + "b"}}, StationName="a" * 65_000)

    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    ("age", "birth_date", "study_date", "years"),
    [
        ("045Y", "", "", 45.0),
        ("006M", "", "", 0.5),
        ("", "19500302", "20260301", 75.0),
        ("", "19500302", "20260302", 76.0),
        ("", "20270101", "20260302", None),
        ("old", "1950", "20260302", None),
    ],
)
def test_the_age_is_that_of_the_header_or_of_the_dates(
    age: str, birth_date: str, study_date: str, years: float | None
):
    assert age_in_years(age, birth_date, study_date) == years
