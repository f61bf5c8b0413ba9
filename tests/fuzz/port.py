"""A real `preread serve` under siege: after each batch it works as before, is small, and has nothing left over."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.end_to_end.conftest import free_port
from tests.fuzz.siege import ATTACKS, Connection
from tests.listener.conftest import a_cr
from tests.listener.wire import RawSender

BATCH = 500
AT_ONCE = 16
CALM_SECONDS = 20.0
START_SECONDS = 60.0
RESIDENT_MEGABYTES_MAX = 400
THREADS_MAX, DESCRIPTORS_MAX = 20, 135
"""Of a `serve` at rest, with the database connections (3 descriptors each) and the idle threads that it keeps. SQLite
keeps one descriptor more for each connection that was ever open beside others, 95 at most."""
REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG = """
[listener]
port = {port}
instance_bytes_max = 4000000
negotiation_seconds = 1
stall_seconds = 1
idle_seconds = 2
free_bytes_min = 0
[hl7]
port = {mllp_port}
message_seconds = 1
idle_seconds = 2
message_bytes_max = 1000000
[storage]
folder = "../state"
[log]
file = "{folder}/preread.log"
format = "json"
"""


@dataclass(slots=True)
class Siege:
    """What came of it."""

    associations: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    peak_megabytes: int = 0
    first_megabytes: int = 0
    last_megabytes: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        ended = ", ".join(f"{count} {how}" for how, count in self.ended.most_common())
        return (
            f"{self.associations} hostile connections in {self.seconds:.0f} s ({ended}); resident "
            f"{self.first_megabytes} MB before, {self.last_megabytes} MB after, {self.peak_megabytes} MB at most; "
            f"{len(self.failures)} failures"
        )


@dataclass(frozen=True, slots=True)
class _Serving:
    process: subprocess.Popen[bytes]
    port: int
    mllp_port: int
    folder: Path

    def status(self, key: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("preread.*"))


def besiege(associations: int, seed: int) -> Siege:
    """Attacks a `serve` of its own so many times; stops at the first batch after which something is wrong."""
    siege, began = Siege(), time.monotonic()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        serving = _serve(Path(folder))
        try:
            _attack(serving, siege, associations, seed)
        finally:
            serving.process.send_signal(signal.SIGTERM)
            if serving.process.wait(60) != 0:
                siege.failures.append(f"serve ended with {serving.process.returncode}")
        if "Traceback" in serving.log():
            log = serving.log()
            at = log.index("Traceback")
            siege.failures.append(f"a traceback in the log: {log[max(0, at - 300) : at + 3000]}")
    siege.seconds = time.monotonic() - began
    return siege


def _attack(serving: _Serving, siege: Siege, associations: int, seed: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        siege.first_megabytes = serving.status("VmRSS") // 1024
        while siege.associations < associations and not siege.failures:
            numbers = range(siege.associations, min(siege.associations + BATCH, associations))
            siege.ended.update(pool.map(lambda number: _one(serving, seed, number), numbers))
            siege.associations += len(numbers)
            _check(serving, siege)


def _one(serving: _Serving, seed: int, number: int) -> str:
    """One attack; says how it ended for the attacker."""
    random = Random(f"siege/{seed}/{number}")
    (attack,) = random.choices(list(ATTACKS), list(ATTACKS.values()))
    connection = Connection(random, serving.port, serving.mllp_port)
    try:
        attack(connection)
    except TimeoutError:
        return f"{attack.__name__} without an answer"
    except (OSError, AssertionError):
        return "cut off or refused"
    finally:
        connection.close()
    return "carried through"


def _check(serving: _Serving, siege: Siege) -> None:
    """The honest peer gets in and has its object stored; nothing is left of the others."""
    if serving.process.poll() is not None:
        siege.failures.append(f"serve has ended with {serving.process.returncode}")
        return
    number = siege.associations
    problems = {
        f"after {number}: an honest sender got nothing stored": lambda: _is_served(serving.port, number),
        f"after {number}: threads are left over": lambda: serving.status("Threads") <= THREADS_MAX,
        f"after {number}: descriptors are left over": lambda: serving.descriptors() <= DESCRIPTORS_MAX,
    }
    siege.failures += [problem for problem, is_well in problems.items() if not _becomes(is_well)]
    siege.last_megabytes = serving.status("VmRSS") // 1024
    siege.peak_megabytes = serving.status("VmHWM") // 1024
    if siege.peak_megabytes > RESIDENT_MEGABYTES_MAX:
        siege.failures.append(f"after {number}: {siege.peak_megabytes} MB resident")
    if "without an answer" in "".join(siege.ended):
        siege.failures.append(f"after {number}: {dict(siege.ended)}")


def _is_served(port: int, number: int) -> bool:
    uid, data = a_cr(10**6 + number)
    try:
        with RawSender(port).associate() as sender:
            is_stored = sender.store(data, uid).status == 0x0000
            sender.release()
            return is_stored
    except (OSError, AssertionError):  # the places of those before are perhaps not free yet
        return False


def _becomes(is_so: Callable[[], bool], seconds: float = CALM_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _serve(folder: Path) -> _Serving:
    port, mllp_port = free_port(), free_port()
    (folder / "config").mkdir()
    text = CONFIG.format(port=port, mllp_port=mllp_port, folder=folder)
    (folder / "config" / "agent.toml").write_text(text)
    (folder / "config" / "reading.toml").write_text(
        "[reader]\nchild = false\n[study]\nsettle_seconds = 3600\n"
    )
    with (folder / "preread.stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "serve", "--config", str(folder / "config")],
            cwd=REPOSITORY,
            stderr=errors,
        )
    serving = _Serving(process, port, mllp_port, folder)
    assert _becomes(lambda: _is_served(port, 0), START_SECONDS), serving.log()
    return serving
