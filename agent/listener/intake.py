"""What all associations of one listener share, and the one place where a refusal is written down."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from agent.admission import Sender, SenderRules, comes_from
from agent.identity import IdentifierRules
from agent.listener.commits import Commits
from agent.peers import CommitmentReport
from agent.tls import PortTls
from storage.database import trouble_of
from storage.files import Files
from storage.index import Index
from storage.records import Instance, Refusal

log = structlog.get_logger()

RECEIVED = "received"
"""The folder, within the files, of what senders sent."""


class Limits(Protocol):
    """The port and its limits; what `config.agent_settings.ListenerSettings` holds, and documents."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def associations_max(self) -> int: ...
    @property
    def instance_bytes_max(self) -> int: ...
    @property
    def pdu_bytes_max(self) -> int: ...
    @property
    def idle_seconds(self) -> float: ...
    @property
    def stall_seconds(self) -> float: ...
    @property
    def negotiation_seconds(self) -> float: ...
    @property
    def free_bytes_min(self) -> int: ...
    @property
    def check_called_ae_title(self) -> bool: ...
    @property
    def tls(self) -> PortTls | None: ...


class SenderValues(Protocol):
    """One `[[sender]]` of peers.toml."""

    @property
    def ae_title(self) -> str: ...
    @property
    def addresses(self) -> Any: ...
    @property
    def certificate_subject(self) -> str: ...
    @property
    def certificate_sha256(self) -> Any: ...
    @property
    def assume_charset(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of one connection. The AE titles are "" until it has told them.

    Attributes:
        address: IP address, without port.
    """

    address: str
    calling_ae_title: str = ""
    called_ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Commitments:
    """The destinations that report on what they took (PS3.4 J.3.3), and who takes the reports.

    Attributes:
        reporters: the destinations that are asked for commitment.
        take: given a report and the calling AE title that it came under; gives the status to answer.
    """

    reporters: Sequence[Sender]
    take: Callable[[CommitmentReport, str], int]

    def may_come_from(self, peer: Peer) -> bool:
        """Says whether a peer is one of the destinations, as far as AE title and address tell."""
        return any(
            one.ae_title == peer.calling_ae_title and comes_from(peer.address, one.addresses)
            for one in self.reporters
        )


@dataclass(frozen=True, slots=True)
class Intake:
    """Everything behind the port. Safe for several threads, as its parts are.

    Attributes:
        senders: by calling AE title.
        asked_only: calling AE titles of archives that may send nothing but what they were asked for.
        syncing: threads in which the disk is waited for.
        headers: `agent.dicom.headers.headers_from_elements`.
        identifiers: how senders and issuers write patient IDs.
        on_stored: told of each new instance after its sender was; None = nobody listens.
        commitments: whose reports on storage commitment are taken; None = we ask nobody for it.
    """

    limits: Limits
    rules: SenderRules
    senders: Mapping[str, SenderValues]
    files: Files
    index: Index
    commits: Commits
    syncing: Executor
    headers: Callable[..., Any]
    identifiers: IdentifierRules
    clock: Callable[[], datetime]
    on_stored: Callable[[Instance], None] | None = None
    asked_only: frozenset[str] = frozenset()
    commitments: Commitments | None = None

    def refuse(
        self,
        peer: Peer,
        reason: str,
        *,
        kind: str = "",
        sop_instance_uid: str = "",
        status: int | None = None,
    ) -> None:
        """Writes down what was not taken and why: one sentence to the log, one row for the operator.

        Args:
            reason: UIDs, AE titles, addresses and numbers; never patient data.
            kind: the reason without what the other side chose; "" = its words are all ours.
            status: the DIMSE status answered; None if there was none to give.
        """
        log.warning(
            "refused",
            reason=reason,
            status=None if status is None else f"{status:04X}",
            calling_ae_title=peer.calling_ae_title,
            address=peer.address,
            sop_instance_uid=sop_instance_uid,
        )
        refusal = Refusal(
            at=self.clock(),
            calling_ae_title=peer.calling_ae_title,
            address=peer.address,
            sop_instance_uid=sop_instance_uid,
            status=status,
            reason=reason,
        )
        try:
            self.index.refuse(refusal, kind)
        except Exception as error:
            # What fills the disk may keep the row from being written, too; the sender must get its answer.
            why = trouble_of(error)
            log.error(
                "the refusal is on no list, the database does not take it", reason=why, exc_info=why is None
            )
