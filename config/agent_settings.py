"""What `agent.toml` holds: this device, its port, its folders and its limits."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field

from config.keeping_settings import AuditSettings, RetentionSettings
from config.values import (
    AETitle,
    DatabaseUrl,
    Distinct,
    FilePath,
    Frozen,
    Hl7Charset,
    Host,
    Network,
    OneLine,
    OptionalPath,
    OptionalSecret,
    Port,
    TlsProfile,
)


class DeviceSettings(Frozen):
    """Who we are to the other systems."""

    ae_title: AETitle = "PREREAD"
    """Our AE title: what senders call and what destinations see."""

    also_called: Distinct[AETitle] = ()
    """Other AE titles that senders may call us by. All come to the same port; a rule in reading.toml can tell them
    apart (called_ae_title), so that each is a way of its own."""

    institution_name: OneLine = ""
    """Institution Name written into our objects. Empty: the one of the study that was read."""

    device_serial_number: OneLine = ""
    """Device Serial Number written into our objects, so that two agents of one site can be told apart."""


class ListenerTlsSettings(Frozen):
    """Encryption at our port. Leave the table out to listen without it."""

    certificate_file: FilePath
    """Our certificate in PEM form, with the chain that leads to its authority."""

    key_file: FilePath
    """The private key of the certificate, PEM, without a pass phrase; readable by the agent's user only."""

    ca_file: OptionalPath = None
    """Authorities whose client certificates we believe, PEM. Needed to require a client certificate."""

    require_client_certificate: bool = True
    """Refuse a sender that cannot prove who it is. The default, since an AE title proves nothing."""

    profile: TlsProfile = "bcp195"
    """What both sides may agree on: TLS 1.3 or 1.2, with the suites of RFC 9325 ("bcp195", PS3.15 B.12) or only
    those of 256 bits ("bcp195_extended"). Older versions are refused in both."""


