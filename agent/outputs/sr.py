"""What both structured reports share: observer, procedure, evidence, and what they replace."""

from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from agent.outputs.codes import code
from agent.outputs.heading import heading, long_string
from agent.outputs.normalise import evidence, normalised
from agent.outputs.stamp import Predecessor, Sources, Stamp
from inference.reading import EngineIdentity

_CODE_VALUE_CHARACTERS_MAX = 16  # VR SH; longer ones need Long Code Value, which few archives know
_REQUEST_KEYWORDS = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


def document_arguments(
    kind: str, content: Dataset, sources: Sources, engine: EngineIdentity, stamp: Stamp
) -> dict[str, Any]:
    """Gives the constructor arguments of an SR document around `content`.

    The draft is COMPLETE, UNVERIFIED and PRELIMINARY (PS3.3 C.17.2): all that the model will say, and nobody
    has signed it. Current images become Current Requested Procedure Evidence, priors Pertinent Other
    Evidence.
    """
    predecessors = [_reference(p) for p in sources.predecessors if p.kind == kind]
    return {
        **heading(kind, 0, sources, engine, stamp),
        "evidence": [evidence(header) for header in (*sources.current, *sources.priors)],
        "content": content,
        "is_complete": True,
        "is_final": False,
        "is_verified": False,
        "requested_procedures": requested_procedures(sources),
        "previous_versions": predecessors or None,
    }


def _reference(predecessor: Predecessor) -> Dataset:
    reference = Dataset()
    reference.StudyInstanceUID = predecessor.study_instance_uid
    reference.SeriesInstanceUID = predecessor.series_instance_uid
    reference.SOPClassUID = predecessor.sop_class_uid
    reference.SOPInstanceUID = predecessor.sop_instance_uid
    return reference


def language_of(stamp: Stamp) -> LanguageOfContentItemAndDescendants:
    """Gives the language item (121049, DCM)."""
    return LanguageOfContentItemAndDescendants(CodedConcept.from_code(code("language", stamp.language)))


def device_observer(stamp: Stamp) -> DeviceObserverIdentifyingAttributes:
    """Gives who this agent is as an observer (TID 1004)."""
    device = stamp.device
    return DeviceObserverIdentifyingAttributes(
        device.uid,
        name=device.model_name,
        manufacturer_name=device.manufacturer,
        model_name=device.model_name,
        serial_number=device.serial_number or None,
    )


def observation_context(stamp: Stamp) -> ObservationContext:
    """Gives the device observer (TID 1001); there is no person observer."""
    observer = ObserverContext(codes.DCM.Device, device_observer(stamp))
    return ObservationContext(observer_device_context=observer)


def procedure_reported(header: Dataset) -> CodedConcept:
    """Gives the study's own procedure code if it is usable, else (363679005, SCT, Imaging procedure)."""
    known = normalised(header)
    requests = known.get("RequestAttributesSequence") or [Dataset()]
    for holder, keyword in (
        (known, "ProcedureCodeSequence"),
        (known, "RequestedProcedureCodeSequence"),
        (requests[0], "RequestedProcedureCodeSequence"),
    ):
        for item in holder.get(keyword) or []:
            value, scheme, meaning = (
                str(item.get(part) or "").strip()
                for part in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            )
            if value and scheme and meaning and len(value) <= _CODE_VALUE_CHARACTERS_MAX:
                return CodedConcept(value, scheme, long_string(meaning))
    return CodedConcept.from_code(codes.SCT.ImagingProcedure)


def procedure_item(header: Dataset) -> ContentItem:
    """Gives Procedure Reported (121058, DCM) as a content item."""
    return CodeContentItem(
        codes.DCM.ProcedureReported, procedure_reported(header), RelationshipTypeValues.HAS_CONCEPT_MOD
    )


def algorithm(engine: EngineIdentity) -> AlgorithmIdentification:
    """Gives Algorithm Identification (TID 4019): our engine, and the weights in its parameters."""
    return AlgorithmIdentification(
        name=engine.name,
        version=engine.version,
        parameters=[f"model={engine.model_name}", f"weights={engine.weights_digest}"],
        family=codes.DCM.ArtificialIntelligence,
    )


def concept(value: Code) -> CodedConcept:
    """Gives a table code in highdicom's form."""
    return CodedConcept.from_code(value)


def requested_procedures(sources: Sources) -> list[Dataset] | None:
    """Gives Referenced Request Sequence (C.17.2) if the study has an accession number; its order fills in what the
    images do not say."""
    known, ordered = normalised(sources.current[0]), sources.ordered
    requests = known.get("RequestAttributesSequence") or [Dataset()]
    if not known.AccessionNumber:
        return None
    item = Dataset()
    item.StudyInstanceUID = known.StudyInstanceUID
    item.ReferencedStudySequence = []
    told = {
        "PlacerOrderNumberImagingServiceRequest": ordered.placer_order_number,
        "FillerOrderNumberImagingServiceRequest": ordered.filler_order_number,
        "RequestedProcedureDescription": ordered.requested_procedure,
    }
    for keyword in _REQUEST_KEYWORDS:
        sent = known.get(keyword) or requests[0].get(keyword)
        setattr(item, keyword, sent or long_string(told.get(keyword, "")))
    item.RequestedProcedureCodeSequence = []
    return [item]
