"""A configuration is taken while everything runs, whole or not at all, and loses nothing."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from agent import configuration, loaded
from agent.service import Serving
from config.loading import FILES, ConfigError, load
from storage.records import Stage
from tests.builders import a_radiograph
from tests.certificates import a_pair
from tests.config.test_broken_files import WAYS, broken
from tests.end_to_end.conftest import free_port, wait_for

pytestmark = pytest.mark.slow

SENDER = '[[sender]]\nae_title = "{}"\n'
DESTINATION = '[[destination]]\nname = "{}"\nae_title = "GONE"\nhost = "127.0.0.1"\nport = 1\n'
WORKLIST = (
    '[[worklist]]\nname = "{}"\nae_title = "RIS"\nhost = "127.0.0.1"\nport = 1\nconnect_seconds = 0.1\n'
)


@dataclass
class Site:
    """A serving preread in this process, and the folder that configures it."""

    folder: Path
    port: int
    serving: Serving

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.toml").write_text(text)

    def greeted(self, calling_ae_title: str) -> bool:
        """Does the port let this AE title in?"""
        entity = AE(calling_ae_title)
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", self.port, ae_title="PREREAD")
        if association.is_established:
            association.release()
            return True
        return False

    def lanes(self) -> set[str]:
        """What threads there are that deliver and ask."""
        return {
            thread.name for thread in threading.enumerate() if thread.name.startswith(("deliver to", "ask"))
        }


def an_agent(folder: Path, port: int, more: str = "") -> str:
    return f'[listener]\nport = {port}\nfree_bytes_min = 0\n[storage]\nfolder = "{folder}/data"\n{more}'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    port = free_port()
    config = tmp_path / "config"
    config.mkdir()
    (config / "agent.toml").write_text(an_agent(tmp_path, port))
    (config / "peers.toml").write_text(SENDER.format("XRAY1"))
    (config / "reading.toml").write_text("[reader]\nchild = false\n")
    site = Site(config, port, Serving(load(config)))
    site.serving.start()
    yield site
    site.serving.stop()


def test_a_new_sender_is_let_in_at_its_next_association_and_a_removed_one_is_not(site: Site):
    assert (site.greeted("XRAY1"), site.greeted("XRAY2")) == (True, False)

    site.write(peers=SENDER.format("XRAY2"))
    told = site.serving.reload()

    assert told.changes == ('peers.toml sender "XRAY1": taken away', 'peers.toml sender "XRAY2": added')
    assert (site.greeted("XRAY1"), site.greeted("XRAY2")) == (False, True)


def test_an_open_association_ends_as_it_began(site: Site):
    entity = AE("XRAY1")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", site.port, ae_title="PREREAD")

    site.write(peers=SENDER.format("XRAY2"))
    site.serving.reload()

    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_each_destination_has_its_workers_and_a_removed_one_has_none(site: Site):
    site.write(peers=SENDER.format("X") + DESTINATION.format("a") + DESTINATION.format("b"))
    site.serving.reload()
    site.write(peers=SENDER.format("X") + DESTINATION.format("b") + "associations_max = 2\n")
    site.serving.reload()

    expected = {"deliver to b 1", "deliver to b 2", "deliver to nobody", "ask nobody"}
    wait_for("the workers of b alone", lambda: site.lanes() == expected, 10)


def test_worklists_are_asked_from_the_reload_on(site: Site):
    site.write(peers=SENDER.format("X") + WORKLIST.format("old"))
    site.serving.reload()
    site.write(peers=SENDER.format("X") + WORKLIST.format("ris") + WORKLIST.format("ris2"))
    site.serving.reload()

    asked = {job.args[0].name for job in site.serving._scheduler.get_jobs() if job.args}
    assert asked == {"ris", "ris2"}


def test_a_reload_with_tls_files_that_cannot_be_used_is_refused_and_says_so(site: Site):
    a_pair(site.folder)
    tls = '[destination.tls]\ncertificate_file = "own.pem"\nkey_file = "other.key"\n'

    site.write(peers=SENDER.format("XRAY2") + DESTINATION.format("a") + tls)
    told = site.serving.reload()

    assert [problem.partition(" = ")[0] for problem in told.problems] == [
        "peers.toml:10: destination[1].tls.key_file"
    ]
    assert (site.greeted("XRAY1"), site.greeted("XRAY2")) == (True, False)


def test_what_needs_a_restart_stays_as_it_is_and_is_named(site: Site):
    site.write(agent=an_agent(site.folder.parent, free_port(), "[worker]\nattempts_max = 7\n"))

    told = site.serving.reload()

    assert [words.split(":")[0] for words in told.changes] == ["agent.toml worker attempts_max"]
    assert [words.split(":")[0] for words in told.waiting] == ["agent.toml listener port"]
    assert site.greeted("XRAY1")


def test_no_broken_file_changes_anything_in_a_running_service(site: Site):
    before = site.serving.described()
    right = {file: (site.folder / file).read_bytes() for file in FILES} | {
        "peers.toml": SENDER.format("XRAY2").encode()
    }
    for seed in range(4 * len(WAYS)):
        for name, content in (right | dict([broken(seed)])).items():
            (site.folder / name).write_bytes(content)
        with suppress(ConfigError):
            load(site.folder)
            continue  # now and then another value fits, and nothing is wrong
        told = site.serving.reload()
        assert told.problems, seed
        assert (told.digest, told.changes) == (before.digest, ()), seed

    assert (site.greeted("XRAY1"), site.greeted("XRAY2")) == (True, False)


def test_what_is_in_force_is_kept_as_a_folder_that_loads_to_the_same(site: Site):
    data = site.folder.parent / "data"
    first = loaded.kept(data)
    site.write(peers=SENDER.format("XRAY2"))
    told = site.serving.reload()

    assert load(loaded.kept(data)).digest == told.digest
    assert load(first).peers.senders[0].ae_title == "XRAY1"


def test_a_study_is_judged_by_the_rules_of_the_reload(site: Site):
    site.write(reading="[reader]\nchild = false\n[study]\nsettle_seconds = 0.1\nbody_parts = ['HAND']\n")
    site.serving.reload()

    send(site.port, "XRAY1", number=0)

    jobs = site.serving._store.jobs
    wait_for("the study to be skipped by the new rule", lambda: jobs.counts()[Stage.SKIPPED], 20)


def test_a_study_falls_under_a_rule_of_the_reload_which_is_kept_as_it_was_written(site: Site):
    rule = '[[rule]]\nname = "none of these"\nwhen = { Modality = ["CR", "DX"] }\nread = false\n'
    site.write(reading=f"[reader]\nchild = false\n[study]\nsettle_seconds = 0.1\n{rule}")
    told = site.serving.reload()

    send(site.port, "XRAY1", number=0)

    jobs = site.serving._store.jobs
    wait_for("the study to be skipped by the new rule", lambda: jobs.counts()[Stage.SKIPPED], 20)
    assert [job.rule for job in jobs.latest(1)] == ["none of these"]
    assert told.problems == ()
    assert configuration.load(loaded.kept(site.folder.parent / "data")).digest == told.digest


def send(port: int, calling_ae_title: str, number: int) -> int:
    """Sends three images of one study over one association; says how many were taken."""
    entity = AE(calling_ae_title)
    image = a_radiograph(patient_id=f"{calling_ae_title}{number}")
    entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="PREREAD")
    if not association.is_established:
        return 0
    images = [a_radiograph(patient_id=f"{calling_ae_title}{number}", number=one) for one in (1, 2, 3)]
    taken = sum(association.send_c_store(one).get("Status") == 0x0000 for one in images)
    association.release()
    return taken


def test_reloads_under_load_lose_no_association_and_no_image(site: Site):
    titles = ("XRAY1", "XRAY2", "XRAY3")
    both = "".join(map(SENDER.format, titles))
    site.write(peers=both)
    site.serving.reload()
    taken: list[int] = []

    def sending(title: str) -> None:
        taken.extend(send(site.port, title, number) for number in range(40))

    senders = [threading.Thread(target=sending, args=(title,)) for title in titles]
    for sender in senders:
        sender.start()
    reloads = 0
    while any(sender.is_alive() for sender in senders):
        extra = DESTINATION.format("a") if reloads % 2 else SENDER.format(f"NEW{reloads}")
        site.write(peers=both + extra if reloads % 5 else "broken [")
        site.serving.reload()
        reloads += 1

    counts = site.serving._store.index.counts()
    assert taken == [3] * 120
    assert counts["instances"] == 360
    assert site.serving._store.index.refusals(10) == ()
    assert reloads > 20
