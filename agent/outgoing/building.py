"""From a draft to the message that one receiver gets, and a name for it. Pure."""

from dataclasses import dataclass

from agent.dicom.uids import derived_uid
from agent.outgoing.draft import Draft
from agent.outgoing.draft_json import json_of
from agent.outgoing.fhir import bundle_of
from agent.outgoing.oru import oru_of
from config.receiver_settings import FhirServerSettings, Hl7ReceiverSettings, ReceiverSettings


@dataclass(frozen=True, slots=True)
class Message:
    """One message before it is kept.

    Attributes:
        uid: derived from receiver and content; the same message again has the same.
        kind: as in `ResultObject`.
        ending: of its file, with the dot.
    """

    uid: str
    kind: str
    ending: str
    content: bytes


def message_for(receiver: ReceiverSettings, draft: Draft) -> Message:
    """Builds what a receiver gets of a draft; the same draft and settings give the same bytes."""
    match receiver:
        case Hl7ReceiverSettings():
            kind, ending, content = "hl7_oru", ".hl7", oru_of(draft, receiver)
        case FhirServerSettings():
            kind, ending, content = "fhir_bundle", ".json", bundle_of(draft, receiver)
        case _:
            kind, ending, content = "draft_json", ".json", json_of(draft)
    return Message(derived_uid("message", receiver.name, content.decode("latin-1")), kind, ending, content)
