"""Who gets drafts as messages: the tables of `peers.toml` for systems on the worklist and report side."""

from typing import Annotated, Literal

from pydantic import Field

from config.tls_settings import DestinationTlsSettings
from config.values import (
    Distinct,
    Expected,
    FilePath,
    Frozen,
    Hl7Charset,
    Host,
    NeededSecret,
    NonemptyLine,
    OneLine,
    OptionalSecret,
    PeerName,
    Port,
    WebAddress,
)

HL7_SOURCES = (
    "accession_number",
    "placer_order_number",
    "filler_order_number",
    "study_instance_uid",
    "report_uid",
    "requested_procedure",
    "revision",
    "nothing",
)
"""What a rule of `hl7_receiver.fields` may put into a field."""

_RULE = rf"^(PID|PV1|ORC|OBR)-([1-9]\d?)(\.[1-9])? = ({'|'.join(HL7_SOURCES)}|'[^'\x00-\x1f\x7f]{{1,64}}')$"
FieldRule = Annotated[
    str,
    Field(pattern=_RULE),
    Expected(
        f'a rule such as "OBR-3 = accession_number" or "OBR-20 = \'AI\'", with {", ".join(HL7_SOURCES)}'
    ),
]
_Seconds = Annotated[float, Field(ge=0.1, le=300)]


class Hl7ReceiverSettings(Frozen):
    """One system that gets drafts as HL7 v2.5.1 results (ORU^R01 over MLLP): a RIS, a dictation system, an
    interface engine."""

    name: PeerName
    """Our name for it, in logs, in `preread why` and on the command line."""

    host: Host
    """Its host name or IP address."""

    port: Port
    """Its TCP port."""

    status: Literal["R", "P"] = "R"
    """Result status (OBR-25, OBX-11). R: stored, not verified, which is what a draft is. P: for systems that take no
    R; the word means "a verified early result" (HL7 Table 0123), so ask what it does with one."""

    withdrawal_status: Literal["X", "C", "D", "W"] = "X"
    """The same where a draft is withdrawn. X: no results, cancelled. C: corrected, for systems that replace the text
    and know no other. D and W (deleted, posted as wrong) are statuses of single lines: OBR-25 is then X."""

    sending_application: NonemptyLine = "PREREAD"
    """What we call ourselves (MSH-3)."""

    sending_facility: OneLine = ""
    """Where we are (MSH-4)."""

    receiving_application: OneLine = ""
    """What it calls itself (MSH-5)."""

    receiving_facility: OneLine = ""
    """Where it is (MSH-6)."""

    processing_id: Literal["P", "T", "D"] = "P"
    """Production, training or debugging (MSH-11)."""

    observation_codes: Literal["loinc", "suffix"] = "loinc"
    """How the lines of text are called (OBX-3). loinc: 59776-5 and 19005-8; suffix: the procedure with &GDT and &IMP,
    as HL7 v2.5.1 7.1.3 has it."""

    findings: bool = True
    """Send the findings as coded lines (CWE), too, and their scores (NM). Off for systems that show every line."""

    reasons: bool = True
    """Send which images and earlier exams the draft is made from and what must not be trusted, as text."""

    fields: Distinct[FieldRule] = ()
    """What goes into single fields in place of what preread would write, for systems that merge by another number:
    "OBR-3 = accession_number", "ORC-2 = nothing"."""

    charset: Hl7Charset = "UNICODE UTF-8"
    """Character set (MSH-18). A draft with a letter that it cannot hold goes as UNICODE UTF-8 all the same."""

    connect_seconds: _Seconds = 10.0
    """How long to wait for its TCP connection and TLS handshake."""

    ack_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long to wait for its acknowledgement. Then the same message is sent again, under the same control ID."""

    tls: DestinationTlsSettings | None = None
    """Encryption to it; without the table there is none."""


class FhirServerSettings(Frozen):
    """One FHIR R4 server that gets drafts as DiagnosticReports, each a transaction of conditional updates."""

    name: PeerName
    """Our name for it, in logs, in `preread why` and on the command line."""

    url: WebAddress
    """Its base address, such as "https://fhir.example/r4". The transaction is posted there."""

    authorization: OptionalSecret = None
    """Where the value of the HTTP header Authorization is, such as "Bearer ...", if it asks for one."""

    status: Literal["preliminary", "partial"] = "preliminary"
    """DiagnosticReport.status. R4 calls preliminary "verified early results" and partial "may be unverified"; most
    systems show only the first. Either way the report is labelled as asserted by an AI and unverified."""

    patient_system: Annotated[str, Field(max_length=200, pattern=r"^([a-z][a-z0-9+.-]*:[^\s\"<>]+)?$")] = ""
    """Identifier system (a URI) of the patient IDs there. Empty: the issuer, if it is an OID; else none."""

    accession_system: Annotated[str, Field(max_length=200, pattern=r"^([a-z][a-z0-9+.-]*:[^\s\"<>]+)?$")] = ""
    """Identifier system (a URI) of accession numbers there. Empty: none, only the type ACSN."""

    connect_seconds: _Seconds = 10.0
    """How long to wait for its TCP connection and TLS handshake."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long it may be silent. Then the same transaction is sent again, which changes nothing there."""

    tls: DestinationTlsSettings | None = None
    """Authorities and certificates, where those of the operating system do not do."""


class WebhookSettings(Frozen):
    """One address that gets every draft, and every withdrawal, as signed JSON."""

    name: PeerName
    """Our name for it, in logs, in `preread why` and on the command line."""

    url: WebAddress
    """Where the JSON is posted."""

    secret: NeededSecret
    """Key of the signature (HMAC-SHA256): of any length, or as "whsec_" and base64. At least 24 bytes are wise."""

    connect_seconds: _Seconds = 10.0
    """How long to wait for its TCP connection and TLS handshake."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long it may be silent. Then the same JSON is posted again, under the same webhook-id."""

    tls: DestinationTlsSettings | None = None
    """Authorities and certificates, where those of the operating system do not do."""


class DropFolderSettings(Frozen):
    """One folder that gets every draft, and every withdrawal, as a JSON file."""

    name: PeerName
    """Our name for it, in logs, in `preread why` and on the command line."""

    path: FilePath
    """The folder. Files appear under their name only when they are whole, and are never changed; whoever takes them
    deletes them. A folder that is not there is waited for."""


ReceiverSettings = Hl7ReceiverSettings | FhirServerSettings | WebhookSettings | DropFolderSettings
