"""What every engine says of a folder without reading a case: does it fit, how large is it, what would it need."""

import math
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from inference.engine import in_one_sentence
from inference.engines.capability import trained_tasks
from inference.engines.memory import TextShape, check_memory, free_memory_bytes, need_of
from inference.engines.opening import Place, model_card
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import stored_dtype
from inference.published import in_bytes
from inference.question import Task
from inference.verdict import NO_ROOM_TO_LOOK, SelfCheck

OPENED = "each is there, in its shape, and none is left over"
"""What a loader that raised nothing has made sure of."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a folder is to be opened.

    Attributes:
        adapter_folder: an adapter that is to be laid over the weights, or None.
        place: where the model is to run, and in which numbers.
        answer_tokens_max: longest answer; the memory goes with it.
        allow_pickled: whether .bin files may be read.
    """

    adapter_folder: Path | None
    place: Place
    answer_tokens_max: int
    allow_pickled: bool


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
        tasks: what the published weights were trained for.
        accounted, load_sources, text_shape: see the network's `loading`.
        open_vocabulary: see the network's `tokens`.
    """

    name: str
    published: Config
    tasks: Set[Task]
    config_of: Callable[[Sources], Config]
    places: Callable[[Config], int]
    published_names: Callable[[Iterable[str]], dict[str, str]]
    accounted: Callable[[Sources], object]
    load_sources: Callable[[Sources, Place], object]
    text_shape: Callable[[Config, int], TextShape]
    open_vocabulary: Callable[[Path, Config], object]

    def checks(self, folder: Path, wanted: Wanted, *, has_vocabulary: bool) -> tuple[SelfCheck, ...]:
        """Looks at dimensions, tensors, adapter, vocabulary and memory; one does not wait for another.

        Only an adapter needs the weights in memory; else they stay on disk.
        """

        def found(adapter_folder: Path | None = None) -> Sources:
            return find_sources(
                folder,
                self.published_names,
                adapter_folder=adapter_folder,
                allow_pickled=wanted.allow_pickled,
            )

        lines = [
            told("dimensions", lambda: self._dimensions(found())),
            told("tensors", lambda: self._tensors(found())),
        ]
        if wanted.adapter_folder is not None:
            lines.append(told("adapter", lambda: self._adapter(found(wanted.adapter_folder))))
        if has_vocabulary:
            lines.append(told("tokenizer", lambda: self._vocabulary(found())))
        lines += card_lines(folder, self.name, self.tasks)
        lines.append(told("memory", lambda: self._memory(found(wanted.adapter_folder), wanted)))
        return tuple(lines)

    def _dimensions(self, sources: Sources) -> str:
        config = self.config_of(sources)
        return dimensions(config, self.places(config), is_published=config == self.published)

    def _tensors(self, sources: Sources) -> str:
        self.accounted(sources)
        return f"{OPENED}; {sources.digests()[None]}"

    def _adapter(self, sources: Sources) -> str:
        """Lays it over the weights, in the numbers in which they are stored."""
        self.load_sources(sources, place_to_look(sources))
        return f"{OPENED}; {sources.digests()[None]}"

    def _memory(self, sources: Sources, wanted: Wanted) -> str:
        shape = self.text_shape(self.config_of(sources), wanted.answer_tokens_max)
        return memory(self.name, sources, shape, wanted.place)

    def _vocabulary(self, sources: Sources) -> str:
        self.open_vocabulary(sources.folder, self.config_of(sources))
        return "gives the ids that the model was trained with, as far as can be told"


def told(what: str, look: Callable[[], str]) -> SelfCheck:
    """Makes a line of what `look` finds, or of the sentence that it raises."""
    try:
        with in_one_sentence("it is not in the form that is expected"):
            return SelfCheck(True, f"{what}: {look()}")
    except (ValueError, OSError, RuntimeError) as error:
        return SelfCheck(False, f"{what}: {error}")


def place_to_look(sources: Sources) -> Place:
    """Gives where weights are loaded to be looked at: on the CPU, in the numbers in which they are stored.

    Raises:
        ValueError: if they do not fit into what memory is free: the kernel would end this program, or the reader.
    """
    place = Place("cpu", stored_dtype(sources.files[0]))
    needed = sum(math.prod(shape) for shape in sources.shapes.values()) * place.dtype.itemsize
    free = free_memory_bytes(place.device)
    if needed > free:
        raise ValueError(
            f"{NO_ROOM_TO_LOOK} {in_bytes(needed)} of this machine's memory, and "
            f"{in_bytes(free)} are free; look while nothing else runs, or on a larger machine"
        )
    return place


def card_lines(folder: Path, model_name: str, tasks: Set[Task]) -> tuple[SelfCheck, ...]:
    """Says under which name the weights will draft, if a card gives one.

    Args:
        tasks: what the published weights were trained for; a card may name fewer.
    """

    def card() -> str:
        name, is_demo = model_card(folder, model_name)
        trained_tasks(folder, tasks)
        return f'these weights are called "{name}"{", a demo" if is_demo else ""}'

    return (told("model_card.json", card),) if (folder / "model_card.json").exists() else ()


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
