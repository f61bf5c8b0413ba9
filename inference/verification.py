"""Is this folder a model that we can run, and does our engine compute what the reference computed with it?"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from inference.engine import in_one_sentence
from inference.engines.digests import digest_of
from inference.engines.stored import json_object
from inference.folders import SOURCE_FILE, ModelFolder, look_into
from inference.published import PUBLISHED
from inference.verdict import Comparison, SelfCheck

HAS_REFERENCES = ("m4cxr", "cxr_llava")
"""Engines with a network of our own, which there is something to hold against."""

ANSWER_TOKENS_MAX = 500
"""What `answer_tokens_max` is where nobody sets it; the memory for answers goes with it."""

_NO_VOCABULARY = "no tokenizer.model or tokenizer.json is here, so no case can be read with this folder"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one folder.

    Attributes:
        engine: whose weights they are; None if of none that preread has.
        checks: what can be said without a reading, one line each.
        comparisons: our results against the reference's, in the order of the computation.
        not_compared: tensors of the references that no part of the engine makes.
    """

    engine: str | None
    checks: tuple[SelfCheck, ...]
    comparisons: tuple[Comparison, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(line.ok for line in self.checks) and all(one.passed for one in self.comparisons)

    def as_json(self) -> dict[str, Any]:
        """Gives it for programs; `passed` stands beside everything it is said of."""
        return asdict(self) | {
            "passed": self.passed,
            "comparisons": [asdict(one) | {"passed": one.passed} for one in self.comparisons],
        }


def check(
    folder: Path,
    adapter_folder: Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "full",
    answer_tokens_max: int = ANSWER_TOKENS_MAX,
    allow_pickled_weights: bool = False,
    engine_name: str | None = None,
) -> Verification:
    """Checks a folder as the engine would before it opens it, and tells every problem; imports torch.

    Args:
        adapter_folder: a LoRA adapter that is to be laid over the weights, or None.
        device, dtype, weights: where and in which numbers they are to run and to be kept, as in reading.toml.
        answer_tokens_max, allow_pickled_weights: as there.
        engine_name: of the engine that is to open it; None: whichever it is for.
    """
    look = look_into(folder, allow_pickled=allow_pickled_weights)
    lines = [*_outside(look)]
    if engine_name is not None and (problem := look.problem_for(engine_name)) is not None:
        lines.append(SelfCheck(False, problem))
    if not look.has_vocabulary and folder.is_dir():
        lines.append(SelfCheck(False, f"{_NO_VOCABULARY}; fetch it again"))
    inside = _inside(
        look, adapter_folder, device, dtype, weights, answer_tokens_max, allow_pickled=allow_pickled_weights
    )
    return Verification(look.engine, (*lines, *inside))


def verify(folder: Path, *, device: str = "cpu", dtype: str = "auto") -> Verification:
    """Checks a folder and runs the engine's parts on the reference tensors in it.

    Args:
        device, dtype: where and in which numbers, as in reading.toml. In others than float32 the bounds are those of
            rounding; see `inference.engines.comparing`.

    The references are golden.safetensors, preprocess_golden.safetensors, adapter/golden_adapter.safetensors and
    `*prompts.json`; those that are not there are not asked for. A folder of references needs no tokenizer.
    """
    from inference.engines.opening import place_of

    look = look_into(folder)
    adapter_folder = folder / "adapter"
    has_adapter = (adapter_folder / "adapter_model.safetensors").is_file()
    try:
        place = place_of(device, dtype, 1, None)
    except ValueError as error:
        return Verification(look.engine, (SelfCheck(False, f"{error}; choose another --device or --dtype"),))
    has_references = (folder / "golden.safetensors").is_file()
    # Without references nothing is computed, and the checks are those of a reading.
    where = (device, dtype) if has_references else ("auto", "auto")
    lines = [*_outside(look), *_inside(look, adapter_folder if has_adapter else None, *where)]
    if folder.is_dir() and not look.has_vocabulary:
        lines.append(SelfCheck(True, _NO_VOCABULARY))
    if look.engine not in HAS_REFERENCES:
        return Verification(look.engine, tuple(lines))
    compare = import_module(f"inference.engines.{look.engine}.verify").comparisons
    try:
        with in_one_sentence("they are not in the form that is expected"):
            comparisons, not_compared = compare(folder, place)
    except (ValueError, OSError, RuntimeError) as error:
        return Verification(look.engine, (*lines, SelfCheck(False, f"references: {error}")))
    if not comparisons:
        text = "references: this folder holds none, so only the checks above say something of it"
        lines.append(SelfCheck(True, text))
    return Verification(look.engine, tuple(lines), comparisons, not_compared)


def _outside(look: ModelFolder) -> Iterator[SelfCheck]:
    """What can be seen without knowing the architecture."""
    for problem in look.problems:
        yield SelfCheck(False, problem)
    if look.source is not None:
        try:
            with in_one_sentence("it is not in the form that is expected"):
                line = _source(look, look.source)
        except (ValueError, OSError) as error:
            line = SelfCheck(False, f"{SOURCE_FILE}: {error}")
        yield line
    if look.path.is_dir() and look.engine is None:
        yield SelfCheck(False, f"architecture: {_what_it_says(look.path)}; {_what_we_run()}")


def _inside(
    look: ModelFolder,
    adapter_folder: Path | None,
    device: str,
    dtype: str,
    weights: str = "full",
    answer_tokens_max: int = ANSWER_TOKENS_MAX,
    *,
    allow_pickled: bool = False,
) -> tuple[SelfCheck, ...]:
    """What only the engine can say, each sentence once; nothing of files that cannot be read."""
    if look.engine is None or look.problems:
        return ()
    from inference.engines.opening import place_of
    from inference.engines.selfcheck import Wanted

    checks: Callable[..., tuple[SelfCheck, ...]]
    checks = import_module(f"inference.engines.{look.engine}.selfcheck").checks
    try:
        place = place_of(device, dtype, answer_tokens_max, None, weights)
    except ValueError as error:
        return (SelfCheck(False, f"{error}; correct the [engine] of reading.toml"),)
    wanted = Wanted(adapter_folder, place, answer_tokens_max, allow_pickled)
    lines = checks(look.path, wanted, has_vocabulary=look.has_vocabulary)
    sentences = [line.text.partition(": ")[2] for line in lines]
    return tuple(line for number, line in enumerate(lines) if sentences.index(sentences[number]) == number)


def _source(look: ModelFolder, source: Mapping[str, Any]) -> SelfCheck:
    """Holds the files against the sha256 sums that `preread models pull` noted."""
    files: Mapping[str, Mapping[str, Any]] = source["files"]
    changed = [
        name
        for name, noted in sorted(files.items())
        if not (look.path / name).is_file() or digest_of([look.path / name]) != f"sha256:{noted['sha256']}"
    ]
    said = f"{SOURCE_FILE}: {source.get('repository')} at {source.get('commit')}"
    if changed:
        names = ", ".join(changed)
        return SelfCheck(False, f"{said}: not as fetched: {names}; delete what is named here and pull again")
    return SelfCheck(True, f"{said}, {len(files)} files as fetched")


def _what_it_says(folder: Path) -> str:
    try:
        config = json_object(folder / "config.json")
    except (ValueError, OSError):
        return "config.json says nothing and no tensor is known"
    said = [f"{key} {config[key]!r}" for key in ("model_type", "architectures") if config.get(key)]
    return f"config.json says {' and '.join(said) or 'nothing'}, and no tensor is known"


def _what_we_run() -> str:
    return f"preread runs {', '.join(model.title for model in PUBLISHED if model.repository)}"
