"""Peers that break the rules: they are put out, what they began is gone, and everybody else goes on."""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.listener.conftest import Inbox, StartListener, a_cr, await_that
from tests.listener.wire import (
    A_ABORT,
    A_RELEASE_RQ,
    ABORT,
    CR,
    EXPLICIT,
    P_DATA,
    VERIFICATION,
    RawSender,
    associate_request,
    dataset_pdus,
    pdu,
    pdv,
    store_request,
)

pytestmark = pytest.mark.slow

UID, DATA = a_cr(rows=100, columns=100)
COMMAND = pdv(store_request(CR, UID), is_command=True, is_last=True)
FRAGMENT = pdv(DATA[:1000], is_command=False, is_last=False)
ECHO = store_request(VERIFICATION, "", has_dataset=False, field=0x0030)


def still_works(inbox: Inbox, number: int = 50) -> None:
    """Asserts that the next sender gets its object stored."""
    uid, data = a_cr(number)
    with RawSender(inbox.port).associate() as sender:
        assert sender.store(data, uid).status == 0x0000
        sender.release()


BREACHES = {
    "a dataset without a command": FRAGMENT,
    "a command in the middle of a dataset": COMMAND + FRAGMENT + COMMAND,
    "a context that was not accepted": pdv(
        store_request(CR, UID), context_id=9, is_command=True, is_last=True
    ),
    "another context in mid-message": COMMAND + pdv(DATA[:10], context_id=3, is_command=False, is_last=False),
    "a PDV longer than its PDU": struct.pack(">LBB", 5000, 1, 3) + b"short",
    "a PDV of length 0": struct.pack(">LBB", 0, 1, 3),
    "a PDV header cut off": b"\0\0\0",
    "a command of garbage": pdv(b"\xff" * 100, is_command=True, is_last=True),
    "an empty command": pdv(b"", is_command=True, is_last=True),
    "a command that never ends": pdv(bytes(16_000), is_command=True, is_last=False) * 2,
    "a message that is not offered": pdv(store_request(CR, UID, field=0x0020), is_command=True, is_last=True),
    "a response nobody asked for": pdv(store_request(CR, UID, field=0x8001), is_command=True, is_last=True),
    "a store without a dataset": pdv(
        store_request(CR, UID, has_dataset=False), is_command=True, is_last=True
    ),
    "an echo of a storage class": pdv(
        store_request(CR, "", has_dataset=False, field=0x0030), is_command=True, is_last=True
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_protocol_ends_the_association_and_is_written_down(inbox: Inbox, breach: str) -> None:
    with RawSender(inbox.port).associate({1: (CR, [EXPLICIT]), 3: (VERIFICATION, [EXPLICIT])}) as sender:
        sender.socket.sendall(pdu(P_DATA, BREACHES[breach]))
        assert sender.read_pdu()[0] == ABORT

    assert inbox.the_refusal().status is None
    still_works(inbox)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\0" * 100,
        b"\x09" * 6,
        b"\x08\0\0\0\0\4abcd",
    ],
)
def test_another_protocol_on_the_port_is_put_out(inbox: Inbox, content: bytes) -> None:
    with RawSender(inbox.port) as sender:
        sender.socket.sendall(content)
        assert sender.read_pdu()[0] in (ABORT, 0)

    assert "another protocol" in inbox.the_refusal().reason
    still_works(inbox)


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07])
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 80, bytes(300)])
def test_a_mutilated_pdu_before_negotiation_is_put_out(inbox: Inbox, kind: int, content: bytes) -> None:
    with RawSender(inbox.port) as sender:
        sender.socket.sendall(pdu(kind, content))
        assert sender.read_pdu()[0] in (ABORT, 0, 3)

    still_works(inbox)


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03, 0x06])
def test_a_pdu_that_has_no_place_in_an_association_ends_it(inbox: Inbox, kind: int) -> None:
    content = associate_request({1: (CR, [EXPLICIT])}, "A", "PREREAD")[6:] if kind == 1 else bytes(100)
    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(pdu(kind, content))
        assert sender.read_pdu()[0] == ABORT

    still_works(inbox)


def test_600_megabytes_announced_before_negotiation_are_not_read(inbox: Inbox) -> None:
    announced = struct.pack(">BxL", 1, 600_000_000)
    with RawSender(inbox.port) as sender:
        sender.socket.sendall(announced + bytes(1000))
        assert sender.read_pdu()[0] in (ABORT, 0)

    assert (
        inbox.the_refusal().reason == "a PDU of type 01H announces 600000000 bytes, 131072 are allowed here"
    )
    still_works(inbox)


def test_600_megabytes_in_one_pdu_are_not_read(inbox: Inbox) -> None:
    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(struct.pack(">BxL", P_DATA, 600_000_000) + bytes(1000))
        assert sender.read_pdu()[0] in (ABORT, 0)

    assert (
        inbox.the_refusal().reason == "a PDU of type 04H announces 600000000 bytes, 131072 are allowed here"
    )
    still_works(inbox)


def test_a_pdu_longer_than_agreed_upon_is_not_read(start: StartListener) -> None:
    inbox = start(pdu_bytes_max=16_384)

    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(pdu(P_DATA, bytes(16_385)))
        assert sender.read_pdu()[0] in (ABORT, 0)

    assert inbox.the_refusal().reason == "a PDU of type 04H announces 16385 bytes, 16384 are allowed here"


