"""What goes through pynetdicom is answered before the next is read, so that nothing piles up."""

import struct
import threading

import pytest

from agent.admission import Sender
from agent.listener import Commitments
from agent.peers import CommitmentReport
from tests.listener.conftest import Inbox, StartListener, a_cr, await_that
from tests.listener.wire import (
    A_RELEASE_RQ,
    ABORT,
    CR,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE_RP,
    STORAGE_COMMITMENT,
    VERIFICATION,
    RawSender,
    command_set,
    dataset_pdus,
    echo_request,
    pdu,
    pdv,
    report_request,
)

ECHO = pdv(echo_request(), is_command=True, is_last=True)
REPORT = pdu(P_DATA, pdv(report_request(), is_command=True, is_last=True)) + b"".join(
    dataset_pdus(struct.pack("<HH2sH", 0x0008, 0x1195, b"UI", 4) + b"1.2\0", 16_000)
)


class Slow:
    """Takes reports, and answers none before it is told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.may_answer = threading.Event()

    def take(self, report: CommitmentReport, calling_ae_title: str) -> int:
        self.taken.append(report.transaction_uid)
        assert self.may_answer.wait(20)
        return 0x0000


def echoing(inbox: Inbox) -> RawSender:
    return RawSender(inbox.port).associate({1: (VERIFICATION, [IMPLICIT]), 3: (CR, [EXPLICIT])})


def waiting_messages(inbox: Inbox) -> int:
    return sum(one.assoc.dimse.msg_queue.qsize() for one in list(inbox.listener._gate._connected))


def test_a_flood_of_echoes_waits_in_the_network_and_each_is_answered(inbox: Inbox) -> None:
    with echoing(inbox) as sender:
        sender.socket.sendall(pdu(P_DATA, ECHO) * 500)

        for _ in range(500):
            assert waiting_messages(inbox) <= 1
            assert sender.answer().status == 0x0000


def test_what_comes_behind_an_echo_in_one_go_is_taken_after_its_answer(inbox: Inbox) -> None:
    uid, data = a_cr()

    with echoing(inbox) as sender:
        sender.socket.sendall(pdu(P_DATA, ECHO))
        assert sender.store(data, uid, context_id=3).status == sender.answer().status == 0x0000
        sender.socket.sendall(pdu(P_DATA, ECHO) + A_RELEASE_RQ)
        assert (sender.answer().status, sender.read_pdu()[0]) == (0x0000, RELEASE_RP)


def test_a_flood_of_reports_is_taken_one_after_the_other(start: StartListener) -> None:
    slow = Slow()
    inbox = start(commitments=Commitments((Sender("ARCH"),), slow.take))

    with RawSender(inbox.port).associate({1: (STORAGE_COMMITMENT, [EXPLICIT])}, calling="ARCH") as sender:
        sender.socket.sendall(REPORT * 50)
        await_that(lambda: bool(slow.taken))
        with echoing(inbox) as another:
            another.socket.sendall(pdu(P_DATA, ECHO) * 20)
            assert [another.answer().status for _ in range(20)] == [0x0000] * 20
        assert len(slow.taken) == 1

        slow.may_answer.set()
        assert [sender.answer().status for _ in range(50)] == [0x0000] * 50


@pytest.mark.slow
def test_two_requests_in_one_pdu_end_the_association(inbox: Inbox) -> None:
    with echoing(inbox) as sender:
        sender.socket.sendall(pdu(P_DATA, ECHO * 1000))

        kinds = {sender.read_pdu()[0], sender.read_pdu()[0]}

    assert ABORT in kinds
    assert inbox.the_refusal().reason.startswith("a request came in one PDU with another")


def test_a_request_that_gets_no_answer_holds_its_association_for_idle_seconds_only(
    start: StartListener,
) -> None:
    inbox = start(idle_seconds=0.3)
    without_message_id = command_set(
        [(0x0002, VERIFICATION.encode()), (0x0100, b"\x30\0"), (0x0800, b"\x01\x01")]
    )

    with echoing(inbox) as sender:
        sender.command(without_message_id)

        assert sender.read_pdu()[0] == ABORT
