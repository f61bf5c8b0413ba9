"""Says how bright each stored value is: the grayscale pipeline of PS3.3 C.11, worked on values, not pixels.

A radiograph has at most 65,536 different stored values, so the whole pipeline is a table: it is worked out
once for each value (a *level*) and then looked up for each pixel.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agent.dicom.opening import CONTENT_ERRORS, raw_text

Rendering = Literal["voi", "minmax", "equalised"]

WHITE = 65535
"""The brightest value of a rendered image; 0 is the darkest."""

_VISIBLE = 1 / 256  # a window in which all levels lie closer together shows nothing on any screen


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The stored values that may occur in one image.

    Attributes:
        stored: (n,) float64, consecutive whole numbers from the lowest value of the image to the highest.
        counts: (n,) how many pixels have that value; 0 for padding, which is no part of the picture.
    """

    stored: NDArray[np.float64]  # (n,)
    counts: NDArray[np.int64]  # (n,)

    @property
    def used(self) -> NDArray[np.bool_]:
        """(n,) True where at least one pixel of the picture has this value."""
        return self.counts > 0


def levels_of(dataset: Dataset, stored: NDArray[Any]) -> Levels:
    """Counts the stored values of an image; padding is not counted (PS3.3 C.7.5.1.1.2)."""
    low = int(stored.min())
    offsets = stored.astype(np.int32, copy=False).ravel() - low
    counts = np.bincount(offsets)  # (n,)
    values = np.arange(low, low + counts.size, dtype=np.float64)  # (n,)
    outside = _is_padding(dataset, values)
    if counts[~outside].any():
        counts = np.where(outside, 0, counts)
    return Levels(values, counts)


def brightness(dataset: Dataset, levels: Levels, rendering: Rendering) -> NDArray[np.uint16]:
    """Gives (n,) uint16: 0 = darkest .. WHITE = brightest for each level; padding is darkest.

    "voi": Modality LUT, then the first VOI LUT or window that shows something, else the full range of values,
    then the polarity. "minmax": the full range of stored values, then the polarity. "equalised": that in 8
    bits, with its histogram equalised; so were the images of MIMIC-CXR-JPG made, as their makers describe.
    """
    inverted = _is_inverted(dataset)
    if rendering == "voi":
        values = _modality_values(dataset, levels.stored)
        shown = _voi_values(dataset, values)
        if shown is None or np.ptp(shown[levels.used]) < _VISIBLE:
            shown = _full_range(values, levels.used)
        grey = 1.0 - shown if inverted else shown
    else:
        shown = _full_range(levels.stored, levels.used)
        grey = 1.0 - shown if inverted else shown
        if rendering == "equalised":
            grey = _equalised(grey, levels.counts)
    return np.where(levels.used, np.rint(grey * WHITE), 0).astype(np.uint16)


