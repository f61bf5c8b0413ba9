"""What a list names and what a report says of it make one finding, or a contradiction that is told."""

import pytest

from inference.engines.findings import findings_of
from inference.reading import Change, Finding, Status


def test_a_finding_listed_as_present_and_called_resolved_is_a_contradiction():
    findings, problems = findings_of(["edema"], "The edema has resolved.", {}, has_prior=True)

    assert findings == (Finding("edema", Status.PRESENT),)
    assert problems == ("The model lists edema as present, and its report calls it resolved.",)


@pytest.mark.parametrize(
    ("report", "name", "side"),
    [
        ("The edema has resolved.", "edema", None),
        ("The previously seen left pneumothorax has completely resolved.", "pneumothorax", "left"),
        ("Interval resolution of the right pleural effusion. No edema.", "pleural effusion", "right"),
        ("Compared to the prior exam the edema has cleared.", "edema", None),
        ("The right effusion has resolved. The left effusion has cleared.", "pleural effusion", "bilateral"),
        ("Pneumothorax is no longer seen while a small effusion remains.", "pneumothorax", None),
    ],
)
def test_what_a_report_calls_resolved_plainly_is_absent(report, name, side):
    findings, problems = findings_of([], report, {}, has_prior=True)

    assert findings == (Finding(name, Status.ABSENT, Change.RESOLVED, side),)
    assert problems == ()


NOT_GONE = [
    ("The right pneumothorax has almost completely resolved.", "pneumothorax"),
    ("The left pleural effusion has largely resolved.", "pleural effusion"),
    ("There has been near complete resolution of the pulmonary edema.", "edema"),
    ("There has been near-complete resolution of the pulmonary edema.", "edema"),
    ("The edema has partially cleared.", "edema"),
    ("The edema has mostly cleared.", "edema"),
    ("The edema has incompletely resolved.", "edema"),
    ("The effusion is resolved or nearly resolved.", "pleural effusion"),
    ("The edema has resolved except at the bases.", "edema"),
    ("The pneumothorax may have resolved.", "pneumothorax"),
    ("Has the pneumothorax resolved?", "pneumothorax"),
    ("Consolidation in the right lower lobe, follow-up to resolution is recommended.", "consolidation"),
    ("Follow-up radiographs are recommended to document resolution of pneumonia.", "pneumonia"),
    ("The opacity may reflect pneumonia, recommend follow up to ensure resolution.", "pneumonia"),
    ("Repeat films until resolution of the lung nodule.", "lung lesion"),
    ("The right effusion has resolved. The left pleural effusion persists.", "pleural effusion"),
    ("The right effusion has resolved and the left effusion persists.", "pleural effusion"),
    ("Right pneumothorax has resolved, small left pneumothorax remains.", "pneumothorax"),
    ("Resolution of the left effusion, with a small effusion on the right.", "pleural effusion"),
    ("The right effusion has resolved. No improvement in the left effusion.", "pleural effusion"),
    ("The chest tube has been removed. The right PICC line ends in the SVC.", "support devices"),
    ("The endotracheal tube has been removed.", "support devices"),
    ("The mediastinal drain is no longer seen.", "enlarged cardiomediastinum"),
    ("The heart failure has resolved.", "cardiomegaly"),
    ("The drain of the left pneumothorax has been removed.", "pneumothorax"),
    ("The effusion has resolved on the right but persists on the left.", "pleural effusion"),
    ("Effusion resolved on the right; persistent on the left.", "pleural effusion"),
    ("The edema has cleared, with some residual at the bases.", "edema"),
]


@pytest.mark.parametrize(("report", "name"), NOT_GONE)
def test_a_finding_that_has_not_plainly_gone_is_not_called_absent(report, name):
    assert findings_of([], report, {}, has_prior=True) == ((), ())


@pytest.mark.parametrize(("report", "name"), NOT_GONE)
def test_a_finding_that_has_not_plainly_gone_and_is_listed_is_no_contradiction(report, name):
    (finding,), problems = findings_of([name], report, {}, has_prior=True)

    assert (finding.status, problems) == (Status.PRESENT, ())
    assert finding.change in (None, Change.SMALLER)


def test_a_finding_that_is_left_on_one_side_is_not_placed_where_it_has_gone():
    report = "The effusion has resolved on the right but persists on the left."

    ((finding,), _) = findings_of(["pleural effusion"], report, {}, has_prior=True)

    assert finding.side in (None, "left")
