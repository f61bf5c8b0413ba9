"""The whole examination, in the order in which a person would look: the machine first, the other systems last."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from agent.checking import own_places
from agent.doctor import certificates, databases, disks, machine, ownership
from agent.doctor.lines import Line, Verdict
from agent.doctor.network import look_at_peers
from agent.doctor.places import certificate_files, secret_files
from agent.loaded import who_serves
from agent.presence import Presence, look
from config.settings import Settings
from inference.published import DEMO_FOLDER
from storage.census import Census
from storage.database import connect_as_is, known_revisions
from storage.inspection import DatabaseFacts, look_at_database
from storage.processes import Processes

_VOLUME_DAYS = 7


def examine(settings: Settings, clock: Callable[[], datetime], *, look_at_model: bool) -> tuple[Line, ...]:
    """Looks at everything that preread stands on.

    Leaves nothing behind: the file that tries the disk is removed, no database is made or migrated, nothing is sent.

    Args:
        look_at_model: reads the model's files too; imports torch (seconds).
    """
    found = f"{settings.folder or 'built-in defaults'}, {settings.digest}"
    lines = [Line(Verdict.OK, "configuration", found)]
    database = look_at_database(settings.agent.storage.connection_url(), clock)
    bytes_by_day, is_work_open, presence = _asked_of_rows(settings, database, clock())
    lines += _disk(settings, bytes_by_day)
    lines += databases.judge_database(database, known_revisions())
    lines.append(machine.judge_clock(machine.look_at_clock()))
    wants_second = settings.reading.second_engine is not None
    lines += machine.judge_processes(
        presence, settings.digest, clock(), wants_second=wants_second, is_work_open=is_work_open
    )
    lines += _ports(settings, _serving_pids(settings, presence))
    lines += _permissions(settings)
    lines += machine.judge_cards(machine.look_at_cards(), settings.reading.engine.device)
    if look_at_model:
        roles = {process.role for process in presence.running}
        lines += _model(settings, "model", is_read_now="read" in roles)
        if settings.of_second_engine is not None:
            lines += _model(settings.of_second_engine, "second model", is_read_now="read --second" in roles)
    for part in (settings.agent, settings.peers):
        lines += certificates.judge_files(certificate_files(part), clock())
    return (*lines, *look_at_peers(settings, clock()))


def _asked_of_rows(
    settings: Settings, facts: DatabaseFacts, now: datetime
) -> tuple[float | None, bool, Presence]:
    """Bytes received a day, whether work is open, and who runs; None and False of a database that is not ours."""
    folder = settings.agent.storage.folder
    if facts.problem is not None or facts.revision != known_revisions()[-1]:
        return None, False, look(folder, None, now)
    database = connect_as_is(settings.agent.storage.connection_url())
    try:
        census = Census(database)
        received = census.bytes_since(now - timedelta(days=_VOLUME_DAYS))
        return received / _VOLUME_DAYS, census.standing().is_work_open, look(folder, Processes(database), now)
    finally:
        database.close()


def _disk(settings: Settings, bytes_by_day: float | None) -> Iterator[Line]:
    storage = settings.agent.storage
    is_sqlite = storage.connection_url().startswith("sqlite")
    yield from disks.judge_disk(
        disks.look_at_disk(storage.folder),
        settings.agent.listener.free_bytes_min,
        bytes_by_day,
        holds_database=is_sqlite,
    )


def _serving_pids(settings: Settings, presence: Presence) -> set[int]:
    """The processes of this machine that serve, by their rows and, for a database that is away, by the folder."""
    here = socket.gethostname()
    pids = {one.pid for one in presence.running if one.role == "serve" and one.host == here}
    with suppress(PermissionError):  # the folder is another user's
        service = who_serves(settings.agent.storage.folder)
        pids |= set() if service is None else {service.pid}
    return pids


def _ports(settings: Settings, pids: set[int]) -> Iterator[Line]:
    agent = settings.agent
    ours = {"listener": agent.listener, "hl7": agent.hl7, "metrics": agent.metrics}
    for table, port in ours.items():
        if port is not None:
            facts = machine.look_at_port(f"{table}.port", port.host, port.port)
            yield machine.judge_port(facts, pids)


def _permissions(settings: Settings) -> Iterator[Line]:
    if settings.folder is not None:
        yield from ownership.look_at_config(settings.folder)
    for place in own_places(settings):
        yield Line(Verdict.OK if place.ok else Verdict.PROBLEM, "permissions", place.text)
    for part in (settings.agent, settings.peers):
        yield from ownership.look_at_secrets(secret_files(part))
    # What preread keeps of patients: images and drafts, and the audit trail where it has a place of its own.
    for folder in (settings.agent.storage.folder, settings.agent.audit.folder):
        if folder is not None and folder.is_dir():
            yield ownership.look_at_state(folder)


def _model(settings: Settings, which: str, *, is_read_now: bool) -> Iterator[Line]:
    from inference.verdict import NO_ROOM_TO_LOOK
    from inference.verification import check  # torch

    engine = settings.reading.engine
    found = check(
        engine.model_folder or DEMO_FOLDER,
        engine.adapter_folder,
        device=engine.device,
        dtype=engine.dtype,
        weights=engine.weights,
        answer_tokens_max=engine.answer_tokens_max,
        allow_pickled_weights=engine.allow_pickled_weights,
        engine_name=engine.name,
    )
    for line in found.checks:
        if line.ok:
            yield Line(Verdict.OK, which, line.text)
        elif is_read_now and (line.text.startswith("memory:") or NO_ROOM_TO_LOOK in line.text):
            text = f"{line.text} (the reader that runs has its memory already)"
            yield Line(Verdict.OK, which, text)
        else:
            yield Line(Verdict.PROBLEM, which, line.text)
    table = "engine" if which == "model" else "second_engine"
    whole = "adapter" if engine.adapter_folder is not None else "tensors"
    pinned, told = engine.weights_digest, [line.text for line in found.checks if line.text.startswith(whole)]
    if pinned and any("sha256:" in text and pinned not in text for text in told):
        text = f"the weights are not {pinned} of {table}.weights_digest; put the accepted files back, or accept these"
        yield Line(Verdict.PROBLEM, which, text)
