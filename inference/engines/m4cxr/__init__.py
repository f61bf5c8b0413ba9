"""The engine for M4CXR: opens the weights, checks them, and reads cases with them."""

import json
from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.reading import EngineIdentity, Reading

DEMO_WEIGHTS = Path(__file__).parents[2] / "phantom" / "weights"
"""A small model of this very architecture, trained on synthetic images only."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    chosen_device = _device(device)
    if dtype not in ("auto", *_DTYPES):
        raise ValueError(f'dtype "{dtype}" is not known; expected auto, {", ".join(_DTYPES)}')
    if dtype == "auto":
        dtype = "float32" if chosen_device == "cpu" else "bfloat16"
    if answer_tokens_max < 1:
        raise ValueError(f"answer_tokens_max is {answer_tokens_max}, expected 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(
        folder,
        device=chosen_device,
        dtype=_DTYPES[dtype],
        adapter_folder=None if adapter_folder is None else Path(adapter_folder),
    )
    name, is_demo = _model_card(folder)
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
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ValueError(f'device "{device}" is not known; expected auto, cpu, cuda or cuda:1')
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(
            f'device "{device}" is not there: torch sees {torch.cuda.device_count()} CUDA devices'
        )
    return device


def _model_card(folder: Path) -> tuple[str, bool]:
    """Reads what the weights call themselves and whether they are for demonstration only."""
    path = folder / "model_card.json"
    if not path.is_file():
        return "M4CXR", False
    card = json.loads(path.read_text(encoding="utf-8"))
    return str(card["name"]), bool(card.get("is_demo", False))
