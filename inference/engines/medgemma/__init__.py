"""The engine for MedGemma: opens the weights with transformers' own classes, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.engines.capability import trained_tasks
from inference.engines.medgemma.draft import Respondent, read_case
from inference.engines.medgemma.loading import check_config, load_sources, published_names, text_shape
from inference.engines.medgemma.tasks import TASKS, answer
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, Place, identities_of, place_of
from inference.engines.ready import ReadyEngine
from inference.engines.sources import find_sources
from inference.engines.vision_rows import kept_rows
from inference.question import Task


def open_medgemma(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "full",
    adapter_folder: str | Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    answer_tokens_max: int = 500,
    threads: int | None = None,
    impression: bool = True,
    vision_folder: str | Path = "",
    vision_cache_mb: int = 0,
    weights_digest: str | None = None,
    allow_pickled_weights: bool = False,
    digests_kept_in: Path | None = None,
) -> ReadyEngine[Respondent]:
    """Loads a MedGemma and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    It drafts a report in two turns and sums it up. No finding gets a place, since no format for boxes is published.

    Args:
        model_folder: the files of google/medgemma-4b-it as published, and perhaps model_card.json
            ({"name": ..., "is_demo": ..., "tasks": [...]}).
        dtype: Gemma 3 was trained in bfloat16 and may overflow in float16; a reading then ends in an error.

    Raises:
        ValueError: if a setting is not understood or the files do not make a MedGemma; the message says why.
    """
    place = place_of(device, dtype, answer_tokens_max, threads, weights)
    check_config(Path(model_folder))
    sources = find_sources(
        Path(model_folder),
        published_names,
        adapter_folder=None if adapter_folder is None else Path(adapter_folder),
        attached=adapters,
        allow_pickled=allow_pickled_weights,
    )
    tasks = trained_tasks(sources.folder, TASKS)
    shape = text_shape(sources.folder, answer_tokens_max)
    check_memory("MedGemma", partial(need_of, sources, shape), place)
    if place.device != "cpu":
        # transformers reads all of it into the machine's memory first, in full.
        check_memory("MedGemma", partial(need_of, sources, shape), Place("cpu", place.dtype))
    identities = identities_of(
        "medgemma", "MedGemma", sources, place, digests_kept_in=digests_kept_in, pinned_digest=weights_digest
    )
    loaded = load_sources(sources, place)
    respondent = Respondent(loaded.model, answer_tokens_max)
    return ReadyEngine(
        Opened(respondent, loaded.adapters, identities, place),
        kept_rows(Path(vision_folder), vision_cache_mb, identities, place),
        tasks,
        begin=partial(read_case, asks_impression=impression and Task.SUMMARY in tasks),
        answer=answer,
    )
