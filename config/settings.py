"""The whole tree of settings. Everything an administrator may say is a field here, with its reason."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from config.agent_settings import (
    AgentSettings,
    DeviceSettings,
    Hl7Settings,
    ListenerSettings,
    ListenerTlsSettings,
    LogSettings,
    MetricsSettings,
    StorageSettings,
    WorkerSettings,
)
from config.keeping_settings import AuditSettings, AuditSyslogSettings, RetentionSettings
from config.peers_settings import (
    PROFILES,
    ArchiveSettings,
    DestinationSettings,
    IssuerSettings,
    PeersSettings,
    ReportServerSettings,
    SenderSettings,
    WorklistSettings,
)
from config.reading_settings import (
    CalibrationSettings,
    EngineSettings,
    OrderSettings,
    OutputSettings,
    PriorSettings,
    ReaderSettings,
    ReadingSettings,
    StudySettings,
)
from config.receiver_settings import (
    DropFolderSettings,
    FhirServerSettings,
    Hl7ReceiverSettings,
    ReceiverSettings,
    WebhookSettings,
)
from config.rule_settings import AdapterSettings, RulePriorSettings, RuleSettings
from config.tls_settings import DestinationTlsSettings
from config.values import Frozen, OutputKind, Secret

__all__ = [
    "AdapterSettings",
    "AgentSettings",
    "ArchiveSettings",
    "AuditSettings",
    "AuditSyslogSettings",
    "CalibrationSettings",
    "DestinationSettings",
    "DestinationTlsSettings",
    "DeviceSettings",
    "DropFolderSettings",
    "EngineSettings",
    "FhirServerSettings",
    "Hl7ReceiverSettings",
    "Hl7Settings",
    "IssuerSettings",
    "ListenerSettings",
    "ListenerTlsSettings",
    "LogSettings",
    "MetricsSettings",
    "OrderSettings",
    "OutputKind",
    "OutputSettings",
    "PeersSettings",
    "PriorSettings",
    "ReaderSettings",
    "ReadingSettings",
    "ReceiverSettings",
    "ReportServerSettings",
    "RetentionSettings",
    "RulePriorSettings",
    "RuleSettings",
    "Secret",
    "SenderSettings",
    "Settings",
    "StorageSettings",
    "StudySettings",
    "WebhookSettings",
    "WorkerSettings",
    "WorklistSettings",
]


class Settings(Frozen):
    """All settings of one run. `Settings()` is a working agent for this machine alone.

    Attributes:
        folder: the config folder they were read from, or None if these are the defaults.
    """

    agent: AgentSettings = AgentSettings()
    peers: PeersSettings = PeersSettings()
    reading: ReadingSettings = ReadingSettings()
    folder: Path | None = None

    @property
    def digest(self) -> str:
        """Identifies these settings: "sha256:<hex>" over all values but the folder; stored with each Reading.

        Passwords have no part in it: a Secret holds only the place where one is.
        """
        values = self.model_dump(mode="json", exclude={"folder"})
        return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def of_second_engine(self) -> "Settings | None":
        """These settings with the second engine in the place of the first; None if there is none.

        Adapters of rules and calibrations are the first engine's, made for its weights.
        """
        second = self.reading.second_engine
        if second is None:
            return None
        alone = {"engine": second, "second_engine": None, "adapters": (), "calibrations": ()}
        return self.model_copy(update={"reading": self.reading.model_copy(update=alone)})

    def certificate_files(self) -> tuple[Path, ...]:
        """Names the files of our own certificates, each once, at the ports and towards peers."""
        return tuple(dict.fromkeys(_certificate_files(self)))

    def outputs_of(self, destination: DestinationSettings) -> tuple[OutputKind, ...]:
        """Names the kinds of object that a destination gets."""
        return destination.outputs or PROFILES[destination.profile] or self.reading.outputs.defaults

    def outputs_wanted(self) -> tuple[OutputKind, ...]:
        """Names every kind that has to be made: what any destination gets; without one, the defaults."""
        wanted = [kind for destination in self.peers.destinations for kind in self.outputs_of(destination)]
        return tuple(dict.fromkeys(wanted)) or self.reading.outputs.defaults

    def destination(self, name: str) -> DestinationSettings | None:
        """Finds a destination by its name; None if it is no longer in the settings."""
        return next((one for one in self.peers.destinations if one.name == name), None)

    def receiver(self, name: str) -> ReceiverSettings | None:
        """Finds a receiver of messages by its name; None if it is no longer in the settings."""
        return next((one for one in self.peers.receivers if one.name == name), None)

    def archive(self, name: str) -> ArchiveSettings | None:
        """Finds an archive by its name; None if it is no longer in the settings."""
        return next((one for one in self.peers.archives if one.name == name), None)

    def assumed_charset(self, calling_ae_title: str) -> str | None:
        """Gives the Specific Character Set to assume where this sender or archive names none; None if none is set."""
        known = {archive.ae_title: archive.assume_charset for archive in self.peers.archives}
        known |= {sender.ae_title: sender.assume_charset for sender in self.peers.senders}
        return known.get(calling_ae_title)

    def archives_for_priors(self) -> tuple[ArchiveSettings, ...]:
        """Names the archives that are asked for earlier exams; none if no prior is wanted."""
        if self.reading.priors.count_max == 0:
            return ()
        return tuple(one for one in self.peers.archives if one.for_priors)


def _certificate_files(value: object) -> Iterator[Path]:
    if isinstance(value, Frozen):
        for key, one in value:
            if key == "certificate_file" and one is not None:
                yield one
            yield from _certificate_files(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _certificate_files(one)
