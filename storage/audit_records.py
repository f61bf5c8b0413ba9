"""What is accounted for: the events and the records of the audit trail."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuditEvent(StrEnum):
    """What is audited."""

    STARTED = "started"
    STOPPED = "stopped"
    CONFIGURED = "configured"
    RECEIVED = "received"
    QUERIED = "queried"
    READ = "read"
    SENDING = "sending"
    SENT = "sent"
    DELETED = "deleted"
    EXPORTED = "exported"
    LINKED = "linked"
    UNLINKED = "unlinked"
    AGAIN = "again"
    HELD = "held"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Something that must be accounted for; written in the same commit as what it is about.

    Attributes:
        actor: who did it, or the other side of it: an AE title, an operator, the name of a destination; "" for
            preread by itself.
        address: of the other side, "" if unknown.
        study_instance_uid, patient_id: what it was about, "" if nothing; the patient as ID^^^ISSUER.
        instances: how many objects it was about; of a refusal, how often.
        detail: a sentence, or "".
        number: 0 until stored.
    """

    at: datetime
    event: AuditEvent
    actor: str = ""
    address: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    instances: int = 0
    detail: str = ""
    is_success: bool = True
    number: int = 0
