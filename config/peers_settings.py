"""What `peers.toml` holds: who may send to us, where the drafts go, and whom we ask for priors and orders."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from config.receiver_settings import (
    DropFolderSettings,
    FhirServerSettings,
    Hl7ReceiverSettings,
    ReceiverSettings,
    WebhookSettings,
)
from config.tls_settings import DestinationTlsSettings
from config.values import (
    AETitle,
    Distinct,
    Fallback,
    Fingerprint,
    Frozen,
    Host,
    Listed,
    Network,
    NonemptyLine,
    OneLine,
    OptionalAETitle,
    OptionalCharset,
    OptionalHost,
    OptionalSecret,
    OptionalWebAddress,
    OutputKind,
    PeerName,
    Port,
    Profile,
    Search,
    WebAddress,
)


class SenderSettings(Frozen):
    """One system that may send images to us."""

    ae_title: AETitle
    """The AE title it calls itself (calling AE title)."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks it may come from. Empty: any. An AE title alone proves nothing: list them."""

    certificate_subject: OneLine = ""
    """Common Name or DNS name that its client certificate must have. Empty: any that `listener.tls.ca_file`
    vouches for."""

    certificate_sha256: Distinct[Fingerprint] = ()
    """SHA-256 fingerprints of the client certificates it may show, with or without colons; two while one is
    renewed. Empty: any. `openssl x509 -fingerprint -sha256 -in FILE` prints one."""

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


PROFILES: Mapping[Profile, tuple[OutputKind, ...]] = MappingProxyType(
    {
        "default": (),
        "ohif": ("report_sr", "findings_sr"),
        "weasis": ("report_sr", "presentation_state", "findings_sr"),
        "legacy_pacs": ("secondary_capture", "report_sr"),
        "sc_only": ("secondary_capture",),
        "strict_air": ("findings_sr_air",),
    }
)
"""What each profile stands for; () is `outputs.defaults` of reading.toml."""

STANDARD_FALLBACK: dict[OutputKind, OutputKind] = {
    "findings_sr_air": "findings_sr",
    "findings_sr": "report_sr",
    "report_sr": "encapsulated_pdf",
    "encapsulated_pdf": "secondary_capture",
    "presentation_state": "secondary_capture",
    "segmentation": "presentation_state",
}

ALWAYS_MADE: frozenset[OutputKind] = frozenset(
    ("report_sr", "presentation_state", "secondary_capture", "encapsulated_pdf")
)
"""The kinds that every draft has; the others need a finding or a box."""


