"""Storage commitment as SCU, push model (PS3.4 Annex J): does a destination answer for what it took?"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from agent.dicom.opening import CONTENT_ERRORS
from agent.peers.association import NoAssociation, associate, lost, peer_name
from config.settings import DestinationSettings

STORAGE_COMMITMENT = str(StorageCommitmentPushModel)

LINGER_SECONDS = 1.0
"""How long the association stays open for an answer on it; later ones come on an association of the destination."""

CANNOT_UNDERSTAND_REPORT = 0x0115
"""Invalid argument value (PS3.7 Annex C.5.8)."""

_REQUEST_COMMITMENT = 1
"""The only action of the SOP Class (PS3.4 Table J.3.2-1)."""


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a destination says of one request (PS3.4 J.3.3).

    Attributes:
        committed: SOP Instance UIDs that it answers for.
        failed: SOP Instance UID and Failure Reason (PS3.4 Table J.3.3-1 and PS3.3 C.14.1.1) of the others.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]


TakeReport = Callable[[CommitmentReport], int]
"""Writes a report down and gives the status to answer; runs in pynetdicom's thread."""


class CommitmentKind(StrEnum):
    """What became of a request for commitment."""

    ASKED = "asked"
    """It has taken the request and will report."""
    NOT_OFFERED = "not_offered"
    """It does not know the service."""
    NOT_ASKED = "not_asked"
    """It was not reached, or cannot now: ask again."""


@dataclass(frozen=True, slots=True)
class CommitmentOutcome:
    """The answer to a request; `problem` is a sentence for the person on duty, None if it was taken."""

    kind: CommitmentKind
    problem: str | None = None


def request_commitment(
    ae_title: str,
    destination: DestinationSettings,
    transaction_uid: str,
    objects: Sequence[tuple[str, str]],
    take: TakeReport,
) -> CommitmentOutcome:
    """Asks a destination to commit to objects; see `agent.peers.Peers.request_commitment`."""
    reported = threading.Event()

    def handle(event: evt.Event) -> tuple[int, None]:
        try:
            return answer(event.event_information, take), None
        finally:
            reported.set()

    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    context = build_context(StorageCommitmentPushModel, syntaxes)
    association = associate(ae_title, destination, [context], handlers=[(evt.EVT_N_EVENT_REPORT, handle)])
    if isinstance(association, NoAssociation):
        if association.is_for_good:
            return _not_offered(destination)
        return CommitmentOutcome(CommitmentKind.NOT_ASKED, association.problem)
    try:
        outcome = _ask(association, destination, transaction_uid, objects)
        if outcome.kind is CommitmentKind.ASKED:
            reported.wait(LINGER_SECONDS)
        return outcome
    finally:
        association.release()


def answer(information: Dataset, take: TakeReport) -> int:
    """Reads an N-EVENT-REPORT, gives it to `take`, and says with which status to answer. Never raises."""
    try:
        report = report_of(information)
    except CONTENT_ERRORS:
        return CANNOT_UNDERSTAND_REPORT
    return take(report)


def report_of(information: Dataset) -> CommitmentReport:
    """Reads the Event Information (PS3.4 Table J.3.3-1). Raises AttributeError or ValueError if it is none."""
    committed = information.get("ReferencedSOPSequence") or ()
    failed = information.get("FailedSOPSequence") or ()
    return CommitmentReport(
        transaction_uid=str(information.TransactionUID),
        committed=tuple(str(item.ReferencedSOPInstanceUID) for item in committed),
        failed=tuple(
            (str(item.ReferencedSOPInstanceUID), int(item.get("FailureReason") or 0)) for item in failed
        ),
    )


def _ask(
    association: Association,
    destination: DestinationSettings,
    transaction_uid: str,
    objects: Sequence[tuple[str, str]],
) -> CommitmentOutcome:
    started = monotonic()
    try:
        status, _ = association.send_n_action(
            _action_information(transaction_uid, objects),
            _REQUEST_COMMITMENT,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
    except RuntimeError:  # pynetdicom's word for an association that has ended
        status = Dataset()
    if "Status" not in status:
        return CommitmentOutcome(CommitmentKind.NOT_ASKED, lost(destination, monotonic() - started, "asked"))
    if status.Status == 0x0000:
        return CommitmentOutcome(CommitmentKind.ASKED)
    if status.Status in _NOT_THERE:
        return _not_offered(destination)
    refused = f"{peer_name(destination)} refused to commit to what it took, status {status.Status:04X}; see its log."
    return CommitmentOutcome(CommitmentKind.NOT_ASKED, refused)


_NOT_THERE = (0x0112, 0x0118, 0x0119, 0x0122, 0x0123, 0x0211)
"""No such SOP Instance, SOP Class or action; not supported; unrecognised operation (PS3.7 Annex C.5)."""


def _action_information(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*one) for one in objects]
    return information


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class_uid
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    return reference


def _not_offered(destination: DestinationSettings) -> CommitmentOutcome:
    problem = (
        f"{peer_name(destination)} has it and offers no storage commitment. "
        "Allow us that there, or set commitment = false for it in peers.toml."
    )
    return CommitmentOutcome(CommitmentKind.NOT_OFFERED, problem)
