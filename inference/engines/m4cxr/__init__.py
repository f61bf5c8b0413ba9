"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.engines.capability import trained_tasks
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import config_of, load_sources, published_names, text_shape
from inference.engines.m4cxr.tasks import TASKS, answer
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, identities_of, place_of
from inference.engines.ready import ReadyEngine
from inference.engines.sources import find_sources
from inference.engines.vision_rows import kept_rows
from inference.published import DEMO_FOLDER
from inference.question import Task

DEMO_WEIGHTS = DEMO_FOLDER
"""A small model of this very architecture, trained on synthetic images only."""


def open_m4cxr(
    model_folder: str | Path = "",
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
    """Loads an M4CXR and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    It drafts a report in two turns and sums it up, then asks for each finding's place on each frontal image.

    Args:
        model_folder: config.json, weights, tokenizer.model or tokenizer.json, and perhaps model_card.json
            ({"name": ..., "is_demo": ..., "tasks": [...]}). "" for the demo weights of this package.

    Raises:
        ValueError: if a setting is not understood or the files do not make an M4CXR; the message says why.
    """
    place = place_of(device, dtype, answer_tokens_max, threads, weights)
    sources = find_sources(
        Path(model_folder) if str(model_folder) else DEMO_WEIGHTS,
        published_names,
        adapter_folder=None if adapter_folder is None else Path(adapter_folder),
        attached=adapters,
        allow_pickled=allow_pickled_weights,
    )
    config = config_of(sources)
    vocabulary = open_vocabulary(sources.folder, config)
    tasks = trained_tasks(sources.folder, TASKS)
    shape = text_shape(config, answer_tokens_max)
    check_memory("M4CXR", partial(need_of, sources, shape), place)
    identities = identities_of(
        "m4cxr", "M4CXR", sources, place, digests_kept_in=digests_kept_in, pinned_digest=weights_digest
    )
    loaded = load_sources(sources, place)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max)
    return ReadyEngine(
        Opened(respondent, loaded.adapters, identities, place),
        kept_rows(Path(vision_folder), vision_cache_mb, identities, place),
        tasks,
        begin=partial(read_case, asks_impression=impression and Task.SUMMARY in tasks),
        answer=answer,
    )
