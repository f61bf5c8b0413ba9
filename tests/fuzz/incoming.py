"""What stands behind a port, without the port."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.admission import SenderRules
from agent.dicom.headers import headers_from_elements
from agent.identity import IdentifierRules
from agent.listener.commits import Commits
from agent.listener.intake import Intake, Peer
from config.agent_settings import ListenerSettings
from storage.files import Files
from storage.index import Index


@dataclass(frozen=True, slots=True)
class Behind:
    """An intake and whom it hears."""

    intake: Intake
    peer: Peer


def an_intake(files: Files, index: Index, stack: ExitStack) -> Behind:
    """Everything that a listener has but sockets; its threads end with `stack`."""
    syncing = stack.enter_context(ThreadPoolExecutor(1))
    intake = Intake(
        limits=ListenerSettings(free_bytes_min=0, instance_bytes_max=200_000),
        rules=SenderRules("PREREAD", accept_any_sender=True),
        senders={},
        files=files,
        index=index,
        commits=Commits(index),
        syncing=syncing,
        headers=headers_from_elements,
        identifiers=IdentifierRules(),
        clock=lambda: datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
    )
    return Behind(intake, Peer("192.0.2.7", "MODALITY", "PREREAD"))
