"""The schema for editors takes what preread takes, and refuses what it can of the rest while it is typed."""

import re
import tomllib

import pytest
from jsonschema import Draft202012Validator

from config.documentation import example_file
from config.loading import FILES, load
from config.schema import schema_of


def refused(file: str, text: str) -> list[str]:
    """Where the schema finds something wrong, as "listener.port"; "" for the file's own keys."""
    errors = Draft202012Validator(schema_of(file)).iter_errors(tomllib.loads(text))
    return [".".join(map(str, error.path)) for error in errors]


@pytest.mark.parametrize("file", FILES)
def test_each_schema_is_one_and_takes_the_example_with_everything_in_it(file):
    Draft202012Validator.check_schema(schema_of(file))

    assert refused(file, example_file(file)) == []
    assert refused(file, re.sub(r"^#(?=[\[\w])", "", example_file(file), flags=re.MULTILINE)) == []


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("agent.toml", "[listener]\nport = 99999\n", "listener.port"),
        ("agent.toml", "[listener]\nport = '104'\n", "listener.port"),
        ("agent.toml", "[listener]\nprot = 104\n", "listener"),
        ("agent.toml", "listner.port = 104\n", ""),
        ("agent.toml", "[device]\nae_title = 'SEVENTEEN_LETTERS'\n", "device.ae_title"),
        ("agent.toml", "[log]\nlevel = 'loud'\n", "log.level"),
        ("agent.toml", "[storage]\ndatabase_password = 'hunter2'\n", "storage.database_password"),
        ("agent.toml", "[listener.tls]\nkey_file = 'a'\n", "listener.tls"),
        ("peers.toml", "[destination]\nname = 'a'\n", "destination"),
        ("peers.toml", "[[destination]]\nae_title = 'A'\nhost = 'h'\n", "destination.0"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(file, text, place):
    assert refused(file, text) == [place]


@pytest.mark.parametrize(
    "text",
    [
        "[storage]\ndatabase_password = ''\n",
        "[log]\nfile = ''\n",
        "[worker]\ntick_seconds = 1\n",
        "[device]\nae_title = ' X '\n",
    ],
)
def test_what_preread_takes_no_editor_marks(tmp_path, text):
    (tmp_path / "agent.toml").write_text(text)

    assert load(tmp_path)
    assert refused("agent.toml", text) == []


@pytest.mark.parametrize("file", FILES)
def test_every_key_is_described_with_what_it_expects(file):
    schema = schema_of(file)

    for table in (schema, *schema["$defs"].values()):
        assert table["description"]
        assert not [
            key
            for key, one in table["properties"].items()
            if "$ref" not in one and not one.get("description")
        ]
    assert "null" not in str(schema)
