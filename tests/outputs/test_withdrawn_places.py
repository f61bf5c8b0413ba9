"""What an earlier revision marked and this one does not: a viewer goes on drawing the last object that it has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from agent.demo.pacs import MiniPacs
from agent.outputs import Predecessor, Sources
from agent.outputs.capture import layout_of
from agent.outputs.marks import images_of, marked_images
from inference.case import Case, Exam
from inference.reading import Box, Reading
from tests.agent.line import Line
from tests.builders import a_radiograph
from tests.outputs.drafts import (
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    sources_of,
    texts,
)
from tests.outputs.validators import dciodvfy_errors, written
from tests.scripted_engine import ScriptedEngine
from tests.scripted_engine import an_effusion as seen_as_effusion

STATE, MASKS, PICTURE = "presentation_state", "segmentation", "secondary_capture"


def before(kind: str, *made: Dataset) -> tuple[Predecessor, ...]:
    """Objects of revision 1, as the next one knows them."""
    return tuple(
        Predecessor(
            kind,
            str(one.StudyInstanceUID),
            str(one.SeriesInstanceUID),
            str(one.SOPClassUID),
            str(one.SOPInstanceUID),
            images=images_of(one),
            marked=marked_images(one),
        )
        for one in made
    )


def is_drawn(box: Box, picture: Dataset, header: Dataset) -> bool:
    """True if the corner of a box stands out from the grey of the film."""
    shape = (int(picture.Rows), int(picture.Columns), 3)
    pixels = np.frombuffer(picture.PixelData, np.uint8)[: np.prod(shape)].reshape(shape)  # (rows, columns, 3)
    left, top, _, _ = layout_of(header).place(box)
    return len({*pixels[round(top), round(left)].tolist()}) > 1


def words_on(state: Dataset) -> list[str]:
    return [str(text.UnformattedTextValue) for text in state.GraphicAnnotationSequence[0].TextObjectSequence]


@pytest.mark.parametrize("kind", ["findings_sr", "findings_sr_air", STATE, MASKS, "key_object_selection"])
def test_what_an_object_of_ours_marks_can_be_read_from_it(kind: str):
    header = a_source()

    (made,) = built(kind, sources_of(header), a_full_reading(header))

    assert set(marked_images(made)) == {str(header.SOPInstanceUID)}


@pytest.mark.parametrize("is_seen", [True, False])
def test_an_image_that_is_marked_no_more_gets_a_state_that_says_so(is_seen: bool, tmp_path: Path):
    frontal, lateral = a_source(), a_source(view="LL", modality="CR")
    both = a_reading(an_effusion(a_box(frontal), a_box(lateral)))
    predecessors = before(STATE, *built(STATE, sources_of(frontal, lateral), both))
    sources = sources_of(frontal, lateral, predecessors=predecessors)
    if not is_seen:
        sources = replace(sources, current=(frontal,), no_longer_seen=(lateral,))

    marked, bare = built(STATE, sources, a_reading(an_effusion(a_box(frontal))), revision=2)

    assert images_of(bare) == (str(lateral.SOPInstanceUID),)
    assert (marked_images(marked), marked_images(bare)) == (images_of(marked), ())
    assert words_on(bare) == ["AI DRAFT - NOT VERIFIED", "No place is marked any more (revision 2)"]
    assert bare.SeriesInstanceUID == marked.SeriesInstanceUID
    assert dciodvfy_errors(written(bare, tmp_path)) == []


def test_an_image_that_is_marked_no_more_gets_an_empty_mask_that_says_so(tmp_path: Path):
    frontal, lateral = a_source(), a_source(view="LL", modality="CR")
    both = a_reading(an_effusion(a_box(frontal), a_box(lateral)))
    predecessors = before(MASKS, *built(MASKS, sources_of(frontal, lateral), both))
    sources = Sources((frontal,), predecessors=predecessors, no_longer_seen=(lateral,))

    marked, bare = built(MASKS, sources, a_reading(an_effusion(a_box(frontal))), revision=2)

    assert (images_of(bare), marked_images(bare)) == ((str(lateral.SOPInstanceUID),), ())
    assert marked_images(marked) == (str(frontal.SOPInstanceUID),)
    (segment,) = bare.SegmentSequence
    assert segment.SegmentLabel == "No place is marked any more (revision 2)"
    assert not any(bare.PixelData)
    assert bare.SeriesInstanceUID == marked.SeriesInstanceUID
    assert dciodvfy_errors(written(bare, tmp_path)) == []


def test_an_image_that_had_a_picture_has_one_again_before_those_with_boxes():
    frontal, lateral = a_source(), a_source(view="LL")
    both = a_reading(an_effusion(a_box(frontal), a_box(lateral)))
    predecessors = before(PICTURE, *built(PICTURE, sources_of(frontal, lateral), both))
    sources = sources_of(frontal, lateral, predecessors=predecessors)
    sources = replace(sources, current=(frontal,), no_longer_seen=(lateral,))

    bare, marked = built(PICTURE, sources, a_reading(an_effusion(a_box(frontal))), revision=2)

    assert images_of(bare) + images_of(marked) == (str(lateral.SOPInstanceUID), str(frontal.SOPInstanceUID))
    assert int(bare.InstanceNumber) < int(marked.InstanceNumber)
    assert is_drawn(a_box(frontal), marked, frontal)
    assert not is_drawn(a_box(lateral), bare, lateral)


def test_an_image_that_was_never_marked_gets_no_state():
    frontal, lateral = a_source(), a_source(view="LL")
    predecessors = before(STATE, *built(STATE, sources_of(frontal), a_reading(an_effusion(a_box(frontal)))))

    made = built(STATE, sources_of(frontal, lateral, predecessors=predecessors), a_reading(), revision=2)

    assert [images_of(state) for state in made] == [(str(frontal.SOPInstanceUID),)]


@pytest.mark.parametrize("kind", ["findings_sr", STATE, MASKS, "key_object_selection"])
def test_the_text_report_says_which_places_are_withdrawn(kind: str):
    header = a_source()
    marked = a_reading(an_effusion(a_box(header)))
    sources = Sources((header,), predecessors=before(kind, *built(kind, sources_of(header), marked)))

    (bare,) = built("report_sr", sources, a_reading(), revision=2)
    (still,) = built("report_sr", sources, marked, revision=2)

    sentence = "Revision 1 of this draft marked places that are withdrawn now"
    assert [str(header.SOPInstanceUID) in words for words in texts(bare) if sentence in words] == [True]
    assert not any(sentence in words for words in texts(still))


def test_a_place_that_a_late_image_takes_back_is_no_longer_the_last_in_the_pacs(tmp_path: Path):
    def seen_once(case: Case) -> Reading:
        reading = seen_as_effusion(case)
        return reading if len(case.current.images) == 1 else replace(reading, findings=())

    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")
    line = Line(tmp_path, pacs, engine=ScriptedEngine(seen_once))
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.run()

    for number in (2, 3):
        line.arrive(a_radiograph(rows=200, columns=180, study_uid=study, view="LL", number=number))
        line.wait(60)
        line.run()

    states = [one for one in pacs.datasets(study) if one.Modality == "PR"]
    reports = [one for one in pacs.datasets(study) if one.SeriesDescription.startswith("AI DRAFT report")]
    pacs.close()
    last, report = (max(group, key=lambda one: int(one.InstanceNumber)) for group in (states, reports))
    assert words_on(last)[1] == "No place is marked any more (revision 3)"
    assert any(words.startswith("Revision 1 of this draft marked places") for words in texts(report))


def test_no_form_is_left_with_the_box_of_an_image_that_the_model_no_longer_looks_at(tmp_path: Path):
    def last_image_alone(case: Case) -> Reading:
        return seen_as_effusion(replace(case, current=Exam(case.current.images[-1:])))

    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")
    line = Line(tmp_path, pacs, engine=ScriptedEngine(last_image_alone), outputs=(STATE, MASKS, PICTURE))
    first = a_radiograph(rows=200, columns=180)
    study = str(first.StudyInstanceUID)

    for image in (first, a_radiograph(rows=200, columns=180, study_uid=study, view="LL", number=2)):
        line.arrive(image)
        line.wait(60)
        line.run()

    objects = [one for one in pacs.datasets(study) if str(first.SOPInstanceUID) in images_of(one)]
    pacs.close()
    assert sorted(one.Modality for one in objects) == ["OT", "OT", "PR", "PR", "SEG", "SEG"]
