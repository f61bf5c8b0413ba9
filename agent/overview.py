"""What an operator asks: what waits, what went wrong, and why one study was read as it was."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from agent import manifest as manifests
from agent import writable
from agent.clock import system_clock
from agent.manifest import Manifest, ManifestRule
from agent.presence import lacks, look
from agent.second import standing_of
from agent.store import Store, existing_store
from config.settings import Settings
from inference.reading import Reading
from storage.index import PatientHistory
from storage.outside_records import QuarantinedMessage
from storage.records import (
    Delivery,
    Instance,
    InstanceRole,
    Job,
    Refusal,
    SecondReading,
    Stage,
    Study,
    TroubledDestination,
    Undelivered,
)

_TOLD_FOR = timedelta(days=1)
"""How long the status tells what failed; `preread list` and `preread deliveries list` tell the rest."""

_REFUSALS_MAX = 1000
"""The newest refusals that the status groups: one sender that repeats itself must not hide the others."""


def status(settings: Settings, limit: int) -> dict[str, Any]:
    """Collects counts and what is wrong, as plain values for JSON. What failed is told for a day.

    Args:
        limit: entries at most in each list; "more" says of some how many are left out.
    """
    store, folder = existing_store(settings), settings.agent.storage.folder
    try:
        now, free_bytes = system_clock(), store.files.free_bytes()
        waiting, waiting_count = store.jobs.waiting(limit)
        failed, failed_count = store.jobs.failed_since(now - _TOLD_FOR, limit)
        undelivered, left_out = store.jobs.deliveries.undelivered(now - _TOLD_FOR, limit)
        refused = _refused(store.index.refusals(_REFUSALS_MAX))
        return {
            "folder": str(folder.absolute()),
            "service": _lacks(settings, store, now),
            "jobs": {stage.value: number for stage, number in store.jobs.counts().items()},
            "store": store.index.counts() | store.reports.counts(),
            "second_readings": standing_of(store.jobs.second_readings, settings, now),
            "free_bytes": free_bytes,
            "disk": writable.of_full_disk(folder, free_bytes, settings.agent.listener.free_bytes_min),
            "waiting": [_job_row(job) for job in waiting],
            "problems": [_job_row(job) for job in failed],
            "in_doubt": [
                {"study": study.study_instance_uid, "problem": study.conflict}
                for study in store.index.in_doubt(limit)
            ],
            "troubled": _troubled(store),
            "unanswered": [
                {**asdict(group), "since": group.since.isoformat(timespec="seconds")}
                for group in store.requests.unanswered(now - _TOLD_FOR, limit)
            ],
            "held": [
                {**asdict(hold), "held_at": hold.held_at.isoformat()} for hold in store.holds.held(limit)
            ],
            "undelivered": [_undelivered_row(group) for group in undelivered],
            "more": {
                "waiting": waiting_count - len(waiting),
                "problems": failed_count - len(failed),
                "undelivered": left_out,
                "refusals": max(len(refused) - limit, 0),
            },
            "quarantine": [_quarantine_row(message) for message in store.reports.quarantined(limit)],
            "refusals": refused[:limit],
        }
    finally:
        store.database.close()


def _lacks(settings: Settings, store: Store, now: datetime) -> list[str]:
    """Which processes should run and do not, a sentence each."""
    presence = look(settings.agent.storage.folder, store.processes, now)
    wants_second = settings.reading.second_engine is not None
    return [lack.text for lack in lacks(presence, wants_second=wants_second)]


def _undelivered_row(group: Undelivered) -> dict[str, Any]:
    since = None if group.since is None else group.since.isoformat(timespec="seconds")
    return {**asdict(group), "since": since}


def _is_troubled(delivery: Delivery) -> bool:
    """It is not taken, nothing goes instead, and there is a sentence why."""
    is_over = delivery.done_at is not None or delivery.replaced_by is not None or delivery.is_stopped
    return bool(delivery.problem) and not is_over


def _troubled(store: Store) -> list[dict[str, Any]]:
    deliveries = store.jobs.deliveries
    return [_trouble_row(trouble, deliveries.open_count(trouble.name)) for trouble in deliveries.troubles()]


def _trouble_row(trouble: TroubledDestination, waiting: int) -> dict[str, Any]:
    rests_until = None if trouble.rests_until is None else trouble.rests_until.isoformat(timespec="seconds")
    return {
        **asdict(trouble),
        "waiting": waiting,
        "since": trouble.since.isoformat(timespec="seconds"),
        "rests_until": rests_until,
    }


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "job": job.number,
        "study": job.study_instance_uid,
        "revision": job.revision,
        "stage": job.stage.value,
        "problem": job.problem,
        "changed_at": job.changed_at.isoformat(),
    }


def _refused(refusals: Sequence[Refusal]) -> list[dict[str, Any]]:
    """One row for all refusals of one sender for one reason, with their number; each as its newest."""
    rows: dict[tuple[str, str, int | None, str], dict[str, Any]] = {}
    for one in refusals:
        alike = (one.calling_ae_title, one.address, one.status, one.reason)
        row = rows.setdefault(alike, {**_refusal_row(one), "times": 0})
        row["times"] += 1
    return list(rows.values())


def _refusal_row(refusal: Refusal) -> dict[str, Any]:
    status = None if refusal.status is None else f"0x{refusal.status:04X}"
    return {**asdict(refusal), "at": refusal.at.isoformat(), "status": status}


def _quarantine_row(message: QuarantinedMessage) -> dict[str, Any]:
    return {
        "number": message.number,
        "at": message.at.isoformat(),
        "times": message.times,
        "origin": message.origin,
        "reason": message.reason,
    }


_STANDING = {Stage.DONE: "is done", Stage.FAILED: "failed", Stage.SKIPPED: "is not read"}


def status_text(report: dict[str, Any]) -> str:
    """Writes the status for a person: one line for each thing, problems with their sentence."""
    lines = [
        f"storage folder: {report['folder']}",
        *filter(None, [report.get("configuration"), report["disk"]]),
        *report["service"],
        "jobs: "
        + (", ".join(f"{number} {stage}" for stage, number in report["jobs"].items() if number) or "none"),
        "store: " + ", ".join(f"{number} {what}" for what, number in report["store"].items()),
        f"free disk: {report['free_bytes'] / 1e9:.1f} GB",
    ]
    seconds = {word: number for word, number in report["second_readings"].items() if number}
    if seconds:
        told = ", ".join(f"{number} {word}" for word, number in seconds.items())
        lines.append(f"second engine: {told} (preread compare)")
    more = report["more"]
    lines += _block(
        "waiting",
        [f"job {r['job']} ({r['stage']}), {r['study']}: {r['problem']}" for r in report["waiting"]],
        more["waiting"],
    )
    lines += _block(
        "failed in the last 24 h (preread list --stage failed)",
        [f"{r['study']} failed: {r['problem']}" for r in report["problems"]],
        more["problems"],
    )
    lines += _block(
        "two patients in one study", [f"{r['study']}: {r['problem']}" for r in report["in_doubt"]]
    )
    lines += _block(
        "destinations that take nothing now",
        [
            f"{r['name']}: {r['failures']} tries in a row since {r['since']}"
            f"{', rests until ' + r['rests_until'] if r['rests_until'] else ''}, {r['waiting']} outputs wait: "
            f"{r['problem']}"
            for r in report["troubled"]
        ],
    )
    lines += _block(
        "archives from which earlier exams did not come in the last 24 h",
        [
            f"{r['archive']}: {r['count']} times since {r['since']}: {r['problem']}"
            for r in report["unanswered"]
        ],
    )
    lines += _block(
        "held (preread release STUDY)",
        [
            f"{r['study_instance_uid']} by {r['held_by']} since {r['held_at']}: {r['reason']}"
            for r in report["held"]
        ],
    )
    lines += _block(
        "not delivered",
        [
            f"{r['destination']}: {r['count']} outputs {_fate(r)}: {r['problem']}"
            for r in report["undelivered"]
        ],
        more["undelivered"],
    )
    lines += _block(
        "messages in quarantine (preread reports quarantine)",
        [
            f"{r['number']} from {r['origin']}, {r['times']} times: {r['reason']}"
            for r in report["quarantine"]
        ],
    )
    lines += _block(
        f"refused at the port (of the newest {_REFUSALS_MAX})",
        [
            f"{r['at']} {r['calling_ae_title'] or '(no AE title)'} at {r['address']} {r['status'] or ''}: {r['reason']}"
            + (f" ({r['times']} times)" if r["times"] > 1 else "")
            for r in report["refusals"]
        ],
        more["refusals"],
    )
    return "\n".join(lines)


def _fate(undelivered: dict[str, Any]) -> str:
    if undelivered["is_given_up"]:
        return "given up in the last 24 h (preread deliveries list)"
    return f"wait since {undelivered['since']}" if undelivered["since"] else "are tried again"


def _block(title: str, rows: list[str], more: int = 0) -> list[str]:
    told = [f"  {row}" for row in rows] + ([f"  and {more} more"] if more else [])
    return [f"{title}:", *told] if told else []


def why_text(settings: Settings, study_instance_uid: str) -> str:
    """Tells how a study stands and, if something is wrong, what; then how it came to be read as it was: who sent what,
    everything in the order of time, each reading with its priors, the ones passed over, every question and answer, and
    where its objects went.

    Raises:
        LookupError: if nothing of this study ever came.
    """
    store = existing_store(settings)
    try:
        study, events = store.index.study(study_instance_uid), store.jobs.events_of_study(study_instance_uid)
        if study is None and not events:
            raise LookupError(f"no instance of study {study_instance_uid} was ever received")
        jobs = store.jobs.jobs_of_study(study_instance_uid)
        lines = [f"study {study_instance_uid}", *_standing_lines(store, study, jobs)]
        hold = store.holds.of_study(study_instance_uid)
        if hold is not None:
            because = f": {hold.reason}" if hold.reason else ""
            lines.append(
                f"  held by {hold.held_by} since {hold.held_at.isoformat(timespec='seconds')}{because}"
            )
        if study is not None:
            lines += [
                *_received_lines(store.index.instances(study_instance_uid)),
                *_patient_lines(study, store.index.history(study.identifiers)),
            ]
        for event in events:
            number = f"job {event.job_number} " if event.job_number is not None else ""
            lines.append(f"  {event.at.isoformat(timespec='milliseconds')} {number}{event.text}")
        for job in jobs:
            lines += _job_lines(store, job)
        return "\n".join(lines)
    finally:
        store.database.close()


def _standing_lines(store: Store, study: Study | None, jobs: Sequence[Job]) -> list[str]:
    """How the study stands, the cause first: who asks why wants this."""
    if study is None:
        return ["  nothing of it is here any more"]
    lines = [f"  in doubt: {study.conflict}"] if study.conflict is not None else []
    if not jobs:
        fetched = study.fetched_from is not None
        return [*lines, "  fetched as a prior, not to be read" if fetched else "  no draft was begun"]
    job = jobs[-1]
    undelivered = dict.fromkeys(
        f"  not delivered to {delivery.destination}: {delivery.problem}"
        for delivery in store.jobs.deliveries.of_job(job.number)
        if _is_troubled(delivery)
    )
    # A job that failed because something was not delivered knows less than its deliveries.
    problem = None if undelivered and job.stage is Stage.FAILED else job.problem
    standing = _STANDING.get(job.stage, f"is at stage {job.stage}")
    return [*lines, *undelivered, f"  revision {job.revision} {standing}{f': {problem}' if problem else ''}"]


def _received_lines(instances: Sequence[Instance]) -> list[str]:
    """One line for each sender and kind: how many, and from when to when."""
    groups: dict[tuple[str, InstanceRole], list[Instance]] = {}
    for instance in instances:
        groups.setdefault((instance.calling_ae_title, instance.role), []).append(instance)
    return [
        f"  received from {sender}: {len(group)} {role}, "
        f"{group[0].received_at.isoformat(timespec='seconds')} to {group[-1].received_at.isoformat(timespec='seconds')}"
        for (sender, role), group in groups.items()
    ]


def _patient_lines(study: Study, history: PatientHistory) -> list[str]:
    """What the study's patient is known by, without saying who it is."""
    if study.conflict is not None:
        return []
    if not study.identifiers:
        return ["  patient without an identifier: no priors, and no prior of another study"]
    issuers = ", ".join(identifier.issuer or "(none)" for identifier in study.identifiers)
    linked = sum(identifier in history.known.surviving for identifier in study.identifiers)
    replaced = f", {linked} replaced by a link (preread patients)" if linked else ""
    others = len(history.studies) - 1
    return [
        f"  patient identified by issuer {issuers}{replaced}; {others} other studies under the same numbers"
    ]


