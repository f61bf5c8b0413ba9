"""The receivers of messages in peers.toml: what they may be, and what does not go together."""

from pathlib import Path

import pytest

from config.loading import load
from tests.config.test_loading import a_folder, problems

RIS = '[[hl7_receiver]]\nname = "ris"\nhost = "10.1.2.5"\nport = 2575\n'
FHIR = '[[fhir_server]]\nname = "fhir"\nurl = "https://fhir.example/r4/"\n'
HOOK = '[[webhook]]\nname = "hook"\nurl = "https://hook.example"\nsecret = { env = "HOOK_SECRET" }\n'
DROP = '[[drop_folder]]\nname = "drop"\npath = "drop"\n'


def test_all_four_are_receivers_and_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "key")

    settings = load(a_folder(tmp_path, peers=RIS + FHIR + HOOK + DROP))

    assert [one.name for one in settings.peers.receivers] == ["ris", "fhir", "hook", "drop"]
    assert settings.receiver("drop") == settings.peers.drop_folders[0]
    assert settings.peers.drop_folders[0].path == tmp_path / "drop"
    assert settings.peers.fhir_servers[0].url == "https://fhir.example/r4"
    assert settings.receiver("nobody") is None


def test_a_name_is_given_once_among_destinations_and_receivers(tmp_path: Path):
    destination = '[[destination]]\nname = "ris"\nae_title = "RIS"\nhost = "10.1.2.3"\nport = 104\n'

    assert problems(tmp_path, peers=destination + RIS + DROP.replace('"drop"\np', '"ris"\np')) == [
        'peers.toml: hl7_receiver[1].name = "ris": expected another name than that of destination[1]',
        'peers.toml: drop_folder[1].name = "ris": expected another name than that of destination[1]',
    ]


@pytest.mark.parametrize(
    "rule",
    ["OBR-3 = name", "MSH-10 = revision", "OBR-0 = revision", "OBR-3=revision", "OBX-3 = 'a'", "OBR-3 = ''"],
)
def test_a_rule_for_a_field_that_cannot_be_followed_is_refused_with_an_example(tmp_path: Path, rule: str):
    (problem,) = problems(tmp_path, peers=f'{RIS}fields = ["{rule}"]\n')

    assert "peers.toml: hl7_receiver[1].fields[1]" in problem
    assert 'a rule such as "OBR-3 = accession_number"' in problem


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            'authorization = { env = "NOT_SET" }\n',
            "expected a header's value (environment variable NOT_SET is not set)",
        ),
        ('url = "ftp://x"\n', ""),
    ],
    ids=["a secret that is not there", "not HTTP"],
)
def test_a_fhir_server_that_could_not_be_reached_is_told_before_the_start(
    tmp_path: Path, more: str, problem: str
):
    text = FHIR if not more.startswith("url") else FHIR.replace('url = "https://fhir.example/r4/"\n', "")

    (told,) = problems(tmp_path, peers=text + more)

    assert problem in told


def test_a_webhook_needs_a_secret(tmp_path: Path):
    (told,) = problems(tmp_path, peers='[[webhook]]\nname = "hook"\nurl = "https://hook.example"\n')

    assert told.startswith('peers.toml: webhook[1].secret: expected { env = "NAME" } or { file = "path" }')
