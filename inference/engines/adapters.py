"""LoRA adapters as peft writes them, laid over a model by peft: merged into its weights, or kept beside them.

Only what peft computes from the adapter's own tensors is taken. Kinds that change the base weights when they begin
(PiSSA, LoftQ, CorDA), or that import what their settings name (Megatron), are refused by name.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.other import ModulesToSaveWrapper, get_pattern_key
from torch import nn

from inference.engines.stored import (
    StoredTensor,
    account,
    existing,
    json_object,
    some,
    stored_tensors,
    weight_files,
)

_TAKEN = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save")
"""What decides the sum W + scale · B · A."""

_OF_TRAINING = (
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("lora_dropout", "bias", "init_lora_weights", "megatron_core", "qalora_group_size"),
)
"""What is looked at elsewhere or plays no part: the tensors themselves say which layers they change."""

_HALF = re.compile(r"^(?P<layer>.+)\.(?P<half>lora_[AB])(\.(?P<label>[^.]+))?\.weight$")
_SAVED = re.compile(r"^(?P<module>.+)\.modules_to_save\.(?P<label>[^.]+)\.(?P<rest>.+)$")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,32}")

Spelling = Callable[[str], str]
"""Spells a tensor's name in our module tree as the published checkpoint does."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's settings and the headers of its tensors.

    Attributes:
        settings: adapter_config.json.
        tensors: by published names; halves of LoRA as "<layer>.lora_A" and "<layer>.lora_B".
        files: what its digest is made of, the settings included: another scale is another adapter.
    """

    folder: Path
    settings: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    files: tuple[Path, ...]


def open_adapter(
    folder: Path,
    published_names: Callable[[Iterable[str]], Mapping[str, str]],
    *,
    allow_pickled: bool = False,
) -> Adapter:
    """Opens a folder with adapter_config.json and adapter_model.safetensors.

    Raises:
        ValueError: if a file is missing or damaged, or the adapter is of another kind than plain LoRA.
    """
    files = weight_files(folder, "adapter_model", allow_pickled=allow_pickled)
    return adapter_of(folder, stored_tensors(files, published_names), files)


def adapter_of(folder: Path, tensors: Mapping[str, StoredTensor], files: Iterable[Path] = ()) -> Adapter:
    """Makes an adapter of tensors that were found, by published names, and the settings beside them."""
    settings_file = existing(folder / "adapter_config.json")
    settings = json_object(settings_file)
    wrong = {
        key: value
        for key, value in settings.items()
        if (key not in (*_TAKEN, *_OF_TRAINING) and value)
        or (key == "peft_type" and value != "LORA")
        or (key == "bias" and value != "none")
        or (key == "init_lora_weights" and value not in (True, False, None, "gaussian", "orthogonal"))
    }
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if wrong or type(rank) is not int or rank < 1 or not isinstance(alpha, int | float):
        raise ValueError(
            f"{settings_file}: r is {rank!r}, lora_alpha {alpha!r}, and set are {wrong}; "
            "only plain LoRA with both numbers is taken: merge it where it was trained (peft: merge_and_unload)"
        )
    renamed = {_without_label(name): tensor for name, tensor in tensors.items()}
    return Adapter(folder, settings, renamed, (settings_file, *files))


def is_half(published_name: str) -> bool:
    """Tells a LoRA tensor from a weight."""
    return _HALF.match(published_name) is not None


def inject(
    model: nn.Module, adapters: Mapping[str, Adapter], spelling: Spelling, model_name: str
) -> PeftModel:
    """Puts peft's layers, still without numbers, where adapters by their labels change the model.

    Raises:
        ValueError: if an adapter was made for another base: names, shapes or rank do not fit; the message names them.
    """
    layers = {
        spelling(f"{path}.weight").removesuffix(".weight"): path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    configs = {label: _config(adapter, layers, model_name) for label, adapter in adapters.items()}
    (first, config), *others = configs.items()
    injected = PeftModel(model, config, first, low_cpu_mem_usage=True)
    for label, other in others:
        injected.add_adapter(label, other, low_cpu_mem_usage=True)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {label: {} for label in adapters}
    for name, tensor in model.state_dict().items():
        whose, published = source_of(name, spelling)
        if whose is not None:
            shapes[whose][published] = tuple(tensor.shape)
    for label, adapter in adapters.items():
        account(
            f"an adapter of rank {adapter.settings['r']} for this {model_name}",
            adapter.folder,
            shapes[label],
            {name: tensor.shape for name, tensor in adapter.tensors.items()},
        )
    return injected


def source_of(name: str, spelling: Spelling) -> tuple[str | None, str]:
    """Tells where a tensor of a model with peft's layers comes from: an adapter's label (None: the base) and a name.

    The name is that of `Adapter.tensors`, or the published one.
    """
    if half := _HALF.match(name):
        layer = spelling(f"{half['layer']}.weight").removesuffix(".weight")
        return half["label"], f"{layer}.{half['half']}"
    if saved := _SAVED.match(name):
        return saved["label"], spelling(f"{saved['module']}.{saved['rest']}")
    return None, spelling(name.replace(".base_layer.", ".").replace(".original_module.", "."))


def changed_layers(model: nn.Module) -> list[str]:
    """Lists the paths of peft's layers in a model."""
    return [
        path for path, module in model.named_modules() if isinstance(module, LoraLayer | ModulesToSaveWrapper)
    ]


