"""Finds in the settings, whatever tables there are, secrets' files, certificates and endpoints. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from config.settings import Secret
from config.wording import key_of

_WEB_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A system that is called over the network.

    Attributes:
        name: its table and its name, such as 'destination "archive"'.
        settings: its table.
    """

    name: str
    settings: BaseModel
    host: str
    port: int
    has_tls: bool


def values_in(table: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Gives every value of a table and of those in it, by its key as in the file; tables of a list count from 1."""
    for name, field in type(table).model_fields.items():
        key, value = f"{prefix}{key_of(name, field)}", getattr(table, name)
        yield key, value
        if isinstance(value, Secret):
            continue
        if isinstance(value, BaseModel):
            yield from values_in(value, f"{key}.")
        elif isinstance(value, tuple):
            for number, one in enumerate(value, start=1):
                if isinstance(one, BaseModel):
                    yield f"{key}[{number}]", one
                    yield from values_in(one, f"{key}[{number}].")


def secret_files(table: BaseModel) -> Iterator[tuple[str, Path]]:
    """Gives the files that hold private keys and passwords."""
    for key, value in values_in(table):
        if isinstance(value, Secret) and value.file is not None:
            yield key, value.file
        elif key.endswith("key_file") and value is not None:
            yield key, value


def certificate_files(table: BaseModel) -> Iterator[tuple[str, Path]]:
    """Gives the files with our own certificates."""
    for key, value in values_in(table):
        if key.endswith("certificate_file") and value is not None:
            yield key, value


def endpoints(table: BaseModel) -> Iterator[Endpoint]:
    """Gives every system that a table of a list names by host and port, or by URL."""
    for key, value in values_in(table):
        if isinstance(value, BaseModel) and key.endswith("]"):
            endpoint = _endpoint(key, value)
            if endpoint is not None:
                yield endpoint


def _endpoint(key: str, table: BaseModel) -> Endpoint | None:
    kind = key.rpartition("[")[0].replace("_", " ")
    name = f'{kind} "{getattr(table, "name", key)}"'
    url = getattr(table, "url", "")
    if url:
        parts = urlsplit(url)
        web_port = parts.port or _WEB_PORTS[parts.scheme]
        return Endpoint(name, table, parts.hostname or "", web_port, parts.scheme == "https")
    host, port = getattr(table, "host", ""), getattr(table, "port", None)
    if not host or port is None:
        return None
    return Endpoint(name, table, host, port, getattr(table, "tls", None) is not None)
