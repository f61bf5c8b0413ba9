"""Settings that are right one by one and wrong together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from config.agent_settings import AgentSettings, ListenerSettings, ListenerTlsSettings, StorageSettings
from config.conditions import OneOf, When
from config.peers_settings import (
    ALWAYS_MADE,
    ArchiveSettings,
    DestinationSettings,
    PeersSettings,
    ReportServerSettings,
    WorklistSettings,
)
from config.problems import Problem
from config.reading_settings import ReadingSettings
from config.receiver_settings import (
    FhirServerSettings,
    Hl7ReceiverSettings,
    ReceiverSettings,
    WebhookSettings,
)
from config.rule_settings import RuleSettings
from config.tls_settings import DestinationTlsSettings
from config.values import OutputKind, Secret, is_loopback, open_to_others
from config.wording import quoted, shown

AGENT_FILE, PEERS_FILE, READING_FILE = "agent.toml", "peers.toml", "reading.toml"
_WithTls = (
    DestinationSettings
    | Hl7ReceiverSettings
    | FhirServerSettings
    | WebhookSettings
    | ArchiveSettings
    | WorklistSettings
    | ReportServerSettings
)
_EVERY_INTERFACE = ("0.0.0.0", "::")


def agent_contradictions(agent: AgentSettings) -> Iterator[Problem]:
    """Finds what does not go together in agent.toml, and files it names that cannot be read."""
    worker = agent.worker
    if worker.retry_seconds_max < worker.retry_seconds_min:
        least = f"at least worker.retry_seconds_min = {worker.retry_seconds_min}"
        yield Problem(AGENT_FILE, "worker.retry_seconds_max", str(worker.retry_seconds_max), least)
    yield from _port_tls("listener", agent.listener.tls)
    yield from _hl7(agent)
    yield from _metrics(agent)
    yield from _database(agent.storage)
    yield from _retention(agent)
    yield from _audit(agent)


def _port_tls(port: str, tls: ListenerTlsSettings | None) -> Iterator[Problem]:
    if tls is None:
        return
    if tls.require_client_certificate and tls.ca_file is None:
        needed = "the authorities of the client certificates, since require_client_certificate = true"
        yield Problem(AGENT_FILE, f"{port}.tls.ca_file", '""', needed)
    for key in ("certificate_file", "key_file", "ca_file"):
        yield from _unreadable(AGENT_FILE, f"{port}.tls.{key}", getattr(tls, key))
    yield from _open_key(AGENT_FILE, f"{port}.tls.key_file", tls.key_file)


def _hl7(agent: AgentSettings) -> Iterator[Problem]:
    hl7 = agent.hl7
    if hl7 is None:
        return
    if not hl7.addresses and not is_loopback(hl7.host):
        known = f"at least one address, since hl7.host = {quoted(hl7.host)} opens the port to the network"
        yield Problem(AGENT_FILE, "hl7.addresses", "[]", known)
    if hl7.port == agent.listener.port:
        yield Problem(AGENT_FILE, "hl7.port", str(hl7.port), "another port than listener.port")
    yield from _port_tls("hl7", hl7.tls)


def _metrics(agent: AgentSettings) -> Iterator[Problem]:
    metrics = agent.metrics
    if metrics is None:
        return
    if not metrics.addresses and not is_loopback(metrics.host):
        asks = (
            f"at least one address, since metrics.host = {quoted(metrics.host)} opens the port to the network"
        )
        yield Problem(AGENT_FILE, "metrics.addresses", "[]", asks)
    others = {"listener.port": agent.listener.port, "hl7.port": agent.hl7 and agent.hl7.port}
    for key, port in others.items():
        if metrics.port == port:
            yield Problem(AGENT_FILE, "metrics.port", str(port), f"another port than {key}")


def _database(storage: StorageSettings) -> Iterator[Problem]:
    password = storage.database_password
    if password is None:
        return
    if not urlsplit(storage.database_url).username:
        user = 'a PostgreSQL URL with a user ("postgresql://user@host/database"), since there is a password'
        yield Problem(AGENT_FILE, "storage.database_url", quoted(storage.database_url), user)
    yield from _hidden(AGENT_FILE, "storage.database_password", password, "a password")


def _retention(agent: AgentSettings) -> Iterator[Problem]:
    kept = agent.retention
    if kept.prior_days < kept.image_days:
        least = f"at least retention.image_days = {kept.image_days}"
        yield Problem(AGENT_FILE, "retention.prior_days", str(kept.prior_days), least)
    for key in ("image_days", "prior_days", "result_days"):
        if kept.study_days < getattr(kept, key):
            least = f"at least retention.{key} = {getattr(kept, key)}"
            yield Problem(AGENT_FILE, "retention.study_days", str(kept.study_days), least)
    if not kept.free_bytes_start:
        return
    if kept.free_bytes_start <= agent.listener.free_bytes_min:
        more = f"more than listener.free_bytes_min = {agent.listener.free_bytes_min}, or 0"
        yield Problem(AGENT_FILE, "retention.free_bytes_start", str(kept.free_bytes_start), more)
    if kept.free_bytes_stop <= kept.free_bytes_start:
        more = f"more than retention.free_bytes_start = {kept.free_bytes_start}"
        yield Problem(AGENT_FILE, "retention.free_bytes_stop", str(kept.free_bytes_stop), more)


def _audit(agent: AgentSettings) -> Iterator[Problem]:
    syslog = agent.audit.syslog
    if syslog is None:
        return
    if (syslog.certificate_file is None) != (syslog.key_file is None):
        missing = "certificate_file" if syslog.certificate_file is None else "key_file"
        yield Problem(
            AGENT_FILE, f"audit.syslog.{missing}", "", "a path: a certificate and its key go together"
        )
    for key in ("ca_file", "certificate_file", "key_file"):
        yield from _unreadable(AGENT_FILE, f"audit.syslog.{key}", getattr(syslog, key))


def peers_contradictions(peers: PeersSettings) -> Iterator[Problem]:
    """Finds what does not go together in peers.toml, and files it names that cannot be read."""
    yield from _named_once(PEERS_FILE, "sender", "ae_title", [one.ae_title for one in peers.senders])
    yield from _names_of_receivers(peers)
    yield from _issuers(peers)
    yield from _named_once(PEERS_FILE, "archive", "name", [one.name for one in peers.archives])
    yield from _named_once(PEERS_FILE, "worklist", "name", [one.name for one in peers.worklists])
    yield from _named_once(PEERS_FILE, "report_server", "name", [one.name for one in peers.report_servers])
    for number, archive in enumerate(peers.archives, start=1):
        yield from _unreachable(f"archive[{number}]", archive)
    asked: tuple[
        tuple[
            str, Sequence[DestinationSettings | ArchiveSettings | FhirServerSettings | ReportServerSettings]
        ],
        ...,
    ] = (
        ("destination", peers.destinations),
        ("fhir_server", peers.fhir_servers),
        ("archive", peers.archives),
        ("report_server", peers.report_servers),
    )
    for table, ones in asked:
        for number, one in enumerate(ones, start=1):
            yield from _hidden(
                PEERS_FILE, f"{table}[{number}].authorization", one.authorization, "a header's value"
            )
    called: tuple[tuple[str, Sequence[_WithTls]], ...] = (
        ("destination", peers.destinations),
        ("hl7_receiver", peers.hl7_receivers),
        ("fhir_server", peers.fhir_servers),
        ("webhook", peers.webhooks),
        ("archive", peers.archives),
        ("worklist", peers.worklists),
        ("report_server", peers.report_servers),
    )
    for table, peers_of_table in called:
        for number, peer in enumerate(peers_of_table, start=1):
            if peer.tls is not None:
                yield from _peer_tls(f"{table}[{number}].tls", peer.tls)
    for number, webhook in enumerate(peers.webhooks, start=1):
        yield from _hidden(PEERS_FILE, f"webhook[{number}].secret", webhook.secret, "a secret")
    for number, destination in enumerate(peers.destinations, start=1):
        yield from _destination(f"destination[{number}]", destination)


def _names_of_receivers(peers: PeersSettings) -> Iterator[Problem]:
    """A delivery is a row with a name: destinations and receivers of messages share one set of names."""
    tables: tuple[tuple[str, Sequence[DestinationSettings | ReceiverSettings]], ...] = (
        ("destination", peers.destinations),
        ("hl7_receiver", peers.hl7_receivers),
        ("fhir_server", peers.fhir_servers),
        ("webhook", peers.webhooks),
        ("drop_folder", peers.drop_folders),
    )
    first: dict[str, str] = {}
    for table, ones in tables:
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


def _issuers(peers: PeersSettings) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for number, issuer in enumerate(peers.issuers, start=1):
        for called in (issuer.name, *issuer.also_called):
            first = taken.setdefault(called.lower(), number)
            if first != number:
                key = "name" if called == issuer.name else "also_called"
                other = f"another name than those of issuer[{first}]"
                yield Problem(PEERS_FILE, f"issuer[{number}].{key}", quoted(called), other)


def _named_once(file: str, table: str, key: str, names: Sequence[str]) -> Iterator[Problem]:
    for number, name in enumerate(names, start=1):
        first = names.index(name) + 1
        if first < number:
            other = f"another {key} than that of {table}[{first}]"
            yield Problem(file, f"{table}[{number}].{key}", quoted(name), other)


def _peer_tls(place: str, tls: DestinationTlsSettings) -> Iterator[Problem]:
    if (tls.certificate_file is None) != (tls.key_file is None):
        missing = "certificate_file" if tls.certificate_file is None else "key_file"
        yield Problem(PEERS_FILE, f"{place}.{missing}", "", "a path: a certificate and its key go together")
    for key in ("ca_file", "certificate_file", "key_file"):
        yield from _unreadable(PEERS_FILE, f"{place}.{key}", getattr(tls, key))
    yield from _open_key(PEERS_FILE, f"{place}.key_file", tls.key_file)


def reading_contradictions(reading: ReadingSettings) -> Iterator[Problem]:
    """Finds what does not go together in reading.toml."""
    for table, engine in (("engine", reading.engine), ("second_engine", reading.second_engine)):
        if engine and engine.model_folder is not None and not engine.accepted_licence.strip():
            licence = (
                f"the licence of the weights in {table}.model_folder, "
                'written by the person who has accepted it, such as "CC-BY-NC-4.0"'
            )
            place = f"{table}.accepted_licence"
            yield Problem(READING_FILE, place, quoted(engine.accepted_licence), licence)
    yield from _findings_twice(READING_FILE, "outputs.defaults", reading.outputs.defaults)
    names = [one.finding for one in reading.calibrations]
    yield from _named_once(READING_FILE, "calibration", "finding", names)
    adapters = [one.name for one in reading.adapters]
    yield from _named_once(READING_FILE, "adapter", "name", adapters)
    yield from _named_once(READING_FILE, "rule", "name", [one.name for one in reading.rules])
    for number, rule in enumerate(reading.rules, start=1):
        yield from _findings_twice(READING_FILE, f"rule[{number}].outputs", rule.outputs)
        if rule.adapter and rule.adapter not in adapters:
            known = f"the name of an [[adapter]]; there {_are(adapters)}"
            yield Problem(READING_FILE, f"rule[{number}].adapter", quoted(rule.adapter), known)
        yield from _never_asked(number, reading.rules)


def _never_asked(number: int, rules: Sequence[RuleSettings]) -> Iterator[Problem]:
    always = next((one.name for one in rules[: number - 1] if one.when == When()), None)
    if always is not None:
        earlier = f"a place before rule {quoted(always)}, which fits every study"
        yield Problem(READING_FILE, f"rule[{number}].name", quoted(rules[number - 1].name), earlier)


def contradictions_of_rules(peers: PeersSettings, reading: ReadingSettings) -> Iterator[Problem]:
    """Finds rules that send to somebody who is not there."""
    names = [one.name for one in (*peers.destinations, *peers.receivers)]
    for number, rule in enumerate(reading.rules, start=1):
        for name in rule.destinations:
            if name not in names:
                known = f"a destination or receiver of peers.toml; there {_are(names)}"
                yield Problem(READING_FILE, f"rule[{number}].destinations", quoted(name), known)


def contradictions_of_titles(agent: AgentSettings, reading: ReadingSettings) -> Iterator[Problem]:
    """Finds rules for AE titles that nobody can call us by."""
    if not agent.listener.check_called_ae_title:
        return
    ours = (agent.device.ae_title, *agent.device.also_called)
    known = f"an AE title of ours (device.ae_title, device.also_called of agent.toml); there {_are(ours)}"
    for number, rule in enumerate(reading.rules, start=1):
        for title in _called_titles(rule):
            if title.lower() not in [one.lower() for one in ours]:
                yield Problem(READING_FILE, f"rule[{number}].when", quoted(title), known)


def _called_titles(rule: RuleSettings) -> Iterator[str]:
    for test in rule.when.every_test():
        if test.fact == "called_ae_title" and isinstance(test.wanted, OneOf):
            yield from (str(title).strip() for title in test.wanted.values)


def _are(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if names else "are none"


def contradictions_between(agent: AgentSettings, peers: PeersSettings) -> Iterator[Problem]:
    """Finds what does not go together between the files."""
    host = agent.listener.host
    everybody_by_default = peers.accept_any_sender and "accept_any_sender" not in peers.model_fields_set
    if everybody_by_default and not is_loopback(host):
        known = (
            "at least one [[sender]], or accept_any_sender = true, "
            f"since agent.toml opens the port to the network (listener.host = {quoted(host)})"
        )
        yield Problem(PEERS_FILE, "sender", "", known)
    tls = agent.listener.tls
    for number, sender in enumerate(peers.senders, start=1):
        for key in ("certificate_subject", "certificate_sha256"):
            if getattr(sender, key) and (tls is None or tls.ca_file is None):
                needed = (
                    "listener.tls with ca_file in agent.toml, since without it nobody shows a certificate"
                )
                yield Problem(PEERS_FILE, f"sender[{number}].{key}", "", needed)
    if not peers.accept_any_sender and not peers.senders:
        someone = "at least one [[sender]], since accept_any_sender = false lets nobody else send"
        yield Problem(PEERS_FILE, "sender", "", someone)
    for number, destination in enumerate(peers.destinations, start=1):
        if _is_ourselves(destination, agent.listener):
            other = "another system: host and port are those of this agent's own listener"
            yield Problem(PEERS_FILE, f"destination[{number}].port", str(destination.port), other)


def contradictions_of_waiting(agent: AgentSettings, reading: ReadingSettings) -> Iterator[Problem]:
    """Finds a wait for priors that would outlast the patience of its stage, and so fail the study."""
    patience, wait = agent.worker.gather_patience_seconds, reading.priors.wait_seconds
    if wait >= patience:
        less = f"less than worker.gather_patience_seconds = {patience:g} of agent.toml"
        yield Problem(READING_FILE, "priors.wait_seconds", f"{wait:g}", less)


def _is_ourselves(destination: DestinationSettings, listener: ListenerSettings) -> bool:
    if destination.port != listener.port:
        return False
    we_hear_loopback = is_loopback(listener.host) or listener.host in _EVERY_INTERFACE
    return destination.host == listener.host or (is_loopback(destination.host) and we_hear_loopback)


def _open_key(file: str, key: str, path: Path | None) -> Iterator[Problem]:
    if path is not None and (problem := open_to_others(path)):
        yield Problem(file, key, quoted(str(path)), f"a private key that is private ({problem})")


def _hidden(file: str, key: str, secret: Secret | None, what: str) -> Iterator[Problem]:
    try:
        if secret is not None:
            secret.reveal()
    except LookupError as error:
        yield Problem(file, key, "", f"{what} ({error})")


def _unreadable(file: str, key: str, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    try:
        with path.open("rb"):
            return
    except OSError as error:
        yield Problem(file, key, quoted(str(path)), f"a file that we can read ({error.strerror})")
