"""Everything we ask of other AEs: are you there (C-ECHO), take this (C-STORE). The network's second door.

Nothing here raises for what a peer does or does not do: each answer is an outcome with a sentence for the
person on duty, which names the destination and says what to do.
"""

import logging
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AddressInformation, AssociationSocket

from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from config.settings import DestinationSettings

# pynetdicom keeps these in module globals. Identifiers are patient data and never logged; a file is sent
# from disk as its own bytes, not decoded, held and encoded again.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.STORE_SEND_CHUNKED_DATASET = True
logging.getLogger("pynetdicom").setLevel(logging.WARNING)

CONTEXTS_MAX = 128
"""Presentation contexts of one association: their IDs are the odd numbers below 256 (PS3.8 Table 9-18)."""

REENCODED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What an uncompressed object is offered in beside its own form; the second all must take (PS3.5 10.1)."""


class StoreKind(StrEnum):
    """What became of one object."""

    TAKEN = "taken"
    """The destination has it."""
    REFUSED_FOR_NOW = "refused_for_now"
    """It said no, for a reason that passes or that its administrator can remove: send again."""
    REFUSED_FOR_GOOD = "refused_for_good"
    """It said no, and will say no to the same object again."""
    NOT_SENT = "not_sent"
    """There is no answer: not reached, association refused or lost. Send again; twice is harmless."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a C-STORE status means for us.

    Attributes:
        words: what the status says and what to do, or None for plain success.
    """

    kind: StoreKind
    words: str | None


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one file that was to be stored.

    Attributes:
        status: DIMSE status of the answer, or None if none came.
        problem: a sentence for the person on duty, also for a warning; None if all is well.
    """

    sop_instance_uid: str
    status: int | None
    kind: StoreKind
    problem: str | None


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """The answer to "are you there?".

    Attributes:
        seconds: from the first byte to the answer, or until we gave up.
        problem: a sentence for the person on duty, or None.
    """

    ok: bool
    seconds: float
    problem: str | None


_NOW, _GOOD, _TAKEN = StoreKind.REFUSED_FOR_NOW, StoreKind.REFUSED_FOR_GOOD, StoreKind.TAKEN

_STATUS: Mapping[int, Verdict] = {
    0x0000: Verdict(_TAKEN, None),
    # PS3.7 Annex C.4: warnings and failures that any service may answer.
    0x0001: Verdict(_TAKEN, "requested optional attributes not supported"),
    0x0107: Verdict(_TAKEN, "attribute list error"),
    0x0116: Verdict(_TAKEN, "attribute value out of range"),
    0x0111: Verdict(_TAKEN, "duplicate SOP Instance: it has the object from an earlier try"),
    0x0110: Verdict(_NOW, "processing failure; see its log"),
    0x0117: Verdict(_GOOD, "invalid SOP Instance UID"),
    0x0118: Verdict(_GOOD, "no such SOP Class"),
    0x0119: Verdict(_GOOD, "class and instance conflict"),
    0x0122: Verdict(_GOOD, "SOP Class not supported; take that output away from it in peers.toml"),
    0x0124: Verdict(_NOW, "not authorised; its administrator must allow us to store"),
    0x0210: Verdict(_NOW, "duplicate invocation"),
    0x0211: Verdict(_GOOD, "unrecognised operation: it stores nothing"),
    0x0212: Verdict(_GOOD, "mistyped argument"),
    0x0213: Verdict(_NOW, "resource limitation"),
    0xFE00: Verdict(_NOW, "cancelled"),
    # PS3.4 Table B.2-1: warnings of the Storage Service.
    0xB000: Verdict(_TAKEN, "coercion of data elements: it keeps the object with changed attributes"),
    0xB006: Verdict(_TAKEN, "elements discarded: it keeps the object without some attributes"),
    0xB007: Verdict(_TAKEN, "data set does not match SOP Class, taken nevertheless"),
}


