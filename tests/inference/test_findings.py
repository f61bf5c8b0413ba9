"""What a list names and what a report says of it make one finding, or a contradiction that is told."""

from inference.engines.findings import findings_of
from inference.reading import Finding, Status


def test_a_finding_listed_as_present_and_called_resolved_is_a_contradiction():
    findings, problems = findings_of(["edema"], "The edema has resolved.", {}, has_prior=True)

    assert findings == (Finding("edema", Status.PRESENT),)
    assert problems == ("The model lists edema as present, and its report calls it resolved.",)
