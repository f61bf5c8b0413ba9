"""Images per second into preread's listener, Orthanc and dcmtk's storescp, in one interleaved run.

The sender is always dcmtk's storescu. Each round sends the same images under new SOP Instance UIDs to each
receiver in turn, so that a slow minute of the machine hits all; the table has the medians of the rounds.
preread's listener is the only one that answers after an fsync of file, folder and index row. A last row says what
the disk gives to a program that keeps files of these sizes likewise and does nothing else.

    python -m bench.listener [--quick] [--out FILE]
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from threading import Timer

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

STORESCU = "/usr/bin/storescu"
STORESCP = "/usr/bin/storescp"
ORTHANC = "/usr/sbin/Orthanc"
AE_TITLE = "PREREAD"
PDU_BYTES_MAX = 131_072
START_SECONDS_MAX = 20.0
RUN_SECONDS_MAX = 60.0
# Patched in place for each round, so it keeps its length.
_UID = "1.2.826.0.1.3680043.10.999.1%011d"
_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_CR = "1.2.840.10008.5.1.4.1.1.1"
_DISK_ALONE = "the disk alone"


@dataclass(frozen=True)
class Scenario:
    """One column of the table: what is sent, by how many associations at once, in which PDUs."""

    modality: str
    side_px: int
    images: int
    associations: int
    pdu_bytes: int

    @property
    def title(self) -> str:
        megabytes = self.side_px**2 * 2 / 1e6
        return f"{self.modality} {megabytes:.2g} MB, {self.associations} assoc., {self.pdu_bytes // 1024} KB"


@dataclass(frozen=True)
class Receiver:
    """A program that takes images: how it is started in an empty folder on a port."""

    name: str
    durable: str
    command: Callable[[Path, int], list[str]]


def main() -> None:
    """Runs the bench and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round, 128 KB PDUs only: under 40 seconds")
    parser.add_argument("--out", type=Path, help="write the table there too")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), int(arguments.serve[1]))
        return
    receivers = [receiver for receiver in RECEIVERS if _is_installed(receiver)]
    results, peak_rss_mb = measure(receivers, scenarios(arguments.quick), rounds=1 if arguments.quick else 3)
    table = render(receivers, results, peak_rss_mb)
    sys.stdout.write(table)
    if arguments.out:
        arguments.out.write_text(table, encoding="utf-8")


def scenarios(is_quick: bool) -> list[Scenario]:
    """What is measured."""
    pdus = (131_072,) if is_quick else (16_384, 131_072)
    # So many that starting four senders is a small part of the time.
    images = (8, 80) if is_quick else (16, 320)
    return [
        Scenario(modality, side_px, count, associations, pdu_bytes)
        for (modality, side_px), count in zip((("DX", 2240), ("CR", 512)), images, strict=True)
        for associations in (1, 4)
        for pdu_bytes in pdus
    ]


def measure(
    receivers: list[Receiver], plan: list[Scenario], rounds: int
) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """({(receiver, scenario title): images per second}, {receiver: peak RSS in MB})."""
    results: dict[tuple[str, str], float] = {}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="preread-bench-") as top:
        for number, scenario in enumerate(plan):
            folder = Path(top) / str(number)
            rates, held = _one_scenario(receivers, scenario, rounds, folder, serial=number * 1_000_000)
            results |= {(name, scenario.title): median(rate) for name, rate in rates.items()}
            peaks = {name: max(peaks.get(name, 0.0), megabytes) for name, megabytes in held.items()}
            _empty_files(folder)
    return results, peaks


