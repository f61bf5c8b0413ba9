"""What an ORU^R01 says: the radiologists' reports in it (HL7 v2.5.1 7.3, IHE RAD TF-2 4.28). Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.hl7.message import FIELD_MISSING, Message, MessageError, Segment, refuse_too_long, refuse_too_many
from agent.hl7.times import date_digits, local_digits
from storage.outside_records import Report, ReportSource, ReportStatus
from storage.records import PatientIdentifier

DRAFT_BANNER = "AI DRAFT - NOT"
"""How every text of ours begins; by it a draft is known that came back without its identifiers."""

_OUR_NAME = "preread"
_OWN_WORDS_MAX = 400  # characters in which the banner must stand

# HL7 Tables 0085 and 0123, and the words that systems write instead. Whatever else is no claim to be final.
_STATUSES = {
    **dict.fromkeys(("F", "U", "FINAL", "VERIFIED", "SIGNED"), ReportStatus.FINAL),
    **dict.fromkeys(("C", "CORRECTED", "AMENDED", "ADDENDUM"), ReportStatus.CORRECTED),
    **dict.fromkeys(("X", "D", "W", "CANCELLED", "CANCELED", "DELETED"), ReportStatus.CANCELLED),
}
# OBX-3, the observation identifier's suffix (7.1.3) or LOINC code, to the heading that its text goes under.
_HEADING_OF = {
    "GDT": "",
    "IMP": "IMPRESSION",
    "REC": "RECOMMENDATION",
    "ADT": "ADDENDUM",
    "ADN": "ADDENDUM",
    "TCM": "TECHNOLOGIST COMMENT",
    "59776-5": "FINDINGS",
    "18782-3": "FINDINGS",
    "19005-8": "IMPRESSION",
    "55107-7": "ADDENDUM",
    "55115-0": "INDICATION",
    "18785-6": "INDICATION",
    "11329-0": "INDICATION",
    "18834-2": "COMPARISON",
    "55111-9": "TECHNIQUE",
    "18783-1": "RECOMMENDATION",
}
_TEXT_TYPES = ("TX", "FT", "ST")
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")


@dataclass(frozen=True, slots=True)
class Results:
    """What one message says.

    Attributes:
        reports: in the order of their OBR segments; () if the message is a draft of our own.
        mentioned_uids: every UID in it; if one is of an object of ours, the message is a draft come back.
        is_signed: a person stands behind it (OBR-32, final): then it is hers, whoever drafted it.
        documents: how many embedded documents (OBX-2 ED) were passed over.
    """

    reports: tuple[Report, ...]
    mentioned_uids: frozenset[str]
    is_signed: bool
    documents: int


@dataclass(slots=True)
class _Group:
    """An OBR and what follows until the next one."""

    patient: Segment
    order: Segment
    segments: list[Segment] = field(default_factory=list)


def parse_results(message: Message, received_at: datetime) -> Results:
    """Reads the reports of a message; orders that were read together share the one text that it holds.

    Raises:
        MessageError: if there is no order, no text, no patient, or nothing that tells what it is a report of.
    """
    groups = _groups(message)
    if not groups:
        raise MessageError("it has no OBR segment, so there is no order that it reports on", FIELD_MISSING)
    observations = [segment for group in groups for segment in group.segments if segment.name == "OBX"]
    documents = sum(segment.text(2) in ("ED", "RP") for segment in observations)
    reports = [
        _report(group, lines, message, received_at)
        for group, lines in zip(groups, _lines_of_each(groups), strict=True)
    ]
    kept = tuple(one for one in reports if one.text or one.status is ReportStatus.CANCELLED)
    if not kept:
        held = f", only {documents} embedded or referenced documents (OBX-2 ED, RP)" if documents else ""
        raise MessageError(f"its report has no text (OBX-2 TX, FT or ST){held}", FIELD_MISSING)
    is_signed = all(group.order.raw(32).strip("^&~ ") for group in groups) and all(
        one.status in (ReportStatus.FINAL, ReportStatus.CORRECTED) for one in kept
    )
    is_ours = not is_signed and (_names_us(message) or any(is_draft_text(one.text) for one in kept))
    mentioned = {uid for segment in message.segments for uid in _uids(segment)}
    return Results(() if is_ours else kept, frozenset(mentioned), is_signed, documents)


def is_draft_text(text: str) -> bool:
    """True if a text begins with the words that stand over every draft of ours."""
    return DRAFT_BANNER in " ".join(text[:_OWN_WORDS_MAX].split()).upper()


def status_of(words: list[str]) -> ReportStatus:
    """The status that codes of Table 0085 or 0123 add up to: withdrawn if all are, else what claims least."""
    known = {_STATUSES.get(word.strip().upper(), ReportStatus.PRELIMINARY) for word in words if word.strip()}
    if len(known) > 1:
        known.discard(ReportStatus.CANCELLED)
    order = (
        ReportStatus.PRELIMINARY,
        ReportStatus.CORRECTED,
        ReportStatus.FINAL,
        ReportStatus.CANCELLED,
    )
    return next((status for status in order if status in known), ReportStatus.PRELIMINARY)


def _groups(message: Message) -> list[_Group]:
    groups: list[_Group] = []
    patient = message.first("PID")
    for segment in message.segments:
        if segment.name == "PID":
            patient = segment
            refuse_too_many(len(_listed(segment)))
        elif segment.name == "OBR":
            groups.append(_Group(patient, segment))
        elif groups:
            groups[-1].segments.append(segment)
    return groups


def _lines_of_each(groups: Sequence[_Group]) -> list[list[Segment]]:
    """The lines of text of each order; where one order alone has any, they are also those of orders read with it."""
    own = [[one for one in group.segments if one.name == "OBX" and _is_text(one)] for group in groups]
    told = [place for place, lines in enumerate(own) if _text_of(lines) or _all_are_withdrawn(lines)]
    if len(told) != 1:
        return own
    source, shared = groups[told[0]], own[told[0]]
    return [
        shared if _was_read_with(source, group) else lines for group, lines in zip(groups, own, strict=True)
    ]


def _was_read_with(source: _Group, group: _Group) -> bool:
    """True if an order without any OBX has the patient and the status of the one with the text.

    So senders write exams that were read together. An OBX of its own, if only a document, or another OBR-25 says
    that an order was not: an abdomen's text would be read as a chest's.
    """
    return (
        not any(segment.name == "OBX" for segment in group.segments)
        and group.order.text(25).upper() == source.order.text(25).upper()
        and _patients_of(group.patient) == _patients_of(source.patient)
    )


def _report(group: _Group, lines: Sequence[Segment], message: Message, received_at: datetime) -> Report:
    order = group.order
    patients = _patients_of(group.patient)
    accession, study = _accession_of(group), _study_of(group)
    filler = order.text(3)
    status = _status_of(order, lines)
    observed_at = _first(local_digits(order.text(7)), _observed_in(group), local_digits(order.text(6)))
    key = filler or accession or study
    if not key:
        raise MessageError(
            "OBR-3 (filler order number), accession number and study UID are all empty, "
            "so nobody can tell what it is a report of",
            FIELD_MISSING,
        )
    if not (patients or study):
        raise MessageError("PID-3 names no patient, and no study UID stands in for it", FIELD_MISSING)
    refuse_too_long(
        ("filler order number (OBR-3)", filler),
        ("accession number (IPC-1, OBR-18)", accession),
        ("study UID (ZDS-1, IPC-3, OBX-5)", study),
        *(("patient ID (PID-3)", one.patient_id) for one in patients),
        *(("assigning authority (PID-3.4)", one.issuer) for one in patients),
    )
    return Report(
        number=0,
        report_key=key,
        status=status,
        source=ReportSource.HL7,
        # Of a withdrawn one all lines: nobody is shown them, and by them a withdrawal of ours is known.
        text=_text_of(lines if status is ReportStatus.CANCELLED else _standing(lines)),
        patients=patients,
        birth_date=date_digits(group.patient.text(7)),
        accession_number=accession,
        study_instance_uid=study,
        observed_at=observed_at,
        reported_at=_first(local_digits(order.text(22)), local_digits(message.first("MSH").text(7))),
        procedure="\n".join(dict.fromkeys(filter(None, (order.text(4, part) for part in (1, 2, 5))))),
        origin=f"{message.sender} {message.control_id}".strip(),
        received_at=received_at,
    )


def _first(*texts: str) -> str:
    return next(filter(None, texts), "")


def _status_of(order: Segment, lines: Sequence[Segment]) -> ReportStatus:
    """Withdrawn if all lines are; else OBR-25, the status of the whole; without it those of its lines (OBX-11).

    A line that is deleted (D), was posted as wrong (W) or cannot be obtained (X) is no result (Table 0085). Where
    no line is one, there is none of the order, which Table 0123 calls X; an F or C in OBR-25 is of that change.
    """
    if _all_are_withdrawn(lines):
        return ReportStatus.CANCELLED
    if order.text(25):
        return status_of([order.text(25)])
    return status_of([one.text(11) for one in _standing(lines)])


def _standing(lines: Sequence[Segment]) -> list[Segment]:
    """The lines that are not withdrawn (OBX-11)."""
    return [one for one in lines if status_of([one.text(11)]) is not ReportStatus.CANCELLED]


def _all_are_withdrawn(lines: Sequence[Segment]) -> bool:
    """True if lines were withdrawn and no other holds a word: blank ones space a text and are no result."""
    standing = _standing(lines)
    return len(standing) < len(lines) and not any(one.raw(5).strip() for one in standing)


def _listed(patient: Segment) -> list[str]:
    """PID-3; for old senders PID-2."""
    return patient.repetitions(3) or patient.repetitions(2)


def _patients_of(patient: Segment) -> tuple[PatientIdentifier, ...]:
    """The identifiers with their assigning authorities (CX.4)."""
    identifiers = (
        PatientIdentifier(patient.part(one), patient.part(one, 4) or patient.part(one, 4, 2))
        for one in _listed(patient)
    )
    return tuple(dict.fromkeys(one for one in identifiers if one.patient_id))


def _accession_of(group: _Group) -> str:
    """IPC-1; else OBR-18 where IHE puts it, if that looks like a number; else the filler order number."""
    imaging = next((one.text(1) for one in group.segments if one.name == "IPC"), "")
    placer_field = group.order.text(18)
    looks_like_one = any(letter.isdigit() for letter in placer_field) and " " not in placer_field
    return _first(imaging, placer_field if looks_like_one else "", group.order.text(3))


def _study_of(group: _Group) -> str:
    """The Study Instance UID: ZDS-1, IPC-3, or an OBX that is called after it (IHE RAD-28, RAD-128)."""
    for segment in group.segments:
        if segment.name in ("ZDS", "IPC"):
            candidate = segment.text(1 if segment.name == "ZDS" else 3)
        elif segment.name == "OBX" and _is_study_uid(segment):
            candidate = segment.text(5)
        else:
            continue
        if _UID.fullmatch(candidate):
            return candidate
    return ""


def _is_study_uid(segment: Segment) -> bool:
    return segment.text(3) == "113014" or segment.text(3, 2).casefold() in (
        "study instance uid",
        "dicom study",
    )


def _observed_in(group: _Group) -> str:
    return _first(*(local_digits(one.text(14)) for one in group.segments if one.name == "OBX"))


def _is_text(segment: Segment) -> bool:
    return segment.text(2) in _TEXT_TYPES and not _is_study_uid(segment)


def _text_of(lines: Sequence[Segment]) -> str:
    """The words of the report; a part that only its code names gets the heading that a reader would miss."""
    words: list[str] = []
    heading_before = ""
    for segment in lines:
        heading = _HEADING_OF.get(segment.text(3, 1, 2) or segment.text(3), "")
        told = [segment.unescaped(repetition) for repetition in segment.repetitions(5)] or [""]
        if heading and heading != heading_before and not told[0].lstrip().upper().startswith(heading):
            words.append(f"{heading}:")
        heading_before = heading
        words += told
    return "\n".join(words).strip()


def _names_us(message: Message) -> bool:
    senders = [message.first("MSH").text(3)]
    makers = [
        part for one in message.segments if one.name == "OBX" for part in re.split(r"[\^&~]", one.raw(18))
    ]
    return any(_OUR_NAME in name.casefold().split() for name in (*senders, *makers))


def _uids(segment: Segment) -> Iterator[str]:
    for text in segment.fields[1:]:
        if text.count(".") > 3:
            yield from _UID.findall(text)
