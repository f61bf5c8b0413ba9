"""Forgets what is old, and makes room where the disk is nearly full; called by the clock, a little each time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from agent.keeping.rules import RetentionRules, is_possible_prior, may_make_room, reason_to_delete, rules_of
from config.settings import RetentionSettings, Settings
from storage.deletions import Deletions, StudyAge
from storage.files import Files
from storage.index import Index

log = structlog.get_logger()

STORE_MINUTES_MAX = 10
"""Longer than a sender's object can lie under its name before its row is there: see `Files.remove`."""
LITTER_HOURS_MIN = 24
"""A file without a row is litter only after so long."""

_PAGE = 200  # studies looked at in one query
_STUDIES_MAX = 500  # deleted in one turn: with their files some seconds' work
_PAGES_MAX = 50
_ROWS_MAX = 1_000  # of one table in one transaction
_FOLDERS_AT_ONCE = 16  # of some 770: all of them within eight hours of turns every ten minutes


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn deleted."""

    studies: int = 0
    files: int = 0
    rows: int = 0
    is_complete: bool = True
    """False if there was more than one turn may do."""


class Retention:
    """Remembers between turns only where it was, so that each goes on where the one before stopped.

    Args:
        settings: those in force, asked for anew each time.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        deletions: Deletions,
        files: Files,
        index: Index,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._deletions = deletions
        self._files = files
        self._index = index
        self._clock = clock
        self._after_number = 0
        self._next_folder = 0

    @property
    def _kept(self) -> RetentionSettings:
        return self._settings().agent.retention

    @property
    def _rules(self) -> RetentionRules:
        return rules_of(self._settings())

    def due(self) -> Iterator[tuple[StudyAge, str]]:
        """The studies whose images would go now, with the reason."""
        now, after = self._clock(), 0
        while page := self._deletions.ages(after, _PAGE):
            after = page[-1].newest_number
            for age in page:
                reason = reason_to_delete(age, self._rules, now)
                if reason is not None:
                    yield age, reason

    def turn(self, *, whole: bool = False) -> Turn:
        """Forgets what is old: images, results, studies, what has no study, litter. A backup that is just made
        comes first.

        Args:
            whole: does all there is to do instead of one turn's worth.
        """
        with self._files.deleting() as may:
            if not may:
                log.info("nothing is deleted while a backup is made")
                return Turn(is_complete=False)
            done = self._once()
            while whole and not done.is_complete:
                more = self._once()
                rows, files = done.rows + more.rows, done.files + more.files
                done = replace(more, studies=done.studies + more.studies, files=files, rows=rows)
            litter = self._sweep(None if whole else _FOLDERS_AT_ONCE)
        done = replace(done, files=done.files + litter)
        if done.studies or done.files or done.rows:
            log.info("retention", studies=done.studies, files=done.files, rows=done.rows)
        return done

    def make_room(self) -> Turn:
        """Deletes images before their days are over while less than `free_bytes_start` is free, until
        `free_bytes_stop` is; possible priors last."""
        missing_bytes = self._missing_bytes(self._kept.free_bytes_start)
        if missing_bytes <= 0:
            return Turn()
        missing_bytes = self._missing_bytes(self._kept.free_bytes_stop)
        with self._files.deleting() as may:
            if not may:
                log.warning("the disk is nearly full, and a backup keeps what could be deleted")
                return Turn(is_complete=False)
            return self._free(missing_bytes)

    def _missing_bytes(self, wanted_bytes: int) -> int:
        return wanted_bytes - self._files.free_bytes() if wanted_bytes else 0

    def _free(self, missing_bytes: int) -> Turn:
        now, freed, studies, files = self._clock(), 0, 0, 0
        for with_priors in (False, True):
            for age in self._dispensable(now, with_priors=with_priors):
                if freed >= missing_bytes or studies >= _STUDIES_MAX:
                    log.warning("images deleted since the disk is nearly full", studies=studies, bytes=freed)
                    return Turn(studies, files, is_complete=freed >= missing_bytes)
                free = f"less than retention.free_bytes_start = {self._kept.free_bytes_start} bytes were free"
                deleted = self._deletions.forget_images(age, free, now)
                if deleted is not None:
                    studies, freed = studies + 1, freed + age.size_bytes
                    files += self._remove(deleted.paths, now)
        log.error(
            "the disk is nearly full, and nothing more may be deleted; make room in the folder of [storage]",
            studies=studies,
            bytes=freed,
        )
        return Turn(studies, files)

    def _dispensable(self, now: datetime, *, with_priors: bool) -> Iterator[StudyAge]:
        after = 0
        while page := self._deletions.ages(after, _PAGE):
            after = page[-1].newest_number
            for age in page:
                is_prior = is_possible_prior(age, self._rules, now)
                if is_prior == with_priors and may_make_room(age, now) and self._frees_space(age):
                    yield age

    def _frees_space(self, age: StudyAge) -> bool:
        """A file that a backup on the same disk links to takes its space whether we have it or not."""
        instances = self._index.instances(age.study_instance_uid)
        return not any(self._files.is_linked_elsewhere(instance.path) for instance in instances)

    def _once(self) -> Turn:
        now = self._clock()
        parts = (self._images(now), self._results(now), self._studies(now), self._others(now))
        return Turn(
            sum(part.studies for part in parts),
            sum(part.files for part in parts),
            sum(part.rows for part in parts),
            all(part.is_complete for part in parts),
        )

    def _images(self, now: datetime) -> Turn:
        studies = files = 0
        for _ in range(_PAGES_MAX):
            page = self._deletions.ages(self._after_number, _PAGE)
            if not page:
                self._after_number = 0
                return Turn(studies, files)
            for age in page:
                reason = reason_to_delete(age, self._rules, now)
                deleted = self._deletions.forget_images(age, reason, now) if reason else None
                if deleted is not None:
                    studies, files = studies + 1, files + self._remove(deleted.paths, now)
            self._after_number = page[-1].newest_number
            if studies >= _STUDIES_MAX:
                break
        return Turn(studies, files, is_complete=False)

    def _results(self, now: datetime) -> Turn:
        days = self._kept.result_days
        before, files, after_uid = now - timedelta(days=days), 0, ""
        for _ in range(_PAGES_MAX):
            uids = self._deletions.with_old_results(before, after_uid, _PAGE)
            if not uids:
                return Turn(files=files)
            for uid in uids:
                because = f"every draft ended {days} days ago; retention.result_days = {days}"
                files += self._remove(self._deletions.forget_results(uid, before, because, now).paths, now)
            after_uid = uids[-1]
        return Turn(files=files, is_complete=False)

    def _studies(self, now: datetime) -> Turn:
        uids = self._deletions.forgettable(now - timedelta(days=self._kept.study_days), _STUDIES_MAX)
        for uid in uids:
            self._deletions.forget_study(uid)
        return Turn(rows=len(uids), is_complete=len(uids) < _STUDIES_MAX)

    def _others(self, now: datetime) -> Turn:
        def since(days: int) -> datetime:
            return now - timedelta(days=days)

        messages = self._deletions.forget_messages(since(self._kept.quarantine_days), _ROWS_MAX)
        counts = (
            len(messages.paths),
            self._deletions.forget_reports(since(self._kept.report_days), _ROWS_MAX),
            self._deletions.forget_refusals(since(self._kept.refusal_days), _ROWS_MAX),
            self._deletions.forget_memories(since(self._kept.study_days), _ROWS_MAX),
        )
        is_complete = max(counts) < _ROWS_MAX
        return Turn(files=self._remove(messages.paths, now), rows=sum(counts), is_complete=is_complete)

    def _remove(self, paths: tuple[str, ...], now: datetime) -> int:
        return remove(self._files, paths, now)

    def _sweep(self, folders_max: int | None) -> int:
        """Removes files without a row, a few folders each time, and what transfers have left half-written."""
        untouched_since = self._clock() - timedelta(hours=LITTER_HOURS_MIN)
        folders = self._files.folders()
        first = 0 if folders_max is None else self._next_folder
        some = folders[first:] if folders_max is None else folders[first : first + folders_max]
        self._next_folder = first + len(some) if first + len(some) < len(folders) else 0
        removed = sum(self._sweep_folder(folder, untouched_since) for folder in some)
        return removed + self._files.sweep()

    def _sweep_folder(self, folder: str, untouched_since: datetime) -> int:
        paths, removed = sorted(self._files.untouched(folder, untouched_since)), 0
        for first in range(0, len(paths), _ROWS_MAX):
            some = paths[first : first + _ROWS_MAX]
            known = self._deletions.known_paths(some)
            litter = [path for path in some if path not in known]
            removed += sum(self._files.remove(path, untouched_since) for path in litter)
        return removed


def remove(files: Files, paths: tuple[str, ...], now: datetime) -> int:
    """Removes files whose rows are gone; what is too young for that is litter, and swept within a day or two."""
    untouched_since = now - timedelta(minutes=STORE_MINUTES_MAX)
    return sum(files.remove(path, untouched_since) for path in paths)