def judge_status(status: int) -> Verdict:
    """Says what a C-STORE status means for us (PS3.4 B.2.3 and Table B.2-1, PS3.7 Annex C).

    A status that no table here knows is a failure, and one for good: a person must see it.
    """
    known = _STATUS.get(status)
    if known is not None:
        return known
    if 0xA700 <= status <= 0xA7FF:
        return Verdict(_NOW, "out of resources; it needs disk space or fewer senders")
    if 0xA900 <= status <= 0xA9FF:
        return Verdict(_GOOD, "data set does not match SOP Class; keep the object for its vendor")
    if 0xB000 <= status <= 0xBFFF:
        return Verdict(_TAKEN, "taken with a warning")
    if 0xC000 <= status <= 0xCFFF:
        return Verdict(_GOOD, "cannot understand; keep the object for its vendor")
    return Verdict(_GOOD, "failure; see its log")


class Peers:
    """Our side as a service class user. Holds no connection: each call opens and ends its association."""

    def __init__(self, ae_title: str) -> None:
        """Args: ae_title: calls under this AE title where a destination's settings name no other."""
        self._ae_title = ae_title

    def echo(self, destination: DestinationSettings) -> EchoOutcome:
        """Asks a destination whether it is there (C-ECHO, PS3.7 9.1.5)."""
        started = monotonic()
        association = self._associate(destination, [(Verification, ImplicitVRLittleEndian)])
        if isinstance(association, _NoAssociation):
            return EchoOutcome(False, monotonic() - started, association.problem)
        try:
            problem = _echo_problem(association, destination)
        finally:
            association.release()
        return EchoOutcome(problem is None, monotonic() - started, problem)

    def store(self, destination: DestinationSettings, files: Sequence[Path]) -> tuple[StoreOutcome, ...]:
        """Sends files to a destination, all in one association.

        Each goes as its own bytes if its transfer syntax is accepted; an uncompressed one is encoded anew
        where only another uncompressed form is.

        Returns:
            one outcome for each file, in the order of the files.
        """
        outcomes: list[StoreOutcome] = []
        for batch in _batches([_stored(path) for path in files]):
            outcomes += self._store_batch(destination, batch)
        return tuple(outcomes)

    def _store_batch(
        self, destination: DestinationSettings, batch: "Sequence[_Stored]"
    ) -> list[StoreOutcome]:
        contexts = list(dict.fromkeys(context for one in batch for context in one.contexts()))
        if not contexts:
            return [_unreadable(one) for one in batch]
        association = self._associate(destination, contexts)
        if isinstance(association, _NoAssociation):
            return [_unsent(one, association.problem, association.kind) for one in batch]
        try:
            return list(_send_all(association, destination, batch))
        finally:
            association.release()

    def _associate(
        self, destination: DestinationSettings, contexts: Sequence[tuple[str, str]]
    ) -> "Association | _NoAssociation":
        """Opens an association; gives it, or why there is none."""
        try:
            tls = _tls_arguments(destination)
        except OSError as error:  # ssl.SSLError is one
            table = "destination.tls in peers.toml"
            problem = f"{_named(destination)}: the TLS files of {table} cannot be used ({error})."
            return _NoAssociation(problem)
        calling = destination.calling_ae_title or self._ae_title
        ae = _CallingAE(ae_title=calling)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = destination.connect_seconds
        ae.acse_timeout = destination.connect_seconds
        ae.dimse_timeout = destination.answer_seconds
        ae.network_timeout = destination.answer_seconds + destination.connect_seconds
        opened: list[float] = []
        started = monotonic()
        try:
            association = ae.associate(
                destination.host,
                destination.port,
                contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
                ae_title=destination.ae_title,
                tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, _connection_opened, [destination.answer_seconds, opened])],
            )
        except OSError as error:  # only the name service raises here
            return _NoAssociation(_connection_problem(destination, error))
        if association.is_established:
            return association
        if not opened:
            return _NoAssociation(_connection_problem(destination, ae.failure))
        return _no_association(association, destination, calling, monotonic() - started)


@dataclass(frozen=True, slots=True)
class _NoAssociation:
    """Why there is no association, and what that means for the objects that were to be sent."""

    problem: str
    kind: StoreKind = StoreKind.NOT_SENT


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
        self._calling_socket = _CallingSocket(assoc, address=address)
        self._calling_socket.tls_args = tls_args
        return self._calling_socket


