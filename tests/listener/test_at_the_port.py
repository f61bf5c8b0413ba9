"""Who may come in, how many at once, and what is agreed upon."""

import socket
from dataclasses import dataclass

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage
from structlog.testing import capture_logs

from agent.listener.gate import Gate
from agent.listener.turned_away import TurnedAway
from config.peers_settings import SenderSettings
from storage.audits import Audits
from tests.listener.conftest import Inbox, StartListener, a_cr, await_that
from tests.listener.wire import ABORT, ASSOCIATE_RJ, CR, EXPLICIT, RawSender, associate_request

pytestmark = pytest.mark.slow

SENDERS = (
    SenderSettings(ae_title="ROOM_3", addresses=("127.0.0.0/8",)),
    SenderSettings(ae_title="ELSEWHERE", addresses=("192.0.2.7",)),
)


def rejection(inbox: Inbox, calling: str, called: str) -> tuple[int, int, int]:
    """(result, source, reason) of the rejection of an association (PS3.8 Table 9-21)."""
    with RawSender(inbox.port) as sender:
        sender.socket.sendall(associate_request({1: (CR, [EXPLICIT])}, calling, called))
        kind, content = sender.read_pdu()
    assert kind == ASSOCIATE_RJ
    return content[1], content[2], content[3]


def test_a_known_sender_from_its_address_is_welcome(start: StartListener) -> None:
    inbox = start(senders=SENDERS)

    with RawSender(inbox.port).associate(calling="ROOM_3") as sender:
        assert sender.store(*reversed(a_cr())).status == 0x0000


def test_an_unknown_calling_ae_title_is_rejected(start: StartListener) -> None:
    inbox = start(senders=SENDERS)

    assert rejection(inbox, "STRANGER", "PREREAD") == (1, 1, 3)
    assert inbox.the_refusal().reason.startswith('calling AE title "STRANGER" is not known here')


def test_a_known_sender_from_another_address_is_rejected(start: StartListener) -> None:
    inbox = start(senders=SENDERS)

    assert rejection(inbox, "ELSEWHERE", "PREREAD") == (1, 1, 3)
    assert inbox.the_refusal().reason.startswith('"ELSEWHERE" may not send from 127.0.0.1')


def test_an_association_for_somebody_else_is_rejected(inbox: Inbox) -> None:
    assert rejection(inbox, "ROOM_3", "ARCHIVE") == (1, 1, 7)
    assert inbox.the_refusal().reason.startswith('called AE title is "ARCHIVE", ours is "PREREAD"')


def test_an_image_keeps_the_one_of_our_ae_titles_that_it_was_sent_to(start: StartListener) -> None:
    inbox = start(also_called=("BEDSIDE",))

    uid, data = a_cr()

    with RawSender(inbox.port).associate(called="BEDSIDE") as sender:
        assert sender.store(data, uid).status == 0x0000

    assert inbox.index.known(uid).called_ae_title == "BEDSIDE"


def test_nobody_asks_for_the_called_ae_title_if_told_not_to(start: StartListener) -> None:
    inbox = start(check_called_ae_title=False)

    with RawSender(inbox.port).associate(called="ARCHIVE") as sender:
        assert sender.store(*reversed(a_cr())).status == 0x0000


def test_the_association_above_the_limit_is_rejected_for_now_and_a_free_place_taken(
    start: StartListener,
) -> None:
    inbox = start(associations_max=2)
    first, second = RawSender(inbox.port).associate(), RawSender(inbox.port).associate()

    assert rejection(inbox, "ROOM_3", "PREREAD") == (2, 3, 2)
    first.release()
    with RawSender(inbox.port).associate() as third:
        assert third.store(*reversed(a_cr())).status == 0x0000

    second.release()
    assert inbox.the_refusal().reason == "associations_max = 2 of agent.toml are open already"


def test_associations_one_after_the_other_never_meet_the_limit(start: StartListener) -> None:
    inbox = start(associations_max=1)

    for _ in range(20):
        RawSender(inbox.port).associate().release()

    assert inbox.refusals() == ()


