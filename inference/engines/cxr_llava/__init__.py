"""The engine for CXR-LLaVA: opens the weights, checks them, and reads cases with them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from inference.case import Case, Image
from inference.engines.cxr_llava.draft import Respondent, answer_question, read_case
from inference.engines.cxr_llava.loading import config_of, load_sources, published_names, text_shape
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, free_memory, identities_of, place_of
from inference.engines.sources import find_sources
from inference.reading import Reading, Turn


def open_cxr_llava(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "full",
    adapter_folder: str | Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    answer_tokens_max: int = 512,
    threads: int | None = None,
    weights_digest: str | None = None,
    allow_pickled_weights: bool = False,
    digests_kept_in: Path | None = None,
) -> "CXRLLaVAEngine":
    """Loads a CXR-LLaVA and makes it ready to read; the settings are those of `inference.engine.open_engine`.

    Args:
        model_folder: config.json, weights, tokenizer.model or tokenizer.json with tokenizer_config.json, and
            perhaps model_card.json ({"name": ..., "is_demo": ...}).

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
    return CXRLLaVAEngine(Opened(respondent, loaded.adapters, identities, place))


class CXRLLaVAEngine:
    """A CXR-LLaVA that is loaded and ready; one case at a time."""

    def __init__(self, opened: Opened[Respondent]) -> None:
        self.identity = opened.identities[None]
        self._opened: Opened[Respondent] | None = opened

    def read(self, case: Case) -> Reading:
        """Drafts a report on one frontal image, then asks for differential diagnoses.

        Raises:
            ValueError: if the case has no image, or names an adapter that is not attached.
            OutOfMemory: if there is not enough memory for this case now.
            RuntimeError: if the engine is closed.
        """
        return self._ready().use(
            case.adapter, lambda respondent, identity: read_case(respondent, identity, case)
        )

    def answer(self, image: Image, question: str) -> Turn:
        """Puts a person's own question about one image, in a conversation of its own.

        Raises:
            ValueError: if the question is empty, or too long for the model.
            OutOfMemory: if there is not enough memory for it now.
            RuntimeError: if the engine is closed.
        """
        return self._ready().use(None, lambda respondent, _: answer_question(respondent, image, question))

    def close(self) -> None:
        """Gives the memory back."""
        self._opened = None
        free_memory()

    def _ready(self) -> Opened[Respondent]:
        if self._opened is None:
            raise RuntimeError("the engine is closed")
        return self._opened
