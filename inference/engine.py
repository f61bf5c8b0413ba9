"""The one seam between the agent and a model: a Case goes in, a Reading comes out."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from inference.case import Case
from inference.reading import EngineIdentity, Reading


class Engine(Protocol):
    """A model that is loaded and ready.

    The seam is Case to Reading, not prompt to text: model families differ in their questions, image tokens
    and box grammar, and those differences stay inside.
    """

    identity: EngineIdentity

    def read(self, case: Case) -> Reading:
        """Reads one case. Deterministic: the same case and weights give the same Reading but for `seconds`."""
        ...

    def close(self) -> None:
        """Gives the memory back. Further calls of `read` are errors."""
        ...


@runtime_checkable
class BatchEngine(Engine, Protocol):
    """An engine that reads several cases faster at once than one after the other.

    Attributes:
        is_exact_at_once: whether a case gets the same words beside others as alone. In bfloat16 rounding decides
            between two tokens often enough that it may not.
    """

    is_exact_at_once: bool

    def read_many(self, cases: Sequence[Case]) -> list[Reading]:
        """Reads several cases.

        Whatever `read` raises for one of them is raised for all.
        """
        ...


ENGINES: Mapping[str, str] = {
    "cxr_llava": "inference.engines.cxr_llava:open_cxr_llava",
    "m4cxr": "inference.engines.m4cxr:open_m4cxr",
    "medgemma": "inference.engines.medgemma:open_medgemma",
}
"""Name in `reading.toml` to the function that opens it; imported only when chosen."""


def open_engine(name: str, **settings: Any) -> Engine:
    """Opens the engine called `name`: a key of ENGINES or a dotted path "package.module:function" of the site.

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
