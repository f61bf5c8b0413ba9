"""The one seam between the agent and a model: a Case goes in, a Reading comes out."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from inference.case import Case
from inference.reading import EngineIdentity, Reading


class OutOfMemory(Exception):
    """There is not enough memory for this case now; there may be when others have given theirs back.

    Attributes:
        reason: a sentence for the person on duty: where, how much, what to do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Engine(Protocol):
    """A model that is loaded and ready.

    The seam is Case to Reading, not prompt to text: model families differ in their questions, image tokens
    and box grammar, and those differences stay inside.
    """

    identity: EngineIdentity
    """Who reads a case that names no adapter."""

    def read(self, case: Case) -> Reading:
        """Reads one case. Deterministic: the same case and weights give the same Reading but for `seconds`.

        `Reading.engine` says who read it: with the adapter that the case names, its digest is another.

        Raises:
            OutOfMemory: if there is not enough memory for this case now.
            ValueError: if the case names an adapter that is not attached.
        """
        ...

    def close(self) -> None:
        """Gives the memory back. Further calls of `read` are errors."""
        ...


ENGINES: Mapping[str, str] = {
    "cxr_llava": "inference.engines.cxr_llava:open_cxr_llava",
    "m4cxr": "inference.engines.m4cxr:open_m4cxr",
    "medgemma": "inference.engines.medgemma:open_medgemma",
}
"""Name in `reading.toml` to the function that opens it; imported only when chosen."""


def open_engine(name: str, **settings: Any) -> Engine:
    """Opens the engine called `name`: a key of ENGINES or a dotted path "package.module:function" of the site.

    Args:
        settings: what every engine takes, by name.
            model_folder: folder of the weights; "" for an engine's own demo weights.
            device: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
            dtype: "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU and bfloat16 on CUDA.
            weights: "full", or "int8" or "int4" for the language model's projections (`engines.quantised`).
            adapter_folder: an adapter as peft writes it, merged into the weights, or None.
            adapters: folders of adapters by name, kept beside the weights; each case may name one.
            answer_tokens_max: longest answer to one question, in tokens.
            threads: of torch on the CPU, for the whole process; None leaves them as they are.
            weights_digest: "sha256:<hex>" that the weights must have, merged adapter included; None takes any.
            allow_pickled_weights: read .bin files where there are no safetensors; a pickle can run code.
            digests_kept_in: a folder for digests of weight files, so that each is hashed once; None keeps none.

    Raises:
        ValueError: if the name is neither; the message lists what there is.
    """
    target = ENGINES.get(name, name)
    module_name, _, function_name = target.partition(":")
    if not function_name:
        raise ValueError(
            f'engine "{name}" is not known; expected one of {", ".join(ENGINES)} or "package.module:function"'
        )
    engine: Engine = getattr(import_module(module_name), function_name)(**settings)
    return engine
