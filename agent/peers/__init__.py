"""Everything we ask of other AEs: are you there (C-ECHO), take this (C-STORE). The network's second door.

Nothing here raises for what a peer does or does not do: each answer is an outcome with a sentence for the
person on duty, which names the peer and says what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from agent.peers.association import NoAssociation, associate, lost, peer_name
from agent.peers.storing import StoreKind, StoreOutcome, judge_status, store
from config.settings import DestinationSettings

__all__ = ["EchoOutcome", "Peers", "StoreKind", "StoreOutcome", "judge_status"]


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """The answer to "are you there?".

    Attributes:
        seconds: from the first byte to the answer, or until we gave up.
        problem: a sentence for the person on duty, or None.
    """

    ok: bool
    seconds: float
    problem: str | None


class Peers:
    """Our side as a service class user. Holds no connection: each call opens and ends its association."""

    def __init__(self, ae_title: str) -> None:
        """Args: ae_title: calls under this AE title where a peer's settings name no other."""
        self._ae_title = ae_title

    def echo(self, called: DestinationSettings) -> EchoOutcome:
        """Asks a peer whether it is there (C-ECHO, PS3.7 9.1.5)."""
        started = monotonic()
        context = build_context(Verification, ImplicitVRLittleEndian)
        association = associate(self._ae_title, called, [context])
        if isinstance(association, NoAssociation):
            return EchoOutcome(False, monotonic() - started, association.problem)
        try:
            problem = _echo_problem(association, called)
        finally:
            association.release()
        return EchoOutcome(problem is None, monotonic() - started, problem)

    def store(self, destination: DestinationSettings, files: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """Sends files to a destination, all in one association.

        Each goes as its own bytes if its transfer syntax is accepted; an uncompressed one is encoded anew
        where only another uncompressed form is.

        Returns:
            one outcome for each file, in the order of the files.
        """
        return store(self._ae_title, destination, files)


def _echo_problem(association: Association, called: DestinationSettings) -> str | None:
    started = monotonic()
    answer = association.send_c_echo() if association.is_established else None
    if not answer or "Status" not in answer:
        return lost(called, monotonic() - started)
    if answer.Status == 0x0000:
        return None
    return f"{peer_name(called)} answered C-ECHO with status {answer.Status:04X}. See its log."