def _job_lines(store: Store, job: Job) -> list[str]:
    lines = [
        "",
        f"job {job.number}, revision {job.revision}: {job.stage}{f' - {job.problem}' if job.problem else ''}",
    ]
    lines.append(f"  complete because {job.complete_because}")
    lines += _rule_lines(job)
    lines += [
        f"  archive {request.archive} was asked: {request.problem}"
        for request in store.requests.of_job(job.number)
        if request.problem is not None
    ]
    reading = manifests.load_reading(job.reading_json) if job.reading_json else None
    if job.manifest_json:
        manifest = manifests.load_manifest(job.manifest_json)
        lines += _manifest_lines(manifest if reading is None else manifests.as_shown(manifest, reading))
    if reading is not None:
        lines += _reading_lines(reading)
    lines += _second_lines(store.jobs.second_readings.of_job(job.number))
    for result in store.jobs.results_of_job(job.number):
        lines.append(f"  object {result.kind} {result.sop_instance_uid}")
    for delivery in store.jobs.deliveries.of_job(job.number):
        state = _state_of(delivery)
        tries = f", {delivery.claim_number} tries" if delivery.claim_number > 1 else ""
        problem = f" - {delivery.problem}" if delivery.problem else ""
        lines.append(f"  {delivery.sop_instance_uid} to {delivery.destination}: {state}{tries}{problem}")
    return lines


