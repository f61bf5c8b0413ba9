"""Drafts as messages, for worklists and reporting systems: built here, sent here, never read here.

`send` is all that the process which delivers needs, and imports no builder: those stand on highdicom.
"""

from dataclasses import dataclass
from datetime import datetime

from agent.outgoing.drop import drop
from agent.outgoing.mllp_client import send_oru
from agent.peers import StoreKind, StoreOutcome
from config.receiver_settings import (
    DropFolderSettings,
    FhirServerSettings,
    Hl7ReceiverSettings,
    ReceiverSettings,
    WebhookSettings,
)

__all__ = ["Outgoing", "send"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way.

    Attributes:
        uid: of its `ResultObject`.
        name: for a file, without the ending: the study and the revision.
    """

    uid: str
    name: str
    content: bytes


def send(receiver: ReceiverSettings, outgoing: Outgoing, now: datetime) -> StoreOutcome:
    """Sends one message once and says what became of it; nothing is raised for what a receiver does."""
    is_quoting = False
    match receiver:
        case Hl7ReceiverSettings():
            verdict = send_oru(receiver, outgoing.content)
            is_quoting = verdict.kind in (StoreKind.REFUSED_FOR_NOW, StoreKind.REFUSED_FOR_GOOD)
        case DropFolderSettings():
            verdict = drop(receiver, outgoing.name, outgoing.content)
        case FhirServerSettings() | WebhookSettings():
            from agent.outgoing import web  # requests takes 0.1 s to import, and most sites need none

            if isinstance(receiver, FhirServerSettings):
                verdict = web.post_bundle(receiver, outgoing.content)
            else:
                verdict = web.post_signed(receiver, outgoing.uid, outgoing.content, now)
    return StoreOutcome(outgoing.uid, None, verdict.kind, verdict.words, is_quoting)
