"""What the operator types, and what she is told."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.pacs import MiniPacs
from agent.store import open_store
from config.loading import load
from storage.records import InstanceRole, Refusal, Stage
from tests.agent.line import NOON
from tests.builders import a_radiograph, write
from tests.storage.builders import a_study, an_instance, an_open_job, claimed

RUNNER = CliRunner()


def a_config(folder: Path, **files: str) -> Path:
    for name in ("agent", "peers", "reading"):
        (folder / f"{name}.toml").write_text(files.get(name, ""))
    return folder


def run(*arguments: str | Path, answers: str = "") -> tuple[int, str]:
    """Exit code and everything printed; `answers` are what is typed, each with its line end."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], input=answers)
    return result.exit_code, result.output


def test_a_wrong_configuration_is_told_at_once_and_exits_with_2(tmp_path: Path):
    config = a_config(
        tmp_path, agent="[listener]\nport = 99999\nprot = 1\n", reading="[study]\nsettle_seconds = 0\n"
    )

    code, said = run("check", "--config", config)

    assert code == 2
    assert "agent.toml:2: listener.port = 99999: expected" in said
    assert "listener.prot" in said
    assert "reading.toml:2: study.settle_seconds = 0: expected" in said


def test_check_greets_every_destination_and_says_which_does_not_answer(tmp_path: Path):
    pacs = MiniPacs("ARCHIVE", tmp_path / "pacs")
    lost = '[[destination]]\nname = "lost"\nae_title = "LOST"\nhost = "127.0.0.1"\nport = 1\nconnect_seconds = 1.0\n'
    here = f'[[destination]]\nname = "here"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {pacs.port}\n'

    code, said = run("check", "--no-model", "--config", a_config(tmp_path, peers=here + lost))
    pacs.close()

    assert code == 1
    assert 'ok      destination "here": answered' in said
    assert "PROBLEM" in said
    assert "127.0.0.1:1" in said


def test_check_with_nothing_wrong_exits_with_0_and_writes_nothing(tmp_path: Path):
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n')

    code, said = run("check", "--no-model", "--config", config)

    assert code == 0, said
    assert not (tmp_path / "data").exists()


def test_check_is_not_content_with_a_disk_on_which_no_sender_would_be_taken(tmp_path: Path):
    full = f'[storage]\nfolder = "data"\n[listener]\nfree_bytes_min = {10**15}\n[retention]\nfree_bytes_start = 0\n'
    config = a_config(tmp_path, agent=full)

    code, said = run("check", "--no-model", "--config", config)

    assert code == 1
    assert f"PROBLEM the disk of {tmp_path / 'data'} is full (" in said
    assert not (tmp_path / "data").exists()


