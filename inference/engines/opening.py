"""What every engine checks before it loads weights, and how weights say who they are."""

from dataclasses import dataclass
from pathlib import Path

import torch

from inference.engines.stored import json_object

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model computes, and in which numbers."""

    device: str
    dtype: torch.dtype


def place_of(device: str, dtype: str, answer_tokens_max: int, threads: int | None) -> Place:
    """Judges the settings that all engines have in common, and sets the threads.

    Args:
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.

    Raises:
        ValueError: if one is not understood or not to be had; the message says which.
    """
    chosen = _device(device)
    if dtype not in ("auto", *_DTYPES):
        raise ValueError(f'dtype "{dtype}" is not known; expected auto, {", ".join(_DTYPES)}')
    if dtype == "auto":
        dtype = "float32" if chosen == "cpu" else "bfloat16"
    if answer_tokens_max < 1:
        raise ValueError(f"answer_tokens_max is {answer_tokens_max}, expected 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    return Place(chosen, _DTYPES[dtype])


def model_card(folder: Path, default_name: str) -> tuple[str, bool]:
    """Reads model_card.json, if there is one: what the weights call themselves, and whether they are a demo."""
    path = folder / "model_card.json"
    if not path.is_file():
        return default_name, False
    card = json_object(path)
    return str(card["name"]), bool(card.get("is_demo", False))


def free_memory() -> None:
    """Gives memory that is no longer used back to the card, if there is one."""
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
