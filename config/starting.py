"""The first configuration of a site: five answers become three files, with the reason beside each line."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.documentation import commented, field_documents, first_words
from config.loading import FILES, load
from config.values import is_address, is_loopback
from config.wording import fields_by_key, quoted, table_in


@dataclass(frozen=True, slots=True)
class Answers:
    """What must be known before preread can be of use.

    Attributes:
        ae_title, port: ours.
        pacs_host, pacs_port, pacs_ae_title: the archive that sends to us and gets the drafts.
        storage_folder: where images and drafts lie; a relative one starts at the config folder.
    """

    ae_title: str
    port: int
    pacs_host: str
    pacs_port: int
    pacs_ae_title: str
    storage_folder: str = "preread-data"


Tables = Mapping[str, Mapping[str, str]]
"""Headers ("[listener]", "[[sender]]") to keys and their values, as TOML."""


def first_files(answers: Answers) -> dict[str, str]:
    """Writes the three files, by name. Every key that is not there keeps its default.

    Raises:
        ConfigError: if an answer is none that preread could run with.
    """
    tables: dict[str, Tables] = {
        "agent.toml": _agent(answers),
        "peers.toml": _peers(answers),
        "reading.toml": {
            "[priors]": {"count_max": "3"},
            "[engine]": {"model_folder": '""', "accepted_licence": '""'},
        },
    }
    files = {file: "\n".join(_lines(file, of_file)) + "\n" for file, of_file in tables.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), files)
        load(Path(folder), environment={})
    return files


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Writes the files into a folder, which is made; all or, if one is there already, none.

    Raises:
        FileExistsError: naming those that are there.
        OSError: if they cannot be written.
    """
    there = [file for file in files if (folder / file).exists()]
    if there:
        raise FileExistsError(
            f"{folder} has {', '.join(there)} already; move them away, or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        with (folder / file).open("x", encoding="utf-8") as out:
            out.write(text)


def _agent(answers: Answers) -> Tables:
    # What comes from another machine must be let in; peers.toml says from which.
    host = "127.0.0.1" if is_loopback(answers.pacs_host) else "0.0.0.0"
    return {
        "[device]": {"ae_title": quoted(answers.ae_title)},
        "[listener]": {"host": quoted(host), "port": str(answers.port)},
        "[storage]": {"folder": quoted(answers.storage_folder)},
    }


def _peers(answers: Answers) -> Tables:
    addresses = [answers.pacs_host] if is_address(answers.pacs_host) else []
    pacs = {
        "ae_title": quoted(answers.pacs_ae_title),
        "host": quoted(answers.pacs_host),
        "port": str(answers.pacs_port),
    }
    return {
        "[[sender]]": {
            "ae_title": quoted(answers.pacs_ae_title),
            "addresses": f"[{', '.join(map(quoted, addresses))}]",
        },
        "[[destination]]": {"name": '"pacs"', **pacs},
    }


def _lines(file: str, tables: Tables) -> Iterator[str]:
    rest = "What is not here keeps its default: preread config show --effective, docs/settings.md."
    yield from commented(f"{first_words(FILES[file])} {rest}")
    for header, keys in tables.items():
        table = table_in(fields_by_key(FILES[file])[header.strip("[]")].annotation)
        assert table is not None
        yield from ("", "", header)
        for key, value in keys.items():
            yield from ("", *commented(field_documents(table)[key]), f"{key} = {value}")
