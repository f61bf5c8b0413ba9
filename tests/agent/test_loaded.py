"""Which process serves, and with which configuration, is known beside the state and never guessed."""

import os
import signal
import threading
from pathlib import Path

import pytest

from agent import loaded
from agent.loaded import Service
from config.loading import load
from config.settings import AgentSettings, DeviceSettings, Settings, StorageSettings


def settings_in(folder: Path, ae_title: str = "PREREAD") -> Settings:
    return Settings(
        agent=AgentSettings(device=DeviceSettings(ae_title=ae_title), storage=StorageSettings(folder=folder))
    )


def put(settings: Settings) -> Path:
    """Puts settings in force as the service does; gives the link to them."""
    loaded.keep(settings)
    return loaded.put_in_force(settings)


@pytest.mark.slow
def test_only_one_process_serves_from_a_folder(tmp_path: Path):
    with (
        loaded.claim(tmp_path / "data"),
        pytest.raises(BlockingIOError, match="another preread serves"),
        loaded.claim(tmp_path / "data"),
    ):
        pass

    with loaded.claim(tmp_path / "data"):
        assert loaded.who_serves(tmp_path / "data") is None, "it has not told yet"


def test_who_serves_is_what_it_told_and_nobody_once_it_has_ended(tmp_path: Path):
    told = Service(os.getpid(), 3, "sha256:0", changes=("a: 1 → 2",), problems=("x",))
    with loaded.claim(tmp_path):
        loaded.tell(tmp_path, told)
        assert loaded.who_serves(tmp_path) == told

    assert loaded.who_serves(tmp_path) is None
    assert loaded.who_serves(tmp_path / "nowhere") is None


def test_the_number_of_a_killed_process_is_never_signalled(tmp_path: Path):
    (tmp_path / "serving.lock").touch()
    loaded.tell(tmp_path, Service(os.getpid(), 1, "sha256:0"))  # a SIGHUP to this process would end the test

    with pytest.raises(LookupError, match="no preread serves"):
        loaded.ask_to_reload(tmp_path, 5)
    with loaded.claim(tmp_path), pytest.raises(LookupError, match="no preread serves"):
        loaded.ask_to_reload(tmp_path, 5)


def test_a_reload_is_asked_for_by_signal_and_its_answer_given(tmp_path: Path):
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())

    def answer() -> None:
        asked.wait(10)
        loaded.tell(tmp_path, Service(os.getpid(), 2, "sha256:1"))

    with loaded.claim(tmp_path):
        loaded.tell(tmp_path, Service(os.getpid(), 1, "sha256:0"))
        threading.Thread(target=answer).start()
        assert loaded.ask_to_reload(tmp_path, 10).digest == "sha256:1"
        with pytest.raises(TimeoutError, match=r"has not answered for 0\.1 s"):
            loaded.ask_to_reload(tmp_path, 0.1)
    signal.signal(signal.SIGHUP, before)


def test_every_configuration_that_was_in_force_can_be_loaded_again(tmp_path: Path):
    first, second = settings_in(tmp_path, "ONE"), settings_in(tmp_path, "TWO")

    for settings in (first, second, first):
        assert load(put(settings), {}).digest == settings.digest

    kept = {path.name for path in (tmp_path / "configurations").glob("[0-9a-f]*")}
    assert kept == {one.digest.removeprefix("sha256:") for one in (first, second)}


def test_a_configuration_that_was_cut_off_while_it_was_kept_is_completed(tmp_path: Path):
    settings = settings_in(tmp_path)
    folder = put(settings).resolve()
    (folder / "peers.toml").unlink()

    assert (put(settings) / "peers.toml").exists()


def test_before_the_first_start_there_is_nothing_to_compare_with(tmp_path: Path):
    with pytest.raises(LookupError, match="--against"):
        loaded.kept(tmp_path)
