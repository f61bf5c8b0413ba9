"""The life of a study as plain values for JSON: every field is chosen here, so that a new one does not leave by itself.

Left out are all words that a person or a model has written: indication, reports, draft, questions and answers; of each
stands here how long it was. Sentences of preread's own stay, without the values in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.dicom.deidentifying import Pseudonyms
from agent.exporting.words import Words
from agent.manifest import Manifest, ManifestExam, load_manifest, load_reading
from inference.reading import Finding, Reading
from storage.records import Delivery, Event, Instance, Job, ResultObject, Study

NOTICE = (
    "AI drafts, not verified. De-identified after DICOM PS3.15 Annex E; times are seconds after the first that is "
    "known, and all dates of the objects are earlier by one number of days that nobody has kept."
)


@dataclass(frozen=True, slots=True)
class Life:
    """What the store knows of one study.

    Attributes:
        instances: of the study itself, in the order of arrival.
        results, deliveries: of each job, by its number.
    """

    study: Study
    is_held: bool
    instances: Sequence[Instance]
    events: Sequence[Event]
    jobs: Sequence[Job]
    results: Mapping[int, Sequence[ResultObject]]
    deliveries: Mapping[int, Sequence[Delivery]]


@dataclass(frozen=True, slots=True)
class Telling:
    """How it is told.

    Attributes:
        files: SOP Instance UID, as it was, to the name of the file it has become.
        first: what times are counted from.
    """

    words: Words
    pseudonyms: Pseudonyms
    files: Mapping[str, str]
    first: datetime

    def seconds(self, at: datetime | None) -> float | None:
        """How long after the first time that is known."""
        return None if at is None else round((at - self.first).total_seconds(), 3)

    def sentence(self, words: str | None) -> str | None:
        """A sentence of ours without the values in it."""
        return None if words is None else self.words.without(words)

    def reference(self, sop_instance_uid: str) -> dict[str, Any]:
        """An object, by its new UID and its file; None for a file that is not here."""
        uid = self.pseudonyms.uid(sop_instance_uid)
        return {"sop_instance_uid": uid, "file": self.files.get(sop_instance_uid)}


def first_of(life: Life) -> datetime:
    """The first time that is known of a study."""
    times = [instance.received_at for instance in life.instances] + [event.at for event in life.events]
    return min(times + [job.opened_at for job in life.jobs])


def told(life: Life, telling: Telling) -> dict[str, Any]:
    """Tells the life of a study."""
    senders = _numbers(instance.calling_ae_title for instance in life.instances)
    names = _numbers(delivery.destination for group in life.deliveries.values() for delivery in group)
    # Manifests first: they name the UIDs of studies that sentences speak of.
    jobs = [_job(job, life, telling, names) for job in life.jobs]
    return {
        "study_instance_uid": telling.pseudonyms.uid(life.study.study_instance_uid),
        "is_held": life.is_held,
        "is_fetched_prior": life.study.fetched_from is not None,
        "has_patient_identifier": bool(life.study.identifiers),
        "in_doubt": telling.sentence(life.study.conflict),
        "received": [_received(instance, telling, senders) for instance in life.instances],
        "events": [_event(event, telling) for event in life.events],
        "jobs": jobs,
    }


def _numbers(names: Any) -> dict[str, int]:
    """Numbers names from 1 in the order in which they come."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def _received(instance: Instance, telling: Telling, senders: Mapping[str, int]) -> dict[str, Any]:
    return telling.reference(instance.sop_instance_uid) | {
        "seconds": telling.seconds(instance.received_at),
        "sender": senders[instance.calling_ae_title],
        "role": instance.role.value,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "view_group": instance.view_group,
        "size_bytes": instance.size_bytes,
    }


def _event(event: Event, telling: Telling) -> dict[str, Any]:
    # What no job did, a person may have done, and said why after a colon.
    text = event.text if event.job_number is not None else event.text.partition(": ")[0]
    return {
        "seconds": telling.seconds(event.at),
        "job": event.job_number,
        "text": telling.sentence(text),
    }


def _job(job: Job, life: Life, telling: Telling, destinations: Mapping[str, int]) -> dict[str, Any]:
    manifest = None if job.manifest_json is None else load_manifest(job.manifest_json)
    reading = None if job.reading_json is None else load_reading(job.reading_json)
    shown = None if manifest is None else _manifest(manifest, telling)
    return {
        "job": job.number,
        "revision": job.revision,
        "stage": job.stage.value,
        "opened_seconds": telling.seconds(job.opened_at),
        "changed_seconds": telling.seconds(job.changed_at),
        "attempts": job.attempts,
        "rule": telling.sentence(job.rule),
        "priority": job.priority.value,
        "complete_because": telling.sentence(job.complete_because),
        "problem": telling.sentence(job.problem),
        "manifest": shown,
        "reading": None if reading is None else _reading(reading, telling),
        "results": [
            telling.reference(result.sop_instance_uid)
            | {"kind": result.kind, "sop_class_uid": result.sop_class_uid, "size_bytes": result.size_bytes}
            for result in life.results[job.number]
        ],
        "deliveries": [_delivery(one, telling, destinations) for one in life.deliveries[job.number]],
    }


