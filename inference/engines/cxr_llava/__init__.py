"""The engine for CXR-LLaVA: opens the weights, checks them, and reads cases with them."""

from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.capability import trained_tasks
from inference.engines.cxr_llava.draft import Respondent, read_case
from inference.engines.cxr_llava.loading import load_model
from inference.engines.cxr_llava.tasks import TASKS, answer
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.opening import free_memory, model_card, place_of
from inference.engines.vision_rows import VisionRows
from inference.question import Answer, Question, Task, check_question
from inference.reading import EngineIdentity, Reading


def open_cxr_llava(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    adapter_folder: str | Path | None = None,
    answer_tokens_max: int = 512,
    threads: int | None = None,
    impression: bool = True,
    vision_folder: str | Path = "",
    vision_cache_mb: int = 0,
) -> "CXRLLaVAEngine":
    """Loads a CXR-LLaVA and makes it ready to read.

    Args:
        model_folder: config.json, safetensors weights, tokenizer.model or tokenizer.json with
            tokenizer_config.json, and perhaps model_card.json ({"name": ..., "is_demo": ..., "tasks": [...]}).
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
        adapter_folder: None; this engine takes no adapters.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.
        impression: either; these weights were not trained to sum up a report and are not asked to.
        vision_folder: where it is kept what the model saw of images, at most `vision_cache_mb`; 0 keeps nothing.

    Raises:
        ValueError: if a setting is not understood or the files do not make a CXR-LLaVA; the message says why.
    """
    if not str(model_folder):
        raise ValueError(
            "no model_folder is given; CXR-LLaVA has no demo weights, name the folder of its own"
        )
    if adapter_folder is not None:
        raise ValueError(f"CXR-LLaVA takes no adapters; leave adapter_folder out (it is {adapter_folder})")
    place = place_of(device, dtype, answer_tokens_max, threads)
    folder = Path(model_folder)
    loaded = load_model(folder, device=place.device, dtype=place.dtype)
    name, is_demo = model_card(folder, "CXR-LLaVA")
    identity = EngineIdentity("cxr_llava", version("preread"), name, loaded.digest, is_demo)
    vocabulary = open_vocabulary(folder, loaded.model.config)
    computed_by = f"{loaded.digest} {place.dtype} {place.device}"
    vision_rows = VisionRows(Path(vision_folder), computed_by, vision_cache_mb * 1_000_000)
    respondent = Respondent(loaded.model, vocabulary, answer_tokens_max, vision_rows)
    return CXRLLaVAEngine(identity, respondent, trained_tasks(folder, TASKS))


class CXRLLaVAEngine:
    """A CXR-LLaVA that is loaded and ready; one case at a time."""

    def __init__(self, identity: EngineIdentity, respondent: Respondent, tasks: frozenset[Task]) -> None:
        self.identity = identity
        self.tasks = tasks
        self._respondent: Respondent | None = respondent

    def read(self, case: Case) -> Reading:
        """Drafts a report on one frontal image, then asks for differential diagnoses.

        Raises:
            ValueError: if the case has no image.
            RuntimeError: if the engine is closed.
        """
        with torch.inference_mode():
            return read_case(self._open_respondent(), self.identity, case)

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about one image, in a conversation of its own.

        Raises:
            CannotAsk: if the weights were not trained for it, or the question does not fit the case or the model.
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
