"""What every engine says of a folder without reading a case: does it fit, how large is it, what would it need."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open

from inference.engines.memory import TextShape, check_memory, need_of
from inference.engines.opening import Place
from inference.engines.sources import Sources
from inference.published import in_bytes
from inference.verdict import SelfCheck

_DTYPES = {"F64": torch.float32, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


ANSWER_TOKENS_MAX = 500
"""What `answer_tokens_max` is where nobody sets it; the memory for answers goes with it."""

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


def memory(model_name: str, sources: Sources, shape: TextShape, place: Place) -> str:
    """Says what a model will take where it is to run.

    Raises:
        ValueError: if that is more than is free.
    """
    check_memory(model_name, partial(need_of, sources, shape), place)
    need = need_of(sources, shape, place)
    name = str(place.dtype).removeprefix("torch.")
    return (
        f"{in_bytes(need.total)} as {name} on {place.device}: weights {in_bytes(need.weights)}, "
        f"the longest conversation {in_bytes(need.cache)}, working {in_bytes(need.working)}"
    )
