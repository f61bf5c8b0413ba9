"""First stage: the eye. The vision model and the abstractor learn to see, with heads that are thrown away after.

A language model would have to teach the eye through a handful of words; here every film tells at once what is
on it, where, how large and in which zone, for each kind of finding on each side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from inference.engines.m4cxr.model import M4CXR
from inference.geometry import MODEL_UNITS
from inference.phantom.findings import DEVICES, ZONES
from inference.phantom.train.optimise import Optimiser, Stage, descend
from inference.phantom.train.pool import KnownExam, KnownFinding, Pool
from inference.phantom.train.recipe import Recipe

SLOTS: tuple[tuple[str, str | None], ...] = (
    ("cardiomegaly", None),
    ("edema", "left"),
    ("edema", "right"),
    *((name, side) for name in ("lung lesion", "consolidation", "atelectasis") for side in ("left", "right")),
    *((name, side) for name in ("pneumothorax", "pleural effusion") for side in ("left", "right")),
    (DEVICES[0], None),
    *((device, side) for device in DEVICES[1:] for side in ("left", "right")),
)
"""What a film can show: each kind on each side. A bilateral finding fills two."""

_MEAN, _SPREAD = 0.5307, 0.2583
_GRADE_COUNT = 3


@dataclass(frozen=True, slots=True)
class Truth:
    """What is on each exam's PA film, for every one of SLOTS.

    Attributes:
        present: (exams, slots), 0 or 1.
        grade, zone: (exams, slots), class number, or -100 where there is none.
        boxes: (exams, slots, 4), 0..1; zeros where absent.
        patches: (exams, slots, patches), share of the patch inside the box.
    """

    present: Tensor
    grade: Tensor
    zone: Tensor
    boxes: Tensor
    patches: Tensor


def truth_of(exams: Sequence[KnownExam], patch_grid: int) -> Truth:
    """Lays the known findings out in SLOTS."""
    shape = (len(exams), len(SLOTS))
    present, boxes = np.zeros(shape, np.float32), np.zeros((*shape, 4), np.float32)
    grade, zone = np.full(shape, -100), np.full(shape, -100)
    patches = np.zeros((*shape, patch_grid, patch_grid), np.float16)
    for row, exam in enumerate(exams):
        for known in exam.findings:
            for slot, box in zip(slots_of(known), known.boxes, strict=False):
                present[row, slot] = 1
                boxes[row, slot] = np.array(box) / MODEL_UNITS
                grade[row, slot] = known.truth.grade if known.truth.size else -100
                zone[row, slot] = ZONES.index(known.truth.zone) if known.truth.zone else -100
                patches[row, slot] = _cover(boxes[row, slot], patch_grid)
    return Truth(*map(torch.from_numpy, (present, grade, zone, boxes, patches.reshape(*shape, -1))))


def slots_of(known: KnownFinding) -> tuple[int, ...]:
    """Returns the places in SLOTS of a finding, in the order of its boxes: the patient's right first."""
    truth = known.truth
    kind = truth.device or truth.name
    sides: tuple[str | None, ...] = ("right", "left") if truth.side == "bilateral" else (truth.side,)
    return tuple(SLOTS.index((kind, side)) for side in sides)


