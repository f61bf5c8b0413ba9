"""The one seam between the agent and a model: a Case goes in, a Reading or an Answer comes out."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from inference.case import Case
from inference.question import Answer, Question, Task
from inference.reading import EngineIdentity, Reading


class Engine(Protocol):
    """A model that is loaded and ready.

    The seam is Case to Reading, not prompt to text: model families differ in their questions, image tokens
    and box grammar, and those differences stay inside.
    """

    identity: EngineIdentity

    @property
    def tasks(self) -> Set[Task]:
        """What its weights were trained for beside the draft; `ask` refuses other questions."""
        ...

    def read(self, case: Case) -> Reading:
        """Reads one case. Deterministic: the same case and weights give the same Reading but for `seconds`."""
        ...

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about a case, deterministic as `read`.

        Raises:
            CannotAsk: if the weights were not trained for it, or the case has no images for it.
        """
        ...

    def close(self) -> None:
        """Gives the memory back. Further calls of `read` and `ask` are errors."""
        ...


ENGINES: Mapping[str, str] = {
    "cxr_llava": "inference.engines.cxr_llava:open_cxr_llava",
    "m4cxr": "inference.engines.m4cxr:open_m4cxr",
    "medgemma": "inference.engines.medgemma:open_medgemma",
}
"""Name in `reading.toml` to the function that opens it; imported only when chosen."""


@dataclass(frozen=True, slots=True)
class PriorUse:
    """What an engine can look at of earlier exams; known without loading it.

    Attributes:
        count_max: exams.
        images_max: images of one earlier exam.
        images_with_current_max: images of the current and the earlier exam together.
        report_letters_min: letters that an earlier exam's report must have for the exam to be looked at; 0 =
            it is looked at without a report, too.
    """

    count_max: int = 10
    images_max: int = 10
    images_with_current_max: int = 100
    report_letters_min: int = 0


PRIOR_USE: Mapping[str, PriorUse] = {
    "cxr_llava": PriorUse(count_max=0),
    "m4cxr": PriorUse(count_max=1, images_with_current_max=10, report_letters_min=4),
    "medgemma": PriorUse(count_max=1, images_max=2),
}
"""By name in `reading.toml`; a site's own engine is handed what the settings say (`PriorUse()`). A test compares each
with what the engine's questions show."""


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
