"""What models see of images, kept on disk: an image is looked at once, also when its exam comes back as a prior."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inference.engines.opening import Place
from inference.reading import EngineIdentity

_SUFFIX = ".safetensors"
_WRITING_SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class VisionRows:
    """Rows by the image's pixels, as the model gets them, and by what computed them.

    Files are named by digests and tell nothing of a patient; their content is of patients, and they are 0600 in a
    folder of 0700. Several processes may share a folder.

    Attributes:
        folder: where the files lie; it is made when it is first needed.
        computed_by: everything else that the numbers depend on: weights, number format, kind of processor, versions.
        bytes_max: of all files together, whoever wrote them; those not used for longest go first. 0 keeps nothing.
    """

    folder: Path
    computed_by: str
    bytes_max: int

    def of(self, pixels: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """Gives the rows of one image: those kept, or else what `look` computes, which is kept.

        A file that is damaged, or that another process removes meanwhile, counts as not there and is written anew.

        Args:
            pixels: preprocessed, so that another rendering is another image.
            look: from `pixels` to rows (Q, H); deterministic.

        Returns:
            (Q, H), to the last bit what `look` gives, on the device of `pixels`.

        Raises:
            OSError: if the disk is full or the folder may not be written.
        """
        if self.bytes_max == 0:
            return look(pixels)
        path = self.folder / (self._digest(pixels) + _SUFFIX)
        rows = _stored(path)
        if rows is None:
            rows = look(pixels)
            self._store(path, rows)
        return rows.to(pixels.device)

    def _digest(self, pixels: Tensor) -> str:
        digest = hashlib.sha256(f"{self.computed_by} {torch.__version__} {tuple(pixels.shape)} ".encode())
        digest.update(_bytes_of(pixels))
        return digest.hexdigest()

    def _store(self, path: Path, rows: Tensor) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{secrets.token_hex(4)}.part")
        content = rows.detach().cpu().contiguous()
        save_file({"rows": content}, str(part), metadata={"sha256": _checksum(content)})
        part.chmod(0o600)
        _note_use(part)
        # No fsync: what a power cut leaves of a file fails its checksum and is computed again.
        part.replace(path)
        self._make_room()

    def _make_room(self) -> None:
        """Removes the files that were not used for longest, until the bound is kept."""
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process made room
                found.append((path.stat(), path))
        # A part file is being written, but for one that a process left when it was killed.
        begun = time.time() - _WRITING_SECONDS_MAX
        found = [one for one in found if one[1].suffix == _SUFFIX or one[0].st_mtime < begun]
        surplus = sum(status.st_size for status, _ in found) - self.bytes_max
        for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
            if surplus <= 0:
                return
            path.unlink(missing_ok=True)
            surplus -= status.st_size


def kept_rows(
    folder: Path, cache_mb: int, identities: Mapping[str | None, EngineIdentity], place: Place
) -> dict[str | None, VisionRows]:
    """Keeps what a model sees apart for each adapter, which may see otherwise; by name, None without one.

    Args:
        folder: where it is kept, at most `cache_mb` (10^6 bytes); 0 keeps nothing.
    """
    return {
        adapter: VisionRows(
            folder,
            f"{identity.weights_digest} {place.dtype} {place.device} {identity.version} {transformers.__version__}",
            cache_mb * 1_000_000,
        )
        for adapter, identity in identities.items()
    }


KEEPS_NOTHING = VisionRows(Path(), "", 0)
"""Every image is looked at anew."""


def _stored(path: Path) -> Tensor | None:
    """Reads a file's rows and notes that they were used; None if it is not there or damaged."""
    try:
        with safe_open(str(path), framework="pt") as file:
            checksum = (file.metadata() or {}).get("sha256")
            rows: Tensor = file.get_tensor("rows")
        _note_use(path)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ):  # torch's own word for a file that went while it was opened
        return None
    return rows if checksum == _checksum(rows) else None


def _note_use(path: Path) -> None:
    # By itself the kernel notes times to some milliseconds only, within which several images are used.
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns))


def _checksum(rows: Tensor) -> str:
    return hashlib.sha256(_bytes_of(rows)).hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().view(torch.uint8).numpy()).cast("B")
