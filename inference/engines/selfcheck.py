"""What every engine says of a folder without reading a case: does it fit, how large is it, what would it need."""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open

from inference.engines.opening import Place
from inference.engines.stored import StoredTensor
from inference.published import in_bytes
from inference.verdict import SelfCheck

_DTYPES = {"F64": torch.float32, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


OPENED = "each is there, in its shape, and none is left over"
"""What a loader that raised nothing has made sure of."""


class Dimensions(Protocol):
    """The dimensions that the configurations of our own networks have in common."""

    @property
    def image_size_px(self) -> int: ...
    @property
    def vision_layers(self) -> int: ...
    @property
    def vision_width(self) -> int: ...
    @property
    def text_layers(self) -> int: ...
    @property
    def text_width(self) -> int: ...
    @property
    def text_key_value_heads(self) -> int: ...
    @property
    def text_head_width(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...


def told(what: str, look: Callable[[], str]) -> SelfCheck:
    """Makes a line of what `look` finds, or of the sentence that it raises."""
    try:
        return SelfCheck(True, f"{what}: {look()}")
    except (ValueError, OSError, RuntimeError) as error:
        return SelfCheck(False, f"{what}: {error}")


def stored_dtype(file: Path) -> torch.dtype:
    """Gives the numbers that a weight file is stored in: opened in these, its tensors stay on disk until used."""
    with safe_open(str(file), framework="pt") as opened:
        return _DTYPES[opened.get_slice(next(iter(opened.keys()))).get_dtype()]


def dimensions(config: Dimensions, places: int, *, is_published: bool) -> str:
    """Says the dimensions that tell one model from another; `places` is what one image takes in the text."""
    whose = "as published" if is_published else "not those of the published model"
    return (
        f"{whose}: images of {config.image_size_px} px in {places} places, "
        f"vision {config.vision_layers} layers of {config.vision_width}, "
        f"text {config.text_layers} of {config.text_width}, {config.vocabulary_size} tokens"
    )


def cache_values(config: Dimensions) -> int:
    """Counts the keys and values that one token of a conversation leaves in the cache."""
    return 2 * config.text_layers * config.text_key_value_heads * config.text_head_width


def memory(tensors: Iterable[StoredTensor], cache_values_a_token: int, place: Place) -> str:
    """Says what the weights will take where they are to run.

    Args:
        cache_values_a_token: keys and values that one token of a conversation leaves in the cache.

    Raises:
        ValueError: if that is more than there is.
    """
    sizes = [math.prod(tensor.shape) for tensor in tensors]
    bytes_each = place.dtype.itemsize
    name = str(place.dtype).removeprefix("torch.")
    # The loader's peak: one copy of the weights and the largest tensor.
    needed, there = (sum(sizes) + max(sizes)) * bytes_each, _bytes_of(place.device)
    said = (
        f"{in_bytes(sum(sizes) * bytes_each)} of weights as {name} on {place.device}, {in_bytes(needed)} while "
        f"they load, {in_bytes(cache_values_a_token * bytes_each)} more for each token of a conversation; "
        f"{in_bytes(there)} are there"
    )
    if needed > there:
        raise ValueError(f"{said}: set device or dtype in [engine] of reading.toml, or add memory")
    return said


def _bytes_of(device: str) -> int:
    """All the memory of a device, used or not."""
    if device == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(torch.cuda.get_device_properties(device).total_memory)
