"""A mini PACS on loopback: sends studies as a modality would and keeps what comes back as an archive would."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from threading import Lock, Thread

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@dataclass(frozen=True, slots=True)
class Received:
    """One object that came to the mini PACS. `first` is False if the same SOP Instance UID was there already."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    path: Path
    first: bool


class _ClosingSocket(AssociationSocket):
    """Closes what cannot be shut down any more; pynetdicom's own leaves that to the garbage collector."""

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


def connection_opened(event: evt.Event) -> None:
    """Makes one of pynetdicom's connections quick and clean; for EVT_CONN_OPEN on either side."""
    association_socket = event.assoc.dul.socket
    # Nagle's algorithm and delayed acknowledgements cost 40 ms a message otherwise.
    association_socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # pynetdicom makes the socket itself and lets nobody give it another; this one has no state of its own.
    association_socket.__class__ = _ClosingSocket


class MiniPacs:
    """Takes every uncompressed storage object on a port of 127.0.0.1 and writes it below `folder`, named by its UID.

    Args:
        port: 0 for any that is free.
    """

    def __init__(self, ae_title: str, folder: Path, port: int = 0) -> None:
        self._ae = AE(ae_title=ae_title)
        self._folder = folder
        self._lock = Lock()
        self._received: list[Received] = []
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, _SYNTAXES)
        self._ae.add_supported_context(Verification)
        folder.mkdir(parents=True, exist_ok=True)
        self._server = self._ae.make_server(
            ("127.0.0.1", port),
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, connection_opened)],
            server_class=ThreadedAssociationServer,
        )
        # Not AE.start_server: its loop looks every half second whether it shall end.
        self._serving = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._serving.start()
        self.ae_title = ae_title
        self.port: int = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        path = self._folder / f"{uid}.dcm"
        path.write_bytes(event.encoded_dataset())
        study = str(event.dataset.StudyInstanceUID)
        with self._lock:
            first = all(earlier.sop_instance_uid != uid for earlier in self._received)
            self._received.append(Received(uid, str(event.request.AffectedSOPClassUID), study, path, first))
        return 0x0000

    def received(self, study_instance_uid: str) -> tuple[Received, ...]:
        """What has come back for one study, in the order of arrival."""
        with self._lock:
            return tuple(item for item in self._received if item.study_instance_uid == study_instance_uid)

    def datasets(self, study_instance_uid: str) -> tuple[Dataset, ...]:
        """The objects of one study, each once, read back from disk."""
        return tuple(dcmread(item.path) for item in self.received(study_instance_uid) if item.first)

    def send(self, datasets: Iterable[Dataset], host: str, port: int, called_ae_title: str) -> None:
        """Sends the datasets in one association, as a modality does.

        Raises:
            ConnectionError: if the association is refused or an object is not taken; says which status.
        """
        objects = tuple(datasets)
        ae = AE(ae_title=self.ae_title)
        for sop_class, syntax in sorted({(o.SOPClassUID, o.file_meta.TransferSyntaxUID) for o in objects}):
            ae.add_requested_context(sop_class, syntax)
        association = ae.associate(
            host, port, ae_title=called_ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, connection_opened)]
        )
        if not association.is_established:
            raise ConnectionError(f"{called_ae_title} at {host}:{port} accepted no association")
        try:
            for dataset in objects:
                status = association.send_c_store(dataset)
                if getattr(status, "Status", None) != 0x0000:
                    raise ConnectionError(
                        f"{called_ae_title} did not take {dataset.SOPInstanceUID}: {status}"
                    )
        finally:
            association.release()

    def close(self) -> None:
        """Closes the port; what was received stays."""
        # Not the server's own shutdown(), which wants to find it in the AE's list of servers.
        BaseServer.shutdown(self._server)
        self._server.server_close()
        self._serving.join()
