"""The other systems: are they there, do they take what we send, whom do they show themselves to be?"""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from agent.checking import CheckLine, greetings
from agent.doctor.certificates import judge_shown
from agent.doctor.lines import Line, Verdict
from agent.doctor.places import Endpoint, endpoints
from agent.peers import Called, Offered, Peers, classes_needed
from config.settings import (
    ArchiveSettings,
    DestinationSettings,
    Settings,
    WorklistSettings,
)

_AT_ONCE = 8
"""Peers asked at the same time: ten that do not answer must not take ten times their patience."""

_CONNECT_SECONDS = 10.0


def look_at_peers(settings: Settings, now: datetime) -> Iterator[Line]:
    """Greets every peer, proposes to it what we need of it, and reads the certificate it shows."""
    looks: list[Callable[[], Line]] = []
    greeted = greetings(settings)
    for greeting in greeted:
        looks.append(partial(_greeted, greeting.line))
        if isinstance(greeting.settings, DestinationSettings | ArchiveSettings | WorklistSettings):
            looks += _offers(settings, greeting.kind, greeting.settings)
    known = [greeting.settings for greeting in greeted]
    for endpoint in (*_trail(settings), *endpoints(settings.peers)):
        if endpoint.settings not in known:
            looks.append(partial(_reached, endpoint))
        if endpoint.has_tls:
            looks.append(partial(judge_shown, endpoint.name, endpoint.host, endpoint.port, now))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="doctor") as pool:
        # A peer that cannot be reached at all answers two looks with the same words.
        yield from dict.fromkeys(pool.map(lambda look: look(), looks))


def _trail(settings: Settings) -> Iterator[Endpoint]:
    """Gives the server that keeps the audit trail too, if there is one."""
    syslog = settings.agent.audit.syslog
    if syslog is not None:
        yield Endpoint("audit.syslog", syslog, syslog.host, syslog.port, has_tls=True)


def _greeted(greet: Callable[[], CheckLine]) -> Line:
    line = greet()
    return Line(Verdict.OK if line.ok else Verdict.PROBLEM, "peer", line.text)


def _offers(settings: Settings, kind: str, called: Called) -> Iterator[Callable[[], Line]]:
    outputs = settings.outputs_of(called) if isinstance(called, DestinationSettings) else ()
    needed = classes_needed(called, outputs)
    if needed:
        peers = Peers(settings.agent.device.ae_title)
        yield lambda: judge_offer(f'{kind} "{called.name}"', peers.offer(called, needed))


def judge_offer(whose: str, offered: Offered) -> Line:
    """Says whether a peer takes what we have for it."""
    if offered.problem is not None:
        return Line(Verdict.PROBLEM, "peer", f"{whose}: {offered.problem}")
    if offered.refused:
        refused = ", ".join(offered.refused)
        text = f"{whose} does not accept {refused}; allow it there, or take it out of what is asked of it in peers.toml"
        return Line(Verdict.PROBLEM, "peer", text)
    return Line(Verdict.OK, "peer", f"{whose} accepts {', '.join(offered.accepted)}")


def _reached(endpoint: Endpoint) -> Line:
    """Opens a TCP connection: all that can be asked of a system without sending it something."""
    place = f"{endpoint.name}: {endpoint.host}:{endpoint.port}"
    try:
        socket.create_connection((endpoint.host, endpoint.port), _CONNECT_SECONDS).close()
    except OSError as error:
        text = f"{place} cannot be reached ({error.strerror or type(error).__name__}); is it running, is the way open?"
        return Line(Verdict.PROBLEM, "peer", text)
    return Line(Verdict.OK, "peer", f"{place} can be reached")
