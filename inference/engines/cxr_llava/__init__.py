"""The engine for CXR-LLaVA: opens the weights, checks them, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.engines.capability import trained_tasks
from inference.engines.cxr_llava.draft import Respondent, read_case
from inference.engines.cxr_llava.loading import config_of, load_sources, published_names, text_shape
from inference.engines.cxr_llava.tasks import TASKS, answer
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, identities_of, place_of
from inference.engines.ready import ReadyEngine
from inference.engines.sources import find_sources
from inference.engines.vision_rows import kept_rows


def open_cxr_llava(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "full",
    adapter_folder: str | Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    answer_tokens_max: int = 512,
    threads: int | None = None,
    impression: bool = True,
    vision_folder: str | Path = "",
    vision_cache_mb: int = 0,
    weights_digest: str | None = None,
    allow_pickled_weights: bool = False,
    digests_kept_in: Path | None = None,
) -> ReadyEngine[Respondent]:
    """Loads a CXR-LLaVA and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    It drafts a report on one frontal image, then asks for differential diagnoses.

    Args:
        model_folder: config.json, weights, tokenizer.model or tokenizer.json with tokenizer_config.json, and
            perhaps model_card.json ({"name": ..., "is_demo": ..., "tasks": [...]}).
        impression: either; these weights were not trained to sum up a report and are not asked to.

    Raises:
        ValueError: if a setting is not understood or the files do not make a CXR-LLaVA; the message says why.
    """
    if not str(model_folder):
        raise ValueError(
            "no model_folder is given; CXR-LLaVA has no demo weights, name the folder of its own"
        )
    place = place_of(device, dtype, answer_tokens_max, threads, weights)
    sources = find_sources(
        Path(model_folder),
        published_names,
        adapter_folder=None if adapter_folder is None else Path(adapter_folder),
        attached=adapters,
        allow_pickled=allow_pickled_weights,
    )
    config = config_of(sources)
    vocabulary = open_vocabulary(sources.folder, config)
    tasks = trained_tasks(sources.folder, TASKS)
    shape = text_shape(config, answer_tokens_max)
    check_memory("CXR-LLaVA", partial(need_of, sources, shape), place)
    identities = identities_of(
        "cxr_llava",
        "CXR-LLaVA",
        sources,
        place,
        digests_kept_in=digests_kept_in,
        pinned_digest=weights_digest,
    )
    loaded = load_sources(sources, place)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max)
    return ReadyEngine(
        Opened(respondent, loaded.adapters, identities, place),
        kept_rows(Path(vision_folder), vision_cache_mb, identities, place),
        tasks,
        begin=read_case,
        answer=answer,
    )
