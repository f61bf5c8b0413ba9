"""Fetches published weights from the Hugging Face hub: one commit, only the files that are read, nothing that runs.

The hub's own client does the fetching. What it does not do is done here: the licence comes first, a branch becomes the
commit it names today, the disk is asked before a byte is fetched, and every large file is held against the sha256
that the hub states for it.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from agent.errors import GiveUp
from inference.engines.digests import digest_of
from inference.engines.stored import weight_files
from inference.folders import look_into, write_source
from inference.published import PublishedModel, in_bytes

_HUB = "https://huggingface.co"
_ANSWER_SECONDS = 10.0
_SIDE_BY_SIDE = 4
_ENDINGS = (".safetensors", ".json", ".jinja")
_GO_ON = "pull again to go on"
_NO_INTERNET = "where there is no internet, pull on another machine and copy the folder (docs/models.md)"


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the weights are, and who asks.

    Attributes:
        endpoint: URL of the hub or a mirror of it; None for the hub itself.
        token: what proves an account; None: what `hf auth login` or HF_TOKEN left on this machine, if anything.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return self.endpoint or _HUB


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; `sha256` as the hub states it, None for small files kept in git itself."""

    name: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be fetched.

    Attributes:
        revision: as it was asked for.
        commit: 40 hexadecimal digits, what the revision is today.
    """

    repository: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def plan(model: PublishedModel, revision: str, hub: Hub, *, with_pickles: bool = False) -> Plan:
    """Asks the hub what the revision holds; fetches nothing.

    Args:
        with_pickles: takes *.bin too; preread does not read them.

    Raises:
        GiveUp: if there is nothing to fetch, or the hub does not let us; the sentence says what to do.
    """
    if model.repository is None:
        raise GiveUp(f"{model.name} comes with preread and is used when engine.model_folder is empty")
    with _in_sentences(model.repository, revision, hub):
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        info = api.model_info(
            model.repository, revision=revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    files = tuple(
        HubFile(found.rfilename, found.size or 0, found.lfs.sha256 if found.lfs else None)
        for found in info.siblings or ()
        if _is_needed(found.rfilename, with_pickles)
    )
    if info.sha is None:
        raise GiveUp(f"{hub.url} does not say which commit {revision} of {model.repository} is; it is no hub")
    endings = (".safetensors", ".bin") if with_pickles else (".safetensors",)
    if not any(file.name.endswith(endings) for file in files):
        raise GiveUp(
            f"{model.repository} at {info.sha} holds no *.safetensors; preread reads no pickles: "
            "fetch them with --bin and convert them, or ask for another revision"
        )
    return Plan(model.repository, revision, info.sha, files)


def pull(plan: Plan, folder: Path, hub: Hub, model: PublishedModel, now: datetime) -> str | None:
    """Fetches what is not there yet, holds it against the hub's sums, and notes where it came from.

    A pull that was stopped is taken up again file by file: shards that are complete are not fetched twice.

    Returns:
        The digest that Readings will carry, "sha256:<hex>"; None if there are no safetensors among the files.

    Raises:
        GiveUp: if the disk is too small, the folder holds another commit, or a file did not come whole.
    """
    _check_folder(plan, folder)
    with _in_sentences(plan.repository, plan.revision, hub):
        snapshot_download(
            plan.repository,
            repo_type="model",
            revision=plan.commit,
            local_dir=folder,
            allow_patterns=[file.name for file in plan.files],
            token=hub.token,
            endpoint=hub.endpoint,
            etag_timeout=_ANSWER_SECONDS,
            max_workers=_SIDE_BY_SIDE,
            force_download=False,
            local_files_only=False,
        )
    sums = {file.name: digest_of([folder / file.name]) for file in plan.files}
    for file in plan.files:
        if file.sha256 is not None and sums[file.name] != f"sha256:{file.sha256}":
            (folder / file.name).unlink()
            raise GiveUp(f"{file.name} did not come as {plan.repository} has it; it was deleted: pull again")
    has_weights = any(file.name.endswith(".safetensors") for file in plan.files)
    digest = digest_of(weight_files(folder)) if has_weights else None
    write_source(
        folder,
        {
            "repository": plan.repository,
            "revision": plan.revision,
            "commit": plan.commit,
            "licence": model.licence,
            "fetched_at": now.isoformat(timespec="seconds"),
            "digest": digest,
            "files": {
                file.name: {"bytes": file.size_bytes, "sha256": sums[file.name].removeprefix("sha256:")}
                for file in plan.files
            },
        },
    )
    return digest


def _is_needed(name: str, with_pickles: bool) -> bool:
    """Weights, settings and vocabulary of the repository's top; a folder below it belongs to something else."""
    if "/" in name:
        return False
    endings = (*_ENDINGS, ".bin") if with_pickles else _ENDINGS
    return name.endswith(endings) or name == "tokenizer.model"


def _check_folder(plan: Plan, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise GiveUp(f"{folder} is a file; give the folder for the weights with --to")
    there = (look_into(folder).source or {}).get("commit") if folder.is_dir() else None
    if there not in (None, plan.commit):
        raise GiveUp(
            f"{folder} holds commit {there}; Readings name weights by their digest, so keep it and give "
            f"another folder for {plan.commit}"
        )
    missing_bytes = sum(file.size_bytes for file in _missing(plan.files, folder))
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(nearest).free
    if missing_bytes > free_bytes:
        raise GiveUp(
            f"{nearest} has {in_bytes(free_bytes)} free and {in_bytes(missing_bytes)} are to be fetched; "
            "make room, or give a folder on another disk with --to"
        )


def _missing(files: Iterable[HubFile], folder: Path) -> Iterator[HubFile]:
    for file in files:
        path = folder / file.name
        if not (path.is_file() and path.stat().st_size == file.size_bytes):
            yield file


@contextmanager
def _in_sentences(repository: str, revision: str, hub: Hub) -> Iterator[None]:
    """Turns what the hub's client raises into what the administrator has to do."""
    try:
        yield
    except GatedRepoError:
        raise GiveUp(
            f"{repository} is gated: accept its terms at {hub.url}/{repository} with your account, then give "
            "a token of it with --token-env NAME or --token-file PATH"
        ) from None
    except RepositoryNotFoundError:
        raise GiveUp(
            f"{hub.url} has no {repository}, or shows it to known accounts only; "
            "give a token with --token-env NAME or --token-file PATH"
        ) from None
    except RevisionNotFoundError:
        raise GiveUp(
            f"{repository} has no revision {revision}; its commits are at {hub.url}/{repository}/commits/main"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        todo = "give another token" if status in (401, 403) else f"later, {_GO_ON}"
        raise GiveUp(f"{hub.url} answered {status} for {repository}: {todo}") from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HTTPError) as error:
        reason = type(error.__cause__ or error).__name__
        raise GiveUp(
            f"{hub.url} cannot be reached or broke off ({reason}): {_GO_ON}; {_NO_INTERNET}"
        ) from None
    except HFValidationError:
        raise GiveUp(f"{revision} is no revision; give a commit hash, a branch or a tag") from None
    except OSError as error:
        raise GiveUp(f"the files cannot be written: {error}; make room, then pull again") from None
