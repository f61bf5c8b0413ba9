"""The engine for MedGemma: opens the weights with transformers' own classes, and reads cases with them."""

from importlib.metadata import version
from pathlib import Path

import torch

from inference.case import Case
from inference.engines.medgemma.draft import Respondent, read_case
from inference.engines.medgemma.loading import load_model
from inference.engines.stored import json_object
from inference.reading import EngineIdentity, Reading

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_medgemma(
    model_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    adapter_folder: str | Path | None = None,
    answer_tokens_max: int = 500,
    threads: int | None = None,
) -> "MedGemmaEngine":
    """Loads a MedGemma and makes it ready to read.

    Args:
        model_folder: the files of google/medgemma-4b-it as published, and perhaps model_card.json
            ({"name": ..., "is_demo": ...}).
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA. Gemma 3 was
            trained in bfloat16 and may overflow in float16; a reading then ends in an error.
        adapter_folder: None; adapters are not supported.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.

    Raises:
        ValueError: if a setting is not understood or the files do not make a MedGemma; the message says why.
    """
    folder = Path(model_folder)
    chosen_device = _device(device)
    if dtype not in ("auto", *_DTYPES):
        raise ValueError(f'dtype "{dtype}" is not known; expected auto, {", ".join(_DTYPES)}')
    if dtype == "auto":
        dtype = "float32" if chosen_device == "cpu" else "bfloat16"
    if adapter_folder is not None:
        raise ValueError(
            f"adapter_folder is {adapter_folder}, but the engine for MedGemma takes no adapter; "
            "merge it into the weights (peft: merge_and_unload) and give the folder with the result"
        )
    if answer_tokens_max < 1:
        raise ValueError(f"answer_tokens_max is {answer_tokens_max}, expected 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(folder, device=chosen_device, dtype=_DTYPES[dtype])
    name, is_demo = _model_card(folder)
    identity = EngineIdentity("medgemma", version("preread"), name, loaded.digest, is_demo)
    return MedGemmaEngine(identity, Respondent(loaded.model, answer_tokens_max))


class MedGemmaEngine:
    """A MedGemma that is loaded and ready; one case at a time."""

    def __init__(self, identity: EngineIdentity, respondent: Respondent) -> None:
        self.identity = identity
        self._respondent: Respondent | None = respondent

    def read(self, case: Case) -> Reading:
        """Drafts a report in two turns; no finding gets a place, since no format for boxes is published.

        Raises:
            ValueError: if the case has no image, or its questions do not fit into the model's context.
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
        return "MedGemma", False
    card = json_object(path)
    return str(card["name"]), bool(card.get("is_demo", False))
