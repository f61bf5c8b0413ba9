"""What a hostile peer does with one connection to the DICOM port, or to the HL7 port beside it."""

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from random import Random

from pydicom.uid import UID

from agent.admission import SOP_CLASSES, TRANSFER_SYNTAXES
from tests.fuzz import corpus
from tests.fuzz.mutation import LYING_LENGTHS, damaged_bytes, damaged_dataset, nested, private_flood
from tests.listener.wire import (
    A_ABORT,
    A_RELEASE_RQ,
    ASSOCIATE_AC,
    CR,
    EXPLICIT,
    P_DATA,
    VERIFICATION,
    associate_request,
    dataset_pdus,
    pdu,
    pdv,
    store_request,
)

ANSWER_SECONDS = 60.0
CONTEXTS = {
    1: (CR, [EXPLICIT]),
    3: (CR, [corpus.DEFLATED]),
    5: (VERIFICATION, [EXPLICIT]),
    7: (CR, [corpus.IMPLICIT]),
}
DEFLATED_CONTEXT = 3

Attack = Callable[["Connection"], None]


class Connection:
    """One attack and its dice. Whatever is answered is right, as long as something is."""

    def __init__(self, random: Random, port: int, mllp_port: int) -> None:
        self.random = random
        self.port = port
        self.mllp_port = mllp_port
        self._stack = ExitStack()

    def open(self, port: int | None = None) -> socket.socket:
        """Connects; closed with this object, by a reset one time in three."""
        connection = socket.create_connection(("127.0.0.1", port or self.port), ANSWER_SECONDS)
        if self.random.random() < 0.3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._stack.callback(connection.close)
        return connection

    def associate(self) -> socket.socket:
        """An association with every context that is used here."""
        connection = self.open()
        connection.sendall(_request())
        assert answer(connection) == ASSOCIATE_AC
        return connection

    def close(self) -> None:
        """Closes what was opened."""
        self._stack.close()


@cache
def _request() -> bytes:
    return associate_request(CONTEXTS, "MODALITY", "PREREAD")


def answer(connection: socket.socket) -> int:
    """The type of the next PDU; 0 when the other side has closed."""
    with suppress(ConnectionError):
        header = connection.recv(6, socket.MSG_WAITALL)
        if len(header) == 6:
            connection.recv(struct.unpack(">L", header[2:])[0], socket.MSG_WAITALL)
            return header[0]
    return 0


def _uid(random: Random) -> str:
    return f"1.2.826.0.1.3680043.10.999.{random.randrange(10**12)}"


def _store(connection: socket.socket, data: bytes, context_id: int, random: Random) -> None:
    command = store_request(CR, _uid(random))
    connection.sendall(pdu(P_DATA, pdv(command, context_id=context_id, is_command=True, is_last=True)))
    for piece in dataset_pdus(data, 16_384, context_id):
        connection.sendall(piece)
    answer(connection)


def garbage(one: Connection) -> None:
    """Bytes that are no protocol, or another one."""
    greetings = (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"SSH-2.0-x\r\n",
        b"\x0bMSH|",
    )
    one.open().sendall(one.random.choice((*greetings, one.random.randbytes(one.random.randrange(1, 5000)))))


def a_damaged_request(one: Connection) -> None:
    """An association request with bites in it."""
    connection = one.open()
    connection.sendall(damaged_bytes(one.random, _request()))
    connection.shutdown(socket.SHUT_WR)
    answer(connection)


def a_lying_length(one: Connection) -> None:
    """A PDU that announces more, or less, than comes; before the association or within it."""
    connection = one.associate() if one.random.random() < 0.5 else one.open()
    kind = one.random.randrange(256) if one.random.random() < 0.3 else one.random.randrange(1, 8)
    connection.sendall(
        struct.pack(">BxL", kind, one.random.choice(LYING_LENGTHS)) + one.random.randbytes(300)
    )


def cut_at_any_byte(one: Connection) -> None:
    """A whole conversation, ended after any number of its bytes."""
    data = one.random.choice(corpus.datasets()).content
    command = pdu(P_DATA, pdv(store_request(CR, _uid(one.random)), is_command=True, is_last=True))
    whole = command + b"".join(dataset_pdus(data, 1024)) + A_RELEASE_RQ
    connection = one.associate()
    connection.sendall(whole[: one.random.randrange(len(whole))])
    if one.random.random() < 0.5:
        connection.sendall(one.random.choice((A_ABORT, A_RELEASE_RQ, _request())))


def out_of_turn(one: Connection) -> None:
    """PDUs that are right, in an order that is wrong."""
    echo = pdv(
        store_request(VERIFICATION, "", has_dataset=False, field=0x30),
        context_id=5,
        is_command=True,
        is_last=True,
    )
    pieces = [
        _request(),
        A_RELEASE_RQ,
        A_ABORT,
        pdu(P_DATA, echo),
        pdu(2, bytes(68)),
        pdu(3, bytes(4)),
        pdu(6, bytes(4)),
    ]
    connection = one.open()
    for _ in range(one.random.randint(1, 6)):
        connection.sendall(one.random.choice(pieces))


