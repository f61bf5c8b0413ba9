"""The films: the same person at every size, and truth that can be seen."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from inference.phantom import frontal, lateral
from inference.phantom.anatomy import draw_anatomy, draw_pose
from inference.phantom.cases import FractionBox, SyntheticExam, case, exams, in_pixels
from inference.phantom.drawing import Field, Frame, frame
from inference.phantom.findings import DEVICES, FOCAL_ZONES, GRADES, NAMES, TrueFinding
from inference.phantom.report import possible_findings
from tests.phantom.thumbnails import GOLDEN, thumbnails

SIZE = 140
SEEDS = range(40)


def an_exam(*findings: TrueFinding, seed: int = 7, views: tuple[str, ...] = ("PA",)) -> SyntheticExam:
    return replace(exams(seed, 1)[0], findings=findings, views=views)


def a_frame(seed: int) -> Frame:
    return frame(SIZE, SIZE, draw_pose(draw_anatomy(seed), np.random.default_rng(seed)))


def what_it_adds(exam: SyntheticExam, view: str) -> Field:
    """The difference of attenuation, without any noise, between this exam and the same without findings."""
    whole = frame(SIZE, SIZE, exam.pose)
    draw = frontal.density if view == "PA" else lateral.density
    return np.abs(draw(exam.patient.anatomy, exam.findings, whole) - draw(exam.patient.anatomy, (), whole))


def share_inside(difference: Field, boxes: tuple[FractionBox, ...]) -> float:
    inside = np.zeros(difference.shape, bool)
    for box in boxes:
        left, top, right, bottom = in_pixels(box, *difference.shape)
        inside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    return float(difference[inside].sum() / difference.sum())


def drawn_area(finding: TrueFinding, seed: int) -> float:
    whole = a_frame(seed)
    anatomy = draw_anatomy(seed)
    halves = frontal.half_chests(anatomy, (finding,), whole)
    return float(sum(mark.presence.sum() for mark in frontal.marks(anatomy, finding, halves, whole)))


def test_films_are_the_ones_that_were_looked_at():
    golden = json.loads(GOLDEN.read_text())

    drawn = thumbnails()

    assert drawn.keys() == golden.keys()
    # One of 255 grey levels: rounding on another machine; a changed shape moves a cell by far more.
    assert max(np.abs(np.subtract(drawn[name], golden[name])).max() for name in golden) <= 1


def test_the_same_exam_is_drawn_twice_to_the_same_film():
    _, exam = case(11)

    assert np.array_equal(exam.draw("PA", SIZE, SIZE), case(11)[1].draw("PA", SIZE, SIZE))


@pytest.mark.parametrize("view", ["PA", "LATERAL"])
def test_a_small_film_shows_what_a_large_one_shows(view):
    exam = replace(case(12)[1], views=("PA", "LATERAL"))

    small = exam.draw(view, SIZE, SIZE) / 65535
    large = exam.draw(view, 4 * SIZE, 4 * SIZE) / 65535
    reduced = large.reshape(SIZE, 4, SIZE, 4).mean(axis=(1, 3))

    assert np.abs(small - reduced).mean() < 0.006


def test_a_landscape_film_shows_the_square_one_in_its_middle():
    exam = case(13)[1]

    wide = frontal.density(exam.patient.anatomy, exam.findings, frame(SIZE, 174, exam.pose))
    square = frontal.density(exam.patient.anatomy, exam.findings, frame(SIZE, SIZE, exam.pose))

    assert np.allclose(wide[:, 17:-17], square, atol=1e-3)


def test_dense_is_bright_and_the_lungs_are_dark():
    film = an_exam().draw("PA", SIZE, SIZE)

    belly, right_lung, air = film[130:, 50:90].mean(), film[60:80, 30:50].mean(), film[:3, :6].mean()

    assert belly > 1.5 * right_lung > 3 * air


def test_a_view_that_was_not_taken_is_refused():
    with pytest.raises(ValueError, match='no view "LATERAL"'):
        an_exam(views=("PA",)).draw("LATERAL", SIZE, SIZE)


def test_a_film_too_long_for_its_noise_is_refused():
    with pytest.raises(ValueError, match=r"longer than 1\.25 : 1"):
        an_exam().draw("PA", 100, 126)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cardiomegaly"])
def test_what_a_finding_changes_lies_in_its_boxes(name):
    for seed, finding in enumerate(finding for finding in possible_findings() if finding.name == name):
        exam = an_exam(replace(finding, form=seed), seed=seed)

        # Atelectasis lifts the diaphragm, edema has its Kerley lines: outside the box, on purpose.
        least = {"atelectasis": 0.15, "edema": 0.85}.get(name, 0.90)
        assert share_inside(what_it_adds(exam, "PA"), exam.boxes(name)) > least, exam.findings


def test_the_box_of_cardiomegaly_is_as_wide_as_the_heart_that_was_drawn():
    for seed in range(12):
        exam = an_exam(TrueFinding("cardiomegaly", size="moderate"), seed=seed)
        ((left, _, right, _),) = exam.boxes("cardiomegaly")

        chest = 2 * exam.patient.anatomy.chest_half_width * exam.pose.scale / 2
        assert (right - left) / chest == pytest.approx(frontal.HEART_RATIOS[1], abs=0.035)


@pytest.mark.parametrize(
    "name", ["lung lesion", "consolidation", "pleural effusion", "edema", "cardiomegaly"]
)
def test_a_lateral_film_shows_it_where_the_box_says(name):
    for seed, size in enumerate(GRADES[name]):
        side = None if name == "cardiomegaly" else "left"
        zone = "middle" if name in FOCAL_ZONES else None
        exam = an_exam(TrueFinding(name, side, zone, size), seed=seed, views=("PA", "LATERAL"))

        (box,) = exam.boxes(name, "LATERAL")
        assert share_inside(what_it_adds(exam, "LATERAL"), (box,)) > 0.8


def test_boxes_stay_in_the_centre_square_with_room_for_a_shift():
    finding_boxes = [
        (finding, box)
        for seed in SEEDS
        for finding in case(seed)[1].findings
        for box in case(seed)[1].boxes_of(finding)
    ]

    # Only tubes that come in from outside may touch the border.
    inner = [box for finding, box in finding_boxes if finding.device is None]
    assert all(
        0.01 < left < right < 0.99 and 0.01 < top < bottom < 0.99 for left, top, right, bottom in inner
    )
    assert all(0 <= value <= 1 for _, box in finding_boxes for value in box)


def test_every_finding_of_every_exam_has_its_boxes_on_the_frontal_film():
    for seed in SEEDS:
        exam = case(seed)[1]

        counts = [len(exam.boxes_of(finding)) for finding in exam.findings]
        assert counts == [2 if finding.side == "bilateral" else 1 for finding in exam.findings]


def test_left_is_on_the_right_of_a_frontal_film():
    for finding in possible_findings():
        if finding.side in ("left", "right") and finding.device not in ("central venous line", "pacemaker"):
            (box,) = an_exam(finding).boxes(finding.name)

            assert (box[0] + box[2] > 1) == (finding.side == "left"), finding


@pytest.mark.parametrize("name", FOCAL_ZONES)
def test_zones_do_not_overlap(name):
    def heights(zone):
        exams_of_zone = (
            an_exam(TrueFinding(name, side, zone, size, form=seed), seed=seed)
            for seed in range(6)
            for side in ("left", "right")
            for size in GRADES[name]
        )
        return [(box[1] + box[3]) / 2 for exam in exams_of_zone for box in exam.boxes(name)]

    zones = [heights(zone) for zone in FOCAL_ZONES[name]]
    assert all(max(above) < min(below) for above, below in pairwise(zones))


@pytest.mark.parametrize("name", [name for name in GRADES if name != "cardiomegaly"])
def test_grades_are_told_apart_by_the_drawn_area_whoever_the_patient_is(name):
    side = "bilateral" if name == "edema" else "left"
    zone = "middle" if name in FOCAL_ZONES else None
    areas = [
        [drawn_area(TrueFinding(name, side, zone, size, form=seed), seed) for seed in range(20)]
        for size in GRADES[name]
    ]

    assert 1.05 * max(areas[0]) < min(areas[1])
    assert 1.05 * max(areas[1]) < min(areas[2])


def test_grades_of_cardiomegaly_are_told_apart_by_the_cardiothoracic_ratio():
    healthy = max(draw_anatomy(seed).heart_ratio for seed in range(500))

    ratios = np.array([healthy, *frontal.HEART_RATIOS])
    assert np.diff(ratios).min() > 0.07


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_is_brighter_than_what_it_crosses_on_the_smallest_film(device):
    side = None if device == "endotracheal tube" else "left"
    exam = an_exam(TrueFinding("support devices", side, device=device))

    without = an_exam().draw("PA", SIZE, SIZE).astype(int)
    brighter = exam.draw("PA", SIZE, SIZE).astype(int) - without

    assert (brighter > 4000).sum() > 25


def test_a_pneumothorax_is_a_dark_rim_without_vessels():
    exam = an_exam(TrueFinding("pneumothorax", "right", "upper", "small"))
    whole = frame(SIZE, SIZE, exam.pose)
    half = frontal.half_chests(exam.patient.anatomy, exam.findings, whole)[0]

    difference = frontal.density(exam.patient.anatomy, exam.findings, whole) - frontal.density(
        exam.patient.anatomy, (), whole
    )

    assert half.free is not None
    rim = half.free > 0.95
    assert rim.sum() > 300
    assert difference[half.window][rim].mean() < -0.1
