"""What becomes of a draft at its destinations: which forms go where, and what an answer means for a delivery."""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import structlog

from agent.dicom.uids import drawn_uid
from agent.outgoing import Outgoing
from agent.outgoing import send as send_message
from agent.patience import Patience, pause_seconds
from agent.peers import CommitmentKind, CommitmentOutcome, CommitmentReport, StoreKind, StoreOutcome
from config.settings import DestinationSettings, OutputKind, ReceiverSettings, Settings
from storage.jobs import Deliveries, LeaseLost
from storage.records import Delivery, ResultObject, Stage

if TYPE_CHECKING:
    from agent.steps import Tools

log = structlog.get_logger()

Forms = Mapping[str, Sequence[tuple[OutputKind, ...]]]
"""By destination, what goes instead of each form that it refused: the first of these that the draft has."""

PROCESSING_FAILURE = 0x0110
"""The answer to a report on a transaction that is not known here (PS3.7 Annex C.5.21)."""

Addressee = DestinationSettings | ReceiverSettings
"""Who gets something of a draft: a destination objects, a receiver messages."""

_FAILURES_MAX = 3
"""As `failures_max` of a destination, for receivers of messages."""

_NOTHING_TAKEN = (StoreKind.NOT_SENT, StoreKind.REFUSED_FOR_NOW)


def forms_instead(deliveries: Sequence[Delivery], settings: Settings) -> Forms:
    """Says what goes instead of the forms that destinations have refused."""
    forms: dict[str, list[tuple[OutputKind, ...]]] = defaultdict(list)
    for delivery in deliveries:
        destination = settings.destination(delivery.destination)
        if destination is not None and delivery.replaced_by is not None:
            forms[destination.name].append(destination.forms_from(cast(OutputKind, delivery.replaced_by)))
    return forms


def kinds_to_make(
    before: Sequence[ResultObject], instead: Forms, settings: Settings
) -> tuple[OutputKind, ...]:
    """Names the kinds of object that a draft still lacks: what destinations get and, once one has refused it, what
    goes instead. Made only then, since a picture has 12 MB and most destinations never need it."""
    wanted = [] if before else list(settings.outputs_wanted())
    wanted += [kind for forms in instead.values() for one in forms for kind in one]
    there = {result.kind for result in before}
    return tuple(dict.fromkeys(kind for kind in wanted if kind not in there))


def wanted_of(
    results: Sequence[ResultObject], outputs: Sequence[OutputKind], instead: Sequence[tuple[OutputKind, ...]]
) -> list[str]:
    """Gives the SOP Instance UIDs that one destination gets."""
    there = {result.kind for result in results}
    chosen = [next((kind for kind in forms if kind in there), None) for forms in instead]
    kinds = {*outputs, *chosen}
    return [result.sop_instance_uid for result in results if result.kind in kinds]


def give_up_unknown(deliveries: Sequence[Delivery], tools: "Tools") -> None:
    """Gives up what goes to a destination that peers.toml no longer has."""
    for delivery in deliveries:
        # Without the delivery's number: the status tells what has one reason in one line.
        reason = (
            f'destination "{delivery.destination}" is no longer in peers.toml; put it back, then: '
            f'preread deliveries replay --destination "{delivery.destination}"'
        )
        tools.jobs.deliveries.failed(delivery, reason, tools.clock())
    tools.jobs.deliveries.recovered(deliveries[0].destination, tools.clock())


def send(deliveries: Sequence[Delivery], addressee: Addressee, tools: "Tools") -> tuple[StoreOutcome, ...]:
    """Sends what is due, objects to a destination or messages to a receiver; one outcome for each, in their order."""
    results = {r.sop_instance_uid: r.path for r in tools.jobs.results_of_job(deliveries[0].job_number)}
    paths = [tools.files.absolute(results[delivery.sop_instance_uid]) for delivery in deliveries]
    if isinstance(addressee, DestinationSettings):
        return tools.peers.store(addressee, paths)
    job = tools.jobs.job(deliveries[0].job_number)
    name = f"{job.study_instance_uid}_r{job.revision}"
    return tuple(
        send_message(addressee, Outgoing(delivery.sop_instance_uid, name, path.read_bytes()), tools.clock())
        for delivery, path in zip(deliveries, paths, strict=True)
    )


