"""The one seam between the agent and a model: a Case goes in, a Reading or an Answer comes out."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from inference.case import Case
from inference.question import Answer, Question, Task
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

    An engine may have an attribute `is_on_card`. If that is true, two threads use it, so that the processor prepares
    one case while the model reads another; it lets one wait for the other.
    """

    identity: EngineIdentity
    """Who reads a case that names no adapter."""

    @property
    def tasks(self) -> Set[Task]:
        """What its weights were trained for beside the draft; `ask` refuses other questions."""
        ...

    def read(self, case: Case) -> Reading:
        """Reads one case. Deterministic: the same case and weights give the same Reading but for `seconds`.

        `Reading.engine` says who read it: with the adapter that the case names, its digest is another.

        Raises:
            OutOfMemory: if there is not enough memory for this case now.
            ValueError: if the case names an adapter that is not attached.
        """
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


@dataclass(frozen=True, slots=True)
class PriorUse:
    """What an engine can look at of earlier exams; known without loading it.

    Attributes:
        count_max: exams.
        images_max: images of one earlier exam.
        images_with_current_max: images of the current and the earlier exam together.
        report_letters_min: letters that an earlier exam's report must have for the exam to be looked at; 0 =
            it is looked at without a report, too.
        takes_impression: whether a report of which only the impression is known counts as one.
    """

    count_max: int = 10
    images_max: int = 10
    images_with_current_max: int = 100
    report_letters_min: int = 0
    takes_impression: bool = True


PRIOR_USE: Mapping[str, PriorUse] = {
    "cxr_llava": PriorUse(count_max=0),
    "m4cxr": PriorUse(count_max=1, images_with_current_max=10, report_letters_min=4, takes_impression=False),
    "medgemma": PriorUse(count_max=1, images_max=2),
}
"""By name in `reading.toml`; a site's own engine is handed what the settings say (`PriorUse()`). A test compares each
with what the engine's questions show."""


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
        ValueError: if the name is neither, or cannot be imported, and the message lists what there is; or if files of
            the model are not in the form that they should have.
    """
    target = ENGINES.get(name, name)
    module_name, _, function_name = target.partition(":")
    if not function_name:
        raise ValueError(
            f'engine "{name}" is not known; expected one of {", ".join(ENGINES)} or "package.module:function"'
        )
    try:
        open_it = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'engine "{name}" cannot be imported: {error}') from error
    folder = settings.get("model_folder") or "the package"
    with in_one_sentence(f"{folder} does not hold what engine {name} expects"):
        engine: Engine = open_it(**settings)
    return engine


@contextmanager
def in_one_sentence(problem: str) -> Iterator[None]:
    """Turns what other libraries raise of a file in another form, in any class and over many lines, into one sentence.

    Raises:
        ValueError: `problem`, and in brackets what was raised. OSError, ValueError and RuntimeError stay as they are.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError):
        raise
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{problem} ({said}); fetch it again") from error
