"""The second engine: reads, for comparison, what the first has read. Nothing is made of it and nothing sent."""

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from agent import manifest as manifests
from agent.errors import GiveUp, TryLater
from agent.steps import MEMORY_SECONDS, Tools
from config.settings import Settings
from storage.jobs import Comparable, SecondReadings
from storage.records import Job, SecondReading

log = structlog.get_logger()


def wanted_of(settings: Settings, now: datetime) -> Comparable:
    """Which jobs the second engine is to read, by the settings of now."""
    left_out = frozenset(rule.name for rule in settings.reading.rules if not rule.compare)
    return Comparable(now - timedelta(days=settings.reading.reader.second_days), left_out)


def standing_of(second_readings: SecondReadings, settings: Settings, now: datetime) -> dict[str, int]:
    """How many second readings wait, were read and were given up; without a second engine nothing new waits."""
    wanted = None if settings.reading.second_engine is None else wanted_of(settings, now)
    return second_readings.counts(wanted)


def waiting_of(second_readings: SecondReadings, settings: Settings, now: datetime) -> int | None:
    """How many second readings wait or are being read; None without a second engine."""
    if settings.reading.second_engine is None:
        return None
    return second_readings.waiting_count(wanted_of(settings, now))


def read_second(second: SecondReading, job: Job, tools: Tools) -> None:
    """Shows the case of a job to the second engine, image for image and word for word as the first one saw it.

    Raises:
        GiveUp: if it cannot be shown so any more.
        TryLater: if memory is short.
        LeaseLost: if the row is no longer the caller's, as after `preread delete`.
    """
    from agent.casework import case_of  # numpy and the decoders, as in agent.steps
    from inference.engine import OutOfMemory

    settings = tools.settings.of_second_engine
    assert tools.engine is not None, "a second reading was claimed by a process without a model"
    assert settings is not None, "the reader of the second engine ends when the settings have none"
    assert job.manifest_json is not None, "a job that was read has a manifest"
    assert job.reading_json is not None, "a job that was not read is not claimed"
    manifest = manifests.load_manifest(job.manifest_json)
    if manifest.rule is not None:  # its adapter was made for the first engine's weights
        manifest = replace(manifest, rule=replace(manifest.rule, adapter=None))
    try:
        case, problems = case_of(manifest, tools.files, settings)
    except GiveUp as error:  # retention, or somebody, has deleted an image since
        raise GiveUp(f"the case is no longer what the first engine saw: {error.reason}") from error
    said_then = manifests.load_reading(job.reading_json).problems
    if missing := [problem for problem in problems if problem not in said_then]:
        raise GiveUp(f"the case is no longer what the first engine saw: {missing[0]}")
    try:
        answered = tools.engine.read(case)
    except OutOfMemory as error:
        raise TryLater(error.reason, MEMORY_SECONDS) from error
    reading = replace(answered, problems=(*problems, *answered.problems), configuration=tools.settings.digest)
    tools.jobs.second_readings.keep(second, job, manifests.dump_reading(reading), tools.clock())
    log.info("read by the second engine", job=job.number, study=job.study_instance_uid)
