"""Writes docs/settings.md and the example files from the settings themselves, so that they cannot disagree.

Run `python -m config.documentation` after a change; a test fails while they are stale.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.effective import toml_value
from config.loading import FILES
from config.wording import expectation, fields_by_key, holds_tables, is_list, key_of, table_in

COMMENT_COLUMNS = 100

EXAMPLES: dict[str, str] = {
    "storage.database_password": '{ env = "PREREAD_DATABASE_PASSWORD" }',
    "listener.tls.certificate_file": '"tls/preread.pem"',
    "listener.tls.key_file": '"tls/preread.key"',
    "listener.tls.ca_file": '"tls/hospital-ca.pem"',
    "hl7.addresses": '["10.1.2.9"]',
    "hl7.tls.certificate_file": '"tls/preread.pem"',
    "hl7.tls.key_file": '"tls/preread.key"',
    "hl7.tls.ca_file": '"tls/hospital-ca.pem"',
    "audit.syslog.host": '"audit.hospital.example"',
    "audit.syslog.ca_file": '"tls/hospital-ca.pem"',
    "metrics.addresses": '["10.1.2.8"]',
    "sender.ae_title": '"XRAY1"',
    "sender.addresses": '["10.1.2.0/24"]',
    "accept_any_sender": "false",
    "issuer.name": '"NORTH"',
    "issuer.also_called": '["1.2.276.0.76.3.1.99"]',
    "destination.name": '"archive"',
    "destination.ae_title": '"ARCHIVE"',
    "destination.host": '"10.1.2.3"',
    "destination.port": "104",
    "destination.url": '"https://pacs.example/dicom-web"',
    "destination.addresses": '["10.1.2.3"]',
    "destination.authorization": '{ env = "PREREAD_PACS_AUTHORIZATION" }',
    "destination.fallback": '{ findings_sr = "report_sr", report_sr = "secondary_capture" }',
    "destination.tls.ca_file": '"tls/hospital-ca.pem"',
    "rule.name": '"bedside at night"',
    "rule.when": '{ Modality = ["CR", "DX"], time_of_day = { from = "22:00", to = "06:00" } }',
    "rule.priority": '"stat"',
    "rule.destinations": '["archive"]',
    "rule.adapter": '"bedside"',
    "adapter.name": '"bedside"',
    "adapter.folder": '"adapters/bedside"',
    "hl7_receiver.name": '"ris"',
    "hl7_receiver.host": '"10.1.2.5"',
    "hl7_receiver.port": "2575",
    "hl7_receiver.receiving_application": '"RIS"',
    "hl7_receiver.tls.ca_file": '"tls/hospital-ca.pem"',
    "fhir_server.name": '"fhir"',
    "fhir_server.url": '"https://fhir.example/r4"',
    "fhir_server.authorization": '{ file = "fhir.authorization" }',
    "fhir_server.patient_system": '"urn:oid:1.2.276.0.76.3.1.99"',
    "fhir_server.tls.ca_file": '"tls/hospital-ca.pem"',
    "webhook.name": '"worklist"',
    "webhook.url": '"https://worklist.example/drafts"',
    "webhook.secret": '{ file = "webhook.secret" }',
    "webhook.tls.ca_file": '"tls/hospital-ca.pem"',
    "drop_folder.name": '"dictation"',
    "drop_folder.path": '"/srv/dictation/in"',
    "calibration.finding": '"pleural effusion"',
    "calibration.slope": "0.8",
    "calibration.intercept": "-0.3",
    "calibration.fitted_on": '"412 chest studies of this hospital, 2025"',
    "calibration.weights_digest": f'"sha256:{"0" * 64}"',
    "archive.name": '"archive"',
    "archive.ae_title": '"ARCHIVE"',
    "archive.host": '"10.1.2.3"',
    "archive.url": '"https://pacs.example/dicom-web"',
    "archive.tls.ca_file": '"tls/hospital-ca.pem"',
    "worklist.name": '"ris"',
    "worklist.ae_title": '"RIS"',
    "worklist.host": '"10.1.2.4"',
    "worklist.port": "104",
    "worklist.tls.ca_file": '"tls/hospital-ca.pem"',
    "report_server.name": '"ris-fhir"',
    "report_server.url": '"https://ris.example/fhir"',
    "report_server.tls.ca_file": '"tls/hospital-ca.pem"',
}
"""What the examples show where the default is nothing to look at."""

COMMENTED_OUT = (
    "listener.tls",
    "hl7",
    "hl7.tls",
    "destination.url",
    "destination.authorization",
    "destination.fallback",
    "audit.syslog",
    "destination.tls",
    "metrics",
    "storage.database_password",
    "hl7_receiver",
    "hl7_receiver.tls",
    "fhir_server",
    "fhir_server.tls",
    "webhook",
    "webhook.tls",
    "drop_folder",
    "archive",
    "archive.tls",
    "worklist",
    "worklist.tls",
    "second_engine",
    "rule",
    "rule.priors",
    "adapter",
    "report_server",
    "report_server.tls",
    "calibration",
)
"""What the examples only show: it needs files, peers, a database or cases that a first run has not."""


_PREFACE = """\
# Settings

