"""Everything we ask of other AEs: are you there, take this, what have you, send me that. The network's second door.

Nothing here raises for what a peer does or does not do: each answer is an outcome with a sentence for the
person on duty, which names the peer and says what to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from agent.fetching import StudyQuery
from agent.peers.association import Called, NoAssociation, associate, is_web, lost, peer_name
from agent.peers.commitment import (
    STORAGE_COMMITMENT,
    CommitmentKind,
    CommitmentOutcome,
    CommitmentReport,
    TakeReport,
    request_commitment,
)
from agent.peers.commitment import answer as commitment_answer
from agent.peers.offering import SOP_CLASS_OF, Offered, classes_needed, offer
from agent.peers.querying import Answers, FoundStudies, find_entries, find_studies
from agent.peers.retrieving import Arrived, RetrieveOutcome, Take, get, move
from agent.peers.storing import StoreKind, StoreOutcome, Verdict, judge_status, store
from config.settings import ArchiveSettings, DestinationSettings, ReportServerSettings, WorklistSettings

if TYPE_CHECKING:
    from agent.peers.fhir import ReportPage

__all__ = [
    "SOP_CLASS_OF",
    "STORAGE_COMMITMENT",
    "Answers",
    "Arrived",
    "Called",
    "CommitmentKind",
    "CommitmentOutcome",
    "CommitmentReport",
    "EchoOutcome",
    "FoundStudies",
    "Offered",
    "Peers",
    "RetrieveOutcome",
    "StoreKind",
    "StoreOutcome",
    "Take",
    "TakeReport",
    "Verdict",
    "classes_needed",
    "commitment_answer",
    "judge_status",
]


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

    def echo(self, called: Called) -> EchoOutcome:
        """Asks a peer whether it is there (C-ECHO, PS3.7 9.1.5; of a DICOMweb service, any one study)."""
        started = monotonic()
        if is_web(called):
            from agent.peers.web import greet  # see `retrieve`

            problem = greet(called)
            return EchoOutcome(problem is None, monotonic() - started, problem)
        context = build_context(Verification, ImplicitVRLittleEndian)
        association = associate(self._ae_title, called, [context])
        if isinstance(association, NoAssociation):
            return EchoOutcome(False, monotonic() - started, association.problem)
        try:
            problem = _echo_problem(association, called)
        finally:
            association.release()
        return EchoOutcome(problem is None, monotonic() - started, problem)

    def offer(self, called: Called, sop_classes: Sequence[str]) -> Offered:
        """Asks a peer which SOP Classes it would accept from us, and moves nothing."""
        return offer(self._ae_title, called, sop_classes)

    def store(self, destination: DestinationSettings, files: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """Sends files to a destination, all in one association (C-STORE) or request (STOW-RS).

        With C-STORE each goes as its own bytes if its transfer syntax is accepted; an uncompressed one is encoded anew
        where only another uncompressed form is.

        Returns:
            one outcome for each file, in the order of the files.
        """
        if is_web(destination):
            from agent.peers.stow import store_instances  # see `retrieve`

            return store_instances(destination, files)
        return store(self._ae_title, destination, files)

    def request_commitment(
        self,
        destination: DestinationSettings,
        transaction_uid: str,
        objects: Sequence[tuple[str, str]],
        take: TakeReport,
    ) -> CommitmentOutcome:
        """Asks a destination to commit to objects that it took (N-ACTION, PS3.4 J.3.2).

        Args:
            objects: SOP Class UID and SOP Instance UID of each.
            take: is given the report if it comes on the same association, in the second after the answer; later
                ones come to the listener.
        """
        return request_commitment(self._ae_title, destination, transaction_uid, objects, take)

    def find_studies(self, archive: ArchiveSettings, query: StudyQuery) -> FoundStudies:
        """Asks an archive which studies of a patient it has (C-FIND, PS3.4 C.4.1; or QIDO-RS, PS3.18 10.6).

        Who the patient is and which of the studies are wanted is not decided here: an archive may answer more
        than it was asked for.
        """
        if archive.retrieve == "dicomweb":
            from agent.peers.web import search_studies  # see `retrieve`

            return search_studies(archive, query)
        return find_studies(self._ae_title, archive, query)

    def retrieve(
        self, archive: ArchiveSettings, study_instance_uid: str, patient_id: str, to_ae_title: str, take: Take
    ) -> RetrieveOutcome:
        """Fetches one study in the way that the archive's settings say.

        Args:
            patient_id: named where the information model is patient root.
            to_ae_title: where C-MOVE sends it: our own listener.
            take: keeps the objects that come over our own connection (C-GET, WADO-RS); it runs in pynetdicom's
                thread and must not raise.
        """
        match archive.retrieve:
            case "c-move":
                return move(self._ae_title, archive, study_instance_uid, patient_id, to_ae_title)
            case "c-get":
                return get(self._ae_title, archive, study_instance_uid, patient_id, take)
            case "dicomweb":
                # Imported where it is used: dicomweb-client brings pillow, and 20 MB to the process that listens.
                from agent.peers.web import retrieve_study

                return retrieve_study(archive, study_instance_uid, take)

    def find_entries(
        self, worklist: WorklistSettings, modality: str, first_date: str, last_date: str
    ) -> Answers:
        """Asks a worklist for the scheduled steps of one modality (C-FIND, PS3.4 K.4.1); dates as "YYYYMMDD"."""
        return find_entries(self._ae_title, worklist, modality, first_date, last_date)

    def report_pages(self, server: ReportServerSettings, since: str) -> "Iterator[ReportPage]":
        """Asks a FHIR server for the reports changed since a moment; see `agent.peers.fhir.report_pages`."""
        from agent.peers.fhir import (
            report_pages,
        )  # only where one is configured, so that others need no requests

        return report_pages(server, since)


def _echo_problem(association: Association, called: Called) -> str | None:
    started = monotonic()
    answer = association.send_c_echo() if association.is_established else None
    if not answer or "Status" not in answer:
        return lost(called, monotonic() - started)
    if answer.Status == 0x0000:
        return None
    return f"{peer_name(called)} answered C-ECHO with status {answer.Status:04X}. See its log."
