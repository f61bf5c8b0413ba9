"""What an ORM^O01 or OMI^O23 says: exams that are ordered, changed or cancelled (IHE RAD TF-2 4.2, 4.4). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.hl7.message import FIELD_MISSING, SEGMENT_ERROR, MessageError, Segment, refuse_too_long
from agent.hl7.times import date_digits, local_digits
from storage.outside_records import Order
from storage.records import Priority

TYPES = ("ORM", "OMI", "OMG")
"""Message types (MSH-9.1) that carry orders of imaging: HL7 v2.3.1, v2.5.1, and what some send instead."""

_CANCELS = frozenset({"CA", "DC", "OC", "OD", "CR", "DR"})
"""Order control codes (HL7 Table 0119) and statuses (Table 0038) of an order that nobody will carry out."""

_NUMBER_TYPES = ("MR", "PI")
"""Identifier types (HL7 Table 0203) of the number that modalities write into Patient ID."""

_PRIORITIES = {
    "S": Priority.STAT,
    **dict.fromkeys(("A", "P", "T"), Priority.URGENT),
    **dict.fromkeys(("R", "C"), Priority.ROUTINE),
}
"""HL7 Tables 0027 and 0485: as soon as possible, before an operation and critical in time are all urgent."""

_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_UID_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class ToldOrder:
    """One order as a message tells it; `is_cancelled` if nobody will carry it out."""

    order: Order
    is_cancelled: bool


def parse_orders(segments: Sequence[Segment], source: str, heard_at: datetime) -> tuple[ToldOrder, ...]:
    """Reads the orders of one message, in their order.

    Args:
        segments: of a message of one of `TYPES`.
        source: who sent it, for `Order.source`.

    Raises:
        MessageError: if there is no order in it, no patient ID, or an order without a number.
    """
    patient = next((segment for segment in segments if segment.name == "PID"), None)
    groups = _groups(segments)
    if patient is None or not _patient_id(patient)[0]:
        raise MessageError("it names no patient ID (PID-3), so no study can be found for it", FIELD_MISSING)
    if not groups:
        raise MessageError(
            "it has neither an ORC nor an OBR segment, so there is no order in it", SEGMENT_ERROR
        )
    return tuple(_told(patient, _Group(group), source, heard_at) for group in groups)


def _groups(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments of each order: from an ORC, or an OBR that follows none, to the next."""
    groups: list[list[Segment]] = []
    for segment in segments:
        is_second = bool(groups) and any(one.name == "OBR" for one in groups[-1])
        if segment.name == "ORC" or (segment.name == "OBR" and (not groups or is_second)):
            groups.append([])
        if groups:
            groups[-1].append(segment)
    return groups


@dataclass(frozen=True, slots=True)
class _Group:
    segments: Sequence[Segment]

    def text(self, name: str, number: int, component: int = 1) -> str:
        found = (segment for segment in self.segments if segment.name == name)
        return next((text for segment in found if (text := segment.text(number, component))), "")

    def first(self, *places: tuple[str, int, int]) -> str:
        return next((text for place in places if (text := self.text(*place))), "")


def _told(patient: Segment, group: _Group, source: str, heard_at: datetime) -> ToldOrder:
    placer = group.first(("ORC", 2, 1), ("OBR", 2, 1))
    filler = group.first(("ORC", 3, 1), ("OBR", 3, 1))
    # Without IPC-1 and OBR-18 the filler's own number is what the modality gets as accession number.
    accession = group.first(("IPC", 1, 1), ("OBR", 18, 1)) or filler
    study = group.first(("IPC", 3, 1), ("ZDS", 1, 1))
    study = study if len(study) <= _UID_LENGTH_MAX and _UID.fullmatch(study) else ""
    if not accession and not study:
        raise MessageError(
            "an order has neither accession number (OBR-18, IPC-1) nor filler order number (ORC-3)",
            FIELD_MISSING,
        )
    patient_id, issuer = _patient_id(patient)
    refuse_too_long(
        ("placer order number (ORC-2, OBR-2)", placer),
        ("filler order number (ORC-3, OBR-3)", filler),
        ("accession number (IPC-1, OBR-18)", accession),
        ("patient ID (PID-3)", patient_id),
        ("assigning authority (PID-3.4)", issuer),
    )
    scheduled = local_digits(group.first(("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 36, 1), ("OBR", 27, 4)))
    order = Order(
        source=source,
        accession_number=accession,
        study_instance_uid=study,
        placer_order_number=placer,
        filler_order_number=filler,
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        patient_name=_name(patient),
        birth_date=date_digits(patient.text(7)),
        sex=patient.text(8).upper(),
        requested_procedure=group.first(("OBR", 4, 2), ("OBR", 4, 5), ("OBR", 4, 1)),
        indication=group.first(("OBR", 31, 2), ("OBR", 31, 1), ("OBR", 13, 1), ("DG1", 4, 1), ("DG1", 3, 2)),
        scheduled_date=scheduled[:8],
        scheduled_time=scheduled[8:],
        heard_at=heard_at,
        priority=_PRIORITIES.get(
            group.first(("TQ1", 9, 1), ("ORC", 7, 6), ("OBR", 27, 6), ("OBR", 5, 1)).upper(), ""
        ),
    )
    return ToldOrder(order, bool(_CANCELS & {group.text("ORC", 1), group.text("ORC", 5)}))


def _patient_id(patient: Segment) -> tuple[str, str]:
    """The patient's number and who gives it out (PID-3.1, PID-3.4.1); of several the medical record number."""
    sent = [(patient.part(one), patient.part(one, 4), patient.part(one, 5)) for one in patient.repetitions(3)]
    sent = [one for one in sent if one[0]] or [("", "", "")]
    number, issuer, _ = next((one for kind in _NUMBER_TYPES for one in sent if one[2] == kind), sent[0])
    return number, issuer


def _name(patient: Segment) -> str:
    """A DICOM person name: HL7 has the suffix before the prefix (v2.5.1 2.A.88, PS3.5 6.2.1)."""
    parts = [patient.text(5, component) for component in (1, 2, 3, 5, 4)]
    return "^".join(part.replace("^", " ").replace("\\", " ").replace("=", " ") for part in parts).rstrip("^")
