"""What can be said of an M4CXR's folder without reading a case with it."""

from pathlib import Path

from inference.engines.m4cxr.config import config_from
from inference.engines.m4cxr.loading import load_model, published_names
from inference.engines.m4cxr.model import M4CXRConfig
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import Place
from inference.engines.selfcheck import (
    OPENED,
    cache_values,
    dimensions,
    memory,
    stored_dtype,
    told,
)
from inference.engines.stored import StoredTensor, existing, json_object, stored_tensors, weight_files
from inference.verdict import SelfCheck


def checks(
    folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
) -> tuple[SelfCheck, ...]:
    """Looks at dimensions, tensors, adapter, vocabulary and memory; one does not wait for another.

    The weights stay on disk: they are opened in the numbers in which they are stored.
    """
    lines = [
        told("dimensions", lambda: _dimensions(folder)),
        told("tensors", lambda: _digest(folder, None)),
    ]
    if adapter_folder is not None:
        lines.append(told("adapter", lambda: _digest(folder, adapter_folder)))
    if has_vocabulary:
        lines.append(told("tokenizer", lambda: _vocabulary(folder)))
    lines.append(
        told("memory", lambda: memory(_tensors(folder).values(), cache_values(_config(folder)), place))
    )
    return tuple(lines)


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return stored_tensors(weight_files(folder), published_names)


def _config(folder: Path) -> M4CXRConfig:
    shapes = {name: tensor.shape for name, tensor in _tensors(folder).items()}
    return config_from(json_object(existing(folder / "config.json")), shapes)


def _dimensions(folder: Path) -> str:
    config = _config(folder)
    return dimensions(config, config.query_count, is_published=config == M4CXRConfig())


def _digest(folder: Path, adapter_folder: Path | None) -> str:
    dtype = stored_dtype(weight_files(folder)[0])
    loaded = load_model(folder, dtype=dtype, adapter_folder=adapter_folder)
    return f"{OPENED}; {loaded.digest}"


def _vocabulary(folder: Path) -> str:
    open_vocabulary(folder, _config(folder))
    return "gives the ids that the model was trained with, as far as can be told"