def test_connections_that_say_nothing_take_no_association_away(start: StartListener) -> None:
    inbox = start(associations_max=1, negotiation_seconds=30)
    silent = [RawSender(inbox.port) for _ in range(5)]

    with RawSender(inbox.port).associate() as sender:
        assert sender.store(*reversed(a_cr())).status == 0x0000

    for connection in silent:
        connection.socket.close()


def test_a_port_that_several_addresses_have_filled_takes_in_who_comes_all_the_same(
    start: StartListener,
) -> None:
    inbox = start(associations_max=1, negotiation_seconds=30)
    silent = [come_from(inbox, f"127.0.0.{2 + number % 2}") for number in range(18)]

    with come_from(inbox, "127.0.0.4").associate() as sender:
        assert sender.store(*reversed(a_cr())).status == 0x0000

    for connection in silent:
        connection.socket.close()


def test_what_had_to_go_from_a_full_port_is_told_with_its_address(start: StartListener) -> None:
    inbox = start(associations_max=1, negotiation_seconds=30)

    with capture_logs() as logs:
        silent = [come_from(inbox, f"127.0.0.{2 + number % 2}") for number in range(19)]
        await_that(lambda: any(line["event"] == "connection closed at once" for line in logs))

    (told,) = (line for line in logs if line["event"] == "connection closed at once")
    assert told["reason"].startswith("the port was full, and of all connections this one")
    assert told["address"] in ("127.0.0.2", "127.0.0.3")
    for connection in silent:
        connection.socket.close()


@dataclass(eq=False)
class Waiting:
    """A connection as the gate sees it."""

    address: str
    is_cut: bool = False

    def hurry(self) -> None:
        raise AssertionError("nobody stops")

    def cut(self) -> None:
        self.is_cut = True


def test_who_has_been_in_no_association_for_longest_goes_first_and_an_association_never() -> None:
    gate = Gate(1)
    connections = [Waiting(f"192.0.2.{number}") for number in range(19)]
    for connection in connections:
        assert gate.open_connection(connection.address) == ""
        gate.know(connection)
    first, second = connections[:2]
    assert gate.enter(first)

    assert gate.make_room() == second.address
    gate.close_connection(second.address, second)
    assert gate.make_room() == ""

    assert [one for one in connections if one.is_cut] == [second]


def test_the_wait_of_who_was_in_an_association_begins_when_that_ends() -> None:
    gate = Gate(1)
    connections = [Waiting(f"192.0.2.{number}") for number in range(19)]
    for connection in connections:
        gate.open_connection(connection.address)
        gate.know(connection)
    gate.enter(connections[0])
    gate.leave(connections[0])

    assert gate.make_room() == connections[1].address


def test_the_number_of_connections_is_limited_even_if_nobody_can_be_cut() -> None:
    gate = Gate(1)

    taken = [gate.open_connection(f"192.0.2.{number}") for number in range(27)]

    assert (taken[:26], taken[26]) == ([""] * 26, "26 connections are open already")
    assert gate.make_room() == ""


def test_an_address_that_takes_all_it_can_leaves_the_others_every_association(start: StartListener) -> None:
    inbox = start(associations_max=2, negotiation_seconds=30)
    silent = [come_from(inbox, "127.0.0.2") for _ in range(20)]
    assert sum(map(is_closed, silent[16:])) == 4

    open_ones = [come_from(inbox, "127.0.0.1").associate() for _ in range(2)]

    for connection in (*silent, *open_ones):
        connection.socket.close()
    await_that(lambda: can_associate(inbox, "127.0.0.2"))


def test_whom_no_entry_allows_holds_no_place_and_is_listed_once(start: StartListener) -> None:
    inbox = start(senders=SENDERS[1:])

    with capture_logs() as logs:
        for _ in range(30):
            with RawSender(inbox.port) as stranger:
                assert is_closed(stranger)

    assert inbox.the_refusal().reason.startswith("nobody may send from 127.0.0.1. If somebody may, add it")
    assert [line["event"] for line in logs if line["event"] != "refused"] == ["connection closed at once"]


