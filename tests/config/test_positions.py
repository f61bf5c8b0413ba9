"""Each mistake is told with the line on which its key stands, wherever TOML allows one to be written."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.documentation import example_file
from config.loading import FILES
from config.positions import lines_of


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("# [listener]\n\n[listener]\n# port = 1\nport = 2\n", "listener.port", 5),
        ("listener.port = 1\n", "listener.port", 1),
        ("\nlistener . 'port' = 1\n", "listener.port", 2),
        ("listener = { host = 'h', port = 1 }\n", "listener.port", 1),
        ("[hl7]\naddresses = [\n  '1', # ]\n  '2',\n]\nport = 1\n", "hl7.port", 6),
        ("[hl7]\naddresses = [\n  '1', # ]\n  '2',\n]\nport = 1\n", "hl7.addresses[2]", 2),
        ('[a]\nb = """\n[c]\nd = 1\n\\"""\n"""\nd = 1\n', "a.d", 7),
        ('[a]\nb = """x"""""\nc = 1\n', "a.c", 3),
        ("[a]\nb = '''\n]'''''\nc = 1\n", "a.c", 4),
        ("[a]\nb = '''it's'''\nc = \"[#'\" # '''\nd = 1\n", "a.d", 4),
        ("[a]\r\n\r\nb = 1\r\n", "a.b", 3),
        ("  [[x]]\n  a=1\n\t[[ x ]]\na=2\n", "x[2].a", 4),
        ("[[x]]\n[x.y]\nz = 1\n[[x]]\n[x.y]\nz = 2\n", "x[2].y.z", 6),
        ("[[x]]\n[[x.y]]\n[[x.y]]\nz = 1\n[[x]]\n[[x.y]]\nz = 2\n", "x[2].y[1].z", 7),
        ("x = [{ a = 1 }, { a = 2 }]\n", "x[2].a", 1),
        ("[a.b]\nc = 1\n[a]\nd = 1\n", "a", 1),
        ('"a.b" = 1\n[a]\nb = 2\n', "a.b", 3),
        ('"a.b" = 1\n[a]\nb = 2\n', '"a.b"', 1),
        ('"[a]" = 1\nb = 1', "b", 2),
    ],
)
def test_a_key_is_found_wherever_it_is_written(text, key, line):
    assert lines_of(text)[key] == line


@pytest.mark.parametrize("file", FILES)
def test_every_key_of_the_examples_is_found_on_the_line_that_writes_it(file):
    text = example_file(file)

    for place, number in lines_of(text).items():
        written = text.splitlines()[number - 1]
        name = place.rpartition(".")[2].partition("[")[0]
        assert written.startswith((f"{name} = ", f"[{name}]", f"[[{name}]]"))


values = st.recursive(
    st.integers(0, 9).map(str)
    | st.text("ab[]{}#\"'", max_size=5).map(lambda text: f"'''\n{text.replace(chr(39), '')}'''"),
    lambda inner: st.lists(inner, max_size=3).map(lambda ones: "[ # ]\n" + ",\n".join(ones) + "]"),
    max_leaves=5,
)


@given(st.lists(values, min_size=1, max_size=6))
def test_the_line_of_a_key_begins_with_it_whatever_the_values_hold(written):
    text = "".join(f"k{number} = {value}\n" for number, value in enumerate(written))
    assert tomllib.loads(text).keys() <= lines_of(text).keys()

    for number in range(len(written)):
        assert text.splitlines()[lines_of(text)[f"k{number}"] - 1].startswith(f"k{number} = ")
