"""What would a peer take? An association that proposes what we will need and moves nothing (PS3.8 7.1.1.13)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from agent.peers.association import Called, NoAssociation, associate, class_name
from agent.peers.storing import REENCODED
from config.settings import ArchiveSettings, DestinationSettings, OutputKind

SOP_CLASS_OF: Mapping[OutputKind, str] = {
    "report_sr": BasicTextSRStorage,
    "findings_sr": ComprehensiveSRStorage,
    "presentation_state": GrayscaleSoftcopyPresentationStateStorage,
    "secondary_capture": SecondaryCaptureImageStorage,
    "key_object_selection": KeyObjectSelectionDocumentStorage,
    "segmentation": SegmentationStorage,
    "encapsulated_pdf": EncapsulatedPDFStorage,
    "findings_sr_air": Comprehensive3DSRStorage,
}
"""The SOP Class of each kind of output, as in the conformance statement; known without making one."""

_ROOTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("study", "c-move"): (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
    ),
    ("study", "c-get"): (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    ),
    ("patient", "c-move"): (
        PatientRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelMove,
    ),
    ("patient", "c-get"): (
        PatientRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelGet,
    ),
}


@dataclass(frozen=True, slots=True)
class Offered:
    """What a peer said to what we proposed.

    Attributes:
        accepted, refused: names of SOP Classes, with their UIDs.
        encodings: SOP Class UID and Transfer Syntax UID of each presentation context that it accepted.
        problem: why there is no answer, a sentence, or None.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    encodings: frozenset[tuple[str, str]] = frozenset()
    problem: str | None = None


def classes_needed(called: Called, outputs: Sequence[OutputKind]) -> tuple[str, ...]:
    """Names the SOP Classes that we use with a peer; none where we do not speak DIMSE with it.

    Args:
        outputs: the kinds that a destination gets.
    """
    if isinstance(called, DestinationSettings):
        return () if called.protocol == "dicomweb" else tuple(SOP_CLASS_OF[kind] for kind in outputs)
    if isinstance(called, ArchiveSettings):
        return _ROOTS.get((called.information_model, called.retrieve), ())
    return (ModalityWorklistInformationFind,)


def offer(ae_title: str, called: Called, sop_classes: Sequence[str]) -> Offered:
    """Proposes SOP Classes to a peer, hears which it accepts, and leaves."""
    contexts = [build_context(uid, syntax) for uid in sop_classes for syntax in REENCODED]
    association = associate(ae_title, called, contexts)
    if isinstance(association, NoAssociation):
        return Offered(problem=association.problem)
    try:
        encodings = frozenset(
            (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in association.accepted_contexts
        )
    finally:
        association.release()
    accepted = {sop_class for sop_class, _ in encodings}
    return Offered(
        tuple(class_name(uid) for uid in sop_classes if uid in accepted),
        tuple(class_name(uid) for uid in sop_classes if uid not in accepted),
        encodings,
    )
