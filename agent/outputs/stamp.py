"""What an output is made of beside the Reading: who made it and when, from which images, with which words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydicom.dataset import Dataset

from agent.dicom.opening import quietly
from inference.case import Image


@dataclass(frozen=True, slots=True)
class Device:
    """This agent, as General Equipment and as TID 1004 device observer.

    Attributes:
        uid: Device Observer UID, the same as long as this installation lives.
        institution_name: "" to take the study's.
    """

    software_version: str
    serial_number: str
    uid: str
    manufacturer: str = "preread"
    model_name: str = "preread"
    institution_name: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who makes the objects, when, and for which pass.

    Attributes:
        now: aware, in the zone of the site: it is written as local time, and its offset is written as
            Timezone Offset From UTC, which then also holds for the study's own times (PS3.3 C.12.1.1.8). A
            study that names its offset keeps it, and `now` is written in that one.
        revision: 1, 2, ... of the study's draft.
        language: of our fixed texts.
        charset: "utf8" writes ISO_IR 192; "source" the study's own set, where that can hold every character
            of the object, else ISO_IR 192 too: a lost letter is worse than a set an archive does not like.
        series_number_base: Series Number of the first kind; the kinds count up from it.
        image_rendering: how the pixels for pictures were made, a phrase for Derivation Description.
    """

    now: datetime
    device: Device
    revision: int = 1
    language: Literal["en"] = "en"
    charset: Literal["utf8", "source"] = "utf8"
    series_number_base: int = 9000
    image_rendering: str = "first VOI LUT or window of the image, polarity of its Photometric Interpretation"

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("Stamp.now has no time zone")
        if self.revision < 1:
            raise ValueError(f"revision {self.revision}; revisions count from 1")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """One object of an earlier revision of the same draft.

    Attributes:
        kind: a key of OUTPUTS.
        images: SOP Instance UIDs of the images that a presentation state, segmentation or picture is of; () for
            other kinds.
        marked: of the images on which it marks places, as far as that can be read from it: not from a picture.
    """

    kind: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    revision: int = 1
    images: tuple[str, ...] = ()
    marked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a study was ordered by, as worklist or RIS told it; "" for what they did not."""

    placer_order_number: str = ""
    filler_order_number: str = ""
    requested_procedure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """The images behind a draft.

    Attributes:
        current: headers of every current image that the model saw, with or without pixels; the first one
            lends its patient and study.
        priors: headers of the prior images that the model saw, oldest exam first.
        pixels: SOP Instance UID to the rendered image, those of `no_longer_seen` among them; only secondary
            captures and PDFs look at it.
        predecessors: our newest objects of each kind, of earlier revisions; empty for revision 1.
        no_longer_seen: headers of images of this study that predecessors are of, and the model did not see now.
        ordered: what the images themselves do not say of their order is taken from here.
    """

    current: tuple[Dataset, ...]
    priors: tuple[Dataset, ...] = ()
    pixels: Mapping[str, Image] = field(default_factory=dict)
    predecessors: tuple[Predecessor, ...] = ()
    no_longer_seen: tuple[Dataset, ...] = ()
    ordered: Ordered = Ordered()

    def __post_init__(self) -> None:
        if not self.current:
            raise ValueError("a draft needs at least one current image")
        with quietly():  # odd values were told when they came in
            studies = {str(header.StudyInstanceUID) for header in self.current}
            patients = {str(header.get("PatientID", "") or "").strip() for header in self.current}
            prior_studies = {str(header.StudyInstanceUID) for header in self.priors}
        if len(studies) != 1:
            raise ValueError(
                f"the current images are of {len(studies)} studies: {', '.join(sorted(studies))}"
            )
        if len(patients) != 1:
            raise ValueError(f"the images of study {studies.pop()} name {len(patients)} patients")
        if studies & prior_studies:
            raise ValueError(f"study {studies.pop()} stands among its own priors")

    def images_that_had(self, kind: str) -> tuple[Dataset, ...]:
        """Gives the images of this study, seen or not, of which an earlier revision made an object of a kind."""
        before = {uid for one in self.predecessors if one.kind == kind for uid in one.images}
        images = (*self.current, *self.no_longer_seen)
        return tuple(header for header in images if str(header.SOPInstanceUID) in before)


@dataclass(frozen=True, slots=True)
class Narrative:
    """What the text report says beside the Reading; sentences for a person.

    Attributes:
        indication: why the exam was asked for, or None.
        comparison: which earlier exams the draft compares with, e.g. "CR chest 2025-06-01"; written only if
            the Reading says that it compared.
        reports: the earlier reports that the model was given, one phrase each.
        chosen: (Study Instance UID, reason) of the earlier exams that the model was shown.
        passed_over: (Study or SOP Instance UID, reason) of what the model was not shown.
        complete_because: why the study was called complete, or "".
        notes: anything else worth knowing ("waited 120 s for priors").
    """

    indication: str | None = None
    comparison: str | None = None
    reports: tuple[str, ...] = ()
    chosen: tuple[tuple[str, str], ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    complete_because: str = ""
    notes: tuple[str, ...] = ()