class DestinationSettings(Frozen):
    """One system that gets drafts from us."""

    name: PeerName
    """Our name for it, in logs, in `preread why` and on the command line."""

    protocol: Literal["dicom", "dicomweb"] = "dicom"
    """How it takes them. dicom: C-STORE at `ae_title`, `host` and `port`. dicomweb: STOW-RS at `url`."""

    ae_title: OptionalAETitle = ""
    """Its AE title (called AE title). Needed for dicom."""

    host: OptionalHost = ""
    """Its host name or IP address. Needed for dicom."""

    port: Port = 104
    """Its TCP port."""

    url: OptionalWebAddress = ""
    """Where its DICOMweb service is, such as "https://pacs.example/dicom-web". Needed for dicomweb only."""

    authorization: OptionalSecret = None
    """Where the value of the HTTP header Authorization is, such as "Basic ..." or "Bearer ...", if dicomweb asks
    for one."""

    profile: Profile = "default"
    """What it gets, by the kind of system. default: `outputs.defaults` of reading.toml. ohif: text and findings,
    no overlay. weasis: text, overlay and findings. legacy_pacs: pictures and text. sc_only: pictures. strict_air:
    findings as IHE AI Results wants them. `preread probe` proposes one."""

    outputs: Distinct[OutputKind] = ()
    """What it gets, spelled out instead of `profile`: report_sr (text), findings_sr (coded findings with places),
    presentation_state (overlay), secondary_capture (picture with the boxes drawn in), key_object_selection
    (which images have boxes), segmentation (the boxes as masks; OHIF up to 3.13 goes black on them),
    encapsulated_pdf (the text report and the pictures as a PDF), findings_sr_air (in place of findings_sr, for
    systems that want IHE AI Results to the letter: Comprehensive 3D SR, scores beside their regions, also without
    a box; stops OHIF). Empty: as `profile` says. Take what its viewers can show; a picture is shown by all."""

    fallback: Fallback = STANDARD_FALLBACK
    """What goes instead of an output whose SOP Class it refuses, and instead of that, and so on. It gets nothing
    twice: where the next form goes there already, nothing is added. Empty: what is refused is given up."""

    rejection_notes: bool = False
    """It hides what a rejection note names (IHE Imaging Object Change Management). A draft that is withdrawn is then
    told to it as a Key Object Selection "Rejected for Quality Reasons" of our objects; without, as a text report that
    says so, or as a picture where it holds no structured report of ours. Either way nothing is deleted there."""

    calling_ae_title: OptionalAETitle = ""
    """AE title we use towards it. Empty: our own."""

    connect_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long to wait for its TCP connection, TLS handshake and answer to our association request."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    """How long to wait for its answer to each object. Archives that file synchronously need seconds."""

    associations_max: Annotated[int, Field(ge=1, le=10)] = 1
    """Associations (or requests) to it at the same time. One is enough for text and keeps the order."""

    failures_max: Annotated[int, Field(ge=1, le=1000)] = 3
    """Tries in a row in which it takes nothing, after which it rests: one draft then tries it after growing pauses,
    up to `worker.retry_seconds_max`, and the others wait."""

    commitment: bool = False
    """Ask it to commit to what it took (Storage Commitment, PS3.4 Annex J). A draft is then done when it has; what it
    does not commit to is sent again. It must know our AE title, host and port if it answers on an association
    of its own."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks that its reports of commitment may come from. Empty: any. Without them
    anybody who calls itself by its AE title can answer for it."""

    commitment_seconds: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    """How long to wait for its commitment before the objects are sent again."""

    tls: DestinationTlsSettings | None = None
    """Encryption to it; without the table there is none, or for an https `url` that of the operating system."""

    def forms_from(self, kind: OutputKind) -> tuple[OutputKind, ...]:
        """Names an output, and those that go instead while a draft may have no object of the one before."""
        forms = [kind]
        while forms[-1] not in ALWAYS_MADE and forms[-1] in self.fallback:
            forms.append(self.fallback[forms[-1]])
        return tuple(forms)


class ArchiveSettings(Frozen):
    """One archive that is asked for earlier exams. It may send what it was asked for, and no more unless it
    is a [[sender]] too."""

    name: PeerName
    """Our name for it, in logs, in drafts and in `preread why`."""

    ae_title: OptionalAETitle = ""
    """Its AE title. Needed for c-move and c-get."""

    host: OptionalHost = ""
    """Its host name or IP address. Needed for c-move and c-get."""

    port: Port = 104
    """Its TCP port."""

    retrieve: Literal["c-move", "c-get", "dicomweb"] = "c-move"
    """How exams are fetched. c-move: it opens an association to us and must know our AE title, host and port.
    c-get: over our own association, for archives that offer it. dicomweb: QIDO-RS and WADO-RS at `url`."""

    addresses: Distinct[Network] = ()
    """IP addresses or networks that it sends from after a c-move. Empty: any, since an archive may send from
    another address than `host`."""

    url: OptionalWebAddress = ""
    """Where its DICOMweb service is, such as "https://pacs.example/dicom-web". Needed for dicomweb only."""

    authorization: OptionalSecret = None
    """Where the value of the HTTP header Authorization is, such as "Basic ..." or "Bearer ...", if dicomweb asks
    for one."""

    information_model: Literal["study", "patient"] = "study"
    """Query/Retrieve information model: study root, or patient root where the archive knows no other. In patient root
    a patient is asked for under the exam's own number alone, not under those that were merged with it."""

    for_priors: bool = True
    """Ask it for earlier exams of a study that is to be read, and of one that is ordered."""

    calling_ae_title: OptionalAETitle = ""
    """AE title we use towards it. Empty: our own. Exams are always moved to `device.ae_title`."""

    connect_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long to wait for its TCP connection, TLS handshake and answer to our association request."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long it may be silent while it answers a query or fetches an exam."""

    request_seconds: Annotated[float, Field(ge=1, le=3600)] = 120.0
    """How long one query or the fetching of one exam may take in all, however busy it looks."""

    associations_max: Annotated[int, Field(ge=1, le=10)] = 1
    """Requests to it at the same time. The others wait their turn."""

    answers_max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Studies of one patient (of one patient ID, where there are several) that we listen to. At the next one the
    query is cancelled, and the draft says so."""

    assume_charset: OptionalCharset = None
    """Specific Character Set to assume where it names none although its texts need one."""

    default_issuer: OneLine = ""
    """Issuer of Patient ID to assume where it names none. Priors are matched by ID and issuer."""

    tls: DestinationTlsSettings | None = None
    """Encryption to it; without the table there is none, or for an https `url` that of the operating system."""

    @property
    def sender(self) -> str:
        """The calling AE title that its images come with; its name where it has no AE title."""
        return self.ae_title or self.name


class WorklistSettings(Frozen):
    """One modality worklist that tells us ahead of the exam what is ordered, and why."""

    name: PeerName
    """Our name for it, in logs."""

    ae_title: AETitle
    """Its AE title (called AE title)."""

    host: Host
    """Its host name or IP address."""

    port: Port
    """Its TCP port."""

    modalities: Distinct[Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]] = ("CR", "DX")
    """Scheduled modalities that are asked for, each by a query of its own."""

    days_ahead: Annotated[int, Field(ge=0, le=30)] = 1
    """How many days after today are asked for, too."""

    poll_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """How often it is asked."""

    calling_ae_title: OptionalAETitle = ""
    """AE title we use towards it. Empty: our own."""

    connect_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long to wait for its TCP connection, TLS handshake and answer to our association request."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long it may be silent while it answers."""

    request_seconds: Annotated[float, Field(ge=1, le=3600)] = 120.0
    """How long one query may take in all."""

    answers_max: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Entries of one query that we listen to; the rest is cancelled, and the log says so."""

    assume_charset: OptionalCharset = None
    """Specific Character Set to assume where it names none although its texts need one."""

    default_issuer: OneLine = ""
    """Issuer of Patient ID to assume where it names none."""

    tls: DestinationTlsSettings | None = None
    """Encryption to it; without the table there is none."""


class ReportServerSettings(Frozen):
    """One FHIR server (R4) that is asked, again and again, for radiology reports that are new there. They are matched
    to earlier exams as those that come by HL7."""

    name: PeerName
    """Our name for it, in logs and in `preread reports list`."""

    url: WebAddress
    """Its FHIR base address, such as "https://ris.example/fhir"."""

    authorization: OptionalSecret = None
    """Where the value of the HTTP header Authorization is, such as "Bearer ...", if it asks for one."""

    search: Search = "category=RAD"
    """Which DiagnosticReports, as FHIR search parameters. Time and order are added."""

    history_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """How far back the first question goes, by the time of the last change there."""

    poll_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often it is asked for what is new."""

    pages_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Pages of one answer that we listen to; the rest comes with the next question."""

    connect_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long to wait for its TCP connection and TLS handshake."""

    answer_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """How long it may be silent while it answers."""

    tls: DestinationTlsSettings | None = None
    """Whom to believe at an https `url`; without the table those that the operating system believes."""


