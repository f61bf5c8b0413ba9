"""A list of findings is read however it is laid out; what is not understood is kept, and nothing raises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines.medgemma.parse import parse_findings, tidy
from inference.engines.report_words import FINDING_NAMES

LISTS = st.lists(
    st.sampled_from(
        [
            *FINDING_NAMES,
            *(
                ", ",
                "\n",
                "- ",
                "* ",
                "**",
                "1. ",
                "2) ",
                ".",
                ":",
                " ",
                "and ",
                "none",
                "no ",
                "n't ",
                "not ",
            ),
            *("Findings:", "Here are the findings present in the current exam:", "<end_of_turn>", "#"),
        ]
    )
    | st.text(max_size=6),
    max_size=14,
).map("".join)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("cardiomegaly, pleural effusion", ("cardiomegaly", "pleural effusion")),
        (" Cardiomegaly,PLEURAL  EFFUSION.<end_of_turn>", ("cardiomegaly", "pleural effusion")),
        ("* **Cardiomegaly**\n* **Pleural effusion**\n", ("cardiomegaly", "pleural effusion")),
        ("- cardiomegaly,\n- edema.", ("cardiomegaly", "edema")),
        ("1. Cardiomegaly\n2. Edema\n10) Fracture", ("cardiomegaly", "edema", "fracture")),
        ("1. cardiomegaly, 2. edema", ("cardiomegaly", "edema")),
        ("cardiomegaly, edema, and support devices.", ("cardiomegaly", "edema", "support devices")),
        ("Findings: cardiomegaly; edema", ("cardiomegaly", "edema")),
        ("**Findings present in the current exam:**\n\n* Edema", ("edema",)),
        ("Here are the findings present in the current exam:\n- `edema`", ("edema",)),
        ("edema, edema", ("edema",)),
        (", ".join(FINDING_NAMES), FINDING_NAMES),
    ],
)
def test_a_list_of_findings_is_read(answer, names):
    listed = parse_findings(answer)

    assert (listed.names, listed.problems) == (names, ())


@pytest.mark.parametrize(
    "answer",
    ["none", "None.", '"none"', "**None**", "No findings", "None of the listed findings are present."],
)
def test_none_is_an_answer_and_no_problem(answer):
    listed = parse_findings(answer)

    assert (listed.names, listed.problems) == ((), ())


@pytest.mark.parametrize(
    ("answer", "names", "kept"),
    [
        ("edema, foot", ("edema",), "foot"),
        ("possible edema, fracture", (), "possible edema, fracture"),
        ("edema (mild)", (), "edema (mild)"),
        ("cardiomegaly, edema (possible), fracture", ("cardiomegaly", "fracture"), "edema (possible)"),
        ("The lungs are clear.", (), "the lungs are clear"),
        ("...", (), "..."),
    ],
)
def test_what_is_no_finding_is_kept_as_a_problem(answer, names, kept):
    listed = parse_findings(answer)

    assert listed.names == names
    assert listed.problems == (f'The list of findings holds what is no finding: "{kept}".',)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("cardiomegaly, no edema, pneumonia", ("cardiomegaly",)),
        ("Findings not present:\n- edema\n- pneumonia", ()),
        ("Unlikely:\n- edema", ()),
        ("edema: absent, pneumonia", ()),
        ("I can't see edema, pneumonia", ()),
        ("I can’t see edema, pneumonia", ()),
        ("none, edema", ()),
        ("None of these but: edema", ()),
        ("Cannot exclude edema, pneumonia", ()),
        ("Possible edema, pneumonia", ()),
        ("Unlikely edema, pneumonia", ()),
        ("Resolved edema, pneumonia", ()),
        ("Rule out pneumonia, edema", ()),
        ("edema, pneumonia are not present", ()),
        ("edema, pneumonia absent", ()),
        ("edema, pneumonia, fracture - none of these", ()),
        ("cardiomegaly\nedema\nnot seen", ()),
        ("pneumonia, edema: absent", ()),
        ("cardiomegaly, edema. Pneumothorax is not present.", ("cardiomegaly", "edema")),
        ("1. cardiomegaly\n2. edema\n\nPneumothorax is not present.", ("cardiomegaly", "edema")),
    ],
)
def test_nothing_that_is_denied_or_doubted_is_taken_for_present(answer, names):
    listed = parse_findings(answer)

    assert listed.names == names
    assert listed.problems


def test_no_answer_is_a_problem():
    assert parse_findings(" <end_of_turn>").problems == (
        "The model gave no answer to the question for findings.",
    )


def test_a_long_answer_is_quoted_in_part():
    problem = parse_findings("The heart is enlarged " * 20).problems[0]

    assert len(problem) < 150


@settings(max_examples=150)
@given(LISTS)
def test_no_answer_makes_the_parser_raise_and_none_is_lost_in_silence(answer):
    listed = parse_findings(answer)

    assert set(listed.names) <= set(FINDING_NAMES)
    assert (
        listed.names
        or listed.problems
        or any(word in tidy(answer).lower() for word in ("none", "no findings"))
    )
