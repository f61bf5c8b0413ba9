"""The straight line: what happens to a study, from complete to delivered.

receive → **settle → gather → read → compose → deliver**. The listener does the first (agent/listener); each of the
others is one function here, in this order, and ends in one commit that moves the job to the right.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from agent import manifest as manifests
from agent.closing import close_if_reported, in_force
from agent.deciding import for_destinations, kept_rule, select_under, study_facts, under, yields_seconds
from agent.delivering import (
    forms_instead,
    give_up_unknown,
    kinds_to_make,
    note_outcomes,
    send,
    wanted_of,
)
from agent.errors import GiveUp, TryLater
from agent.fetching import order_of
from agent.gathering import await_priors, exam_of, priors_of, rules_of
from agent.identity import rules_of_peers
from agent.manifest import Manifest, ManifestOrder
from agent.patience import Patience
from agent.peers import Arrived, Peers
from agent.rules import Decision, decide
from agent.selection import Selection, complete_because
from config.settings import Settings
from storage.files import Files
from storage.index import Index
from storage.jobs import Jobs
from storage.orders import Orders
from storage.outside_records import Order
from storage.records import Delivery, Instance, Job, ResultObject, Stage, Study
from storage.reports import Reports
from storage.requests import PriorRequests

if TYPE_CHECKING:
    from inference.engine import Engine
    from inference.reading import Reading

log = structlog.get_logger()

_REPORT_DAYS = 14
"""At the start reports of so many days are looked at: an import of years must not hold up the first tick."""

MEMORY_SECONDS = 30.0
"""Between two tries where memory was short: others on the card finish a case in about that time."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps work with; built once in `service.py`.

    Attributes:
        engine: the loaded model, None in the process that listens.
        take: keeps an object that an archive sent over a connection of ours, as the listener does; gives the
            DIMSE status. None in the process that reads.
    """

    clock: Callable[[], datetime]
    files: Files
    index: Index
    jobs: Jobs
    reports: Reports
    requests: PriorRequests
    orders: Orders
    peers: Peers
    engine: "Engine | None"
    settings: Settings
    take: Callable[[Arrived, str], int] | None = None


def settle(tools: Tools) -> int:
    """Opens a job for each study that is complete and has images no job has seen; returns how many."""
    now = tools.clock()
    rules = rules_of(tools.settings)
    opened = 0
    for study in tools.index.unread():
        because = complete_because(
            [instance.view_group for instance in study.instances], study.newest_received_at, now, rules
        )
        if because is None or _is_being_read(study.study_instance_uid, tools):
            continue
        closing = in_force(study.study_instance_uid, tools.jobs)
        if closing is not None:
            tools.jobs.closings.pass_over(study.study_instance_uid, study.newest_number, closing.because, now)
            continue
        job = tools.jobs.open(study.study_instance_uid, study.newest_number, because, now)
        if job is not None:
            opened += 1
            log.info(
                "study complete",
                study=study.study_instance_uid,
                job=job.number,
                revision=job.revision,
                because=because,
            )
    return opened


def close_reported(tools: Tools, looked_at: int) -> int:
    """Ends the drafts of studies whose final report has come; gives the number of the newest report, for the next call.

    Args:
        looked_at: what the last call gave; 0 looks at all that came lately.
    """
    if not tools.settings.reading.study.close_when_reported:
        return looked_at
    lately = tools.clock() - timedelta(days=_REPORT_DAYS)
    newest, named = tools.jobs.closings.reported_since(looked_at, lately)
    for study_instance_uid in named:
        study = tools.index.study(study_instance_uid)
        if study is not None:
            close_if_reported(study, tools.index, tools.reports, tools.jobs, tools.settings, tools.clock())
    return newest


def gather(job: Job, tools: Tools) -> Job:
    """Decides what the model will see: images of this study, earlier exams of the patient, and why not others.

    First of all the rules of the site are asked: which of them fits, and whether the study is read at all. Then
    archives are asked for earlier exams; the job waits for them, but no longer than `priors.wait_seconds`. A study that
    a radiologist has reported by now is closed instead.
    """
    study = tools.index.study(job.study_instance_uid)
    if study is None:
        raise GiveUp(f"study {job.study_instance_uid} is not in the index; its images were deleted")
    instances = tools.index.instances(job.study_instance_uid, job.watermark)
    orders = tools.orders.of_study(study.study_instance_uid, study.accession_number)
    order = order_of(study, orders, rules_of_peers(tools.settings.peers))
    job, decision = _decided(job, study, instances, order, tools)
    settings = under(tools.settings, decision.rule)
    today = tools.clock().astimezone().date()
    selection, refusal = select_under(decision.rule, study, instances, tools.files, settings, today)
    if refusal is not None:
        reason, is_rule = refusal
        raise GiveUp(reason, is_skip=is_rule)
    if close_if_reported(study, tools.index, tools.reports, tools.jobs, tools.settings, tools.clock()):
        return tools.jobs.job(job.number)

    asked = await_priors(job, study, tools.requests, settings, tools.clock())
    priors = priors_of(study, len(selection.images), tools.index, tools.files, tools.reports, settings, asked)
    indication, from_order = _indication(selection, order, settings)
    manifest = Manifest(
        current=exam_of(study, selection.images, instances, settings),
        priors=priors.exams,
        indication=indication,
        passed_over=priors.passed_over,
        left_out=selection.left_out,
        complete_because=job.complete_because,
        notes=(*priors.notes, *from_order),
        rule=kept_rule(decision),
        order=_kept_order(order),
        configuration=tools.settings.digest,
    )
    counts = len(selection.images), len(priors.exams), len(priors.passed_over)
    event = "will read {} images with {} priors, {} passed over".format(*counts)
    return tools.jobs.advance(
        job, Stage.READ, tools.clock(), manifest_json=manifests.dump_manifest(manifest), event=event
    )


def _decided(
    job: Job, study: Study, instances: Sequence[Instance], order: Order | None, tools: Tools
) -> tuple[Job, Decision]:
    """Finds the rule that a study falls under, and notes it if that is another than at the last try."""
    settings = tools.settings
    if not settings.reading.rules and job.rule is None:
        return job, Decision(None, "there are no rules", ())
    facts = study_facts(study, instances, order, tools.files, settings)
    decision = decide(facts, settings.reading.rules)
    if (job.rule, job.priority) == (decision.name, decision.priority):
        return job, decision
    seconds = yields_seconds(decision.priority, settings.agent.worker.routine_yields_seconds)
    event = f"{decision.words()} (priority {decision.priority})"
    job = tools.jobs.decide(job, decision.name, decision.priority, seconds, tools.clock(), event=event)
    return job, decision


def _indication(
    selection: Selection, order: Order | None, settings: Settings
) -> tuple[str | None, tuple[str, ...]]:
    """Why the exam was asked for, and a sentence if only its order says so."""
    sent = next((image.indication for image in selection.images if image.indication), None)
    if sent is not None or not settings.reading.orders.use_indication:
        return sent, ()
    if order is None or not order.indication:
        return None, ()
    return order.indication, (
        f"the indication is that of the order, told by {order.source}; no image has one",
    )


def _kept_order(order: Order | None) -> ManifestOrder | None:
    if order is None:
        return None
    numbers = order.placer_order_number, order.filler_order_number
    return ManifestOrder(order.source, *numbers, order.requested_procedure)


def read(job: Job, tools: Tools) -> Job:
    """Shows the case to the model and keeps every word of the conversation."""
    # numpy and the decoders stay out of the process that listens
    from agent.casework import case_of
    from inference.engine import OutOfMemory

    if tools.engine is None:
        raise AssertionError("stage read was claimed by a process without a model")
    manifest = manifests.load_manifest(_present(job.manifest_json))
    case, problems = case_of(manifest, tools.files, tools.settings)
    try:
        answered = tools.engine.read(case)
    except OutOfMemory as error:
        raise TryLater(error.reason, MEMORY_SECONDS) from error
    return keep_reading(job, tools, replace(answered, problems=(*problems, *answered.problems)))


def read_ahead(jobs: Sequence[Job], tools: Tools) -> dict[int, "Reading"]:
    """Shows the cases of several jobs to the model at once; the readings by job number, for `keep_reading`.

    A job whose images cannot be shown is left out: `read` says why.
    """
    from agent.casework import case_of
    from inference.engine import BatchEngine

    assert isinstance(tools.engine, BatchEngine), "the worker's batch_max is 1 for other engines"
    shown = {}
    for job in jobs:
        manifest = manifests.load_manifest(_present(job.manifest_json))
        with suppress(GiveUp):
            shown[job.number] = case_of(manifest, tools.files, tools.settings)
    answered = tools.engine.read_many([case for case, _ in shown.values()])
    return {
        number: replace(reading, problems=(*problems, *reading.problems))
        for (number, (_, problems)), reading in zip(shown.items(), answered, strict=True)
    }


def keep_reading(job: Job, tools: Tools, reading: "Reading") -> Job:
    """Keeps what the model said of a job's case, its scores calibrated where the site can, and moves the job on."""
    from agent.casework import calibrations_of
    from inference.calibration import calibrated
    from inference.reading import Status

    reading = replace(
        calibrated(reading, calibrations_of(tools.settings)), configuration=tools.settings.digest
    )
    present = [one.name for one in reading.findings if one.status is not Status.ABSENT]
    named = ", ".join(present) or "nothing"
    event = f"{reading.engine.model_name} named {named}, in {reading.seconds:.2f} s"
    kept = manifests.dump_reading(reading)
    return tools.jobs.advance(
        job, Stage.COMPOSE, tools.clock(), reading_json=kept, event=event, done_by=reading.engine.name
    )


