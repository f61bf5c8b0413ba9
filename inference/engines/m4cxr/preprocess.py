"""A radiograph becomes the tensor M4CXR was trained on.

Shorter side to the model's size by PIL's bicubic filter, the middle square, mean and spread of RAD-DINO.
PIL is meant: the antialiased bicubic filter of torch differs by up to one grey level.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inference.geometry import fit

_MEAN = np.float32(0.5307)
_SPREAD = np.float32(0.2583)


def grey_levels(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Brings 0..65535 to the 0..255 that the training images had, to the nearest level."""
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def model_image(grey: NDArray[np.uint8], side_px: int) -> NDArray[np.float32]:
    """Gives what the model sees of one image: `model_square`, normalised.

    Args:
        grey: 0..255, (rows, columns), or (rows, columns, 3) in colour.
        side_px: the model's image size.

    Returns:
        float32 (3, side_px, side_px); the three channels are equal for a grey image.

    Raises:
        ValueError: if one side is more than ten times the other.
    """
    square = model_square(grey, side_px)
    # In double precision up to here and in single after it, as the training data were: to the last bit.
    scaled = (square * (1 / 255)).astype(np.float32)
    normalised = (scaled - _MEAN) / _SPREAD
    if normalised.ndim == 2:
        return np.repeat(normalised[None], 3, axis=0)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def model_square(grey: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Brings an image (rows, columns) or (rows, columns, 3) to the model's size and cuts out its middle square.

    Raises:
        ValueError: if one side is more than ten times the other.
    """
    rows, columns = grey.shape[:2]
    plan = fit(rows, columns, side_px)
    resized = np.asarray(Image.fromarray(grey).resize((plan.columns, plan.rows), Image.Resampling.BICUBIC))
    return resized[plan.top : plan.top + side_px, plan.left : plan.left + side_px]


def pixel_values(images: list[NDArray[np.uint16]], side_px: int) -> Tensor:
    """Stacks radiographs, uint16 (rows, columns) each, to float32 (images, 3, side_px, side_px)."""
    return torch.from_numpy(np.stack([model_image(grey_levels(pixels), side_px) for pixels in images]))
