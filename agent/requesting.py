"""Asks archives for earlier exams, one request at a time: query, choose, fetch. The waiting is done by `gather`."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from agent.deciding import under
from agent.dicom.answers import FoundStudy
from agent.fetching import Here, choose_to_fetch, exam_ordered, study_query, what_is_missing
from agent.gathering import prior_rules_of, priors_of, priors_to_fetch, rules_of
from agent.identity import (
    IdentifierRules,
    identified,
    number_elsewhere,
    numbers_elsewhere,
    rules_of_peers,
)
from agent.patience import Patience, pause_seconds
from agent.peers import Arrived, FoundStudies
from agent.steps import Tools
from config.settings import ArchiveSettings, Settings
from storage.outside_records import PriorRequest, RequestedStudy
from storage.records import Study

log = structlog.get_logger()


def ask(request: PriorRequest, tools: Tools, patience: Patience) -> None:
    """Carries one request to its end, or puts it off; each study that has come is noted at once."""
    archive = tools.settings.archive(request.archive)
    exam = _exam(request, tools)
    now = tools.clock()
    if archive is None:
        reason = (
            f'archive "{request.archive}" is no longer in peers.toml; put it back and read the study again'
        )
        tools.requests.failed(request, reason, now)
    elif now >= request.expires_at:
        reason = request.problem or "nobody waits for it any more"
        if request.problem is not None:
            log.warning("archive refused", archive=archive.name, request=request.number, reason=reason)
        tools.requests.failed(request, reason, now)
    elif exam is None:
        tools.requests.failed(request, "what it was asked for is no longer here", now)
    elif request.found_at is None:
        _find(request, archive, exam, tools, patience)
    else:
        _fetch(request, archive, exam, tools, patience)


def _exam(request: PriorRequest, tools: Tools) -> Study | None:
    """The exam whose priors are asked for: one that is here, or one that is ordered."""
    if request.job_number is not None:
        return tools.index.study(tools.jobs.job(request.job_number).study_instance_uid)
    order = None if request.order_number is None else tools.orders.order(request.order_number)
    if order is None:
        return None
    return identified(exam_ordered(order), order.source, rules_of_peers(tools.settings.peers))


def _settings_of(request: PriorRequest, tools: Tools) -> Settings:
    """As the rule says that the job asking fell under; as [priors] says for an order, which no rule knows yet."""
    if request.job_number is None:
        return tools.settings
    name = tools.jobs.job(request.job_number).rule
    rule = next((one for one in tools.settings.reading.rules if one.name == name), None)
    return under(tools.settings, rule)


def _find(
    request: PriorRequest, archive: ArchiveSettings, exam: Study, tools: Tools, patience: Patience
) -> None:
    settings = _settings_of(request, tools)
    rules, numbers = priors_to_fetch(settings), rules_of_peers(tools.settings.peers)
    found = _ask_for_each_number(exam, archive, rules.window_days, numbers, tools)
    if found.problem is not None:
        _put_off(request, found.problem, tools, patience, is_for_good=found.is_for_good)
        return
    there = [replace(one, study=identified(one.study, archive.sender, numbers)) for one in found.studies]
    history = tools.index.history(exam.identifiers)
    here = _here(exam, history.studies, tools, settings)
    shown_max = prior_rules_of(settings, current_images=1).count_max
    to_fetch = choose_to_fetch(exam, there, here, rules, shown_max, rules_of(settings), history.known)
    now = tools.clock()
    wanted = [
        RequestedStudy(
            study_instance_uid=one.study.study_instance_uid,
            request_number=request.number,
            archive=archive.name,
            sender=archive.sender,
            study_date=one.study.study_date,
            asked_at=now,
        )
        for one in to_fetch.chosen
    ]
    log.info(
        "archive answered",
        archive=archive.name,
        request=request.number,
        studies=len(found.studies),
        wanted=len(wanted),
        passed_over=len(to_fetch.passed_over),
    )
    answered = tools.requests.found(request, wanted, now, found.note, to_fetch.passed_over)
    _fetch(answered, archive, exam, tools, patience)


def _ask_for_each_number(
    exam: Study, archive: ArchiveSettings, window_days: int, rules: IdentifierRules, tools: Tools
) -> FoundStudies:
    """Queries for the patient under each number that the archive may know, one after the other; a study counts once.

    If one query has a problem, nothing was found: all are put again.
    """
    query = study_query(exam, window_days, rules)
    if query is None:
        return FoundStudies()
    known = tools.index.known_patients(exam.identifiers)
    numbers = numbers_elsewhere(exam, rules, known, archive.default_issuer)
    if archive.information_model == "patient":
        # Here a C-MOVE names the patient, too (PS3.4 C.4.2.2.1), and would have to name the number that the study
        # was found under; no row keeps that.
        numbers = numbers[:1]
    studies: dict[str, FoundStudy] = {}
    note = None
    for number in numbers:
        found = tools.peers.find_studies(archive, replace(query, patient_id=number))
        if found.problem is not None:
            return found
        for one in found.studies:
            studies.setdefault(one.study.study_instance_uid, one)
        note = found.note or note
    return FoundStudies(tuple(studies.values()), note)


def _here(exam: Study, studies: Sequence[Study], tools: Tools, settings: Settings) -> Here:
    """What the store has of a patient and would show with an exam of one image, by the rules that `gather` goes by."""
    deleted = [study.study_instance_uid for study in studies if study.images_deleted_at is not None]
    gone = {uid for uid, instances in tools.index.instances_of(deleted).items() if not instances}
    here = [study for study in studies if study.study_instance_uid not in gone]
    fetched = tools.requests.studies([study.study_instance_uid for study in here if study.fetched_from])
    shown = priors_of(exam, 1, tools.index, tools.files, tools.reports, settings).exams
    return Here(
        studies=here,
        shown=[prior.study_instance_uid for prior in shown],
        incomplete=[study.study_instance_uid for study in fetched if study.problem is not None],
    )


def _fetch(
    request: PriorRequest, archive: ArchiveSettings, exam: Study, tools: Tools, patience: Patience
) -> None:
    patient_id = number_elsewhere(exam, rules_of_peers(tools.settings.peers))  # as the query named it
    for study in tools.requests.to_fetch(request):
        uid = study.study_instance_uid
        tools.requests.fetching(request, uid, tools.clock())
        outcome = tools.peers.retrieve(
            archive,
            uid,
            patient_id,
            tools.settings.agent.device.ae_title,
            lambda arrived: _take(arrived, archive, tools),
        )
        if not outcome.is_ended:
            _put_off(request, outcome.problem or "", tools, patience, is_for_good=False)
            return
        came = len(tools.index.instances(uid))
        missing = what_is_missing(came, outcome.failed, is_whole=outcome.problem is None)
        if missing is not None:
            reason = outcome.problem or f"{archive.name} said that it sent everything; does it send it to us?"
            log.warning("prior did not come whole", study=uid, request=request.number, reason=reason)
        tools.requests.fetched(request, uid, tools.clock(), missing)
    tools.requests.done(request, tools.clock())


def _take(arrived: Arrived, archive: ArchiveSettings, tools: Tools) -> int:
    assert tools.take is not None, "archives are asked in the process that listens"
    return tools.take(arrived, archive.sender)


def _put_off(
    request: PriorRequest, problem: str, tools: Tools, patience: Patience, *, is_for_good: bool
) -> None:
    now = tools.clock()
    if is_for_good:
        log.warning("archive refused", archive=request.archive, request=request.number, reason=problem)
        tools.requests.failed(request, problem, now)
        return
    waited_seconds = (now - (request.waiting_since or now)).total_seconds()
    next_try = now + timedelta(seconds=pause_seconds(waited_seconds, patience, random.random()))
    log.info("archive cannot be asked now", archive=request.archive, request=request.number, reason=problem)
    tools.requests.later(request, problem, min(next_try, request.expires_at), now)
