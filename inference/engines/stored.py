"""Weight files as every engine reads them: safetensors and nothing else, each tensor known by name and shape.

`load_state_dict(strict=False)` would leave random weights without a word. So what is stored is held against what a
model needs before a byte of it is read, and a tensor that is missing, left over or of another shape is an error
that names it.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
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


def weight_files(model_folder: Path) -> list[Path]:
    """Lists the weight files of a folder, sorted by name: those of the index, or the single one.

    Raises:
        ValueError: if there is neither, or the index names a file that is not there.
    """
    index = model_folder / "model.safetensors.index.json"
    if not index.exists():
        return [existing(model_folder / "model.safetensors")]
    names = sorted(set(json_object(index).get("weight_map", {}).values()))
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"{index}: its weight_map does not name files of this folder")
    return [existing(model_folder / name) for name in names]


def stored_tensors(
    files: Iterable[Path], published_names: Callable[[Iterable[str]], Mapping[str, str]]
) -> dict[str, StoredTensor]:
    """Reads the headers of weight files: tensors by their published names.

    Args:
        published_names: maps the names in the files to the model's own; a name that it leaves out is not wanted.

    Raises:
        ValueError: if a file is damaged, holds a tensor that is no floating-point one, or two have one name.
    """
    found: list[StoredTensor] = []
    for path in files:
        try:
            with safe_open(str(path), framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (a safetensors file is no dict)
                    piece = opened.get_slice(name)
                    if piece.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                        raise ValueError(
                            f"{path}: {name} is stored as {piece.get_dtype()}, expected float weights"
                        )
                    found.append(StoredTensor(path, name, tuple(piece.get_shape())))
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}; fetch it again") from error
    published = published_names([tensor.name for tensor in found])
    twice = [name for name, count in Counter(published.values()).items() if count > 1]
    if twice:
        raise ValueError(f"two tensors are called {some(twice)} in {', '.join(str(path) for path in files)}")
    return {published[tensor.name]: tensor for tensor in found if tensor.name in published}


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
    """Opens weight files for reading: gives the function that reads one tensor straight to `device`."""
    with ExitStack() as stack:
        files = {
            path: stack.enter_context(safe_open(str(path), framework="pt", device=device))
            for path in set(paths)
        }
        yield lambda tensor: files[tensor.path].get_tensor(tensor.name)


def digest_of(files: Iterable[Path]) -> str:
    """Gives "sha256:<hex>" over the bytes of files in their order: what `cat FILES | sha256sum` says."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def existing(path: Path) -> Path:
    """Gives the path back if there is a file. Raises ValueError if not, with what is there in its stead."""
    if path.is_file():
        return path
    pickled = sorted(found.name for found in path.parent.glob("*.bin")) + sorted(
        found.name for found in path.parent.glob("*.pt*")
    )
    hint = (
        f"; {some(pickled)} is not read, since a pickle can run code: convert it to safetensors"
        if pickled
        else ""
    )
    raise ValueError(f"{path} is not there{hint}")


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
