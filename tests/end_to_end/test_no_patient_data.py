"""A whole life with all that can go wrong in it; then everything that was written is searched for the patient."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless
from sqlalchemy import text

from agent.demo.pacs import MiniPacs
from agent.hl7.framing import framed
from storage.records import Stage
from tests.builders import a_radiograph, a_report_sr
from tests.end_to_end.conftest import Running, free_port
from tests.hl7.builders import an_obx, an_oru

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = ("Zzyzx", "Quilla")
NUMBERS = ("ZXID77", "ZXID88", "ZXACC55", "19470913")
WORDS = ("Marmalade", "Thimble", "Crumpet")
MARKERS = tuple(marker.lower() for marker in (*NAMES, *NUMBERS, *WORDS))
SIZE = {"rows": 300, "columns": 280}
PATIENT = {"patient_id": "ZXID77", "name": "Zzyzx^Quilla", "birth_date": "19470913"}
MERGE = (
    "MSH|^~\\&|RIS|HERE|||20260302||ADT^A40^ADT_A39|MSG3|P|2.5.1\rEVN||20260302\r"
    "PID|1||ZXID88^^^ABC^MR||Zzyzx^Quilla||19470913|F\rMRG|ZXID77^^^ABC^MR\r"
)


@dataclass
class Life:
    """What was written while studies of the patient came, were read, failed and were sent."""

    preread: Running
    output: Path
    hl7_port: int
    stages: dict[str, Stage]

    def say(self, message: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.hl7_port), 10) as connection:
            connection.sendall(framed(message.encode()))
            return connection.recv(65_536)

    def command(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "agent", *arguments, "--config", str(self.preread.folder / "config")]
        ended = subprocess.run(command, capture_output=True, text=True)
        return ended.stdout + ended.stderr

    def live(self, pacs: MiniPacs) -> None:
        """Everything that can happen to a patient here, each to its end."""
        assert b"MSA|AA" in self.say(
            an_oru(
                an_obx("FINDINGS: Thimble shadow."),
                patients="ZXID77^^^ABC^MR",
                birth_date="19470913",
                accession="ZXACC55",
                reported_at="20260201100000",
                observed_at="20260131083000",
            )
        )
        self.say(MERGE)
        for broken in (
            "PID|1||ZXID77||Zzyzx^Quilla",
            MERGE.replace("A40", "A99"),
            an_oru(birth_date="Zzyzx"),
        ):
            self.say(broken)
        prior = a_radiograph(**PATIENT, days_ago=30, **SIZE)
        report = a_report_sr(**PATIENT, days_ago=30, findings="Marmalade opacity at the base.")
        self._send(pacs, prior, report)
        current = a_radiograph(**PATIENT, accession="ZXACC55", indication="Crumpet in the chest.", **SIZE)
        self._finish("read", pacs, current)
        self._finish_without_its_files(pacs)
        two = [
            a_radiograph(
                **PATIENT | {"patient_id": number}, study_uid="2.25.4711", number=number == "ZXID88", **SIZE
            )
            for number in ("ZXID77", "ZXID88")
        ]
        self._finish("of two patients", pacs, *two)
        broken_pixels = a_radiograph(**PATIENT, days_ago=1, transfer_syntax=JPEGLSLossless, **SIZE)
        inside = slice(200, -16)  # between the item's header and the end of the sequence
        length = len(broken_pixels.PixelData[inside])
        broken_pixels.PixelData = (
            broken_pixels.PixelData[:200]
            + (b"Zzyzx^Quilla" * length)[:length]
            + broken_pixels.PixelData[-16:]
        )
        self._finish("with broken pixels", pacs, broken_pixels)
        for missing in ("StudyInstanceUID", "SOPInstanceUID", "PixelData"):
            self._send(pacs, a_radiograph(**PATIENT, days_ago=2, missing=[missing], **SIZE))

    def _finish_without_its_files(self, pacs: MiniPacs) -> None:
        """A step meets what cannot be: an error of ours with its traceback."""
        image = a_radiograph(**PATIENT, days_ago=3, **SIZE)
        self._finish("before its file was lost", pacs, image)
        (stored,) = (self.preread.folder / "data").rglob(f"*{image.SOPInstanceUID}*.dcm")
        stored.unlink()
        self.command("again", str(image.StudyInstanceUID))
        jobs = self.preread.wait_for_jobs(str(image.StudyInstanceUID), 2)
        self.stages["whose file was lost"] = jobs[-1].stage

    def _send(self, pacs: MiniPacs, *objects: Dataset) -> None:
        with suppress(ConnectionError, ValueError, AttributeError):  # what is refused is part of the life
            pacs.send(objects, "127.0.0.1", self.preread.port, "PREREAD")

    def _finish(self, which: str, pacs: MiniPacs, *objects: Dataset) -> None:
        self._send(pacs, *objects)
        self.stages[which] = self.preread.wait_for_jobs(str(objects[0].StudyInstanceUID))[-1].stage


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, pacs: MiniPacs) -> Iterator[Life]:
    folder, hl7_port, nobody = tmp_path_factory.mktemp("life"), free_port(), free_port()
    peers = (
        f'[[archive]]\nname = "gone"\nae_title = "GONE"\nhost = "127.0.0.1"\nport = {nobody}\n'
        f'[[archive]]\nname = "web"\nretrieve = "dicomweb"\nurl = "http://127.0.0.1:{nobody}/dicom-web"\n'
        f'[[archive]]\nname = "noquery"\nae_title = "TESTPACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
        f'[[worklist]]\nname = "ris"\nae_title = "RIS"\nhost = "127.0.0.1"\nport = {nobody}\n'
        f'[[destination]]\nname = "down"\nae_title = "DOWN"\nhost = "127.0.0.1"\nport = {nobody}\n'
    )
    hl7 = f"[hl7]\nport = {hl7_port}\n"
    with (folder / "output").open("wb") as output:
        running = Running(
            folder,
            pacs.port,
            senders=peers,
            wait_for_priors_seconds=3.0,
            close_when_reported=False,  # the first message reports on the study that is read
            more_of_agent=hl7,
            output=output.fileno(),
            deliver_patience_seconds=1.0,  # what goes to "down" is given up soon
        )
        life = Life(running.start(), folder / "output", hl7_port, {})
        try:
            life.live(pacs)
            yield life
        finally:
            running.stop()


def found_in(written: str) -> list[str]:
    """The markers that stand in a text, each with a little of what stands around it."""
    lowered = written.lower()
    return [
        f"{marker}: ...{written[max(0, lowered.index(marker) - 120) : lowered.index(marker) + 80]}..."
        for marker in MARKERS
        if marker in lowered
    ]


def test_the_life_had_good_and_bad_ends(life: Life):
    assert life.stages == {
        "read": Stage.FAILED,  # one of its destinations is down
        "before its file was lost": Stage.FAILED,
        "whose file was lost": Stage.FAILED,
        "of two patients": Stage.FAILED,
        "with broken pixels": Stage.FAILED,
    }
    log = life.preread.log.read_text()
    for event in ("message taken", "message quarantined", "refused", "not delivered", "job ends"):
        assert f'"event": "{event}"' in log


def test_nothing_of_the_patient_is_in_the_log_nor_in_what_the_processes_print(life: Life):
    assert found_in(life.preread.log.read_text()) == []
    assert found_in(life.output.read_text()) == []


@pytest.mark.parametrize("page", ["/metrics", "/healthz", "/readyz"])
def test_nothing_of_the_patient_is_on_the_pages_for_monitors(life: Life, page: str):
    shown = life.preread.page(page)

    assert len(shown) > 20
    assert found_in(shown) == []


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("status", "--json"),
        ("list",),
        ("list", "--json"),
        ("doctor", "--no-model"),
        ("check", "--no-model"),
        ("reports", "list"),
        ("reports", "quarantine"),
    ],
    ids=" ".join,
)
def test_nothing_of_the_patient_is_in_what_commands_show(life: Life, command: tuple[str, ...]):
    shown = life.command(*command)

    assert len(shown) > 20
    assert found_in(shown) == []


def test_nothing_of_the_patient_is_in_a_name_of_a_file(life: Life):
    names = [str(path.relative_to(life.preread.folder)) for path in life.preread.folder.rglob("*")]

    assert any(name.endswith(".dcm") for name in names)
    assert found_in("\n".join(names)) == []


def test_nothing_of_the_patient_is_in_a_sentence_that_is_kept(life: Life):
    store = life.preread.store()
    questions = (
        "SELECT text FROM events",
        "SELECT reason FROM refusals",
        "SELECT problem FROM jobs",
        "SELECT problem FROM deliveries",
        "SELECT problem FROM prior_requests",
        "SELECT note FROM prior_requests",
        "SELECT reason FROM quarantined_messages",
        "SELECT conflict FROM studies",
    )
    with store.database.reading() as connection:
        kept = [
            str(value) for question in questions for value in connection.execute(text(question)).scalars()
        ]
    store.database.close()

    assert len(kept) > 20
    assert found_in("\n".join(kept)) == []


def test_the_search_finds_the_patient_where_she_belongs(life: Life):
    why = life.command("why", str(a_radiograph(**PATIENT).StudyInstanceUID))

    assert [found.partition(":")[0] for found in found_in(why)] == ["thimble"]
