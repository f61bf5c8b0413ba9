"""What every engine checks before it loads weights, and how weights say who they are."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Generic, TypeVar, cast, get_args

import torch

from inference.engine import OutOfMemory
from inference.engines.adapters import AttachedAdapters
from inference.engines.quantised import Weights
from inference.engines.sources import Sources
from inference.engines.stored import json_object
from inference.reading import EngineIdentity

T = TypeVar("T")
R = TypeVar("R")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model computes, and in which numbers.

    Attributes:
        dtype: of what is computed, and of the weights that are kept in full.
        weights: how the language model's projections are kept.
    """

    device: str
    dtype: torch.dtype
    weights: Weights = "full"


IN_FLOAT32_ON_CPU = Place("cpu", torch.float32)
"""Where golden vectors are held against."""


def place_of(
    device: str, dtype: str, answer_tokens_max: int, threads: int | None, weights: str = "full"
) -> Place:
    """Judges the settings that all engines have in common, and sets the threads and how a card rounds.

    Args:
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
        answer_tokens_max: longest answer to one question, in tokens.
        threads: of torch on the CPU, for the whole process; None leaves them as they are.
        weights: "full", "int8" or "int4".

    Raises:
        ValueError: if one is not understood or not to be had; the message says which.
    """
    chosen = _device(device)
    if dtype not in ("auto", *_DTYPES):
        raise ValueError(f'dtype "{dtype}" is not known; expected auto, {", ".join(_DTYPES)}')
    if dtype == "auto":
        dtype = "float32" if chosen == "cpu" else "bfloat16"
    if weights not in get_args(Weights):
        raise ValueError(f'weights "{weights}" is not known; expected {", ".join(get_args(Weights))}')
    if chosen != "cpu":
        check_dtype(
            _DTYPES[dtype], torch.cuda.get_device_name(chosen), torch.cuda.get_device_capability(chosen)
        )
    if answer_tokens_max < 1:
        raise ValueError(f"answer_tokens_max is {answer_tokens_max}, expected 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    # By itself cuDNN convolves float32 in 10 bits (TF32).
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    # By itself cuBLAS may add the parts of a long sum in the numbers of the product, and not in float32.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    return Place(chosen, _DTYPES[dtype], cast(Weights, weights))


def check_dtype(dtype: torch.dtype, card: str, capability: tuple[int, int]) -> None:
    """Raises ValueError if a card of this compute capability has no bfloat16: NVIDIA's have it since 8.0."""
    if dtype is torch.bfloat16 and capability < (8, 0):
        numbers = ".".join(map(str, capability))
        raise ValueError(
            f'{card} has no bfloat16 (compute capability {numbers}, 8.0 is needed); set dtype = "float32"'
        )


def model_card(folder: Path, default_name: str) -> tuple[str, bool]:
    """Reads model_card.json, if there is one: what the weights call themselves, and whether they are a demo.

    Raises:
        ValueError: if it names none, or says of a demo neither true nor false.
    """
    path = folder / "model_card.json"
    if not path.is_file():
        return default_name, False
    card = json_object(path)
    name, is_demo = card.get("name"), card.get("is_demo", False)
    if not isinstance(name, str) or not name.strip() or not isinstance(is_demo, bool):
        raise ValueError(
            f'{path}: "name" is {name!r} and "is_demo" {is_demo!r}, expected a text, and true or false'
        )
    return name, is_demo


def identities_of(
    engine_name: str,
    default_name: str,
    sources: Sources,
    place: Place,
    *,
    digests_kept_in: Path | None,
    pinned_digest: str | None,
) -> dict[str | None, EngineIdentity]:
    """Says who reads: the weights (None), and the weights with each attached adapter, by its name.

    Args:
        digests_kept_in: a folder of the caller's for digests of files that have not changed; None works them out anew.
        pinned_digest: what the weights, with what is merged into them, must be; None takes any.

    Raises:
        ValueError: if the weights are others than the pinned ones.
    """
    sources.warn_of_pickles()
    digests = sources.digests(digests_kept_in)
    if pinned_digest is not None and digests[None] != pinned_digest:
        raise ValueError(
            f"the weights in {sources.folder} are {digests[None]}, but weights_digest asks for {pinned_digest}: "
            "put the accepted files back, or accept these by their digest"
        )
    name, is_demo = model_card(sources.folder, default_name)
    if place.weights != "full":
        name = f"{name} ({place.weights} weights)"
    return {
        label: EngineIdentity(engine_name, version("preread"), name, digest, is_demo)
        for label, digest in digests.items()
    }


_NO_MEMORY = re.compile("can't allocate memory|out of memory|ALLOC_FAILED")
"""How torch says it without a class of its own: of a CPU, of CUDA between kernels, and from within cuBLAS and cuDNN."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened(Generic[T]):
    """A model that is ready to be asked, and who it is with each adapter."""

    respondent: T
    adapters: AttachedAdapters
    identities: Mapping[str | None, EngineIdentity]
    place: Place

    def use(self, adapter: str | None, work: Callable[[T, EngineIdentity], R]) -> R:
        """Does some work with the model, as it is with one adapter or (None) with none.

        Raises:
            ValueError: if no such adapter is attached.
            OutOfMemory: if the card or the machine has not enough for it; what the work held is given back.
        """
        try:
            with self.adapters.chosen(adapter), torch.inference_mode():
                return work(self.respondent, self.identities[adapter])
        except (torch.OutOfMemoryError, MemoryError) as error:
            said = str(error)
        except RuntimeError as error:
            if _NO_MEMORY.search(str(error)) is None:
                raise
            said = str(error)
        # Only here has the error let go of the frames that held the work's tensors.
        free_memory()
        raise OutOfMemory(out_of_memory_reason(self.place.device, said))


def out_of_memory_reason(device: str, said: str) -> str:
    """Says what could not be had, from torch's own words: "GPU cuda:0 is out of memory (2.00 GiB asked for)"."""
    asked = re.search(r"allocate (\d+(?:\.\d+)? [KMG]i?B|\d+ bytes)", said)
    how_much = f" ({asked[1]} asked for)" if asked else ""
    where = "the machine" if device == "cpu" else f"GPU {device}"
    return (
        f"{where} is out of memory{how_much}; end what else uses it, lower answer_tokens_max or images_max, "
        'or set weights = "int8"'
    )


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
