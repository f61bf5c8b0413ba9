"""What the eye learns from: the truth laid out by kind and side, and films as the engine would see them."""

import numpy as np
import torch

from inference.engines.m4cxr.preprocess import grey_levels, pixel_values
from inference.phantom.findings import TrueFinding
from inference.phantom.report import possible_findings
from inference.phantom.train.pool import KnownExam, KnownFinding
from inference.phantom.train.vision import SLOTS, Heads, model_input, seeing_loss, slots_of, truth_of


def an_exam(*findings: KnownFinding) -> KnownExam:
    return KnownExam((0,), findings, "", None, None)


def test_every_finding_that_can_be_drawn_has_its_slot() -> None:
    taken = {slot for truth in possible_findings() for slot in slots_of(KnownFinding(truth, ()))}

    assert taken == set(range(len(SLOTS)))


def test_a_bilateral_finding_fills_the_right_slot_with_the_first_box() -> None:
    finding = TrueFinding("pleural effusion", "bilateral", "lower", "large")
    exam = an_exam(KnownFinding(finding, ((5, 50, 40, 90), (60, 55, 95, 92))))

    truth = truth_of([exam], patch_grid=10)

    right = SLOTS.index(("pleural effusion", "right"))
    assert truth.present[0].sum() == 2
    assert truth.boxes[0, right].tolist() == torch.tensor([0.05, 0.5, 0.4, 0.9]).tolist()
    assert truth.grade[0, right] == 2


def test_a_patch_is_marked_by_the_share_of_it_in_the_box() -> None:
    exam = an_exam(KnownFinding(TrueFinding("cardiomegaly", size="mild"), ((10, 20, 35, 30),)))

    marks = truth_of([exam], patch_grid=10).patches[0, SLOTS.index(("cardiomegaly", None))].view(10, 10)

    assert np.allclose(marks[2, :5].numpy(), [0, 1, 1, 0.5, 0], atol=1e-3)
    assert float(marks.sum()) == float(marks[2].sum())


def test_a_film_without_variation_is_what_the_engine_sees() -> None:
    film = np.random.default_rng(5).integers(0, 65536, (70, 70)).astype(np.uint16)

    seen = model_input(grey_levels(film)[None], None)

    assert torch.allclose(seen, pixel_values([film], 70), atol=1e-6)


def test_normal_films_alone_give_a_loss_that_is_a_number() -> None:
    truth = truth_of([an_exam(), an_exam()], patch_grid=5)

    loss = seeing_loss(
        Heads(16, 16)(torch.zeros(2, 25, 16), torch.zeros(2, 25, 16)), truth, torch.tensor([0, 1])
    )

    assert bool(loss.isfinite())
