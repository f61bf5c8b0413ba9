"""The coded findings: Comprehensive SR (PS3.3 A.35.3), TID 1500, one TID 1410 group for each box."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageLibrary,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from agent.outputs.codes import change_code, code, finding_code, side_code, site_code, status_code
from agent.outputs.heading import finished
from agent.outputs.marks import Mark, Marks, marks_of
from agent.outputs.normalise import normalised
from agent.outputs.report_sr import impression_of, named, split_report
from agent.outputs.sr import (
    algorithm,
    concept,
    document_arguments,
    language_of,
    observation_context,
    procedure_item,
)
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import COMPLETION, as_text, banner, certainty_percent, remark
from inference.reading import EngineIdentity, Finding, Reading, Score, Status

KIND = "findings_sr"
AIR_KIND = "findings_sr_air"

_CONTAINS = RelationshipTypeValues.CONTAINS
_DESCRIBABLE = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)

_Group: TypeAlias = PlanarROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations


def build_findings_sr(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one Comprehensive SR, or none if no finding has a box.

    None, since a TID 1500 without a region stops the viewport of OHIF (seen in 3.12.10 and 3.13.2); the text
    report says the rest.
    """
    marks = marks_of(sources, reading)
    if not marks.marks:
        return ()
    groups = [group for mark in marks.marks for group in _groups(mark, reading)]
    root = _root(groups, marks, sources, reading, stamp)
    document = ComprehensiveSR(**document_arguments(KIND, root, sources, reading.engine, stamp))
    document.CompletionFlagDescription = COMPLETION
    return (finished(document, sources.current[0], stamp),)


def build_findings_sr_air(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one Comprehensive 3D SR (PS3.3 A.35.13) to the letter of the IHE profile AI Results.

    A score stands in the group of its region, and a reading without any box has its document, too: both stop
    OHIF, which is why this is a kind of its own.
    """
    marks = marks_of(sources, reading)
    groups = [
        _region_group(mark, _score_of(mark.finding, reading), reading.engine, with_number=True)
        for mark in marks.marks
    ]
    root = _root(groups, marks, sources, reading, stamp)
    document = Comprehensive3DSR(**document_arguments(AIR_KIND, root, sources, reading.engine, stamp))
    document.CompletionFlagDescription = COMPLETION
    return (finished(document, sources.current[0], stamp),)


def _root(
    groups: Sequence[_Group], marks: Marks, sources: Sources, reading: Reading, stamp: Stamp
) -> ContainerContentItem:
    """The content tree. highdicom's MeasurementReport knows none without a measurement group."""
    described = _describable(sources)
    items = [
        *language_of(stamp),
        *observation_context(stamp),
        procedure_item(sources.current[0]),
        *(ImageLibrary(described) if described else ()),
    ]
    if groups:
        measurements = ContainerContentItem(codes.DCM.ImagingMeasurements, relationship_type=_CONTAINS)
        measurements.ContentSequence = ContentSequence([group[0] for group in groups])
        items.append(measurements)
    items.append(_evaluations(reading, marks))
    root = ContainerContentItem(codes.DCM.ImagingMeasurementReport, template_id="1500")
    root.ContentSequence = ContentSequence(items)
    return root


def _describable(sources: Sources) -> list[Dataset]:
    """The images that TID 1603 can describe; highdicom reads orientation and spacing unguarded."""
    headers = [normalised(header) for header in (*sources.current, *sources.priors)]
    return [header for header in headers if _is_describable(header)]


def _is_describable(header: Dataset) -> bool:
    orientation, spacing = header.get("PatientOrientation") or (), header.get("ImagerPixelSpacing") or ()
    return (
        header.SOPClassUID in _DESCRIBABLE
        and len(orientation) == len(spacing) == 2
        and not isinstance(orientation, str)
        and all(orientation)
    )


def _groups(mark: Mark, reading: Reading) -> list[_Group]:
    """The region of one box and, if there is a score, its numeric partner with the same Tracking UID.

    The score stands in a group of its own, since OHIF takes the first number of a group and looks for the
    region inside that; a number beside the region makes "load annotations" fail.
    """
    score = _score_of(mark.finding, reading)
    region = _region_group(mark, score, reading.engine)
    if score is None:
        return [region]
    return [region, _score_group(mark, score, reading.engine)]


def _score_of(finding: Finding, reading: Reading) -> Score | None:
    if finding.score is None:
        return None
    alone = Score(finding.name, finding.score)
    return next((score for score in reading.scores if score.name == finding.name), alone)


def _region_group(
    mark: Mark, score: Score | None, engine: EngineIdentity, *, with_number: bool = False
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    finding = mark.finding
    evaluations = []
    if finding.status is Status.UNCERTAIN:
        evaluations.append(QualitativeEvaluation(_concept_of(finding), concept(status_code(finding.status))))
    if finding.change is not None:
        difference = codes.DCM.QualitativeDifference
        evaluations.append(QualitativeEvaluation(difference, concept(change_code(finding.change))))
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(mark.tracking_uid, mark.identifier),
        referenced_region=ImageRegion(
            GraphicTypeValues.POLYLINE,
            np.array(mark.corners),
            SourceImageForRegion(str(mark.image.SOPClassUID), mark.box.image_key),
        ),
        finding_type=_concept_of(finding),
        algorithm_id=algorithm(engine),
        finding_sites=_sites(finding),
        measurements=[_certainty(score)] if with_number and score is not None else None,
        qualitative_evaluations=evaluations or None,
    )
    words = as_text(remark(finding, score, engine))
    group[0].ContentSequence.append(TextContentItem(codes.DCM.Comment, words, _CONTAINS))
    return group


def _score_group(mark: Mark, score: Score, engine: EngineIdentity) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(mark.tracking_uid, mark.identifier),
        finding_type=_concept_of(mark.finding),
        algorithm_id=algorithm(engine),
        measurements=[_certainty(score)],
        source_images=[SourceImageForMeasurementGroup(str(mark.image.SOPClassUID), mark.box.image_key)],
    )


def _certainty(score: Score) -> Measurement:
    return Measurement(codes.DCM.CertaintyOfFinding, certainty_percent(score), codes.UCUM.Percent)


def _sites(finding: Finding) -> list[FindingSite] | None:
    site = site_code(finding.name)
    if site is None:
        return None
    return [FindingSite(site, laterality=None if finding.side is None else side_code(finding.side))]


def _evaluations(reading: Reading, marks: Marks) -> ContentItem:
    """The one Qualitative Evaluations container: findings without a box, then the draft in words."""
    placed = {mark.finding for mark in marks.marks}
    items: list[ContentItem] = [
        CodeContentItem(_concept_of(finding), concept(status_code(finding.status)), _CONTAINS)
        for finding in reading.findings
        if finding not in placed
    ]
    findings, _ = split_report(reading.report)
    words = f"{banner(reading.engine)}.\n{findings or '(no text)'}\n{named(reading.findings)}"
    items.append(TextContentItem(codes.DCM.Finding, as_text(words), _CONTAINS))
    if impression := impression_of(reading):
        words = f"{banner(reading.engine)}\n{impression}"
        items.append(TextContentItem(codes.DCM.Impression, as_text(words), _CONTAINS))
    container = ContainerContentItem(
        concept(code("heading", "qualitative evaluations")), relationship_type=_CONTAINS
    )
    container.ContentSequence = ContentSequence(items)
    return container


def _concept_of(finding: Finding) -> CodedConcept:
    return concept(finding_code(finding.name))
