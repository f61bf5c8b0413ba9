"""Sends the files of a folder to an AE: what a modality does, for trying an installation out."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from agent.dicom.headers import Unreadable, read_headers
from agent.peers import Peers
from config.settings import DestinationSettings
from config.wording import expectation, fields_by_key, shown

FILES_PER_ASSOCIATION = 200


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """How many objects were taken, and a sentence for each file that was not."""

    taken: int
    problems: tuple[str, ...]


def send_folder(
    folder: Path, host: str, port: int, called_ae_title: str, calling_ae_title: str
) -> SendOutcome:
    """Sends every DICOM file below `folder`, in the order of the names.

    Raises:
        LookupError: if there is no file.
        ValueError: if the receiver cannot be called so.
    """
    destination = _destination(host, port, called_ae_title, calling_ae_title)
    if not folder.is_dir():
        raise LookupError(f"{folder} is no folder; name one with DICOM files in it")
    peers = Peers(calling_ae_title)
    taken = 0
    problems: list[str] = []
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if not found:
        raise LookupError(f"there is no file in {folder}; name a folder with DICOM files in it")
    files = iter(found)
    while batch := list(islice(files, FILES_PER_ASSOCIATION)):
        reasons = {path: _why_not_dicom(path) for path in batch}
        problems += [reason for reason in reasons.values() if reason is not None]
        readable = [path for path, reason in reasons.items() if reason is None]
        for outcome in peers.store(destination, readable) if readable else ():
            if outcome.kind == "taken":
                taken += 1
            else:
                problems.append(f"{outcome.sop_instance_uid}: {outcome.problem}")
    return SendOutcome(taken, tuple(problems))


def _destination(host: str, port: int, called_ae_title: str, calling_ae_title: str) -> DestinationSettings:
    try:
        return DestinationSettings(
            name="send", ae_title=called_ae_title, host=host, port=port, calling_ae_title=calling_ae_title
        )
    except ValidationError as error:
        wrong = {str(detail["loc"][0]): shown(detail["input"]) for detail in error.errors()}
        expected = fields_by_key(DestinationSettings)
        told = (f"{key} = {value}: expected {expectation(expected[key])}" for key, value in wrong.items())
        raise ValueError("; ".join(told)) from None


def _why_not_dicom(path: Path) -> str | None:
    try:
        read_headers(path)
    except Unreadable as error:
        return f"{path}: {error.reason}"
    return None
