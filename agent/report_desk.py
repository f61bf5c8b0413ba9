"""What an administrator does with outside reports: import, look, and replay what is in quarantine."""

from collections import Counter
from pathlib import Path

from agent.clock import system_clock
from agent.reports.importing import ImportCount, Importer
from agent.reports.importing import replay as replay_one
from agent.service import open_intake
from agent.store import existing_store
from config.settings import Settings


def import_files(settings: Settings, path: Path, *, is_dry_run: bool) -> ImportCount:
    """Takes a file, or every file below a folder, in. Raises OSError if one cannot be read."""
    store = existing_store(settings)
    try:
        intake = open_intake(settings, store)
        return Importer(intake, store.reports, system_clock, is_dry_run).take(path)
    finally:
        store.database.close()


def count_text(count: ImportCount, limit: int, *, is_dry_run: bool) -> str:
    """Writes the counts for a person; refusals by reason, and the first `limit` with their places."""
    lines = [
        f"{count.files} files, {count.found} messages, rows or resources",
        f"{count.versions} report versions in them, {count.sectioned} with findings or impression set apart",
    ]
    lines += [f"  {number} x {outcome}" for outcome, number in count.outcomes.most_common()]
    if is_dry_run:
        lines.append("  nothing was stored (dry run)")
    if count.refused:
        lines.append(f"{len(count.refused)} refused:")
    lines += [
        f"  {number} x {reason}"
        for reason, number in Counter(reason for _, reason in count.refused).most_common()
    ]
    lines += [f"  {place}: {reason}" for place, reason in count.refused[:limit]]
    return "\n".join(lines)


def list_text(settings: Settings, limit: int) -> str:
    """The newest report versions, one a line, without their text and their patients."""
    store = existing_store(settings)
    try:
        lines = [
            f"{one.number} {one.received_at.isoformat(timespec='seconds')} {one.source} {one.status}"
            f" of {one.reported_at or 'unknown time'}, order {one.report_key}"
            f"{f', study {one.study_instance_uid}' if one.study_instance_uid else ''}, from {one.origin}"
            for one in store.reports.latest(limit)
        ]
    finally:
        store.database.close()
    return "\n".join(lines) or "no reports"


def quarantine_text(settings: Settings, limit: int) -> str:
    """The messages in quarantine, oldest first, each with the place of its bytes."""
    store = existing_store(settings)
    try:
        lines = [
            f"{one.number} {one.at.isoformat(timespec='seconds')} from {one.origin}, {one.times} times, "
            f"{one.size_bytes} bytes: {one.reason} ({store.files.absolute(one.path)})"
            for one in store.reports.quarantined(limit)
        ]
    finally:
        store.database.close()
    return "\n".join(lines) or "nothing in quarantine"


def replay(settings: Settings, number: int | None) -> tuple[list[str], bool]:
    """Takes one message of the quarantine in once more, or all; says of each what became of it, and if all left it."""
    store = existing_store(settings)
    try:
        waiting = [one for one in store.reports.quarantined() if number in (None, one.number)]
        if not waiting and number is not None:
            return [f"message {number} is not in quarantine"], False
        intake = open_intake(settings, store)
        lines = [
            f"message {one.number}: {replay_one(one, intake, store.reports, store.files, system_clock())}"
            for one in waiting
        ]
        return lines or ["nothing in quarantine"], not store.reports.quarantined(1)
    finally:
        store.database.close()