def _state_of(delivery: Delivery) -> str:
    if delivery.done_at is not None:
        return "taken" if delivery.transaction_uid is None else "taken and committed to"
    if delivery.is_stopped:
        return "stopped"
    if delivery.failed_at is not None:
        return f"failed (delivery {delivery.number})"
    if delivery.replaced_by is not None:
        return f"refused, {delivery.replaced_by} goes instead"
    return "waiting" if delivery.transaction_uid is None else "taken, waits for storage commitment"


def _rule_lines(job: Job) -> list[str]:
    """Under which rule, as long as there are rules; why it was that one is among the events."""
    if job.rule is None:
        return []
    rule = f'rule "{job.rule}"' if job.rule else "under no rule"
    return [f"  {rule}, priority {job.priority}"]


def _manifest_lines(manifest: Manifest) -> list[str]:
    lines = [f"  images shown: {len(manifest.current.images)}; left out: {len(manifest.left_out)}"]
    lines += [] if manifest.rule is None else _way_lines(manifest.rule)
    lines += [f"  left out {uid}: {reason}" for uid, reason in manifest.left_out]
    for exam in manifest.priors:
        lines.append(f"  prior {exam.study_date} {exam.study_instance_uid}: {exam.chosen_because}")
        if exam.report is not None:
            origin = exam.report.origin or exam.report.sop_instance_uid
            lines.append(f"    {exam.report.part} of its report: {origin}")
    lines += [f"  note: {note}" for note in manifest.notes]
    if manifest.configuration:
        lines.append(f"  gathered with configuration {manifest.configuration}")
    return lines + [f"  passed over {one.study_instance_uid}: {one.reason}" for one in manifest.passed_over]


