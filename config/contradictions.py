"""Settings that are right one by one and wrong together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from config.agent_settings import (
    Hl7Settings,
    ListenerSettings,
    ListenerTlsSettings,
    MetricsSettings,
    StorageSettings,
    WorkerSettings,
)
from config.keeping_settings import AuditSettings, AuditSyslogSettings, RetentionSettings
from config.peers_settings import (
    ALWAYS_MADE,
    ArchiveSettings,
    DestinationSettings,
    IssuerSettings,
    PeersSettings,
    SenderSettings,
)
from config.problems import AGENT_FILE, PEERS_FILE, READING_FILE, Problem
from config.readable import Numbered, Readable
from config.reading_settings import EngineSettings, OutputSettings, PriorSettings
from config.receiver_settings import ReceiverSettings
from config.rule_contradictions import (
    never_asked,
    unknown_adapters,
    unknown_called_titles,
    unknown_calling_titles,
    unknown_destinations,
)
from config.rule_settings import RuleSettings
from config.tls_settings import DestinationTlsSettings
from config.values import Frozen, OutputKind, Secret, is_loopback
from config.wording import quoted, shown

_EVERY_INTERFACE = ("0.0.0.0", "::")


def contradictions(found: Readable) -> Iterator[Problem]:
    """Finds what does not go together in and between the files, as far as each could be read.

    Each contradiction is looked for if all that it needs could be read, whatever else is wrong beside it.
    """
    for look, needs in CONTRADICTIONS:
        if all(need in found for need in needs):
            yield from look(*(found[need] for need in needs))
    for file, place, tls in tls_tables(found):
        yield from _half_a_pair(file, place, tls)


def tls_tables(
    found: Readable,
) -> Iterator[tuple[str, str, ListenerTlsSettings | AuditSyslogSettings | DestinationTlsSettings]]:
    """Names the tables that hold certificates, as far as they could be read: file, place and table of each."""
    for port in ("listener", "hl7"):
        opened: ListenerSettings | Hl7Settings | None = found.get(f"agent.{port}")
        if opened is not None and opened.tls is not None:
            yield AGENT_FILE, f"{port}.tls", opened.tls
    audit: AuditSettings | None = found.get("agent.audit")
    if audit is not None and audit.syslog is not None:
        yield AGENT_FILE, "audit.syslog", audit.syslog
    for table in _CALLED:
        for number, peer in found.get(f"peers.{table}[]", ()):
            if peer.tls is not None:
                yield PEERS_FILE, f"{table}[{number}].tls", peer.tls


# --- agent.toml -----------------------------------------------------------------------------------------------------


def _retries(worker: WorkerSettings) -> Iterator[Problem]:
    if worker.retry_seconds_max < worker.retry_seconds_min:
        least = f"at least worker.retry_seconds_min = {worker.retry_seconds_min}"
        yield Problem(AGENT_FILE, "worker.retry_seconds_max", str(worker.retry_seconds_max), least)


def _listener(listener: ListenerSettings) -> Iterator[Problem]:
    yield from _port_tls("listener", listener.tls)


def _port_tls(port: str, tls: ListenerTlsSettings | None) -> Iterator[Problem]:
    if tls is not None and tls.require_client_certificate and tls.ca_file is None:
        needed = "the authorities of the client certificates, since require_client_certificate = true"
        yield Problem(AGENT_FILE, f"{port}.tls.ca_file", '""', needed)


def _hl7(hl7: Hl7Settings | None) -> Iterator[Problem]:
    if hl7 is None:
        return
    if not hl7.addresses and not is_loopback(hl7.host):
        known = f"at least one address, since hl7.host = {quoted(hl7.host)} opens the port to the network"
        yield Problem(AGENT_FILE, "hl7.addresses", "[]", known)
    yield from _port_tls("hl7", hl7.tls)


def _metrics(metrics: MetricsSettings | None) -> Iterator[Problem]:
    if metrics is not None and not metrics.addresses and not is_loopback(metrics.host):
        asks = (
            f"at least one address, since metrics.host = {quoted(metrics.host)} opens the port to the network"
        )
        yield Problem(AGENT_FILE, "metrics.addresses", "[]", asks)


def _port_twice(
    second: str,
    first: str,
    one: MetricsSettings | Hl7Settings | None,
    other: ListenerSettings | Hl7Settings | None,
) -> Iterator[Problem]:
    if one is not None and other is not None and one.port == other.port:
        yield Problem(AGENT_FILE, f"{second}.port", str(one.port), f"another port than {first}.port")


def _database(storage: StorageSettings) -> Iterator[Problem]:
    password = storage.database_password
    if password is None:
        return
    if not urlsplit(storage.database_url).username:
        user = 'a PostgreSQL URL with a user ("postgresql://user@host/database"), since there is a password'
        yield Problem(AGENT_FILE, "storage.database_url", quoted(storage.database_url), user)
    yield from absent_secret(AGENT_FILE, "storage.database_password", password, "a password")


def _retention(kept: RetentionSettings) -> Iterator[Problem]:
    if kept.prior_days < kept.image_days:
        least = f"at least retention.image_days = {kept.image_days}"
        yield Problem(AGENT_FILE, "retention.prior_days", str(kept.prior_days), least)
    for key in ("image_days", "prior_days", "result_days"):
        if kept.study_days < getattr(kept, key):
            least = f"at least retention.{key} = {getattr(kept, key)}"
            yield Problem(AGENT_FILE, "retention.study_days", str(kept.study_days), least)
    if kept.free_bytes_start and kept.free_bytes_stop <= kept.free_bytes_start:
        more = f"more than retention.free_bytes_start = {kept.free_bytes_start}"
        yield Problem(AGENT_FILE, "retention.free_bytes_stop", str(kept.free_bytes_stop), more)


def _room(kept: RetentionSettings, listener: ListenerSettings) -> Iterator[Problem]:
    if 0 < kept.free_bytes_start <= listener.free_bytes_min:
        more = f"more than listener.free_bytes_min = {listener.free_bytes_min}, or 0"
        yield Problem(AGENT_FILE, "retention.free_bytes_start", str(kept.free_bytes_start), more)


def absent_secret(file: str, key: str, secret: Secret | None, what: str) -> Iterator[Problem]:
    """Finds a secret that is not where the settings say; `what` it is stands in the sentence."""
    try:
        if secret is not None:
            secret.reveal()
    except LookupError as error:
        yield Problem(file, key, "", f"{what} ({error})")


# --- peers.toml -----------------------------------------------------------------------------------------------------


def _archives(archives: Numbered[ArchiveSettings]) -> Iterator[Problem]:
    for number, archive in archives:
        yield from _unreachable(f"archive[{number}]", archive)


def _destinations(destinations: Numbered[DestinationSettings]) -> Iterator[Problem]:
    for number, destination in destinations:
        yield from _destination(f"destination[{number}]", destination)


def _names_of_receivers(*tables: Sequence[DestinationSettings | ReceiverSettings]) -> Iterator[Problem]:
    """A delivery is a row with a name: destinations and receivers of messages share one set of names."""
    first: dict[str, str] = {}
    for table, ones in zip(_NAMED, tables, strict=True):
        for number, one in enumerate(ones, start=1):
            place = f"{table}[{number}]"
            if first.setdefault(one.name, place) != place:
                other = f"another name than that of {first[one.name]}"
                yield Problem(PEERS_FILE, f"{place}.name", quoted(one.name), other)


def _destination(place: str, destination: DestinationSettings) -> Iterator[Problem]:
    yield from _unreachable(place, destination)
    yield from _findings_twice(PEERS_FILE, f"{place}.outputs", destination.outputs)
    yield from _fallback(f"{place}.fallback", destination.fallback)
    if destination.protocol == "dicomweb" and destination.commitment:
        dicom = 'false, since storage commitment is not part of protocol = "dicomweb"'
        yield Problem(PEERS_FILE, f"{place}.commitment", "true", dicom)


def _fallback(key: str, fallback: Mapping[OutputKind, OutputKind]) -> Iterator[Problem]:
    for refused in fallback:
        seen, last = [refused], fallback[refused]
        while last in fallback and last not in seen:
            seen.append(last)
            last = fallback[last]
        if last in seen:
            yield Problem(PEERS_FILE, key, f"{refused} and what follows it", f"an end: {last} comes twice")
        elif last not in ALWAYS_MADE:
            certain = (
                f"one of {', '.join(sorted(ALWAYS_MADE))} at the end, since not every draft has a {last}"
            )
            yield Problem(PEERS_FILE, key, f"{refused} and what follows it", certain)


def _unreachable(place: str, peer: ArchiveSettings | DestinationSettings) -> Iterator[Problem]:
    key, way = (
        ("retrieve", peer.retrieve) if isinstance(peer, ArchiveSettings) else ("protocol", peer.protocol)
    )
    for needed in ("url",) if way == "dicomweb" else ("ae_title", "host"):
        if not getattr(peer, needed):
            yield Problem(PEERS_FILE, f"{place}.{needed}", '""', f"a value, since {key} = {quoted(way)}")


def _findings_twice(file: str, key: str, outputs: Sequence[OutputKind]) -> Iterator[Problem]:
    if {"findings_sr", "findings_sr_air"} <= set(outputs):
        one = "either findings_sr or findings_sr_air: both say the same, and a viewer would show each finding twice"
        yield Problem(file, key, shown(outputs), one)


def _issuers(issuers: Sequence[IssuerSettings]) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for number, issuer in enumerate(issuers, start=1):
        for called in (issuer.name, *issuer.also_called):
            first = taken.setdefault(called.lower(), number)
            if first != number:
                key = "name" if called == issuer.name else "also_called"
                other = f"another name than those of issuer[{first}]"
                yield Problem(PEERS_FILE, f"issuer[{number}].{key}", quoted(called), other)


def _named_once(file: str, table: str, key: str, ones: Sequence[Frozen]) -> Iterator[Problem]:
    names: list[str] = [getattr(one, key) for one in ones]
    for number, name in enumerate(names, start=1):
        first = names.index(name) + 1
        if first < number:
            other = f"another {key} than that of {table}[{first}]"
            yield Problem(file, f"{table}[{number}].{key}", quoted(name), other)


# --- reading.toml ---------------------------------------------------------------------------------------------------


def _licence(table: str, engine: EngineSettings | None) -> Iterator[Problem]:
    if engine and engine.model_folder is not None and not engine.accepted_licence.strip():
        licence = (
            f"the licence of the weights in {table}.model_folder, "
            'written by the person who has accepted it, such as "CC-BY-NC-4.0"'
        )
        yield Problem(READING_FILE, f"{table}.accepted_licence", quoted(engine.accepted_licence), licence)


def _default_outputs(outputs: OutputSettings) -> Iterator[Problem]:
    yield from _findings_twice(READING_FILE, "outputs.defaults", outputs.defaults)


def _outputs_of_rules(rules: Numbered[RuleSettings]) -> Iterator[Problem]:
    for number, rule in rules:
        yield from _findings_twice(READING_FILE, f"rule[{number}].outputs", rule.outputs)


# --- between the files ----------------------------------------------------------------------------------------------


def _open_to_everybody(
    peers: PeersSettings, accepts_any: bool, listener: ListenerSettings
) -> Iterator[Problem]:
    by_default = accepts_any and "accept_any_sender" not in peers.model_fields_set  # nobody is listed
    if by_default and not is_loopback(listener.host):
        known = (
            "at least one [[sender]], or accept_any_sender = true, "
            f"since agent.toml opens the port to the network (listener.host = {quoted(listener.host)})"
        )
        yield Problem(PEERS_FILE, "sender", "", known)


def _open_to_nobody(senders: Sequence[SenderSettings], accepts_any: bool) -> Iterator[Problem]:
    if not accepts_any and not senders:
        someone = "at least one [[sender]], since accept_any_sender = false lets nobody else send"
        yield Problem(PEERS_FILE, "sender", "", someone)


def _certificates_of_senders(
    senders: Numbered[SenderSettings], listener: ListenerSettings
) -> Iterator[Problem]:
    if listener.tls is not None and listener.tls.ca_file is not None:
        return
    needed = "listener.tls with ca_file in agent.toml, since without it nobody shows a certificate"
    for number, sender in senders:
        for key in ("certificate_subject", "certificate_sha256"):
            if getattr(sender, key):
                yield Problem(PEERS_FILE, f"sender[{number}].{key}", "", needed)


def _loops(destinations: Numbered[DestinationSettings], listener: ListenerSettings) -> Iterator[Problem]:
    for number, destination in destinations:
        if _is_ourselves(destination, listener):
            other = "another system: host and port are those of this agent's own listener"
            yield Problem(PEERS_FILE, f"destination[{number}].port", str(destination.port), other)


def _waiting(worker: WorkerSettings, priors: PriorSettings) -> Iterator[Problem]:
    """Finds a wait for priors that would outlast the patience of its stage, and so fail the study."""
    patience, wait = worker.gather_patience_seconds, priors.wait_seconds
    if wait >= patience:
        less = f"less than worker.gather_patience_seconds = {patience:g} of agent.toml"
        yield Problem(READING_FILE, "priors.wait_seconds", f"{wait:g}", less)


def _is_ourselves(destination: DestinationSettings, listener: ListenerSettings) -> bool:
    if destination.port != listener.port:
        return False
    we_hear_loopback = is_loopback(listener.host) or listener.host in _EVERY_INTERFACE
    return destination.host == listener.host or (is_loopback(destination.host) and we_hear_loopback)


def _half_a_pair(
    file: str, place: str, tls: ListenerTlsSettings | AuditSyslogSettings | DestinationTlsSettings
) -> Iterator[Problem]:
    """Finds a certificate without its key, or a key without its certificate."""
    if (tls.certificate_file is None) != (tls.key_file is None):
        missing = "certificate_file" if tls.certificate_file is None else "key_file"
        yield Problem(file, f"{place}.{missing}", "", "a path: a certificate and its key go together")


# --- all of them ----------------------------------------------------------------------------------------------------

_NAMED = ("destination", "hl7_receiver", "fhir_server", "webhook", "drop_folder")
_CALLED = ("destination", "hl7_receiver", "fhir_server", "webhook", "archive", "worklist", "report_server")
_PLACES_OF_NAMED = tuple(f"peers.{table}" for table in _NAMED)

CONTRADICTIONS: tuple[tuple[Callable[..., Iterator[Problem]], tuple[str, ...]], ...] = (
    (_retries, ("agent.worker",)),
    (_listener, ("agent.listener",)),
    (_hl7, ("agent.hl7",)),
    (partial(_port_twice, "hl7", "listener"), ("agent.hl7", "agent.listener")),
    (_metrics, ("agent.metrics",)),
    (partial(_port_twice, "metrics", "listener"), ("agent.metrics", "agent.listener")),
    (partial(_port_twice, "metrics", "hl7"), ("agent.metrics", "agent.hl7")),
    (_database, ("agent.storage",)),
    (_retention, ("agent.retention",)),
    (_room, ("agent.retention", "agent.listener")),
    (partial(_named_once, PEERS_FILE, "sender", "ae_title"), ("peers.sender",)),
    (_names_of_receivers, _PLACES_OF_NAMED),
    (_issuers, ("peers.issuer",)),
    *(
        (partial(_named_once, PEERS_FILE, table, "name"), (f"peers.{table}",))
        for table in ("archive", "worklist", "report_server")
    ),
    (_archives, ("peers.archive[]",)),
    (_destinations, ("peers.destination[]",)),
    (partial(_licence, "engine"), ("reading.engine",)),
    (partial(_licence, "second_engine"), ("reading.second_engine",)),
    (_default_outputs, ("reading.outputs",)),
    (partial(_named_once, READING_FILE, "calibration", "finding"), ("reading.calibration",)),
    (partial(_named_once, READING_FILE, "adapter", "name"), ("reading.adapter",)),
    (partial(_named_once, READING_FILE, "rule", "name"), ("reading.rule",)),
    (_outputs_of_rules, ("reading.rule[]",)),
    (unknown_adapters, ("reading.rule[]", "reading.adapter")),
    (never_asked, ("reading.rule[]",)),
    (_open_to_everybody, ("peers", "peers.accept_any_sender", "agent.listener")),
    (_certificates_of_senders, ("peers.sender[]", "agent.listener")),
    (_open_to_nobody, ("peers.sender", "peers.accept_any_sender")),
    (_loops, ("peers.destination[]", "agent.listener")),
    (_waiting, ("agent.worker", "reading.priors")),
    (unknown_called_titles, ("reading.rule[]", "agent.device", "agent.listener")),
    (
        unknown_calling_titles,
        ("reading.rule[]", "peers.accept_any_sender", "peers.sender", "peers.archive"),
    ),
    (unknown_destinations, ("reading.rule[]", *_PLACES_OF_NAMED)),
)
"""What may be wrong together: who looks for it, and the places (`config.readable`) that it needs, its arguments."""
