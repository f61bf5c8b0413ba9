"""What an earlier revision marked and this one does not: a viewer goes on drawing the last object that it has."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from agent.demo.pacs import MiniPacs
from agent.outputs import Predecessor, Sources
from agent.outputs.marks import images_of, marked_images
from inference.case import Case
from inference.reading import Reading
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

STATE = "presentation_state"


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


def words_on(state: Dataset) -> list[str]:
    return [str(text.UnformattedTextValue) for text in state.GraphicAnnotationSequence[0].TextObjectSequence]


@pytest.mark.parametrize("kind", ["findings_sr", "findings_sr_air", STATE])
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


def test_an_image_that_was_never_marked_gets_no_state():
    frontal, lateral = a_source(), a_source(view="LL")
    predecessors = before(STATE, *built(STATE, sources_of(frontal), a_reading(an_effusion(a_box(frontal)))))

    made = built(STATE, sources_of(frontal, lateral, predecessors=predecessors), a_reading(), revision=2)

    assert [images_of(state) for state in made] == [(str(frontal.SOPInstanceUID),)]


@pytest.mark.parametrize("kind", ["findings_sr", STATE])
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