def merged(layer: nn.Module, folders: str) -> nn.Module:
    """Gives the plain layer that peft's layer comes to, its adapters merged in; a plain one as it is.

    Args:
        folders: of the adapters, for the sentence.

    Raises:
        ValueError: if the sum is not finite.
    """
    if isinstance(layer, ModulesToSaveWrapper):
        *_, last = layer.modules_to_save.values()
        return last
    if isinstance(layer, LoraLayer):
        try:
            layer.merge(safe_merge=True, adapter_names=list(layer.lora_A))
        except ValueError as error:  # peft's own names the label that we gave
            raise ValueError(
                f"{folders}: laid over the weights, this adapter gives numbers that are not finite; fetch it "
                "again, or have it trained anew"
            ) from error
        return layer.get_base_layer()
    return layer


class AttachedAdapters:
    """Adapters beside one model's weights, of which each case takes one, or none."""

    def __init__(self, injected: PeftModel | None, labels: Iterable[str]) -> None:
        self._injected = injected
        self._labels = tuple(labels)

    @contextmanager
    def chosen(self, label: str | None) -> Iterator[None]:
        """Lets the model compute with one adapter; None: with the weights alone.

        Raises:
            ValueError: if there is no such adapter; the message lists what there is.
        """
        if label is not None and label not in self._labels:
            raise ValueError(f'adapter "{label}" is not attached; there are: {some(self._labels) or "none"}')
        if self._injected is None:
            yield
        elif label is None:
            with self._injected.disable_adapter():
                yield
        else:
            self._injected.set_adapter(label, inference_mode=True)
            yield


def check_labels(labels: Iterable[str]) -> None:
    """Raises ValueError for a label that cannot be part of a tensor's name."""
    wrong = [label for label in labels if not _LABEL.fullmatch(label)]
    if wrong:
        raise ValueError(f"adapters are called {some(wrong)}; use up to 32 letters, digits, - and _")


def _without_label(name: str) -> str:
    half = _HALF.match(name)
    return name if half is None else f"{half['layer']}.{half['half']}"


def _config(adapter: Adapter, layers: Mapping[str, str], model_name: str) -> LoraConfig:
    """Says which layers of ours an adapter changes, in peft's words."""
    targets = {name.rpartition(".")[0] for name in adapter.tensors if name.endswith((".lora_A", ".lora_B"))}
    strange = sorted(targets - set(layers))
    if strange or not targets:
        said = f"it changes {some(strange)}, which are not there" if strange else "it changes no layer"
        raise ValueError(f"{adapter.folder}: this adapter was not made for this {model_name}: {said}")
    paths = [layers[name] for name in sorted(targets)]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in adapter.settings.get(key) or {}:
            if not any(get_pattern_key([pattern], path) == pattern for path in paths):
                raise ValueError(
                    f"{adapter.folder}/adapter_config.json: {key} names {pattern}, which is no layer that the "
                    "adapter changes, so its scale is not known; merge it where it was trained"
                )
    taken = {key: adapter.settings[key] for key in _TAKEN if adapter.settings.get(key)}
    return LoraConfig(**taken, target_modules=paths, inference_mode=True)
