"""What rules are asked about a study, from its files and rows, and what a rule that fits makes of the settings."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime

from agent.dicom.attributes import read_attributes
from agent.dicom.opening import Unreadable
from agent.gathering import rules_of, selection_of
from agent.manifest import ManifestRule
from agent.rules import Decision, Facts, age_in_years
from agent.selection import Selection, reason_not_to_read, study_age_days
from config.conditions import FACTS, Value
from config.settings import RuleSettings, Settings
from config.values import Frozen
from storage.files import Files
from storage.outside_records import Order
from storage.records import Instance, InstanceRole, Priority, Study


def study_facts(
    study: Study,
    instances: Sequence[Instance],
    order: Order | None,
    files: Files,
    settings: Settings,
) -> Facts:
    """Collects what the rules ask of a study; without rules nothing, and no file is opened.

    A radiograph that cannot be read has no attributes; why not is said where images are selected.
    """
    images = [one for one in instances if one.role is InstanceRole.IMAGE]
    rules = settings.reading.rules
    if not rules or not images:
        return {}
    asked = {test.fact for rule in rules for test in rule.when.every_test()} - FACTS.keys()
    attributes = _attributes_of(images, asked, files, settings)
    newest = max(image.received_at for image in images).astimezone()
    return attributes | _own_facts(study, images, order, newest, attributes["PatientAge"])


def _own_facts(
    study: Study,
    images: Sequence[Instance],
    order: Order | None,
    newest: datetime,
    ages: Sequence[Value],
) -> dict[str, tuple[Value, ...]]:
    age = age_in_years(str(ages[0]) if ages else "", study.birth_date, study.study_date)
    days = study_age_days(study.study_date, newest.date())
    priority = "" if order is None else order.priority
    return {
        "calling_ae_title": _each_once(image.calling_ae_title for image in images),
        "called_ae_title": _each_once(image.called_ae_title for image in images),
        "time_of_day": (f"{newest:%H:%M}",),
        "study_age_days": () if days is None else (days,),
        "patient_age_years": () if age is None else (age,),
        "image_count": (len(images),),
        "order_priority": (priority,) if priority else (),
    }


def _attributes_of(
    images: Sequence[Instance], names: Collection[str], files: Files, settings: Settings
) -> dict[str, tuple[Value, ...]]:
    found: dict[str, list[str]] = {name: [] for name in (*names, "view", "PatientAge")}
    for image in images:
        try:
            charset = settings.assumed_charset(image.calling_ae_title)
            attributes = read_attributes(files.absolute(image.path), names, assume_charset=charset)
        except Unreadable:
            continue
        for name, values in attributes.items():
            found[name] += values
    return {name: _each_once(values) for name, values in found.items()}


def _each_once(values: Iterable[str]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def yields_seconds(priority: Priority, routine_seconds: float) -> float:
    """How long studies of a priority let those of a higher one go first."""
    share = {Priority.STAT: 0.0, Priority.URGENT: 0.5, Priority.ROUTINE: 1.0}
    return share[priority] * routine_seconds


def under(settings: Settings, rule: RuleSettings | None) -> Settings:
    """The settings with what a rule wants of priors."""
    if rule is None:
        return settings
    priors = settings.reading.priors.model_copy(update=rule.priors.model_dump(exclude_none=True))
    return settings.model_copy(update={"reading": settings.reading.model_copy(update={"priors": priors})})


def select_under(
    rule: RuleSettings | None,
    study: Study,
    instances: Sequence[Instance],
    files: Files,
    settings: Settings,
    today: date,
) -> tuple[Selection, tuple[str, bool] | None]:
    """Chooses the images that the model may see, or says why the study is not read.

    Returns:
        the images, and None or (sentence, True if that is a rule's no and False if something is wrong).
    """
    if rule is not None and rule.read is False:
        return Selection((), ()), (f'rule "{rule.name}" of reading.toml says not to read it', True)
    rules = rules_of(settings)
    if rule is not None and rule.read is True:
        rules = replace(rules, study_age_days_max=None, any_body_part=True)
    selection = selection_of(instances, files, settings, rules)
    return selection, reason_not_to_read(selection, study.study_date, study.conflict, today, rules)


def kept_rule(decision: Decision) -> ManifestRule:
    """What of a decision goes into the manifest."""
    rule = decision.rule
    if rule is None:
        return ManifestRule("", decision.because)
    return ManifestRule(
        name=rule.name,
        because=decision.because,
        adapter=rule.adapter or None,
        is_shadow=rule.shadow,
        destinations=rule.destinations,
        outputs=rule.outputs,
    )


def for_destinations(settings: Settings, rule: ManifestRule | None) -> Settings:
    """The settings with no other destinations and receivers than a rule wants, and what it wants the former to get."""
    if rule is None:
        return settings
    peers = settings.peers
    wanted: dict[str, tuple[Frozen, ...]] = {
        key: tuple(
            one for one in getattr(peers, key) if not rule.destinations or one.name in rule.destinations
        )
        for key in ("destinations", "hl7_receivers", "fhir_servers", "webhooks", "drop_folders")
    }
    if rule.outputs:
        wanted["destinations"] = tuple(
            one.model_copy(update={"outputs": rule.outputs}) for one in wanted["destinations"]
        )
    return settings.model_copy(update={"peers": peers.model_copy(update=wanted)})
