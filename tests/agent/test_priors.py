"""A prior is an earlier exam of the same patient; any other study is passed over, and it is said why."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    return replace(study, **values)


def a_candidate(has_frontal_image: bool = True, has_report: bool = True, **values: Any) -> PriorCandidate:
    return PriorCandidate(a_study(**{"days_ago": 30, **values}), has_frontal_image, has_report)


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

    choice = choose(prior)

    assert choice.chosen == (prior,)
    assert choice.notes == (
        f"prior {prior.study.study_instance_uid}: the current study has no issuer of the patient ID; taken "
        "for the same patient since patient ID, birth date and sex agree",
    )


def test_the_newest_are_chosen_and_stand_oldest_first():
    priors = [a_candidate(days_ago=days) for days in (10, 400, 30, 200)]

    choice = choose(*priors, rules=PriorRules(count_max=3))

    assert choice.chosen == (priors[3], priors[2], priors[0])
    (passed_over,) = choice.passed_over
    assert passed_over.study_instance_uid == priors[1].study.study_instance_uid
    assert passed_over.reason == "older than the 3 newest (count_max = 3)"


def test_priors_of_one_day_are_ordered_by_time():
    late, early = a_candidate(study_time="235959"), a_candidate(study_time="0100")

    assert choose(late, early).chosen == (early, late)
    assert choose(late, early, rules=PriorRules(count_max=1)).chosen == (late,)


def test_a_study_listed_twice_is_shown_once():
    prior = a_candidate()

    choice = choose(prior, prior)

    assert choice.chosen == (prior,)
    assert choice.passed_over[0].reason == "it is listed twice"


def test_a_prior_without_report_is_taken_unless_the_site_wants_one():
    prior = a_candidate(has_report=False)

    assert choose(prior).chosen == (prior,)
    wanted = choose(prior, rules=PriorRules(report_required=True))
    assert the_reason(wanted) == "it has no report (report_required = true)"


def test_no_priors_are_wanted_with_a_count_of_zero():
    assert choose(a_candidate(), rules=PriorRules(count_max=0)).chosen == ()


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


PEOPLE = (
    {"patient_name": "Doe^Jane", "birth_date": "19500101", "sex": "F"},
    {"patient_name": "Doe^John", "birth_date": "19500101", "sex": "M"},
    {"patient_name": "Miller^Anna", "birth_date": "19840506", "sex": "F"},
    {"patient_name": "Miller^Anna", "birth_date": "19840605", "sex": "F"},
)
"""Twins, and two of one name whose birth dates are swapped; two hospitals number them as they like."""

NUMBERS = {"NORTH": "1234", "SOUTH": "2143", "ERRING": "1111"}
"""What a hospital calls each of the four. Each number means two people, and one hospital gives one to all."""


def an_exam(
    person: int, hospital: str, missing: set[str], says_who_it_is: bool, days_ago: int
) -> PriorCandidate:
    return a_candidate(
        **{**PEOPLE[person], **dict.fromkeys(missing if hospital != "ERRING" else (), "")},
        patient_id=NUMBERS[hospital][person],
        issuer_of_patient_id=hospital if says_who_it_is else "",
        days_ago=days_ago,
    )


people = st.integers(0, 3)
exams_of_people = st.tuples(
    people,
    st.sampled_from(sorted(NUMBERS)),
    st.sets(st.sampled_from(["birth_date", "sex"]), max_size=1),
    st.booleans(),
    st.integers(1, 2000),
)


@settings(max_examples=400)
@given(exams_of_people, st.lists(exams_of_people, min_size=1, max_size=8))
def test_never_a_study_of_another_patient(current: Any, others: list[Any]):
    candidates = [an_exam(*other) for other in others]
    owner = {exam.study.study_instance_uid: other[0] for exam, other in zip(candidates, others, strict=True)}
    study = replace(an_exam(*current).study, study_date="20260302", study_instance_uid="1.2.3")

    choice = choose_priors(study, candidates, PriorRules(count_max=9))

    assert {owner[prior.study.study_instance_uid] for prior in choice.chosen} <= {current[0]}


@given(exams_of_people, st.lists(exams_of_people, max_size=6), st.integers(0, 3))
def test_every_candidate_is_chosen_or_passed_over_with_a_reason(
    current: Any, others: list[Any], count_max: int
):
    candidates = [an_exam(*other) for other in others]

    choice = choose_priors(an_exam(*current).study, candidates, PriorRules(count_max=count_max))

    told = [prior.study.study_instance_uid for prior in choice.chosen]
    told += [passed_over.study_instance_uid for passed_over in choice.passed_over if passed_over.reason]
    assert sorted(told) == sorted(candidate.study.study_instance_uid for candidate in candidates)
    assert len(choice.chosen) <= count_max
    dates = [prior.study.study_date for prior in choice.chosen]
    assert dates == sorted(dates)