def _nobody_listed(values: dict[str, object]) -> bool:
    return not values["senders"]


class PeersSettings(Frozen):
    """The other systems: `peers.toml`. In the file the tables are [[sender]], [[issuer]], [[destination]],
    [[hl7_receiver]], [[fhir_server]], [[webhook]], [[drop_folder]], [[archive]],
    [[worklist]] and [[report_server]]."""

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

    hl7_receivers: Annotated[Listed[Hl7ReceiverSettings], Field(validation_alias="hl7_receiver")] = ()
    """The systems that get drafts as HL7 v2 results."""

    fhir_servers: Annotated[Listed[FhirServerSettings], Field(validation_alias="fhir_server")] = ()
    """The FHIR servers that get drafts."""

    webhooks: Annotated[Listed[WebhookSettings], Field(validation_alias="webhook")] = ()
    """The addresses that get drafts as signed JSON."""

    drop_folders: Annotated[Listed[DropFolderSettings], Field(validation_alias="drop_folder")] = ()
    """The folders that get drafts as JSON files."""

    archives: Annotated[Listed[ArchiveSettings], Field(validation_alias="archive")] = ()
    """The archives that are asked for earlier exams. None: priors are those that were sent to us."""

    worklists: Annotated[Listed[WorklistSettings], Field(validation_alias="worklist")] = ()
    """The worklists that tell us of exams ahead."""

    report_servers: Annotated[Listed[ReportServerSettings], Field(validation_alias="report_server")] = ()
    """The FHIR servers that are asked for reports of earlier exams."""

    @property
    def receivers(self) -> tuple[ReceiverSettings, ...]:
        """Everybody who gets drafts as messages. Their names are unique among destinations and receivers."""
        return (*self.hl7_receivers, *self.fhir_servers, *self.webhooks, *self.drop_folders)
