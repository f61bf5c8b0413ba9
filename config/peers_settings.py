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
    """Our name for it, in logs, in `preread show` and on the command line."""

    ae_title: AETitle
    """Its AE title (called AE title)."""

    host: Host
    """Its host name or IP address."""

    port: Port
    """Its TCP port."""

    outputs: Distinct[OutputKind] = ()
    """What it gets: report_sr (text), findings_sr (coded findings with places), presentation_state
    (overlay), secondary_capture (picture with the boxes drawn in), key_object_selection (which images have
    boxes), segmentation (the boxes as masks; OHIF up to 3.13 goes black on them), encapsulated_pdf (the text
    report and the pictures as a PDF), findings_sr_air (in place of findings_sr, for systems that want IHE AI
    Results to the letter: Comprehensive 3D SR, scores beside their regions, also without a box; stops OHIF).
    Empty: `outputs.defaults` of reading.toml. Take what its viewers can show; a picture is shown by all."""

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
    """The other systems: `peers.toml`. In the file the tables are [[sender]] and [[destination]]."""

    senders: Annotated[Listed[SenderSettings], Field(validation_alias="sender")] = ()
    """The systems that may send to us."""

    accept_any_sender: bool = Field(default_factory=_nobody_listed)
    """Take images from anybody, listed or not. Not written: true only while no sender is listed, and then
    `listener.host` must be a loopback address."""

    destinations: Annotated[Listed[DestinationSettings], Field(validation_alias="destination")] = ()
    """The systems that get our drafts. None: drafts stay here and are seen with `preread show`."""
