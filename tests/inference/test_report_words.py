"""What every engine reads out of a report's words, whoever wrote them."""

import pytest

from inference.engines.report_words import (
    change_of,
    comparison_words,
    report_problems,
    resolved_findings,
    side_of,
    summary_problems,
)
from inference.reading import Change

WHY = "it sees no scale"


def test_no_report_is_a_problem():
    assert report_problems("", has_prior=True, why_no_measurement=WHY) == ("The model gave no report.",)


def test_a_report_of_the_present_alone_is_no_problem():
    report = "The heart is enlarged. No effusion."

    assert report_problems(report, has_prior=False, why_no_measurement=WHY) == ()


def test_a_comparison_is_a_problem_only_where_nothing_was_compared():
    report = "The effusion is unchanged."

    (problem,) = report_problems(report, has_prior=False, why_no_measurement=WHY)
    assert problem == 'The report compares ("unchanged"), but no earlier exam was shown to the model.'
    assert report_problems(report, has_prior=True, why_no_measurement=WHY) == ()


@pytest.mark.parametrize(
    ("report", "word"),
    [
        ("The right pleural effusion has progressed.", "progressed"),
        ("Progression of the consolidation.", "progression"),
        ("No significant change.", "no significant change"),
        ("The nodule has not changed.", "not changed"),
        ("The effusion is larger than on the earlier film.", "larger"),
        ("Seen on the earlier film.", "earlier"),
        ("The chest tube has been removed.", "removed"),
        ("Since the last examination the edema is the same.", "since"),
        ("The edema has cleared.", "cleared"),
        ("Resolution of the pneumothorax.", "resolution"),
        ("Persistent left effusion.", "persistent"),
        ("Redemonstrated cardiomegaly.", "redemonstrated"),
        ("An effusion, similar in size.", "similar"),
        ("More prominent than before.", "than before"),
        ("An effusion has developed.", "has developed"),
        ("Heart size remains enlarged.", "remains"),
    ],
)
def test_a_word_of_change_is_a_comparison(report, word):
    assert word in comparison_words(report)


@pytest.mark.parametrize(
    "report",
    [
        "Bilateral effusions, right larger than left.",
        "Atelectasis, worse on the left than on the right.",
        "Degenerative changes of the spine.",
        "The remaining lung is clear.",
        "Follow-up to resolution is recommended.",
        "Recommend follow up to ensure resolution.",
    ],
)
def test_a_report_of_one_film_is_no_comparison(report):
    assert comparison_words(report) == ()


def test_a_measurement_is_a_problem_and_says_why_for_this_model():
    (problem,) = report_problems("A 3.5 cm mass.", has_prior=True, why_no_measurement=WHY)

    assert problem == 'The report measures ("3.5 cm"), which this model cannot: it sees no scale.'


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "repeated",
    ["effusion, ", "edema and ", "There is left effusion and right effusion is unchanged, ", "no new "],
)
def test_a_model_that_repeats_itself_is_read_to_its_end(repeated):
    report = repeated * (20_000 // len(repeated))

    assert side_of("pleural effusion", report) in (None, "bilateral")
    assert change_of("pleural effusion", report) in (None, Change.UNCHANGED)
    assert Change.RESOLVED not in resolved_findings(report)


@pytest.mark.parametrize(
    ("summary", "report", "added"),
    [
        ("Left effusion.", "There is a left pleural effusion.", ()),
        ("No acute disease.", "The lungs are clear.", ()),
        ("Normal heart.", "No cardiomegaly.", ()),
        ("Mild cardiomegaly.", "The heart size is normal.", ("cardiomegaly",)),
        ("Effusion and pneumothorax.", "Left effusion. No pneumothorax.", ("pneumothorax",)),
    ],
)
def test_a_summary_that_states_what_its_report_does_not_is_told(summary, report, added):
    said = "The impression speaks of {}, of which the draft it summarises says no such thing."

    assert summary_problems(summary, report) == tuple(said.format(name) for name in added)
