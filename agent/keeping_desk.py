"""What an operator does with what is kept: holds a study, lets it go on, deletes it, and sees what would go."""

from collections.abc import Iterator
from pathlib import Path

from agent.clock import system_clock
from agent.keeping import backup
from agent.keeping.retention import Retention, remove
from agent.operators import operator
from agent.store import Store, existing_store
from config.settings import Settings
from storage.audit_records import AuditEvent, AuditRecord

_OLDEST_COPIED = "0008"
"""Older databases cannot be told that they were copied: they have no audit records."""


def hold(settings: Settings, study_instance_uid: str, why: str) -> str:
    """Holds a study and says what that means now. Raises LookupError if it is unknown or held."""
    store = existing_store(settings)
    try:
        store.holds.hold(study_instance_uid, operator(), why, system_clock())
        going = [job for job in store.jobs.jobs_of_study(study_instance_uid) if job.lease_owner is not None]
        under_way = f"; {going[0].stage} is under way and still ends" if going else ""
        return f"study {study_instance_uid} is held: nothing of it is read, sent or deleted{under_way}"
    finally:
        store.database.close()


def release(settings: Settings, study_instance_uid: str) -> str:
    """Lets a held study go on. Raises LookupError if it is not held."""
    store = existing_store(settings)
    try:
        ended = store.holds.release(study_instance_uid, operator(), system_clock())
        since = ended.held_at.isoformat(timespec="seconds")
        return f"study {study_instance_uid} goes on; it was held by {ended.held_by} since {since}"
    finally:
        store.database.close()


def what_is_here(settings: Settings, study_instance_uid: str) -> str:
    """Says what deleting a study would take. Raises LookupError if it is unknown."""
    store = existing_store(settings)
    try:
        if store.index.study(study_instance_uid) is None:
            raise LookupError(f"study {study_instance_uid} is unknown: nothing of it was received")
        images = len(store.index.instances(study_instance_uid))
        jobs = store.jobs.jobs_of_study(study_instance_uid)
        results = sum(len(store.jobs.results_of_job(job.number)) for job in jobs)
        return f"study {study_instance_uid}: {images} instances, {len(jobs)} drafts, {results} result objects"
    finally:
        store.database.close()


def delete(settings: Settings, study_instance_uid: str, why: str) -> str:
    """Deletes a study with all that was made of it; what destinations have, they keep.

    Raises:
        LookupError: if it is unknown, or something that may need it is on its way.
        ValueError: while a backup is made.
    """
    store = existing_store(settings)
    try:
        with store.files.deleting() as may:
            if not may:
                raise ValueError("a backup or retention is just at work; try again when it has ended")
            now = system_clock()
            deleted = store.deletions.delete_study(study_instance_uid, operator(), why, now)
            left = len(deleted.paths) - remove(store.files, deleted.paths, now)
        young = f"; {left} files are too young to remove safely and go within two days" if left else ""
        what = f"{deleted.instances} instances and {deleted.results} result objects"
        return f"study {study_instance_uid} is deleted: {what}{young}"
    finally:
        store.database.close()


def what_would_go(settings: Settings) -> Iterator[str]:
    """Names each study whose images retention would delete now, with the reason, and at last how much that is."""
    store = existing_store(settings)
    try:
        studies = size_bytes = 0
        for age, reason in _retention(settings, store).due():
            studies, size_bytes = studies + 1, size_bytes + age.size_bytes
            yield f"images of {age.study_instance_uid}: {age.instances}, {age.size_bytes / 1e6:.1f} MB; {reason}"
        yield f"{studies} studies, {size_bytes / 1e6:.1f} MB of images"
    finally:
        store.database.close()


def retain(settings: Settings) -> str:
    """Deletes now what is not kept any longer, and says how much. Raises ValueError while a backup is made."""
    store = existing_store(settings)
    try:
        done = _retention(settings, store).turn(whole=True)
    finally:
        store.database.close()
    if not done.is_complete:
        raise ValueError("a backup or retention is just at work; try again when it has ended")
    return f"images of {done.studies} studies deleted, {done.files} files removed, {done.rows} old rows forgotten"


def back_up(settings: Settings, to: Path) -> str:
    """Makes a backup in a new folder within `to`, and says what is in it.

    A database that an older preread serves from is copied as it is: the backup is the way back from an upgrade.

    Raises:
        ValueError: if none could be made.
    """
    store = existing_store(settings, oldest_revision=_OLDEST_COPIED)
    try:
        now = system_clock()
        made = backup.make(store.database, store.files, store.deletions.all_paths(), to, now)
        told = f"backup by {operator()}: {made.files} files"
        store.audits.add(AuditRecord(now, AuditEvent.EXPORTED, made.folder, detail=told))
    except backup.BackupError as error:
        raise ValueError(error.args[0]) from error
    finally:
        store.database.close()
    lost = f"; {made.missing} files that rows name were not there" if made.missing else ""
    return f"{made.folder}: database and {made.files} files, {made.size_bytes / 1e6:.1f} MB{lost}"


def verify(folder: Path) -> str:
    """Reads a whole backup. Raises ValueError with everything that is wrong with it."""
    try:
        found = list(backup.problems(folder))
    except backup.BackupError as error:
        raise ValueError(error.args[0]) from error
    if found:
        raise ValueError("\n".join(found))
    return f"{folder} is whole"


def restore(folder: Path, to: Path) -> str:
    """Makes a store of a backup, and says what is left to do. Raises ValueError if it cannot."""
    try:
        return f"restored to {to}; now {backup.restore(folder, to.absolute())}"
    except backup.BackupError as error:
        raise ValueError(error.args[0]) from error


def _retention(settings: Settings, store: Store) -> Retention:
    return Retention(lambda: settings, store.deletions, store.files, store.index, system_clock)
