"""What a model sees: the films and texts of one study and its priors, with no DICOM in it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class View(StrEnum):
    """The projection of a radiograph, as far as the header tells."""

    PA = "PA"
    AP = "AP"
    FRONTAL = "FRONTAL"
    """PA or AP; the header does not tell which."""
    LATERAL = "LATERAL"
    UNKNOWN = "UNKNOWN"

    @property
    def is_frontal(self) -> bool:
        return self in (View.PA, View.AP, View.FRONTAL)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One radiograph, ready to look at.

    Attributes:
        key: opaque to inference; boxes come back with it (the agent puts the SOP Instance UID here).
        pixels: uint16 (rows, columns), 0 = darkest, 65535 = brightest, dense is bright (MONOCHROME2 sense).
        view: the projection.
        row_spacing_mm, column_spacing_mm: distance of pixel centres at the detector, or None if not sent
            (then nobody may measure).
    """

    key: str
    pixels: NDArray[np.uint16]  # (rows, columns)
    view: View = View.UNKNOWN
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None

    @property
    def rows(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """One study: its images and what a radiologist wrote about it.

    Attributes:
        images: frontal images first.
        report: what a radiologist wrote, in plain text, or None if there is nothing.
        days_before: whole days before the current exam; 0 for the current one, None if not known.
        report_section: of the report: "findings"; "impression" where it has no findings; "whole" if it has no headings.
    """

    images: tuple[Image, ...]
    report: str | None = None
    days_before: int | None = 0
    report_section: str = "findings"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Everything a model may look at for one draft.

    Attributes:
        current: the exam to be reported; its `report` is None.
        priors: earlier exams of the same patient, oldest first.
        indication: why the exam was asked for, or None.
        adapter: name of the attached adapter to read it with, or None for the weights alone.
    """

    current: Exam
    priors: tuple[Exam, ...] = ()
    indication: str | None = None
    adapter: str | None = None
