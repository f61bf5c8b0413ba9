"""Images become what the model sees; that they equal the reference to the last bit: test_verification.py."""

import numpy as np
import pytest

from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.cxr_llava.preprocess import model_image, pixel_values
from tests.inference.cxr_llava_small import SMALL


def test_a_film_of_sixteen_bits_is_seen_as_its_eight_bit_copy():
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)

    seen = pixel_values(levels * 257, SMALL)

    assert seen.shape == (1, 1, 32, 32)
    assert np.array_equal(seen[0].numpy(), model_image(levels.astype(np.uint8), SMALL))


def test_black_and_white_are_normalised_by_the_training_images():
    config = CXRLLaVAConfig(image_size_px=16)

    black, white = (model_image(np.full((20, 30), level, np.uint8), config) for level in (0, 255))

    assert black.max() == pytest.approx(-0.5518136 / 0.3821719, abs=1e-6)
    assert white.min() == pytest.approx((1 - 0.5518136) / 0.3821719, abs=1e-6)


def test_a_line_of_pixels_is_no_radiograph():
    with pytest.raises(ValueError, match="2 rows by 60000 columns are no radiograph"):
        model_image(np.zeros((2, 60000), np.uint8), SMALL)
