"""A report is read with care: plain words are taken, hedged ones are uncertain, and nothing raises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines.cxr_llava.parse import parse_report, tidy
from inference.engines.cxr_llava.prompts import FINDING_NAMES
from inference.reading import Status

PRESENT, ABSENT, UNCERTAIN = Status.PRESENT, Status.ABSENT, Status.UNCERTAIN

GLUE = (
    *(", ", ". ", ": ", "; ", "? ", "\n", "/", " and ", " or ", " with ", " but ", " a ", " left "),
    *(" no ", " not ", " without ", " is ", " are ", " may ", " heart ", " normal ", " not seen "),
)
GARBAGE = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from([*FINDING_NAMES, *GLUE]),
        max_size=24,
    ).map("".join),
)


@pytest.mark.parametrize(
    ("report", "finding"),
    [
        ("There is a small left pleural effusion.", "pleural effusion"),
        ("Bibasilar atelectasis.", "atelectasis"),
        ("Right upper lobe consolidation is noted.", "consolidation"),
        ("The cardiac silhouette is mildly enlarged.", "cardiomegaly"),
        ("Moderate cardiomegaly with mild pulmonary edema.", "edema"),
        ("Cardiomegaly without effusion or pneumothorax.", "cardiomegaly"),
        ("There is no pneumothorax, but a small effusion.", "pleural effusion"),
        ("There is no pneumothorax and the left effusion has increased.", "pleural effusion"),
        ("No change in the left pleural effusion.", "pleural effusion"),
        ("A right effusion is seen, and the opacity may be atelectasis.", "pleural effusion"),
        ("Pneumothorax absent, effusion small.", "pleural effusion"),
        ("The heart is unremarkable with left effusion.", "pleural effusion"),
        ("Effusion - no change.", "pleural effusion"),
    ],
)
def test_what_a_report_says_plainly_is_present(report, finding):
    assert parse_report(report).statuses[finding] is PRESENT


@pytest.mark.parametrize(
    ("report", "finding"),
    [
        ("No pneumothorax.", "pneumothorax"),
        ("There is no evidence of pleural effusion or pneumothorax.", "pneumothorax"),
        ("No consolidation, effusion, or pneumothorax is seen.", "pleural effusion"),
        ("No atelectasis, edema, effusion, and pneumothorax.", "pneumothorax"),
        ("The lungs are clear without focal consolidation.", "consolidation"),
        ("The lungs do not show consolidation.", "consolidation"),
        ("Neither effusion nor pneumothorax is seen.", "pneumothorax"),
        ("Pleural effusion and pneumothorax are not seen.", "pleural effusion"),
        ("The edema has resolved.", "edema"),
        ("Pneumothorax: None.", "pneumothorax"),
        ("Pleural effusion - none.", "pleural effusion"),
        ("Pleural effusion (no).", "pleural effusion"),
        ("Effusion, nil.", "pleural effusion"),
        ("Absent pleural effusion.", "pleural effusion"),
        ("There is absent pleural effusion.", "pleural effusion"),
        ("Nil pneumothorax.", "pneumothorax"),
        ("Pneumothorax is not seen, and the left lung is clear.", "pneumothorax"),
        ("The heart is not enlarged.", "cardiomegaly"),
        ("The heart is normal in size.", "cardiomegaly"),
        ("Normal heart size.", "cardiomegaly"),
        ("Heart size and mediastinal contours are normal.", "cardiomegaly"),
        ("The heart is normal with enlarged hila.", "cardiomegaly"),
        ("No edema/effusion.", "pleural effusion"),
        ("The cardiomediastinal silhouette is within normal limits.", "cardiomegaly"),
    ],
)
def test_what_a_report_denies_plainly_is_absent(report, finding):
    assert parse_report(report).statuses[finding] is ABSENT


@pytest.mark.parametrize(
    ("report", "finding"),
    [
        ("Possible left lower lobe consolidation.", "consolidation"),
        ("Opacity may represent atelectasis.", "atelectasis"),
        ("Opacity suspicious for consolidation.", "consolidation"),
        ("A small pneumothorax cannot be excluded.", "pneumothorax"),
        ("Effusion or pleural thickening.", "pleural effusion"),
        ("Atelectasis vs. consolidation.", "consolidation"),
        ("No large pleural effusion.", "pleural effusion"),
        ("No definite pneumothorax.", "pneumothorax"),
        ("No left pneumothorax.", "pneumothorax"),
        ("The left pneumothorax is not seen.", "pneumothorax"),
        ("No pneumothorax on the left.", "pneumothorax"),
        ("No pneumothorax, right.", "pneumothorax"),
        ("Pleural effusions are not seen on the left.", "pleural effusion"),
        ("Pneumothorax is no longer seen on the right.", "pneumothorax"),
        ("Pneumothorax is not seen at the left apex.", "pneumothorax"),
        ("Consolidation is not seen in the right lung.", "consolidation"),
        ("Effusion not present on right but present on left.", "pleural effusion"),
        ("Pneumothorax is absent on the right, and small on the left.", "pneumothorax"),
        ("Effusion: none on the left.", "pleural effusion"),
        ("Edema is gone.", "edema"),
        ("Doubtful effusion.", "pleural effusion"),
        ("Hardly any effusion.", "pleural effusion"),
        ("Never had pneumothorax.", "pneumothorax"),
        ("No acute process, atelectasis at the left base.", "atelectasis"),
        ("No pleural effusion and mild cardiomegaly.", "cardiomegaly"),
        ("No pneumonia with pleural effusion.", "pleural effusion"),
        ("There may not be an effusion.", "pleural effusion"),
        ("Not without effusion.", "pleural effusion"),
        ("No more than a small effusion.", "pleural effusion"),
        ("No resolution of the effusion.", "pleural effusion"),
        ("No interval development of pneumothorax.", "pneumothorax"),
        ("Consolidation: the lungs are clear.", "consolidation"),
        ("Is there a pneumothorax?", "pneumothorax"),
        ("Heart size is at the upper limits of normal.", "cardiomegaly"),
        ("The heart is not significantly enlarged.", "cardiomegaly"),
        (
            "The report includes information about atelectasis, edema, and pneumothorax.",
            "pneumothorax",
        ),
    ],
)
def test_what_a_report_hedges_is_uncertain(report, finding):
    assert parse_report(report).statuses[finding] is UNCERTAIN


@pytest.mark.parametrize(
    "report", ["", "The lungs are clear.", "Pericardial effusion.", "Soft tissue edema.", "No heart failure."]
)
def test_what_a_report_does_not_mention_is_not_listed(report):
    assert parse_report(report).statuses == {}


@pytest.mark.parametrize(
    ("report", "status"),
    [
        ("No left effusion. Small right effusion.", PRESENT),
        ("Possible effusion. There is a small effusion.", PRESENT),
        ("No pleural effusion. An effusion cannot be excluded.", UNCERTAIN),
    ],
)
def test_sentences_are_weighed_together(report, status):
    assert parse_report(report).statuses["pleural effusion"] is status


def test_a_report_that_contradicts_itself_is_uncertain_and_a_problem():
    stated = parse_report("There is no pneumothorax. A large pneumothorax is seen.")

    assert stated.statuses == {"pneumothorax": UNCERTAIN}
    assert stated.problems == ("The report says that there is pneumothorax, and that there is none.",)


def test_findings_stand_in_the_order_of_the_question():
    stated = parse_report("No pneumothorax. The heart is enlarged. There is atelectasis.")

    assert list(stated.statuses) == ["atelectasis", "cardiomegaly", "pneumothorax"]


@settings(max_examples=100)
@given(GARBAGE)
def test_no_report_makes_the_rules_raise(report):
    stated = parse_report(report)

    assert set(stated.statuses) <= set(FINDING_NAMES)
    assert set(stated.statuses.values()) <= set(Status)


def test_the_structure_of_a_conversation_is_no_part_of_an_answer():
    assert tidy(" The heart is enlarged.</s> [INST]") == "The heart is enlarged."
