"""Puts together what a model's list and its report say of each finding, whichever engine asked."""

from collections.abc import Collection, Mapping

from inference.engines.report_words import change_of, resolved_findings, side_of
from inference.reading import Box, Change, Finding, Status


def findings_of(
    names: Collection[str], report: str, boxes: Mapping[str, tuple[Box, ...]], *, has_prior: bool
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Puts together what the answers say of each finding, and says where they contradict one another.

    No model states an absence. That a finding is ABSENT is inferred here from words: the list does not name it,
    and the report calls it resolved. The others that are not named are not called absent.

    Args:
        names: of the findings that the model listed as present.
        has_prior: whether an earlier exam was shown to the model; without one no change is read.
    """
    findings: list[Finding] = []
    problems: list[str] = []
    for name in names:
        change = change_of(name, report) if has_prior else None
        if change is Change.RESOLVED:
            problems.append(f"The model lists {name} as present, and its report calls it resolved.")
            change = None
        side = side_of(name, report)
        findings.append(Finding(name, Status.PRESENT, change, side, boxes.get(name, ())))
    if has_prior:
        findings += [
            Finding(name, Status.ABSENT, Change.RESOLVED, side_of(name, report))
            for name in resolved_findings(report)
            if name not in boxes and name not in names
        ]
    return tuple(findings), tuple(problems)
