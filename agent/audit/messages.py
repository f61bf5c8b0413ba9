"""Audit records as audit messages (PS3.15 A.5): which event it is, who took part in it, what it was about."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from storage.audit_records import AuditEvent, AuditRecord

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SUCCESS, MINOR_FAILURE = "0", "4"
"""Event Outcome Indicator (PS3.15 A.5.1)."""


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Who reports: this agent on this machine."""

    ae_title: str
    host: str
    process_id: int
    enterprise_site_id: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: what it is, in which scheme, in words."""

    value: str
    meaning: str
    scheme: str = "DCM"


@dataclass(frozen=True, slots=True)
class Kind:
    """How an event is told (PS3.15 A.5.3).

    Attributes:
        action: Create, Read, Update, Delete or Execute.
        ours, theirs: the roles of this agent and of the other side (PS3.16 CID 402).
        is_theirs: the other side began it; else we did.
    """

    event: Code
    action: Literal["C", "R", "U", "D", "E"]
    type: Code | None = None
    ours: Code | None = None
    theirs: Code | None = None
    is_theirs: bool = False


_APPLICATION = Code("110150", "Application")
_DESTINATION = Code("110152", "Destination Role ID")
_SOURCE = Code("110153", "Source Role ID")
_MEDIA = Code("110154", "Destination Media")
_ACTIVITY = Code("110100", "Application Activity")
_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_PATIENT_RECORD = Code("110110", "Patient Record")
_PROCEDURE_RECORD = Code("110111", "Procedure Record")
_SECURITY_ALERT = Code("110113", "Security Alert")

# Event IDs: PS3.16 CID 400; types: CID 401, and words of our own where it has none.
KINDS: Mapping[AuditEvent, Kind] = {
    AuditEvent.STARTED: Kind(_ACTIVITY, "E", Code("110120", "Application Start"), _APPLICATION),
    AuditEvent.STOPPED: Kind(_ACTIVITY, "E", Code("110121", "Application Stop"), _APPLICATION),
    AuditEvent.CONFIGURED: Kind(_SECURITY_ALERT, "E", Code("110131", "Software Configuration"), _APPLICATION),
    AuditEvent.RECEIVED: Kind(_TRANSFERRED, "C", None, _DESTINATION, _SOURCE, is_theirs=True),
    AuditEvent.QUERIED: Kind(Code("110112", "Query"), "E", None, _SOURCE, _DESTINATION),
    AuditEvent.READ: Kind(Code("110103", "DICOM Instances Accessed"), "R", None, _APPLICATION),
    AuditEvent.SENDING: Kind(
        Code("110102", "Begin Transferring DICOM Instances"), "E", None, _SOURCE, _DESTINATION
    ),
    AuditEvent.SENT: Kind(_TRANSFERRED, "C", None, _SOURCE, _DESTINATION),
    AuditEvent.DELETED: Kind(Code("110105", "DICOM Study Deleted"), "D", None, _APPLICATION, is_theirs=True),
    AuditEvent.EXPORTED: Kind(Code("110106", "Export"), "R", None, _SOURCE, _MEDIA),
    AuditEvent.LINKED: Kind(
        _PATIENT_RECORD, "U", Code("link", "Identifiers linked", "99PREREAD"), is_theirs=True
    ),
    AuditEvent.UNLINKED: Kind(
        _PATIENT_RECORD, "U", Code("unlink", "Link taken back", "99PREREAD"), is_theirs=True
    ),
    AuditEvent.AGAIN: Kind(_PROCEDURE_RECORD, "U", Code("again", "Read again", "99PREREAD"), is_theirs=True),
    AuditEvent.HELD: Kind(_PROCEDURE_RECORD, "U", Code("hold", "Study held", "99PREREAD"), is_theirs=True),
    AuditEvent.RELEASED: Kind(
        _PROCEDURE_RECORD, "U", Code("release", "Study released", "99PREREAD"), is_theirs=True
    ),
    AuditEvent.WITHDRAWN: Kind(
        _PROCEDURE_RECORD, "U", Code("withdraw", "Draft withdrawn", "99PREREAD"), is_theirs=True
    ),
    AuditEvent.REFUSED: Kind(
        _SECURITY_ALERT, "E", Code("110126", "Node Authentication"), _APPLICATION, _SOURCE, is_theirs=True
    ),
}


def merged(records: Iterable[AuditRecord]) -> tuple[AuditRecord, ...]:
    """Joins transfers and refusals that differ in nothing but their minute, such as the images of one study from one
    sender: one message, with the time of the first and the number of all."""
    groups: dict[AuditRecord, AuditRecord] = {}
    for record in records:
        hour = record.at.replace(minute=0, second=0, microsecond=0)
        alike = replace(record, at=hour, instances=0, number=0) if record.instances else record
        first = groups.get(alike)
        groups[alike] = (
            record if first is None else replace(first, instances=first.instances + record.instances)
        )
    return tuple(groups.values())


def message_of(record: AuditRecord, source: AuditSource) -> str:
    """Writes one record as an AuditMessage, in one line of XML without a declaration (PS3.15 A.5.1)."""
    kind = KINDS[record.event]
    message = Element("AuditMessage")
    _identify_event(message, record, kind)
    for participant in _participants(record, kind, source):
        message.append(participant)
    attributes = {"AuditSourceID": f"{source.ae_title}@{source.host}"}
    if source.enterprise_site_id:
        attributes["AuditEnterpriseSiteID"] = source.enterprise_site_id
    reported = SubElement(message, "AuditSourceIdentification", attributes)
    SubElement(reported, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server's process
    for subject in _subjects(record):
        message.append(subject)
    return tostring(message, encoding="unicode")


def _identify_event(message: Element, record: AuditRecord, kind: Kind) -> None:
    at = record.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    attributes = {
        "EventActionCode": kind.action,
        "EventDateTime": at,
        "EventOutcomeIndicator": SUCCESS if record.is_success else MINOR_FAILURE,
    }
    event = SubElement(message, "EventIdentification", attributes)
    event.append(_coded("EventID", kind.event))
    if kind.type is not None:
        event.append(_coded("EventTypeCode", kind.type))
    if record.detail:
        times = f" ({record.instances} times)" if not record.is_success and record.instances > 1 else ""
        SubElement(event, "EventOutcomeDescription").text = _clean(record.detail) + times


def _participants(record: AuditRecord, kind: Kind, source: AuditSource) -> Sequence[Element]:
    ours = {
        "UserID": str(source.process_id),
        "AlternativeUserID": f"AETITLES={source.ae_title}",
        "UserIsRequestor": _truth(not (kind.is_theirs and record.actor)),
        "NetworkAccessPointID": source.host,
        "NetworkAccessPointTypeCode": "1",
    }
    participants = [_participant(ours, kind.ours)]
    if record.actor or record.address:
        theirs = {
            "UserID": _clean(record.actor) or "unknown",
            "UserIsRequestor": _truth(kind.is_theirs),
        }
        if record.address:
            theirs |= {"NetworkAccessPointID": _clean(record.address), "NetworkAccessPointTypeCode": "2"}
        participants.append(_participant(theirs, kind.theirs))
    return participants


def _participant(attributes: Mapping[str, str], role: Code | None) -> Element:
    participant = Element("ActiveParticipant", dict(attributes))
    if role is not None:
        participant.append(_coded("RoleIDCode", role))
    if role == _MEDIA:
        # PS3.16 CID 405: a place that is named by its path or address.
        media = SubElement(participant, "MediaIdentifier")
        media.append(_coded("MediaType", Code("110037", "URI")))
    return participant


def _subjects(record: AuditRecord) -> Iterable[Element]:
    if record.study_instance_uid:
        study = _subject(record.study_instance_uid, Code("110180", "Study Instance UID"), "2", "3")
        if record.instances:
            described = SubElement(study, "ParticipantObjectDescription")
            SubElement(described, "SOPClass", {"NumberOfInstances": str(record.instances)})
        yield study
    if record.event is AuditEvent.QUERIED:
        asked = f"PatientID={record.patient_id}".encode()
        yield _subject(_STUDY_ROOT_FIND, Code("110181", "SOP Class UID"), "2", "24", query=asked)
    if record.patient_id:
        yield _subject(record.patient_id, Code("2", "Patient Number", "RFC-3881"), "1", "1")


def _subject(identifier: str, kind: Code, type_code: str, role: str, query: bytes | None = None) -> Element:
    subject = Element(
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _clean(identifier),
            "ParticipantObjectTypeCode": type_code,
            "ParticipantObjectTypeCodeRole": role,
        },
    )
    subject.append(_coded("ParticipantObjectIDTypeCode", kind))
    # A name or a query must be there. We know nobody's name here, and the identifier does no harm twice.
    if query is None:
        SubElement(subject, "ParticipantObjectName").text = _clean(identifier)
    else:
        SubElement(subject, "ParticipantObjectQuery").text = b64encode(query).decode()
    return subject


def _coded(name: str, code: Code) -> Element:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    return Element(name, attributes)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _clean(text: str) -> str:
    """Text without what XML cannot hold and without line ends, which would break the file's one line a message."""
    return " ".join(_NOT_XML.sub("\ufffd", text).split())
