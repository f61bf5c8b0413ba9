"""Weight files as every engine reads them: safetensors, or pickles where allowed; each tensor by name and shape.

`load_state_dict(strict=False)` would leave random weights without a word. So what is stored is held against what a
model needs before a byte of it is read, and a tensor that is missing, left over or of another shape is an error
that names it.
"""

import json
import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_NAMED_IN_ERROR_MAX = 12

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by name."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies.

    Attributes:
        name: as the file spells it.
        shape: as the file's header says it.
    """

    path: Path
    name: str
    shape: tuple[int, ...]


def weight_files(folder: Path, stem: str = "model", *, allow_pickled: bool = False) -> list[Path]:
    """Lists the weight files of a folder, sorted by name: those of the index, or the single one.

    Args:
        stem: of safetensors files: "model", or "adapter_model" for an adapter.
        allow_pickled: take a .bin file (pytorch_model.bin, or `stem`.bin for an adapter) where no safetensors are.

    Raises:
        ValueError: if there is neither or both, the index names a file that is not there, or only a pickle is there.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the one that holds the weights")
    index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if index.exists() and single.exists():
        raise ValueError(
            f"{folder} holds weights twice, {single.name} and the shards of {index.name}; take one of them out"
        )
    if index.exists():
        return _shards(index)
    if single.is_file():
        return [single]
    bin_stem = "pytorch_model" if stem == "model" else stem
    bin_index = folder / f"{bin_stem}.bin.index.json"
    pickled = _shards(bin_index) if bin_index.exists() else sorted(folder.glob(f"{bin_stem}.bin"))
    if not pickled:
        raise ValueError(f"{single} is not there; fetch it, or name the folder that holds it")
    if not allow_pickled:
        raise ValueError(
            f"{some(path.name for path in pickled)} in {folder} is not read, since a pickle can run code: convert "
            "it to safetensors, or set allow_pickled_weights = true if you trust where it is from"
        )
    return pickled


def _shards(index: Path) -> list[Path]:
    placed = json_object(index).get("weight_map")
    names = set(placed.values()) if isinstance(placed, dict) else set()
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise ValueError(f"{index}: its weight_map does not name files of this folder")
    return [existing(index.parent / name) for name in sorted(names)]


def stored_tensors(
    files: Iterable[Path], published_names: Callable[[Iterable[str]], Mapping[str, str]]
) -> dict[str, StoredTensor]:
    """Reads the headers of weight files: tensors by their published names.

    Args:
        published_names: maps the names in the files to the model's own; a name that it leaves out is not wanted.

    Raises:
        ValueError: if a file is damaged, holds a tensor that is no floating-point one, or two have one name.
    """
    found = [tensor for path in files for tensor in _header(path)]
    published = published_names([tensor.name for tensor in found])
    twice = [name for name, count in Counter(published.values()).items() if count > 1]
    if twice:
        raise ValueError(f"two tensors are called {some(twice)} in {', '.join(str(path) for path in files)}")
    return {published[tensor.name]: tensor for tensor in found if tensor.name in published}


def _header(path: Path) -> list[StoredTensor]:
    if path.suffix == ".bin":
        import torch  # only here and below: what looks at model folders without loading starts without torch

        dtypes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in _unpickled(path).items()}
        floats: tuple[Any, ...] = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    else:
        with _safely_open(path, "cpu") as file:
            pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            dtypes = {name: (piece.get_dtype(), tuple(piece.get_shape())) for name, piece in pieces.items()}
        floats = ("F64", "F32", "F16", "BF16")
    for name, (dtype, _) in dtypes.items():
        if dtype not in floats:
            raise ValueError(f"{path}: {name} is stored as {dtype}, expected float weights")
    return [StoredTensor(path, name, shape) for name, (_, shape) in dtypes.items()]


def _safely_open(path: Path, device: str) -> Any:
    try:
        return safe_open(str(path), framework="pt", device=device)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}; fetch it again") from error


def _unpickled(path: Path) -> "Mapping[str, Tensor]":
    """Opens a pickle that may hold nothing but tensors; their data stay in the file until they are used."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"{path} cannot be read: {said}; fetch it again, or convert it") from error
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ValueError(f"{path} holds other things than tensors by name; convert it to safetensors")
    return content


def account(
    model_name: str,
    model_folder: Path,
    needed: Shapes,
    stored: Shapes,
    *,
    unused: Collection[str] = (),
    left_over: Iterable[str] = (),
    misshapen: Iterable[str] = (),
) -> None:
    """Holds what is stored against what the model needs, name by name and shape by shape.

    Args:
        unused: tensors of the published checkpoint that compute nothing; only these may be absent.
        left_over, misshapen: what the caller has found wrong already.

    Raises:
        ValueError: if anything is missing, left over or of another shape; the message names it.
    """
    missing = sorted(set(needed) - set(stored) - set(unused))
    surplus = sorted({*(set(stored) - set(needed)), *left_over})
    other_shapes = [
        f"{name} is {by_x(stored[name])}, expected {by_x(needed[name])}"
        for name in sorted(set(needed) & set(stored))
        if stored[name] != needed[name]
    ]
    said = [
        ("missing", missing),
        ("left over", surplus),
        ("of another shape", [*other_shapes, *misshapen]),
    ]
    wrong = [f"{len(names)} tensors {kind}: {some(names)}" for kind, names in said if names]
    if wrong:
        raise ValueError(f"{model_folder}: these weights do not fit {model_name}. {'. '.join(wrong)}")


@contextmanager
def opened(paths: Iterable[Path], device: str) -> "Iterator[Callable[[StoredTensor], Tensor]]":
    """Opens weight files for reading: gives the function that reads one tensor straight to `device`.

    On a CPU the tensor is a view of the file; copy it, or weights change when the file is written over.
    """
    with ExitStack() as stack:
        files: dict[Path, Callable[[str], Tensor]] = {}
        for path in set(paths):
            if path.suffix == ".bin":
                files[path] = _unpickled(path).__getitem__
            else:
                files[path] = stack.enter_context(_safely_open(path, device)).get_tensor
        yield lambda tensor: files[tensor.path](tensor.name).to(device)


def stored_dtype(path: Path) -> "torch.dtype":
    """Gives the numbers that a weight file is stored in: opened in these, its tensors stay on disk until used."""
    import torch

    if path.suffix == ".bin":
        return next(iter(_unpickled(path).values())).dtype
    dtypes = {"F64": torch.float32, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    with _safely_open(path, "cpu") as file:
        return dtypes[file.get_slice(next(iter(file.keys()))).get_dtype()]


def existing(path: Path) -> Path:
    """Gives the path back if there is a file. Raises ValueError if not."""
    if not path.is_file():
        raise ValueError(f"{path} is not there; fetch it, or name the folder that holds it")
    return path


def json_object(path: Path) -> Mapping[str, Any]:
    """Reads a file that holds one JSON object. Raises ValueError if it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def some(names: Iterable[str]) -> str:
    """Names the first of many, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _NAMED_IN_ERROR_MAX} more" if len(every) > _NAMED_IN_ERROR_MAX else ""
    return ", ".join(every[:_NAMED_IN_ERROR_MAX]) + more


def by_x(shape: tuple[int, ...]) -> str:
    """Writes a shape as 3x14x14."""
    return "x".join(map(str, shape))
