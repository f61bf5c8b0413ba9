"""What can be said of an M4CXR's folder without reading a case with it."""

from pathlib import Path

from inference.engines.m4cxr.loading import accounted, config_of, load_sources, published_names, text_shape
from inference.engines.m4cxr.model import M4CXRConfig
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import Place
from inference.engines.selfcheck import (
    ANSWER_TOKENS_MAX,
    OPENED,
    dimensions,
    memory,
    stored_dtype,
    told,
)
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import weight_files
from inference.verdict import SelfCheck


def checks(
    folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
) -> tuple[SelfCheck, ...]:
    """Looks at dimensions, tensors, adapter, vocabulary and memory; one does not wait for another.

    Only an adapter needs the weights in memory; else they stay on disk.
    """
    lines = [
        told("dimensions", lambda: _dimensions(_found(folder))),
        told("tensors", lambda: _tensors(_found(folder))),
    ]
    if adapter_folder is not None:
        lines.append(told("adapter", lambda: _adapter(folder, adapter_folder)))
    if has_vocabulary:
        lines.append(told("tokenizer", lambda: _vocabulary(folder)))
    lines.append(told("memory", lambda: _memory(_found(folder, adapter_folder), place)))
    return tuple(lines)


def _found(folder: Path, adapter_folder: Path | None = None) -> Sources:
    return find_sources(folder, published_names, adapter_folder=adapter_folder)


def _dimensions(sources: Sources) -> str:
    config = config_of(sources)
    return dimensions(config, config.query_count, is_published=config == M4CXRConfig())


def _tensors(sources: Sources) -> str:
    accounted(sources)
    return f"{OPENED}; {sources.digests()[None]}"


def _adapter(folder: Path, adapter_folder: Path) -> str:
    """Lays it over the weights, in the numbers in which they are stored."""
    sources = _found(folder, adapter_folder)
    load_sources(sources, Place("cpu", stored_dtype(weight_files(folder)[0])))
    return f"{OPENED}; {sources.digests()[None]}"


def _memory(sources: Sources, place: Place) -> str:
    return memory("M4CXR", sources, text_shape(config_of(sources), ANSWER_TOKENS_MAX), place)


def _vocabulary(folder: Path) -> str:
    open_vocabulary(folder, config_of(_found(folder)))
    return "gives the ids that the model was trained with, as far as can be told"
