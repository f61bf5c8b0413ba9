"""What two engines said of the same case, held against one another, finding by finding. Pure.

Which of the two is right nobody says here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from inference.reading import Box, Finding, Reading, Status

OVERLAP_MIN = 0.5
"""Boxes of one finding that overlap less are another place: the usual bound of detection (M. Everingham and others,
"The PASCAL Visual Object Classes Challenge", International Journal of Computer Vision 88, 2010)."""


@dataclass(frozen=True, slots=True)
class Named:
    """What one reading says of one finding, however often it names it.

    Attributes:
        status: PRESENT if it says so anywhere, else UNCERTAIN.
        sides, changes: as said, sorted; () if nothing was said.
    """

    status: Status
    sides: tuple[str, ...]
    changes: tuple[str, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class FindingPair:
    """One finding that at least one of the two readings of a case names.

    Attributes:
        first, second: None if that engine did not name it, or said that it is absent.
        overlap: intersection over union of the boxes of both, 0..1; None unless both have a box.
    """

    name: str
    first: Named | None
    second: Named | None
    overlap: float | None

    def difference(self) -> str | None:
        """Says in words in what they differ, or None if they do not."""
        if self.first is None or self.second is None:
            return f"{self.name}: only the {'second' if self.first is None else 'first'}"
        first, second = self.first, self.second
        said = [
            f"{_words(one)} by the first, {_words(other)} by the second"
            for one, other in (
                ((first.status,), (second.status,)),
                (first.sides, second.sides),
                (first.changes, second.changes),
            )
            if one != other
        ]
        if self.overlap is not None and self.overlap < OVERLAP_MIN:
            said.append(f"in another place (overlap {self.overlap:.2f})")
        return f"{self.name}: {'; '.join(said)}" if said else None


@dataclass(frozen=True, slots=True)
class CasePair:
    """Two readings of one case.

    Attributes:
        not_asked: what one of them names and the other was not asked about; it is not among `findings`.
        same_words: whether the texts of both drafts are equal, letter for letter.
        first_seconds, second_seconds: as each reading says.
    """

    study_instance_uid: str
    findings: tuple[FindingPair, ...]
    not_asked: tuple[str, ...]
    same_words: bool
    first_seconds: float
    second_seconds: float

    def differences(self) -> tuple[str, ...]:
        """A sentence for each finding in which they differ; () if in none."""
        return tuple(words for pair in self.findings if (words := pair.difference()) is not None)


@dataclass(frozen=True, slots=True)
class FindingCount:
    """One finding over all cases, counted in cases.

    Attributes:
        other_status, other_side, other_change: of `both`; a side or a change that only one of them says counts too.
        overlaps: of how many of `both` both have a box.
        overlap: their median, 0..1; None if `overlaps` is 0.
    """

    name: str
    both: int
    only_first: int
    only_second: int
    other_status: int
    other_side: int
    other_change: int
    overlaps: int
    overlap: float | None


def pair_of(study_instance_uid: str, first: Reading, second: Reading) -> CasePair:
    """Holds two readings of one case against one another."""
    theirs = _named(first.findings), _named(second.findings)
    names = sorted(set().union(*theirs))
    not_asked = tuple(name for name in names if not (_speaks_of(first, name) and _speaks_of(second, name)))
    return CasePair(
        study_instance_uid,
        tuple(
            _finding_pair(name, *(one.get(name) for one in theirs)) for name in names if name not in not_asked
        ),
        not_asked,
        (first.report, first.impression) == (second.report, second.impression),
        first.seconds,
        second.seconds,
    )


def _speaks_of(reading: Reading, name: str) -> bool:
    """Tells whether an engine might have named a finding: whoever gives scores gives one of each that it asks for."""
    asked = {score.name for score in reading.scores}
    return not asked or name in asked or any(finding.name == name for finding in reading.findings)


def counts(cases: Sequence[CasePair]) -> tuple[FindingCount, ...]:
    """Counts each finding that anybody named, by name."""
    pairs: dict[str, list[FindingPair]] = {}
    for case in cases:
        for pair in case.findings:
            pairs.setdefault(pair.name, []).append(pair)
    return tuple(_count(name, pairs[name]) for name in sorted(pairs))


def _count(name: str, pairs: Sequence[FindingPair]) -> FindingCount:
    both = [(one.first, one.second) for one in pairs if one.first is not None and one.second is not None]
    overlaps = [one.overlap for one in pairs if one.overlap is not None]
    return FindingCount(
        name,
        len(both),
        only_first=sum(one.second is None for one in pairs),
        only_second=sum(one.first is None for one in pairs),
        other_status=sum(first.status != second.status for first, second in both),
        other_side=sum(first.sides != second.sides for first, second in both),
        other_change=sum(first.changes != second.changes for first, second in both),
        overlaps=len(overlaps),
        overlap=median(overlaps) if overlaps else None,
    )


def _finding_pair(name: str, first: Named | None, second: Named | None) -> FindingPair:
    if first is None or second is None or not (first.boxes and second.boxes):
        return FindingPair(name, first, second, None)
    return FindingPair(name, first, second, overlap(first.boxes, second.boxes))


def _named(findings: Iterable[Finding]) -> dict[str, Named]:
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.status is not Status.ABSENT:
            by_name.setdefault(finding.name, []).append(finding)
    return {name: _merged(several) for name, several in by_name.items()}


def _merged(findings: Sequence[Finding]) -> Named:
    is_present = any(finding.status is Status.PRESENT for finding in findings)
    return Named(
        Status.PRESENT if is_present else Status.UNCERTAIN,
        tuple(sorted({finding.side for finding in findings if finding.side is not None})),
        tuple(sorted({str(finding.change) for finding in findings if finding.change is not None})),
        tuple(box for finding in findings for box in finding.boxes),
    )


def overlap(first: Sequence[Box], second: Sequence[Box]) -> float:
    """Gives the intersection over union of what two sets of boxes cover, over all images together, 0..1."""
    common = whole = 0.0
    for key in {box.image_key for box in (*first, *second)}:
        theirs = [[box for box in boxes if box.image_key == key] for boxes in (first, second)]
        for area, by_first, by_second in _cells(*theirs):
            common += area if by_first and by_second else 0.0
            whole += area if by_first or by_second else 0.0
    return common / whole


def _cells(first: Sequence[Box], second: Sequence[Box]) -> Iterator[tuple[float, bool, bool]]:
    """Cuts an image at every edge of a box: (area, covered by the first, by the second) of each cell."""
    columns = sorted({edge for box in (*first, *second) for edge in (box.left, box.right)})
    rows = sorted({edge for box in (*first, *second) for edge in (box.top, box.bottom)})
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            cell = Box("", left, top, right, bottom)
            area = (right - left) * (bottom - top)
            yield area, _covers(first, cell), _covers(second, cell)


def _covers(boxes: Sequence[Box], cell: Box) -> bool:
    return any(
        box.left <= cell.left
        and cell.right <= box.right
        and box.top <= cell.top
        and cell.bottom <= box.bottom
        for box in boxes
    )


def _words(said: Sequence[str]) -> str:
    return " and ".join(said) or "not said"