def _is_padding(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixel Padding Value, or the range from it to its limit. Its sign may be lost, hence the modulus."""
    first = numbers(dataset, "PixelPaddingValue")
    if not first:
        return np.zeros(values.shape, dtype=bool)
    limit = numbers(dataset, "PixelPaddingRangeLimit") or first
    if limit[0] == first[0]:
        return np.asarray((values - first[0]) % 65536 == 0)
    return np.asarray((values >= min(first[0], limit[0])) & (values <= max(first[0], limit[0])))


def _is_inverted(dataset: Dataset) -> bool:
    """Photometric Interpretation alone decides (PS3.3 C.7.6.3.1.2).

    Presentation LUT Shape must repeat it (C.8.11.3.1.2: INVERSE with MONOCHROME1, IDENTITY with MONOCHROME2);
    where it does not, it is the Shape that was seen to be wrong in real DX objects, so it is not asked.
    """
    return raw_text(dataset, "PhotometricInterpretation", ("latin_1",)).upper() == "MONOCHROME1"


def _modality_values(dataset: Dataset, stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modality LUT Sequence, else Rescale Slope and Intercept, else the values as stored (PS3.3 C.11.1)."""
    mapped = _through_lut(dataset, "ModalityLUTSequence", stored)
    if mapped is not None:
        return mapped[0]
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    if slope and intercept and slope[0] != 0:
        return stored * slope[0] + intercept[0]
    return stored


def _voi_values(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(n,) 0..1 by the first VOI LUT, else by the first window that is one, else None (PS3.3 C.11.2)."""
    mapped = _through_lut(dataset, "VOILUTSequence", values)
    if mapped is not None:
        shown, brightest = mapped
        return shown / brightest if brightest > 0 else None
    function = raw_text(dataset, "VOILUTFunction", ("latin_1",)).upper() or "LINEAR"
    width_min = 1.0 if function == "LINEAR" else 0.0
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    for center, width in zip(centers, widths, strict=False):
        if width > width_min or width == width_min == 1.0:
            return window(values, center, width, function)
    return None


def window(
    values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Gives 0..1 for each value (PS3.3 C.11.2.1.2, C.11.2.1.3); `width` >= 1 if LINEAR, else > 0."""
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -700.0, 700.0)  # beyond that exp overflows
        return np.asarray(1.0 / (1.0 + np.exp(exponent)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.where(values > center - 0.5, 1.0, 0.0)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _through_lut(
    dataset: Dataset, keyword: str, values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float] | None:
    """Looks `values` up in the first table of a sequence; gives (n,) entries and the table's greatest entry.

    None if there is no table, or none that can be read. The greatest entry is white, not 2**bits - 1: senders
    were seen to declare 16 bits for tables of 12.
    """
    lut = first_lut(dataset, keyword)
    if lut is None:
        return None
    first, table = lut
    places = np.clip(np.rint(values) - first, 0, table.size - 1).astype(np.int64)
    return table[places], float(table.max())


def first_lut(dataset: Dataset, keyword: str) -> tuple[int, NDArray[np.float64]] | None:
    """Gives the first table of a sequence: the value that its first entry is for, and its (entries,) numbers.

    None if there is no table, or none that can be read.
    """
    if not dataset.get(keyword):
        return None
    try:
        item = dataset[keyword].value[0]
        entries, first, _ = (int(number) for number in item["LUTDescriptor"].value)
        table = _table(item["LUTData"].value, entries or 65536, dataset)
    except CONTENT_ERRORS:
        return None
    return (first, table) if table.size else None


def _table(lut_data: Any, entries: int, dataset: Dataset) -> NDArray[np.float64]:
    """LUT Data as (entries,) numbers, whatever Value Representation it came in (PS3.3 C.11.1.1.1)."""
    if not isinstance(lut_data, bytes):
        return np.atleast_1d(np.asarray(lut_data, dtype=np.float64))[:entries]
    is_little_endian = dataset.original_encoding[1] is not False
    kind = "u1" if len(lut_data) <= entries + 1 else ("<u2" if is_little_endian else ">u2")
    whole = len(lut_data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize
    return np.frombuffer(lut_data[:whole], dtype=kind)[:entries].astype(np.float64)


def _full_range(values: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    low, high = float(values[used].min()), float(values[used].max())
    return np.clip((values - low) / max(high - low, np.finfo(np.float64).tiny), 0.0, 1.0)


def _equalised(grey: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spreads the 256 grey levels so that each holds as many pixels as can be; the darkest becomes 0."""
    bins = (grey * 255).astype(np.int64)  # (n,) 0..255
    histogram = np.bincount(bins, weights=counts, minlength=256)  # (256,)
    cumulated = np.cumsum(histogram)  # (256,)
    darkest = float(histogram[np.flatnonzero(histogram)[0]])
    others = float(cumulated[-1]) - darkest
    if others <= 0:
        return grey
    spread = np.clip(np.rint((cumulated - darkest) * 255 / others), 0, 255) / 255  # (256,)
    return np.asarray(spread[bins])


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Gives the numbers of an element of any numeric or text VR, in order; [] if it is absent or one is not finite."""
    try:
        value = dataset[keyword].value if keyword in dataset else None
        parts = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
        numbers = [float(part) for part in parts or [] if part not in (None, "")]
    except CONTENT_ERRORS:
        return []
    return numbers if all(np.isfinite(number) for number in numbers) else []