class ListenerSettings(Frozen):
    """The port where images arrive, and what may come through it."""

    host: Host = "127.0.0.1"
    """Address to listen on. The default lets in only programs of this machine; "0.0.0.0" opens every
    interface, and then `peers.toml` must say who may send."""

    port: Port = 11112
    """TCP port; 11112 is registered for DICOM and, unlike 104, needs no privileges."""

    associations_max: Annotated[int, Field(ge=1, le=1000)] = 25
    """Associations at the same time; the next one is refused with "local limit exceeded", and its sender
    tries again."""

    instance_bytes_max: Annotated[int, Field(ge=4096, le=4_294_967_294)] = 268_435_456
    """Largest object we take, in bytes. A radiograph of 4,000 x 4,000 pixels has 32 million."""

    pdu_bytes_max: Annotated[int, Field(ge=16_384, le=1_048_576)] = 131_072
    """Largest PDU we offer to receive, in bytes (PS3.8 D.1). Larger ones make fewer turns for each image."""

    idle_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    """How long an open association may stay silent between messages before we abort it."""

    stall_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long a sender may pause in the middle of a PDU before we abort it. Without this one dead
    connection holds its place for good."""

    negotiation_seconds: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """How long a new connection has for its TLS handshake and its association request."""

    free_bytes_min: Annotated[int, Field(ge=0, le=1_000_000_000_000_000)] = 1_073_741_824
    """Free space, in bytes, below which we answer A700 (out of resources) and senders keep their images.
    The default is 1 GiB: what is already on its way must still fit."""

    check_called_ae_title: bool = True
    """Refuse an association that calls another AE title than ours; it is meant for another system."""

    tls: ListenerTlsSettings | None = None
    """Encryption at this port; without the table there is none."""


class Hl7Settings(Frozen):
    """The port where HL7 v2 messages arrive (MLLP): reports of earlier exams. Leave the table out to have none."""

    host: Host = "127.0.0.1"
    """Address to listen on. Anything but this machine needs `addresses` too."""

    port: Port = 2575
    """TCP port; 2575 is registered for HL7."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks that may send. Empty: any, which is allowed on this machine only. HL7 has
    no names to check, so this and TLS are all the protection there is."""

    connections_max: Annotated[int, Field(ge=1, le=1000)] = 10
    """Connections at the same time; interface engines keep theirs open. For one more, the oldest is closed that
    has brought no message yet; where each has brought one, the new one."""

    message_bytes_max: Annotated[int, Field(ge=4096, le=268_435_456)] = 16_777_216
    """Largest message we take, in bytes. A report has some thousand; one with a PDF inside, millions."""

    message_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    """How long a message may take from its first byte to its last before we close the connection."""

    idle_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 3600.0
    """How long a connection may stay without a message before we close it; engines open it again."""

    assume_charset: Hl7Charset = ""
    """Character set of messages that name none in MSH-18 and are not UTF-8; "" for 8859/1."""

    tls: ListenerTlsSettings | None = None
    """Encryption at this port; without the table there is none."""


class StorageSettings(Frozen):
    """Where images, drafts and the index live."""

    folder: FilePath = Path("preread-data")
    """Folder of the received and the made objects, and of the SQLite file. Patient data: put it on an
    encrypted disk that is backed up or may be lost, but not on a network share."""

    database_url: DatabaseUrl = ""
    """Database of the index and the jobs. Empty: an SQLite file in `folder`, right for one machine.
    "postgresql://user@host/database" for more than one; never with a password inside."""

    database_password: OptionalSecret = None
    """Where the password of `database_url` is: { env = "NAME" } or { file = "path" }."""

    def connection_url(self) -> str:
        """Gives the complete database URL, password included: for the driver's ear only.

        Raises:
            LookupError: if the password is not where `database_password` says.
        """
        if not self.database_url:
            return f"sqlite:///{self.folder.absolute() / 'preread.sqlite'}"
        parts = urlsplit(self.database_url)
        if parts.scheme == "sqlite":
            return self.database_url
        place = parts.netloc
        if self.database_password is not None:
            user, _, host = place.rpartition("@")
            place = f"{user}:{quote(self.database_password.reveal(), safe='')}@{host}"
        return urlunsplit(("postgresql+psycopg", place, parts.path, parts.query, ""))


class WorkerSettings(Frozen):
    """How the steps of a study are driven, repeated and given up."""

    tick_seconds: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    """How often the clock looks for studies that have become complete and for work of dead workers."""

    poll_seconds: Annotated[float, Field(ge=0.01, le=60)] = 0.2
    """How often an idle worker asks the database for work. One small query; shorter starts sooner."""

    lease_seconds: Annotated[float, Field(ge=1, le=86_400)] = 120.0
    """How long a worker that has died keeps its job before another may take it. A living one renews it."""

    routine_yields_seconds: Annotated[float, Field(ge=0, le=86_400)] = 1800.0
    """How long a study of priority "routine" lets those go first that a rule calls "stat": the ones that become
    due within this time after it, and no later ones, so that nothing waits for ever. "urgent" lets them for half
    of it. 0: one after the other."""

    attempts_max: Annotated[int, Field(ge=1, le=20)] = 3
    """Tries of one step that end in an error of ours before the job is marked failed. Waiting is no try."""

    retry_seconds_min: Annotated[float, Field(ge=0.05, le=3600)] = 5.0
    """Wait before the first repetition; it doubles each time."""

    retry_seconds_max: Annotated[float, Field(ge=0.05, le=86_400)] = 600.0
    """Longest wait between repetitions: a PACS that comes back gets its drafts after this time at most."""

    stop_seconds: Annotated[float, Field(ge=0.1, le=600)] = 20.0
    """How long a stop waits for the steps in hand; the rest is given back and done after the start."""

    gather_patience_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 600.0
    """How long a study waits for its priors; then it is read without them, and the draft says so."""

    read_patience_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 86_400.0
    """How long a study waits for the model (GPU busy or out of memory) before it is marked failed. A draft
    later than a day helps nobody."""

    compose_patience_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 86_400.0
    """How long a study waits to have its objects written (disk full) before it is marked failed."""

    deliver_patience_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 604_800.0
    """How long a draft waits for a destination that is down before it is marked failed: seven days, a long
    weekend and a repair."""


class MetricsSettings(Frozen):
    """The port for monitoring: /metrics (Prometheus), /healthz and /readyz over HTTP. Leave the table out to have
    none. It tells counts, states and the names of destinations, nothing of patients."""

    host: Host = "127.0.0.1"
    """Address to listen on. Anything but this machine needs `addresses` too."""

    port: Port = 9117
    """TCP port."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks that may ask. Empty: any, which is allowed on this machine only. There is no
    password and no TLS: put a proxy before it where that is wanted."""

    reader_silent_seconds: Annotated[float, Field(ge=15, le=3600)] = 60.0
    """How long no reader may have been seen before /readyz says no and `preread_reader_alive` is 0. A reader says
    that it runs every 5 s; before its first word it loads the model."""


class LogSettings(Frozen):
    """What is written down about the work. Never names, patient IDs, report text or pixels."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important line to keep."""

    format: Literal["console", "json"] = "console"
    """"console" for people, "json" (one object a line) for a log collector."""

    file: OptionalPath = None
    """File to append to. Empty: standard error, where systemd and containers look."""


class AgentSettings(Frozen):
    """This device: `agent.toml`."""

    device: DeviceSettings = DeviceSettings()
    listener: ListenerSettings = ListenerSettings()
    hl7: Hl7Settings | None = None
    storage: StorageSettings = StorageSettings()
    worker: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings | None = None
    log: LogSettings = LogSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