def _way_lines(rule: ManifestRule) -> list[str]:
    """What its rule made of the way of a study, where it made anything."""
    said = [
        (f"read with adapter {rule.adapter}", rule.adapter),
        ("in shadow: kept for comparison, nothing is sent", rule.is_shadow),
        (f"for {', '.join(rule.destinations)} alone", rule.destinations),
        (f"as {', '.join(rule.outputs)}", rule.outputs),
    ]
    return [f"  {words}" for words, is_so in said if is_so]


def _second_lines(second: SecondReading | None) -> list[str]:
    """What a second engine said of the same case, set apart from the draft."""
    if second is None:
        return []
    problem = f": {second.problem}" if second.problem else ""
    if second.reading_json is None:
        return [f"  second engine, not delivered: {'given up' if second.failed_at else 'waits'}{problem}"]
    read = _reading_lines(manifests.load_reading(second.reading_json))
    return ["  second engine, not delivered:", *(f"  | {line[2:]}" for line in read)]


def _reading_lines(reading: Reading) -> list[str]:
    demo = ", synthetic demo model" if reading.engine.is_demo else ""
    lines = [
        f"  AI DRAFT - NOT VERIFIED{demo} ({reading.engine.model_name}, {reading.engine.weights_digest})"
    ]
    if reading.configuration:
        lines.append(f"  read with configuration {reading.configuration}")
    lines.append(f"  report: {reading.report}")
    if reading.impression:
        lines.append(f"  impression (the model's summary of its own draft): {reading.impression}")
    if reading.differential:
        lines.append(f"  considered by the model: {reading.differential}")
    for finding in reading.findings:
        words = [
            str(finding.status),
            finding.side or "",
            finding.name,
            f"({finding.change})" if finding.change else "",
        ]
        places = "".join(
            f" [{box.left:.0f} {box.top:.0f} {box.right:.0f} {box.bottom:.0f}]" for box in finding.boxes
        )
        lines.append("  finding: " + " ".join(word for word in words if word) + places)
    if reading.scores:
        highest_first = sorted(reading.scores, key=lambda score: -score.value)
        listed = ", ".join(f"{score.name} {score.value * 100:.0f} %" for score in highest_first)
        lines.append(f"  scores (uncalibrated): {listed}")
        lines += [
            f"  calibrated {score.name}: {score.calibrated * 100:.0f} %, fitted on {score.calibrated_on}"
            for score in highest_first
            if score.calibrated is not None
        ]
    lines += [f"  limit: {problem}" for problem in reading.problems]
    for turn in reading.turns:
        lines += [
            f"  {turn.purpose} ({turn.seconds:.2f} s)",
            f"    asked: {turn.question}",
            f"    said:  {turn.answer}",
        ]
    return lines
