"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.capability import trained_tasks
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import config_of, load_sources, published_names, text_shape
from inference.engines.m4cxr.tasks import TASKS, answer
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.memory import check_memory, need_of
from inference.engines.opening import Opened, identities_of, place_of
from inference.engines.ready import Ready
from inference.engines.sources import find_sources
from inference.engines.vision_rows import VisionRows, kept_rows
from inference.published import DEMO_FOLDER
from inference.question import Answer, Question, Task, check_question
from inference.reading import EngineIdentity, Reading

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
) -> "M4CXREngine":
    """Loads an M4CXR and makes it ready to read; the settings are those of `inference.engine.open_engine`.

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
    shape = text_shape(config, answer_tokens_max)
    check_memory("M4CXR", partial(need_of, sources, shape), place)
    identities = identities_of(
        "m4cxr", "M4CXR", sources, place, digests_kept_in=digests_kept_in, pinned_digest=weights_digest
    )
    loaded = load_sources(sources, place)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max)
    return M4CXREngine(
        Opened(respondent, loaded.adapters, identities, place),
        kept_rows(Path(vision_folder), vision_cache_mb, identities, place),
        trained_tasks(sources.folder, TASKS),
        impression=impression,
    )


class M4CXREngine:
    """An M4CXR that is loaded and ready."""

    def __init__(
        self,
        opened: Opened[Respondent],
        vision_rows: Mapping[str | None, VisionRows],
        tasks: frozenset[Task],
        *,
        impression: bool,
    ) -> None:
        self.identity = opened.identities[None]
        self.tasks = tasks
        self.is_exact_at_once = opened.place.dtype is torch.float32
        self._asks_impression = impression and Task.SUMMARY in tasks
        self._ready = Ready(opened, vision_rows)

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns and sums it up, then asks for each finding's place on each frontal image.

        Raises:
            ValueError: if the case has no image, or names an adapter that is not attached.
            OutOfMemory: if there is not enough memory for this case now.
            RuntimeError: if the engine is closed.
        """
        return self.read_many([case])[0]

    def read_many(self, cases: Sequence[Case]) -> list[Reading]:
        """Reads several cases; in float32 each gets the words that it would get alone.

        Those that are read with the same adapter are read at once.

        Raises:
            ValueError: if one of them has no image, or names an adapter that is not attached; then nothing is said of
                the others either.
            OutOfMemory: if there is not enough memory for them now.
            RuntimeError: if the engine is closed.
        """
        return self._ready.converse(cases, partial(read_case, asks_impression=self._asks_impression))

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about a case, in a conversation of its own.

        Raises:
            CannotAsk: if the weights were not trained for it, or the question does not fit the case or the model.
            OutOfMemory: if there is not enough memory for it now.
            RuntimeError: if the engine is closed.
        """
        check_question(question, self.tasks, self.identity.model_name)

        def work(respondent: Respondent, identity: EngineIdentity) -> Answer:
            return answer(respondent, identity, case, question)

        return self._ready.use(case.adapter, work)

    def close(self) -> None:
        """Gives the memory back."""
        self._ready.close()
