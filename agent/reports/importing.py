"""Takes reports in from files: HL7 messages, tables and FHIR resources, told apart by their names and beginnings."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.hl7.framing import split_file
from agent.hl7.message import MessageError
from agent.hl7.oru import Results
from agent.messages import MessageIntake
from agent.reports.fhir import reports_of_resource
from agent.reports.rows import RowError, report_of_row
from agent.sections import find_sections, report_text
from storage.files import Files
from storage.outside_records import QuarantinedMessage, Report
from storage.reports import Reports

FILE_BYTES_MAX = 512 * 2**20


@dataclass(slots=True)
class ImportCount:
    """What became of what was found.

    Attributes:
        found: messages, rows and resources.
        versions: report versions in them; sectioned: those with findings or impression set apart.
        outcomes: what the store said, and how often.
        refused: (place, reason) of each that was not taken; messages among them are in quarantine.
    """

    files: int = 0
    found: int = 0
    versions: int = 0
    sectioned: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def see(self, reports: tuple[Report, ...]) -> None:
        """Counts report versions."""
        for report in reports:
            text = report_text(find_sections(report.text))
            self.versions += 1
            self.sectioned += text is not None and text.is_sectioned


@dataclass(frozen=True, slots=True)
class Importer:
    """Takes files in.

    Attributes:
        is_dry_run: nothing is stored, neither report nor quarantine.
    """

    intake: MessageIntake
    reports: Reports
    clock: Callable[[], datetime]
    is_dry_run: bool = False

    def take(self, path: Path) -> ImportCount:
        """Takes a file in, or every file below a folder in the order of their names.

        Raises:
            OSError: if one cannot be read.
        """
        count = ImportCount()
        for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
            count.files += 1
            if file.stat().st_size > FILE_BYTES_MAX:
                count.found += 1
                count.refused.append((file.name, f"it has more than {FILE_BYTES_MAX} bytes; split it"))
                continue
            self._take_file(file, count)
        return count

    def _take_file(self, file: Path, count: ImportCount) -> None:
        content = file.read_bytes()
        ending = file.suffix.lower()
        if ending == ".csv":
            self._take_found(_rows_of_csv(content, file.name, self.clock()), count)
        elif ending in (".json", ".jsonl", ".ndjson"):
            self._take_found(_rows_of_json(content, file.name, self.clock()), count)
        else:
            for number, message in enumerate(split_file(content), start=1):
                self._take_message(message, f"{file.name} {number}", count)

    def _take_message(self, message: bytes, place: str, count: ImportCount) -> None:
        count.found += 1
        try:
            parsed = self.intake.parsed(message)
        except MessageError as error:
            count.refused.append((place, error.reason))
            if not self.is_dry_run:
                self.intake.take(message, place)  # into quarantine
            return
        if isinstance(parsed, Results):
            count.see(parsed.reports)
        if not self.is_dry_run:
            taken = self.intake.take(message, place)
            if taken.reason:
                count.refused.append((place, taken.reason))
            else:
                count.outcomes[taken.outcome] += 1

    def _take_found(self, found: Iterator[tuple[str, Report | RowError]], count: ImportCount) -> None:
        for place, report in found:
            count.found += 1
            if isinstance(report, RowError):
                count.refused.append((place, str(report)))
                continue
            count.see((report,))
            if not self.is_dry_run:
                added = self.reports.add([report])
                count.outcomes["added" if added else "known already"] += 1


def replay(
    message: QuarantinedMessage, intake: MessageIntake, reports: Reports, files: Files, now: datetime
) -> str:
    """Takes a message in quarantine in once more, and says what became of it.

    One that turns out to hold several is taken apart; then each of them is taken or in quarantine by itself.
    """
    content = files.read(message.path)
    if message.path.endswith(".json"):
        return _replay_resource(message, content, reports, now)
    pieces = split_file(content)
    if len(pieces) > 1:
        codes = Counter(intake.take(piece, message.origin).code for piece in pieces)
        reports.resolve(message.number, now)
        return f"held {len(pieces)} messages: {codes['AA']} taken, {len(pieces) - codes['AA']} in quarantine"
    taken = intake.take(content, message.origin)
    if taken.reason:
        return f"still not taken: {taken.reason}"
    reports.resolve(message.number, now)
    return taken.outcome


def _replay_resource(message: QuarantinedMessage, content: bytes, reports: Reports, now: datetime) -> str:
    """Takes the one report in once more that a FHIR server told."""
    (report,) = reports_of_resource(json.loads(content), message.origin, now)
    if isinstance(report, RowError):
        return f"still not taken: {report}"
    added = reports.add([report])
    reports.resolve(message.number, now)
    return "report versions: 1 added" if added else "known already"


def _rows_of_csv(content: bytes, name: str, now: datetime) -> Iterator[tuple[str, Report | RowError]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield name, RowError("it is not UTF-8 text; save the table as UTF-8")
        return
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    try:
        for row in rows:
            place = f"{name} line {rows.line_num}"
            yield place, _row({key: value for key, value in row.items() if key}, place, now)
    except csv.Error as error:
        yield f"{name} line {rows.line_num}", RowError(f"it is no CSV from here on: {error}")


def _rows_of_json(content: bytes, name: str, now: datetime) -> Iterator[tuple[str, Report | RowError]]:
    """One JSON value, or one on each line."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        lines = content.splitlines()
    else:
        yield from _values(whole, name, now)
        return
    for number, line in enumerate(lines, start=1):
        place = f"{name} line {number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield place, RowError("it is no JSON")
        else:
            yield from _values(value, place, now)


def _values(value: Any, place: str, now: datetime) -> Iterator[tuple[str, Report | RowError]]:
    if isinstance(value, list):
        for number, one in enumerate(value, start=1):
            yield from _value(one, f"{place} {number}", now)
    else:
        yield from _value(value, place, now)


def _value(value: Any, place: str, now: datetime) -> Iterator[tuple[str, Report | RowError]]:
    if not isinstance(value, dict):
        yield place, RowError("it is no JSON object")
    elif "resourceType" in value:
        for found in reports_of_resource(value, place, now):
            yield place, found
    else:
        yield place, _row(value, place, now)


def _row(row: dict[str, Any], place: str, now: datetime) -> Report | RowError:
    try:
        return report_of_row(row, place, now)
    except RowError as error:
        return error
