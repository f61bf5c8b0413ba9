"""The listener as a process of its own: quick to start, small whatever it is sent."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listener.conftest import a_cr, await_that
from tests.listener.wire import RawSender

pytestmark = pytest.mark.slow

MEGABYTES_MAX = 128
REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, threading
from pathlib import Path
from agent.cli.running import _without_decoders
with _without_decoders():  # as `preread serve` does
    from bench.listener import serve
serve(Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """(process, port) of a running listener."""
    from bench.listener import _free_port

    port = _free_port()
    running = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), str(port)], cwd=REPOSITORY)
    await_that(lambda: is_open(port), seconds=30)
    yield running, port
    running.terminate()
    assert running.wait(10) == 0


def is_open(port: int) -> bool:
    try:
        RawSender(port).socket.close()
    except ConnectionRefusedError:
        return False
    return True


def peak_megabytes(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def test_memory_stays_flat_whatever_the_size_of_the_images(
    process: tuple[subprocess.Popen[bytes], int],
) -> None:
    running, port = process
    senders = [RawSender(port).associate() for _ in range(4)]
    for number, sender in enumerate(senders):
        uid, small = a_cr(number)
        assert sender.store(small, uid).status == 0x0000
    before = peak_megabytes(running)

    for number, sender in enumerate(senders, start=10):
        uid, data = a_cr(number, rows=5000, columns=4000)
        assert sender.store(data, uid, pdu_bytes=131_072).status == 0x0000
    with RawSender(port).associate() as liar:
        liar.socket.sendall(b"\4\0" + (600_000_000).to_bytes(4, "big") + bytes(100_000))
        liar.read_pdu()

    for sender in senders:
        sender.release()
    assert peak_megabytes(running) - before < 15, "four buffers and little else"
    assert peak_megabytes(running) < MEGABYTES_MAX
