"""A small hospital around the product: what it sent and was answered, and what came back to it.

The hospital is the observer. Of the product it believes only acknowledgements; what is true of it is read from
its store after the life, and from the objects that its destinations received.
"""

import hashlib
import multiprocessing
import signal
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from agent.demo.pacs import connection_opened
from agent.hl7.framing import framed
from config.settings import (
    AgentSettings,
    DestinationSettings,
    Hl7Settings,
    ListenerSettings,
    OutputKind,
    PeersSettings,
    ReaderSettings,
    ReadingSettings,
    Settings,
    StorageSettings,
    StudySettings,
    WorkerSettings,
)
from tests.builders import a_radiograph
from tests.crash.effects import Cut
from tests.crash.product import Ready, Start, Turned, Usage, live
from tests.hl7.builders import an_oru
from tests.listener.conftest import encoded
from tests.listener.wire import EXPLICIT, RawSender

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STARTS_MAX = 5
TRIES_MAX = 10

KINDS = {
    "1.2.840.10008.5.1.4.1.1.88.11": "report_sr",
    "1.2.840.10008.5.1.4.1.1.88.22": "report_sr",
    "1.2.840.10008.5.1.4.1.1.11.1": "presentation_state",
}

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.crash.product"])


@dataclass(frozen=True, slots=True)
class Result:
    """One object that a destination received."""

    study_instance_uid: str
    kind: str
    sop_instance_uid: str
    sha256: str


