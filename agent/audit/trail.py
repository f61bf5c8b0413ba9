"""Writes waiting audit records out: to the file of their day, and to the syslog server if there is one."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path

import structlog

from agent.audit.messages import AuditSource, merged, message_of
from agent.audit.syslog import framed, send
from config.settings import AuditSettings, Settings
from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import Audits, Place

log = structlog.get_logger()

_AT_ONCE = 1_000
_ENDING = ".xml"


class AuditTrail:
    """What brings the rows out of the database; called by the clock. One process does it at a time.

    A record goes out at least once: after a power cut between writing and noting it, the last ones stand there twice.

    Args:
        settings: those in force, asked for anew each time.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        audits: Audits,
        source: AuditSource,
        clock: Callable[[], datetime],
    ) -> None:
        self._in_force = settings
        self._audits = audits
        self._source = source
        self._clock = clock
        self._said: dict[Place, str] = {}
        """Why a place takes nothing, as it was said last."""

    @property
    def _settings(self) -> AuditSettings:
        return self._in_force().agent.audit

    @property
    def _folder(self) -> Path:
        return self._settings.folder or self._in_force().agent.storage.folder / "audit"

    def note(self, event: AuditEvent, detail: str = "") -> None:
        """Writes down what this process does or has, to be written out like everything else."""
        self._audits.add(AuditRecord(self._clock(), event, detail=detail))

    def write_out(self) -> None:
        """Writes what waits, forgets what has been written everywhere, and removes files that are too old."""
        places: tuple[Place, ...] = ("filed_at",)
        try:
            self._each("filed_at", self._file)
        except OSError as error:
            if (reason := self._news_of("filed_at", error)) is not None:
                log.error("audit file cannot be written", folder=str(self._folder), reason=reason)
        if self._settings.syslog is not None:
            places = ("filed_at", "sent_at")
            server = f"{self._settings.syslog.host}:{self._settings.syslog.port}"
            try:
                self._each("sent_at", self._send)
            except OSError as error:
                if (reason := self._news_of("sent_at", error)) is not None:
                    log.warning("audit server cannot be reached; sent later", server=server, reason=reason)
        self._audits.forget_written(places, self._clock())
        self._remove_old_files()

    def _each(self, place: Place, write: Callable[[Sequence[AuditRecord]], None]) -> None:
        while waiting := self._audits.waiting(place, _AT_ONCE, self._clock()):
            write(merged(waiting))
            self._audits.written(place, [record.number for record in waiting], self._clock())
        if self._said.pop(place, None) is not None:
            log.info("audit records go out again", place=place.removesuffix("_at"))

    def _news_of(self, place: Place, error: OSError) -> str | None:
        """Gives the reason of an error if it has not been said yet; it is tried every few seconds."""
        reason = error.strerror or str(error) or type(error).__name__
        if self._said.get(place) == reason:
            return None
        self._said[place] = reason
        return reason

    def _send(self, records: Sequence[AuditRecord]) -> None:
        assert self._settings.syslog is not None, "asked for only where there is one"
        frames = [framed(message_of(record, self._source), record.at, self._source) for record in records]
        send(frames, self._settings.syslog)

    def _file(self, records: Sequence[AuditRecord]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for day, of_day in groupby(records, key=lambda record: record.at.astimezone(UTC).date()):
            lines = [message_of(record, self._source) + "\n" for record in of_day]
            _append(self._folder / f"{day.isoformat()}{_ENDING}", "".join(lines).encode())

    def _remove_old_files(self) -> None:
        last = self._clock().astimezone(UTC).date() - timedelta(days=self._settings.keep_days)
        for path in self._folder.glob(f"*{_ENDING}"):
            with suppress(ValueError):  # a file of somebody else
                if date.fromisoformat(path.stem) < last:
                    path.unlink(missing_ok=True)


def _append(path: Path, content: bytes) -> None:
    """Appends for good; a line that a power cut left torn is ended first."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
