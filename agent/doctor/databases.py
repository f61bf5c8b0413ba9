"""The database: does it answer, does it keep what it says it keeps, is its clock ours? Pure."""

from collections.abc import Iterator, Sequence

from agent.doctor.lines import Line, Verdict
from storage.inspection import DatabaseFacts

_AREA = "database"
_WARN_AHEAD_SECONDS, _AHEAD_SECONDS_MAX = 0.5, 2.0
_ANSWER_SECONDS_MAX = 0.05


def judge_database(facts: DatabaseFacts, revisions: Sequence[str]) -> Iterator[Line]:
    """Says what a database is worth to us.

    Args:
        revisions: those that this program knows, the newest last.
    """
    if facts.problem is not None:
        text = f"{facts.place} cannot be used: {facts.problem}; correct [storage] in agent.toml, or start it"
        yield Line(Verdict.PROBLEM, _AREA, text)
        return
    if not facts.version:
        yield Line(Verdict.OK, _AREA, f"{facts.place} is not there yet; the first start makes it")
        return
    yield _judge_answer(facts)
    yield _judge_schema(facts, revisions)
    yield from _judge_keeping(facts)
    yield from _judge_clock(facts)


def _judge_answer(facts: DatabaseFacts) -> Line:
    found = f"{facts.version} at {facts.place} answers in {facts.answer_seconds * 1000:.1f} ms"
    if facts.answer_seconds > _ANSWER_SECONDS_MAX:
        text = f"{found}: each step asks it several times; put it nearer, or see what keeps it busy"
        return Line(Verdict.WARNING, _AREA, text)
    return Line(Verdict.OK, _AREA, found)


def _judge_schema(facts: DatabaseFacts, revisions: Sequence[str]) -> Line:
    head = revisions[-1]
    if facts.revision is None:
        return Line(Verdict.OK, _AREA, "it holds nothing yet; the first start makes the tables")
    if facts.revision == head:
        return Line(Verdict.OK, _AREA, f"its schema is revision {head}, this program's own")
    if facts.revision in revisions:
        text = (
            f"its schema is revision {facts.revision}; the next start makes it {head}: make a backup before"
        )
        return Line(Verdict.WARNING, _AREA, text)
    text = f'its schema is revision "{facts.revision}", and this program knows up to {head}: start the newer program'
    return Line(Verdict.PROBLEM, _AREA, f"{text} that wrote it, or restore the backup made before the update")


def _judge_keeping(facts: DatabaseFacts) -> Iterator[Line]:
    for name in ("fsync", "full_page_writes"):
        if facts.settings.get(name, "on") != "on":
            text = f"{name} is off: a power cut loses what senders were told is kept; set {name} = on in its"
            yield Line(Verdict.PROBLEM, _AREA, f"{text} configuration")
    mode = facts.settings.get("journal_mode", "wal")
    if mode != "wal" and facts.revision is not None:
        text = f"its journal mode is {mode}, not wal: something other than preread has changed it; the next start"
        yield Line(Verdict.WARNING, _AREA, f"{text} switches it back")
    checked = facts.settings.get("quick_check", "ok")
    if checked != "ok":
        text = f"the file is damaged ({checked}): stop preread, keep a copy, and restore the last backup"
        yield Line(Verdict.PROBLEM, _AREA, text)
    if facts.settings:
        told = ", ".join(f"{name} {value}" for name, value in sorted(facts.settings.items()))
        yield Line(Verdict.OK, _AREA, f"as found: {told}; preread itself asks for every commit to be on disk")


def _judge_clock(facts: DatabaseFacts) -> Iterator[Line]:
    apart = abs(facts.ahead_seconds)
    side = "ahead of" if facts.ahead_seconds > 0 else "behind"
    told = f"its clock is {apart:.1f} s {side} ours"
    if apart > _AHEAD_SECONDS_MAX:
        yield Line(
            Verdict.PROBLEM, _AREA, f"{told}: times in it and in the log cannot be compared; run NTP on both"
        )
    elif apart > _WARN_AHEAD_SECONDS:
        yield Line(Verdict.WARNING, _AREA, f"{told}; run NTP on both")
