"""`preread config`: write, check and explain the configuration."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent import loaded
from agent.cli.options import settings_of
from agent.store import open_store
from config.loading import load, storage_folder_of
from tests.agent.test_cli import a_config, run
from tests.agent.test_loaded import put
from tests.certificates import a_pair


def test_check_tells_every_mistake_with_file_line_key_value_and_expectation(tmp_path: Path):
    config = a_config(tmp_path, agent="# ours\n[listener]\nport = 99999\n", reading="study = 1\n")

    code, said = run("config", "check", "--config", config)

    assert code == 2
    assert said.splitlines() == [
        "agent.toml:3: listener.port = 99999: expected a whole number from 1 to 65535",
        "reading.toml:1: study = 1: expected a table",
    ]


@pytest.mark.parametrize("command", [("config", "check"), ("check", "--no-model"), ("serve",)])
def test_tls_files_that_cannot_be_used_are_told_beside_all_other_mistakes(
    tmp_path: Path, command: tuple[str, ...]
):
    a_pair(tmp_path)
    tls = '[{}.tls]\ncertificate_file = "own.pem"\nkey_file = "{}.key"\nca_file = "{}"\n'
    peers = '[[archive]]\nname = "a"\nae_title = "A"\nhost = "h"\n'
    config = a_config(
        tmp_path,
        agent="[worker]\nattempts_max = 0\n" + tls.format("listener", "other", "ca.pem"),
        peers=peers + tls.format("archive", "own", "empty"),
    )

    code, said = run(*command, "--config", config)

    assert code == 2
    assert [line.partition(": expected ")[0] for line in said.splitlines()] == [
        "agent.toml:2: worker.attempts_max = 0",
        f'agent.toml:5: listener.tls.key_file = "{config}/other.key"',
        f'peers.toml:8: archive[1].tls.ca_file = "{config}/empty"',
    ]


def test_who_only_looks_is_not_kept_from_it_by_a_certificate_that_is_being_renewed(tmp_path: Path):
    a_pair(tmp_path)
    files = 'certificate_file = "own.pem"\nkey_file = "other.key"\nca_file = "ca.pem"\n'
    config = a_config(tmp_path, agent=f"[listener.tls]\n{files}")

    assert run("config", "show", "--config", config)[0] == 0
    assert run("config", "check", "--config", config)[0] == 2


def test_what_only_the_service_can_reach_keeps_nobody_else_from_working(tmp_path: Path):
    """As under systemd with LoadCredential= and EnvironmentFile= of one unit."""
    files = (
        'certificate_file = "handed-over.pem"\nkey_file = "handed-over.key"\nca_file = "handed-over.pem"\n'
    )
    server = '[[fhir_server]]\nname = "f"\nurl = "https://f"\nauthorization = { env = "OF_THE_UNIT" }\n'
    config = a_config(tmp_path, agent=f"[listener.tls]\n{files}", peers=server)

    checked = run("config", "check", "--config", config)[1].splitlines()
    read_with = settings_of(config)  # as `preread read` and most commands do
    asked = run("reload", "--config", config)[1]

    assert len(checked) == 4
    assert read_with.agent.listener.tls is not None
    assert asked.startswith("no preread serves from the storage folder")


def test_check_of_what_is_right_says_which_configuration_that_is(tmp_path: Path):
    config = a_config(tmp_path)

    assert run("config", "check", "--config", config) == (
        0,
        f"ok      configuration {config}, {load(config).digest}\n",
    )


def test_show_writes_what_is_set_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREREAD_READING__STUDY__SETTLE_SECONDS", "7")
    config = a_config(tmp_path, agent="[listener]\n\nport = 104\n")

    code, said = run("config", "show", "--config", config)

    assert code == 0
    assert "port = 104  # agent.toml:3" in said
    assert "settle_seconds = 7.0  # PREREAD_READING__STUDY__SETTLE_SECONDS" in said
    assert "default" not in said


def test_show_effective_writes_every_key_as_a_configuration_again(tmp_path: Path):
    password = 'database_url = "postgresql://u@h/d"\ndatabase_password = { env = "PATH" }\n'
    config = a_config(tmp_path, agent=f"[storage]\n{password}", peers='[[sender]]\nae_title = "A"\n')

    said = run("config", "show", "--effective", "--config", config)[1]
    again = tmp_path / "again"
    again.mkdir()
    for block in said.split("# ", 1)[1].split("\n# "):
        name, _, text = block.partition("\n")
        (again / name).write_text(text)

    assert 'database_password = { env = "PATH" }  # agent.toml:3' in said
    assert load(again).digest == load(config).digest


@pytest.mark.parametrize("file", ["agent", "peers", "reading"])
def test_schema_prints_a_json_schema(file: str):
    code, said = run("config", "schema", file)

    assert code == 0
    Draft202012Validator.check_schema(json.loads(said))


def test_init_asks_what_no_option_answers_and_check_takes_the_result(tmp_path: Path):
    folder = tmp_path / "etc"
    options = ("--ae-title", "AI", "--port", "11113", "--pacs-host", "10.1.2.3", "--pacs-port", "104")

    code, said = run("config", "init", folder, *options, answers="ARCHIVE\n")

    assert code == 0, said
    assert "AE title of the PACS" in said
    assert load(folder).peers.destinations[0].ae_title == "ARCHIVE"
    assert run("config", "check", "--config", folder)[0] == 0


def test_init_overwrites_nothing(tmp_path: Path):
    config = a_config(tmp_path, agent="# mine\n")

    code, said = run("config", "init", config, answers="\n" * 5)

    assert code == 1
    assert "has agent.toml, peers.toml, reading.toml already" in said
    assert (config / "agent.toml").read_text() == "# mine\n"


DESTINATION = '[[destination]]\nname = "archive"\nae_title = "A"\nhost = "h"\nport = {}\n'


def test_diff_says_against_what_runs_what_a_reload_takes_and_what_waits(tmp_path: Path):
    agent = '[storage]\nfolder = "data"\n'
    put(load(a_config(tmp_path, agent=agent, peers=DESTINATION.format(104))))
    config = a_config(tmp_path, agent=agent + "[listener]\nport = 104\n", peers=DESTINATION.format(105))

    code, said = run("config", "diff", "--config", config)

    assert code == 0
    assert said.splitlines() == [
        'reload   peers.toml destination "archive" port: 104 → 105',
        "restart  agent.toml listener port: 11112 → 104",
    ]


def test_diff_compares_with_any_folder_and_says_that_nothing_would_change(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()

    code, said = run("config", "diff", "--config", a_config(tmp_path), "--against", a_config(other))

    assert (code, said.startswith("restart  agent.toml storage folder:")) == (0, True)
    assert run("config", "diff", "--config", other, "--against", other)[1].startswith("nothing would change")


def test_diff_foretells_what_a_reload_would_refuse(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    a_config(other, agent='[listener]\nhost = "0.0.0.0"\n', peers='[[sender]]\nae_title = "A"\n')

    said = run("config", "diff", "--config", a_config(tmp_path), "--against", other)[1]

    assert said.startswith("a reload would be refused")
    assert "peers.toml: sender: expected at least one [[sender]]" in said
    assert 'restart  peers.toml sender "A": taken away' in said


def test_reload_where_nothing_runs_says_so(tmp_path: Path):
    code, said = run("reload", "--config", a_config(tmp_path, agent='[storage]\nfolder = "data"\n'))

    assert code == 1
    assert said.startswith(f"no preread serves from the storage folder {tmp_path}/data; start one")


STORAGE = '[storage]\nfolder = "data"\n'


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("reading.toml", "[study]\nsettle_seconds = 0\n"),
        ("peers.toml", "[[destination]\n"),
        ("agent.toml", f"{STORAGE}[listener]\nport = 99999\n"),
        ("agent.toml", f"[listener]\nport = 11x12\n{STORAGE}"),
        ("agent.toml", f'{STORAGE}[device]\nae_title = "PREREAD\n'),
    ],
)
def test_status_goes_by_the_configuration_in_force_while_the_files_have_mistakes(
    tmp_path: Path, file: str, text: str
):
    config = a_config(tmp_path, agent=STORAGE)
    open_store(load(config)).database.close()
    kept = put(load(config)).resolve()
    (config / file).write_text(text)

    with loaded.claim(tmp_path / "data"):
        code, said = run("status", "--config", config)

    assert code == 0
    assert said.partition("\n")[2].startswith(
        f"the configuration in {config} has mistakes (preread config check --config {config}); "
        f"what follows goes by the one in force, {kept}\n"
    )


def test_status_says_that_a_configuration_was_in_force_where_nothing_serves(tmp_path: Path):
    config = a_config(tmp_path, agent=STORAGE)
    open_store(load(config)).database.close()
    put(load(config))
    (config / "reading.toml").write_text("study = 1\n")

    _, first, second, *_ = run("status", "--config", config)[1].splitlines()

    assert "what follows goes by the one that was last in force" in first
    assert second == "preread serve does not run; start it"


@pytest.mark.parametrize("text", [f"{STORAGE}prot = 1\n", '[storage]\nfolder = "data\n'])
def test_status_tells_the_mistakes_where_no_configuration_was_in_force_or_its_place_cannot_be_told(
    tmp_path: Path, text: str
):
    config = a_config(tmp_path, agent=text)

    code, said = run("status", "--config", config)

    assert code == 2
    assert said.startswith("agent.toml:")
    assert len(said.splitlines()) == 1


def test_the_variable_of_the_storage_folder_stands_above_a_file_that_cannot_be_read(tmp_path: Path):
    config = a_config(tmp_path, agent="[storage\n")

    assert storage_folder_of(config, {}) is None
    assert storage_folder_of(config, {"PREREAD_AGENT__STORAGE__FOLDER": "/there"}) == Path("/there")
