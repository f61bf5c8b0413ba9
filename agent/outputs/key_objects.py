"""The key images: Key Object Selection Document (PS3.3 A.35.4), TID 2010, naming the images with boxes."""

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from agent.outputs.heading import finished, heading
from agent.outputs.marks import Marks, marks_of
from agent.outputs.normalise import evidence
from agent.outputs.sr import device_observer, requested_procedures
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import as_text, banner, phrase, program
from inference.reading import EngineIdentity, Reading

KIND = "key_object_selection"


def build_key_objects(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one Key Object Selection "Of Interest" (CID 7010), or none if no image has a box.

    Only current images stand in it: its IOD has no place for those of another study (Pertinent Other Evidence),
    and highdicom drops their reference without a word.
    """
    marks = marks_of(sources, reading)
    images = [evidence(header) for header in sources.current if marks.on(header)]
    if not images:
        return ()
    selection = KeyObjectSelection(
        codes.DCM.OfInterest,
        images,
        observer_device_context=ObserverContext(codes.DCM.Device, device_observer(stamp)),
        description=as_text(_description(marks, reading.engine)),
    )
    document = KeyObjectSelectionDocument(
        images,
        selection,
        requested_procedures=requested_procedures(sources),
        **heading(KIND, 0, sources, reading.engine, stamp),
    )
    return (finished(document, sources.current[0], stamp),)


def _description(marks: Marks, engine: EngineIdentity) -> str:
    named = "\n".join(
        f"{mark.identifier} {phrase(mark.finding)} ({mark.finding.status})" for mark in marks.marks
    )
    return f"{banner(engine)}. Images on which the model marked a place:\n{named}\n{program(engine)}"
