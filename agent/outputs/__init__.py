"""Turns a Reading into DICOM objects for the PACS. Pure: no clock, no randomness, no disk.

`build` makes the objects of one kind, `encode` their bytes. The same arguments give the same bytes.
"""

from collections.abc import Callable, Mapping

from pydicom.dataset import Dataset

from agent.dicom.opening import quietly
from agent.outputs.capture import build_secondary_captures
from agent.outputs.encapsulated_pdf import build_encapsulated_pdf
from agent.outputs.findings_sr import build_findings_sr, build_findings_sr_air
from agent.outputs.heading import encode, instance_uid, series_uid
from agent.outputs.key_objects import build_key_objects
from agent.outputs.presentation import build_presentation_states, needs_pixels
from agent.outputs.report_sr import build_report_sr
from agent.outputs.segmentation import build_segmentations
from agent.outputs.stamp import Device, Narrative, Ordered, Predecessor, Sources, Stamp
from inference.reading import Reading

__all__ = [
    "KINDS_WITH_PICTURES",
    "OUTPUTS",
    "Device",
    "Narrative",
    "Ordered",
    "Predecessor",
    "Sources",
    "Stamp",
    "build",
    "encode",
    "instance_uid",
    "needs_pixels",
    "series_uid",
]

OUTPUTS: Mapping[str, Callable[[Sources, Reading, Narrative, Stamp], tuple[Dataset, ...]]] = {
    "report_sr": build_report_sr,
    "findings_sr": build_findings_sr,
    "presentation_state": build_presentation_states,
    "secondary_capture": build_secondary_captures,
    "key_object_selection": build_key_objects,
    "segmentation": build_segmentations,
    "encapsulated_pdf": build_encapsulated_pdf,
    "findings_sr_air": build_findings_sr_air,
}
"""Kind of output to the function that makes it: no object, one, or one for each image."""

KINDS_WITH_PICTURES = frozenset({"secondary_capture", "encapsulated_pdf"})
"""The kinds that need the rendered images, `Sources.pixels`."""


def build(
    kind: str, sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes the objects of one kind, all in the study of the current images; possibly none.

    Raises:
        ValueError: if `kind` is no key of OUTPUTS, a box lies on no current image, or pixels are missing.
    """
    if kind not in OUTPUTS:
        raise ValueError(f'output "{kind}" is not known; expected one of {", ".join(OUTPUTS)}')
    with quietly():  # highdicom and pydicom warn of odd source values, sometimes with the patient's name
        return OUTPUTS[kind](sources, reading, narrative, stamp)
