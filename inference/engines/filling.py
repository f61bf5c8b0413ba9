"""A model that was built without memory gets its weights, layer by layer; adapters and rounding come in on the way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inference.engines.adapters import (
    AttachedAdapters,
    Spelling,
    changed_layers,
    inject,
    merged,
    source_of,
)
from inference.engines.opening import Place
from inference.engines.quantised import QuantisedLinear
from inference.engines.sources import Sources
from inference.engines.stored import StoredTensor, opened


def fill(
    model: nn.Module, sources: Sources, place: Place, *, spelling: Spelling, text_layers: str, model_name: str
) -> AttachedAdapters:
    """Puts weights in the place of a model's empty ones, merges adapters, rounds and attaches as asked.

    Layers that become others do so one by one, in float32 and before any cast: a change of rank 8 is small beside a
    bfloat16 weight's last bit. So the peak is one copy of the weights, as they will be, and the largest layer.

    Args:
        model: on the meta device. What `sources` hold no tensor for becomes zero: the caller knows what may be absent.
        spelling: spells names of the model's state as `sources` does.
        text_layers: what the names of the language model's layers begin with; their projections may be rounded.

    Raises:
        ValueError: if an adapter was made for another base, or a layer cannot be rounded.
    """
    by_label: dict[str | None, Mapping[str, StoredTensor]] = {None: sources.base}
    for label, adapter in (*sources.merged.items(), *sources.attached.items()):
        by_label[label] = adapter.tensors
    paths = {stored.path for tensors in by_label.values() for stored in tensors.values()}
    with opened(paths, place.device) as read:
        folders = ", ".join(str(adapter.folder) for adapter in sources.merged.values())
        filling = _Filling(model, by_label, read, spelling, place, text_layers, folders)
        if sources.merged:
            inject(model, sources.merged, spelling, model_name)
            filling.rework(changed_layers(model))
            del model.peft_config  # peft's mark on the model; its layers are gone
        if place.weights != "full":
            filling.rework(_text_linears(model, text_layers))
        filling.put(model, "", place.dtype)
        if not sources.attached:
            return AttachedAdapters(None, ())
        attached = AttachedAdapters(
            inject(model, sources.attached, spelling, model_name), tuple(sources.attached)
        )
        filling.put(model, "", place.dtype)
        return attached


@dataclass(frozen=True, slots=True)
class _Filling:
    """Where the tensors of one model come from, and what they become."""

    model: nn.Module
    by_label: Mapping[str | None, Mapping[str, StoredTensor]]
    read: Callable[[StoredTensor], Tensor]
    spelling: Spelling
    place: Place
    text_layers: str
    merged_folders: str

    def rework(self, paths: Iterable[str]) -> None:
        """Fills layers one by one and puts in the place of each what it comes to."""
        for path in paths:
            layer = self.model.get_submodule(path)
            self.put(layer, f"{path}.", torch.float32)
            layer = merged(layer, self.merged_folders)
            if (
                self.place.weights != "full"
                and path.startswith(self.text_layers)
                and isinstance(layer, nn.Linear)
            ):
                layer = QuantisedLinear(layer, self.place.weights, self.place.dtype)
            self.model.set_submodule(path, layer.to(self.place.dtype))

    def put(self, module: nn.Module, prefix: str, dtype: torch.dtype) -> None:
        """Fills what is empty in a module, and what adapters have of their own there; LoRA stays float32."""
        filled: dict[str, Tensor] = {}
        for name, there in module.state_dict().items():
            label, published = source_of(prefix + name, self.spelling)
            if label is None and not there.is_meta:
                continue
            kind = torch.float32 if ".lora_" in name else dtype
            stored = self.by_label[label].get(published)
            if stored is None:
                filled[name] = torch.zeros(there.shape, dtype=kind, device=self.place.device)
            else:
                # A view of the file would change when the file is written over, and its digest with it.
                filled[name] = self.read(stored).to(kind, copy=self.place.device == "cpu")
                if label is not None and not filled[name].isfinite().all():
                    raise ValueError(
                        f"{stored.path}: {stored.name} holds numbers that are not finite; fetch the adapter again, "
                        "or have it trained anew"
                    )
        module.load_state_dict(filled, strict=False, assign=True)


def _text_linears(model: nn.Module, text_layers: str) -> list[str]:
    """Lists the projections of the language model that are not rounded yet."""
    return [
        path
        for path, module in model.named_modules()
        if path.startswith(text_layers) and type(module) is nn.Linear
    ]