def _connection_opened(event: evt.Event, answer_seconds: float, opened: list[float]) -> None:
    opened.append(monotonic())
    connection = event.assoc.dul.socket.socket
    # Nagle's algorithm and the peer's delayed acknowledgement cost 40 ms for each message otherwise.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # pynetdicom sets none: a peer that stops reading would block the sending thread for good.
    connection.settimeout(answer_seconds)


def _tls_arguments(destination: DestinationSettings) -> tuple[ssl.SSLContext, str] | None:
    tls = destination.tls
    if tls is None:
        return None
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context, tls.server_name or destination.host


def _named(destination: DestinationSettings) -> str:
    place = f"AE title {destination.ae_title} at {destination.host}:{destination.port}"
    return f'Destination "{destination.name}" ({place})'


def _connection_problem(destination: DestinationSettings, error: OSError | None) -> str:
    named = _named(destination)
    match error:
        case None:
            return f"{named} could not be connected. See the log of pynetdicom."
        case ssl.SSLCertVerificationError():
            return (
                f"{named} showed a certificate that we do not believe ({error.verify_message}). "
                "Set tls.ca_file and tls.server_name of it in peers.toml."
            )
        case ssl.SSLError() | ConnectionResetError() | ConnectionAbortedError():
            return (
                f"{named} and we agree on no TLS connection ({_reason(error)}). "
                "Does it speak TLS on that port, and does it want a certificate of ours?"
            )
        case socket.gaierror():
            return f"{named}: its host name is not known ({_reason(error)}). Correct host in peers.toml."
        case TimeoutError():
            return (
                f"{named} did not answer within {destination.connect_seconds:g} s. "
                "Is it switched on, and does every firewall between let us through?"
            )
        case _:
            return (
                f"{named} cannot be connected ({_reason(error)}). "
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


def _no_association(
    association: Association, destination: DestinationSettings, calling: str, waited_seconds: float
) -> _NoAssociation:
    named = _named(destination)
    if association.is_rejected:
        answer = association.acceptor.primitive
        given = (answer.result_source, answer.diagnostic)
        reason = _REJECTIONS.get(given, "no reason given; see its log")
        return _NoAssociation(f"{named} rejected the association of {calling}: {reason}.")
    if association.rejected_contexts:
        classes = sorted({_class_name(context.abstract_syntax) for context in association.rejected_contexts})
        problem = f"{named} accepts none of: {', '.join(classes)}. {_CLASS_REFUSED}"
        return _NoAssociation(problem, StoreKind.REFUSED_FOR_GOOD)
    if waited_seconds >= destination.connect_seconds:
        return _NoAssociation(
            f"{named} took the connection and did not answer our association request "
            f"within {destination.connect_seconds:g} s. Is it a DICOM port, and does it want TLS?"
        )
    wants = "a certificate of ours" if destination.tls else "TLS"
    problem = f"{named} ended the connection before it answered our association request."
    return _NoAssociation(f"{problem} Does it want {wants}?")


_CLASS_REFUSED = "Allow that there, or take the output away from it in peers.toml."


def _class_name(sop_class_uid: str) -> str:
    return f"{UID(sop_class_uid).name} ({sop_class_uid})"


def _echo_problem(association: Association, destination: DestinationSettings) -> str | None:
    started = monotonic()
    answer = association.send_c_echo() if association.is_established else None
    if not answer or "Status" not in answer:
        return _lost(destination, monotonic() - started)
    if answer.Status == 0x0000:
        return None
    return f"{_named(destination)} answered C-ECHO with status {answer.Status:04X}. See its log."


def _lost(destination: DestinationSettings, waited_seconds: float) -> str:
    if waited_seconds >= destination.answer_seconds:
        return (
            f"{_named(destination)} did not answer within {destination.answer_seconds:g} s. "
            "If it is only slow, raise its answer_seconds in peers.toml."
        )
    return f"{_named(destination)} broke the association off while we sent. See its log."


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file that is to be sent, as far as its file meta information says what it is (PS3.10 7.1)."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def is_readable(self) -> bool:
        return bool(self.sop_class_uid and self.sop_instance_uid and self.transfer_syntax_uid)

    @property
    def may_be_reencoded(self) -> bool:
        return self.transfer_syntax_uid in (*REENCODED, DeflatedExplicitVRLittleEndian)

    def contexts(self) -> Iterator[tuple[str, str]]:
        """Names what to propose for it: its own form first, one transfer syntax in each context."""
        if self.is_readable:
            yield self.sop_class_uid, self.transfer_syntax_uid
            for syntax in REENCODED if self.may_be_reencoded else ():
                yield self.sop_class_uid, str(syntax)


def _stored(path: Path) -> _Stored:
    try:
        meta = read_file_meta_info(path)
    except InvalidDicomError:
        return _Stored(path, "", "", "")
    keywords = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    return _Stored(path, *(str(meta.get(keyword) or "") for keyword in keywords))


def _batches(objects: Sequence[_Stored]) -> Iterator[list[_Stored]]:
    """Cuts where one association could not propose everything; with our own objects that is never."""
    batch: list[_Stored] = []
    contexts: set[tuple[str, str]] = set()
    for one in objects:
        wanted = contexts | set(one.contexts())
        if batch and len(wanted) > CONTEXTS_MAX:
            yield batch
            batch, wanted = [], set(one.contexts())
        batch.append(one)
        contexts = wanted
    if batch:
        yield batch


def _send_all(
    association: Association, destination: DestinationSettings, batch: Sequence[_Stored]
) -> Iterator[StoreOutcome]:
    """Sends one after the other; once the association is gone, the rest is not sent and says why."""
    accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in association.accepted_contexts}
    lost: str | None = None
    for number, one in enumerate(batch, start=1):
        if lost is not None or not one.is_readable:
            yield _unsent(one, lost or "")
        elif accepted.isdisjoint(one.contexts()):
            named = f"{_named(destination)} accepts no {_class_name(one.sop_class_uid)}"
            form = UID(one.transfer_syntax_uid).name
            problem = f"{named} as {form} (no presentation context accepted). {_CLASS_REFUSED}"
            yield _unsent(one, problem, StoreKind.REFUSED_FOR_GOOD)
        else:
            outcome = _send(association, destination, one, number, accepted)
            # Without an answer nothing more is tried: pynetdicom may take a while to see that the peer is
            # gone, and each further object would wait its answer_seconds in vain.
            lost = outcome.problem if outcome.kind is StoreKind.NOT_SENT else None
            yield outcome


