"""Builds what outputs are made from: sources as they come from a file, a reading, a narrative, a stamp."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from agent.dicom.pixels import render
from agent.outputs import OUTPUTS, Device, Narrative, Predecessor, Sources, Stamp, build, encode
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Score, Status, Turn
from tests.builders import a_code, a_radiograph

SEOUL = timezone(timedelta(hours=9))
ENGINE = EngineIdentity("m4cxr", "0.1.0", "M4CXR", f"sha256:{'5a' * 32}")
DEMO = EngineIdentity("m4cxr", "0.1.0", "preread synthetic demo model", f"sha256:{'d0' * 32}", is_demo=True)
KINDS = tuple(OUTPUTS)

KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
CYRILLIC = "Люкceмбypг"


def as_received(dataset: Dataset) -> Dataset:
    """Sends a dataset through a file, as every header that outputs see has gone."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return dcmread(BytesIO(file.getvalue()))


def a_source(*, missing: Collection[str] = (), change: dict[str, Any] | None = None, **about: Any) -> Dataset:
    """A received radiograph of 256 x 320 pixels; `change` sets attributes that a_radiograph does not name."""
    dataset = a_radiograph(**{"rows": 256, "columns": 320, "accession": "ACC7", **about}, missing=missing)
    for keyword, value in (change or {}).items():
        setattr(dataset, keyword, value)
    return as_received(dataset)


def with_raw(dataset: Dataset, **values: bytes | None) -> Dataset:
    """Gives a received dataset with some values as a sender may have encoded them; None takes the element away."""
    for keyword, value in values.items():
        tag = Tag(keyword)
        dataset.pop(tag, None)
        if value is not None:
            padded = value + b" " * (len(value) % 2)
            vr = dictionary_VR(tag)
            dataset._dict[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)
    return dataset


def sources_of(
    *current: Dataset, priors: tuple[Dataset, ...] = (), predecessors: tuple[Predecessor, ...] = ()
) -> Sources:
    pixels = {str(header.SOPInstanceUID): render(header) for header in current}
    return Sources(current, priors, pixels, predecessors)


def a_box(
    header: Dataset, *, left: float = 40, top: float = 120, right: float = 140, bottom: float = 220
) -> Box:
    return Box(str(header.SOPInstanceUID), left, top, right, bottom)


def an_effusion(*boxes: Box, **about: Any) -> Finding:
    return Finding("pleural effusion", **{"status": Status.PRESENT, "side": "right", **about}, boxes=boxes)


def a_reading(*findings: Finding, **about: Any) -> Reading:
    turn = Turn("findings", ("1.2.3",), "<image> Which findings?", "pleural effusion.", 0.25, 210, 4)
    report = "There is a right pleural effusion.\n\nThe heart is large."
    return Reading(findings, **{"report": report, "turns": (turn,), "engine": ENGINE, **about})


def a_narrative(**about: Any) -> Narrative:
    return Narrative(**{"indication": "Cough.", "complete_because": "no image for 60 s", **about})


def a_stamp(**about: Any) -> Stamp:
    now = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=SEOUL)
    return Stamp(**{"now": now, "device": Device("0.1.0", "SN-1", "2.25.4711"), **about})


def built(kind: str, sources: Sources, reading: Reading, **stamp: Any) -> tuple[Dataset, ...]:
    """Builds one kind and gives it as a PACS would read it."""
    made = build(kind, sources, reading, a_narrative(), a_stamp(**stamp))
    return tuple(dcmread(BytesIO(encode(dataset))) for dataset in made)


def the_one(kind: str, header: Dataset, reading: Reading | None = None, **stamp: Any) -> Dataset:
    """Builds the one object of a kind from one image; with an effusion in a box if no reading is given."""
    (dataset,) = built(kind, sources_of(header), reading or a_reading(an_effusion(a_box(header))), **stamp)
    return dataset


def texts(dataset: Dataset) -> list[str]:
    """Every Text Value of a document, in order."""
    return [str(element.value) for element in dataset.iterall() if element.keyword == "TextValue"]


def groups(document: Dataset) -> list[Dataset]:
    """The measurement groups of a TID 1500 document."""
    return [
        group
        for container in document.ContentSequence
        if container.ConceptNameCodeSequence[0].CodeValue == "126010"
        for group in container.ContentSequence
    ]


def named(container: Dataset, code_value: str) -> list[Dataset]:
    """The children of a content item whose concept name has this code value."""
    return [
        item for item in container.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def _odd_cr() -> Dataset:
    identity = ("PatientID", "StudyID", "AccessionNumber", "StudyDate", "StudyTime", "ReferringPhysicianName")
    geometry = ("PatientBirthDate", "PatientSex", "PatientOrientation", "ImagerPixelSpacing", "Manufacturer")
    return a_source(modality="CR", missing=(*identity, *geometry))


def _asked_for() -> Dataset:
    code = a_code("RPID2503", "RADLEX", "XR chest")
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SP1"
    request.RequestedProcedureDescription = "흉부 촬영"
    change = {"ProcedureCodeSequence": [code], "RequestAttributesSequence": [request]}
    return a_source(charset="\\ISO 2022 IR 149", name=KOREAN, study_description="흉부", change=change)


SOURCES: dict[str, Callable[[], Dataset]] = {
    "DX, MONOCHROME2, Korean": lambda: a_source(charset="\\ISO 2022 IR 149", name=KOREAN),
    "DX, MONOCHROME1, lateral": lambda: a_source(photometric="MONOCHROME1", view="LL"),
    "DX, MONOCHROME1, Japanese": lambda: a_source(
        photometric="MONOCHROME1", charset="\\ISO 2022 IR 87", name=JAPANESE
    ),
    "DX, Cyrillic, a name without a caret": lambda: a_source(charset="ISO_IR 144", name=CYRILLIC),
    "DX, Korean procedure, as ordered": _asked_for,
    "CR without type 2 attributes, orientation and spacing": _odd_cr,
    "CR with pixels twice as high as wide, no study date": lambda: a_source(
        modality="CR", spacing_mm=None, missing=("StudyDate",), change={"PixelAspectRatio": [2, 1]}
    ),
    "DX, sex outside M, F, O": lambda: a_source(sex="U"),
    "CR without a window, no character set": lambda: a_source(
        modality="CR", missing=("SpecificCharacterSet",)
    ),
    "DX, Implicit VR": lambda: a_source(transfer_syntax="1.2.840.10008.1.2"),
}
"""What sources look like in the field: name to builder."""


def a_full_reading(header: Dataset, **about: Any) -> Reading:
    """Every kind of statement: with and without a box, a score, a change; present, uncertain, absent."""
    border = a_box(header, left=260, top=0, right=320, bottom=90)
    return a_reading(
        an_effusion(a_box(header), change=Change.LARGER, score=0.923),
        Finding("cardiomegaly", Status.UNCERTAIN),
        Finding("pneumothorax", Status.ABSENT),
        Finding("lung lesion", Status.UNCERTAIN, Change.NEW, "left", (border,)),
        problems=("The answer to question 2 could not be parsed: “???”.",),
        scores=(Score("pleural effusion", 0.923, 0.61, "400 studies"), Score("pneumothorax", 0.011)),
        **{
            "compared_with_prior": True,
            "impression": "Right pleural effusion, larger.",
            "differential": "Heart failure; pneumonia.",
            **about,
        },
    )
