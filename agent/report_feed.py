"""Asks FHIR servers for the reports that are new there, and keeps them as those that come by HL7."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import structlog

from agent.messages import MessageIntake
from agent.reports.fhir import changed_at, each_with_its_resources, report_of, uids_of
from agent.reports.rows import OwnDraft, RowError
from agent.steps import Tools
from config.settings import ReportServerSettings
from storage.outside_records import Report

log = structlog.get_logger()


def ask_report_server(server: ReportServerSettings, tools: Tools, intake: MessageIntake) -> int:
    """Asks a server for what is new since its last answer, and keeps it; gives how many versions were new.

    Called by the clock. What was kept and how far the server is heard are one commit for each page: a crash, or a
    server that falls silent, costs the rest of the answer until the next question. What cannot be taken goes into
    quarantine before that.
    """
    now = tools.clock()
    heard_until = tools.reports.heard_until(server.name)
    since = heard_until or _instant(now - timedelta(days=server.history_days))
    added = 0
    for page in tools.peers.report_pages(server, since):
        if page.problem is not None:
            log.warning("report server cannot be asked", report_server=server.name, reason=page.problem)
            break
        told = list(each_with_its_resources(page.bundle))
        versions: list[Report] = []
        for resource, whole in told:
            if tools.reports.made_by_us(uids_of(resource)):
                continue  # a draft of our own that we sent there
            version = report_of(resource, whole, server.name, now)
            if isinstance(version, OwnDraft):
                continue
            if isinstance(version, RowError):
                _keep(whole, str(version), server, tools, intake)
            else:
                versions.append(version)
        since = _latest([since, *(changed_at(resource) for resource, _ in told)])
        new = tools.reports.hear(server.name, versions, since)
        added += new
        if new:
            log.info("report server answered", report_server=server.name, reports=len(told), added=new)
    return added


def _keep(
    resource: Mapping[str, Any],
    reason: str,
    server: ReportServerSettings,
    tools: Tools,
    intake: MessageIntake,
) -> None:
    """Puts what cannot be taken into quarantine, once: the last of an answer is told again with the next."""
    content = json.dumps(resource, ensure_ascii=False).encode()
    if not tools.reports.was_quarantined(sha256(content).hexdigest()):
        intake.quarantine(content, server.name, reason, "json")


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _latest(instants: Iterable[str]) -> str:
    """The latest of FHIR instants, as it was written; those that are none do not count."""
    return max(instants, key=_moment)


def _moment(instant: str) -> float:
    try:
        return datetime.fromisoformat(instant).timestamp()
    except ValueError:
        return float("-inf")
