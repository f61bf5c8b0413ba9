"""`preread list`: studies and how far each has come, as a table without the patients."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from agent.errors import GiveUp
from agent.store import existing_store
from config.settings import Settings
from storage.listing import ListedStudy, Listing
from storage.records import Stage

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PROBLEM_CHARACTERS_MAX = 70
_WIDTH = 200


def listed(
    settings: Settings, limit: int, stage: str | None, since: datetime | None, *, only_without_patient: bool
) -> tuple[ListedStudy, ...]:
    """Lists studies, newest arrival first.

    Raises:
        GiveUp: if there is no such stage.
    """
    store = existing_store(settings)
    try:
        return Listing(store.database).studies(
            limit, stage=_stage_of(stage), since=since, only_without_patient=only_without_patient
        )
    finally:
        store.database.close()


def since_of(text: str, now: datetime) -> datetime:
    """Reads "90m", "12h", "3d", "2w", or a local date or time such as "2026-11-25" or "2026-11-25T08:00".

    Raises:
        GiveUp: if it is none of these.
    """
    ago = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if ago:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise GiveUp(f'since "{text}": expected 90m, 12h, 3d, 2w, 2026-11-25 or 2026-11-25T08:00') from None


def _stage_of(word: str | None) -> Stage | None:
    if word is None:
        return None
    try:
        return Stage(word)
    except ValueError:
        raise GiveUp(f'stage "{word}": expected one of {", ".join(Stage)}') from None


def as_json(studies: Sequence[ListedStudy]) -> list[dict[str, Any]]:
    """Gives the list for programs; times in UTC, as ISO 8601."""
    return [
        {
            key: value.isoformat() if isinstance(value, datetime) else value
            for key, value in asdict(study).items()
        }
        for study in studies
    ]


def as_text(studies: Sequence[ListedStudy], *, with_second: bool = False) -> str:
    """Writes the list as a table; times are local.

    Args:
        with_second: whether a column says how far the second engine is.
    """
    titles = ["received", "from", "images", "stage", "job", "seconds", "study", "problem"]
    if with_second:
        titles.insert(-1, "second")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=title != "problem", overflow="fold")
    for study in studies:
        cells = _cells(study)
        table.add_row(*(cells[title] for title in titles))
    page = StringIO()
    Console(file=page, width=_WIDTH, color_system=None).print(table, markup=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()).strip("\n")


def _cells(study: ListedStudy) -> dict[str, str]:
    job = "" if study.job_number is None else f"{study.job_number} (revision {study.revision})"
    took = ""
    if study.opened_at is not None and study.changed_at is not None:
        took = f"{(study.changed_at - study.opened_at).total_seconds():.1f}"
    notes = [] if study.has_patient else ["patient without an identifier"]
    notes += [] if study.problem is None else [study.problem]
    return {
        "received": f"{study.received_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "from": study.received_from,
        "images": str(study.images),
        "stage": study.stage or _without_job(study),
        "job": job,
        "seconds": took,
        "study": study.study_instance_uid,
        "second": study.second or "",
        "problem": _cut("; ".join(notes)),
    }


def _without_job(study: ListedStudy) -> str:
    if study.fetched_from is not None:
        return f"prior from {study.fetched_from}"
    return "not read yet" if study.images else "no radiograph"


def _cut(text: str) -> str:
    return text if len(text) <= _PROBLEM_CHARACTERS_MAX else f"{text[: _PROBLEM_CHARACTERS_MAX - 1]}…"
