"""What the words of a description say of the part of the body."""

from dataclasses import replace

import pytest

from agent.descriptions import names_chest, names_other_part
from agent.gathering import rules_of
from config.settings import AgentSettings, PeersSettings, ReadingSettings, Settings

RULES = rules_of(Settings(agent=AgentSettings(), peers=PeersSettings(), reading=ReadingSettings()))


@pytest.mark.parametrize(
    "description",
    [
        *("XR CHEST 2V", "THORAX PA", "Rö Thorax", "CXR", "Lunge", "Lungs ap", "RX TORAX", "Rx tórax y mano"),
        *("RX TORACE", "Radio poumons", "XR HAND LEFT AND CHEST"),
    ],
)
def test_a_chest_is_known_by_the_words_of_the_settings_and_of_other_languages(description: str):
    assert names_chest(description, RULES)
    assert names_other_part(description, RULES) is None


@pytest.mark.parametrize(
    "description",
    [
        *(
            "",
            "XR",
            "Portable",
            "XR PORTABLE MAIN ED",
            "DX",
            "Bett",
            "2 views",
            "흉부",
            "NG tube placement",
            "C-ARM",
        ),
        *(
            "ACUTE ABDOMEN SERIES",
            "XR RIBS AND SHOULDER",
            "Polytrauma Becken",
            "Becken/Tx",
            "SKELETAL SURVEY HANDS",
        ),
        *("Radiographie thoracique et pied", "XR THORACIC SPINE", "handover film", "Unknown^^"),
    ],
)
def test_a_description_that_leaves_a_doubt_speaks_for_nothing_and_against_nothing(description: str):
    assert not names_chest(description, RULES)
    assert names_other_part(description, RULES) is None


@pytest.mark.parametrize(
    ("description", "named"),
    [
        *(("XR HAND LEFT 3V", "hand"), ("WRIST_R", "wrist"), ("Kniegelenk re. 2 Eb.", "kniegelenk")),
        *(("Fuß links", "fuss"), ("RX RODILLA", "rodilla"), ("Ginocchio e caviglia", "caviglia, ginocchio")),
    ],
)
def test_another_part_of_the_body_is_named_with_the_words_that_would_mean_a_chest(
    description: str, named: str
):
    reason = names_other_part(description, RULES)

    assert reason == (
        f"its description names {named}, none of chest, cxr, lung, thorax (reading.toml study.description_words)"
    )


def test_a_site_that_reads_hands_finds_them():
    by_part = replace(RULES, body_parts=frozenset({"HAND"}))
    by_word = replace(RULES, description_words=frozenset({"hand"}))

    assert names_other_part("XR HAND", by_part) is None
    assert names_chest("XR HAND", by_word)
