"""How much memory a model will need, worked out from the headers of its files, and how much there is."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from inference.engines.opening import Place
from inference.engines.quantised import Weights, stored_bytes
from inference.engines.sources import Sources

_GIB = 1 << 30

_WORKING_BYTES = 512 << 20
"""Kept free for what no formula counts: vision, buffers of the matrix libraries, an allocator's gaps. See `need_of`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShape:
    """The dimensions of a language model that decide what a conversation takes.

    Attributes:
        layers: what the published names of the layers begin with.
        tokens_at_once: the longest that is read in one pass.
        tokens_kept: in all conversations together, at the worst moment of one case.
    """

    layers: str
    layer_count: int
    key_value_heads: int
    head_width: int
    width: int
    mlp_width: int
    tokens_at_once: int
    tokens_kept: int


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a model takes at its worst moment.

    Attributes:
        weights: as they are kept, attached adapters included.
        cache: keys and values of the longest conversations, as they were heard and once more side by side, with room
            for the answers (`talk.speak`).
        working: what one pass needs besides, and the margin; or what loading needs besides, if that is more.
    """

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


def need_of(sources: Sources, shape: TextShape, place: Place) -> MemoryNeed:
    """Works out the memory for weights, caches and one pass.

    A pass holds, for each token at once, eight rows as wide as the text and three as wide as the MLP, two of them again
    in float32 (norms); for attention the keys and values of one layer spread over all heads; two layers' caches twice
    (they grow by copying); and, for rounded weights, the largest layer made anew. `tests/inference/test_memory.py`
    holds the sum against what is really taken: on a CPU it is 1.0 to 1.5 times that for models of 0.4 GB and more.
    """
    size = place.dtype.itemsize
    weights = sum(
        _kept_bytes(name, tensor.shape, shape.layers, place) for name, tensor in sources.base.items()
    )
    for adapter in sources.attached.values():
        weights += sum(
            math.prod(tensor.shape) * (4 if ".lora_" in name else size)
            for name, tensor in adapter.tensors.items()
        )
    cached_by_layer = shape.tokens_kept * shape.key_value_heads * shape.head_width * 2 * size
    largest = max((math.prod(tensor.shape) for tensor in sources.base.values()), default=0)
    by_token = size * (8 * shape.width + 3 * shape.mlp_width) + 8 * shape.width
    remade = 0 if place.weights == "full" else 3 * shape.width * shape.mlp_width * size
    working = (
        shape.tokens_at_once * by_token
        + 2 * shape.tokens_kept * shape.width * size
        + 2 * cached_by_layer
        + remade
    )
    cache = 2 * shape.layer_count * cached_by_layer
    # While one layer is merged or rounded there are four of it in float32, and no conversation yet.
    loading = largest * (16 if sources.merged or place.weights != "full" else 4)
    return MemoryNeed(weights, cache, max(working, loading - cache) + _WORKING_BYTES)


def check_memory(
    model_name: str, need: Callable[[Place], MemoryNeed], place: Place, free_bytes: int | None = None
) -> None:
    """Holds what a model needs against what is free, before anything is loaded.

    Args:
        need: works the need out for a place.
        free_bytes: None asks the card or the machine.

    Raises:
        ValueError: one sentence with the numbers in GiB and with what would fit.
    """
    free = free_memory_bytes(place.device) if free_bytes is None else free_bytes
    needed = need(place)
    if needed.total <= free:
        return
    fitting = [
        f"set {setting} ({_gib(need(other).total)})"
        for setting, other in _smaller(place)
        if need(other).total <= free
    ]
    way_out = " or ".join(fitting) or "no smaller setting fits either, so take a larger one"
    raise ValueError(
        f"{model_name} needs {_gib(needed.total)} on {place.device} (weights {_gib(needed.weights)}, longest "
        f"conversation {_gib(needed.cache)}, working {_gib(needed.working)}) and {_gib(free)} are free: "
        f"{way_out}, or end what else uses it"
    )


def free_memory_bytes(device: str) -> int:
    """Asks how much memory a card, or the machine within this process's control group, has free."""
    if device != "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return min([int(psutil.virtual_memory().available), *left_in_group(_own_group())])


def _own_group() -> Path:
    """Finds this process's control group; one that is not there on another system."""
    found = Path("/proc/self/cgroup")
    _, _, own = (found.read_text() if found.exists() else "").strip().rpartition("::")
    return Path("/sys/fs/cgroup") / own.lstrip("/")


def left_in_group(group: Path) -> Iterator[int]:
    """Gives what a container or a service with MemoryMax may still take (cgroup v2); nothing where none is set."""
    try:
        limit = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return  # "max", another version of control groups, or another system: no limit is known
    yield limit - taken + int(stat["inactive_file"])


def _smaller(place: Place) -> Iterator[tuple[str, Place]]:
    """Lists settings that need less, the least loss first."""
    if place.dtype is torch.float32:
        yield 'dtype = "bfloat16"', replace(place, dtype=torch.bfloat16)
    choices: tuple[Weights, ...] = ("int8", "int4")
    for weights in choices[choices.index(place.weights) + 1 if place.weights in choices else 0 :]:
        yield f'weights = "{weights}"', replace(place, weights=weights)


def _kept_bytes(name: str, shape: tuple[int, ...], layers: str, place: Place) -> int:
    if len(shape) == 2 and name.startswith(layers):
        rows, columns = shape
        return stored_bytes(rows, columns, place.weights, place.dtype)
    return math.prod(shape) * place.dtype.itemsize


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