Three files in one folder, by who edits them. Each may be missing; then its defaults hold, and
without a folder preread serves this machine alone. Relative paths start at the folder. No password is
ever written in one of them: say where it is, `{ env = "NAME" }` or `{ file = "path" }`.

`preread config init FOLDER` asks five questions and writes the three files. `preread config check` tells
every mistake at once, each with its line. `preread config show --effective` writes every value and where
it comes from.

**Changes.** `preread config diff` says in words what would change against the running service. `preread reload`, or
SIGHUP, takes it, whole or not at all: peers, reading, rules, priors, patience and the log's level at the next
association or step, another model or adapter after the case in hand, a second engine too. Ports and their limits,
storage, our AE titles, `worker.tick_seconds` and `poll_seconds`, `reader.child` and `nice`, the log's file and format
need a restart, and are named.

**Editors.** `preread config schema agent > agent.schema.json` writes the JSON Schema of a file. With
`#:schema ./agent.schema.json` as the first line of agent.toml, editors with the TOML language server
taplo (such as Even Better TOML in VS Code) complete keys and mark mistakes.

**Environment.** A variable stands above the file: `PREREAD_AGENT__LISTENER__PORT=104` sets `listener.port`
of agent.toml. That is PREREAD_, the file, the tables and the key, in capitals, with two underscores between
them. A text is taken as it is, everything else is written as in the file:
`PREREAD_AGENT__LISTENER__CHECK_CALLED_AE_TITLE=false`, `PREREAD_READING__STUDY__BODY_PARTS='["CHEST", "THORAX"]'`.
`[[tables]]`, such as destinations, are written in their file only. A variable of that form that sets nothing is
a mistake.

Written by `python -m config.documentation`; commented files to start from are in `config/example`.
"""


@cache
def field_documents(model: type[BaseModel]) -> dict[str, str]:
    """Reads the text under each field of a model from its source, as one paragraph, by TOML key."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[key_of(name, model.model_fields[name])] = " ".join(text.split())
    return texts


def _default(field: FieldInfo) -> str | None:
    """Writes the default as TOML; None if there is none to write."""
    hangs_on_another = field.default_factory is not None
    return None if field.is_required() or hangs_on_another else toml_value(field.default)


def _header(field: FieldInfo, full: str) -> str:
    return f"[[{full}]]" if is_list(field) else f"[{full}]"


def _sections(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, FieldInfo | None, type[BaseModel]]]:
    """Walks the tables of a file: its top, then each header, as (full key, field, model)."""
    if not prefix:
        yield "", None, model
    for key, field in fields_by_key(model).items():
        table = table_in(field.annotation)
        if table is not None and holds_tables(field):
            yield prefix + key, field, table
            yield from _sections(table, f"{prefix}{key}.")


def _plain_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {key: field for key, field in fields_by_key(model).items() if not holds_tables(field)}


def settings_page() -> str:
    """Writes docs/settings.md."""
    lines = _PREFACE.splitlines()
    for file, model in FILES.items():
        lines += ["", f"## {file}", "", first_words(model)]
        for full, field, table in _sections(model):
            lines += _section_of_page(full, field, table)
    return "\n".join(lines) + "\n"


def _section_of_page(full: str, field: FieldInfo | None, table: type[BaseModel]) -> Iterator[str]:
    fields = _plain_fields(table)
    if field is not None:
        yield from ("", f"### {_header(field, full)}", "", first_words(table))
    for key, one in fields.items():
        default = _default(one)
        without = "must be written" if one.is_required() else "may be left out"
        written = f"default `{default}`" if default is not None else without
        yield from ("", f"**`{key}`** · {written} · {expectation(one)}", "", field_documents(table)[key])


def first_words(model: type[BaseModel]) -> str:
    """Gives what a table says of itself, as one paragraph."""
    return " ".join((inspect.getdoc(model) or "").split())


def example_file(file: str) -> str:
    """Writes one file of config/example: every key there, its reason, and its default where it has one."""
    model = FILES[file]
    lines = commented(f"{first_words(model)} Every key is here; those you leave out keep the value shown.")
    for full, field, table in _sections(model):
        lines += _section_of_example(full, field, table)
    return "\n".join(lines) + "\n"


def _section_of_example(full: str, field: FieldInfo | None, table: type[BaseModel]) -> Iterator[str]:
    mark = "#" if full in COMMENTED_OUT else ""
    if field is not None:
        yield from ("", "", *commented(first_words(table)), mark + _header(field, full))
    for key, one in _plain_fields(table).items():
        place = f"{full}.{key}" if full else key
        text = f"{field_documents(table)[key]} Expects {expectation(one)}."
        only_shown = "#" if place in COMMENTED_OUT else mark
        yield from ("", *commented(text), f"{only_shown}{key} = {EXAMPLES.get(place) or _default(one)}")


def commented(text: str) -> list[str]:
    """Breaks a text into lines of TOML comment."""
    return textwrap.wrap(
        text, COMMENT_COLUMNS, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def pages(root: Path) -> dict[Path, str]:
    """Gives every file that this module writes below the root of the project, with its text."""
    examples: dict[Path, str] = {root / "config" / "example" / name: example_file(name) for name in FILES}
    return {root / "docs" / "settings.md": settings_page()} | examples


def main() -> None:
    """Writes them."""
    for path, text in pages(Path(__file__).parent.parent).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
