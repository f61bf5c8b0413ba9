"""What can be said of a MedGemma's folder without reading a case with it."""

from pathlib import Path

from inference.engines.medgemma.loading import load_sources, published_names, text_shape
from inference.engines.opening import Place
from inference.engines.selfcheck import ANSWER_TOKENS_MAX, OPENED, memory, stored_dtype, told
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import weight_files
from inference.verdict import SelfCheck


def checks(
    folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
) -> tuple[SelfCheck, ...]:
    """Looks at tensors, processor and memory. transformers reads the weights whole, so this takes their memory.

    Args:
        has_vocabulary: without one the folder does not open, and the line about it says so.
    """
    lines = [told("tensors, tokenizer and processor", lambda: _opened(_found(folder)))]
    if adapter_folder is not None:
        lines.append(told("adapter", lambda: _opened(_found(folder, adapter_folder))))
    lines.append(told("memory", lambda: _memory(_found(folder, adapter_folder), place)))
    return tuple(lines)


def _found(folder: Path, adapter_folder: Path | None = None) -> Sources:
    return find_sources(folder, published_names, adapter_folder=adapter_folder)


def _opened(sources: Sources) -> str:
    load_sources(sources, Place("cpu", stored_dtype(weight_files(sources.folder)[0])))
    return f"{OPENED}; {sources.digests()[None]}"


def _memory(sources: Sources, place: Place) -> str:
    return memory("MedGemma", sources, text_shape(sources.folder, ANSWER_TOKENS_MAX), place)
