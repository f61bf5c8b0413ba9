"""What `agent.toml` says of keeping and forgetting: `[retention]` and `[audit]`."""

from typing import Annotated

from pydantic import Field

from config.values import Frozen, Host, OneLine, OptionalPath, Port

_Days = Annotated[int, Field(ge=1, le=36_500)]


class RetentionSettings(Frozen):
    """How long things are kept. Nothing that is unfinished or held goes, and nothing that came within a day.

    See docs/keeping.md. `preread retention --dry-run` lists what would go now."""

    image_days: _Days = 30
    """Images of a study, after its last image came and its last draft ended. Also those of priors that were fetched
    from an archive: they can be fetched again."""

    prior_days: _Days = 730
    """The same for a study that may still be a prior: one of the patient's newest, as many as `priors.count_max` of
    reading.toml, and within its `priors.window_days`. At least `image_days`."""

    result_days: _Days = 90
    """Our own objects and the record of their deliveries, after the draft ended. The destinations have them."""

    study_days: _Days = 1825
    """What we know of a study: the readings word for word, and its life that `preread why` tells; counted from when its
    images and drafts were deleted. At least all of the above."""

    report_days: _Days = 1825
    """Reports of earlier exams from outside DICOM, after they came."""

    refusal_days: _Days = 90
    """What was refused at the ports."""

    quarantine_days: _Days = 90
    """HL7 messages that could not be taken, whether or not somebody has seen to them."""

    free_bytes_start: Annotated[int, Field(ge=0, le=1_000_000_000_000_000)] = 5_368_709_120
    """Free space, in bytes, below which images go before their days are over, the oldest first and possible priors
    last. Above `listener.free_bytes_min`, or senders are refused before room is made. 0: never. Default: 5 GiB."""

    free_bytes_stop: Annotated[int, Field(ge=0, le=1_000_000_000_000_000)] = 10_737_418_240
    """Free space, in bytes, at which that ends."""


class AuditSyslogSettings(Frozen):
    """An audit record repository that takes syslog over TLS (RFC 5425, IHE ATNA). Leave the table out to have none."""

    host: Host
    """Its host name or address."""

    port: Port = 6514
    """Its TCP port; 6514 is registered for syslog over TLS."""

    ca_file: OptionalPath = None
    """Authorities that its certificate is checked against, PEM. Empty: those of the system."""

    certificate_file: OptionalPath = None
    """Our certificate, if it asks for one, PEM."""

    key_file: OptionalPath = None
    """The private key of our certificate, PEM, without a pass phrase."""

    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """How long it may take no byte before we try again later."""


class AuditSettings(Frozen):
    """Who did what: messages after DICOM PS3.15 A.5. They hold patient IDs; nothing else that preread logs does."""

    folder: OptionalPath = None
    """Folder of the audit files, one for each day (UTC), one message a line. Empty: `audit` in the folder of
    [storage]."""

    keep_days: _Days = 1095
    """How long an audit file is kept. Copy them elsewhere, or name a syslog server, if the law wants longer."""

    enterprise_site_id: OneLine = ""
    """Where this agent stands, for a repository of several sites (AuditEnterpriseSiteID)."""

    syslog: AuditSyslogSettings | None = None
    """The repository that gets a copy; without the table there is none."""
