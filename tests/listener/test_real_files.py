"""Every file of the collection of real, malformed and fuzzed ones, sent as it is."""

import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.listener.conftest import Inbox, StartListener
from tests.listener.wire import CR, IMPLICIT, Answer, RawSender
from tests.real_data import real_data

ANSWERS = {0x0000, 0x0111, 0x0117, 0x0122, 0xA700, 0xA900, 0xC000}
SECONDS_MAX = 15.0


@dataclass(frozen=True)
class Claim:
    """What a file says it is, and the bytes behind its file meta."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


def claim(path: Path) -> Claim:
    """Reads a file meta as far as it goes; a file without one is sent whole, as an implicit CR."""
    file = path.read_bytes()
    offset = 132 if file[128:132] == b"DICM" else 0
    found: dict[int, str] = {}
    while file[offset : offset + 2] == b"\2\0" and len(file) >= offset + 12:
        number, vr, length = struct.unpack_from("<H2sH", file, offset + 2)
        start = offset + 8
        if vr in (b"OB", b"UN"):
            length, start = struct.unpack_from("<L", file, offset + 8)[0], offset + 12
        found[number] = file[start : start + length].decode("latin-1").strip("\0 ")
        offset = min(start + length, len(file))
    return Claim(
        found.get(0x0002) or CR, found.get(0x0003) or "1.2.3", found.get(0x0010) or IMPLICIT, file[offset:]
    )


def send(inbox: Inbox, what: Claim) -> tuple[Answer, str]:
    """Sends it in the context it claims, or else as a CR, or else as an implicit CR; says in which."""
    contexts = {1: (what.sop_class_uid, [what.transfer_syntax_uid]), 3: (CR, [what.transfer_syntax_uid])}
    with RawSender(inbox.port).associate(contexts | {5: (CR, [IMPLICIT])}) as sender:
        context_id = min(sender.accepted)
        sop_class_uid = what.sop_class_uid if context_id == 1 else CR
        answer = sender.store(
            what.dataset,
            what.sop_instance_uid,
            sop_class_uid=sop_class_uid,
            context_id=context_id,
            pdu_bytes=131_072,
        )
        sender.release()
    return answer, {1: "as claimed", 3: "as CR", 5: "as implicit CR"}[context_id]


@pytest.mark.data
def test_each_real_file_ends_stored_or_refused(
    start: StartListener, capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = start()
    paths = sorted(path for path in real_data("dicom").glob("*/*") if path.is_file())
    tally: Counter[tuple[str, str]] = Counter()
    for path in paths:
        what, began = claim(path), time.monotonic()
        try:
            answer, way = send(inbox, what)
        except (ValueError, struct.error) as error:  # a UID that no association request can hold
            tally["not sendable", type(error).__name__] += 1
            continue

        assert answer.status in ANSWERS, path
        assert time.monotonic() - began < SECONDS_MAX, path
        if answer.status == 0x0000:
            assert inbox.dataset_bytes(what.sop_instance_uid) == what.dataset, path
        tally[way, f"{answer.status:04X}"] += 1

    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    assert inbox.part_files() == []
    assert tally["as claimed", "0000"] > 20
    assert tally.total() == len(paths)
    print(dict(tally))
