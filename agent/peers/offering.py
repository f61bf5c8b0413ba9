"""What would a peer take? An association that proposes what we will need and moves nothing (PS3.8 7.1.1.13)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
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
        problem: why there is no answer, a sentence, or None.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None


def classes_needed(called: Called, outputs: Sequence[OutputKind]) -> tuple[str, ...]:
    """Names the SOP Classes that we use with a peer; none where we do not speak DIMSE with it.

    Args:
        outputs: the kinds that a destination gets.
    """
    if isinstance(called, DestinationSettings):
        return tuple(SOP_CLASS_OF[kind] for kind in outputs)
    if isinstance(called, ArchiveSettings):
        return _ROOTS.get((called.information_model, called.retrieve), ())
    return (ModalityWorklistInformationFind,)


def offer(ae_title: str, called: Called, sop_classes: Sequence[str]) -> Offered:
    """Proposes SOP Classes to a peer, hears which it accepts, and leaves."""
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    association = associate(ae_title, called, [build_context(uid, syntaxes) for uid in sop_classes])
    if isinstance(association, NoAssociation):
        return Offered(problem=association.problem)
    try:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    finally:
        association.release()
    return Offered(
        tuple(class_name(uid) for uid in sop_classes if uid in accepted),
        tuple(class_name(uid) for uid in sop_classes if uid not in accepted),
    )