def _cover(box: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """Gives the share of each patch of a grid that lies in a box: (grid, grid)."""
    edges = np.arange(grid) / grid
    columns = np.clip(np.minimum(edges + 1 / grid, box[2]) - np.maximum(edges, box[0]), 0, None) * grid
    rows = np.clip(np.minimum(edges + 1 / grid, box[3]) - np.maximum(edges, box[1]), 0, None) * grid
    return rows[:, None] * columns[None, :]


class Heads(nn.Module):
    """What is read off the eye while it learns: per slot presence, grade, zone and box, and each patch's slots."""

    def __init__(self, vision_width: int, text_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(len(SLOTS), text_width) * 0.02)
        self.key = nn.Linear(text_width, text_width)
        self.value = nn.Linear(text_width, text_width)
        self.inner = nn.Linear(text_width, text_width)
        self.head = nn.ModuleDict(
            {
                "present": nn.Linear(text_width, 1),
                "grade": nn.Linear(text_width, _GRADE_COUNT),
                "zone": nn.Linear(text_width, len(ZONES)),
                "box": nn.Linear(text_width, 4 * (MODEL_UNITS + 1)),
                "patches": nn.Linear(vision_width, len(SLOTS)),
            }
        )

    def forward(self, features: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """Reads off patches (N, P, V) and image rows (N, Q, H)."""
        query = self.query.expand(len(rows), -1, -1)  # (N, S, H)
        seen = functional.scaled_dot_product_attention(query, self.key(rows), self.value(rows))  # (N, S, H)
        seen = seen + query
        seen = seen + functional.silu(self.inner(seen))  # (N, S, H)
        return {
            "present": self.head["present"](seen)[..., 0],  # (N, S)
            "grade": self.head["grade"](seen),  # (N, S, 3)
            "zone": self.head["zone"](seen),  # (N, S, 3)
            "box": self.head["box"](seen).unflatten(-1, (4, -1)),  # (N, S, 4, 101)
            "patches": self.head["patches"](features).transpose(1, 2),  # (N, S, P)
        }


def seeing_loss(said: dict[str, Tensor], truth: Truth, chosen: Tensor) -> Tensor:
    """Weighs up how far the heads' readings are from the truth of the `chosen` exams."""
    present = truth.present[chosen]
    there = present > 0
    patches = functional.binary_cross_entropy_with_logits(said["patches"], truth.patches[chosen].float())
    presence = functional.binary_cross_entropy_with_logits(said["present"], present)
    grade = _class_loss(said["grade"], truth.grade[chosen])
    zone = _class_loss(said["zone"], truth.zone[chosen])
    box = _box_loss(said["box"][there], truth.boxes[chosen][there])
    return 5 * presence + 3 * patches + 0.5 * grade + 0.3 * zone + 0.5 * box


def _class_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross entropy (N, S, classes) where a class is wanted (N, S); 0 if nowhere, as films may be normal."""
    total = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
    return total / (wanted >= 0).sum().clamp(min=1)


def _box_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Cross entropy (B, 4, 101) against a narrow bell around each edge (B, 4), and the distance of its mean."""
    units = torch.arange(MODEL_UNITS + 1, dtype=torch.float32)
    wanted = torch.softmax(-0.5 * (units - MODEL_UNITS * boxes[..., None]) ** 2, dim=-1)  # (B, 4, 101)
    edges = max(1, boxes.numel())
    entropy = -(wanted * logits.log_softmax(-1)).sum() / edges
    mean = (logits.softmax(-1) * units).sum(-1) / MODEL_UNITS  # (B, 4)
    return entropy + 5 * (mean - boxes).abs().sum() / edges


def model_input(films: NDArray[np.uint8], rng: Generator | None) -> Tensor:
    """Turns films (N, side, side) into what the model sees, (N, 3, side, side).

    With a generator each film is varied a little in brightness, contrast and noise, and rounded back to grey
    levels: films of other sizes differ by that much once they are brought to the model's.
    """
    grey = films.astype(np.float32)
    if rng is not None:
        gain, offset, noise = (
            rng.uniform(low, high, (len(films), 1, 1)).astype(np.float32) for low, high in _VARIED
        )
        grey = (grey - 128) * gain + 128 + offset
        grey += noise * rng.standard_normal(films.shape, dtype=np.float32)
        grey = grey.clip(0, 255).round()
    normal = (grey / 255 - np.float32(_MEAN)) / np.float32(_SPREAD)
    return torch.from_numpy(normal)[:, None].expand(-1, 3, -1, -1)


_VARIED = ((0.94, 1.06), (-8.0, 8.0), (0.0, 2.5))
"""Range of contrast, brightness (grey levels) and noise (grey levels)."""


def train_eye(model: M4CXR, heads: Heads, pool: Pool, recipe: Recipe, stage: Stage) -> list[float]:
    """Trains vision model, abstractor and heads in place; returns the loss of every step."""
    rng = np.random.default_rng([recipe.seed, 1])
    parts = nn.ModuleList([model.vision_model, model.abstractor, heads])
    truth, frontal = truth_of(pool.exams, model.config.patch_grid), pool.frontal_films()

    def next_loss() -> Tensor:
        chosen = np.sort(rng.integers(0, len(frontal), recipe.vision_batch))
        features = model.vision_features(model_input(pool.films[frontal[chosen]], rng))  # (N, P, V)
        return seeing_loss(heads(features, model.abstractor(features)), truth, torch.from_numpy(chosen))

    optimiser = Optimiser(parts, recipe.vision_matrix_rate, recipe.vision_other_rate)
    return descend(parts, optimiser, next_loss, stage)


@torch.inference_mode()
def seeing_report(model: M4CXR, heads: Heads, pool: Pool) -> str:
    """Measures the heads on a pool that was not trained on: presence F1, grade, zone, mean IoU of boxes."""
    truth, frontal = truth_of(pool.exams, model.config.patch_grid), pool.frontal_films()
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(frontal), 100):
        features = model.vision_features(model_input(pool.films[frontal[start : start + 100]], None))
        parts.append(heads(features, model.abstractor(features)))
    said = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    there, seen = truth.present > 0, said["present"] > 0
    f1 = 2 * (there & seen).sum() / (there.sum() + seen.sum())
    grade, zone = (
        (said[name].argmax(-1) == wanted)[wanted >= 0].float().mean()
        for name, wanted in (("grade", truth.grade), ("zone", truth.zone))
    )
    iou = _overlap(said["box"].argmax(-1)[there] / MODEL_UNITS, truth.boxes[there]).mean()
    return f"presence F1 {f1:.4f}, grade {grade:.4f}, zone {zone:.4f}, box IoU {iou:.4f}"


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Gives the intersection over union of boxes (B, 4) with boxes (B, 4)."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-9)
