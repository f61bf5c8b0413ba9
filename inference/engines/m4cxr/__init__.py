"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.capability import trained_tasks
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.tasks import TASKS, answer
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import free_memory, model_card, place_of
from inference.engines.talk import together
from inference.engines.vision_rows import VisionRows
from inference.published import DEMO_FOLDER
from inference.question import Answer, Question, Task, check_question
from inference.reading import EngineIdentity, Reading

DEMO_WEIGHTS = DEMO_FOLDER
"""A small model of this very architecture, trained on synthetic images only."""


def open_m4cxr(
    model_folder: str | Path = "",
    device: str = "auto",
    dtype: str = "auto",
    adapter_folder: str | Path | None = None,
    answer_tokens_max: int = 500,
    threads: int | None = None,
    impression: bool = True,
    vision_folder: str | Path = "",
    vision_cache_mb: int = 0,
) -> "M4CXREngine":
    """Loads an M4CXR and makes it ready to read.

    Args:
        model_folder: config.json, safetensors weights, tokenizer.model or tokenizer.json, and perhaps
            model_card.json ({"name": ..., "is_demo": ..., "tasks": [...]}). "" for the demo weights of this package.
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
        adapter_folder: an adapter as peft writes it, merged into the weights, or None.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.
        impression: whether a draft ends with the model's summary of it, if the weights know that task.
        vision_folder: where it is kept what the model saw of images, at most `vision_cache_mb`; 0 keeps nothing.

    Raises:
        ValueError: if a setting is not understood or the files do not make an M4CXR; the message says why.
    """
    folder = Path(model_folder) if str(model_folder) else DEMO_WEIGHTS
    place = place_of(device, dtype, answer_tokens_max, threads)
    loaded = load_model(
        folder,
        device=place.device,
        dtype=place.dtype,
        adapter_folder=None if adapter_folder is None else Path(adapter_folder),
    )
    name, is_demo = model_card(folder, "M4CXR")
    identity = EngineIdentity("m4cxr", version("preread"), name, loaded.digest, is_demo)
    vocabulary = open_vocabulary(folder, loaded.model.config)
    computed_by = f"{loaded.digest} {place.dtype} {place.device}"
    vision_rows = VisionRows(Path(vision_folder), computed_by, vision_cache_mb * 1_000_000)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max, vision_rows)
    return M4CXREngine(identity, respondent, trained_tasks(folder, TASKS), impression)


class M4CXREngine:
    """An M4CXR that is loaded and ready."""

    def __init__(
        self, identity: EngineIdentity, respondent: Respondent, tasks: frozenset[Task], impression: bool
    ) -> None:
        self.identity = identity
        self.tasks = tasks
        self._asks_impression = impression and Task.SUMMARY in tasks
        self.is_exact_at_once = respondent.model.abstractor.pos_emb.dtype == torch.float32
        self._respondent: Respondent | None = respondent

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns and sums it up, then asks for each finding's place on each frontal image.

        Raises:
            ValueError: if the case has no image.
            RuntimeError: if the engine is closed.
        """
        return self.read_many([case])[0]

    def read_many(self, cases: Sequence[Case]) -> list[Reading]:
        """Reads several cases at once; in float32 each gets the words that it would get alone.

        Raises:
            ValueError: if one of them has no image; then nothing is said of the others either.
            RuntimeError: if the engine is closed.
        """
        respondent = self._open_respondent()
        with torch.inference_mode():
            conversations = [
                read_case(respondent, self.identity, case, asks_impression=self._asks_impression)
                for case in cases
            ]
            return together(respondent.model, conversations)

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about a case, in a conversation of its own.

        Raises:
            CannotAsk: if the weights were not trained for it, or the case has no images for it.
            RuntimeError: if the engine is closed.
        """
        respondent = self._open_respondent()
        check_question(question, self.tasks, self.identity.model_name)
        with torch.inference_mode():
            return answer(respondent, self.identity, case, question)

    def close(self) -> None:
        """Gives the memory back."""
        self._respondent = None
        free_memory()

    def _open_respondent(self) -> Respondent:
        if self._respondent is None:
            raise RuntimeError("the engine is closed")
        return self._respondent
