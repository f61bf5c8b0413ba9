"""Whole objects as text, reviewed as a diff: `pytest tests/outputs --update-golden` writes them anew."""

from pathlib import Path

import pytest
from pydicom import Dataset

from agent.outputs import Predecessor, series_uid
from inference.reading import Turn
from tests.outputs.drafts import DEMO, KINDS, KOREAN, a_full_reading, a_source, built, sources_of

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "outputs"


def a_second_draft(kind: str) -> Dataset:
    """Everything at once: a Korean patient, a prior, a demo model, a predecessor."""
    who = {"charset": "\\ISO 2022 IR 149", "name": KOREAN, "study_description": "흉부"}
    header, prior = a_source(**who), a_source(**who, days_ago=300)
    study = str(header.StudyInstanceUID)
    sop_class = "1.2.840.10008.5.1.4.1.1.88.11"
    first = Predecessor("report_sr", study, series_uid(study, "report_sr", DEMO), sop_class, "2.25.1")
    turns = (Turn("findings", (str(prior.SOPInstanceUID),), "<image> What?", "effusion.", 0.5, 300, 3),)
    reading = a_full_reading(header, turns=turns, engine=DEMO)
    (made,) = built(kind, sources_of(header, priors=(prior,), predecessors=(first,)), reading, revision=2)
    return made


def as_lines(dataset: Dataset, depth: int = 0) -> list[str]:
    """Every element with its whole value; of pixels only how many bytes, since letters differ with the font."""
    lines = []
    for element in dataset:
        line = f"{'  ' * depth}{element.tag} {element.VR} {element.keyword}"
        if element.VR == "SQ":
            lines.append(line)
            for number, item in enumerate(element.value, start=1):
                lines += [f"{'  ' * depth}> {number}", *as_lines(item, depth + 1)]
        elif element.keyword.startswith("EncapsulatedDocument"):
            lines.append(f"{line}: of the PDF")  # which differs with the versions of zlib and reportlab
        elif element.keyword == "PixelData":
            lines.append(f"{line}: {len(element.value)} bytes")
        else:
            lines.append(f"{line}: {element.value!r}")
    return lines


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_what_it_was_when_last_reviewed(kind: str, update_golden: bool):
    path = GOLDEN / f"{kind}.txt"
    text = "\n".join(as_lines(a_second_draft(kind))) + "\n"
    if update_golden:
        path.write_text(text, encoding="utf-8")

    assert text == path.read_text(encoding="utf-8")
