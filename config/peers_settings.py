"""What `peers.toml` holds: who may send to us, and where the drafts go."""

from typing import Annotated

from pydantic import Field

from config.values import (
    AETitle,
    Distinct,
    Expected,
    Frozen,
    Host,
    Listed,
    Network,
    NonemptyLine,
    OneLine,
    OptionalAETitle,
    OptionalCharset,
    OptionalPath,
    OutputKind,
    Port,
)


class SenderSettings(Frozen):
    """One system that may send images to us."""

    ae_title: AETitle
    """The AE title it calls itself (calling AE title)."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks it may come from. Empty: any. An AE title alone proves nothing: list them."""

    assume_charset: OptionalCharset = None
    """Specific Character Set to assume where this sender names none although its texts need one."""

    default_issuer: OneLine = ""
    """Issuer of Patient ID to assume where this sender names none. Priors are matched by ID and issuer."""

    remove_id_prefix: OneLine = ""
    """What this sender puts before the patient ID and nobody else does ("N-" of "N-4711"). Counts for what
    arrives from now on."""


class IssuerSettings(Frozen):
    """One hospital, or whoever gives numbers to patients. Needed only where its numbers or its name are written in
    several ways. Counts for what arrives from now on."""

    name: NonemptyLine
    """What it is called here, and in `preread patients`."""

    also_called: Distinct[NonemptyLine] = ()
    """Other names that senders and HL7 messages call it by, such as its OID. Case of letters does not matter."""

    ignore_leading_zeros: bool = False
    """Take 004711 and 4711 for one patient. Only if this issuer never gives both."""

    ignore_case: bool = False
    """Take a12 and A12 for one patient. Only if this issuer never gives both."""


class DestinationTlsSettings(Frozen):
    """Encryption to one destination. Leave the table out to send without it."""

    ca_file: OptionalPath = None
    """Authorities that may vouch for the destination, PEM. Empty: those of the operating system."""

    certificate_file: OptionalPath = None
    """Our certificate, PEM, where the destination asks for one."""

    key_file: OptionalPath = None
    """The private key of that certificate, PEM, without a pass phrase."""

    server_name: Annotated[str, Field(max_length=253)] = ""
    """Name that the destination's certificate must carry. Empty: `host`."""


class DestinationSettings(Frozen):
    """One system that gets drafts from us."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$"),
        Expected('1 to 32 letters, digits and "_.-", a letter or digit first'),
    ]
    """Our name for it, in logs, in `preread why` and on the command line."""

    ae_title: AETitle
    """Its AE title (called AE title)."""

    host: Host
    """Its host name or IP address."""

    port: Port
    """Its TCP port."""

    outputs: Distinct[OutputKind] = ()
    """What it gets: report_sr (text), findings_sr (coded findings with places), presentation_state
    (overlay), secondary_capture (picture with the boxes drawn in). Empty: `outputs.defaults` of
    reading.toml. Take what its viewers can show; a picture is shown by all."""

    calling_ae_title: OptionalAETitle = ""
    """AE title we use towards it. Empty: our own."""

    connect_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long to wait for its TCP connection, TLS handshake and answer to our association request."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    """How long to wait for its answer to each object. Archives that file synchronously need seconds."""

    associations_max: Annotated[int, Field(ge=1, le=10)] = 1
    """Associations to it at the same time. One is enough for text and keeps the order."""

    tls: DestinationTlsSettings | None = None
    """Encryption to it; without the table there is none."""


def _nobody_listed(values: dict[str, object]) -> bool:
    return not values["senders"]


class PeersSettings(Frozen):
    """The other systems: `peers.toml`. In the file the tables are [[sender]], [[issuer]] and [[destination]]."""

    senders: Annotated[Listed[SenderSettings], Field(validation_alias="sender")] = ()
    """The systems that may send to us."""

    accept_any_sender: bool = Field(default_factory=_nobody_listed)
    """Take images from anybody, listed or not. Not written: true only while no sender is listed, and then
    `listener.host` must be a loopback address."""

    issuers: Annotated[Listed[IssuerSettings], Field(validation_alias="issuer")] = ()
    """Who gives numbers to patients, where their numbers or names are written in several ways."""

    placeholder_ids: Distinct[NonemptyLine] = (
        "0",
        "000000",
        "999999",
        "ANONYMOUS",
        "N/A",
        "NONE",
        "TEST",
        "UNKNOWN",
    )
    """Patient IDs, in any case of letters, that are typed where nobody knows the patient. They identify
    nobody: such a study has no priors and is no prior."""

    destinations: Annotated[Listed[DestinationSettings], Field(validation_alias="destination")] = ()
    """The systems that get our drafts. None: drafts stay here and are seen with `preread why`."""