def damaged_messages(one: Connection) -> None:
    """P-DATA with bites: PDV headers, command sets, datasets."""
    connection = one.associate()
    command = pdv(store_request(CR, _uid(one.random)), is_command=True, is_last=True)
    data = pdv(one.random.choice(corpus.datasets()).content, is_command=False, is_last=True)
    connection.sendall(pdu(P_DATA, damaged_bytes(one.random, command)))
    connection.sendall(pdu(P_DATA, damaged_bytes(one.random, data)[:100_000]))
    connection.shutdown(socket.SHUT_WR)
    answer(connection)


def a_damaged_dataset(one: Connection) -> None:
    """A C-STORE whose elements lie."""
    whole = one.random.choice([each for each in corpus.datasets() if each.transfer_syntax != corpus.IMPLICIT])
    _store(
        one.associate(),
        damaged_dataset(one.random, whole.content, whole.elements, is_implicit=False),
        1,
        one.random,
    )


def depth_and_floods(one: Connection) -> None:
    """Sequences a thousand deep, 20,000 private elements, fragments of one byte."""
    whole = corpus.datasets()[0].content
    extra = one.random.choice((nested(1100, is_implicit=False), private_flood(20_000, is_implicit=False)))
    if one.random.random() < 0.7:
        _store(one.associate(), whole + extra, 1, one.random)
        return
    connection = one.associate()
    command = pdv(store_request(CR, _uid(one.random)), is_command=True, is_last=True)
    crumbs = b"".join(pdv(whole[at : at + 1], is_command=False, is_last=False) for at in range(1500))
    connection.sendall(pdu(P_DATA, command) + pdu(P_DATA, crumbs))


@cache
def _bomb() -> bytes:
    """96 MB of one value, deflated to 100 KB."""
    return corpus.deflated(b"\x09\x00\x01\x10OB\0\0" + struct.pack("<L", 96 * 2**20) + bytes(96 * 2**20))


def a_bomb(one: Connection) -> None:
    """A deflated dataset that inflates to a thousand times its size."""
    _store(one.associate(), _bomb(), DEFLATED_CONTEXT, one.random)


def a_thousand_contexts(one: Connection) -> None:
    """A request as long as a request may be, of SOP Classes that we have and that nobody has."""
    classes = [*SOP_CLASSES, *(f"1.2.{number}" for number in range(200))]
    syntaxes = [syntax for syntax in TRANSFER_SYNTAXES if UID(syntax).is_valid]
    contexts = {
        2 * number + 1: (one.random.choice(classes), one.random.sample(syntaxes, one.random.randint(1, 20)))
        for number in range(one.random.randint(1, 128))
    }
    connection = one.open()
    connection.sendall(associate_request(contexts, "MODALITY", "PREREAD"))
    answer(connection)


def hostile_names(one: Connection) -> None:
    """AE titles and UIDs that would be paths, markup or escapes elsewhere."""
    titles = ("../../etc", "<b>x</b>", "%s%n", "' OR 1=1 --", "MSH|^~&", "\x1b[2J", "{{7*7}}", "a" * 16)
    connection = one.open()
    title = one.random.choice(titles)[:16].encode("latin-1").ljust(16)
    request = _request()
    connection.sendall(request[:26] + title + request[42:])
    if answer(connection) == ASSOCIATE_AC:
        uid = one.random.choice(("../../x", "1..2", "1.2/3", "1" * 65, "", "1.2.3\0.4"))
        command = pdv(store_request(CR, uid), is_command=True, is_last=True)
        connection.sendall(pdu(P_DATA, command) + dataset_pdus(corpus.datasets()[0].content, 16_384)[0])
        answer(connection)


def slow(one: Connection) -> None:
    """A byte, and then none until the other side closes: it must, within its own limits."""
    if one.random.random() < 0.5:
        connection = one.associate()
        connection.sendall(pdu(P_DATA, bytes(40))[: one.random.randrange(1, 40)])
    else:
        connection = one.open()
        connection.sendall(_request()[: one.random.randrange(1, 100)])
    while answer(connection):
        pass


def a_flood(one: Connection) -> None:
    """Sixty connections at once, some of them associations; all dropped together."""
    for number in range(60):
        connection = one.open()
        if number % 2:
            connection.sendall(_request())


def hl7_lies(one: Connection) -> None:
    """Messages and frames with bites, at the HL7 port."""
    connection = one.open(one.mllp_port)
    message = damaged_bytes(
        one.random, b"\x0b" + one.random.choice(corpus.HL7) + b"\x1c\r", corpus.HL7_TOKENS
    )
    connection.sendall(message[:100_000])
    connection.shutdown(socket.SHUT_WR)
    with suppress(ConnectionError):
        connection.recv(1000)


ATTACKS: dict[Attack, int] = {
    garbage: 100,
    a_damaged_request: 160,
    a_lying_length: 120,
    cut_at_any_byte: 150,
    out_of_turn: 120,
    damaged_messages: 100,
    a_damaged_dataset: 120,
    depth_and_floods: 20,
    a_bomb: 6,
    a_thousand_contexts: 20,
    hostile_names: 40,
    slow: 15,
    a_flood: 3,
    hl7_lies: 60,
}
"""What is done, and how often in a thousand."""
