"""`preread compare`: what the second engine would have said, beside what the first one did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from io import StringIO
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from agent.comparison import CasePair, FindingCount, counts, pair_of
from agent.manifest import load_reading
from agent.second import standing_of
from agent.store import existing_store
from config.settings import Settings
from inference.reading import EngineIdentity

_WIDTH = 160

Engines = tuple[EngineIdentity, EngineIdentity]


def compared(settings: Settings, since: datetime, now: datetime, jobs_max: int) -> dict[str, Any]:
    """Compares both readings of each study's newest job that has them, as plain values for JSON.

    Args:
        since: studies that got a job at this time or later.
        jobs_max: jobs looked at, the newest ones.
    """
    store = existing_store(settings)
    try:
        seconds = store.jobs.second_readings
        found = seconds.of_studies_since(since, jobs_max)
        standing = standing_of(seconds, settings, now)
    finally:
        store.database.close()
    pairs: dict[Engines, list[CasePair]] = {}
    for job, second in found:
        if job.reading_json is not None and second.reading_json is not None:
            readings = load_reading(job.reading_json), load_reading(second.reading_json)
            engines = readings[0].engine, readings[1].engine
            pairs.setdefault(engines, []).append(pair_of(job.study_instance_uid, *readings))
    return {
        "since": since.isoformat(),
        "second_readings": standing,
        "comparisons": [_comparison(engines, cases) for engines, cases in pairs.items()],
        "failed": [
            {"study": job.study_instance_uid, "problem": second.problem}
            for job, second in found
            if second.failed_at is not None
        ],
    }


def _comparison(engines: Engines, cases: Sequence[CasePair]) -> dict[str, Any]:
    differing = {case.study_instance_uid: case.differences() for case in cases}
    return {
        "first": asdict(engines[0]),
        "second": asdict(engines[1]),
        "studies": len(cases),
        "same_words": sum(case.same_words for case in cases),
        "first_seconds_median": median(case.first_seconds for case in cases),
        "second_seconds_median": median(case.second_seconds for case in cases),
        "findings": [asdict(count) for count in counts(cases)],
        "not_asked": Counter(name for case in cases for name in case.not_asked),
        "differing": [
            {"study": study, "differences": list(words)} for study, words in differing.items() if words
        ],
    }


def compared_text(report: Mapping[str, Any]) -> str:
    """Writes the comparison for a person."""
    lines = ["AI drafts, not verified; those of the second engine were delivered to nobody."]
    standing = report["second_readings"]
    lines.append(
        f"second readings: {standing['read']} read, {standing['waiting']} waiting, {standing['failed']} failed"
    )
    if not report["comparisons"]:
        lines.append(f"nothing to compare since {report['since']}")
    for one in report["comparisons"]:
        lines += ["", *_comparison_lines(one)]
    if report["failed"]:
        lines += ["", "not read by the second engine:"]
        lines += [f"  {one['study']}: {one['problem']}" for one in report["failed"]]
    return "\n".join(lines)


def _comparison_lines(one: Mapping[str, Any]) -> list[str]:
    differing = one["differing"]
    lines = [
        _engine_line("first", one["first"], one["first_seconds_median"]),
        _engine_line("second", one["second"], one["second_seconds_median"]),
        f"{one['studies']} studies: {len(differing)} differ in findings, {one['same_words']} have the same words",
    ]
    if one["findings"]:
        lines += ["", _table([FindingCount(**count) for count in one["findings"]])]
    if one["not_asked"]:
        told = ", ".join(f"{name} ({number} studies)" for name, number in sorted(one["not_asked"].items()))
        lines += ["", f"not compared, named by one and not asked of the other: {told}"]
    if differing:
        lines += ["", "studies that differ (preread why STUDY):"]
        for study in differing:
            lines += [f"  {study['study']}", *(f"    {words}" for words in study["differences"])]
    return lines


def _engine_line(which: str, engine: Mapping[str, Any], seconds: float) -> str:
    demo = ", synthetic demo model" if engine["is_demo"] else ""
    name = f"{engine['model_name']} ({engine['weights_digest']}{demo})"
    return f"{which:<6} {name}, {seconds:.2f} s a study (median)"


def _table(found: Sequence[FindingCount]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    titles = ("finding", "both", "only first", "only second", "other status", "other side", "other change")
    for title in (*titles, "both with boxes", "overlap"):
        table.add_column(title, no_wrap=True, justify="left" if title == "finding" else "right")
    for one in found:
        numbers = (one.both, one.only_first, one.only_second, one.other_status, one.other_side)
        place = "" if one.overlap is None else f"{one.overlap:.2f}"
        table.add_row(one.name, *map(str, (*numbers, one.other_change, one.overlaps)), place)
    page = StringIO()
    Console(file=page, width=_WIDTH, color_system=None).print(table, markup=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()).strip("\n")