def _send(
    association: Association,
    destination: DestinationSettings,
    one: _Stored,
    number: int,
    accepted: set[tuple[str, str]],
) -> StoreOutcome:
    started = monotonic()
    own_form = (one.sop_class_uid, one.transfer_syntax_uid) in accepted
    try:
        # A path goes from disk as it is; a dataset is encoded in the form that was accepted.
        answer = association.send_c_store(one.path if own_form else dcmread(one.path), msg_id=number % 65535)
    except RuntimeError:
        # pynetdicom's word for an association that ended between two objects.
        return _unsent(one, _lost(destination, monotonic() - started))
    except (ValueError, AttributeError) as error:
        # Not the error's own text: it may repeat a value, and values are patient data.
        problem = f"{one.path} cannot be encoded for {_named(destination)} ({type(error).__name__})."
        return _unsent(one, problem, StoreKind.REFUSED_FOR_GOOD)
    if "Status" not in answer:
        return _unsent(one, _lost(destination, monotonic() - started))
    verdict = judge_status(answer.Status)
    said_of_it = None
    if verdict.words is not None:
        verb = "took" if verdict.kind is StoreKind.TAKEN else "refused"
        said = f"status {answer.Status:04X}: {verdict.words}"
        said_of_it = f"{_named(destination)} {verb} {_class_name(one.sop_class_uid)}, {said}."
    return StoreOutcome(one.sop_instance_uid, answer.Status, verdict.kind, said_of_it)


def _unsent(one: _Stored, problem: str, kind: StoreKind = StoreKind.NOT_SENT) -> StoreOutcome:
    return StoreOutcome(one.sop_instance_uid, None, kind, problem) if one.is_readable else _unreadable(one)


def _unreadable(one: _Stored) -> StoreOutcome:
    problem = f"{one.path} has no complete file meta information (PS3.10 7.1) and cannot be sent."
    return StoreOutcome(one.sop_instance_uid, None, StoreKind.REFUSED_FOR_GOOD, problem)
