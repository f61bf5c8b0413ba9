"""What a model is made of: the files of its base and of its adapters, their headers read and nothing else yet."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from inference.engines.adapters import Adapter, adapter_of, check_labels, is_half, open_adapter
from inference.engines.digests import Stamp, digest_of, stamps_of
from inference.engines.stored import Shapes, StoredTensor, stored_tensors, weight_files

log = structlog.get_logger()

PublishedNames = Callable[[Iterable[str]], Mapping[str, str]]
"""Maps names as files spell them to those of the published checkpoint."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Weights and adapters, by the headers of their files.

    Attributes:
        base: the weights, by published names, LoRA apart.
        merged: adapters that go into the weights, in this order, by labels of ours.
        attached: adapters that stay beside them, by the names that cases choose them by.
        files: of the weights and of what is merged into them.
        stamps: of all files, when their headers were read.
    """

    folder: Path
    base: Mapping[str, StoredTensor]
    merged: Mapping[str, Adapter]
    attached: Mapping[str, Adapter]
    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]

    @property
    def shapes(self) -> Shapes:
        """Shapes of the base's tensors by published names."""
        return {name: tensor.shape for name, tensor in self.base.items()}

    def digests(self, kept_in: Path | None = None) -> dict[str | None, str]:
        """Gives the digest of the weights (None), and of the weights with each attached adapter, by its name."""
        labels = (None, *self.attached)
        return {
            label: digest_of(
                (*self.files, *(() if label is None else self.attached[label].files)), kept_in=kept_in
            )
            for label in labels
        }

    def warn_of_pickles(self) -> None:
        """Puts a warning on the log if weights or adapters are pickles."""
        if pickled := [str(path) for path in _every_file(self.files, self.attached) if path.suffix == ".bin"]:
            log.warning("pickled weights are read; a pickle can run code", files=pickled)

    def check_unchanged(self) -> None:
        """Raises ValueError if a file is no longer the one whose header was read: its digest may be another's."""
        if stamps_of(_every_file(self.files, self.attached)) != self.stamps:
            raise ValueError(
                f"{self.folder}: a file changed while it was loaded; start again when it is whole"
            )


def find_sources(
    folder: Path,
    published_names: PublishedNames,
    *,
    adapter_folder: Path | None = None,
    attached: Mapping[str, Path] | None = None,
    allow_pickled: bool = False,
) -> Sources:
    """Reads the headers of a model's files and of its adapters.

    LoRA that was left inside the model's own files is merged first, by the adapter_config.json beside them.

    Raises:
        ValueError: if a file is missing, damaged or a pickle that is not allowed, or an adapter lies among them that
            nobody has asked for; the message says which.
    """
    files = weight_files(folder, allow_pickled=allow_pickled)
    unasked = sorted(folder.glob("adapter_model.*"))
    if unasked and adapter_folder != folder:
        raise ValueError(
            f"{unasked[0]}: an adapter lies beside the weights; give it a folder of its own and name that as "
            "adapter_folder, or take it away"
        )
    tensors = stored_tensors(files, published_names)
    base = {name: tensor for name, tensor in tensors.items() if not is_half(name)}
    halves = {name: tensor for name, tensor in tensors.items() if is_half(name)}
    merged = [adapter_of(folder, halves)] if halves else []
    if adapter_folder is not None:
        merged.append(open_adapter(adapter_folder, published_names, allow_pickled=allow_pickled))
    check_labels(attached or ())
    beside = {
        label: open_adapter(path, published_names, allow_pickled=allow_pickled)
        for label, path in (attached or {}).items()
    }
    every = (*files, *(file for adapter in merged for file in adapter.files))
    return Sources(
        folder=folder,
        base=base,
        merged={f"merged_{number}": adapter for number, adapter in enumerate(merged, start=1)},
        attached=beside,
        files=every,
        stamps=stamps_of(_every_file(every, beside)),
    )


def _every_file(files: Iterable[Path], attached: Mapping[str, Adapter]) -> tuple[Path, ...]:
    return (*files, *(file for adapter in attached.values() for file in adapter.files))