def _delivery(delivery: Delivery, telling: Telling, destinations: Mapping[str, int]) -> dict[str, Any]:
    return {
        "of": telling.pseudonyms.uid(delivery.sop_instance_uid),
        "destination": destinations[delivery.destination],
        "tries": delivery.claim_number,
        "last_status": delivery.last_status,
        "taken_seconds": telling.seconds(delivery.taken_at),
        "done_seconds": telling.seconds(delivery.done_at),
        "failed_seconds": telling.seconds(delivery.failed_at),
        "is_stopped": delivery.is_stopped,
        "replaced_by": delivery.replaced_by,
        "problem": telling.sentence(delivery.problem),
    }


def _manifest(manifest: Manifest, telling: Telling) -> dict[str, Any]:
    uid, rule = telling.pseudonyms.uid, manifest.rule
    return {
        "current": _exam(manifest.current, telling),
        "priors": [_exam(prior, telling) for prior in manifest.priors],
        "passed_over": [
            {
                "study_instance_uid": uid(one.study_instance_uid),
                "reason": telling.sentence(one.reason),
            }
            for one in manifest.passed_over
        ],
        "left_out": [
            telling.reference(image) | {"reason": telling.sentence(reason)}
            for image, reason in manifest.left_out
        ],
        "notes": [telling.sentence(note) for note in manifest.notes],
        "indication_characters": _length(manifest.indication),
        "has_order": manifest.order is not None,
        "rule": None
        if rule is None
        else {
            "name": telling.sentence(rule.name),
            "because": telling.sentence(rule.because),
            "is_shadow": rule.is_shadow,
            "has_adapter": rule.adapter is not None,
            "outputs": list(rule.outputs),
        },
        "configuration": manifest.configuration,
    }


def _exam(exam: ManifestExam, telling: Telling) -> dict[str, Any]:
    report = exam.report
    return {
        "study_instance_uid": telling.pseudonyms.uid(exam.study_instance_uid),
        "days_before": exam.days_before,
        "chosen_because": telling.sentence(exam.chosen_because),
        "images": [
            telling.reference(image.sop_instance_uid)
            | {"view": image.view, "rows": image.rows, "columns": image.columns}
            for image in exam.images
        ],
        "report": None
        if report is None
        else {
            "section": report.section,
            "has_addendum": report.has_addendum,
            "characters": len(report.text),
            "is_sr": bool(report.sop_instance_uid),
        },
    }


def _reading(reading: Reading, telling: Telling) -> dict[str, Any]:
    engine, uid = reading.engine, telling.pseudonyms.uid
    return {
        "status": "AI draft, not verified",
        "engine": {
            "name": engine.name,
            "version": engine.version,
            "model_name": engine.model_name,
            "weights_digest": engine.weights_digest,
            "is_demo": engine.is_demo,
        },
        "configuration": reading.configuration,
        "seconds": reading.seconds,
        "compared_with_prior": reading.compared_with_prior,
        "findings": [_finding(finding, telling) for finding in reading.findings],
        "scores": [
            {
                "name": telling.sentence(score.name),
                "value": score.value,
                "calibrated": score.calibrated,
            }
            for score in reading.scores
        ],
        "problems": [telling.words.without_answers(problem) for problem in reading.problems],
        "report_characters": len(reading.report),
        "impression_characters": _length(reading.impression),
        "differential_characters": _length(reading.differential),
        "turns": [
            {
                "purpose": turn.purpose.partition(":")[0],
                "images": [uid(key) for key in turn.image_keys],
                "seconds": turn.seconds,
                "prompt_tokens": turn.prompt_tokens,
                "answer_tokens": turn.answer_tokens,
                "question_characters": len(turn.question),
                "answer_characters": len(turn.answer),
            }
            for turn in reading.turns
        ],
    }


def _finding(finding: Finding, telling: Telling) -> dict[str, Any]:
    return {
        "name": telling.sentence(finding.name),
        "status": finding.status.value,
        "change": None if finding.change is None else finding.change.value,
        "side": finding.side,
        "score": finding.score,
        "boxes": [
            {
                "image": telling.pseudonyms.uid(box.image_key),
                "left": box.left,
                "top": box.top,
                "right": box.right,
                "bottom": box.bottom,
            }
            for box in finding.boxes
        ],
    }


def _length(text: str | None) -> int | None:
    return None if text is None else len(text)
