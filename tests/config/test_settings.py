import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import (
    AgentSettings,
    DestinationSettings,
    DestinationTlsSettings,
    ListenerSettings,
    ListenerTlsSettings,
    PeersSettings,
    Secret,
    SenderSettings,
    Settings,
    StorageSettings,
)


def a_destination(**values: object) -> DestinationSettings:
    return DestinationSettings(
        **{"name": "pacs", "ae_title": "PACS", "host": "10.0.0.1", "port": 104} | values
    )


def test_the_defaults_are_an_agent_for_this_machine_alone():
    settings = Settings()

    assert settings.agent.listener.host == "127.0.0.1"
    assert settings.agent.storage.connection_url().startswith("sqlite:////")
    assert settings.reading.engine.model_folder is None
    assert settings.peers.accept_any_sender
    assert settings.peers.destinations == ()


def test_a_setting_cannot_be_changed_after_the_start():
    with pytest.raises(ValidationError):
        Settings().agent.listener.port = 104


def test_everybody_may_send_only_while_nobody_is_listed():
    assert PeersSettings().accept_any_sender
    assert not PeersSettings(senders=(SenderSettings(ae_title="XRAY1"),)).accept_any_sender


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\tULATOR", "ÄRZTE"])
def test_an_ae_title_that_the_standard_forbids_is_refused(title):
    with pytest.raises(ValidationError):
        SenderSettings(ae_title=title)


@pytest.mark.parametrize("title", ["A", "SIXTEEN_LETTERS_", "WITH SPACE", "[x]^~!"])
def test_an_ae_title_that_the_standard_allows_is_kept(title):
    assert SenderSettings(ae_title=title).ae_title == title


def test_spaces_around_an_ae_title_say_nothing():
    assert SenderSettings(ae_title=" XRAY1  ").ae_title == "XRAY1"


@pytest.mark.parametrize("address", ["10.0.0.0/8", "10.1.2.3", "fe80::1", "2001:db8::/32"])
def test_a_sender_may_come_from_an_address_or_a_network(address):
    assert SenderSettings(ae_title="A", addresses=(address,)).addresses == (address,)


@pytest.mark.parametrize("address", ["10.0.0.1/8", "10.0.0", "host.example", "", "10.0.0.0/33"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValidationError):
        SenderSettings(ae_title="A", addresses=(address,))


@pytest.mark.parametrize("charset", ["ISO_IR 100", "\\ISO 2022 IR 149", "ISO 2022 IR 13\\ISO 2022 IR 87"])
def test_a_charset_of_the_standard_may_be_assumed(charset):
    assert SenderSettings(ae_title="A", assume_charset=charset).assume_charset == charset


@pytest.mark.parametrize("charset", ["utf-8", "latin1", "ISO_IR 1000"])
def test_a_charset_that_the_standard_does_not_know_is_refused(charset):
    with pytest.raises(ValidationError):
        SenderSettings(ae_title="A", assume_charset=charset)


@pytest.mark.parametrize("host", ["10.1.2.3", "pacs", "pacs.hospital.example", "::1", "fe80::1%eth0"])
def test_a_host_is_a_name_or_an_address(host):
    assert a_destination(host=host).host == host


@pytest.mark.parametrize(
    "host", ["", "http://pacs", "pacs:104", "[::1]", "pa cs", "-pacs", "a..b", "10.1.2", "x" * 64]
)
def test_a_host_with_anything_else_in_it_is_refused(host):
    with pytest.raises(ValidationError):
        a_destination(host=host)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 0.0, True, "5"])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValidationError):
        a_destination(answer_seconds=seconds)


def test_a_destination_gets_its_own_outputs_or_the_defaults():
    own, default = a_destination(name="a", outputs=("secondary_capture",)), a_destination(name="b")
    settings = Settings(peers=PeersSettings(destinations=(own, default)))

    assert settings.outputs_of(own) == ("secondary_capture",)
    assert settings.outputs_of(default) == settings.reading.outputs.defaults
    assert settings.outputs_wanted() == ("secondary_capture", *settings.reading.outputs.defaults)