class Pacs:
    """A destination: takes our results on a port of 127.0.0.1, writes down each that comes, and forgets nothing."""

    def __init__(self, ae_title: str, port: int = 0) -> None:
        self.received: list[Result] = []
        entity = AE(ae_title)
        for sop_class in KINDS:
            entity.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, connection_opened)]
        self._server: Any = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        content = event.request.DataSet.getvalue()
        dataset = event.dataset
        self.received.append(
            Result(
                str(dataset.StudyInstanceUID),
                KINDS[dataset.SOPClassUID],
                str(dataset.SOPInstanceUID),
                hashlib.sha256(content).hexdigest(),
            )
        )
        return 0x0000

    def close(self) -> None:
        """Closes the port; once more does no harm."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()


def settings_of(folder: Path, database_url: str, ports: dict[str, int]) -> Settings:
    """What the administrator has set: two destinations, an HL7 port, patience as it comes."""
    kinds: dict[str, tuple[OutputKind, ...]] = {
        "pacs": ("report_sr", "presentation_state"),
        "archive": ("report_sr",),
    }
    return Settings(
        agent=AgentSettings(
            listener=ListenerSettings(free_bytes_min=0).model_copy(update={"port": 0}),
            hl7=Hl7Settings().model_copy(update={"port": 0}),
            storage=StorageSettings(folder=folder / "data", database_url=database_url),
            worker=WorkerSettings(stop_seconds=2.0),
        ),
        peers=PeersSettings(
            destinations=tuple(
                DestinationSettings(
                    name=name,
                    ae_title=name.upper(),
                    host="127.0.0.1",
                    port=port,
                    connect_seconds=2.0,
                    answer_seconds=5.0,
                    outputs=kinds[name],
                )
                for name, port in ports.items()
            )
        ),
        reading=ReadingSettings(
            study=StudySettings(complete_when_views=(), study_age_days_max=36_500),
            reader=ReaderSettings(child=False),
        ),
    )


@dataclass
class Hospital:
    """One life of the product in its surroundings.

    Attributes:
        acknowledged: SHA-256 of the dataset by SOP Instance UID, of what was answered 0x0000.
        answered: control IDs of the HL7 messages that were answered AA.
    """

    folder: Path
    database_url: str
    cut: Cut = field(default_factory=Cut)
    acknowledged: dict[str, str] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    now: datetime = NOON
    starts: int = 0
    effects: int = 0
    kind_cut: str = ""
    was_killed: bool = False
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0))

    def __post_init__(self) -> None:
        self.destinations = {"pacs": Pacs("PACS"), "archive": Pacs("ARCHIVE")}
        ports = {name: pacs.port for name, pacs in self.destinations.items()}
        self.settings = settings_of(self.folder, self.database_url, ports)
        self._process: Any = None
        self._orders: Any = None
        self._ready = Ready(0, 0)

    def close(self) -> None:
        for pacs in self.destinations.values():
            pacs.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()

    # The product's process

    def running(self) -> Ready:
        """The product with its ports open, started again if it has died; after the first time nothing goes wrong."""
        while self._process is None or not self._process.is_alive():
            assert self.starts < STARTS_MAX, f"preread does not start any more, see {self.folder}/log"
            cut = self.cut if self.starts == 0 else Cut()
            self.starts += 1
            self.now += timedelta(hours=1)
            self._orders, theirs = _forks.Pipe()
            start = Start(self.settings, cut, self.now, self.folder / "log")
            self._process = _forks.Process(target=live, args=(theirs, start), daemon=True)
            self._process.start()
            theirs.close()
            with suppress(EOFError, ConnectionError):
                self._ready = self._orders.recv()
                return self._ready
            self._bury()
        return self._ready

    def _bury(self) -> None:
        self._process.join()
        self.was_killed |= self._process.exitcode != 0
        self._process = None

    def _is_gone(self) -> bool:
        """Whether the process has died; a connection may end a moment before its process has."""
        if self._process is not None:
            self._process.join(0.05 if self.cut.how == "kill" else 0)
            if not self._process.is_alive():
                self._bury()
        return self._process is None

    def until_it_is_quiet(self) -> None:
        """Lets the product work until every study is at its end."""
        for _ in range(STARTS_MAX):
            self.running()
            self.now += timedelta(hours=1)
            with suppress(EOFError, ConnectionError):
                self._orders.send(self.now)
                turned: Turned = self._orders.recv()
                self.now, self.effects = turned.now, max(self.effects, turned.effects)
                self.kind_cut = self.kind_cut or turned.kind_cut
                self.usage = turned.usage
                assert turned.is_ended, "a study is stuck"
                return
            self._bury()
        raise AssertionError("preread dies each time it works")

    def stop(self) -> None:
        """An orderly stop."""
        self.running()
        self._orders.send(None)
        with suppress(EOFError, ConnectionError):
            turned: Turned = self._orders.recv()
            self.effects = max(self.effects, turned.effects)
            self.kind_cut = self.kind_cut or turned.kind_cut
        self._process.join(20)
        ends = {0, -signal.SIGKILL} if self.cut.how == "kill" and self.starts == 1 else {0}
        assert self._process.exitcode in ends, f"preread ended with {self._process.exitcode}"
        self._bury()

    # What is sent

    def send(self, *images: Dataset) -> None:
        """Sends images as a modality does: each again until it is answered 0x0000."""
        for image in images:
            uid, content = str(image.SOPInstanceUID), encoded(image)
            self._until(lambda image=image, uid=uid, content=content: self._store(image, uid, content))

    def _store(self, image: Dataset, uid: str, content: bytes) -> bool:
        with RawSender(self.running().port) as sender:
            sender.associate({1: (str(image.SOPClassUID), [EXPLICIT])})
            answer = sender.store(content, uid, sop_class_uid=str(image.SOPClassUID))
            if answer.status == 0x0000:
                self.acknowledged[uid] = hashlib.sha256(content).hexdigest()
            sender.release()
        return answer.status == 0x0000

    def tell(self, message: str) -> None:
        """Sends an HL7 message again until it is answered AA."""
        self._until(lambda: self._tell(message))

    def _tell(self, message: str) -> bool:
        with socket.create_connection(("127.0.0.1", self.running().hl7_port), 10) as connection:
            connection.sendall(framed(message.encode()))
            answer = connection.recv(65_536)
        control_id = message.split("|")[9]
        if f"MSA|AA|{control_id}".encode() not in answer:
            return False
        self.answered.append(control_id)
        return True

    def _until(self, attempt: Callable[[], bool]) -> None:
        for _ in range(TRIES_MAX):
            # AssertionError: the sender read something else than the answer, such as an abort.
            with suppress(OSError, AssertionError):
                if attempt():
                    return
            self._is_gone()
        raise AssertionError(f"not acknowledged in {TRIES_MAX} tries, see {self.folder}/log")

    # What came back

    def results(self, destination: str) -> Counter[tuple[str, str]]:
        """How many different objects of each (study, kind) a destination has.

        One that came twice must be the same to the bit: it is one object then.
        """
        contents: dict[str, set[Result]] = defaultdict(set)
        for result in self.destinations[destination].received:
            contents[result.sop_instance_uid].add(result)
        twins = [uid for uid, found in contents.items() if len(found) > 1]
        assert not twins, f"{destination} got different content under one UID: {twins}"
        return Counter((one.study_instance_uid, one.kind) for found in contents.values() for one in found)


@contextmanager
def a_hospital(folder: Path, database_url: str, cut: Cut) -> Iterator[Hospital]:
    """A hospital that is closed afterwards."""
    hospital = Hospital(folder, database_url, cut)
    try:
        yield hospital
    finally:
        hospital.close()


EARLIER = a_radiograph(patient_id="A1", issuer="ABC", days_ago=200, modality="CR", rows=32, columns=24)
TODAYS = tuple(
    a_radiograph(patient_id="A2", issuer="ABC", view=view, number=number, modality="CR", rows=32, columns=24)
    for number, view in enumerate(("PA", "LL"), start=1)
)
LATE = a_radiograph(patient_id="A2", issuer="ABC", number=3, modality="CR", rows=32, columns=24)
HAND = a_radiograph(
    patient_id="H1",
    body_part="HAND",
    study_description="XR HAND",
    modality="CR",
    rows=32,
    columns=24,
)
REPORT = an_oru(observed_at=f"{EARLIER.StudyDate}083000", patients="A1^^^ABC^MR", control_id="REPORT")
MERGE = (
    "MSH|^~\\&|HIS|CLINIC|PREREAD||20260302||ADT^A40^ADT_A39|MERGE|P|2.5.1\rEVN||20260302\r"
    "PID|1||A2^^^ABC^MR||Doe^Jane||19500101|F\rMRG|A1^^^ABC^MR\r"
)


def live_through(hospital: Hospital) -> None:
    """The life of several studies: a prior with its report, a merge, an exam with a late image, a hand."""
    hospital.send(EARLIER)
    hospital.until_it_is_quiet()
    hospital.tell(REPORT)
    hospital.tell(MERGE)
    hospital.send(*TODAYS, HAND)
    hospital.until_it_is_quiet()
    hospital.send(LATE)
    hospital.until_it_is_quiet()
    hospital.stop()


EXPECTED = {
    "pacs": Counter(
        {
            (str(EARLIER.StudyInstanceUID), "report_sr"): 1,
            (str(EARLIER.StudyInstanceUID), "presentation_state"): 1,
            (str(LATE.StudyInstanceUID), "report_sr"): 2,
            (str(LATE.StudyInstanceUID), "presentation_state"): 2,
        }
    ),
    "archive": Counter(
        {(str(EARLIER.StudyInstanceUID), "report_sr"): 1, (str(LATE.StudyInstanceUID), "report_sr"): 2}
    ),
}
"""What each destination has after any life: one object of each kind for each version of a study."""
