"""Tries the rules on studies without reading any: which rule fits, why, what would be read and sent where."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.admission import SOP_CLASSES, role_of
from agent.deciding import for_destinations, kept_rule, select_under, study_facts, under
from agent.dicom.headers import Headers, Unreadable, read_headers
from agent.errors import GiveUp, TryLater
from agent.fetching import order_of
from agent.identity import rules_of_peers
from agent.rules import Decision, decide
from agent.store import Store, existing_store
from config.settings import Settings
from storage.files import Files
from storage.outside_records import Order
from storage.records import Instance, InstanceRole, Study

STUDIES_MAX = 1000

_SPAN = re.compile(r"([0-9]{1,4})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Material:
    """A study as the rules are asked about it."""

    study: Study
    instances: tuple[Instance, ...]
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What one configuration would do with a study.

    Attributes:
        why: which conditions decided, of the rule that fits and of those before it.
        outcome: what a person asks of it, in her order: "rule", "read", "priority", "priors", "sent to".
    """

    study_instance_uid: str
    why: str
    outcome: dict[str, str]


def try_rules(material: Material, files: Files, settings: Settings) -> Trial:
    """Decides what the step `gather` would have decided on the day when the newest image came."""
    study, instances, rules = material.study, material.instances, settings.reading.rules
    decision = decide(study_facts(study, instances, material.order, files, settings), rules)
    settings = for_destinations(under(settings, decision.rule), kept_rule(decision))
    today = max(instance.received_at for instance in instances).astimezone().date()
    try:
        _, refusal = select_under(decision.rule, study, instances, files, settings, today)
    except (GiveUp, TryLater) as error:  # a stored file is gone, or the disk of all is away
        refusal = error.reason, False
    outcome = {"rule": f'"{decision.name}"' if decision.name else "none"}
    outcome |= _way(decision, settings) if refusal is None else {"read": f"no, {refusal[0]}"}
    return Trial(study.study_instance_uid, decision.words(), outcome)


def _way(decision: Decision, settings: Settings) -> dict[str, str]:
    rule, priors = decision.rule, settings.reading.priors
    sent = [f"{one.name} ({', '.join(settings.outputs_of(one))})" for one in settings.peers.destinations]
    sent += [f"{one.name} (message)" for one in settings.peers.receivers]
    if rule is not None and rule.shadow:
        sent = ["nowhere, the rule is in shadow"]
    return {
        "read": f"yes, with adapter {rule.adapter}" if rule is not None and rule.adapter else "yes",
        "priority": decision.priority,
        "priors": f"{priors.count_max} at most, within {priors.window_days} days, {priors.images_max} images each, "
        f"report {priors.report}, views {priors.views}",
        "sent to": "; ".join(sent) or "nowhere, there is no destination",
    }


def trial_text(trial: Trial) -> str:
    """Writes a trial for a person."""
    lines = [f"study {trial.study_instance_uid}", f"  {trial.why}"]
    return "\n".join([*lines, *(f"  {what}: {how}" for what, how in trial.outcome.items() if what != "rule")])


def difference_text(now: Trial, then: Trial) -> str:
    """Writes what another configuration would change for a study; "" if nothing."""
    changed = [
        f"  {what}: {now.outcome.get(what, '-')} -> {then.outcome.get(what, '-')}"
        for what in dict.fromkeys((*now.outcome, *then.outcome))
        if now.outcome.get(what) != then.outcome.get(what)
    ]
    if not changed:
        return ""
    return "\n".join([f"study {now.study_instance_uid}", *changed, f"  because {then.why}"])


def compare(materials: Sequence[Material], files: Files, settings: Settings, proposed: Settings) -> str:
    """Tries two configurations on the same studies and lists those that would go another way."""
    texts = [
        difference_text(try_rules(one, files, settings), try_rules(one, files, proposed)) for one in materials
    ]
    different = [text for text in texts if text]
    return "\n".join([*different, f"{len(different)} of {len(materials)} studies would go another way"])