def _one_scenario(
    receivers: list[Receiver], scenario: Scenario, rounds: int, folder: Path, serial: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """({receiver: images per second of each round}, {receiver: peak RSS in MB})."""
    images = write_images(folder / "images", scenario)
    with ExitStack() as stack:
        running = {receiver.name: stack.enter_context(started(receiver, folder)) for receiver in receivers}
        rates: dict[str, list[float]] = {name: [] for name in [*running, _DISK_ALONE]}
        for turn in range(rounds):
            for receiver in receivers:
                serial = rename_instances(images, serial)
                rates[receiver.name].append(send(images, scenario, running[receiver.name][1]))
            rates[_DISK_ALONE].append(keep(folder / f"disk-{turn}", images, scenario.associations))
        held = {name: peak_rss_mb(process.pid) for name, (process, _) in running.items()}
    return rates, held


def _empty_files(folder: Path) -> None:
    """Frees their space and leaves the files: where ext4 makes new ones, it steps over those just removed.

    Removed after each scenario, they cost preread 0.2 to 0.4 ms for each image of the next.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def keep(folder: Path, images: list[Path], threads: int) -> float:
    """Images per second that the disk takes, each with an fsync of file and folder: no network, no index."""
    from storage.files import Files

    files = Files(folder)
    files.make_folders(folder / f"{number:02x}" for number in range(256))
    content = images[0].read_bytes()
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(files.put, f"{n % 256:02x}/{n}.dcm", content) for n in range(len(images))]:
            done.result()
    return len(images) / (time.perf_counter() - began)


def send(images: list[Path], scenario: Scenario, port: int) -> float:
    """Images per second of one sending of all images, spread over the scenario's associations."""
    shares = [images[number :: scenario.associations] for number in range(scenario.associations)]
    options = ["-R", "-aec", AE_TITLE, "--max-send-pdu", str(scenario.pdu_bytes), "127.0.0.1", str(port)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen([STORESCU, *options, *map(str, share)], env=_environment()) for share in shares
    ]
    # Not `wait` with a limit: that looks at longer and longer intervals, up to 50 ms.
    limit = Timer(RUN_SECONDS_MAX, lambda: [sender.kill() for sender in senders])
    limit.start()
    codes = [sender.wait() for sender in senders]
    seconds = time.perf_counter() - began
    limit.cancel()
    if any(codes):
        raise RuntimeError(f"storescu ended with {codes} at {scenario.title}, port {port}")
    return len(images) / seconds


# --- images -----------------------------------------------------------------------------------


def write_images(folder: Path, scenario: Scenario) -> list[Path]:
    """Writes the scenario's images, one of random pixels, the rest of the same with other UIDs."""
    folder.mkdir(parents=True)
    pixels = random.Random(scenario.side_px).randbytes(scenario.side_px**2 * 2)
    paths = []
    for number in range(scenario.images):
        path = folder / f"{number:04d}.dcm"
        an_image(scenario, pixels, number).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def an_image(scenario: Scenario, pixels: bytes, number: int) -> Dataset:
    """A radiograph with the attributes a modality sends, and random pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = _DX if scenario.modality == "DX" else _CR
    image.SOPInstanceUID = _UID % number
    image.StudyInstanceUID = f"1.2.826.0.1.3680043.10.999.2.{number // 2}"
    image.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.999.3.{number // 2}"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
        "Bench^Listener",
        "B1",
        "19600101",
        "O",
    )
    image.StudyDate, image.StudyTime, image.AccessionNumber = "20260302", "101500", "A1"
    image.Modality, image.ViewPosition, image.BodyPartExamined = scenario.modality, "PA", "CHEST"
    image.PhotometricInterpretation, image.SamplesPerPixel, image.PixelRepresentation = "MONOCHROME2", 1, 0
    image.Rows = image.Columns = scenario.side_px
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = pixels
    image["PixelData"].VR = "OW"
    return image


def rename_instances(images: list[Path], serial: int) -> int:
    """Gives each file a new SOP Instance UID, in both places where it stands; returns the next serial."""
    for path in images:
        serial += 1
        new = (_UID % serial).encode()
        with path.open("r+b") as file:
            head = file.read(2048)
            for at in _places(head, (_UID % 0)[:-11].encode()):
                file.seek(at)
                file.write(new)
    return serial


def _places(head: bytes, prefix: bytes) -> Iterator[int]:
    at = head.find(prefix)
    while at >= 0:
        yield at
        at = head.find(prefix, at + 1)


# --- receivers --------------------------------------------------------------------------------


def serve(folder: Path, port: int) -> None:
    """preread's listener and nothing else, until SIGTERM; in a process of its own."""
    import threading

    from agent.listener import Listener
    from config.settings import ListenerSettings
    from storage.database import connect
    from storage.files import Files
    from storage.index import Index

    _log_quietly()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    database = connect(f"sqlite:///{folder / 'preread.sqlite'}")
    listener = Listener(
        listener=ListenerSettings(port=port, free_bytes_min=0),
        ae_title=AE_TITLE,
        senders=(),
        files=Files(folder / "files"),
        index=Index(database),
        clock=lambda: datetime.now(UTC),  # noqa: TID251 - a program of its own, with the system's clock
    )
    listener.start()
    stopping.wait()
    listener.stop(1.0)
    database.close()


def _log_quietly() -> None:
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _preread(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "bench.listener", "--serve", str(folder), str(port)]


def _orthanc(folder: Path, port: int) -> list[str]:
    settings = {
        "Name": "BENCH",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "HttpServerEnabled": False,
        "SyncStorageArea": True,
        "MaximumPduLength": PDU_BYTES_MAX,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    return [ORTHANC, str(folder / "orthanc.json")]


def _storescp(*options: str) -> Callable[[Path, int], list[str]]:
    return lambda folder, port: [
        STORESCP, "--fork", *options, "-aet", AE_TITLE, "-pdu", str(PDU_BYTES_MAX), "-od", str(folder),
        str(port),
    ]  # fmt: skip


RECEIVERS = [
    Receiver("preread", "fsync of file, folder and row", _preread),
    Receiver("Orthanc, SyncStorageArea", "fsync of file, index", _orthanc),
    Receiver("dcmtk storescp", "no", _storescp()),
    Receiver("dcmtk storescp +B", "no", _storescp("+B")),
]


def _is_installed(receiver: Receiver) -> bool:
    program = {"preread": sys.executable, "Orthanc, SyncStorageArea": ORTHANC}.get(receiver.name, STORESCP)
    return os.access(program, os.X_OK)


@contextmanager
def started(receiver: Receiver, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The receiver's process and its port, ready; ended with the block."""
    home = folder / receiver.name.replace(" ", "-")
    home.mkdir()
    port = _free_port()
    with (home / "log").open("wb") as output:
        command = receiver.command(home, port)
        process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment())
    try:
        _await_port(port, process)
        yield process, port
    finally:
        process.terminate()
        process.wait(START_SECONDS_MAX)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args} did not open port {port}") from None
            time.sleep(0.05)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    # Without it each answer of dcmtk and Orthanc waits 40 ms for a delayed acknowledgement.
    return {**os.environ, "TCP_NODELAY": "1"}


def peak_rss_mb(pid: int) -> float:
    """Says the most memory that a process has held since it began its program."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


# --- the table --------------------------------------------------------------------------------


def render(
    receivers: list[Receiver], results: dict[tuple[str, str], float], peak_rss_mb: dict[str, float]
) -> str:
    """A Markdown table, images per second."""
    titles = list(dict.fromkeys(title for _, title in results))
    lines = [
        "| images/s | " + " | ".join(titles) + " | peak RSS, MB | durable |",
        "|---" * (len(titles) + 3) + "|",
    ]
    for receiver in receivers:
        rates = " | ".join(f"{results[receiver.name, title]:.0f}" for title in titles)
        # storescp forks for each association: its own process says nothing about memory.
        peak = "" if "storescp" in receiver.name else f"{peak_rss_mb[receiver.name]:.0f}"
        lines.append(f"| {receiver.name} | {rates} | {peak} | {receiver.durable} |")
    rates = " | ".join(f"{results[_DISK_ALONE, title]:.0f}" for title in titles)
    lines.append(f"| {_DISK_ALONE} | {rates} |  | fsync of file and folder |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