def test_an_abort_from_a_source_that_does_not_exist_ends_the_association(inbox: Inbox) -> None:
    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(struct.pack(">BxLBBBB", ABORT, 4, 0, 0, 24, 0))
        assert sender.read_pdu()[0] in (ABORT, 0)

    assert inbox.the_refusal().reason == "a PDU of type 07H cannot be decoded: ValueError"
    still_works(inbox)


ENDINGS: dict[str, Callable[[RawSender], None]] = {
    "abort": lambda sender: sender.socket.sendall(A_ABORT),
    "release": lambda sender: sender.socket.sendall(A_RELEASE_RQ),
    "close": lambda sender: sender.socket.close(),
    "reset": lambda sender: (
        sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        sender.socket.close(),
    )[0],
    "half of a PDU": lambda sender: (
        sender.socket.sendall(struct.pack(">BxL", P_DATA, 500)),
        sender.socket.close(),
    )[0],
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_association_that_ends_in_mid_object_leaves_nothing_behind(inbox: Inbox, ending: str) -> None:
    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(pdu(P_DATA, COMMAND) + dataset_pdus(DATA, 4096)[0])
        await_that(lambda: len(inbox.part_files()) == 1)
        ENDINGS[ending](sender)
        refusal = inbox.the_refusal()

    assert (refusal.sop_instance_uid, refusal.status) == (UID, None)
    assert "in the middle of an object" in refusal.reason
    assert inbox.index.known(UID) is None
    await_that(lambda: inbox.part_files() == [])
    still_works(inbox)


def test_a_sender_that_stops_in_mid_pdu_is_put_out_while_others_get_through(start: StartListener) -> None:
    inbox = start(stall_seconds=0.6, idle_seconds=30)

    with RawSender(inbox.port).associate() as stalled:
        stalled.socket.sendall(pdu(P_DATA, COMMAND) + dataset_pdus(DATA, 4096)[0][:2000])
        still_works(inbox)
        assert stalled.read_pdu()[0] == ABORT

    assert "stopped in the middle of a message for stall_seconds = 0.6" in inbox.the_refusal().reason
    await_that(lambda: inbox.part_files() == [])


def test_a_sender_that_drips_is_put_out_all_the_same(start: StartListener) -> None:
    inbox = start(stall_seconds=0.5, idle_seconds=30)

    with RawSender(inbox.port).associate() as sender:
        sender.socket.settimeout(0.1)
        began = time.monotonic()
        reply = b""
        sender.socket.sendall(struct.pack(">BxL", P_DATA, 10_000))
        while not reply and time.monotonic() - began < 10:
            sender.socket.sendall(b"\0")
            try:
                reply = sender.socket.recv(1)
            except TimeoutError:
                continue

    assert reply == bytes([ABORT])


def test_a_connection_that_asks_for_nothing_is_closed(start: StartListener) -> None:
    inbox = start(negotiation_seconds=0.3)

    with RawSender(inbox.port) as sender:
        assert sender.read_pdu() == (0, b"")

    assert inbox.refusals() == (), "a port check is no sender"


def test_half_an_association_request_is_put_out(start: StartListener) -> None:
    inbox = start(negotiation_seconds=0.3)

    with RawSender(inbox.port) as sender:
        sender.socket.sendall(associate_request({1: (CR, [EXPLICIT])}, "A", "PREREAD")[:50])
        assert sender.read_pdu() == (0, b"")

    assert "negotiation_seconds = 0.3" in inbox.the_refusal().reason


def test_an_idle_association_is_aborted_in_the_end(start: StartListener) -> None:
    inbox = start(idle_seconds=0.4)

    with RawSender(inbox.port).associate() as sender:
        assert sender.read_pdu()[0] == ABORT

    assert inbox.refusals() == ()


def test_a_peer_that_does_not_close_after_its_release_is_closed(inbox: Inbox) -> None:
    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(A_RELEASE_RQ)
        assert sender.read_pdu()[0] == 6
        assert sender.read_pdu() == (0, b"")


def test_connections_leave_no_threads_and_no_descriptors_behind(inbox: Inbox) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    still_works(inbox)
    await_that(lambda: open_descriptors() < 1000)
    before = open_descriptors()
    for number in range(10):
        still_works(inbox, 60 + number)
        with RawSender(inbox.port) as sender:
            sender.socket.sendall(b"garbage\0")

    await_that(lambda: open_descriptors() <= before + 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), where=st.sampled_from(["before", "inside", "dataset"]))
def test_no_bytes_at_all_can_hang_or_end_the_listener(inbox: Inbox, content: bytes, where: str) -> None:
    with RawSender(inbox.port) as sender:
        if where != "before":
            sender.associate()
        sender.socket.sendall(pdu(P_DATA, COMMAND + content) if where == "dataset" else content)
        sender.socket.shutdown(socket.SHUT_WR)
        while sender.read_pdu() != (0, b""):
            pass


def test_the_listener_works_after_all_of_that(inbox: Inbox) -> None:
    for breach in BREACHES.values():
        with RawSender(inbox.port).associate() as sender:
            sender.socket.sendall(pdu(P_DATA, breach))

    still_works(inbox)