def report(materials: Sequence[Material], files: Files, settings: Settings, proposed: Settings | None) -> str:
    """Says what would become of each study, or (with another configuration) what would become otherwise.

    Raises:
        LookupError: if there is no study.
    """
    if not materials:
        raise LookupError("no study has come in that time, so there is nothing to try the rules on")
    if proposed is not None:
        return compare(materials, files, settings, proposed)
    return "\n".join(trial_text(try_rules(one, files, settings)) for one in materials)


def of_study(settings: Settings, study_instance_uid: str, proposed: Settings | None) -> str:
    """Tries the rules on a study that is in the store, with all that is here of it now.

    Raises:
        LookupError: if nothing of this study ever came.
    """
    with _store(settings) as store:
        material = _material(store, settings, study_instance_uid, None)
        if material is None:
            raise LookupError(f"no instance of study {study_instance_uid} was ever received")
        return report([material], store.files, settings, proposed)


def since(settings: Settings, span: str, now: datetime, proposed: Settings | None) -> str:
    """Tries the rules on the studies that got a job in the last time, the newest STUDIES_MAX of them.

    Args:
        span: "30m", "12h" or "7d".

    Raises:
        ValueError: if `span` is none.
        LookupError: if there was no study.
    """
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ValueError(f'"{span}" is no time; write 30m, 12h or 7d')
    start = now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    with _store(settings) as store:
        jobs = store.jobs.opened_since(start, STUDIES_MAX)
        several = (_material(store, settings, job.study_instance_uid, job.watermark) for job in jobs)
        return report([one for one in several if one is not None], store.files, settings, proposed)


def of_files(
    settings: Settings,
    paths: Sequence[Path],
    calling_ae_title: str,
    called_ae_title: str,
    now: datetime,
    proposed: Settings | None,
) -> str:
    """Tries the rules on files as if they came now, as one study; nothing of them is kept.

    Raises:
        ValueError: if a file is no DICOM object that we take, or they are of several studies.
    """
    with TemporaryDirectory(prefix="preread-rules-") as folder:
        files = Files(Path(folder))
        headers: list[Headers] = []
        instances: list[Instance] = []
        for number, path in enumerate(paths, start=1):
            one = _headers(path, settings.assumed_charset(calling_ae_title))
            name = f"{number}.dcm"
            files.put(name, path.read_bytes())
            headers.append(one)
            instances.append(_instance(one, number, name, calling_ae_title, called_ae_title, now))
        if len({one.study_instance_uid for one in headers}) > 1:
            raise ValueError("the files are of several studies; try one after the other")
        return report([Material(headers[0].study(), tuple(instances))], files, settings, proposed)


def _headers(path: Path, assume_charset: str | None) -> Headers:
    try:
        headers = read_headers(path, assume_charset=assume_charset)
    except Unreadable as error:
        raise ValueError(f"{path}: {error.reason}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if headers.sop_class_uid not in SOP_CLASSES or role_of(headers.sop_class_uid) is not InstanceRole.IMAGE:
        raise ValueError(
            f"{path} is no radiograph (SOP Class {headers.sop_class_uid}), so no rule is asked about it"
        )
    return headers


def _instance(
    headers: Headers, number: int, path: str, calling_ae_title: str, called_ae_title: str, now: datetime
) -> Instance:
    return Instance(
        number=number,
        sop_instance_uid=headers.sop_instance_uid,
        series_instance_uid=headers.series_instance_uid,
        study_instance_uid=headers.study_instance_uid,
        sop_class_uid=headers.sop_class_uid,
        transfer_syntax_uid=headers.transfer_syntax_uid,
        modality=headers.modality,
        view_group=headers.view_group,
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        path=path,
        sha256="",
        size_bytes=0,
        received_at=now,
        role=InstanceRole.IMAGE,
    )


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    store = existing_store(settings)
    try:
        yield store
    finally:
        store.database.close()


def _material(
    store: Store, settings: Settings, study_instance_uid: str, up_to_number: int | None
) -> Material | None:
    study = store.index.study(study_instance_uid)
    instances = store.index.instances(study_instance_uid, up_to_number)
    if study is None or not instances:
        return None
    orders = store.orders.of_study(study_instance_uid, study.accession_number)
    order = order_of(study, orders, rules_of_peers(settings.peers))
    return Material(study, instances, order)
