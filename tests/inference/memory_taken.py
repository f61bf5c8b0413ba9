"""Loads a random M4CXR, puts it through the worst case, and prints what it took beside what was worked out.

`python -m tests.inference.memory_taken FOLDER SHAPE DTYPE WEIGHTS`; a process of its own, since a process's memory
tells of all that it did before.
"""

import json
import re
import sys
from pathlib import Path

import torch

from inference.engines.m4cxr.loading import (
    config_of,
    load_sources,
    published_names,
    save_model,
    text_shape,
)
from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXR, M4CXRConfig
from inference.engines.memory import need_of
from inference.engines.opening import Place
from inference.engines.report_words import FINDING_NAMES
from inference.engines.sources import find_sources
from inference.engines.talk import Talk, speak

ANSWER_TOKENS_MAX = 24
IMAGES = 10

SHAPES = {
    "small": M4CXRConfig(
        text_width=512,
        text_layers=4,
        text_heads=8,
        text_key_value_heads=2,
        text_head_width=64,
        text_mlp_width=1792,
        vocabulary_size=8000,
    ),
    "large": M4CXRConfig(
        text_width=2048, text_layers=8, text_heads=16, text_key_value_heads=4, text_mlp_width=7168
    ),
}
"""Image side, places of an image and abstractor are the published ones."""


def write_random(folder: Path, config: M4CXRConfig) -> None:
    """Writes weights with which no answer ends early."""
    torch.manual_seed(1)
    model = M4CXR(config)
    model.language_model.lm_head.weight[config.end_id] = 0
    save_model(model, folder, torch.bfloat16)


@torch.inference_mode()
def go_through_the_worst(model: M4CXR) -> None:
    """Reads ten images and the longest conversation, then asks for thirteen places and answers each."""
    config = model.config
    side = config.image_size_px
    pixels = torch.zeros(1, 3, side, side)
    rows = model.image_rows(pixels).repeat(IMAGES, 1, 1)  # one after another they would take no more
    image = [IMAGE_MARKER] * config.query_count
    ids = image * IMAGES
    ids += [7] * (4096 - ANSWER_TOKENS_MAX - len(ids))
    report = Talk(model, rows)
    report.answer(ids, ANSWER_TOKENS_MAX)
    heard = report.hear([*ids, *[9] * ANSWER_TOKENS_MAX], ANSWER_TOKENS_MAX)
    places = [[*image, *[11 + number] * 68] for number in range(len(FINDING_NAMES))]
    every = range(len(FINDING_NAMES))
    speak(model, [heard, Talk(model, rows[:1]).hear_each(places, ANSWER_TOKENS_MAX).only(every)])


def resident_bytes(which: str) -> int:
    """Reads VmRSS, or VmHWM, the most there was since it was last reset."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main(folder: Path, dtype: str, weights: str) -> None:
    place = Place("cpu", getattr(torch, dtype), weights)
    sources = find_sources(folder, published_names)
    need = need_of(sources, text_shape(config_of(sources), ANSWER_TOKENS_MAX), place)
    before = resident_bytes("VmRSS")
    model = load_sources(sources, place).model
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: reading the file counted its pages too
    go_through_the_worst(model)
    taken = resident_bytes("VmHWM") - before
    kept = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    print(json.dumps({"taken": taken, "need": need.total, "weights": need.weights, "kept": kept}))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        with torch.no_grad():
            write_random(Path(sys.argv[1]), SHAPES[sys.argv[2]])
    else:
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
