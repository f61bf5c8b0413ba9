"""`preread scores` and `preread calibrate`: scores and truths become the [[calibration]] tables of reading.toml."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from agent.errors import GiveUp
from agent.manifest import load_reading
from agent.store import existing_store
from config.effective import toml_of
from config.settings import CalibrationSettings, Settings
from config.wording import expectation
from inference.calibration import CASES_OF_EACH_MIN, Fitted, fitted

COLUMNS = ("finding", "score", "truth")
DIGEST_COLUMN = "weights_digest"
_TRUTHS = {"0": False, "1": True}


@dataclass(frozen=True, slots=True)
class Row:
    """One case of one finding.

    Attributes:
        score: 0..1, as the model gave it.
        truth: whether the finding is there.
    """

    finding: str
    score: float
    truth: bool


def scores_csv(settings: Settings, jobs_max: int) -> str:
    """Writes the scores of the studies read last, each by its newest draft, with an empty column for the truth.

    Args:
        jobs_max: jobs looked at, the newest first.
    """
    store = existing_store(settings)
    try:
        jobs = store.jobs.latest(jobs_max)
    finally:
        store.database.close()
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("study", DIGEST_COLUMN, *COLUMNS))
    seen: set[str] = set()
    for job in jobs:
        if job.reading_json is None or job.study_instance_uid in seen:
            continue
        seen.add(job.study_instance_uid)
        reading = load_reading(job.reading_json)
        head = (job.study_instance_uid, reading.engine.weights_digest)
        writer.writerows((*head, score.name, repr(score.value), "") for score in reading.scores)
    return text.getvalue()


def calibration_toml(table: Path, fitted_on: str, weights_digest: str) -> str:
    """Fits a calibration for each finding of a table.

    Args:
        table: CSV with the columns finding, score (0 to 1) and truth (0 or 1, or empty where nobody knows it); a
            line whose column weights_digest, if there is one, names other weights is not counted.
        fitted_on: on which cases, in words.

    Returns:
        [[calibration]] tables, each under a comment with what it did for held-out cases; a finding that cannot be
        calibrated, or is not helped by it, is a comment that says why.

    Raises:
        GiveUp: if the table cannot be read; one sentence with the line.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_rows(csv.DictReader(lines), table, weights_digest))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GiveUp(f"{table} cannot be read: {error}") from error
    if not rows:
        raise GiveUp(
            f"{table} holds no case of these weights with a truth; one line for each finding is needed"
        )
    findings = sorted({row.finding for row in rows})
    return "\n\n".join(
        _section(name, [row for row in rows if row.finding == name], fitted_on, weights_digest)
        for name in findings
    )


def _rows(reader: "csv.DictReader[str]", table: Path, weights_digest: str) -> Iterator[Row]:
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise GiveUp(
            f"{table} has no column {', '.join(missing)}; its first line must name {', '.join(COLUMNS)}"
        )
    for line in reader:
        finding, score, truth = ((line[column] or "").strip() for column in COLUMNS)
        place = f"{table}, line {reader.line_num}"
        if not truth or line.get(DIGEST_COLUMN, weights_digest) != weights_digest:
            continue
        if not finding:
            raise GiveUp(f"{place}: no finding is named")
        if truth not in _TRUTHS:
            raise GiveUp(f'{place}: truth is "{truth}", expected 0 or 1')
        try:
            value = float(score)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise GiveUp(f'{place}: score is "{score}", expected a number from 0 to 1')
        yield Row(finding.lower(), value, _TRUTHS[truth])


def _section(finding: str, rows: list[Row], fitted_on: str, weights_digest: str) -> str:
    scores, truths = np.array([row.score for row in rows]), np.array([row.truth for row in rows])
    present = int(truths.sum())
    cases = f"# {finding}: {present} present, {len(rows) - present} absent."
    if min(present, len(rows) - present) < CASES_OF_EACH_MIN:
        return f"{cases} Left out: at least {CASES_OF_EACH_MIN} of each are needed."
    result = fitted(scores, truths)
    measured = f"{cases} {_measured(result)}"
    if result.slope < 0:
        return f"{measured} Left out: higher scores mean the finding less often (slope {result.slope:.3f})."
    if result.after.brier >= result.before.brier:
        return f"{measured} Left out: it is no better than the scores themselves."
    try:
        settings = CalibrationSettings(
            finding=finding,
            slope=round(result.slope, 6),
            intercept=round(result.intercept, 6),
            fitted_on=fitted_on,
            weights_digest=weights_digest,
        )
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0])
        expected = expectation(CalibrationSettings.model_fields[wrong])
        raise GiveUp(f"{finding}: {wrong} does not fit reading.toml, which expects {expected}") from error
    return f"{measured}\n[[calibration]]\n{toml_of(settings)}".rstrip()


def _measured(result: Fitted) -> str:
    before, after = result.before, result.after
    return (
        f"On {result.held_out_count} held-out cases: Brier score {before.brier:.4f} before, {after.brier:.4f} after; "
        f"expected calibration error {before.calibration_error:.4f} before, {after.calibration_error:.4f} after."
    )
