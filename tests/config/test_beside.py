"""A mistake in one table hides none in the others, and is no reason to tell what is not so."""

from pathlib import Path

import pytest

from config.contradictions import CONTRADICTIONS
from config.loading import FILES, ConfigError, load
from config.readable import readable

DESTINATION = '[[destination]]\nname = "{}"\nae_title = "P"\nhost = "h"\n'


def places(folder: Path, **files: str) -> list[str]:
    """Where mistakes are told, with their files."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(folder, {})
    return [f"{problem.file}: {problem.key}" for problem in refused.value.problems]


def test_beside_a_mistake_in_each_file_all_that_does_not_go_together_is_told(tmp_path):
    told = places(
        tmp_path,
        agent='[log]\nlevle = "info"\n[worker]\nretry_seconds_min = 9\nretry_seconds_max = 3\n'
        'gather_patience_seconds = 1.0\n[listener]\nhost = "0.0.0.0"\n',
        peers="placeholder_ids = [1]\n" + DESTINATION.format("p") * 2,
        reading='[study]\nsettle_seconds = "soon"\n[[rule]]\nname = "a"\ndestinations = ["q"]\n',
    )

    assert told == [
        "agent.toml: log.levle",
        "peers.toml: placeholder_ids[1]",
        "reading.toml: study.settle_seconds",
        "agent.toml: worker.retry_seconds_max",
        "peers.toml: destination[2].name",
        "peers.toml: sender",
        "reading.toml: priors.wait_seconds",
        "reading.toml: rule[1].destinations",
    ]


def test_tables_beside_a_wrong_one_of_their_kind_are_looked_at_under_their_own_numbers(tmp_path):
    pacs = '[[destination]]\nname = "{}"\n'

    told = places(tmp_path, peers=pacs.format("a") + "prot = 1\n" + pacs.format("b") + 'host = "h"\n')

    assert told == ["peers.toml: destination[1].prot", "peers.toml: destination[2].ae_title"]


@pytest.mark.parametrize(
    ("peers", "told"),
    [
        ('[[sender]]\nae_title = "A"\nadress = 1\n', "peers.toml: sender[1].adress"),
        (DESTINATION.format("p") + "prot = 1\n", "peers.toml: destination[1].prot"),
        ('sender = ["A"]\n', "peers.toml: sender[1]"),
    ],
)
def test_what_is_missing_only_because_it_is_written_wrongly_is_not_told_as_missing(tmp_path, peers, told):
    agent = '[listener]\nhost = "0.0.0.0"\n' if "sender" in peers else ""
    reading = '[[rule]]\nname = "a"\ndestinations = ["p"]\n' if "destination" in peers else ""

    assert places(tmp_path, agent=agent, peers=peers, reading=reading) == [told]


@pytest.mark.parametrize("count", [200, 201, 205])
def test_a_wrong_rule_among_as_many_as_there_may_be_is_told(tmp_path, count):
    rules = [f'[[rule]]\nname = "{number}"\nread = true\n' for number in range(count)]

    told = places(tmp_path, reading="".join(rules).replace("true", "1", 1))

    assert told[0] in ("reading.toml: rule[1].read", "reading.toml: rule")


def test_each_contradiction_needs_places_that_there_are():
    found = {place for file, model in FILES.items() for place in readable(file, model())}

    assert {need for _, needs in CONTRADICTIONS for need in needs} <= found
