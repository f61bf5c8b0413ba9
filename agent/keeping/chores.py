"""What the clock does for keeping and forgetting."""

import os
import socket
from collections.abc import Callable
from datetime import datetime

from agent.audit.messages import AuditSource
from agent.audit.trail import AuditTrail
from agent.keeping.retention import Retention
from config.settings import Settings
from storage.audits import Audits
from storage.deletions import Deletions
from storage.files import Files
from storage.index import Index

_TURN_SECONDS = 600
_ROOM_SECONDS = 120
_AUDIT_SECONDS = 5


def audit_trail(
    settings: Callable[[], Settings], audits: Audits, clock: Callable[[], datetime]
) -> AuditTrail:
    """Gives what writes audit records out, as this process of this machine."""
    agent = settings().agent
    source = AuditSource(
        agent.device.ae_title, socket.gethostname(), os.getpid(), agent.audit.enterprise_site_id
    )
    return AuditTrail(settings, audits, source, clock)


def chores(
    settings: Callable[[], Settings],
    deletions: Deletions,
    files: Files,
    index: Index,
    trail: AuditTrail,
    clock: Callable[[], datetime],
) -> tuple[tuple[Callable[[], object], float], ...]:
    """Gives each thing to do with the seconds between two times."""
    retention = Retention(settings, deletions, files, index, clock)
    return (
        (retention.turn, _TURN_SECONDS),
        (retention.make_room, _ROOM_SECONDS),
        (trail.write_out, _AUDIT_SECONDS),
    )
