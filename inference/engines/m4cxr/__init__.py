"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import free_memory, model_card, place_of
from inference.published import DEMO_FOLDER
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
) -> "M4CXREngine":
    """Loads an M4CXR and makes it ready to read.

    Args:
        model_folder: config.json, safetensors weights, tokenizer.model or tokenizer.json, and perhaps
            model_card.json ({"name": ..., "is_demo": ...}). "" for the demo weights of this package.
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
        adapter_folder: an adapter as peft writes it, merged into the weights, or None.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.

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
    return M4CXREngine(identity, Respondent(loaded.model, vocabulary, answer_tokens_max))


class M4CXREngine:
    """An M4CXR that is loaded and ready; one case at a time."""

    def __init__(self, identity: EngineIdentity, respondent: Respondent) -> None:
        self.identity = identity
        self._respondent: Respondent | None = respondent

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns, then asks for each finding's place on each frontal image.

        Raises:
            ValueError: if the case has no image.
            RuntimeError: if the engine is closed.
        """
        if self._respondent is None:
            raise RuntimeError("the engine is closed")
        with torch.inference_mode():
            return read_case(self._respondent, self.identity, case)

    def close(self) -> None:
        """Gives the memory back."""
        self._respondent = None
        free_memory()
