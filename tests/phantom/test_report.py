"""The words: what is drawn is said, nothing else, in a closed vocabulary that survives cleaning."""

import re

import pytest

from inference.engines.m4cxr.prompts import clean_report
from inference.phantom.cases import HELD_OUT_SEED_MIN, case, exams
from inference.phantom.findings import TrueFinding
from inference.phantom.report import (
    all_sentences,
    all_words,
    findings_text,
    impression_text,
    possible_findings,
    sentences,
)
from inference.reading import Change

CASES = [case(seed) for seed in range(HELD_OUT_SEED_MIN, HELD_OUT_SEED_MIN + 400)]
SMALL = TrueFinding("pleural effusion", "left", "lower", "small")
LARGE = TrueFinding("pleural effusion", "left", "lower", "large")


def test_cleaning_leaves_every_report_as_it_is():
    for prior, current in CASES:
        for text in (current.report(), current.report(prior), current.impression(prior)):
            assert clean_report(text).text == text


def test_every_finding_is_named_with_its_size_side_and_zone():
    for _, exam in CASES:
        text = exam.report()
        for finding in exam.findings:
            words = (finding.device or finding.name, finding.size, finding.side)
            in_zone = (finding.zone,) if f"{finding.zone} zone" in sentences(finding, None)[0] else ()
            assert any(
                all(word.lower() in line.lower() for word in (*words, *in_zone) if word)
                for line in text.split(". ")
            ), (finding, text)


def test_nothing_is_compared_without_a_prior():
    for _, exam in CASES:
        assert not re.search("new|resolved|larger|smaller|unchanged|increased|decreased|prior", exam.report())


def test_everything_is_compared_with_a_prior():
    words = "new|resolved|larger|smaller|unchanged|increased|decreased|placed|removed"
    for prior, exam in CASES:
        if prior is not None and (prior.findings or exam.findings):
            assert re.search(words, exam.report(prior), re.IGNORECASE)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ((), (SMALL,), "new small left pleural effusion"),
        ((SMALL,), (LARGE,), "now large"),
        ((LARGE,), (SMALL,), "now small"),
        ((SMALL,), (SMALL,), "unchanged"),
        ((SMALL,), (), "left pleural effusion has resolved"),
    ],
)
def test_a_change_is_told_with_what_it_changed_to(before, now, words):
    for seed in range(4):
        assert words in findings_text(now, before, seed).lower()


def test_what_is_present_or_just_gone_is_never_denied():
    for prior, exam in CASES:
        seen = {finding.name for finding in (*exam.findings, *(prior.findings if prior else ()))}
        denied = [line for line in exam.report(prior).split(". ") if line.startswith("There is no")]
        assert not [(name, line) for name in seen for line in denied if name in line]


def test_a_normal_film_has_a_normal_report():
    assert findings_text((), None, 0).endswith("There is no pleural effusion or pneumothorax.")
    assert impression_text((), None) == "No acute finding."


def test_the_same_exam_is_worded_the_same_way_twice_and_others_vary():
    assert exams(3, 1)[0].report() == exams(3, 1)[0].report()
    assert len({findings_text((SMALL,), None, seed) for seed in range(30)}) > 5


def test_no_sentence_is_written_that_is_not_in_the_closed_list():
    known = set(all_sentences())
    for prior, exam in CASES:
        for text in (
            exam.report(),
            exam.report(prior),
            exam.impression(),
            exam.impression(prior),
            exam.indication,
        ):
            assert set(text.removesuffix(".").split(". ")) <= known


def test_the_vocabulary_is_small_and_closed():
    words = set(all_words())

    assert len(words) < 130
    assert {word for line in all_sentences() for word in line.split()} == words


def test_every_wording_of_a_change_differs_from_every_other_change():
    for finding in possible_findings():
        changes = [Change.NEW, Change.UNCHANGED, Change.RESOLVED]
        wordings = [set(sentences(finding, change)) for change in (None, *changes)]
        assert len(set.union(*wordings)) == sum(map(len, wordings))
