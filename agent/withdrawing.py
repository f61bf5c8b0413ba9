"""Takes a draft back: everybody who may hold it is told, through the same deliveries as the draft."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from agent.casework import draft_of, messages_of, withdrawal_objects
from agent.errors import GiveUp
from agent.manifest import load_manifest, load_reading
from agent.operators import operator
from agent.store import Store, existing_store
from config.settings import Settings
from storage.records import Closing, ClosingKind, Delivery, Job, ResultObject

WHY_CHARACTERS_MAX = 500


def withdraw(settings: Settings, study_instance_uid: str, why: str, now: datetime) -> str:
    """Withdraws the drafts of a study and says who is told; nothing else of it is sent any more.

    Args:
        why: goes to everybody who is told, as it is.

    Raises:
        LookupError: if there is no draft of the study, or it is withdrawn already.
        ValueError: if `why` is empty or too long, or an image that the withdrawal needs is gone.
    """
    because = " ".join(why.split())
    if not because or len(because) > WHY_CHARACTERS_MAX:
        raise ValueError(
            f"--why needs a reason of 1 to {WHY_CHARACTERS_MAX} characters; it goes out as it is"
        )
    store = existing_store(settings)
    try:
        return _withdrawn(settings, store, study_instance_uid, because, now)
    except GiveUp as error:
        raise ValueError(f"not withdrawn: {error.reason}") from error
    finally:
        store.database.close()


def _withdrawn(settings: Settings, store: Store, study_instance_uid: str, because: str, now: datetime) -> str:
    jobs = store.jobs.jobs_of_study(study_instance_uid)
    if not jobs:
        raise LookupError(f"there is no draft of study {study_instance_uid}")
    revision = jobs[-1].revision + 1
    held = _held(store, jobs)
    closing = Closing(study_instance_uid, ClosingKind.WITHDRAWN, because, None, now)
    results, destinations = _made(settings, store, jobs, closing, revision, held)
    job = store.jobs.closings.withdraw(closing, revision, results, destinations, operator())
    gone = [name for name in held if name not in destinations]
    lines = [
        f"study {study_instance_uid} is withdrawn"
        + (
            ", nobody has got a draft of it"
            if job is None
            else f": revision {job.revision}, job {job.number}"
        )
    ]
    lines += [f"  {name} will be told" for name in destinations]
    lines += [f'  "{name}" may hold a draft and is no longer in peers.toml: tell it by hand' for name in gone]
    return "\n".join(lines)


def _held(store: Store, jobs: tuple[Job, ...]) -> dict[str, tuple[ResultObject, ...]]:
    """What each destination and receiver may hold of ours, by its name."""
    held: dict[str, list[ResultObject]] = {}
    for job in jobs:
        results = {result.sop_instance_uid: result for result in store.jobs.results_of_job(job.number)}
        for delivery in filter(_may_be_there, store.jobs.deliveries.of_job(job.number)):
            held.setdefault(delivery.destination, []).append(results[delivery.sop_instance_uid])
    return {name: tuple(results) for name, results in held.items()}


def _may_be_there(delivery: Delivery) -> bool:
    """It was taken, or was on its way and nobody knows.

    Not there is what was never tried, what is of a form that the destination refuses, and what was refused at its only
    try. Of several tries one may have ended without an answer, and the destination took it all the same.
    """
    is_given_up = delivery.failed_at is not None and not delivery.is_stopped
    was_refused = is_given_up and delivery.claim_number == 1 and delivery.attempts == 0
    is_tried = delivery.claim_number > 0 and delivery.replaced_by is None
    return delivery.taken_at is not None or (is_tried and not was_refused)


def _made(
    settings: Settings,
    store: Store,
    jobs: tuple[Job, ...],
    closing: Closing,
    revision: int,
    held: dict[str, tuple[ResultObject, ...]],
) -> tuple[tuple[ResultObject, ...], dict[str, list[str]]]:
    """The withdrawal in every form, and who gets which."""
    drafts = [job for job in jobs if job.reading_json is not None and job.manifest_json is not None]
    if not held or not drafts:
        return (), {}
    last = drafts[-1]
    job = replace(last, revision=revision, opened_at=closing.closed_at)
    manifest, reading = load_manifest(last.manifest_json or ""), load_reading(last.reading_json or "")
    study = store.index.study(job.study_instance_uid)
    assert study is not None, "a study with a job is never deleted alone"
    draft = draft_of(job, manifest, reading, study, store.files, store.jobs, settings)
    objects = withdrawal_objects(
        job, manifest, reading.engine, closing.because, held, store.files, store.jobs, settings
    )
    made = tuple({result.sop_instance_uid: result for result in objects.values()}.values())
    withdrawn = replace(draft, withdrawn_because=closing.because, reasons=(), objects=made)
    messages = messages_of(withdrawn, last.number, store.files, settings, names=held.keys())
    told = messages | objects
    unique = {result.sop_instance_uid: result for result in told.values()}
    return tuple(unique.values()), {name: [told[name].sop_instance_uid] for name in _in_order(told, held)}


def _in_order(told: dict[str, ResultObject], held: dict[str, tuple[ResultObject, ...]]) -> Iterator[str]:
    return (name for name in held if name in told)
