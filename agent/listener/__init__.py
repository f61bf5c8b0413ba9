"""The port where images arrive: C-ECHO and C-STORE SCP (PS3.4 Annexes A and B). Bytes in, status out."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from pynetdicom import AE, _config, build_context

from agent.admission import SOP_CLASSES, Sender, SenderRules
from agent.dicom.headers import headers_from_elements
from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, folders_of
from agent.identity import IdentifierRules
from agent.listener.commands import C_STORE_RQ, Command
from agent.listener.commits import Commits
from agent.listener.contexts import VERIFICATION
from agent.listener.gate import Gate
from agent.listener.intake import RECEIVED, Commitments, Intake, Limits, Peer, SenderValues
from agent.listener.reception import Reception
from agent.listener.server import ListenerRequestHandler, ListenerServer
from agent.listener.statuses import SOP_CLASS_NOT_SUPPORTED, ProtocolBreach
from agent.peers import Arrived
from agent.ports import opening
from agent.tls import PortContext
from storage.files import Files
from storage.index import Index
from storage.records import Instance

__all__ = ["Commitments", "Listener", "as_sender"]

log = structlog.get_logger()

_SYNCING_THREADS = 4  # more would only queue at the disk
_THREADS_MAX = 100_000  # pynetdicom's own limit, out of the way: Gate counts better


class Listener:
    """Receives images and answers 0x0000 only for what a power cut cannot take away any more.

    For each object, in this order: bytes to a part-file as they come, fsync, name, fsync of the folder, row
    in the index (several associations may share one commit), answer. Files lie under
    `received/<00..ff>/<instance>.dcm`: preamble, File Meta Information of ours, the sender's dataset
    untouched. `Instance.sha256` is of the dataset alone, see `reception.Reception`.

    Args:
        listener: the port and its limits, `settings.agent.listener`.
        ae_title: ours; also_called: other ones of ours.
        senders: who may send, `settings.peers.sender`.
        headers: turns the elements that a survey found into headers.
        clock: gives the time, UTC and aware.
        identifiers: how senders and issuers write patient IDs; None = each as it comes.
        on_stored: told of each new instance after its sender was, in the association's thread: be quick.
        accept_any_sender: let in AE titles that are not in `senders`; None = only while there are none
            (the configuration allows that on loopback only).
        archives: may send what they were asked for and no more, unless they are among the senders.
        commitments: takes the reports of destinations that were asked to commit to what they took; None = no
            such report is accepted.
    """

    def __init__(
        self,
        *,
        listener: Limits,
        ae_title: str,
        also_called: tuple[str, ...] = (),
        senders: Sequence[SenderValues],
        files: Files,
        index: Index,
        headers: Callable[..., Any] = headers_from_elements,
        clock: Callable[[], datetime],
        identifiers: IdentifierRules | None = None,
        on_stored: Callable[[Instance], None] | None = None,
        accept_any_sender: bool | None = None,
        archives: Sequence[SenderValues] = (),
        commitments: Commitments | None = None,
    ) -> None:
        _quieten_pynetdicom()
        self._intake = Intake(
            limits=listener,
            rules=SenderRules(
                ae_title=ae_title,
                also_called=also_called,
                check_called_ae_title=listener.check_called_ae_title,
            ),
            senders={},
            files=files,
            index=index,
            commits=Commits(index),
            syncing=ThreadPoolExecutor(_SYNCING_THREADS, thread_name_prefix="syncing"),
            headers=headers,
            identifiers=IdentifierRules(),
            clock=clock,
            on_stored=on_stored,
        )
        self._server: ListenerServer | None = None
        self.admit(senders, accept_any_sender, archives, identifiers or IdentifierRules(), commitments)
        self._gate = Gate(listener.associations_max)
        self._thread: threading.Thread | None = None

    def admit(
        self,
        senders: Sequence[SenderValues],
        accept_any_sender: bool | None,
        archives: Sequence[SenderValues],
        identifiers: IdentifierRules,
        commitments: Commitments | None = None,
    ) -> None:
        """Lets in these from the next association on; those that are open end as they began. Arguments as above."""
        accepts_any = not senders if accept_any_sender is None else accept_any_sender
        known = {sender.ae_title for sender in senders}
        more = [archive for archive in archives if archive.ae_title not in known]
        rules = replace(
            self._intake.rules,
            senders=tuple(as_sender(one) for one in (*senders, *more)),
            accept_any_sender=accepts_any,
        )
        self._intake = replace(
            self._intake,
            rules=rules,
            senders={one.ae_title: one for one in (*senders, *more)},
            identifiers=identifiers,
            commitments=commitments,
            asked_only=frozenset() if accepts_any else frozenset(archive.ae_title for archive in more),
        )
        if self._server is not None:
            self._server.intake = self._intake

    @property
    def port(self) -> int:
        """The port that is listened on, also where the settings say 0 (any free one)."""
        if self._server is None:
            raise RuntimeError("the listener has not been started")
        return int(self._server.server_address[1])

    @property
    def is_open(self) -> bool:
        """True while connections are accepted."""
        return self._server is not None and self._thread is not None and self._thread.is_alive()

    @property
    def is_deaf(self) -> bool:
        """True if the thread that accepts has ended although nobody stopped it: only a new start helps."""
        thread = self._thread
        is_started = self._server is not None and thread is not None and thread.ident is not None
        return thread is not None and is_started and not thread.is_alive()

    def start(self) -> None:
        """Opens the port. Raises PortError if it cannot, ssl.SSLError or OSError if a TLS file is no good."""
        limits, files = self._intake.limits, self._intake.files
        # All at once here: the first image of each would wait for a mkdir and an fsync of its own.
        files.make_folders(files.absolute(folder) for folder in folders_of(RECEIVED))
        entity = AE(self._intake.rules.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = limits.pdu_bytes_max
        entity.maximum_associations = _THREADS_MAX
        entity.acse_timeout = limits.negotiation_seconds + 5  # ours comes first and says more
        entity.dimse_timeout = entity.network_timeout = None  # see ShortPathProvider._patience
        tls = None if limits.tls is None else PortContext(limits.tls)
        with opening("listener.port", limits.host, limits.port):
            self._server = entity.make_server(
                (limits.host, limits.port),
                contexts=[build_context(VERIFICATION)],  # replaced for each association, see contexts.answer
                server_class=ListenerServer,
                request_handler=ListenerRequestHandler,
                gate=self._gate,
                intake=self._intake,
                tls=tls,
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True
        )
        self._thread.start()

    def take(self, arrived: Arrived, sender: str) -> int:
        """Keeps an object that came over an association or a web connection of ours as if it were sent to us.

        Args:
            sender: AE title (or name) of the archive that it comes from.

        Returns:
            the DIMSE status to answer. Never raises.
        """
        if arrived.sop_class_uid not in SOP_CLASSES:
            return SOP_CLASS_NOT_SUPPORTED
        command = Command(C_STORE_RQ, 1, arrived.sop_class_uid, arrived.sop_instance_uid, True, "")
        peer = Peer("", sender, self._intake.rules.ae_title)
        reception = Reception(command, arrived.sop_class_uid, arrived.transfer_syntax_uid, peer, self._intake)
        with suppress(ProtocolBreach):  # far too large: refused below as what is too large is
            reception.add(memoryview(arrived.content))
        outcome = reception.finish()
        if outcome.stored is not None and self._intake.on_stored is not None:
            self._intake.on_stored(outcome.stored)
        return outcome.status

    def stop(self, seconds: float) -> None:
        """Takes no more connections, lets objects in hand come to an end, cuts the rest after `seconds`."""
        server, self._server = self._server, None
        if server is None:
            return
        server.end()
        cut = self._gate.close(seconds)
        if cut:
            log.warning(
                "associations cut off in the middle of an object", associations=cut, stop_seconds=seconds
            )
        self._intake.syncing.shutdown(wait=False)
        if self._thread is not None:
            self._thread.join(seconds)


def as_sender(one: SenderValues) -> Sender:
    """What is looked at when an association is asked for."""
    return Sender(
        one.ae_title,
        tuple(map(str, one.addresses)),
        one.certificate_subject,
        tuple(one.certificate_sha256),
    )


def _quieten_pynetdicom() -> None:
    """Keeps datasets and identifiers out of pynetdicom's log, for the whole process."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