def note_outcomes(
    deliveries: Sequence[Delivery],
    outcomes: Sequence[StoreOutcome],
    addressee: Addressee,
    tools: "Tools",
    patience: Patience,
) -> None:
    """Writes down what became of each delivery, and whether the destination is to rest."""
    destination = addressee if isinstance(addressee, DestinationSettings) else None
    is_draft = tools.jobs.job(deliveries[0].job_number).manifest_json is not None
    # `compose` would make a draft of it: what takes a draft back has the one form that was chosen for it.
    fallback = destination.fallback if destination is not None and is_draft else {}
    kinds = {r.sop_instance_uid: r.kind for r in tools.jobs.results_of_job(deliveries[0].job_number)}
    pause = _note_trouble(outcomes, addressee, tools, patience)
    taken = []
    for delivery, outcome in zip(deliveries, outcomes, strict=True):
        now, reason = tools.clock(), _reason(outcome)
        instead = fallback.get(cast(OutputKind, kinds[delivery.sop_instance_uid]))
        match outcome.kind:
            case StoreKind.TAKEN if destination is not None and destination.commitment:
                taken.append((delivery, outcome))
            case StoreKind.TAKEN:
                tools.jobs.deliveries.delivered(delivery, outcome.status, now, outcome.problem)
            case StoreKind.CLASS_REFUSED if instead is not None:
                _log_not_delivered(delivery, _for_the_log(outcome))
                tools.jobs.deliveries.replaced(delivery, instead, reason, now, outcome.status)
            case StoreKind.CLASS_REFUSED | StoreKind.REFUSED_FOR_GOOD:
                _log_not_delivered(delivery, _for_the_log(outcome))
                tools.jobs.deliveries.failed(delivery, reason, now, outcome.status)
            case _:
                _wait(delivery, outcome, now + pause, tools, patience)
    if destination is not None and taken:
        _ask_to_commit(taken, destination, tools, patience)


def _note_trouble(
    outcomes: Sequence[StoreOutcome], addressee: Addressee, tools: "Tools", patience: Patience
) -> timedelta:
    """Notes that a destination took nothing, or that it answers again; says how long what waits is to wait."""
    failures_max = addressee.failures_max if isinstance(addressee, DestinationSettings) else _FAILURES_MAX
    now, before = tools.clock(), tools.jobs.deliveries.trouble(addressee.name)
    troubled_seconds = 0.0 if before is None else (now - before.since).total_seconds()
    pause = timedelta(seconds=pause_seconds(troubled_seconds, patience, random.random()))
    if any(outcome.kind not in _NOTHING_TAKEN for outcome in outcomes):
        if tools.jobs.deliveries.recovered(addressee.name, now):
            log.info("destination answers again", destination=addressee.name)
        return pause
    failures = 1 if before is None else before.failures + 1
    rests_until = now + pause if failures >= failures_max else None
    noted = tools.jobs.deliveries.stumbled(addressee.name, _reason(outcomes[-1]), rests_until, now)
    if noted.failures == failures_max:
        log.warning(
            "destination rests",
            destination=addressee.name,
            failures=failures,
            reason=_for_the_log(outcomes[-1]),
        )
    return pause


def _wait(
    delivery: Delivery, outcome: StoreOutcome, due_at: datetime, tools: "Tools", patience: Patience
) -> None:
    now, reason = tools.clock(), _reason(outcome)
    waited_seconds = _waited_seconds(delivery, now)
    if waited_seconds > patience.wait_seconds[Stage.DELIVER]:
        _log_not_delivered(delivery, _for_the_log(outcome))
        text = f"tried for {waited_seconds:.0f} s: {reason}"
        tools.jobs.deliveries.failed(delivery, text, now, outcome.status)
        return
    log.info(
        "delivery waits",
        job=delivery.job_number,
        destination=delivery.destination,
        reason=_for_the_log(outcome),
    )
    tools.jobs.deliveries.later(delivery, reason, due_at, now, outcome.status)


def _reason(outcome: StoreOutcome) -> str:
    return outcome.problem or f"status 0x{outcome.status or 0:04X}"


def _for_the_log(outcome: StoreOutcome) -> str:
    """The reason, but for a peer's own words: they may name the patient."""
    return "refused with a reason of its own; see preread status" if outcome.is_quoting else _reason(outcome)


def _log_not_delivered(delivery: Delivery, reason: str) -> None:
    log.warning("not delivered", job=delivery.job_number, destination=delivery.destination, reason=reason)


