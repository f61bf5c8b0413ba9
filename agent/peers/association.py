"""Associations that we open: connect, negotiate, and say in a sentence why there is none.

Whom we call is in `peers.toml`; everything here takes its table, so that each sentence names the peer and the
key to change.
"""

import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, TypeGuard

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from agent.tls import not_believed, peer_context
from config.settings import ArchiveSettings, DestinationSettings, WorklistSettings

Called = DestinationSettings | ArchiveSettings | WorklistSettings
"""The table of `peers.toml` that says whom we call."""

# pynetdicom keeps these in module globals. Identifiers are patient data and never logged; a file is sent
# from disk as its own bytes, not decoded, held and encoded again.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.STORE_SEND_CHUNKED_DATASET = True
logging.getLogger("pynetdicom").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class NoAssociation:
    """Why there is no association.

    Attributes:
        is_for_good: True if the peer is there and will say the same next time.
    """

    problem: str
    is_for_good: bool = False


def associate(
    ae_title: str,
    called: Called,
    contexts: Sequence[PresentationContext],
    *,
    handlers: Sequence[tuple[Any, ...]] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association | NoAssociation:
    """Opens an association with a peer; gives it, or why there is none.

    Args:
        ae_title: ours, where the peer's settings name no other.
        handlers: pynetdicom's, for what the peer asks of us on this association.
        roles: in which we do not call but are called (PS3.7 D.3.3.4).
    """
    try:
        tls = _tls_arguments(called)
    except OSError as error:  # ssl.SSLError is one
        table = f"{_kind(called)}.tls in peers.toml"
        return NoAssociation(f"{peer_name(called)}: the TLS files of {table} cannot be used ({error}).")
    calling = called.calling_ae_title or ae_title
    ae = _CallingAE(ae_title=calling)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = called.connect_seconds
    ae.acse_timeout = called.connect_seconds
    ae.dimse_timeout = called.answer_seconds
    ae.network_timeout = called.answer_seconds + called.connect_seconds
    opened: list[float] = []
    opening = (evt.EVT_CONN_OPEN, _connection_opened, [called.answer_seconds, opened])
    started = monotonic()
    try:
        association = ae.associate(
            called.host,
            called.port,
            contexts=list(contexts),
            ae_title=called.ae_title,
            tls_args=tls,
            evt_handlers=[opening, *handlers],
            ext_neg=list(roles),
        )
    except OSError as error:  # only the name service raises here
        return NoAssociation(_connection_problem(called, error))
    if association.is_established:
        return association
    if not opened:
        return NoAssociation(_connection_problem(called, ae.failure))
    return _no_association(association, called, calling, monotonic() - started)


class _CallingSocket(AssociationSocket):
    """pynetdicom's own socket, but it closes what could not be connected and keeps the reason."""

    failure: OSError | None = None

    def _shutdown_socket(self) -> None:
        # pynetdicom calls this while it handles the error of connect(), which it only logs. It then leaves
        # the socket open where shutdown() fails, as it does on one that never was connected.
        if isinstance(failure := sys.exception(), OSError):
            self.failure = failure
        unconnected = self.socket
        super()._shutdown_socket()
        if unconnected is not None:
            unconnected.close()


class _CallingAE(AE):
    """pynetdicom's AE for one association, whose socket is ours."""

    _calling_socket: _CallingSocket | None = None

    @property
    def failure(self) -> OSError | None:
        """Why the connection could not be made, or None if it could or nothing was said."""
        return self._calling_socket.failure if self._calling_socket else None

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[ssl.SSLContext, str] | None
    ) -> AssociationSocket:
        self._calling_socket = calling = _CallingSocket(assoc, address=address)
        calling.tls_args = tls_args
        _keep_answers_for_who_asked(assoc)
        # A peer that goes on talking after our A-ABORT can end pynetdicom's thread before that has closed anything.
        assoc.dul.run = partial(_run_and_close, assoc.dul.run, calling)
        return calling


