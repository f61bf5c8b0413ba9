"""A variable stands above the file; what it sets wrongly is told under its name."""

from pathlib import Path

import pytest

from config.loading import FILES, ConfigError, load, load_with_origins
from config.settings import Secret
from config.sources import DEFAULT, variable_of
from config.wording import leaf_keys


def told(folder: Path | None = None, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(folder, environment)
    return [str(problem) for problem in refused.value.problems]


def test_a_variable_stands_above_the_file(tmp_path):
    (tmp_path / "agent.toml").write_text("[listener]\nport = 105\nassociations_max = 3\n")

    listener = load(tmp_path, {"PREREAD_AGENT__LISTENER__PORT": "104"}).agent.listener

    assert (listener.port, listener.associations_max) == (104, 3)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("PREREAD_AGENT__DEVICE__AE_TITLE", "12", lambda s: s.agent.device.ae_title == "12"),
        ("PREREAD_AGENT__LOG__LEVEL", "debug", lambda s: s.agent.log.level == "debug"),
        ("PREREAD_AGENT__LOG__FILE", "/var/log/a b.log", lambda s: s.agent.log.file == Path("/var/log/a b.log")),
        ("PREREAD_AGENT__WORKER__TICK_SECONDS", "2", lambda s: s.agent.worker.tick_seconds == 2.0),
        ("PREREAD_AGENT__HL7__PORT", "2576", lambda s: s.agent.hl7.port == 2576),
        ("PREREAD_PEERS__PLACEHOLDER_IDS", '["NEMO"]', lambda s: s.peers.placeholder_ids == ("NEMO",)),
        ("PREREAD_READING__READER__CHILD", "false", lambda s: not s.reading.reader.child),
        ("PREREAD_READING__STUDY__COMPLETE_WHEN_VIEWS", "[]", lambda s: s.reading.study.complete_when_views == ()),
    ],
)  # fmt: skip
def test_texts_are_taken_as_they_are_and_the_rest_is_written_as_in_the_file(variable, text, value):
    assert value(load(None, {variable: text}))


def test_a_variable_may_say_where_a_password_is():
    settings = load(
        None,
        {
            "PREREAD_AGENT__STORAGE__DATABASE_URL": "postgresql://u@h/d",
            "PREREAD_AGENT__STORAGE__DATABASE_PASSWORD": '{ env = "PATH" }',
        },
    )

    assert settings.agent.storage.database_password == Secret(env="PATH")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PREREAD_AGENT__LISTENER__PORT", "99999", " = 99999: expected a whole number from 1 to 65535"),
        ("PREREAD_AGENT__LISTENER__PORT", "0104", ' = "0104": expected a whole number from 1 to 65535'),
        ("PREREAD_AGENT__LISTENER__PORT", "1\nhost = 'x'", ' = "1\\nhost = \'x\'": expected a whole number'),
        ("PREREAD_AGENT__LISTENER__PORT", "", ' = "": expected a whole number'),
        ("PREREAD_READING__READER__CHILD", "no", ' = "no": expected true or false'),
        ("PREREAD_READING__STUDY__BODY_PARTS", '["", "B"]', ' = "": expected a list, each a text of at most 64'),
        ("PREREAD_AGENT__LISTENER__PROT", "1", "; did you mean PREREAD_AGENT__LISTENER__PORT?"),
        ("PREREAD_PEERS__DESTINATION__PORT", "1", ": expected a setting of peers.toml outside its [[tables]]"),
        ("PREREAD_READING__PRIORS__WAIT_SECONDS", "900", " = 900: expected less than worker.gather_patience"),
        ("PREREAD_AGENT__STORAGE__DATABASE_PASSWORD", "hunter2", " = ***: expected { env = "),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_told_under_its_name(variable, text, expected):
    (problem,) = told(**{variable: text})

    assert problem.startswith(variable)
    assert expected in problem


def test_mistakes_of_files_and_variables_are_told_at_once(tmp_path):
    (tmp_path / "agent.toml").write_text("\n[listener]\nprot = 1\n")

    problems = told(tmp_path, PREREAD_AGENT__LISTENER__PORT="x", PREREAD_READING__STUDI="1")

    assert [problem.split(": expected")[0] for problem in problems] == [
        'PREREAD_AGENT__LISTENER__PORT = "x"',
        "agent.toml:3: listener.prot",
        "PREREAD_READING__STUDI",
    ]


def test_variables_of_other_programs_are_nobodys_mistake():
    assert load(None, {"PREREAD_DATABASE_PASSWORD": "x", "PREREAD_AGENT": "y"}) == load(None, {})


def test_every_origin_is_named(tmp_path):
    (tmp_path / "peers.toml").write_text('\n[[sender]]\nae_title = "A"\n')

    _, sources = load_with_origins(tmp_path, {"PREREAD_AGENT__LISTENER__PORT": "104"})

    assert sources["agent.toml"].origin("listener.port") == "PREREAD_AGENT__LISTENER__PORT"
    assert sources["agent.toml"].origin("listener.host") == DEFAULT
    assert sources["peers.toml"].origin("sender[1].ae_title") == "peers.toml:3"


@pytest.mark.parametrize("file", FILES)
def test_no_two_settings_have_the_same_variable(file):
    places = [place for place, _ in leaf_keys(FILES[file])]

    assert len({variable_of(file, place) for place in places}) == len(places)
