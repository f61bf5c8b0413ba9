"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.case import Case
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import config_of, load_sources, published_names, text_shape
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, free_memory, identities_of, place_of
from inference.engines.sources import find_sources
from inference.reading import Reading

DEMO_WEIGHTS = Path(__file__).parents[2] / "phantom" / "weights"
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
    weights_digest: str | None = None,
    allow_pickled_weights: bool = False,
    digests_kept_in: Path | None = None,
) -> "M4CXREngine":
    """Loads an M4CXR and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    Args:
        model_folder: config.json, weights, tokenizer.model or tokenizer.json, and perhaps model_card.json
            ({"name": ..., "is_demo": ...}). "" for the demo weights of this package.

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
    shape = text_shape(config, answer_tokens_max)
    check_memory("M4CXR", partial(need_of, sources, shape), place)
    identities = identities_of(
        "m4cxr", "M4CXR", sources, place, digests_kept_in=digests_kept_in, pinned_digest=weights_digest
    )
    loaded = load_sources(sources, place)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max)
    return M4CXREngine(Opened(respondent, loaded.adapters, identities, place))


class M4CXREngine:
    """An M4CXR that is loaded and ready; one case at a time."""

    def __init__(self, opened: Opened[Respondent]) -> None:
        self.identity = opened.identities[None]
        self._opened: Opened[Respondent] | None = opened

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns, then asks for each finding's place on each frontal image.

        Raises:
            ValueError: if the case has no image, or names an adapter that is not attached.
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
