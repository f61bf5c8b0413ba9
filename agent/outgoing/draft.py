"""A draft as messages tell it: what is in it, whose it is, and what it replaces. Pure."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from agent.dicom.uids import derived_uid
from agent.manifest import ManifestOrder
from agent.outputs.marks import Mark
from agent.outputs.report_sr import impression_of, named, split_report
from agent.outputs.stamp import Device
from agent.outputs.wording import CONSIDERED, as_text, banner, takes_the_place, withdrawn
from inference.reading import Box, Finding, Reading, Score, Status
from storage.identity import whole_date
from storage.records import ResultObject, Study

_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Draft:
    """One revision of a study's draft, or its withdrawal.

    Attributes:
        order: what the study was ordered by, or None if nobody told us.
        revision: 1, 2, ... of the study; not each of them came as far as a draft.
        replaces: the revision whose draft this one takes the place of, or None.
        made_at: aware, in the zone of the site.
        observed_at: time of the study, aware; None if it has none, or a date alone.
        marks: the places that the DICOM objects show, of the findings of `reading`.
        indication: why the exam was asked for, or None.
        reasons: how the draft came about, sentences, without the conversation with the model.
        objects: our DICOM objects of this revision.
        earlier: what each earlier draft found, to be taken back where it is found no more.
        withdrawn_because: why the draft was withdrawn, a sentence; None for a draft.
    """

    study: Study
    order: ManifestOrder | None
    revision: int
    made_at: datetime
    observed_at: datetime | None
    device: Device
    reading: Reading
    marks: tuple[Mark, ...] = ()
    indication: str | None = None
    reasons: tuple[str, ...] = ()
    objects: tuple[ResultObject, ...] = ()
    replaces: int | None = None
    earlier: tuple[tuple[Finding, ...], ...] = ()
    withdrawn_because: str | None = None

    @property
    def report_uid(self) -> str:
        """Identifies the report of the study, the same in every revision."""
        return derived_uid("draft report", self.study.study_instance_uid)

    @property
    def procedure(self) -> str:
        """What was done, in the words of the order, else of the images; "" if nobody says."""
        ordered = self.order.requested_procedure if self.order is not None else ""
        return (ordered or self.study.study_description).strip()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report. `key` is findings, impression, considered or reasons; lines hold no control character."""

    key: str
    title: str
    lines: tuple[str, ...]


def banner_of(draft: Draft) -> str:
    """The first words of everything that is sent."""
    return banner(draft.reading.engine) + (" - WITHDRAWN" if draft.withdrawn_because is not None else "")


def chain_of(draft: Draft) -> str:
    """What this revision replaces, a sentence; "" if it is the first draft."""
    if draft.withdrawn_because is not None:
        return withdrawn(draft.withdrawn_because)
    if draft.replaces is None:
        return ""
    return takes_the_place(draft.revision, draft.replaces)


def sections_of(draft: Draft, *, with_reasons: bool = True) -> tuple[Section, ...]:
    """The report in words; each section begins with the banner, since systems show them apart."""
    reading = draft.reading
    first = [banner_of(draft), chain_of(draft)]
    if draft.withdrawn_because is not None:
        return (_section("findings", "Findings", first),)
    findings, _ = split_report(reading.report)
    sections = [_section("findings", "Findings", [*first, findings or "(no text)", named(reading.findings)])]
    if impression := impression_of(reading):
        sections.append(_section("impression", "Impression", [banner_of(draft), impression]))
    if reading.differential:
        told = [banner_of(draft), CONSIDERED, reading.differential]
        sections.append(_section("considered", "Considered by the model", told))
    if with_reasons and draft.reasons:
        sections.append(_section("reasons", "How this AI draft came about", draft.reasons))
    return tuple(sections)


def _section(key: str, title: str, texts: list[str] | tuple[str, ...]) -> Section:
    lines = [line.strip() for text in texts if text for line in as_text(text).expandtabs(1).split("\r\n")]
    return Section(key, title, tuple(line for line in lines if line))


def text_of(draft: Draft) -> str:
    """The report as one plain text."""
    parts = [f"{one.title.upper()}:\n" + "\n".join(one.lines) for one in sections_of(draft)]
    return "\n\n".join(parts) + "\n"


def study_date_of(study: Study) -> str:
    """YYYYMMDD, local; "" if what was sent is no whole date."""
    return whole_date(study.study_date)


def study_time_of(study: Study) -> str:
    """HH, HHMM or HHMMSS, local, without a fraction and the colons of ACR-NEMA; "" if what was sent is no time."""
    digits = study.study_time.strip().partition(".")[0].replace(":", "")
    return digits if _TIME.fullmatch(digits) else ""


def patient_sex_of(study: Study) -> str:
    """M, F or O (PS3.3 C.2.3); "" for anything else."""
    return study.sex if study.sex in ("M", "F", "O") else ""


def finding_uids(draft: Draft, findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """Identifies findings of a study over its revisions: by name, side, and which one of the same."""
    seen: Counter[tuple[str, str]] = Counter()
    uids = []
    for finding in findings:
        kind = finding.name, finding.side or ""
        number = str(seen[kind])
        uids.append(derived_uid("draft finding", draft.study.study_instance_uid, *kind, number))
        seen[kind] += 1
    return tuple(uids)


def boxes_of(draft: Draft, finding: Finding) -> tuple[Box, ...]:
    """The boxes of a finding of `draft.reading`, as every output shows them; () for one of an earlier draft."""
    return tuple(mark.box for mark in draft.marks if mark.finding is finding)


def score_of(draft: Draft, finding: Finding) -> Score | None:
    """The score of a finding of `draft.reading`; None if the model gave none, or for one of an earlier draft."""
    if finding not in draft.reading.findings:
        return None
    return next((one for one in draft.reading.scores if one.name == finding.name), None)


def is_named_present(finding: Finding) -> bool:
    """Only such a finding is sent as a value: of "pneumothorax, absent" a careless reader keeps the first word."""
    return finding.status is Status.PRESENT
