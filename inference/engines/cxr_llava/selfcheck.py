"""What can be said of a CXR-LLaVA's folder without reading a case with it."""

from pathlib import Path

from inference.engines.cxr_llava.config import config_from
from inference.engines.cxr_llava.loading import load_model
from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.opening import Place
from inference.engines.selfcheck import (
    OPENED,
    cache_values,
    dimensions,
    memory,
    stored_dtype,
    told,
)
from inference.engines.stored import StoredTensor, existing, json_object, stored_tensors, weight_files
from inference.verdict import SelfCheck


def checks(
    folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
) -> tuple[SelfCheck, ...]:
    """Looks at dimensions, tensors, vocabulary and memory; one does not wait for another.

    The weights stay on disk: they are opened in the numbers in which they are stored.
    """
    lines = [
        told("dimensions", lambda: _dimensions(folder)),
        told("tensors", lambda: _digest(folder)),
    ]
    if adapter_folder is not None:
        lines.append(
            SelfCheck(False, f"adapter: CXR-LLaVA takes none; leave adapter_folder out ({adapter_folder})")
        )
    if has_vocabulary:
        lines.append(told("tokenizer", lambda: _vocabulary(folder)))
    lines.append(
        told("memory", lambda: memory(_tensors(folder).values(), cache_values(_config(folder)), place))
    )
    return tuple(lines)


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return stored_tensors(weight_files(folder), lambda names: {name: name for name in names})


def _config(folder: Path) -> CXRLLaVAConfig:
    shapes = {name: tensor.shape for name, tensor in _tensors(folder).items()}
    return config_from(json_object(existing(folder / "config.json")), shapes)


def _dimensions(folder: Path) -> str:
    config = _config(folder)
    return dimensions(config, config.patch_count, is_published=config == CXRLLaVAConfig())


def _digest(folder: Path) -> str:
    loaded = load_model(folder, dtype=stored_dtype(weight_files(folder)[0]))
    return f"{OPENED}; {loaded.digest}"


def _vocabulary(folder: Path) -> str:
    open_vocabulary(folder, _config(folder))
    return "gives the ids that the model was trained with, as far as can be told"
