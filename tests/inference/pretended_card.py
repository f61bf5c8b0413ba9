"""A card that is not there: tensors say that they are on `cuda:0`, and compute on the CPU.

What a card refuses is refused: numbers of the card and of the CPU in one operation, and numpy's look at a card's
memory. Nothing is told of a card's speed, memory or rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda:0")

looks: list[str] = []
"""What the CPU asked the card for since it was cleared: each waits until the card has done all that it was told."""

_LOOKS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal")

_MAKES_NO_TENSOR = (torch.device, torch._C._nn._parse_to)

_MAY_MIX = {
    "aten::copy_",
    "aten::_to_copy",
    "aten::index.Tensor",
    "aten::index_put_",
    "aten::_index_put_impl_",
}
"""A card takes copies from elsewhere, and indices that lie on the CPU."""


class OnCard(torch.Tensor):
    """A tensor of the card; `held` has its numbers. What is written in C++ takes it for one of the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        with torch.inference_mode(False):
            made: OnCard = torch.Tensor._make_wrapper_subclass(
                cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype
            )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        return CARD

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def data(self) -> "OnCard":
        return OnCard(self.held.data)

    @data.setter
    def data(self, other: "OnCard") -> None:
        self.held = other.held

    def cpu(self) -> torch.Tensor:
        looks.append("cpu")
        return self.held.clone()

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked = (*args, *kwargs.values())
        place = next((torch.device(one) for one in asked if isinstance(one, (str, torch.device))), CARD)
        dtype = next((one for one in asked if isinstance(one, torch.dtype)), self.dtype)
        if place == self.device and dtype == self.dtype and not kwargs.get("copy"):
            return self
        there = self.held.to(dtype, copy=True)
        if place == self.device:
            return OnCard(there)
        looks.append("to")
        return there

    def tolist(self) -> Any:
        looks.append("tolist")
        return self.held.tolist()

    def numpy(self, **_: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(operation, args, kwargs or {})


class _Card(TorchFunctionMode):
    """While it holds, what is asked for on the card is made on the CPU and put there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {key: one for key, one in (kwargs or {}).items() if key != "pin_memory"}
        asked = any(_is_card(one) for one in (*args, *kwargs.values()))
        if function in _MAKES_NO_TENSOR or not asked or (args and isinstance(args[0], OnCard)):
            return function(*args, **kwargs)
        there = function(
            *(_elsewhere(one) for one in args), **{key: _elsewhere(one) for key, one in kwargs.items()}
        )
        return OnCard(there.clone())


@contextmanager
def pretended_card() -> Iterator[None]:
    """Lets torch see one card, with memory for everything."""
    seen = {
        "is_available": True,
        "device_count": 1,
        "get_device_name": "a card",
        "get_device_capability": (9, 0),
        "mem_get_info": (80 << 30, 80 << 30),
        "empty_cache": None,
        "synchronize": None,
    }
    with pytest.MonkeyPatch.context() as patch, _Card():
        # Else modules put a tensor of the card into the storage of one of the CPU.
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        for name, answer in seen.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        yield


def _done(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_card = [isinstance(tensor, OnCard) for tensor in given]
    # A single number of the CPU goes with anything.
    elsewhere = [not is_on for tensor, is_on in zip(given, on_card, strict=True) if tensor.dim()]
    name = operation.name()
    if any(on_card) and any(elsewhere) and name not in _MAY_MIX:
        raise RuntimeError(f"{name}: tensors of {CARD} and of the CPU")
    if any(on_card) and name in _LOOKS:
        looks.append(name)
    result = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    goes_there = on_card[0] if name == "aten::copy_" else any(on_card)
    return tree_map(_put, result) if goes_there else result


def _is_card(value: object) -> bool:
    return isinstance(value, (str, torch.device)) and str(value) == str(CARD)


def _elsewhere(value: Any) -> Any:
    return torch.device("cpu") if _is_card(value) else value


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnCard) else _elsewhere(value)


def _put(value: Any) -> Any:
    return OnCard(value) if isinstance(value, torch.Tensor) and not isinstance(value, OnCard) else value
