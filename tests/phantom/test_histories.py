"""Patients over time: balanced, and every change as it is said."""

from collections import Counter
from itertools import combinations, pairwise

import pytest

from inference.phantom.cases import HELD_OUT_SEED_MIN, case, exams
from inference.phantom.findings import FOCAL_ZONES, NAMES, TrueFinding, change_between, occupied
from inference.phantom.report import compared
from inference.reading import Change

CASES = [case(seed) for seed in range(HELD_OUT_SEED_MIN, HELD_OUT_SEED_MIN + 1500)]
CURRENT = [current for _, current in CASES]
PAIRS = [(prior, current) for prior, current in CASES if prior is not None]


def test_half_of_the_cases_have_a_prior():
    assert 0.45 < len(PAIRS) / len(CASES) < 0.55


def test_each_finding_is_in_a_fifth_to_a_third_of_the_exams():
    shares = {name: sum(name in exam.names for exam in CURRENT) / len(CURRENT) for name in NAMES}

    assert all(0.19 < share < 0.32 for share in shares.values()), shares


def test_an_eighth_of_the_exams_is_normal_and_none_has_more_than_four_findings():
    counts = Counter(len(exam.findings) for exam in CURRENT)

    assert 0.09 < counts[0] / len(CURRENT) < 0.15
    assert max(counts) == 4


@pytest.mark.parametrize("change", Change)
def test_each_change_is_common(change):
    changes = Counter(change for prior, now in PAIRS for _, change in compared(now.findings, prior.findings))

    assert changes[change] / changes.total() > 0.09


def test_left_and_right_are_balanced():
    sides = Counter(finding.side for exam in CURRENT for finding in exam.findings)

    assert 0.85 < sides["left"] / sides["right"] < 1.15


def test_what_stays_keeps_its_side_zone_and_form():
    for prior, current in PAIRS:
        was = {finding.identity: finding for finding in prior.findings}
        for now in current.findings:
            before = was.get(now.identity, now)
            assert (now.side, now.zone, now.form) == (before.side, before.zone, before.form)


def test_the_change_that_is_noted_is_the_change_that_was_drawn():
    for prior, current in PAIRS:
        was = {finding.identity: finding for finding in prior.findings}
        assert all(now.change is change_between(was.get(now.identity), now) for now in current.findings)
        assert all(finding.change is None for finding in prior.findings)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (None, "small", Change.NEW),
        ("small", None, Change.RESOLVED),
        ("small", "large", Change.LARGER),
        ("large", "moderate", Change.SMALLER),
        ("moderate", "moderate", Change.UNCHANGED),
    ],
)
def test_a_change_of_size_is_a_change_of_the_size_word(before, now, change):
    effusions = [
        TrueFinding("pleural effusion", "left", "lower", size) if size else None for size in (before, now)
    ]

    assert change_between(effusions[0], effusions[1]) is change


def test_a_finding_in_neither_exam_has_no_change():
    with pytest.raises(ValueError, match="in neither exam"):
        change_between(None, None)


def test_no_two_findings_hide_one_another():
    for exam in CURRENT:
        for one, other in combinations(exam.findings, 2):
            if one.name in FOCAL_ZONES or other.name in FOCAL_ZONES:
                assert not occupied(one) & occupied(other), (one, other)


def test_the_patient_stays_the_same_person_and_the_days_run_towards_the_last_exam():
    for seed in range(30):
        series = exams(seed, 3)

        assert len({exam.patient for exam in series}) == 1
        assert all(one.days_before_last > other.days_before_last for one, other in pairwise(series))
        assert series[-1].days_before_last == 0


def test_a_longer_history_begins_with_the_same_findings():
    assert [exam.findings for exam in exams(5, 3)][:2] == [exam.findings for exam in exams(5, 2)]


@pytest.mark.parametrize("count", [0, 4])
def test_a_history_of_no_or_four_exams_is_refused(count):
    with pytest.raises(ValueError, match=f"count is {count}"):
        exams(1, count)
