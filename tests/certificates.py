"""Certificates and keys for tests, good ones and such as no connection can be made with."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from config.tls_settings import DestinationTlsSettings

_DAMAGED = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"


def a_pair(folder: Path) -> DestinationTlsSettings:
    """Writes a certificate (own.pem), its key (own.key) and its authority (ca.pem), and gives the table of them.

    Beside them: other.key and elliptic.key of other certificates, locked.key with a pass phrase, damaged.pem and
    damaged.key, and empty.
    """
    authority = trustme.CA()
    own, other = (authority.issue_cert("preread.example", key_type=trustme.KeyType.RSA) for _ in range(2))
    elliptic = authority.issue_cert("preread.example", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own.cert_chain_pems[0].write_to_path(folder / "own.pem")
    for name, issued in (("own", own), ("other", other), ("elliptic", elliptic)):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    locked = load_pem_private_key(own.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open")
    )
    (folder / "locked.key").write_bytes(locked)
    (folder / "damaged.pem").write_text(_DAMAGED.format("CERTIFICATE"))
    (folder / "damaged.key").write_text(_DAMAGED.format("PRIVATE KEY"))
    (folder / "empty").touch()
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return DestinationTlsSettings(
        ca_file=folder / "ca.pem", certificate_file=folder / "own.pem", key_file=folder / "own.key"
    )
