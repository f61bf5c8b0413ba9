"""Answers are read strictly; what is not understood is kept, and nothing raises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines.m4cxr.parse import (
    Places,
    parse_findings,
    parse_grounding,
    parse_placed_findings,
    parse_places,
    tidy,
)
from inference.engines.report_words import (
    FINDING_NAMES,
    change_of,
    comparison_words,
    measurements,
    resolved_findings,
    side_of,
)
from inference.reading import Change

GARBAGE = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            [
                *FINDING_NAMES,
                ", ",
                ".",
                " ",
                "[",
                "]",
                "Yes. ",
                "Not found.",
                "no ",
                "new",
                "left",
                "and",
                "7" * 4301,
            ]
        )
        | st.text("[]0123456789, ٣²", max_size=12),
        max_size=12,
    ).map("".join),
)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("cardiomegaly, pleural effusion.", ("cardiomegaly", "pleural effusion")),
        (" Cardiomegaly,pleural effusion</s>", ("cardiomegaly", "pleural effusion")),
        ("edema, edema.", ("edema",)),
        ("Not found.", ()),
        (", ".join(FINDING_NAMES) + ".", FINDING_NAMES),
    ],
)
def test_a_list_of_findings_is_read(answer, names):
    listed = parse_findings(answer)

    assert listed.names == names
    assert listed.problems == ()


@pytest.mark.parametrize(
    ("answer", "names", "problem"),
    [
        ("", (), "The model gave no answer to the question for findings."),
        ("edema, foot.", ("edema",), 'The list of findings holds what is no finding: "foot".'),
        ("no edema.", (), 'The list of findings holds what is no finding: "no edema".'),
    ],
)
def test_what_is_no_finding_is_kept_as_a_problem(answer, names, problem):
    listed = parse_findings(answer)

    assert (listed.names, listed.problems) == (names, (problem,))


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("There is no edema, pneumonia, or pneumothorax.", ()),
        ("no pneumothorax, pleural effusion", ()),
        ("cannot exclude pneumonia, edema", ()),
        ("not found, edema.", ()),
        ("Not found. edema", ()),
        ("cardiomegaly, no edema, pneumonia", ("cardiomegaly",)),
        ("cardiomegaly, pleural effusion. No pneumothorax.", ("cardiomegaly", "pleural effusion")),
        ("edema, pneumonia are not present.", ()),
    ],
)
def test_nothing_that_is_denied_is_taken_for_present(answer, names):
    listed = parse_findings(answer)

    assert listed.names == names
    assert listed.problems


def test_boxes_of_a_finding_are_read():
    said = parse_grounding("Yes. [0,63,25,90], [57, 66,90,98].", "edema")

    assert said.is_present is True
    assert said.boxes == ((0, 63, 25, 90), (57, 66, 90, 98))
    assert said.problems == ()


def test_not_present_is_an_answer_and_no_problem():
    said = parse_grounding("Not present.", "edema")

    assert (said.is_present, said.boxes, said.problems) == (False, (), ())


@pytest.mark.parametrize(
    "box", ["[0,63,101,90]", "[25,63,25,90]", "[30,63,25,90]", "[0,0,9,99999999999999999999]"]
)
def test_a_box_that_is_none_is_refused_and_kept(box):
    said = parse_grounding(f"Yes. [1,2,3,4], {box}.", "edema")

    assert said.boxes == ((1, 2, 3, 4),)
    assert said.problems == (f'The model gave a place that is none: "{box}".',)


@pytest.mark.parametrize(
    "answer", ["", "Yes.", "Perhaps [1,2,3,4].", "Not present. [1,2,3,4]", "Yes. [1,2,3]"]
)
def test_an_answer_on_a_place_that_is_not_understood_is_kept(answer):
    said = parse_grounding(answer, "edema")

    assert any(f'where edema is could not be read: "{answer}"' in problem for problem in said.problems)


@pytest.mark.parametrize(
    ("answer", "boxes"),
    [
        ("Not present. [1,2,3,4]", ()),
        ("No. [1,2,3,4].", ()),
        ("Not present in [1,2,3,4].", ()),
        ("Edema cannot be seen in [1,2,3,4].", ()),
        ("Yes. [1,2,3,4], but not [5,6,7,8].", ((1, 2, 3, 4),)),
    ],
)
def test_no_box_is_taken_from_behind_a_denial(answer, boxes):
    assert parse_grounding(answer, "edema").boxes == boxes
    assert parse_places(answer, "edema").boxes == boxes
    assert parse_places(answer, "edema").problems


def test_a_box_without_name_belongs_to_the_name_before():
    placed = parse_placed_findings("consolidation [57,66,90,98], atelectasis [0,63,25,90], [6,12,25,31].")

    assert placed.findings == (
        ("consolidation", ((57, 66, 90, 98),)),
        ("atelectasis", ((0, 63, 25, 90), (6, 12, 25, 31))),
    )
    assert placed.problems == ()
    assert parse_placed_findings("Not found.").findings == ()


def test_a_place_that_is_said_again_is_one_place():
    again = "[0,63,25,90], [0,63,25,90], [9,9,1,1], [9,9,1,1]."

    said = parse_grounding(f"Yes. {again}", "edema")
    placed = parse_placed_findings(f"edema {again}")

    assert said.boxes == ((0, 63, 25, 90),)
    assert placed.findings == (("edema", ((0, 63, 25, 90),)),)
    assert parse_places(again, "lung").boxes == ((0, 63, 25, 90),)
    assert said.problems == ('The model gave a place that is none: "[9,9,1,1]".',)


def test_a_box_behind_what_was_not_asked_for_is_refused_and_told():
    placed = parse_placed_findings("hernia [1,2,3,4], edema [1,2,3,4].", ("hernia",))

    assert placed.findings == (("hernia", ((1, 2, 3, 4),)),)
    assert placed.problems == ('A box stands behind what was not asked for: "edema".',)


@pytest.mark.parametrize(
    ("answer", "boxes"),
    [
        ("[2,8,45,90].", ((2, 8, 45, 90),)),
        ("[2,8,45,90], [53,8,96,90]", ((2, 8, 45, 90), (53, 8, 96, 90))),
    ],
)
def test_boxes_alone_are_read(answer, boxes):
    assert parse_places(answer, "lung") == Places(boxes)


@pytest.mark.parametrize("answer", ["", "Not present.", "the lung [2,8,45,90].", "[2,8,45]"])
def test_an_answer_that_is_not_boxes_alone_is_told(answer):
    assert f'where lung is could not be read: "{answer}"' in parse_places(answer, "lung").problems[-1]


@settings(max_examples=60)
@given(GARBAGE)
def test_no_answer_makes_the_parsers_raise_and_none_is_lost_in_silence(answer):
    listed, said, placed = (
        parse_findings(answer),
        parse_grounding(answer, "edema"),
        parse_placed_findings(answer),
    )

    assert listed.names or listed.problems or tidy(answer).lower().rstrip(". \n") == "not found"
    assert said.is_present is not None or said.problems
    places = parse_places(answer, "lung")
    assert places.boxes or places.problems
    assert placed.findings or placed.problems or tidy(answer).lower().rstrip(".") == "not found"
    assert all(0 <= box[0] < box[2] <= 100 and 0 <= box[1] < box[3] <= 100 for box in said.boxes)


@settings(max_examples=60)
@given(GARBAGE)
def test_no_report_makes_the_rules_raise(report):
    for name in FINDING_NAMES:
        assert change_of(name, report) in (None, *Change)
        assert side_of(name, report) in (None, "left", "right", "bilateral")


@pytest.mark.parametrize(
    ("report", "finding", "change"),
    [
        (
            "There is a new moderate right pleural effusion and stable cardiomegaly.",
            "pleural effusion",
            "new",
        ),
        (
            "There is a new moderate right pleural effusion and stable cardiomegaly.",
            "cardiomegaly",
            "unchanged",
        ),
        ("Left effusion and edema are unchanged.", "pleural effusion", "unchanged"),
        ("The heart is enlarged, unchanged.", "cardiomegaly", "unchanged"),
        ("New effusion and edema.", "edema", None),
        ("Effusion, and new edema.", "pleural effusion", None),
        ("The pneumothorax has resolved.", "pneumothorax", "resolved"),
        ("The pneumothorax has not resolved.", "pneumothorax", None),
        ("The pneumothorax has partially resolved.", "pneumothorax", "smaller"),
        ("The pneumothorax has almost completely resolved.", "pneumothorax", "smaller"),
        ("Near complete resolution of the edema.", "edema", "smaller"),
        ("The effusion is larger. Follow the effusion to resolution.", "pleural effusion", "larger"),
        ("The right effusion has resolved, the left effusion is larger.", "pleural effusion", None),
        ("The chest tube has been removed.", "support devices", None),
        ("Bilateral pleural effusions, right larger than left.", "pleural effusion", None),
        ("The right pleural effusion is larger than the left.", "pleural effusion", None),
        ("Effusions, greater on the right than on the left, unchanged.", "pleural effusion", "unchanged"),
        ("The effusion is larger than before.", "pleural effusion", "larger"),
        ("New larger left effusion.", "pleural effusion", None),
        ("Consolidation has not significantly changed.", "consolidation", "unchanged"),
        ("Pneumothorax is no longer seen.", "pneumothorax", "resolved"),
        ("No new consolidation, effusion, or pneumothorax.", "pneumothorax", None),
        ("There is no pneumothorax and the left effusion has increased.", "pleural effusion", "larger"),
        ("Edema shows no significant change.", "edema", "unchanged"),
        ("The effusion is larger. The effusion is smaller.", "pleural effusion", None),
        ("Cardiomegaly with pleural effusion, worse than before.", "cardiomegaly", None),
        ("The lungs are clear.", "edema", None),
    ],
)
def test_a_change_is_read_from_the_report(report, finding, change):
    assert change_of(finding, report) == change


@pytest.mark.parametrize(
    ("report", "finding", "side"),
    [
        ("Small left pleural effusion.", "pleural effusion", "left"),
        ("Left and right effusions.", "pleural effusion", "bilateral"),
        ("Bilateral effusions, right greater than left.", "pleural effusion", "bilateral"),
        ("A right effusion and left atelectasis.", "pleural effusion", "right"),
        ("A right effusion and left atelectasis.", "atelectasis", "left"),
        ("No left pneumothorax.", "pneumothorax", None),
        ("Cardiomegaly on the left.", "cardiomegaly", None),
        ("There is atelectasis.", "atelectasis", None),
        ("The right effusion has resolved. The left effusion persists.", "pleural effusion", "left"),
        ("The right effusion has resolved.", "pleural effusion", "right"),
        ("Moderate left and small right pleural effusions.", "pleural effusion", "bilateral"),
        ("Small left, moderate right pleural effusions.", "pleural effusion", "bilateral"),
        ("Moderate left and small right effusions and edema.", "pleural effusion", "bilateral"),
        ("Effusions on the right and on the left.", "pleural effusion", "bilateral"),
        ("The effusion is large on the right, small on the left.", "pleural effusion", "bilateral"),
        ("Pleural effusions, left greater than right.", "pleural effusion", "bilateral"),
        ("Effusions, greater on the left than the right, and edema.", "pleural effusion", "bilateral"),
        ("The right pleural effusion is larger than the left.", "pleural effusion", "bilateral"),
        ("Bibasilar atelectasis, left greater than right.", "atelectasis", "bilateral"),
        ("Bibasal atelectasis.", "atelectasis", "bilateral"),
        ("Right and left effusions. The right effusion is moderate.", "pleural effusion", "bilateral"),
        ("Bibasilar opacities. A nodular opacity at the left apex.", "lung opacity", "bilateral"),
        ("Small left pneumothorax, the right lung is clear.", "pneumothorax", "left"),
        ("Small left pneumothorax, the right hemidiaphragm is elevated.", "pneumothorax", "left"),
        ("Small left pneumothorax, no right pneumothorax.", "pneumothorax", "left"),
        ("Atelectasis on the left and small right effusion.", "atelectasis", "left"),
        ("Atelectasis on the left and small right effusion.", "pleural effusion", "right"),
        ("Left atelectasis and right jugular catheter.", "atelectasis", "left"),
        ("Small left pneumothorax, unchanged, status post right lobectomy.", "pneumothorax", "left"),
        ("Moderate left pleural effusion, none on the right.", "pleural effusion", "left"),
        ("Right nodule and elevation of the left hemidiaphragm.", "lung lesion", "right"),
        ("Patient rotated to the right, opacity at the left base.", "lung opacity", "left"),
        (
            "Opacities in the right upper and left lower lobes, left diaphragm high.",
            "lung opacity",
            "bilateral",
        ),
        ("Large left pneumothorax shifts the mediastinum to the right.", "pneumothorax", None),
        ("Right pneumothorax after removal of the left chest tube.", "pneumothorax", None),
        ("Opacity of the right base compared to the left, perhaps consolidation.", "lung opacity", None),
        ("Bilateral effusions larger at the left base, and edema.", "pleural effusion", "bilateral"),
        ("Displaced fractures of the left fifth rib and right sixth rib.", "fracture", "bilateral"),
        ("Opacities in the right upper and left lower lobe and volume loss.", "lung opacity", "bilateral"),
        ("Pneumothorax on the right after thoracentesis, and on the left.", "pneumothorax", "bilateral"),
        ("Pneumothorax on the right after thoracentesis and left lobectomy.", "pneumothorax", "right"),
        (
            "Right effusion obscures the diaphragm and the left costophrenic angle.",
            "pleural effusion",
            "right",
        ),
        ("A left opacity is identified both on PA and lateral views.", "lung opacity", "left"),
        ("A left opacity on both views.", "lung opacity", "left"),
        ("Opacities at both bases.", "lung opacity", "bilateral"),
    ],
)
def test_a_side_is_read_from_the_report(report, finding, side):
    assert side_of(finding, report) == side


def test_findings_that_have_gone_are_listed():
    assert resolved_findings("The edema has resolved. Effusion is smaller.") == ("edema",)


def test_words_of_comparison_are_listed_once():
    report = "Compared with the prior film the heart is unchanged, the lungs unchanged."

    assert comparison_words(report) == ("compared", "prior", "unchanged")
    assert comparison_words("The lungs are clear.") == ()


def test_measurements_are_listed():
    assert measurements("A 35 cm tube, a 2 x 3 cm mass, a T10 fracture.") == ("35 cm", "2 x 3 cm")
