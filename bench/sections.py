"""How often findings and impression are found whole, over 100 reports labelled without the parser.

    python -m bench.sections --reports FOLDER

FOLDER holds hl7_oru_scout.jsonl (HL7 v2 results) and iu_chest_reports.jsonl (Open-i). A label comes from what the
source knows and the parser is not told: for Open-i its own fields, laid out in four ways; for HL7 2.7 and 2.3 the
code of each OBX (&GDT, &IMP), for HL7 2.4 the template of that sender, by rules of its own. The ends of each HL7 label
were read against its report. Only a section that is equal to its label, but for white space, counts as found.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agent.hl7.message import MessageError, parse_message
from agent.hl7.oru import parse_results
from agent.sections import find_sections, report_text

SECTIONS = ("findings", "impression")
Label = dict[str, str | None]

SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
LAYOUTS = (
    "COMPARISON: {comparison}\nINDICATION: {indication}\nFINDINGS: {findings}\nIMPRESSION: {impression}",
    "Comparison\n{comparison}\n\nIndication\n{indication}\n\nFindings\n{findings}\n\nImpression\n{impression}",
    "EXAM: CHEST. INDICATION: {indication} FINDINGS: {findings} IMPRESSION: {impression}",
    "Clinical history: {indication}\nComparison: {comparison}\n\n{findings}\n\nConclusion: {impression}",
)


def open_i(folder: Path, layout: str, step: int = 1) -> Iterator[tuple[str, str, Label]]:
    """Every `step`-th report that has both sections, in one layout, as (id, text, label)."""
    lines = (folder / "iu_chest_reports.jsonl").read_text(encoding="utf-8").splitlines()
    studies = [study for study in map(json.loads, lines) if study["findings"] and study["impression"]]
    for study in studies[::step]:
        yield study["id"], layout.format(**study), {section: study[section] for section in SECTIONS}


def hl7_sample(folder: Path, counts: dict[str, int]) -> Iterator[tuple[str, str, Label]]:
    """The first messages with text of each HL7 version, every fourth of the frequent ones."""
    taken: Counter[str] = Counter()
    for line in (folder / "hl7_oru_scout.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        version = record["version"]
        try:
            results = parse_results(parse_message(record["message"].encode()), SOME_TIME)
        except MessageError:
            continue
        taken[version] += 1
        step = 1 if version == "2.3" else 4
        if taken[version] % step == 0 and taken[version] // step <= counts[version]:
            yield record["id"], results.reports[0].text, _label_of_message(record["message"], version)


def _label_of_message(message: str, version: str) -> Label:
    lines = [
        (fields[3].partition("&")[2], line)
        for fields in (segment.split("|") for segment in message.split("\r"))
        if fields[0] == "OBX" and fields[2] in ("TX", "ST", "FT") and len(fields) > 5
        for line in fields[5].split("~")
    ]
    if version == "2.4":
        return _label_of_template([line for _, line in lines])
    body = [line for code, line in lines if code == "GDT"]
    impression = [line for code, line in lines if code == "IMP"]
    signed = next((place for place, line in enumerate(impression) if " by: " in line), len(impression))
    start = next((place for place, line in enumerate(body) if line.startswith("FINDINGS")), None)
    findings = None if start is None else "\n".join(body[start:]).removeprefix("FINDINGS").lstrip(": ")
    told = "\n".join(impression[:signed]).removeprefix("IMPRESSION:")
    return {"findings": findings or None, "impression": told.strip() or None}


def _label_of_template(lines: list[str]) -> Label:
    places = {
        name: place
        for place, line in enumerate(lines)
        for name in SECTIONS
        if line.strip() == f"{name.upper()}:"
    }
    ends = [
        place
        for place, line in enumerate(lines)
        if re.match(r"(ADDENDUM|IMPRESSION|Requested By|Dictated By)\b", line)
    ]

    def after(name: str) -> str | None:
        if name not in places:
            return None
        end = min((place for place in ends if place > places[name]), default=len(lines))
        return "\n".join(lines[places[name] + 1 : end]).strip() or None

    return {name: after(name) for name in SECTIONS}


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _differences(
    sample: list[tuple[str, str, str, Label]], counts: Counter[tuple[str, str, str]]
) -> Iterator[str]:
    """Counts what is labelled, found and equal; gives a line for each difference, without the words."""
    for source, name, text, label in sample:
        found = report_text(find_sections(text))
        for section in SECTIONS:
            wanted, answer = _plain(label[section]), _plain(getattr(found, section, None))
            counts[source, section, "labelled"] += bool(wanted)
            counts[source, section, "found"] += bool(answer)
            counts[source, section, "equal"] += bool(wanted) and wanted == answer
            if wanted != answer:
                yield f"{source} {name}: {section} differs, {len(wanted)} characters labelled, {len(answer)} found"


def main() -> None:
    """Prints precision and recall of both sections, by source, and the ids of what was missed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--reports", type=Path, required=True)
    folder = arguments.parse_args().reports
    sample = [
        ("Open-i, sample", *one) for layout in LAYOUTS for one in list(open_i(folder, layout, 226))[:10]
    ]
    sample += [("HL7, sample", *one) for one in hl7_sample(folder, {"2.7": 26, "2.4": 24, "2.3": 10})]
    counts: Counter[tuple[str, str, str]] = Counter()
    lines = [
        *_differences(sample, counts),
        f"{len(sample)} reports in the sample; and all of Open-i in each layout:",
    ]
    for number, layout in enumerate(LAYOUTS, start=1):
        everything = [(f"Open-i, layout {number}", *one) for one in open_i(folder, layout)]
        sum(1 for _ in _differences(everything, counts))
    for source, section in dict.fromkeys((source, section) for source, section, _ in counts):
        labelled, found, equal = (counts[source, section, kind] for kind in ("labelled", "found", "equal"))
        lines.append(
            f"{source}, {section}: {labelled} labelled, {found} found, {equal} equal; "
            f"precision {equal / found:.3f}, recall {equal / labelled:.3f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
