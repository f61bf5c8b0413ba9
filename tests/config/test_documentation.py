import re
import tomllib
from pathlib import Path

import pytest

from agent.dicom.attributes import vr_by_keyword
from config.documentation import field_documents, pages
from config.loading import FILES, load
from config.wording import expectation, fields_by_key, leaf_keys, table_in

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "config" / "example"


def keys_in(text: str) -> set[str]:
    """Every key of a TOML text, commented-out lines included, as "listener.tls.key_file"."""
    found, table = set(), ""
    for line in text.splitlines():
        header = re.fullmatch(r"#?\[\[?([\w.]+)\]\]?", line)
        key = re.match(r"#?(\w+) = ", line)
        if header:
            table = header[1] + "."
        elif key:
            found.add(table + key[1])
    return found


@pytest.mark.parametrize("path", pages(ROOT), ids=lambda path: path.name)
def test_the_written_pages_are_those_of_the_settings(path):
    assert path.read_text(encoding="utf-8") == pages(ROOT)[path], "stale: run python -m config.documentation"


def test_the_examples_load_as_they_are():
    settings = load(EXAMPLE)

    assert [destination.name for destination in settings.peers.destinations] == ["archive"]


@pytest.mark.parametrize("file", FILES)
def test_the_commented_out_parts_of_the_examples_are_right_too(file):
    text = re.sub(r"^#(?=[\[\w])", "", (EXAMPLE / file).read_text(), flags=re.MULTILINE)

    context = {"dictionary": vr_by_keyword}
    assert FILES[file].model_validate(tomllib.loads(text), context=context, by_alias=True, by_name=False)


@pytest.mark.parametrize("file", FILES)
def test_every_setting_is_in_its_example(file):
    assert keys_in((EXAMPLE / file).read_text()) == {key for key, _ in leaf_keys(FILES[file])}


@pytest.mark.parametrize("file", FILES)
def test_every_setting_is_in_the_settings_page_with_what_it_expects(file):
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    section = page.split(f"## {file}\n")[1].split("\n## ")[0]

    for key, field in leaf_keys(FILES[file]):
        (line,) = [
            line
            for line in section.splitlines()
            if line.startswith(f"**`{key.rpartition('.')[2]}`**") and line.endswith(f"· {expectation(field)}")
        ][:1]
        assert line


def tables_below(model):
    yield model
    for field in fields_by_key(model).values():
        if (table := table_in(field.annotation)) is not None:
            yield from tables_below(table)


@pytest.mark.parametrize("model", [t for model in FILES.values() for t in tables_below(model)])
def test_every_setting_has_its_reason_under_it_and_every_table_its_sentence(model):
    documents = field_documents(model)

    plain = {key for key, field in fields_by_key(model).items() if table_in(field.annotation) is None}
    assert plain <= documents.keys()
    assert all(text.endswith((".", ")")) for text in documents.values())
    assert model.__doc__


@pytest.mark.parametrize("file", FILES)
def test_every_expectation_is_a_sentence_for_a_person(file):
    for _, field in leaf_keys(FILES[file]):
        assert "None" not in expectation(field)
        assert "class" not in expectation(field)
