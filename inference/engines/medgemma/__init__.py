"""The engine for MedGemma: opens the weights with transformers' own classes, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.case import Case
from inference.engines.medgemma.draft import Respondent, read_case
from inference.engines.medgemma.loading import check_config, load_sources, published_names, text_shape
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, Place, free_memory, identities_of, place_of
from inference.engines.sources import find_sources
from inference.reading import Reading


def open_medgemma(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "full",
    adapter_folder: str | Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    answer_tokens_max: int = 500,
    threads: int | None = None,
    weights_digest: str | None = None,
    allow_pickled_weights: bool = False,
    digests_kept_in: Path | None = None,
) -> "MedGemmaEngine":
    """Loads a MedGemma and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    Args:
        model_folder: the files of google/medgemma-4b-it as published, and perhaps model_card.json
            ({"name": ..., "is_demo": ...}).
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
    shape = text_shape(sources.folder, answer_tokens_max)
    check_memory("MedGemma", partial(need_of, sources, shape), place)
    if place.device != "cpu":
        # transformers reads all of it into the machine's memory first, in full.
        check_memory("MedGemma", partial(need_of, sources, shape), Place("cpu", place.dtype))
    identities = identities_of(
        "medgemma", "MedGemma", sources, place, digests_kept_in=digests_kept_in, pinned_digest=weights_digest
    )
    loaded = load_sources(sources, place)
    return MedGemmaEngine(
        Opened(Respondent(loaded.model, answer_tokens_max), loaded.adapters, identities, place)
    )


class MedGemmaEngine:
    """A MedGemma that is loaded and ready; one case at a time."""

    def __init__(self, opened: Opened[Respondent]) -> None:
        self.identity = opened.identities[None]
        self._opened: Opened[Respondent] | None = opened

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns; no finding gets a place, since no format for boxes is published.

        Raises:
            ValueError: if the case has no image, its questions do not fit into the model's context, or it names an
                adapter that is not attached.
            OutOfMemory: if there is not enough memory for this case now.
            RuntimeError: if the engine is closed.
        """
        if self._opened is None:
            raise RuntimeError("the engine is closed")
        return self._opened.use(
            case.adapter, lambda respondent, identity: read_case(respondent, identity, case)
        )

    def close(self) -> None:
        """Gives the memory back."""
        self._opened = None
        free_memory()
