"""`preread models`: what the administrator types to get weights and to know what they are."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from agent.cli import app
from inference.published import DEMO_FOLDER, PUBLISHED
from tests.agent.hub import COMMIT, TOKEN, MiniHub, a_hub
from tests.inference.references import change_tensor
from tests.inference.small import TINY, write_vocabulary

M4CXR = "Deepnoid/M4CXR-TNNLS"
ACCEPTED = ("--accept-licence", "CC-BY-NC-4.0")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Keeps torch from taking the cores that other tests run on."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own token or settings have a part in this."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniHub]:
    """Publishes the small M4CXR with its references, and beside it what is not to be fetched."""
    folder = Path(shutil.copytree(TINY, tmp_path / "published"))
    for name in ("modeling.py", "pytorch_model.bin", "README.md", "extra/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not to be fetched")
    with a_hub(M4CXR, folder) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def pull(to: Path, *arguments: str | Path, revision: str = "main") -> tuple[int, str]:
    return run("pull", "m4cxr", "--revision", revision, "--to", to, *arguments)


def a_config(folder: Path, engine: str) -> Path:
    folder.mkdir()
    (folder / "reading.toml").write_text(f"[engine]\n{engine}\n")
    return folder


def test_a_branch_is_pulled_at_its_commit_and_what_came_passes_its_verification(hub, tmp_path):
    code, said = pull(tmp_path / "weights", *ACCEPTED)
    verified, table = run("verify", tmp_path / "weights")

    assert (code, verified) == (0, 0), said + table
    assert f"Commit {COMMIT}: 5 files" in said
    source = json.loads((tmp_path / "weights" / "model_source.json").read_text())
    assert (source["repository"], source["revision"], source["commit"]) == (M4CXR, "main", COMMIT)
    assert source["digest"] in said
    assert "PASS: 0 of 5 checks found a problem, 0 of 26 tensors are beyond their bound" in table


def test_only_weights_settings_and_vocabulary_are_fetched(hub, tmp_path):
    pull(tmp_path / "weights", *ACCEPTED)

    names = {path.name for path in (tmp_path / "weights").iterdir() if path.is_file()}
    assert names == {
        "config.json",
        "generation_config.json",
        "golden.safetensors",
        "model.safetensors",
        "preprocess_golden.safetensors",
        "model_source.json",
    }


def test_pickles_come_only_when_they_are_asked_for(hub, tmp_path):
    code, _ = pull(tmp_path / "weights", "--bin", *ACCEPTED)

    assert code == 0
    assert (tmp_path / "weights" / "pytorch_model.bin").is_file()
    assert not (tmp_path / "weights" / "modeling.py").exists()


def test_a_licence_that_nobody_accepted_is_shown_and_nothing_is_asked_of_the_hub(hub, tmp_path):
    code, said = pull(tmp_path / "weights")
    other_code, other_said = pull(tmp_path / "weights", "--accept-licence", "MIT")

    assert (code, other_code, hub.asked) == (1, 1, [])
    assert "Licence: CC-BY-NC-4.0; made from RAD-DINO" in said
    assert '--accept-licence "CC-BY-NC-4.0"' in said
    assert 'the licence "MIT" is not this model\'s' in other_said


def test_a_licence_accepted_in_reading_toml_is_accepted(hub, tmp_path):
    config = a_config(tmp_path / "config", 'model_folder = "w"\naccepted_licence = "cc by-nc 4.0"')

    assert pull(tmp_path / "weights", "--config", config)[0] == 0


def test_a_second_pull_fetches_nothing_again(hub, tmp_path):
    pull(tmp_path / "weights", *ACCEPTED)
    first = hub.fetched()

    code, _ = pull(tmp_path / "weights", *ACCEPTED, revision=COMMIT)

    assert code == 0
    assert hub.fetched() == first


def test_a_pull_that_broke_off_says_so_and_goes_on_with_what_is_missing(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut_after_bytes = 100_000
    code, said = pull(tmp_path / "weights", *ACCEPTED)
    assert code == 1
    assert not (tmp_path / "weights" / "model_source.json").exists()
    assert f"{hub.url} cannot be reached or broke off" in said
    settings = hub.fetched().count("config.json")

    hub.cut_after_bytes = None

    assert pull(tmp_path / "weights", *ACCEPTED)[0] == 0
    # Files come side by side, so this one may or may not have been there before the cut.
    assert hub.fetched().count("config.json") == max(settings, 1)


def test_a_file_that_is_not_what_the_hub_states_is_deleted_and_said(hub, tmp_path):
    hub.lie_about_sums = True

    code, said = pull(tmp_path / "weights", *ACCEPTED)

    assert code == 1
    assert "safetensors did not come as Deepnoid/M4CXR-TNNLS has it; it was deleted: pull again" in said


def test_a_changed_file_is_found_by_check_and_fetched_again_once_deleted(hub, tmp_path):
    pull(tmp_path / "weights", *ACCEPTED)
    change_tensor(tmp_path / "weights" / "model.safetensors", "abstractor.pos_emb", lambda tensor: tensor + 1)
    code, said = run("check", tmp_path / "weights")
    assert code == 1
    assert "not as fetched: model.safetensors" in said

    (tmp_path / "weights" / "model.safetensors").unlink()
    pull(tmp_path / "weights", *ACCEPTED)

    assert run("verify", tmp_path / "weights")[0] == 0


def test_a_folder_with_another_commit_is_left_alone(hub, tmp_path):
    pull(tmp_path / "weights", *ACCEPTED)
    noted = tmp_path / "weights" / "model_source.json"
    noted.write_text(noted.read_text().replace(COMMIT, "f" * 40))

    code, said = pull(tmp_path / "weights", *ACCEPTED)

    assert code == 1
    assert f"holds commit {'f' * 40}" in said


def test_a_gated_repository_asks_for_a_token_and_takes_it_from_where_it_is(hub, tmp_path, monkeypatch):
    hub.is_gated = True
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    code, said = pull(tmp_path / "none", *ACCEPTED)
    assert code == 1
    assert f"is gated: accept its terms at {hub.url}/{M4CXR} with your account" in said

    assert pull(tmp_path / "by file", "--token-file", tmp_path / "token", *ACCEPTED)[0] == 0
    code, said = pull(tmp_path / "by variable", "--token-env", "HUB_TOKEN", *ACCEPTED)

    assert code == 0
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--token-env", "NOBODY_SET_THIS"), "environment variable NOBODY_SET_THIS is not set"),
        (("--token-env", "hf_abcdef"), "this looks like a token itself"),
        (("--token-env", "A B"), "takes the name of a variable"),
        (("--token-file", "/nowhere/token"), "/nowhere/token cannot be read"),
        (("--token-env", "A", "--token-file", "b"), "not both"),
    ],
)
def test_a_token_that_is_not_where_it_should_be_is_told_by_its_place(hub, tmp_path, arguments, problem):
    code, said = pull(tmp_path / "weights", *arguments, *ACCEPTED)

    assert code == 1
    assert problem in said
    assert "hf_abcdef" not in said


def test_what_the_hub_does_not_have_is_said_in_one_sentence(hub, tmp_path):
    _, revision = pull(tmp_path / "w", *ACCEPTED, revision="v9")
    _, repository = run(
        "pull", "cxr_llava", "--revision", "main", "--to", tmp_path / "w", "--accept-licence", "CC-BY-NC-4.0"
    )

    assert f"{M4CXR} has no revision v9" in revision
    assert f"{hub.url} has no ECOFRI/CXR-LLAVA-v2, or shows it to known accounts only" in repository


def test_a_repository_without_safetensors_is_not_fetched(hub, tmp_path):
    hub.files = {"pytorch_model.bin": b"0", "config.json": b"{}"}

    code, said = pull(tmp_path / "weights", *ACCEPTED)

    assert code == 1
    assert "holds no *.safetensors; preread reads no pickles" in said
    assert hub.fetched() == []


def test_a_disk_that_is_too_small_is_asked_before_a_byte_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())

    code, said = pull(tmp_path / "weights", *ACCEPTED)

    assert code == 1
    assert "has 1 KB free and 4.2" in said
    assert hub.fetched() == []


@pytest.mark.parametrize(
    ("status", "todo"), [(418, "later, pull again to go on"), (403, "give another token")]
)
def test_a_hub_that_refuses_is_told_with_its_status_and_what_to_do(hub, tmp_path, status, todo):
    hub.refuse_with = status

    code, said = pull(tmp_path / "weights", *ACCEPTED)

    assert code == 1
    assert f"{hub.url} answered {status} for {M4CXR}: {todo}" in said


def test_no_network_says_how_weights_come_without_one(tmp_path):
    code, said = pull(tmp_path / "weights", "--endpoint", "http://127.0.0.1:9", *ACCEPTED)

    assert code == 1
    assert "http://127.0.0.1:9 cannot be reached or broke off (ConnectError)" in said
    assert "docs/models.md" in said


def test_the_demo_and_unknown_models_are_not_pulled(tmp_path):
    demo = run("pull", "demo", "--revision", "main", "--to", tmp_path, "--accept-licence", "Apache-2.0")
    other = run("pull", "gpt", "--revision", "main", "--to", tmp_path)

    assert (demo[0], other[0]) == (1, 1)
    assert "comes with preread" in demo[1]
    assert "expected one of demo, m4cxr, cxr_llava, medgemma" in other[1]


def test_every_command_of_the_page_on_models_runs_as_it_stands(hub, tmp_path):
    write_vocabulary(tmp_path / "published", size=320)
    hub.files["tokenizer.json"] = (tmp_path / "published" / "tokenizer.json").read_bytes()
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()

    commands = re.findall(r"^preread models (.+)$", page, flags=re.MULTILINE)
    ended = [run(*shlex.split(command.replace("/srv/preread", str(tmp_path)))) for command in commands]

    assert [command.split()[0] for command in commands] == ["list", "pull", "check", "verify"]
    assert [code for code, _ in ended] == [0, 0, 0, 0], ended


def test_the_page_on_models_names_every_model_with_its_licence_and_repository():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()

    for model in PUBLISHED:
        if model.repository is not None:
            row = next(line for line in page.splitlines() if line.startswith(f"| `{model.name}` |"))
            assert model.repository in row
            assert model.licence in row
            assert f"{model.gigabytes} GB" in row


@pytest.mark.slow
def test_the_environment_s_endpoint_serves_a_whole_pull_in_a_process_of_its_own(hub, tmp_path):
    command = [sys.executable, "-m", "agent", "models", "pull", "m4cxr", "--revision", COMMIT]
    command += ["--to", str(tmp_path / "weights"), *ACCEPTED]

    ended = subprocess.run(
        command, env=os.environ | {"HF_HOME": str(tmp_path / "home")}, capture_output=True, text=True
    )

    assert ended.returncode == 0, ended.stderr
    assert f"Next: preread models check {tmp_path / 'weights'}" in ended.stdout


def test_the_list_says_of_each_model_what_binds_who_uses_it():
    code, said = run("list")

    assert code == 0
    for model in PUBLISHED:
        assert f"{model.name}: {model.title}" in said
        assert model.licence in said
    assert f"CONFIGURED: {DEMO_FOLDER}" in said


def test_the_list_says_whether_the_configured_weights_are_complete_and_accepted(tmp_path):
    shutil.copytree(DEMO_FOLDER, tmp_path / "weights")
    engine = f'model_folder = "{tmp_path / "weights"}"\naccepted_licence = "CC-BY-NC-4.0"'
    config = a_config(tmp_path / "config", engine)
    assert (
        "ok        6.461 MB of weights, complete, and its licence is accepted"
        in run("list", "--config", config)[1]
    )

    (tmp_path / "weights" / "tokenizer.json").unlink()
    (config / "reading.toml").write_text(f"[engine]\n{engine}".replace("CC-BY-NC-4.0", "MIT"))
    _, said = run("list", "--config", config)

    assert "holds neither tokenizer.model nor tokenizer.json" in said
    assert 'accepted_licence in reading.toml is "MIT"; the published weights are under "CC-BY-NC-4.0"' in said


def test_list_and_check_tell_weights_of_another_engine_and_a_folder_that_is_not_there(tmp_path):
    for name, folder, problem in (
        ("cxr_llava", DEMO_FOLDER, "holds weights for the engine m4cxr; set engine.name"),
        ("medgemma", tmp_path / "nowhere", "nowhere is not there; fetch the weights"),
    ):
        engine = f'name = "{name}"\nmodel_folder = "{folder}"\naccepted_licence = "CC-BY-NC-4.0"'
        config = a_config(tmp_path / name, engine)
        assert problem in run("list", "--config", config)[1]
        code, checked = run("check", "--config", config)
        assert (code, problem in checked) == (1, True)


def test_list_and_check_are_there_for_programs_too():
    _, listed = run("list", "--json")
    _, checked = run("check", "--json")

    assert [model["name"] for model in json.loads(listed) if model["is_configured"]] == ["demo"]
    assert json.loads(checked)["passed"] is True
    assert json.loads(checked)["engine"] == "m4cxr"


def test_check_without_a_folder_looks_at_the_configured_one_and_its_adapter(tmp_path):
    config = a_config(
        tmp_path / "config",
        f'model_folder = "{TINY}"\nadapter_folder = "{TINY / "adapter"}"\naccepted_licence = "CC-BY-NC-4.0"',
    )

    code, said = run("check", "--config", config)

    assert code == 1
    assert "ok      adapter: each is there" in said
    assert "PROBLEM no tokenizer.model or tokenizer.json is here" in said


def test_the_demo_is_looked_at_by_its_name_unless_a_folder_here_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    by_name, verified = run("check", "demo"), run("verify", "demo")
    (tmp_path / "demo").mkdir()

    with_a_folder = run("check", "demo")

    assert (by_name[0], verified[0], with_a_folder[0]) == (0, 0, 1)
    assert with_a_folder[1].startswith("PROBLEM demo/config.json is not there")


def test_pickles_that_the_configuration_allows_are_checked_as_they_would_be_read(tmp_path):
    (tmp_path / "weights").mkdir()
    torch.save(load_file(DEMO_FOLDER / "model.safetensors"), tmp_path / "weights" / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(DEMO_FOLDER / name, tmp_path / "weights" / name)
    engine = f'model_folder = "{tmp_path / "weights"}"\naccepted_licence = "CC-BY-NC-4.0"'
    config = a_config(tmp_path / "config", f"{engine}\nallow_pickled_weights = true")

    code, checked = run("check", "--config", config, "--json")

    assert (code, json.loads(checked)["passed"]) == (0, True)
    assert "weights, complete, and its licence is accepted" in run("list", "--config", config)[1]


def test_the_memory_that_check_tells_is_that_of_the_configured_answers(tmp_path):
    few, many = (
        a_config(tmp_path / name, f"answer_tokens_max = {count}")
        for name, count in (("few", 50), ("many", 500))
    )

    memory = [
        run("check", "--config", config)[1].partition("longest conversation ")[2] for config in (few, many)
    ]

    assert memory[0] != memory[1]


def test_verify_fails_with_a_table_that_names_the_tensor_and_json_that_says_the_same(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    change_tensor(folder / "golden.safetensors", "logits", lambda tensor: tensor + 0.002)

    code, table = run("verify", folder)
    json_code, text = run("verify", folder, "--json")

    assert (code, json_code) == (1, 1)
    assert [line.split()[0] for line in table.splitlines() if "FAIL" in line] == ["logits", "FAIL:"]
    assert [one["name"] for one in json.loads(text)["comparisons"] if not one["passed"]] == ["logits"]


@pytest.mark.parametrize("arguments", [("--help",), ("list",), ("pull", "--help")])
def test_what_loads_no_model_starts_without_torch(arguments):
    code = (
        f"import sys; sys.argv = ['preread', 'models', *{arguments!r}]\n"
        "from agent.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
