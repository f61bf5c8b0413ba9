"""What every engine says of a folder without reading a case: does it fit, how large is it, what would it need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from safetensors import safe_open

from inference.engines.memory import TextShape, check_memory, need_of
from inference.engines.opening import Place
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import weight_files
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


Config = TypeVar("Config", bound=Dimensions)


@dataclass(frozen=True, slots=True)
class Network(Generic[Config]):
    """One of our own networks, as far as its folder can be looked at.

    Attributes:
        published: the dimensions of the published model.
        places: what one image takes in the text.
        accounted, load_sources, text_shape: see the network's `loading`.
        open_vocabulary: see the network's `tokens`.
    """

    name: str
    published: Config
    config_of: Callable[[Sources], Config]
    places: Callable[[Config], int]
    published_names: Callable[[Iterable[str]], dict[str, str]]
    accounted: Callable[[Sources], object]
    load_sources: Callable[[Sources, Place], object]
    text_shape: Callable[[Config, int], TextShape]
    open_vocabulary: Callable[[Path, Config], object]

    def checks(
        self, folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
    ) -> tuple[SelfCheck, ...]:
        """Looks at dimensions, tensors, adapter, vocabulary and memory; one does not wait for another.

        Only an adapter needs the weights in memory; else they stay on disk.
        """
        lines = [
            told("dimensions", lambda: self._dimensions(self._found(folder))),
            told("tensors", lambda: self._tensors(self._found(folder))),
        ]
        if adapter_folder is not None:
            lines.append(told("adapter", lambda: self._adapter(folder, adapter_folder)))
        if has_vocabulary:
            lines.append(told("tokenizer", lambda: self._vocabulary(folder)))
        lines.append(told("memory", lambda: self._memory(self._found(folder, adapter_folder), place)))
        return tuple(lines)

    def _found(self, folder: Path, adapter_folder: Path | None = None) -> Sources:
        return find_sources(folder, self.published_names, adapter_folder=adapter_folder)

    def _dimensions(self, sources: Sources) -> str:
        config = self.config_of(sources)
        return dimensions(config, self.places(config), is_published=config == self.published)

    def _tensors(self, sources: Sources) -> str:
        self.accounted(sources)
        return f"{OPENED}; {sources.digests()[None]}"

    def _adapter(self, folder: Path, adapter_folder: Path) -> str:
        """Lays it over the weights, in the numbers in which they are stored."""
        sources = self._found(folder, adapter_folder)
        self.load_sources(sources, Place("cpu", stored_dtype(weight_files(folder)[0])))
        return f"{OPENED}; {sources.digests()[None]}"

    def _memory(self, sources: Sources, place: Place) -> str:
        return memory(self.name, sources, self.text_shape(self.config_of(sources), ANSWER_TOKENS_MAX), place)

    def _vocabulary(self, folder: Path) -> str:
        self.open_vocabulary(folder, self.config_of(self._found(folder)))
        return "gives the ids that the model was trained with, as far as can be told"


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
