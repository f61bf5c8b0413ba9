"""An image is looked at once in its life, and what is kept of it is what looking again would give."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference.case import Case
from inference.engines.m4cxr import open_m4cxr
from inference.engines.vision_rows import VisionRows
from inference.phantom.cases import HELD_OUT_SEED_MIN, case
from inference.phantom.train.evaluate import drawn_case
from inference.reading import Reading
from tests.inference.small import said_of


class Eye:
    """Looks at images, and counts how often it had to."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.looks = 0
        self._dtype = dtype

    def __call__(self, pixels: Tensor) -> Tensor:
        self.looks += 1
        return pixels.flatten()[:32].reshape(4, 8).to(self._dtype)


def an_image(number: int) -> Tensor:
    return torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(number))


@pytest.fixture
def kept(tmp_path) -> VisionRows:
    return VisionRows(tmp_path / "vision", "sha256:aa float32 cpu", 1_000_000)


def the_file(kept: VisionRows) -> Path:
    (path,) = kept.folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_kept_is_what_was_computed_to_the_last_bit(kept, dtype):
    eye = Eye(dtype)

    fresh, again = kept.of(an_image(1), eye), kept.of(an_image(1), eye)

    assert eye.looks == 1
    assert again.dtype == dtype
    assert torch.equal(fresh, again)


def test_another_image_and_other_weights_are_looked_at_anew(kept):
    eye = Eye()
    kept.of(an_image(1), eye)

    kept.of(an_image(2), eye)
    VisionRows(kept.folder, "sha256:bb float32 cpu", kept.bytes_max).of(an_image(1), eye)

    assert eye.looks == 3


@pytest.mark.parametrize("harm", ["cut", "empty", "one bit"])
def test_a_damaged_file_is_computed_again_and_replaced(kept, harm):
    eye = Eye()
    rows = kept.of(an_image(1), eye)
    path = the_file(kept)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-5], "empty": b"", "one bit": whole[:-1] + bytes([whole[-1] ^ 1])}[harm])

    again = kept.of(an_image(1), eye)

    assert torch.equal(again, rows)
    assert eye.looks == 2
    assert path.read_bytes() == whole


def test_what_was_not_used_for_longest_makes_room(kept):
    eye = Eye()
    kept.of(an_image(0), eye)
    size = the_file(kept).stat().st_size
    small = VisionRows(kept.folder, kept.computed_by, size * 2)
    os.utime(the_file(kept), (1, 1))
    kept.of(an_image(1), eye)
    small.of(an_image(0), eye)  # used again, so number 1 is the older one

    small.of(an_image(2), eye)

    assert sum(path.stat().st_size for path in kept.folder.iterdir()) <= small.bytes_max
    small.of(an_image(0), eye)
    assert eye.looks == 3


def test_what_another_process_is_writing_is_left_to_it(kept):
    kept.of(an_image(1), Eye())
    being_written, left_behind = (kept.folder / f"{name}.part" for name in ("new", "old"))
    for path in (being_written, left_behind):
        path.write_bytes(b"half")
    os.utime(left_behind, (1, 1))

    VisionRows(kept.folder, kept.computed_by, 1).of(an_image(2), Eye())

    assert [path.name for path in kept.folder.iterdir()] == ["new.part"]


def test_a_bound_of_nothing_keeps_nothing(tmp_path):
    eye = Eye()
    kept = VisionRows(tmp_path / "vision", "sha256:aa", 0)

    kept.of(an_image(1), eye), kept.of(an_image(1), eye)

    assert eye.looks == 2
    assert not kept.folder.exists()


def test_only_the_owner_may_read_what_is_kept(kept):
    kept.of(an_image(1), Eye())

    assert the_file(kept).stat().st_mode & 0o777 == 0o600
    assert kept.folder.stat().st_mode & 0o777 == 0o700


def test_a_study_that_comes_back_as_a_prior_is_not_looked_at_again(tmp_path):
    folder = tmp_path / "vision"
    engine = open_m4cxr(device="cpu", vision_folder=folder, vision_cache_mb=100)
    compared = drawn_case(*case(HELD_OUT_SEED_MIN + 7000, prior=True), side_px=280)
    (prior,) = compared.priors

    engine.read(Case(prior))
    before = set(folder.iterdir())
    reading: Reading = engine.read(compared)

    assert len(before) == len(prior.images)
    assert len(set(folder.iterdir()) - before) == len(compared.current.images)
    assert said_of(reading) == said_of(open_m4cxr(device="cpu").read(compared))
