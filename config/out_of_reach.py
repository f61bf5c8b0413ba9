"""Files and secrets that the settings name for connections, as this process can reach them.

Who opens connections has this looked at when it starts. Nobody else does: under systemd a key may be handed to the
service alone, and the reader, or a person's `preread status`, is not to fail for what it does not use.
"""

from collections.abc import Iterator
from pathlib import Path

from config.contradictions import absent_secret, tls_tables
from config.peers_settings import ArchiveSettings, DestinationSettings, ReportServerSettings
from config.problems import PEERS_FILE, Problem, why_unread
from config.readable import Numbered, Readable
from config.receiver_settings import FhirServerSettings, WebhookSettings
from config.values import open_to_others
from config.wording import quoted

_WithAuthorization = DestinationSettings | FhirServerSettings | ArchiveSettings | ReportServerSettings
_BY_HTTP = ("destination", "fhir_server", "archive", "report_server")


def out_of_reach(found: Readable) -> Iterator[Problem]:
    """Finds secrets that are not there, and TLS files that are missing or that too few or too many can read.

    What is in the files is not looked at.
    """
    for table in _BY_HTTP:
        peers: Numbered[_WithAuthorization] = found.get(f"peers.{table}[]", ())
        for number, peer in peers:
            key = f"{table}[{number}].authorization"
            yield from absent_secret(PEERS_FILE, key, peer.authorization, "a header's value")
    webhooks: Numbered[WebhookSettings] = found.get("peers.webhook[]", ())
    for number, webhook in webhooks:
        yield from absent_secret(PEERS_FILE, f"webhook[{number}].secret", webhook.secret, "a secret")
    for file, place, tls in tls_tables(found):
        for key in ("ca_file", "certificate_file", "key_file"):
            yield from _unreadable(file, f"{place}.{key}", getattr(tls, key))
        if tls.key_file is not None and (problem := open_to_others(tls.key_file)):
            private = f"a private key that is private ({problem})"
            yield Problem(file, f"{place}.key_file", quoted(str(tls.key_file)), private)


def _unreadable(file: str, key: str, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    try:
        with path.open("rb"):
            return
    except OSError as error:
        yield Problem(file, key, quoted(str(path)), f"a file that we can read ({why_unread(error)})")