def _ask_to_commit(
    taken: Sequence[tuple[Delivery, StoreOutcome]],
    destination: DestinationSettings,
    tools: "Tools",
    patience: Patience,
) -> None:
    """Asks a destination to commit to what it took; what it does not commit to in time is due again."""
    classes = {r.sop_instance_uid: r.sop_class_uid for r in tools.jobs.results_of_job(taken[0][0].job_number)}
    # Drawn, since numbers of deliveries and claims can be guessed. Each try has one of its own anyhow: a second
    # request under the same would have two reports. The rows keep it, so it need not be made again.
    transaction_uid = drawn_uid()
    for delivery, outcome in taken:
        status = outcome.status or 0
        tools.jobs.deliveries.taken(delivery, transaction_uid, status, tools.clock(), outcome.problem)
    objects = [(classes[one.sop_instance_uid], one.sop_instance_uid) for one, _ in taken]

    def take(report: CommitmentReport) -> int:
        return note_commitment(report, {destination.name}, tools.jobs.deliveries, tools.clock(), patience)

    asked = tools.peers.request_commitment(destination, transaction_uid, objects, take)
    for delivery, outcome in taken:
        with suppress(LeaseLost):  # the report was quicker than we
            _note_asked(delivery, outcome, asked, destination, tools, patience)


def _note_asked(
    delivery: Delivery,
    stored: StoreOutcome,
    asked: CommitmentOutcome,
    destination: DestinationSettings,
    tools: "Tools",
    patience: Patience,
) -> None:
    now, status = tools.clock(), stored.status or 0
    if asked.kind is CommitmentKind.NOT_OFFERED:
        log.warning(
            "not committed to", job=delivery.job_number, destination=destination.name, reason=asked.problem
        )
        tools.jobs.deliveries.delivered(delivery, status, now, asked.problem)
    elif _waited_seconds(delivery, now) > patience.wait_seconds[Stage.DELIVER]:
        reason = (
            asked.problem
            or f'destination "{destination.name}" took it again and again and never committed to it'
        )
        _log_not_delivered(delivery, reason)
        tools.jobs.deliveries.failed(delivery, reason, now, status)
    elif asked.kind is CommitmentKind.ASKED:
        until = now + timedelta(seconds=destination.commitment_seconds)
        tools.jobs.deliveries.await_commitment(delivery, until, now)
    else:
        pause = pause_seconds(_waited_seconds(delivery, now), patience, random.random())
        tools.jobs.deliveries.later(
            delivery, asked.problem or "", now + timedelta(seconds=pause), now, status
        )


def noting_commitments(
    destinations: Sequence[DestinationSettings],
    deliveries: Deliveries,
    clock: Callable[[], datetime],
    patience: Patience,
) -> Callable[[CommitmentReport, str], int]:
    """Gives what takes reports at our port: whoever calls itself by an AE title answers for its own destinations."""

    def take(report: CommitmentReport, calling_ae_title: str) -> int:
        reporters = {one.name for one in destinations if one.commitment and one.ae_title == calling_ae_title}
        return note_commitment(report, reporters, deliveries, clock(), patience)

    return take


def note_commitment(
    report: CommitmentReport,
    reporters: Collection[str],
    deliveries: Deliveries,
    now: datetime,
    patience: Patience,
) -> int:
    """Writes down what a destination commits to and what not; gives the status to answer it with (PS3.7 10.1.1).

    What it does not commit to is sent again, `attempts_max` times in all. What it does not name waits on.

    Args:
        reporters: names of the destinations that the reporter may be. Others may have seen the transaction UID on
            the network, so what went to them is none of its business.
    """
    asked_for = {
        delivery.sop_instance_uid: delivery
        for delivery in deliveries.awaiting(report.transaction_uid)
        if delivery.destination in reporters
    }
    if not asked_for:
        log.warning("commitment to what nobody asked for", transaction_uid=report.transaction_uid)
        return PROCESSING_FAILURE
    for sop_instance_uid in report.committed:
        if sop_instance_uid in asked_for:
            deliveries.committed(asked_for[sop_instance_uid], now)
    for sop_instance_uid, failure in report.failed:
        delivery = asked_for.get(sop_instance_uid)
        if delivery is not None:
            reason = f'destination "{delivery.destination}" took it and does not commit to it (reason {failure:04X})'
            tries = delivery.attempts + 1
            pause = pause_seconds(delivery.attempts * patience.retry_seconds_min, patience, random.random())
            due_at = now + timedelta(seconds=pause) if tries < patience.attempts_max else None
            deliveries.uncommitted(delivery, reason, due_at, now)
    return 0x0000


def _waited_seconds(delivery: Delivery, now: datetime) -> float:
    return (now - (delivery.waiting_since or now)).total_seconds()
