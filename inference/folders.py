"""A model's folder as it can be looked at without loading anything: whose it is, and whether it is whole."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from inference.engine import ENGINES
from inference.engines.stored import json_object, weight_files

SOURCE_FILE = "model_source.json"
"""Written by `preread models pull` when all is there: from where, which commit, and every file's sha256."""

_MODEL_TYPES = {"CXR-LLAVA": "cxr_llava", "gemma3": "medgemma"}
_ARCHITECTURES = {"MllmForConditionalGeneration": "m4cxr", "CXRLLAVAModel": "cxr_llava"}
_ANCHORS = (
    ("net.0.b1.conv1.conv.weight", "m4cxr"),
    ("vision_tower.transformer.resblocks.0.attn.in_proj_weight", "cxr_llava"),
    ("multi_modal_projector.mm_soft_emb_norm.weight", "medgemma"),
)
"""Unmistakable ends of tensor names, for a config.json that does not say."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder holds.

    Attributes:
        engine: the engine that its files are for, a key of ENGINES; None if they are for none that preread has.
        weight_bytes: of the weight files that are there.
        has_vocabulary: whether a tokenizer is beside the weights; without one no case can be read.
        problems: sentences on what else is missing or cut off; empty: whole, as far as can be seen from outside.
        source: what `preread models pull` noted; None if it did not fetch this folder.
    """

    path: Path
    engine: str | None
    weight_bytes: int
    has_vocabulary: bool
    problems: tuple[str, ...]
    source: Mapping[str, Any] | None

    @property
    def is_complete(self) -> bool:
        return self.has_vocabulary and not self.problems

    def problem_for(self, engine_name: str) -> str | None:
        """Says that these are weights for another engine than reading.toml names; None if not, or if nobody knows.

        Args:
            engine_name: a site's own engine may take any weights.
        """
        if self.engine in (engine_name, None) or engine_name not in ENGINES:
            return None
        return f"{self.path} holds weights for the engine {self.engine}; set engine.name in reading.toml"


def look_into(path: Path, *, allow_pickled: bool = False) -> ModelFolder:
    """Looks at a folder's names, sizes and headers; never raises for what it finds there.

    Args:
        allow_pickled: whether .bin files count as weights; only their names and sizes are looked at.
    """
    if not path.is_dir():
        problem = f"{path} is not there; fetch the weights with: preread models pull"
        return ModelFolder(path, None, 0, False, (problem,), None)
    problems: list[str] = []
    config = _json(path / "config.json", problems, needed=True)
    source = _json(path / SOURCE_FILE, problems, needed=False)
    try:
        files = weight_files(path, allow_pickled=allow_pickled)
    except ValueError as error:
        problems.append(str(error))
        files = sorted(path.glob("*.safetensors"))
    names = list(_tensor_names(files, problems))
    has_vocabulary = any((path / name).is_file() for name in ("tokenizer.model", "tokenizer.json"))
    weight_bytes = sum(file.stat().st_size for file in files)
    engine = _engine(config or {}, names)
    return ModelFolder(path, engine, weight_bytes, has_vocabulary, tuple(problems), source)


def _json(path: Path, problems: list[str], *, needed: bool) -> Mapping[str, Any] | None:
    if not path.is_file():
        if needed:
            problems.append(f"{path} is not there; fetch it again")
        return None
    try:
        return json_object(path)
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return None


def _tensor_names(files: Iterable[Path], problems: list[str]) -> Iterator[str]:
    """Reads the headers; a file that ends before its last tensor does not open. A pickle has none."""
    for file in files:
        if file.suffix == ".bin":
            continue
        try:
            with safe_open(str(file), framework="numpy") as opened:
                yield from opened.keys()
        except (SafetensorError, OSError) as error:
            problems.append(f"{file} is damaged or cut off ({error}); delete it and fetch it again")


def _engine(config: Mapping[str, Any], tensor_names: Iterable[str]) -> str | None:
    """Tells whose weights they are, by what config.json says, else by the tensors themselves."""
    said = _MODEL_TYPES.get(str(config.get("model_type")))
    if said is not None:
        return said
    architectures = config.get("architectures")
    for architecture in architectures if isinstance(architectures, list) else ():
        if isinstance(architecture, str) and architecture in _ARCHITECTURES:
            return _ARCHITECTURES[architecture]
    names = tuple(tensor_names)
    return next((engine for end, engine in _ANCHORS if any(name.endswith(end) for name in names)), None)


def write_source(path: Path, source: Mapping[str, Any]) -> None:
    """Notes where a folder's files came from; the file is whole or not there."""
    part = path / f"{SOURCE_FILE}.part"
    part.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    part.rename(path / SOURCE_FILE)