def test_without_a_destination_the_default_outputs_are_made():
    assert Settings().outputs_wanted() == Settings().reading.outputs.defaults


def test_a_destination_is_found_by_its_name_and_a_removed_one_is_none():
    settings = Settings(peers=PeersSettings(destinations=(a_destination(),)))

    assert settings.destination("pacs") == a_destination()
    assert settings.destination("gone") is None


def test_the_digest_follows_the_values_and_not_the_folder():
    other = Settings(peers=PeersSettings(destinations=(a_destination(),)))

    assert Settings().digest == Settings(folder=Path("/etc/preread")).digest
    assert Settings().digest != other.digest
    assert Settings().digest.startswith("sha256:")


@pytest.mark.parametrize(
    "url", ["postgresql://u:pw@h/db", "postgresql://u@h/db?password=pw", "sqlite://u:pw@/x"]
)
def test_a_password_inside_the_database_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValidationError) as refused:
        StorageSettings(database_url=url)

    assert "without a password" in str(refused.value)
    assert "pw" not in str(refused.value).replace("database_password", "")


def test_the_password_joins_the_url_only_when_the_driver_asks(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "p@ss/word")
    storage = StorageSettings(
        database_url="postgresql://preread@db:5432/preread?sslmode=require",
        database_password=Secret(env="DB_PASSWORD"),
    )

    assert (
        storage.connection_url()
        == "postgresql+psycopg://preread:p%40ss%2Fword@db:5432/preread?sslmode=require"
    )
    assert "p@ss" not in f"{storage} {storage!r} {storage.model_dump_json()}"


def test_a_password_may_stand_in_a_file(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o640)

    assert Secret(file=tmp_path / "password").reveal() == "secret"


@pytest.mark.parametrize("secret", [Secret(env="PREREAD_NOT_SET"), Secret(file=Path("/nowhere/password"))])
def test_a_password_that_is_not_there_is_said_with_its_place(secret):
    with pytest.raises(LookupError, match=r"PREREAD_NOT_SET|/nowhere/password"):
        secret.reveal()


def test_an_empty_password_file_is_no_password(tmp_path):
    (tmp_path / "password").write_text("\n")
    (tmp_path / "password").chmod(0o600)

    with pytest.raises(LookupError, match="is empty"):
        Secret(file=tmp_path / "password").reveal()


def test_importing_the_settings_brings_no_heavy_library():
    program = (
        "import sys, config.loading; heavy = {'torch', 'numpy', 'pydicom', 'sqlalchemy', 'agent'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_a_password_that_everybody_can_read_is_refused(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o644)

    with pytest.raises(LookupError, match=r"open to everybody, mode 0644; run: chmod o= .*/password$"):
        Secret(file=tmp_path / "password").reveal()


def test_a_fingerprint_is_taken_with_and_without_colons():
    digits = "ab" * 32
    sender = SenderSettings(ae_title="X", certificate_sha256=(":".join(["AB"] * 32),))

    assert sender.certificate_sha256 == (digits,)
    with pytest.raises(ValidationError, match="64 hexadecimal digits"):
        SenderSettings(ae_title="X", certificate_sha256=("ab:cd",))


def test_the_files_of_our_certificates_are_named_each_once(tmp_path):
    tls = ListenerTlsSettings(certificate_file=tmp_path / "a.pem", key_file=tmp_path / "a.key")
    out = DestinationTlsSettings(certificate_file=tmp_path / "a.pem", key_file=tmp_path / "a.key")
    peers = PeersSettings(destinations=(a_destination(tls=out),))
    settings = Settings(agent=AgentSettings(listener=ListenerSettings(tls=tls)), peers=peers)

    assert settings.certificate_files() == (tmp_path / "a.pem",)
