"""Images become what the model sees; that they equal the reference to the last bit: test_verification.py."""

import numpy as np
import pytest

from inference.engines.m4cxr.preprocess import grey_levels, model_image, pixel_values


def test_every_level_of_an_eight_bit_image_comes_back():
    levels = np.arange(256, dtype=np.uint16)[None]

    assert np.array_equal(grey_levels(levels * 257), levels)


def test_a_line_of_pixels_is_no_radiograph():
    with pytest.raises(ValueError, match="2 rows by 60000 columns are no radiograph"):
        model_image(np.zeros((2, 60000), np.uint8), 28)


def test_images_of_different_sizes_are_stacked():
    images = [np.zeros((40, 50), np.uint16), np.full((150, 20), 65535, np.uint16)]

    assert pixel_values(images, 28).shape == (2, 3, 28, 28)
