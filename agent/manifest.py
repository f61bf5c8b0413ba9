"""The Manifest: exactly what the model will see, by UID, and what was passed over; and its JSON. Pure.

It is small and lasts: it answers years later which films a draft was made from. The Reading's JSON is here,
too, since storage keeps both without understanding either.
"""

import json
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from inference.question import Answer
from inference.reading import Reading
from storage.outside_records import ExplainedStudy

_NOT_SHOWN = "The earlier exam {} was not shown: "

VERSION = 1
"""Of the JSON of both. It rises when an older preread could no longer read what a newer one wrote."""


@dataclass(frozen=True, slots=True)
class ManifestImage:
    """One image that the model sees.

    Attributes:
        path: relative to the files folder.
        view: a value of `inference.case.View`.
        rows, columns: as stored.
        assumed_charset: Specific Character Set of its text if it names none; "" for none, see
            `agent.dicom.charsets`.
    """

    sop_instance_uid: str
    series_instance_uid: str
    path: str
    view: str
    rows: int
    columns: int
    assumed_charset: str = ""


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """The text of a prior's report as the model sees it.

    Attributes:
        text: plain text, paragraphs separated by line feeds.
        section: which part of the report it is: "findings", "impression" or "whole".
        sop_instance_uid: of the structured report that it comes from; "" if it came another way.
        origin: how it came and what ties it to the exam, for a person; "" in manifests of version 0.1.
        has_addendum: whether addenda follow the section in `text`; False for "whole", which has its own in place.
    """

    text: str
    section: str
    sop_instance_uid: str
    origin: str = ""
    has_addendum: bool = False

    @property
    def part(self) -> str:
        """The section, and the addendum if there is one: which words were shown, for a person."""
        return f"{self.section} and addendum" if self.has_addendum else self.section


@dataclass(frozen=True, slots=True)
class ManifestExam:
    """One study as the model sees it.

    Attributes:
        study_date, study_time: as sent, local.
        images: frontal ones first.
        report: None if there is none, and always for the current exam.
        days_before: whole days before the current exam; 0 for the current one, None if not known.
        chosen_because: why this exam and not another, a sentence; "" for the current one.
    """

    study_instance_uid: str
    study_date: str
    study_time: str
    images: tuple[ManifestImage, ...]
    report: ManifestReport | None = None
    days_before: int | None = 0
    chosen_because: str = ""


@dataclass(frozen=True, slots=True)
class ManifestRule:
    """The rule that a study fell under, and what of it the later steps go by; a change of the file changes no study
    that is under way.

    Attributes:
        name: "" if no rule fitted.
        because: which conditions decided, a sentence that names no patient.
        adapter: name of the adapter that the case is read with, or None for the weights alone.
        is_shadow: the reading is kept and nothing is made or sent of it.
        destinations: by name; () = all.
        outputs: what these get; () = what each gets of any draft.
    """

    name: str
    because: str
    adapter: str | None = None
    is_shadow: bool = False
    destinations: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestOrder:
    """What the study was ordered by, as it was known when the case was gathered; "" for what nobody told.

    Attributes:
        source: who told of it.
    """

    source: str
    placer_order_number: str = ""
    filler_order_number: str = ""
    requested_procedure: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one job shows to the model.

    Attributes:
        priors: oldest first. Whether the model really saw each of them only its Reading knows: `as_shown`.
        indication: why the exam was asked for, or None.
        passed_over: earlier exams that are not shown.
        left_out: (SOP Instance UID, sentence) of images of the current study that are not shown.
        complete_because: why the study was called complete, a sentence.
        notes: sentences for the radiologist on how this came together.
        rule: None in manifests that are older than rules.
        order: None if nobody told of one.
        configuration: digest of the settings by which this was decided; "" in manifests that were made without.
    """

    current: ManifestExam
    priors: tuple[ManifestExam, ...] = ()
    indication: str | None = None
    passed_over: tuple[ExplainedStudy, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    complete_because: str = ""
    notes: tuple[str, ...] = ()
    rule: ManifestRule | None = None
    order: ManifestOrder | None = None
    configuration: str = ""


def not_shown(study_instance_uid: str, reason: str) -> str:
    """Says that an exam of the Manifest could not be shown to the model: a problem of its Reading."""
    return f"{_NOT_SHOWN.format(study_instance_uid)}{reason}."


def as_shown(manifest: Manifest, told: Reading | Answer) -> Manifest:
    """Gives a Manifest as the model really saw it: what it was to see may not all have been shown.

    An image was shown if it stood in some turn's conversation. An earlier exam without one is passed over, with what is
    known of why; an image of the current exam is left out. Of an engine that names no image of the current exam nobody
    can say which it saw, and all stay. An output that speaks of exams asks this one.
    """
    keys = {key for turn in told.turns for key in turn.image_keys}
    seen = [_seen(prior, keys) for prior in manifest.priors]
    unseen = [
        ExplainedStudy(exam.study_instance_uid, _why_not_shown(exam.study_instance_uid, told))
        for exam in seen
        if not exam.images
    ]
    current = _seen(manifest.current, keys)
    if not current.images:
        current = manifest.current
    left_out = [
        (image.sop_instance_uid, f"engine {told.engine.name} did not put it before the model")
        for image in manifest.current.images
        if image not in current.images
    ]
    return replace(
        manifest,
        current=current,
        left_out=(*manifest.left_out, *left_out),
        priors=tuple(exam for exam in seen if exam.images),
        passed_over=(*manifest.passed_over, *unseen),
    )


def _seen(exam: ManifestExam, keys: Container[str]) -> ManifestExam:
    return replace(exam, images=tuple(image for image in exam.images if image.sop_instance_uid in keys))


def _why_not_shown(study_instance_uid: str, told: Reading | Answer) -> str:
    """What the agent has noted when it loaded the case; else it was the engine that left the exam out."""
    beginning = _NOT_SHOWN.format(study_instance_uid)
    noted = (one.removeprefix(beginning) for one in told.problems if one.startswith(beginning))
    because = next(noted, f"engine {told.engine.name} put none of its images before the model.")
    return f"it was chosen, but not shown, because {because.removesuffix('.')}"


_MANIFEST = TypeAdapter(Manifest)
_READING = TypeAdapter(Reading)


def dump_manifest(manifest: Manifest) -> str:
    """Writes a Manifest as JSON, with the version in it."""
    return _dump("manifest", _MANIFEST.dump_python(manifest, mode="json"))


def load_manifest(text: str) -> Manifest:
    """Reads what `dump_manifest` wrote.

    Raises:
        ValueError: if it is no such JSON, or of a version that this preread does not know.
    """
    return _MANIFEST.validate_python(_load("manifest", text))


def dump_reading(reading: Reading) -> str:
    """Writes a Reading as JSON, with the version in it."""
    return _dump("reading", _READING.dump_python(reading, mode="json"))


def load_reading(text: str) -> Reading:
    """Reads what `dump_reading` wrote.

    Raises:
        ValueError: if it is no such JSON, or of a version that this preread does not know.
    """
    return _READING.validate_python(_load("reading", text))


def _dump(kind: str, content: Any) -> str:
    return json.dumps({"version": VERSION, kind: content}, ensure_ascii=False, allow_nan=False)


def _load(kind: str, text: str) -> Any:
    found = json.loads(text)
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION or kind not in found:
        raise ValueError(
            f"this JSON is no {kind} of version {VERSION}, which this preread writes; it has version "
            f"{version!r}. Was the database last used by a newer preread?"
        )
    return found[kind]
