"""Sends one HL7 message and hears its acknowledgement (MLLP release 1; HL7 v2.5.1 2.9.2 and 2.9.3)."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from agent.hl7.framing import Deframer, TooLong, framed
from agent.hl7.message import Message, MessageError, parse_message
from agent.peers import StoreKind, Verdict
from agent.tls import not_believed, peer_context
from config.receiver_settings import Hl7ReceiverSettings

ANSWER_BYTES_MAX = 1_000_000
_RECEIVE_BYTES = 65_536
_TEXT_SHOWN_CHARACTERS_MAX = 200
_TAKEN = ("AA", "CA")
_REFUSED = ("AE", "AR", "CE", "CR")  # HL7 Table 0008
_PASSING = ("206", "207")  # HL7 Table 0357: record locked, internal error of the application


def send_oru(receiver: Hl7ReceiverSettings, content: bytes) -> Verdict:
    """Sends a message over a connection of its own and judges the answer.

    Without an answer to this very message (MSA-2 is its MSH-10) nobody knows whether it was taken: it is sent again,
    as it is, and the receiver knows it by its control ID and replaces the report by its order number.
    """
    control_id = parse_message(content).control_id
    try:
        with _connection(receiver) as connection:
            connection.sendall(framed(content))
            answers = _answers(connection, monotonic() + receiver.ack_seconds)
            return _verdict(receiver, control_id, answers)
    except (OSError, TooLong) as error:  # ssl.SSLError and TimeoutError are OSErrors
        return Verdict(StoreKind.NOT_SENT, _problem(receiver, error))


def reach(receiver: Hl7ReceiverSettings) -> str | None:
    """Opens a connection and closes it; a sentence if that cannot be done, or None."""
    try:
        with _connection(receiver):
            return None
    except OSError as error:
        return _problem(receiver, error)


@contextmanager
def _connection(receiver: Hl7ReceiverSettings) -> Iterator[socket.socket]:
    address = receiver.host, receiver.port
    with socket.create_connection(address, receiver.connect_seconds) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receiver.tls is None:
            plain.settimeout(receiver.ack_seconds)
            yield plain
            return
        context = peer_context(receiver.tls, receiver.tls.profile)
        name = receiver.tls.server_name or receiver.host
        with context.wrap_socket(plain, server_hostname=name) as encrypted:
            encrypted.settimeout(receiver.ack_seconds)
            yield encrypted


def _answers(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """The messages that come back until the other side closes. Raises TimeoutError at the deadline."""
    deframer = Deframer(ANSWER_BYTES_MAX)
    while True:
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        received = connection.recv(_RECEIVE_BYTES)
        if not received:
            return
        yield from deframer.feed(received)


def _verdict(receiver: Hl7ReceiverSettings, control_id: str, answers: Iterator[bytes]) -> Verdict:
    name = _name(receiver)
    others = 0
    try:
        for answer in answers:
            try:
                message = parse_message(answer)
            except MessageError as error:
                words = f"{name} answered what is no acknowledgement: {error.reason}. Is an MLLP port there?"
                return Verdict(StoreKind.NOT_SENT, words)
            if message.first("MSA").text(2) == control_id:
                return _judged(name, message)
            others += 1  # a late answer to something before; ours may follow
    except TimeoutError:
        heard = f"; {others} answers were to other messages (MSA-2)" if others else ""
        words = f"{name} did not acknowledge within {receiver.ack_seconds:g} s{heard}. See its log."
        return Verdict(StoreKind.NOT_SENT, words)
    heard = f" after {others} answers to other messages (MSA-2)" if others else ""
    return Verdict(StoreKind.NOT_SENT, f"{name} closed the connection{heard} without an acknowledgement.")


def _judged(name: str, message: Message) -> Verdict:
    """What an acknowledgement means. A NAK is final, unless the receiver calls the fault its own."""
    answer, error = message.first("MSA"), message.first("ERR")
    code = answer.text(1).upper()
    if code in _TAKEN:
        return Verdict(StoreKind.TAKEN, None)
    condition = error.text(3) or answer.text(6)
    said = " ".join(filter(None, (error.text(8) or answer.text(3) or error.text(7), error.text(3, 2))))
    shown = "".join(filter(str.isprintable, said))[:_TEXT_SHOWN_CHARACTERS_MAX] or "no reason given"
    if code not in _REFUSED:
        return Verdict(StoreKind.NOT_SENT, f"{name} answered with no code of HL7 Table 0008 (MSA-1).")
    if condition in _PASSING:
        words = f"{name} cannot take it now, {code} {condition}: {shown}"
        return Verdict(StoreKind.REFUSED_FOR_NOW, words)
    words = f"{name} refused it, {code}{f' {condition}' if condition else ''}: {shown}"
    return Verdict(StoreKind.REFUSED_FOR_GOOD, words)


def _name(receiver: Hl7ReceiverSettings) -> str:
    return f'HL7 receiver "{receiver.name}" ({receiver.host}:{receiver.port})'


def _problem(receiver: Hl7ReceiverSettings, error: Exception) -> str:
    name = _name(receiver)
    match error:
        case TooLong():
            return f"{name} answered with more than {ANSWER_BYTES_MAX} bytes. Is an MLLP port there?"
        case ssl.SSLCertVerificationError():
            cure = "Set tls.ca_file and tls.server_name of it in peers.toml."
            return f"{name} {not_believed(error, cure)}"
        case ssl.SSLError():
            return (
                f"{name} and we agree on no TLS connection ({error.reason}). Correct its tls in peers.toml."
            )
        case socket.gaierror():
            return f"{name}: its host name is not known. Correct host in peers.toml."
        case TimeoutError():
            return (
                f"{name} did not answer within {receiver.connect_seconds:g} s. "
                "Is it switched on, and does every firewall between let us through?"
            )
        case _:
            why = getattr(error, "strerror", None) or type(error).__name__
            return f"{name} cannot be connected, or broke off ({why}). Are host and port in peers.toml right?"
