"""C-MOVE and C-GET as SCU: an archive is told to send one study (PS3.4 Annex C.4.2, C.4.3)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from agent.admission import SOP_CLASSES, TRANSFER_SYNTAXES
from agent.peers.association import NoAssociation, associate, lost, peer_name
from agent.peers.querying import CANCEL_SECONDS, PENDING, name_patient
from config.settings import ArchiveSettings
from storage.records import InstanceRole

_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One object that came over an association (or a web connection) of our own.

    Attributes:
        content: the dataset as sent, in `transfer_syntax_uid`, without preamble and File Meta Information.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    content: bytes


Take = Callable[[Arrived], int]
"""Keeps an object as the listener keeps what is sent to it; gives the DIMSE status."""


@dataclass(frozen=True, slots=True)
class RetrieveOutcome:
    """What became of a study that an archive was told to send.

    Attributes:
        completed, failed: objects, or None where the archive did not count.
        problem: a sentence for the person on duty if not everything came, or None.
        is_ended: True if the archive has come to an end with it, well or not: it is not asked again.
    """

    completed: int | None
    failed: int | None
    problem: str | None
    is_ended: bool


def move(
    ae_title: str, archive: ArchiveSettings, study_instance_uid: str, patient_id: str, to_ae_title: str
) -> RetrieveOutcome:
    """Tells an archive to send a study to an AE; see `agent.peers.Peers.retrieve`."""
    is_study_root = archive.information_model == "study"
    root = (
        StudyRootQueryRetrieveInformationModelMove
        if is_study_root
        else PatientRootQueryRetrieveInformationModelMove
    )
    association = associate(ae_title, archive, [build_context(root, list(_UNCOMPRESSED))])
    if isinstance(association, NoAssociation):
        return RetrieveOutcome(None, None, association.problem, association.is_for_good)
    try:
        identifier = _identifier(archive, study_instance_uid, patient_id)
        responses = association.send_c_move(identifier, to_ae_title, root)
        return _listen(association, archive, root, responses)
    except RuntimeError:  # pynetdicom's word for an association that has ended already
        return RetrieveOutcome(None, None, lost(archive, 0, "asked"), False)
    finally:
        association.release()


def get(
    ae_title: str, archive: ArchiveSettings, study_instance_uid: str, patient_id: str, take: Take
) -> RetrieveOutcome:
    """Fetches a study over our own association; see `agent.peers.Peers.retrieve`."""
    is_study_root = archive.information_model == "study"
    root = (
        StudyRootQueryRetrieveInformationModelGet
        if is_study_root
        else PatientRootQueryRetrieveInformationModelGet
    )
    association = associate(
        ae_title,
        archive,
        [build_context(root, list(_UNCOMPRESSED)), *_storage_contexts()],
        handlers=[(evt.EVT_C_STORE, lambda event: take(_arrived(event)))],
        roles=[build_role(sop_class, scp_role=True) for sop_class in SOP_CLASSES],
    )
    if isinstance(association, NoAssociation):
        return RetrieveOutcome(None, None, association.problem, association.is_for_good)
    try:
        responses = association.send_c_get(_identifier(archive, study_instance_uid, patient_id), root)
        return _listen(association, archive, root, responses)
    except RuntimeError:
        return RetrieveOutcome(None, None, lost(archive, 0, "asked"), False)
    except ValueError:  # the model of C-GET is the one context that it did not accept
        problem = f'{peer_name(archive)} accepts no C-GET. Write retrieve = "c-move" for it in peers.toml.'
        return RetrieveOutcome(None, None, problem, True)
    finally:
        association.release()


def _storage_contexts() -> Iterator[PresentationContext]:
    """Proposes a context for each form of a radiograph, so that the archive may send it as it keeps it.

    The other objects are offered in uncompressed forms, one context each: 109 of the 128 that an association
    has (PS3.8 Table 9-18).
    """
    for sop_class, (_, role) in SOP_CLASSES.items():
        if role is InstanceRole.IMAGE:
            yield from (build_context(sop_class, syntax) for syntax in TRANSFER_SYNTAXES)
        else:
            yield build_context(sop_class, list(_UNCOMPRESSED))


def _identifier(archive: ArchiveSettings, study_instance_uid: str, patient_id: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    if archive.information_model == "patient":
        name_patient(identifier, patient_id)
    identifier.StudyInstanceUID = study_instance_uid
    return identifier


def _arrived(event: evt.Event) -> Arrived:
    return Arrived(
        sop_class_uid=str(event.request.AffectedSOPClassUID),
        sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        content=event.request.DataSet.getvalue(),
    )


def _listen(
    association: Association,
    archive: ArchiveSettings,
    root: str,
    responses: Iterator[tuple[Dataset, Dataset | None]],
) -> RetrieveOutcome:
    started = monotonic()
    cancelled_at: float | None = None
    counted = Dataset()
    for status, _ in responses:
        if "Status" not in status:
            return RetrieveOutcome(*_counts(counted), lost(archive, monotonic() - started, "fetched"), False)
        counted = status
        if status.Status not in PENDING:
            break
        if cancelled_at is None and monotonic() > started + archive.request_seconds:
            association.send_c_cancel(1, query_model=root)
            cancelled_at = monotonic()
        if cancelled_at is not None and monotonic() > cancelled_at + CANCEL_SECONDS:
            association.abort()
            break
    completed, failed = _counts(counted)
    if cancelled_at is not None:
        problem = (
            f"{peer_name(archive)} did not send the whole study within {archive.request_seconds:g} s. "
            "If it is only slow, raise its request_seconds in peers.toml."
        )
        return RetrieveOutcome(completed, failed, problem, True)
    return _judged(archive, int(counted.Status), completed, failed)


def _counts(status: Dataset) -> tuple[int | None, int | None]:
    """Objects that came and that did not; a warning counts as come, as with C-STORE (PS3.4 C.4.2.1.6)."""
    completed = status.get("NumberOfCompletedSuboperations")
    failed = status.get("NumberOfFailedSuboperations")
    if completed is not None:
        completed += status.get("NumberOfWarningSuboperations") or 0
    return completed, failed


_STATUS: Mapping[int, tuple[str, bool]] = {
    0x0122: ("SOP Class not supported; choose another retrieve in peers.toml", True),
    0x0124: ("not authorised; its administrator must allow us to retrieve", False),
    0xA701: ("it could not count the objects", False),
    0xA702: ("it could not send", False),
    0xA801: ("it does not know our AE title as a move destination; its administrator must add it", True),
    0xB000: ("some objects could not be sent", True),
    0xFE00: ("cancelled, and not by us", False),
}
"""What a C-MOVE or C-GET status means, and whether it is the end (PS3.4 Tables C.4-2 and C.4-3, PS3.7 Annex C)."""


def judge_retrieval(status: int) -> tuple[str, bool]:
    """Says what a final status other than success means, and whether the archive would say so again."""
    known = _STATUS.get(status)
    if known is not None:
        return known
    if 0xA900 <= status <= 0xA9FF:
        return (
            "the identifier does not match the SOP Class; try another information_model in peers.toml",
            True,
        )
    return "unable to process; see its log", False


def _judged(
    archive: ArchiveSettings, status: int, completed: int | None, failed: int | None
) -> RetrieveOutcome:
    if status == 0x0000 and not failed:
        return RetrieveOutcome(completed, failed, None, True)
    words, is_ended = judge_retrieval(status) if status else ("it counts failures nevertheless", True)
    counts = f" ({completed} objects sent, {failed} not)" if failed else ""
    problem = f"{peer_name(archive)} did not send the whole study, status {status:04X}: {words}{counts}."
    return RetrieveOutcome(completed, failed, problem, is_ended)
