"""Five answers are a configuration that loads; what is there already stays."""

import pytest

from config.loading import ConfigError, load
from config.starting import Answers, first_files, write_files


def answers(**values: object) -> Answers:
    return Answers(
        **{
            "ae_title": "PREREAD",
            "port": 104,
            "pacs_host": "10.1.2.3",
            "pacs_port": 11112,
            "pacs_ae_title": "PACS",
        }
        | values
    )


@pytest.mark.parametrize("host", ["10.1.2.3", "pacs.hospital.example", "127.0.0.1", "localhost", "fe80::1"])
def test_five_answers_are_a_configuration(tmp_path, host):
    write_files(tmp_path / "new", first_files(answers(pacs_host=host, ae_title='A"B')))

    settings = load(tmp_path / "new", {})

    assert settings.agent.device.ae_title == 'A"B'
    assert settings.destination("pacs").host == host
    assert [sender.ae_title for sender in settings.peers.senders] == ["PACS"]


def test_the_port_is_open_to_the_network_only_for_a_pacs_that_is_not_on_this_machine():
    assert 'host = "0.0.0.0"' in first_files(answers())["agent.toml"]
    assert 'host = "127.0.0.1"' in first_files(answers(pacs_host="localhost"))["agent.toml"]


def test_the_pacs_may_send_from_its_address_only_where_that_is_known():
    assert 'addresses = ["10.1.2.3"]' in first_files(answers())["peers.toml"]
    assert "addresses = []" in first_files(answers(pacs_host="pacs.example"))["peers.toml"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ae_title": "SEVENTEEN_LETTERS"}, "device.ae_title"),
        ({"port": 0}, "listener.port = 0: expected"),
        ({"pacs_host": "http://pacs"}, "destination"),
        ({"pacs_host": "localhost", "pacs_port": 104}, "expected another system"),
    ],
)
def test_an_answer_that_cannot_be_is_told_before_anything_is_written(wrong, told):
    with pytest.raises(ConfigError, match=told):
        first_files(answers(**wrong))


def test_nothing_is_overwritten_and_nothing_is_written_beside_it(tmp_path):
    (tmp_path / "peers.toml").write_text("# mine\n")

    with pytest.raises(FileExistsError, match=r"has peers\.toml already"):
        write_files(tmp_path, first_files(answers()))

    assert [path.name for path in tmp_path.iterdir()] == ["peers.toml"]
    assert (tmp_path / "peers.toml").read_text() == "# mine\n"