def compose(job: Job, tools: Tools) -> Job:
    """Makes the objects and messages of the draft, and one delivery of each for everybody who gets it.

    A job comes here again when a destination has refused a form and the one that goes instead is still to be made.
    """
    from agent.casework import draft_of, messages_of, results_of  # as above, and highdicom

    manifest = manifests.load_manifest(_present(job.manifest_json))
    if manifest.rule is not None and manifest.rule.is_shadow:
        event = f'kept for comparison, nothing is sent: rule "{manifest.rule.name}" is in shadow'
        return tools.jobs.advance(job, Stage.DONE, tools.clock(), event=event)
    reading = manifests.load_reading(_present(job.reading_json))
    settings = for_destinations(tools.settings, manifest.rule)
    before = tools.jobs.results_of_job(job.number)
    instead = forms_instead(tools.jobs.deliveries.of_job(job.number), settings)
    kinds = kinds_to_make(before, instead, settings)
    made, problems = results_of(job, manifest, reading, tools.files, tools.jobs, settings, kinds)
    objects = (*before, *made)
    destinations = {
        destination.name: wanted_of(objects, settings.outputs_of(destination), instead[destination.name])
        for destination in settings.peers.destinations
    }
    messages: dict[str, ResultObject] = {}
    if settings.peers.receivers and not before:
        study = tools.index.study(job.study_instance_uid)
        assert study is not None, "a study with a job is never deleted alone"
        draft = draft_of(job, manifest, reading, study, tools.files, tools.jobs, settings)
        messages = messages_of(replace(draft, objects=objects), job.number, tools.files, settings)
    receivers = {name: [message.sop_instance_uid] for name, message in messages.items()}
    event = f"made {len(made)} objects for {len(destinations)} destinations"
    if messages:
        event += f", {len(messages)} messages for as many receivers"
    event = ". ".join([event, *problems])
    return tools.jobs.advance(
        job,
        Stage.DELIVER,
        tools.clock(),
        results=(*objects, *messages.values()),
        destinations=destinations | receivers,
        replacing=tuple(receivers),
        event=event,
        problem=" ".join(problems) or None,
    )


def deliver(deliveries: Sequence[Delivery], tools: Tools, patience: Patience) -> None:
    """Sends what one destination or receiver gets of one job, and notes what became of each: taken, refused and
    another form goes instead, to be tried again, or given up."""
    name = deliveries[0].destination
    addressee = tools.settings.destination(name) or tools.settings.receiver(name)
    if addressee is None:
        give_up_unknown(deliveries, tools)
        return
    outcomes = send(deliveries, addressee, tools)
    note_outcomes(deliveries, outcomes, addressee, tools, patience)


def _is_being_read(study_instance_uid: str, tools: Tools) -> bool:
    """A late image waits until the revision before it is composed, so that drafts come out in order."""
    return any(job.stage in STEPS for job in tools.jobs.jobs_of_study(study_instance_uid))


STEPS: Mapping[Stage, Callable[[Job, Tools], Job]] = {
    Stage.GATHER: gather,
    Stage.READ: read,
    Stage.COMPOSE: compose,
}
"""The step that takes a job at each stage; deliveries have their own queue."""


def _present(text: str | None) -> str:
    assert text is not None, "the stage before this one commits its JSON with the move"
    return text
