"""What can be said of a MedGemma's folder without reading a case with it."""

from pathlib import Path

from inference.engines.medgemma.loading import load_sources, published_names, text_shape
from inference.engines.medgemma.tasks import TASKS
from inference.engines.selfcheck import OPENED, Wanted, card_lines, memory, place_to_look, told
from inference.engines.sources import Sources, find_sources
from inference.verdict import SelfCheck


def checks(folder: Path, wanted: Wanted, *, has_vocabulary: bool) -> tuple[SelfCheck, ...]:
    """Looks at tensors, processor and memory. transformers reads the weights whole, so this takes their memory.

    Args:
        has_vocabulary: without one the folder does not open, and the line about it says so.
    """

    def found(adapter_folder: Path | None = None) -> Sources:
        return find_sources(
            folder, published_names, adapter_folder=adapter_folder, allow_pickled=wanted.allow_pickled
        )

    lines = [told("tensors, tokenizer and processor", lambda: _opened(found()))]
    if wanted.adapter_folder is not None:
        lines.append(told("adapter", lambda: _opened(found(wanted.adapter_folder))))
    lines += card_lines(folder, "MedGemma", TASKS)
    lines.append(told("memory", lambda: _memory(found(wanted.adapter_folder), wanted)))
    return tuple(lines)


def _opened(sources: Sources) -> str:
    load_sources(sources, place_to_look(sources))
    return f"{OPENED}; {sources.digests()[None]}"


def _memory(sources: Sources, wanted: Wanted) -> str:
    shape = text_shape(sources.folder, wanted.answer_tokens_max)
    return memory("MedGemma", sources, shape, wanted.place)
