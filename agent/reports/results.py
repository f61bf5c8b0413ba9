"""Stores what a result message says, and lets no draft of our own in by the back door."""

from functools import partial

from agent.hl7.oru import Results, parse_results
from agent.messages import MessageType
from storage.reports import Reports


def result_messages(reports: Reports) -> MessageType:
    """How messages of type ORU are taken."""
    return MessageType(parse_results, partial(_store, reports))


def _store(reports: Reports, results: Results) -> str:
    if not results.reports or (not results.is_signed and reports.made_by_us(results.mentioned_uids)):
        return "a draft of our own that came back, passed over"
    added = reports.add(results.reports)
    known = len(results.reports) - added
    passed_over = f", {results.documents} documents passed over" if results.documents else ""
    return f"report versions: {added} added, {known} known already{passed_over}"
