"""A radiograph becomes the tensor CXR-LLaVA was trained on.

Shorter side to the model's size by PIL's Lanczos filter, the middle square, mean and spread of the training
images. Upstream wrote `resample=True`, surely meant as "yes"; to PIL it is number 1, Lanczos, and the
published weights have seen nothing else. Bicubic differs by up to 0.09 of what the model gets.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.m4cxr.preprocess import grey_levels
from inference.geometry import fit


def model_image(grey: NDArray[np.uint8], config: CXRLLaVAConfig) -> NDArray[np.float32]:
    """Gives what the model sees of one image.

    Args:
        grey: 0..255, (rows, columns).

    Returns:
        float32 (1, S, S), S being `image_size_px`.

    Raises:
        ValueError: if one side is more than ten times the other.
    """
    rows, columns = grey.shape
    side_px = config.image_size_px
    plan = fit(rows, columns, side_px)
    resized = np.asarray(Image.fromarray(grey).resize((plan.columns, plan.rows), Image.Resampling.LANCZOS))
    square = resized[plan.top : plan.top + side_px, plan.left : plan.left + side_px]
    # In double precision up to here and in single after it, as the training data were: to the last bit.
    scaled = (square * (1 / 255)).astype(np.float32)
    normalised = (scaled - np.float32(config.pixel_mean)) / np.float32(config.pixel_spread)
    return normalised[None]


def pixel_values(pixels: NDArray[np.uint16], config: CXRLLaVAConfig) -> Tensor:
    """Brings one radiograph, uint16 (rows, columns), to what the model takes, float32 (1, 1, S, S)."""
    return torch.from_numpy(model_image(grey_levels(pixels), config)[None])
