"""FHIR R4 servers as a client: which reports are new there (search of DiagnosticReport, R4 3.1.1)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin

import requests

from agent.peers.http import problem_of, session
from config.settings import ReportServerSettings

_PAGE_BYTES_MAX = 64 * 2**20
_REPORTS_OF_A_PAGE = 50
_WITH = ("subject", "result", "based-on")
"""What is sent along with a report: the search parameters of its references (R4 DiagnosticReport)."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A part of an answer, or why there is none.

    Attributes:
        bundle: a FHIR Bundle as sent; {} if there is none.
        problem: a sentence for the person on duty, or None.
    """

    bundle: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class _NoBundle(Exception):
    """The answer is no FHIR Bundle; says what it is."""


def report_pages(server: ReportServerSettings, since: str) -> Iterator[ReportPage]:
    """Asks a server for the reports changed since a moment, the oldest change first; page by page as they come.

    Args:
        since: a FHIR instant, such as "2026-03-01T10:00:00Z".
    """
    name = f'Report server "{server.name}" ({server.url})'
    asked = [
        *parse_qsl(server.search, keep_blank_values=True),
        ("_lastUpdated", f"ge{since}"),
        ("_sort", "_lastUpdated"),
        ("_count", str(_REPORTS_OF_A_PAGE)),
        *(("_include", f"DiagnosticReport:{one}") for one in _WITH),
    ]
    url: str | None = f"{server.url}/DiagnosticReport?{urlencode(asked)}"
    try:
        with session(server.tls, server.authorization) as opened:
            for _ in range(server.pages_max):
                if url is None:
                    return
                if not url.startswith((f"{server.url}/", f"{server.url}?")):
                    raise _NoBundle("has its next page at another address than its url in peers.toml")
                bundle = _fetched(opened, url, server)
                yield ReportPage(bundle)
                url = _next_of(bundle, url)
    except _NoBundle as error:
        yield ReportPage(problem=f"{name} {error.args[0]}. Is url in peers.toml right?")
    except (requests.RequestException, OSError) as error:
        yield ReportPage(problem=problem_of(name, server.answer_seconds, error)[0])


def _fetched(opened: requests.Session, url: str, server: ReportServerSettings) -> dict[str, Any]:
    wait = (server.connect_seconds, server.answer_seconds)
    with opened.get(url, headers={"Accept": "application/fhir+json"}, timeout=wait, stream=True) as answer:
        answer.raise_for_status()
        content = bytearray()
        for piece in answer.iter_content(2**16):
            content += piece
            if len(content) > _PAGE_BYTES_MAX:
                raise _NoBundle(f"answers with more than {_PAGE_BYTES_MAX} bytes a page")
    try:
        bundle = json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise _NoBundle("answers with what is no JSON") from None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise _NoBundle("answers with what is no FHIR Bundle")
    return bundle


def _next_of(bundle: Mapping[str, Any], url: str) -> str | None:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return urljoin(url, link["url"])
    return None
