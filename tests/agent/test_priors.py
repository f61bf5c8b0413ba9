"""A prior is an earlier exam of the same patient; any other study is passed over, and it is said why."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity import IdentifierRules, identified
from agent.priors import PriorCandidate, PriorChoice, PriorRules, choose_priors, days_between
from storage.records import Study
from tests.builders import TODAY, a_uid

RULES = PriorRules()
UNPROVED = "and birth date and sex are not both sent and equal"


def a_study(**values: Any) -> Study:
    """A study as the index knows it; `days_ago` sets date and, if not given, the UID."""
    days_ago = values.pop("days_ago", 0)
    study = Study(
        study_instance_uid=a_uid("prior test", days_ago, sorted(values.items())),
        patient_id="A1",
        issuer_of_patient_id="",
        patient_name="Doe^Jane",
        birth_date="19500101",
        sex="F",
        study_date=(TODAY - timedelta(days=days_ago)).strftime("%Y%m%d"),
        study_time="083000",
        accession_number="",
        study_description="XR CHEST",
    )
    return identified(replace(study, **values), "XRAY", IdentifierRules())


def a_candidate(has_frontal_image: bool = True, has_report: bool = True, **values: Any) -> PriorCandidate:
    study = a_study(**{"days_ago": 30, **values})
    return PriorCandidate(study, has_frontal_image=has_frontal_image, has_report=has_report)


def chosen(choice: PriorChoice) -> list[str]:
    return [one.study_instance_uid for one in choice.chosen]


def uids(*candidates: PriorCandidate) -> list[str]:
    return [candidate.study.study_instance_uid for candidate in candidates]


def choose(*candidates: PriorCandidate, rules: PriorRules = RULES, **current: Any) -> PriorChoice:
    return choose_priors(a_study(study_instance_uid="1.2.3", **current), candidates, rules)


def the_reason(choice: PriorChoice) -> str:
    assert choice.chosen == ()
    (passed_over,) = choice.passed_over
    return passed_over.reason


def test_a_prior_with_another_birth_date_is_passed_over_and_says_why():
    choice = choose(a_candidate(birth_date="19840615"))

    assert the_reason(choice) == "birth date differs: 19840615, current study 19500101"


@pytest.mark.parametrize(
    ("prior", "current", "reason"),
    [
        ({"patient_id": "B2"}, {}, "the patient ID is another one"),
        ({"patient_id": " "}, {}, "it has no patient ID"),
        ({}, {"patient_id": ""}, "the current study has no patient ID"),
        (
            {"issuer_of_patient_id": "NORTH"},
            {"issuer_of_patient_id": "SOUTH"},
            "issuer of the patient ID differs: NORTH, current study SOUTH",
        ),
        ({"sex": "M"}, {}, "sex differs: M, current study F"),
        ({"patient_name": "Miller^Anna"}, {}, "the name is clearly another one"),
        (
            {"issuer_of_patient_id": "NORTH", "birth_date": ""},
            {},
            f"the current study has no issuer of the patient ID, {UNPROVED}",
        ),
        (
            {"sex": ""},
            {"issuer_of_patient_id": "NORTH"},
            f"it has no issuer of the patient ID, {UNPROVED}",
        ),
        (
            {"birth_date": ""},
            {},
            f"no issuer of the patient ID, {UNPROVED.replace('sex', 'either sex or name')}",
        ),
        ({"days_ago": -2}, {}, "it is 2 days later than the current study"),
        ({"days_ago": 1826}, {}, "it is 1826 days old (window_days = 1825)"),
        ({"study_date": ""}, {}, "it has no study date, so nobody knows which came first"),
        ({}, {"study_date": "2026"}, "the current study has no study date, so nobody knows which came first"),
        (
            {"days_ago": 0, "study_time": ""},
            {},
            "it is of the same day, and no study time says which came first",
        ),
        (
            {"days_ago": 0, "study_time": "0900"},
            {},
            "it is of the same day and not earlier: 090000000000, current study 083000000000",
        ),
        ({"has_frontal_image": False}, {}, "it has no frontal image"),
        ({"conflict": "two patient IDs"}, {}, "the study is in doubt: two patient IDs"),
        ({}, {"conflict": "two patient IDs"}, "the current study is in doubt: two patient IDs"),
        ({"study_instance_uid": "1.2.3"}, {}, "it is the current study"),
    ],
)
def test_whatever_speaks_against_a_prior_is_the_reason(
    prior: dict[str, Any], current: dict[str, Any], reason: str
):
    assert the_reason(choose(a_candidate(**prior), **current)) == reason


@pytest.mark.parametrize(
    ("prior", "current"),
    [
        ({}, {}),
        ({"birth_date": "1950.01.01", "patient_id": "A1 "}, {}),
        ({"sex": ""}, {}),
        ({"patient_name": ""}, {}),
        ({"patient_name": "Doe-Miller^Jane"}, {}),
        ({"patient_name": "DOE^JANE^MARY"}, {}),
        ({"patient_name": "Hong^Gildong"}, {"patient_name": "Hong^Gildong=洪^吉洞=홍^길동"}),
        ({"patient_name": "홍^길동"}, {"patient_name": "Hong^Gildong=洪^吉洞=홍^길동"}),
        ({"patient_name": "홍길동"}, {"patient_name": "Hong^Gildong"}),
        ({"patient_name": "Muller^Anne"}, {"patient_name": "Müller^Änne"}),
        ({"issuer_of_patient_id": "NORTH", "birth_date": "", "sex": ""}, {"issuer_of_patient_id": "NORTH "}),
        ({"days_ago": 0, "study_time": "08:29:59.9"}, {}),
        ({"days_ago": 1825}, {}),
    ],
)
def test_what_only_looks_different_is_still_the_same_patient(prior: dict[str, Any], current: dict[str, Any]):
    assert len(choose(a_candidate(**prior), **current).chosen) == 1


def test_a_missing_issuer_is_made_up_for_by_birth_date_and_sex_and_it_is_said():
    prior = a_candidate(issuer_of_patient_id="NORTH")

    (explained,) = choose(prior).chosen

    assert explained.reason == (
        "the current study has no issuer of the patient ID, but patient ID, birth date and sex agree; "
        "30 days before, with a report, the only one that fits"
    )


def test_the_newest_are_chosen_and_stand_oldest_first():
    priors = [a_candidate(days_ago=days) for days in (10, 400, 30, 200)]

    choice = choose(*priors, rules=PriorRules(count_max=3))

    assert chosen(choice) == uids(priors[3], priors[2], priors[0])
    (passed_over,) = choice.passed_over
    assert passed_over.study_instance_uid == priors[1].study.study_instance_uid
    assert passed_over.reason == "older than the 3 that go first (priors.count_max = 3)"
    assert choice.chosen[2].reason.endswith("10 days before, with a report, number 1 of 4 that fit")


def test_priors_of_one_day_are_ordered_by_time():
    late, early = a_candidate(study_time="235959"), a_candidate(study_time="0100")

    assert chosen(choose(late, early)) == uids(early, late)
    assert chosen(choose(late, early, rules=PriorRules(count_max=1))) == uids(late)


def test_a_study_listed_twice_is_shown_once():
    prior = a_candidate()

    choice = choose(prior, prior)

    assert chosen(choice) == uids(prior)
    assert choice.passed_over[0].reason == "it is listed twice"


ONE = PriorRules(
    count_max=1, count_because="engine m4cxr looks at 1", report_because="engine m4cxr needs one"
)


def test_where_a_report_is_optional_the_newest_is_taken():
    old, new = a_candidate(days_ago=90, has_report=True), a_candidate(days_ago=9, has_report=False)

    choice = choose(old, new, rules=ONE)

    assert chosen(choice) == uids(new)
    assert choice.passed_over[0].reason == "older than the 1 that go first (engine m4cxr looks at 1)"


def test_where_a_report_is_preferred_an_older_exam_with_one_goes_before_a_newer_without():
    old, new = a_candidate(days_ago=90, has_report=True), a_candidate(days_ago=9, has_report=False)

    choice = choose(old, new, rules=replace(ONE, report="preferred"))

    assert chosen(choice) == uids(old)
    assert choice.passed_over[0].reason == (
        "it has no report, and older ones with a report go first (engine m4cxr needs one)"
    )


def test_where_a_report_is_preferred_an_exam_without_is_better_than_none():
    prior = a_candidate(has_report=False)

    assert chosen(choose(prior, rules=replace(ONE, report="preferred"))) == uids(prior)


def test_where_a_report_is_required_an_exam_without_is_passed_over():
    wanted = choose(a_candidate(has_report=False), rules=replace(ONE, report="required"))

    assert the_reason(wanted) == "it has no report (engine m4cxr needs one)"


def test_a_lateral_alone_is_a_prior_where_any_view_will_do():
    lateral = a_candidate(has_frontal_image=False)

    assert chosen(choose(lateral, rules=PriorRules(views="any"))) == uids(lateral)


def test_an_exam_of_another_body_part_says_which():
    knee = replace(a_candidate(), no_image_because="body part is KNEE, none of CHEST")

    assert the_reason(choose(knee)) == "it has no image to show: body part is KNEE, none of CHEST"


def test_an_exam_that_nobody_has_looked_at_goes_behind_those_that_say_they_show_the_chest():
    unnamed, chest = replace(a_candidate(), is_named_chest=False), a_candidate(days_ago=60)

    choice = choose(unnamed, chest, rules=ONE)

    assert chosen(choice) == uids(chest)
    assert choice.passed_over[0].reason.startswith("older ones named as chests go first")


def test_no_priors_are_wanted_with_a_count_of_zero():
    rules = PriorRules(count_max=0, count_because="engine cxr_llava looks at none")

    assert the_reason(choose(a_candidate(), rules=rules)) == (
        "no earlier exam is wanted (engine cxr_llava looks at none)"
    )


@pytest.mark.parametrize(
    ("earlier", "later", "days"),
    [
        ("20260101", "20260302", 60),
        ("2026.01.01", "20260101", 0),
        ("20260230", "20260301", None),
        ("", "20260101", None),
    ],
)
def test_days_between_counts_whole_days_or_none(earlier: str, later: str, days: int | None):
    assert days_between(earlier, later) == days


@given(
    st.lists(
        st.tuples(st.integers(1, 2000), st.booleans(), st.booleans()),
        max_size=8,
        unique_by=lambda one: one[0],
    ),
    st.integers(0, 3),
    st.sampled_from(["optional", "preferred", "required"]),
)
def test_every_candidate_is_chosen_or_passed_over_with_a_reason(exams: Any, count_max: int, report: Any):
    candidates = [
        a_candidate(days_ago=days, has_frontal_image=frontal, has_report=reported)
        for days, frontal, reported in exams
    ]

    choice = choose(*candidates, rules=PriorRules(count_max=count_max, report=report))

    told = [one.study_instance_uid for one in (*choice.chosen, *choice.passed_over) if one.reason]
    assert sorted(told) == sorted(uids(*candidates))
    assert len(choice.chosen) <= count_max
    dates = {candidate.study.study_instance_uid: candidate.study.study_date for candidate in candidates}
    assert [dates[uid] for uid in chosen(choice)] == sorted(dates[uid] for uid in chosen(choice))
