"""Which images are still needed: decided from a study's age alone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from config.settings import Settings
from storage.deletions import StudyAge

ROOM_HOURS_MIN = 24
"""Images that came or were read since are not deleted to make room either: someone may be looking at the draft."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long images are kept.

    Attributes:
        priors_max: how many of a patient's newest studies are possible priors.
        window_days: how far back a prior may lie.
    """

    image_days: int
    prior_days: int
    priors_max: int
    window_days: int


def rules_of(settings: Settings) -> RetentionRules:
    """What agent.toml and reading.toml say of it."""
    kept, priors = settings.agent.retention, settings.reading.priors
    return RetentionRules(kept.image_days, kept.prior_days, priors.count_max, priors.window_days)


def is_possible_prior(age: StudyAge, rules: RetentionRules, now: datetime) -> bool:
    """May the next exam of the patient be read beside this one? A prior that an archive sent can be fetched again."""
    return (
        age.has_identifier
        and not age.is_fetched
        and age.newer_exams < rules.priors_max
        and _days_since(age.study_date, now) <= rules.window_days
    )


def reason_to_delete(age: StudyAge, rules: RetentionRules, now: datetime) -> str | None:
    """Says why the images of a study may go, a sentence, or None if they may not."""
    if age.is_busy or age.is_held:
        return None
    days_max, because = rules.image_days, f"image_days = {rules.image_days}"
    if is_possible_prior(age, rules, now):
        days_max, because = rules.prior_days, f"prior_days = {rules.prior_days}"
    days = (now - _last_change(age)).days
    return f"last changed {days} days ago; retention.{because}" if days >= days_max else None


def may_make_room(age: StudyAge, now: datetime) -> bool:
    """May the images of a study go before their days are over, since the disk is nearly full?"""
    is_settled = now - _last_change(age) >= timedelta(hours=ROOM_HOURS_MIN)
    return is_settled and not age.is_busy and not age.is_held


def _last_change(age: StudyAge) -> datetime:
    return max(age.arrived_at, age.changed_at or age.arrived_at)


def _days_since(study_date: str, now: datetime) -> float:
    """Whole days since a DICOM date; endless if it is none."""
    try:
        day = date(int(study_date[:4]), int(study_date[4:6]), int(study_date[6:8]))
    except ValueError:
        return float("inf")
    return (now.astimezone(UTC).date() - day).days
