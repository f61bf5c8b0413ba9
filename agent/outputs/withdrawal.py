"""The withdrawal of a draft as DICOM: a text or a picture that says so, or a rejection note that hides what we sent.

Nothing is deleted from an archive by us. None stands in OUTPUTS: they are no forms of a draft.
"""

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from highdicom.sr.sop import _SR  # as in report_sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import BasicTextSRStorage

from agent.outputs.capture import KIND as PICTURE_KIND
from agent.outputs.capture import maker, secondary_capture
from agent.outputs.codes import code
from agent.outputs.heading import finished, heading
from agent.outputs.normalise import evidence
from agent.outputs.notice import notice
from agent.outputs.report_sr import KIND as REPORT_KIND
from agent.outputs.sr import (
    concept,
    device_observer,
    document_arguments,
    language_of,
    observation_context,
    procedure_item,
    requested_procedures,
)
from agent.outputs.stamp import Sources, Stamp
from agent.outputs.wording import (
    WITHDRAWN_COMPLETION,
    as_text,
    banner,
    picture_banner,
    program,
    withdrawn,
    withdrawn_series_description,
)
from inference.reading import EngineIdentity

REJECTION_KIND = "rejection_note"

_CONTAINS = RelationshipTypeValues.CONTAINS


def build_withdrawal_sr(sources: Sources, because: str, engine: EngineIdentity, stamp: Stamp) -> Dataset:
    """Makes the next version of the text report (PS3.3 A.35.1, TID 2000), which says that the draft was withdrawn.

    It stands in the series of the reports, after them, and names the last one as its predecessor.
    """
    words = TextContentItem(codes.DCM.Finding, as_text(f"{banner(engine)}\n{withdrawn(because)}"), _CONTAINS)
    findings = ContainerContentItem(codes.LN.Findings, relationship_type=_CONTAINS)
    findings.ContentSequence = ContentSequence([words])
    reasons = ContainerContentItem(concept(code("heading", "reasons")), relationship_type=_CONTAINS)
    made_by = TextContentItem(concept(code("reason", "program")), as_text(program(engine)), _CONTAINS)
    reasons.ContentSequence = ContentSequence([made_by])
    root = ContainerContentItem(codes.LN.DiagnosticImagingReport, template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            *language_of(stamp),
            *observation_context(stamp),
            procedure_item(sources.current[0]),
            findings,
            reasons,
        ]
    )
    arguments = document_arguments(REPORT_KIND, root, sources, engine, stamp)
    document = _SR(sop_class_uid=BasicTextSRStorage, **arguments)
    document.CompletionFlagDescription = WITHDRAWN_COMPLETION
    document.SeriesDescription = withdrawn_series_description(REPORT_KIND, engine)
    return finished(document, sources.current[0], stamp)


def build_withdrawal_picture(sources: Sources, because: str, engine: EngineIdentity, stamp: Stamp) -> Dataset:
    """Makes the last picture of the series of pictures (PS3.3 A.8.1): a page of words, for who shows nothing else."""
    words = [picture_banner(engine), withdrawn(because), maker(engine, stamp)]
    picture = secondary_capture(notice(words), 0, sources.current[0], sources, engine, stamp)
    picture.SeriesDescription = withdrawn_series_description(PICTURE_KIND, engine)
    picture.ConversionType = "SYN"
    picture.ImageComments = as_text(withdrawn(because))
    return finished(picture, sources.current[0], stamp)


def build_rejection_note(
    sources: Sources,
    rejected: Sequence[Dataset],
    index: int,
    because: str,
    engine: EngineIdentity,
    stamp: Stamp,
) -> Dataset:
    """Makes a Key Object Selection "Rejected for Quality Reasons" (113001, DCM; IHE IOCM, RAD-66) of objects of ours.

    Args:
        rejected: headers of the objects, all of this study and made by us; images of others are never rejected.
        index: from 0, where several are made at once.
    """
    objects = [evidence(header) for header in rejected]
    selection = KeyObjectSelection(
        codes.DCM.RejectedForQualityReasons,
        objects,
        observer_device_context=ObserverContext(codes.DCM.Device, device_observer(stamp)),
        description=as_text(f"{banner(engine)}. {withdrawn(because)}"),
    )
    document = KeyObjectSelectionDocument(
        objects,
        selection,
        requested_procedures=requested_procedures(sources),
        **heading(REJECTION_KIND, index, sources, engine, stamp),
    )
    return finished(document, sources.current[0], stamp)
