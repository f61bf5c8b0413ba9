"""Which studies are read, which of their images, and when a study is complete. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from agent.dicom.headers import Headers
from inference.geometry import too_long

RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RG"})
"""Modalities (PS3.3 C.7.3.1.1.1) of radiographs. DR is no term of the Standard, and is sent all the same."""

FOR_PROCESSING = "FOR PROCESSING"
LOCALIZER_WORDS = ("LOCALIZER", "SCOUT")


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """What a site reads.

    Attributes:
        settle_seconds: silence after which a study is complete.
        complete_when_views: "frontal", "lateral": complete at once when all are there; empty = silence only.
        study_age_days_max: older studies are kept as priors and not read; None = any age.
        body_parts: words of Body Part Examined, upper case, that mean a chest radiograph.
        description_words: words of Study or Series Description, lower case, that mean one where no body part is named.
        read_if_unnamed: read what names neither.
        any_body_part: take every radiograph for one of the chest, since a rule says so.
        images_max: images of one study shown to a model; frontal views first.
    """

    settle_seconds: float
    complete_when_views: frozenset[str]
    study_age_days_max: int | None
    body_parts: frozenset[str]
    description_words: frozenset[str]
    read_if_unnamed: bool
    images_max: int
    any_body_part: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The images of one study that a model shall see, and for each of the others why not.

    Attributes:
        images: frontal views first, then those of unknown view, then the others; each by instance number.
        left_out: (SOP Instance UID, sentence).
    """

    images: tuple[Headers, ...]
    left_out: tuple[tuple[str, str], ...]


def complete_because(
    view_groups: Collection[str], newest_received_at: datetime, now: datetime, rules: SelectionRules
) -> str | None:
    """Says why a study counts as complete, or None if it does not yet.

    Args:
        view_groups: of the images received so far, as `Headers.view_group` gives them.
        newest_received_at: when the last image came. UTC, aware.
    """
    if rules.complete_when_views and rules.complete_when_views <= set(view_groups):
        return f"every expected view is there: {', '.join(sorted(rules.complete_when_views))}"
    silence = (now - newest_received_at).total_seconds()
    if silence >= rules.settle_seconds:
        return f"no image for {silence:.1f} s (settle_seconds = {rules.settle_seconds:g})"
    return None


def select_images(headers: Sequence[Headers], rules: SelectionRules) -> Selection:
    """Chooses the images of one study for the model."""
    chosen: list[Headers] = []
    left_out: list[tuple[str, str]] = []
    for image in headers:
        reason = _reason_against(image, rules)
        if reason is None:
            chosen.append(image)
        else:
            left_out.append((image.sop_instance_uid, reason))
    chosen.sort(key=_reading_order)
    too_many = f"more than images_max = {rules.images_max} images in the study"
    left_out += [(image.sop_instance_uid, too_many) for image in chosen[rules.images_max :]]
    return Selection(tuple(chosen[: rules.images_max]), tuple(left_out))


def _reading_order(image: Headers) -> tuple[int, int, str]:
    """Frontal views first, then those that may be frontal, then the others; each by instance number."""
    rank = 0 if image.is_frontal else 1 if image.is_frontal is None else 2
    return rank, image.instance_number, image.sop_instance_uid


def _reason_against(image: Headers, rules: SelectionRules) -> str | None:
    kinds = {kind.upper() for kind in image.image_type}
    if image.presentation_intent_type == FOR_PROCESSING:
        return "for processing, not for presentation"
    if kinds & set(LOCALIZER_WORDS):
        return "a localizer"
    if image.modality and image.modality not in RADIOGRAPHY:
        return f"modality is {image.modality}, not a radiograph"
    if not rules.any_body_part and (reason := _other_body_part(image, rules)) is not None:
        return reason
    if not image.rows or not image.columns:
        return "no pixels"
    return too_long(image.rows, image.columns)


def _other_body_part(image: Headers, rules: SelectionRules) -> str | None:
    part = image.body_part_examined.upper().strip()
    if part:
        if any(word in part for word in rules.body_parts):
            return None
        return f"body part is {part}, none of {', '.join(sorted(rules.body_parts))} (reading.toml study.body_parts)"
    description = f"{image.study_description} {image.series_description}".lower().strip()
    if description:
        if any(word in description for word in rules.description_words):
            return None
        words = ", ".join(sorted(rules.description_words))
        return f"no body part, and no description with one of {words} (reading.toml study.description_words)"
    return (
        None
        if rules.read_if_unnamed
        else "neither body part nor description (reading.toml study.read_if_unnamed)"
    )


def reason_not_to_read(
    selection: Selection, study_date: str, conflict: str | None, today: date, rules: SelectionRules
) -> tuple[str, bool] | None:
    """Why a study is not read: (sentence, True if that is a rule's no and False if something is wrong); None if it is.

    Args:
        study_date: "YYYYMMDD" as sent, "" if absent.
        conflict: the index's sentence on two patients in one study.
    """
    if conflict is not None:
        return f"{conflict}; correct the study at the PACS and send it again", False
    age_days = study_age_days(study_date, today)
    if rules.study_age_days_max is not None and age_days is not None and age_days > rules.study_age_days_max:
        return (
            f"the study is {age_days} days old (study_age_days_max = {rules.study_age_days_max}); kept as a prior",
            True,
        )
    # A header that does not tell the view does not forbid reading: many CR systems leave View Position empty.
    if all(image.is_frontal is False for image in selection.images):
        others = "; ".join(sorted({reason for _, reason in selection.left_out}))
        seen = ", ".join(image.view for image in selection.images) or "none"
        return (
            f"no frontal chest radiograph in the study (views: {seen}{'; left out: ' + others if others else ''})",
            True,
        )
    return None


def study_age_days(study_date: str, today: date) -> int | None:
    """Whole days from a DICOM date to `today`, or None if the date is absent or not a date."""
    try:
        return (today - date(int(study_date[:4]), int(study_date[4:6]), int(study_date[6:8]))).days
    except ValueError:
        return None
