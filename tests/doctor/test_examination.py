"""`preread doctor` as it is typed."""

import json
from pathlib import Path

from agent.configuration import load
from agent.doctor.examination import _model
from agent.doctor.lines import Verdict
from inference.verification import check
from tests.agent.archives import a_free_port
from tests.agent.test_cli import a_config, run
from tests.inference.small import TINY


def test_a_machine_before_its_first_start_is_examined_and_stays_as_it_was(tmp_path: Path):
    port = f"[listener]\nport = {a_free_port()}\nfree_bytes_min = 0\n"
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n' + port)

    code, said = run("doctor", "--no-model", "--config", config)

    assert code == 0, said
    assert "WARNING service: preread serve does not run; start it" in said
    assert {path.name for path in tmp_path.iterdir()} == {"agent.toml", "peers.toml", "reading.toml"}
    assert run("doctor", "--no-model", "--strict", "--config", config)[0] == 1


def test_a_problem_exits_with_1_and_is_there_for_programs(tmp_path: Path):
    lost = '[[destination]]\nname = "lost"\nae_title = "LOST"\nhost = "127.0.0.1"\nport = 1\nconnect_seconds = 1.0\n'

    config = a_config(tmp_path, agent=f"[listener]\nport = {a_free_port()}\nfree_bytes_min = 0\n", peers=lost)

    code, said = run("doctor", "--no-model", "--json", "--config", config)

    problems = [line for line in json.loads(said) if line["verdict"] == "problem"]
    assert code == 1
    assert {line["area"] for line in problems} == {"peer"}
    assert all("lost" in line["text"] for line in problems)


def test_a_pinned_digest_is_held_against_the_weights_with_their_adapter(tmp_path: Path):
    texts = [line.text for line in check(TINY, TINY / "adapter").checks]
    digests = {text.partition(": ")[0]: text.rpartition("; ")[2] for text in texts}
    engine = (
        f'model_folder = "{TINY}"\nadapter_folder = "{TINY / "adapter"}"\naccepted_licence = "CC-BY-NC-4.0"'
    )

    def said(digest: str) -> str:
        reading = f'[engine]\n{engine}\nweights_digest = "{digest}"\n'
        return run("doctor", "--config", a_config(tmp_path, reading=reading))[1]

    assert f"the weights are not {digests['tensors']} of engine" in said(digests["tensors"])
    assert "of engine.weights_digest" not in said(digests["adapter"])


def test_weights_that_a_running_reader_leaves_no_room_to_look_at_are_no_problem(tmp_path: Path, monkeypatch):
    engine = (
        f'model_folder = "{TINY}"\nadapter_folder = "{TINY / "adapter"}"\naccepted_licence = "CC-BY-NC-4.0"'
    )
    settings = load(a_config(tmp_path, reading=f"[engine]\n{engine}\n"))
    monkeypatch.setattr("inference.engines.selfcheck.free_memory_bytes", lambda device: 2_000_000)

    def verdict(*, is_read_now: bool) -> Verdict:
        lines = _model(settings, "model", is_read_now=is_read_now)
        return next(line.verdict for line in lines if line.text.startswith("adapter: to be looked at"))

    assert verdict(is_read_now=False) is Verdict.PROBLEM
    assert verdict(is_read_now=True) is Verdict.OK
