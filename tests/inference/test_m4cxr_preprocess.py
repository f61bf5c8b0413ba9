"""Images become the very tensors that the model was trained on."""

import numpy as np
import pytest
from safetensors.torch import load_file

from inference.engines.m4cxr.preprocess import grey_levels, model_image, pixel_values
from tests.inference.small import TINY


@pytest.fixture(scope="module")
def vectors():
    return {
        name: tensor.numpy() for name, tensor in load_file(TINY / "preprocess_golden.safetensors").items()
    }


@pytest.mark.parametrize("number", range(4))
def test_an_image_equals_the_reference_to_the_last_bit(vectors, number):
    expected = vectors[f"out_{number}"]

    seen = model_image(vectors[f"in_{number}"], 112)

    assert seen.dtype == np.float32
    assert np.array_equal(seen, np.broadcast_to(expected, seen.shape))


def test_a_film_at_full_size_equals_the_reference_to_the_last_bit(vectors):
    seen = model_image(vectors["big_in"], 518)

    assert np.array_equal(seen[0, ::7, ::7], vectors["big_out_every7"])
    assert np.array_equal(seen[0, :64, -64:], vectors["big_out_corner64"])
    assert (seen[0].mean(dtype=float), seen[0].std(dtype=float)) == pytest.approx(vectors["big_out_mean_std"])


def test_every_level_of_an_eight_bit_image_comes_back():
    levels = np.arange(256, dtype=np.uint16)[None]

    assert np.array_equal(grey_levels(levels * 257), levels)


def test_a_line_of_pixels_is_no_radiograph():
    with pytest.raises(ValueError, match="2 rows by 60000 columns are no radiograph"):
        model_image(np.zeros((2, 60000), np.uint8), 28)


def test_images_of_different_sizes_are_stacked():
    images = [np.zeros((40, 50), np.uint16), np.full((150, 20), 65535, np.uint16)]

    assert pixel_values(images, 28).shape == (2, 3, 28, 28)