@pytest.fixture
def failed_study(tmp_path: Path) -> Path:
    """A store with one study whose job failed, and one refusal; gives the config folder."""
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n')
    store = open_store(load(config))
    store.index.put(an_instance(), a_study())
    job = store.jobs.open("2.25.100", 1, "no image for 60 s", NOON)
    assert job is not None
    claimed = store.jobs.claim([Stage.GATHER], "worker", NOON, 60)
    assert claimed is not None
    store.jobs.end(claimed, Stage.FAILED, "two patients in one study", NOON)
    store.index.refuse(
        Refusal(datetime(2026, 3, 2, tzinfo=UTC), "ROGUE", "10.0.0.9", "", None, "unknown AE title")
    )
    store.database.close()
    return config


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is asked for within a day of what failed."""
    monkeypatch.setattr("agent.overview.system_clock", lambda: NOON)


@pytest.mark.usefixtures("at_noon")
def test_status_names_what_failed_and_what_was_refused_with_the_reason(failed_study: Path):
    code, said = run("status", "--config", failed_study)

    assert code == 0
    assert "2.25.100 failed: two patients in one study" in said
    assert "ROGUE at 10.0.0.9" in said
    assert "unknown AE title" in said


@pytest.mark.usefixtures("at_noon")
def test_status_tells_a_sender_that_is_refused_again_and_again_once(failed_study: Path):
    store = open_store(load(failed_study))
    for minute in range(30):
        at = datetime(2026, 3, 2, 1, minute, tzinfo=UTC)
        store.index.refuse(Refusal(at, "XRAY9", "10.0.0.8", "", None, "unknown AE title"))
    store.database.close()

    told = run("status", "--config", failed_study)[1].splitlines()
    short = run("status", "--limit", "1", "--config", failed_study)[1].splitlines()

    assert told[-2] == "  2026-03-02T01:29:00+00:00 XRAY9 at 10.0.0.8 : unknown AE title (30 times)"
    assert "ROGUE at 10.0.0.9 : unknown AE title" in told[-1]
    assert short[-2:] == [told[-2], "  and 1 more"]


@pytest.mark.usefixtures("at_noon")
def test_status_forgets_no_failed_study_for_newer_ones_and_says_what_it_leaves_out(failed_study: Path):
    store = open_store(load(failed_study))
    for number in range(25):
        an_open_job(store.index, store.jobs, f"2.25.9{number}")
    job = claimed(store.jobs)
    store.jobs.later(job, "archive ARCH cannot be connected", NOON, NOON)
    store.database.close()

    told = run("status", "--config", failed_study)[1]
    none = run("status", "--limit", "0", "--config", failed_study)[1]

    assert f"waiting:\n  job {job.number} (gather), 2.25.90: archive ARCH cannot be connected" in told
    assert "(preread list --stage failed):\n  2.25.100 failed: two patients in one study" in told
    assert "(preread list --stage failed):\n  and 1 more" in none


def test_status_begins_with_a_disk_that_is_too_full_to_receive(failed_study: Path):
    full = f'[storage]\nfolder = "data"\n[listener]\nfree_bytes_min = {10**15}\n[retention]\nfree_bytes_start = 0\n'
    (failed_study / "agent.toml").write_text(full)

    folder, first, *_ = run("status", "--config", failed_study)[1].splitlines()

    assert folder == f"storage folder: {failed_study / 'data'}"
    assert first.startswith(f"the disk of {failed_study / 'data'} is full (")
    assert first.endswith("listener.free_bytes_min is 1000000.0 GB): senders are refused (A700); make room")


def test_status_is_there_for_programs_too(failed_study: Path):
    code, said = run("status", "--json", "--config", failed_study)

    assert code == 0
    assert json.loads(said)["jobs"]["failed"] == 1


def test_why_tells_the_life_of_a_study(failed_study: Path):
    code, said = run("why", "2.25.100", "--config", failed_study)

    assert code == 0
    assert "complete because no image for 60 s" in said
    assert "failed in gather: two patients in one study" in said
    assert "received from XRAY1: 1 image, 2026-03-01T08:00:00+00:00 to 2026-03-01T08:00:00+00:00" in said
    assert "patient identified by issuer (none); 0 other studies under the same numbers" in said


def test_why_and_again_of_an_unknown_study_say_so(failed_study: Path):
    for command in ("why", "again"):
        code, said = run(command, "2.25.999", "--config", failed_study)
        assert code == 1
        assert "2.25.999" in said


def test_a_study_with_two_patients_stands_in_the_status_also_if_only_a_report_came_late(failed_study: Path):
    store = open_store(load(failed_study))
    late = an_instance("2.25.2", role=InstanceRole.REPORT, modality="SR")
    store.index.put(late, a_study(patient_id="B2"))
    store.database.close()

    said = run("status", "--config", failed_study)[1] + run("why", "2.25.100", "--config", failed_study)[1]

    assert (
        "two patients in one study:\n  2.25.100: the instances of this study name two patients: patient ID"
        in said
    )
    assert "in doubt: the instances of this study name two patients: patient ID of 2.25.2" in said


def test_patient_numbers_are_linked_listed_taken_back_and_remembered(failed_study: Path):
    def patients(*arguments: str) -> str:
        return run("patients", *arguments, "--config", failed_study)[1]

    assert "link 1 made; 1 studies are here" in patients("link", "A1", "B2^^^NORTH")
    assert "link 1: A1 is now B2^^^NORTH (merge, by operator" in patients("list")
    assert "link 1 taken back; 0 studies are here" in patients("unlink", "1")
    assert "no patient numbers are linked" in patients("list")
    assert "taken back by operator" in patients("history", "A1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("link", "A1", "A1"), "cannot replace itself"),
        (("link", "UNKNOWN", "A1"), "is no placeholder"),
        (("unlink", "7"), "no link 7 is in force"),
    ],
)
def test_what_cannot_be_linked_is_said_in_a_sentence_and_exits_with_1(
    failed_study: Path, arguments: tuple[str, ...], why: str
):
    code, said = run("patients", *arguments, "--config", failed_study)

    assert code == 1
    assert why in said


def test_again_opens_the_next_revision(failed_study: Path):
    code, said = run("again", "2.25.100", "--config", failed_study)

    assert code == 0
    assert "revision 2" in said


def test_send_sends_a_folder_and_names_what_is_no_dicom(tmp_path: Path):
    pacs = MiniPacs("PREREAD", tmp_path / "pacs")
    image = a_radiograph()
    write(image, tmp_path / "out" / "1.dcm")
    (tmp_path / "out" / "notes.txt").write_text("no image")

    code, said = run("send", tmp_path / "out", "--port", pacs.port)
    pacs.close()

    assert code == 1
    assert "notes.txt" in said
    assert "1 taken, 1 not" in said
    assert len(pacs.received(str(image.StudyInstanceUID))) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["send", "mistyped"], "mistyped is no folder; name one with DICOM files in it"),
        (["send", "empty"], "there is no file in empty; name a folder with DICOM files in it"),
        (["send", "empty", "--port", "99999"], "port = 99999: expected a whole number from 1 to 65535"),
        (
            ["send", "empty", "--called", "A NAME THAT IS TOO LONG"],
            'ae_title = "A NAME THAT IS TOO LONG": expected',
        ),
        (["films", "file"], "file cannot be made or written (Not a directory); name another folder"),
    ],
)
def test_what_cannot_be_sent_or_written_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").touch()

    code, said = run(*arguments)

    assert code == 1
    assert said.startswith(told)


@pytest.mark.parametrize("module", ["agent.service", "agent.overview"])
def test_what_listens_never_loads_the_model_s_libraries(module: str):
    heavy = ("torch", "transformers", "highdicom", "dicomanonymizer")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


@pytest.mark.slow
def test_serve_on_a_port_that_is_taken_says_so_and_exits(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = a_config(
            tmp_path,
            agent=f'[listener]\nport = {port}\n[storage]\nfolder = "data"\n',
            reading="[reader]\nchild = false\n",
        )
        command = [sys.executable, "-m", "agent", "serve", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    assert "the service cannot start" in ended.stderr
    assert f"listener.port 127.0.0.1:{port} is taken by process {os.getpid()}; end that" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_reader_without_its_model_says_what_to_do_and_exits(tmp_path: Path):
    reading = '[engine]\nmodel_folder = "nowhere"\naccepted_licence = "CC-BY-NC-4.0"\n'
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n', reading=reading)

    command = [sys.executable, "-m", "agent", "read", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 1
    assert "the model cannot be opened" in ended.stderr
    assert "nowhere" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_held_study_is_shown_and_goes_on_when_released(failed_study: Path):
    def study(command: str, *options: str) -> str:
        return run(command, "2.25.100", *options, "--config", failed_study)[1]

    assert "is held: nothing of it is read, sent or deleted" in study("hold", "--why", "ask the ward")
    assert "2.25.100 by operator" in run("status", "--config", failed_study)[1]
    assert "ask the ward" in study("why")
    assert "held by operator" in study("hold")
    assert "goes on; it was held by operator" in study("release")
    assert "is not held" in study("release")


def test_a_study_is_deleted_after_it_was_named_and_why_remembers_it(failed_study: Path):
    def delete(study: str, answer: str) -> tuple[int, str]:
        command = ["delete", study, "--why", "sent by mistake", "--config", str(failed_study)]
        result = RUNNER.invoke(app, command, input=f"{answer}\n")
        return result.exit_code, result.output

    assert delete("2.25.999", "")[0] == 1
    code, said = delete("2.25.100", "no")
    assert (code, "not deleted" in said) == (1, True)
    code, said = delete("2.25.100", ".100")

    assert code == 0
    assert "2.25.100 is deleted: 1 instances and 0 result objects" in said
    told = run("why", "2.25.100", "--config", failed_study)[1]
    assert told.splitlines()[1] == "  nothing of it is here any more"
    assert "deleted by operator" in told
    assert "sent by mistake" in told


def test_a_study_leaves_only_without_its_patient_and_says_so(failed_study: Path, tmp_path: Path):
    def export(*options: str) -> tuple[int, str]:
        return run("export", "2.25.100", "--out", tmp_path / "out", *options, "--config", failed_study)

    code, said = export()
    assert (code, said.strip()) == (1, "a study leaves only without its patient: add --deidentified")
    code, said = export("--deidentified", "--without", "7")
    assert (code, "there is no image 7; this study has 0" in said) == (1, True)
    code, said = export("--deidentified")

    assert code == 0, said
    assert "1 whose files are gone were left out" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["study.json"]


def test_what_is_on_its_way_is_not_deleted(failed_study: Path):
    run("again", "2.25.100", "--config", failed_study)

    code, said = run("delete", "2.25.100", "--yes", "--config", failed_study)

    assert code == 1
    assert "is on its way (stage gather)" in said


def test_retention_says_what_would_go_and_then_deletes_it(failed_study: Path):
    (failed_study / "agent.toml").write_text(
        '[storage]\nfolder = "data"\n[retention]\nimage_days = 1\nprior_days = 1\n'
    )

    code, would = run("retention", "--dry-run", "--config", failed_study)
    # In its own process: the log that it opens would be this one's, too.
    command = [sys.executable, "-m", "agent", "retention", "--config", failed_study]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert code == 0
    assert "images of 2.25.100: 1, 0.0 MB; last changed" in would
    assert "1 studies, 0.0 MB of images" in would
    assert "images of 1 studies deleted" in said
    assert "instances deleted by retention" in run("why", "2.25.100", "--config", failed_study)[1]


def test_a_backup_is_made_verified_and_restored_by_commands(failed_study: Path, tmp_path: Path):
    store = open_store(load(failed_study))
    store.files.put(an_instance().path, b"image")
    store.database.close()

    code, said = run("backup", "make", tmp_path / "backups", "--config", failed_study)
    folder = said.split(": ")[0]

    assert code == 0, said
    assert run("backup", "verify", folder) == (0, f"{folder} is whole\n")
    code, said = run("backup", "restore", folder, "--to", tmp_path / "restored")
    assert (code, f'folder = "{tmp_path / "restored"}"' in said) == (0, True)
    assert run("backup", "restore", folder, "--to", tmp_path / "restored")[0] == 1
    assert run("backup", "verify", tmp_path)[0] == 1