def test_an_archive_whose_addresses_nobody_knows_keeps_the_port_open_to_all(start: StartListener) -> None:
    inbox = start(senders=SENDERS[1:], archives=(SenderSettings(ae_title="ARCH"),))

    assert rejection(inbox, "STRANGER", "PREREAD") == (1, 1, 3)


def test_what_is_closed_at_once_is_one_line_a_minute_with_a_count():
    turned_away = TurnedAway()

    with capture_logs() as logs:
        for second in range(121):
            turned_away.tell("192.0.2.7", "66 connections are open already", float(second))

    assert [line["connections"] for line in logs] == [1, 60, 60]


def test_a_flood_of_addresses_is_listed_a_thousand_times_an_hour():
    turned_away = TurnedAway()

    listed = [turned_away.is_new(f"2001:db8::{number:x}", 0.0) for number in range(2000)]

    assert sum(listed) == 1000
    assert [turned_away.is_new("2001:db8::1", seconds) for seconds in (3599.0, 3600.0)] == [False, True]


def come_from(inbox: Inbox, address: str) -> RawSender:
    """A connection from one of this machine's addresses."""
    port = ("127.0.0.1", inbox.port)
    return RawSender(inbox.port, sock=socket.create_connection(port, 10.0, source_address=(address, 0)))


def is_closed(sender: RawSender) -> bool:
    return sender.read_pdu() == (0, b"")


def can_associate(inbox: Inbox, address: str = "127.0.0.1") -> bool:
    with come_from(inbox, address) as sender:
        sender.socket.sendall(associate_request({1: (CR, [EXPLICIT])}, "ROOM_3", "PREREAD"))
        return sender.read_pdu()[0] == 2


def test_a_sop_class_that_is_not_ours_is_refused_and_the_others_accepted(inbox: Inbox) -> None:
    entity = AE("ROOM_3")
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(CR, EXPLICIT)

    association = entity.associate("127.0.0.1", inbox.port, ae_title="PREREAD")
    accepted = [context.abstract_syntax for context in association.accepted_contexts]
    refused = [(context.abstract_syntax, context.result) for context in association.rejected_contexts]
    association.release()

    assert accepted == [CR]
    assert refused == [(CTImageStorage, 0x03)]


def test_a_request_with_128_contexts_is_answered(inbox: Inbox) -> None:
    contexts = {
        2 * number + 1: (CR, [EXPLICIT, "1.2.840.10008.1.2", f"1.2.3.{number}"]) for number in range(128)
    }

    with RawSender(inbox.port).associate(contexts) as sender:
        assert len(sender.accepted) == 128


@pytest.mark.parametrize("pdu_bytes_max", [16_384, 131_072])
def test_the_largest_pdu_is_announced(start: StartListener, pdu_bytes_max: int) -> None:
    inbox = start(pdu_bytes_max=pdu_bytes_max)

    with RawSender(inbox.port).associate() as sender:
        assert sender.pdu_bytes_max == pdu_bytes_max


def test_a_request_without_any_context_leaves_the_listener_alive(inbox: Inbox) -> None:
    with RawSender(inbox.port) as sender:
        sender.socket.sendall(associate_request({}, "ROOM_3", "PREREAD"))
        assert sender.read_pdu()[0] in (2, ABORT, 0)

    assert can_associate(inbox)


def test_a_flood_of_ae_titles_is_two_audit_records_an_hour(start: StartListener) -> None:
    inbox = start(senders=SENDERS)

    for number in range(20):
        rejection(inbox, f"STRANGER{number}", "PREREAD")

    await_that(lambda: len(inbox.refusals()) == 20)
    records = Audits(inbox.database).waiting("filed_at", 100)
    assert [(one.actor, one.instances) for one in records] == [("STRANGER0", 1), ("", 19)]
