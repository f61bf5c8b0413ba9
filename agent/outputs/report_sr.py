"""The text report: Basic Text SR (PS3.3 A.35.1), TID 2000. First the draft, then how it came about."""

import re
from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from highdicom.sr.sop import _SR  # highdicom has no public class for Basic Text SR
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import BasicTextSRStorage

from agent.outputs.codes import code
from agent.outputs.heading import finished
from agent.outputs.marks import Marks, marks_of
from agent.outputs.normalise import normalised, sop_instance_uid
from agent.outputs.sr import concept, document_arguments, language_of, observation_context, procedure_item
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import (
    COMPLETION,
    CONSIDERED,
    NOT_NAMED_IS_NOT_ABSENT,
    NOTHING_WAS_MEASURED,
    OWN_SUMMARY,
    as_text,
    banner,
    phrase,
    places_withdrawn,
    program,
    scores_line,
    takes_the_place,
)
from inference.engines.report_words import comparison_words
from inference.reading import Finding, Reading, Status, Turn

KIND = "report_sr"

QUESTION_CHARACTERS_MAX = 1000
"""A longer question (it may hold whole earlier reports) is shortened in the middle; answers never are."""

_CONTAINS = RelationshipTypeValues.CONTAINS
_IMPRESSION = re.compile(r"^[ \t]*impressions?[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FINDINGS = re.compile(r"\A\s*findings?[ \t]*:", re.IGNORECASE)


def build_report_sr(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one Basic Text SR: the draft, and its reasons word for word."""
    marks = marks_of(sources, reading)
    root = ContainerContentItem(codes.LN.DiagnosticImagingReport, template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            *language_of(stamp),
            *observation_context(stamp),
            procedure_item(sources.current[0]),
            *clinical_sections(sources, reading, narrative, marks, stamp),
            _section(
                code("heading", "reasons"),
                [
                    _text(code("reason", key), words)
                    for key, words in reasons_of(sources, reading, narrative, marks)
                ],
            ),
        ]
    )
    arguments = document_arguments(KIND, root, sources, reading.engine, stamp)
    document = _SR(sop_class_uid=BasicTextSRStorage, **arguments)
    document.CompletionFlagDescription = COMPLETION
    return (finished(document, sources.current[0], stamp),)


def split_report(report: str) -> tuple[str, str]:
    """Splits a draft into findings and impression, "" if it has none; models write both into one text."""
    findings, impression = report, ""
    heading = _IMPRESSION.search(report)
    if heading is not None:
        findings, impression = report[: heading.start()], report[heading.end() :]
    return _FINDINGS.sub("", findings).strip(), impression.strip()


def impression_of(reading: Reading) -> str:
    """Gives what stands under Impression: what the draft itself says there, and the model's summary of it."""
    _, own = split_report(reading.report)
    summary = f"{OWN_SUMMARY}\n{reading.impression}" if reading.impression else ""
    return "\n".join(filter(None, (own, summary)))


def clinical_sections(
    sources: Sources, reading: Reading, narrative: Narrative, marks: Marks, stamp: Stamp
) -> list[ContentItem]:
    """Gives the sections that a radiologist reads first (headings of CID 7001)."""
    findings, _ = split_report(reading.report)
    impression = impression_of(reading)
    sections = []
    if narrative.indication:
        sections.append(_section(codes.LN.Request, [_text(codes.LN.Request, narrative.indication)]))
    if reading.compared_with_prior and narrative.comparison:
        comparison = _text(codes.DCM.ProcedureDescription, f"Comparison: {narrative.comparison}")
        sections.append(_section(codes.LN.PriorProcedureDescriptions, [comparison]))
    told = [
        banner(reading.engine),
        *_replaced(sources, stamp),
        *_paragraphs(findings),
        named(reading.findings),
    ]
    told += _withdrawn_places(sources, marks)
    sections.append(_section(codes.LN.Findings, [_text(codes.DCM.Finding, words) for words in told]))
    if impression:
        lines = f"{banner(reading.engine)}\n{impression}"
        sections.append(_section(codes.LN.Impressions, [_text(codes.DCM.Impression, lines)]))
    if reading.differential:
        lines = f"{banner(reading.engine)}\n{CONSIDERED}\n{reading.differential}"
        considered = _text(codes.DCM.DifferentialDiagnosisImpression, lines)
        sections.append(_section(code("heading", "considered"), [considered]))
    images = [header for header in sources.current if marks.on(header)]
    if images:
        sections.append(_section(codes.LN.KeyImages, [_key_image(header) for header in images]))
    return sections


def _replaced(sources: Sources, stamp: Stamp) -> list[str]:
    """Which draft this one takes the place of, since both lie in the archive and may be printed; [] if it is the
    first."""
    earlier = [before.revision for before in sources.predecessors]
    return [takes_the_place(stamp.revision, max(earlier))] if earlier else []


def _withdrawn_places(sources: Sources, marks: Marks) -> list[str]:
    """A sentence for each earlier revision that marked places on images where there are none now."""
    marked_now = {mark.box.image_key for mark in marks.marks}
    images: dict[int, dict[str, None]] = {}
    for before in sources.predecessors:
        for uid in before.marked:
            if uid not in marked_now:
                images.setdefault(before.revision, {})[uid] = None
    return [places_withdrawn(revision, list(images[revision])) for revision in sorted(images)]


def named(findings: Sequence[Finding]) -> str:
    """Says in one line which findings the model named, by what it says of them; and what silence means."""
    parts = []
    for status, words in (
        (Status.PRESENT, "Named by the model"),
        (Status.UNCERTAIN, "Named as uncertain"),
        (Status.ABSENT, "Called absent by the model"),
    ):
        phrases = [phrase(finding) for finding in findings if finding.status is status]
        if phrases:
            parts.append(f"{words}: {'; '.join(phrases)}.")
    return " ".join([*(parts or ["The model named no finding."]), NOT_NAMED_IS_NOT_ABSENT])


def reasons_of(
    sources: Sources, reading: Reading, narrative: Narrative, marks: Marks
) -> list[tuple[str, str]]:
    """Says how a draft came about: (key of the code group "reason", words), in the order of reading."""
    limits = [*reading.problems, *marks.dropped, NOTHING_WAS_MEASURED, *narrative.notes]
    if not reading.compared_with_prior:
        limits.append(_no_prior(reading))
    reasons = [("seen", words) for words in _seen(sources, narrative)]
    reasons += [("passed over", f"{uid}: {reason}") for uid, reason in narrative.passed_over]
    if narrative.complete_because:
        reasons.append(("complete", narrative.complete_because))
    reasons += [("turn", _turn(number, turn)) for number, turn in enumerate(reading.turns, start=1)]
    reasons += [("limit", words) for words in limits]
    reasons.append(("program", program(reading.engine)))
    if reading.scores:
        reasons.append(("score", scores_line(reading.scores)))
    return reasons


def _no_prior(reading: Reading) -> str:
    """Says that nothing was compared, and of words that sound as if it had been that they must not be trusted."""
    told = "\n".join(filter(None, (reading.report, reading.impression, reading.differential)))
    words = ", ".join(comparison_words(told))
    what = (
        f'what reads like a comparison here ("{words}") is none' if words else "nothing here is a comparison"
    )
    return f"No prior exam was shown to the model; {what}."


def _seen(sources: Sources, narrative: Narrative) -> list[str]:
    """One line for each image, each prior study with why it was chosen, and each report; oldest exam first."""
    lines = []
    for role, headers in (("Current", sources.current), ("Prior", sources.priors)):
        for header in map(normalised, headers):
            when = str(header.StudyDate or "") or "without a date"
            view = str(header.get("ViewPosition") or "") or "view not sent"
            study = "" if role == "Current" else f", study {header.StudyInstanceUID}"
            lines.append(f"{role} image, {when}, {view}: {sop_instance_uid(header)}{study}")
    lines += [f"Prior study {uid}: {reason}" for uid, reason in narrative.chosen]
    return [*lines, *(f"Report: {report}" for report in narrative.reports)]


def _turn(number: int, turn: Turn) -> str:
    numbers = f"{turn.seconds:.2f} s, {turn.prompt_tokens} + {turn.answer_tokens} tokens"
    title = f"{number}. {turn.purpose} (images shown: {len(turn.image_keys)}, {numbers})"
    return f"{title}\nQuestion: {_shortened(turn.question)}\nAnswer: {turn.answer}"


def _shortened(question: str) -> str:
    excess = len(question) - QUESTION_CHARACTERS_MAX
    if excess <= 0:
        return question
    half = QUESTION_CHARACTERS_MAX // 2
    return f"{question[:half]} [... {excess} characters left out ...] {question[-half:]}"


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()] or [
        "(no text)"
    ]


def _section(heading: Code, items: Sequence[ContentItem]) -> ContentItem:
    section = ContainerContentItem(concept(heading), relationship_type=_CONTAINS)
    section.ContentSequence = ContentSequence(items)
    return section


def _text(name: Code, words: str) -> ContentItem:
    return TextContentItem(concept(name), as_text(words), _CONTAINS)


def _key_image(header: Dataset) -> ContentItem:
    return ImageContentItem(
        codes.DCM.BestIllustrationOfFinding,
        str(header.SOPClassUID),
        sop_instance_uid(header),
        relationship_type=_CONTAINS,
    )