class _Checkpoint(threading.Event):
    """Where the thread of an association waits while somebody asks something on it; set = it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def clear(self) -> None:
        with self.lock:
            super().clear()


def _keep_answers_for_who_asked(association: Association) -> None:
    """Has the association's thread take no message while somebody waits for an answer.

    pynetdicom 3.0.4 looks whether that thread is paused, and it counts as paused for a moment after it has gone on. It
    then takes the first answer for a request, logs it and drops it: a study that an archive has is not found, a
    C-STORE is not answered.
    """
    association._reactor_checkpoint = checkpoint = _Checkpoint()
    checkpoint.set()
    get_message = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        if block:  # who asked
            return get_message(block)
        with checkpoint.lock:
            return get_message(block) if checkpoint.is_set() else (None, None)

    association.dimse.get_msg = get_msg


def _run_and_close(run: Callable[[], None], calling: _CallingSocket) -> None:
    try:
        run()
    finally:
        calling.close()


def _connection_opened(event: evt.Event, answer_seconds: float, opened: list[float]) -> None:
    opened.append(monotonic())
    connection = event.assoc.dul.socket.socket
    # Nagle's algorithm and the peer's delayed acknowledgement cost 40 ms for each message otherwise.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # pynetdicom sets none: a peer that stops reading would block the sending thread for good.
    connection.settimeout(answer_seconds)


def _tls_arguments(called: Called) -> tuple[ssl.SSLContext, str] | None:
    tls = called.tls
    if tls is None:
        return None
    return peer_context(tls, tls.profile), tls.server_name or called.host


def peer_name(called: Called) -> str:
    """Names a peer in a sentence, with the place where it is."""
    place = f"AE title {called.ae_title} at {called.host}:{called.port}"
    if is_web(called):
        place = called.url
    return f'{_kind(called).capitalize()} "{called.name}" ({place})'


def is_web(called: Called) -> TypeGuard[ArchiveSettings | DestinationSettings]:
    """Is it reached by DICOMweb?"""
    match called:
        case ArchiveSettings():
            return called.retrieve == "dicomweb"
        case DestinationSettings():
            return called.protocol == "dicomweb"
        case _:
            return False


def _kind(called: Called) -> str:
    match called:
        case DestinationSettings():
            return "destination"
        case ArchiveSettings():
            return "archive"
        case WorklistSettings():
            return "worklist"


def _connection_problem(called: Called, error: OSError | None) -> str:
    name = peer_name(called)
    match error:
        case None:
            return f"{name} could not be connected. See the log of pynetdicom."
        case ssl.SSLCertVerificationError():
            cure = "Set tls.ca_file and tls.server_name of it in peers.toml."
            return f"{name} {not_believed(error, cure)}"
        case ssl.SSLError() | ConnectionResetError() | ConnectionAbortedError():
            return (
                f"{name} and we agree on no TLS connection ({_reason(error)}). "
                "Does it speak TLS on that port, and does it want a certificate of ours?"
            )
        case socket.gaierror():
            return f"{name}: its host name is not known ({_reason(error)}). Correct host in peers.toml."
        case TimeoutError():
            return (
                f"{name} did not answer within {called.connect_seconds:g} s. "
                "Is it switched on, and does every firewall between let us through?"
            )
        case _:
            return (
                f"{name} cannot be connected ({_reason(error)}). "
                "Is its DICOM service running, and are host and port in peers.toml right?"
            )


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__


_REJECTIONS: Mapping[tuple[int, int], str] = {
    (1, 2): "application context name not supported",
    (1, 3): "it does not know our AE title; its administrator must add it with our address",
    (1, 7): "it does not answer to that AE title; correct ae_title in peers.toml",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion; tried again later",
    (3, 2): "its limit of associations is reached; tried again later",
}
"""(source, reason) of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

_ACCEPTED = 0
"""Result of an A-ASSOCIATE response (PS3.8 7.1.1.7)."""


def _no_association(
    association: Association, called: Called, calling: str, waited_seconds: float
) -> NoAssociation:
    name = peer_name(called)
    answer = _answer(association)
    if answer is not None and answer.result == _ACCEPTED:
        return NoAssociation(
            f"{name} accepted the association of {calling} and ended it at once. See its log."
        )
    if answer is not None:
        given = (answer.result_source, answer.diagnostic)
        reason = _REJECTIONS.get(given, "no reason given; see its log")
        return NoAssociation(f"{name} rejected the association of {calling}: {reason}.")
    if association.rejected_contexts and not association.accepted_contexts:
        classes = sorted({class_name(context.abstract_syntax) for context in association.rejected_contexts})
        what_to_do = CLASS_REFUSED if isinstance(called, DestinationSettings) else SERVICE_REFUSED
        problem = f"{name} accepts none of: {', '.join(classes)}. {what_to_do}"
        return NoAssociation(problem, is_for_good=True)
    if waited_seconds >= called.connect_seconds:
        return NoAssociation(
            f"{name} took the connection and did not answer our association request "
            f"within {called.connect_seconds:g} s. Is it a DICOM port, and does it want TLS?"
        )
    wants = "a certificate of ours" if called.tls else "TLS"
    problem = f"{name} ended the connection before it answered our association request."
    return NoAssociation(f"{problem} Does it want {wants}?")


def _answer(association: Association) -> A_ASSOCIATE | None:
    """A rejection, or what was answered and not looked at; None if there was neither."""
    if association.is_rejected:
        return association.acceptor.primitive
    # pynetdicom 3.0.4 looks for an answer only while the connection is open. A peer that answers and closes at once may
    # be quicker; its answer is then still in the queue.
    unread = association.dul.peek_next_pdu()
    return unread if isinstance(unread, A_ASSOCIATE) else None


CLASS_REFUSED = "Allow that there, or take the output away from it in peers.toml."
"""What to do about a SOP Class that a destination does not accept."""

SERVICE_REFUSED = "Allow us that there, or choose another information_model or retrieve in peers.toml."
"""What to do about a query or a retrieval that an archive does not accept."""


def class_name(sop_class_uid: str) -> str:
    """Names a SOP Class in a sentence."""
    return f"{UID(sop_class_uid).name} ({sop_class_uid})"


def lost(called: Called, waited_seconds: float, doing: str = "sent") -> str:
    """Says that no answer came, and whether the peer was silent or has gone."""
    if waited_seconds >= called.answer_seconds:
        return (
            f"{peer_name(called)} did not answer within {called.answer_seconds:g} s. "
            "If it is only slow, raise its answer_seconds in peers.toml."
        )
    # Orthanc lets everybody in and ends the association when one asks that it does not know.
    hint = "Does it know our AE title and address, and may they ask? " if doing == "asked" else ""
    return f"{peer_name(called)} broke the association off while we {doing}. {hint}See its log."
