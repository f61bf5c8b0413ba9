"""The JSON of a draft is what docs/messages.md says it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.outgoing.draft_json import json_of
from tests.outgoing.builders import IMAGE_UID, PLACELESS, a_draft, a_reading, a_withdrawal
from tests.storage.builders import a_study

PAGE = Path(__file__).resolve().parents[2] / "docs/messages.md"


def keys_in(value: Any, place: str = "") -> set[str]:
    """Every key of a JSON value as the page writes it: "study.study_date", "findings[].name"."""
    if isinstance(value, list):
        return set().union(*(keys_in(one, f"{place}[]") for one in value))
    if not isinstance(value, dict):
        return set()
    named = {f"{place}.{key}".removeprefix("."): one for key, one in value.items()}
    return set(named).union(*(keys_in(one, key) for key, one in named.items()))


def test_the_page_lists_every_key_and_no_other():
    described = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), flags=re.MULTILINE))

    assert described == keys_in(json.loads(json_of(a_draft())))


def test_a_draft_and_its_withdrawal_have_the_same_keys():
    draft, withdrawal = json.loads(json_of(a_draft())), json.loads(json_of(a_withdrawal()))

    assert draft.keys() == withdrawal.keys()
    assert draft["report_uid"] == withdrawal["report_uid"]
    assert (withdrawal["event"], withdrawal["replaces_revision"]) == ("withdrawn", 1)
    assert (withdrawal["withdrawn_because"], withdrawal["findings"]) == ("wrong patient", [])


def test_a_box_is_in_the_pixels_of_its_image():
    (effusion, *_) = json.loads(json_of(a_draft()))["findings"]

    assert effusion["boxes"] == [
        {"sop_instance_uid": IMAGE_UID, "left": 40, "top": 120, "right": 140.5, "bottom": 220}
    ]
    assert (effusion["score"], effusion["calibrated_score"]) == (0.923, 0.61)


def test_a_box_that_the_dicom_objects_do_not_show_is_not_sent():
    findings = json.loads(json_of(a_draft(reading=a_reading(*PLACELESS))))["findings"]

    assert [(one["name"], one["boxes"]) for one in findings] == [
        ("pneumothorax", []),
        ("edema", []),
        ("fracture", []),
    ]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (("1950.01.01", "2026.03.02", "08:30:00.5", "F"), ("19500101", "20260302", "083000", "F")),
        (("1950", "20260230", "8:30", "female"), ("", "", "", "")),
    ],
    ids=["of ACR-NEMA", "nonsense"],
)
def test_dates_times_and_sex_are_what_the_page_promises_or_empty(
    sent: tuple[str, ...], told: tuple[str, ...]
):
    birth_date, study_date, study_time, sex = sent
    study = a_study(birth_date=birth_date, study_date=study_date, study_time=study_time, sex=sex)

    draft = json.loads(json_of(a_draft(study=study)))

    patient, study_told = draft["patient"], draft["study"]
    assert told == (
        patient["birth_date"],
        study_told["study_date"],
        study_told["study_time"],
        patient["sex"],
    )


def test_the_first_thing_a_reader_of_the_text_meets_is_the_warning():
    draft = json.loads(json_of(a_draft()))

    assert draft["warning"] == draft["sections"][0]["lines"][0] == "AI DRAFT - NOT VERIFIED"


def test_the_same_draft_gives_the_same_bytes():
    assert json_of(a_draft()) == json_of(a_draft())
