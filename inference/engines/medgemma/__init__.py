"""The engine for MedGemma: opens the weights with transformers' own classes, and reads cases with them."""

from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.capability import trained_tasks
from inference.engines.medgemma.draft import Respondent, read_case
from inference.engines.medgemma.loading import load_model
from inference.engines.medgemma.tasks import TASKS, answer
from inference.engines.opening import free_memory, model_card, place_of
from inference.engines.vision_rows import VisionRows
from inference.question import Answer, Question, Task, check_question
from inference.reading import EngineIdentity, Reading


def open_medgemma(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    adapter_folder: str | Path | None = None,
    answer_tokens_max: int = 500,
    threads: int | None = None,
    impression: bool = True,
    vision_folder: str | Path = "",
    vision_cache_mb: int = 0,
) -> "MedGemmaEngine":
    """Loads a MedGemma and makes it ready to read.

    Args:
        model_folder: the files of google/medgemma-4b-it as published, and perhaps model_card.json
            ({"name": ..., "is_demo": ..., "tasks": [...]}).
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA. Gemma 3 was
            trained in bfloat16 and may overflow in float16; a reading then ends in an error.
        adapter_folder: None; adapters are not supported.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.
        impression: whether a draft ends with the model's summary of it, if the weights know that task.
        vision_folder: where it is kept what the model saw of images, at most `vision_cache_mb`; 0 keeps nothing.

    Raises:
        ValueError: if a setting is not understood or the files do not make a MedGemma; the message says why.
    """
    folder = Path(model_folder)
    if adapter_folder is not None:
        raise ValueError(
            f"adapter_folder is {adapter_folder}, but the engine for MedGemma takes no adapter; "
            "merge it into the weights (peft: merge_and_unload) and give the folder with the result"
        )
    place = place_of(device, dtype, answer_tokens_max, threads)
    loaded = load_model(folder, device=place.device, dtype=place.dtype)
    name, is_demo = model_card(folder, "MedGemma")
    identity = EngineIdentity("medgemma", version("preread"), name, loaded.digest, is_demo)
    computed_by = f"{loaded.digest} {place.dtype} {place.device}"
    vision_rows = VisionRows(Path(vision_folder), computed_by, vision_cache_mb * 1_000_000)
    respondent = Respondent(loaded.model, answer_tokens_max, vision_rows)
    return MedGemmaEngine(identity, respondent, trained_tasks(folder, TASKS), impression)


class MedGemmaEngine:
    """A MedGemma that is loaded and ready; one case at a time."""

    def __init__(
        self, identity: EngineIdentity, respondent: Respondent, tasks: frozenset[Task], impression: bool
    ) -> None:
        self.identity = identity
        self.tasks = tasks
        self._asks_impression = impression and Task.SUMMARY in tasks
        self._respondent: Respondent | None = respondent

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns and sums it up.

        No finding gets a place, since no format for boxes is published.

        Raises:
            ValueError: if the case has no image, or its questions do not fit into the model's context.
            RuntimeError: if the engine is closed.
        """
        respondent = self._open_respondent()
        with torch.inference_mode():
            return read_case(respondent, self.identity, case, asks_impression=self._asks_impression)

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about a case.

        Raises:
            CannotAsk: if the task is none of its own, or the question does not fit the case or the model.
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
