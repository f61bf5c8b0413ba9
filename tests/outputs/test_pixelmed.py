"""PixelMed's validator holds structured reports against the templates of PS3.16, which dciodvfy does not.

It judges relationships, value types and codes of what is there; a row that is missing it does not miss.
"""

from pathlib import Path

import pytest

from agent.outputs.withdrawal import build_withdrawal_sr
from tests.outputs.drafts import ENGINE, a_reading, a_source, a_stamp, built, sources_of, the_one
from tests.outputs.test_golden import a_second_draft
from tests.outputs.validators import template_errors, written

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    ("kind", "template"),
    [("report_sr", "TID_2000"), ("findings_sr", "TID_1500"), ("findings_sr_air", "TID_1500")],
)
def test_a_report_with_everything_in_it_follows_its_template(kind: str, template: str, tmp_path: Path):
    assert template_errors(written(a_second_draft(kind), tmp_path)) == (template, [])


def test_a_report_of_a_normal_chest_follows_its_template(tmp_path: Path):
    (document,) = built("findings_sr_air", sources_of(a_source()), a_reading())

    assert template_errors(written(document, tmp_path)) == ("TID_1500", [])


def test_a_withdrawal_follows_its_template(tmp_path: Path):
    document = build_withdrawal_sr(sources_of(a_source()), "wrong patient", ENGINE, a_stamp())

    assert template_errors(written(document, tmp_path)) == ("TID_2000", [])


def test_the_validator_finds_a_relationship_that_the_template_does_not_have(tmp_path: Path):
    document = the_one("findings_sr", a_source())
    for item in document.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Procedure reported":
            item.RelationshipType = "CONTAINS"

    _, errors = template_errors(written(document, tmp_path))

    assert [error.rpartition(": ")[2] for error in errors] == [
        "Incorrect relationship - expected HAS CONCEPT MOD - found CONTAINS"
    ]
