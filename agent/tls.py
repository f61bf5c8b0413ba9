"""Encryption in and out: the profiles of PS3.15 Annex B, certificates that are renewed, and who stands behind one.

Python 3.11 cannot choose among the suites of TLS 1.3 and OpenSSL's stay; all of them are authenticated encryption with
ephemeral keys. So the profiles differ in what TLS 1.2 may use.
"""

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import structlog

log = structlog.get_logger()

SUITES = {
    "bcp195": "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
    "bcp195_extended": "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
}
"""Suites of TLS 1.2 by profile: RFC 9325 4.2 as PS3.15 B.12 takes it; those of 256 bits as the retired B.11 does."""

EXPIRY_WARNING_DAYS = 30
"""A certificate that ends sooner is named in the log each day: a month is what an authority may take."""


class PortTls(Protocol):
    """Encryption at a port; `config.agent_settings.ListenerTlsSettings`."""

    @property
    def certificate_file(self) -> Path: ...
    @property
    def key_file(self) -> Path: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def require_client_certificate(self) -> bool: ...
    @property
    def profile(self) -> str: ...


class PeerTls(Protocol):
    """Encryption to a peer; `config.tls_settings.DestinationTlsSettings`."""

    @property
    def certificate_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...
    @property
    def ca_file(self) -> Path | None: ...


def port_context(tls: PortTls) -> ssl.SSLContext:
    """Gives the context of a port: TLS 1.2 or 1.3, with client certificates if asked for.

    Raises:
        OSError: (ssl.SSLError is one) if a file is no good.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply(context, tls.profile)
    context.load_cert_chain(tls.certificate_file, tls.key_file, _nobody_types_it)
    if tls.ca_file is not None:
        context.load_verify_locations(tls.ca_file)
        # One that is shown must be good, asked for or not: `Sender.certificate_subject` looks at it.
        context.verify_mode = ssl.CERT_OPTIONAL
    if tls.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_context(tls: PeerTls, profile: str = "bcp195") -> ssl.SSLContext:
    """Gives the context towards a peer, whose certificate and name are always checked. Raises as `port_context`."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    _apply(context, profile)
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file, _nobody_types_it)
    return context


def _apply(context: ssl.SSLContext, profile: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES[profile])
    # RFC 9325 3.3 and 3.5: neither compression nor renegotiation.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


class _PassPhraseNeeded(OSError):
    """A private key has a pass phrase."""


def _nobody_types_it() -> str:
    # Without this OpenSSL asks at the terminal, and a service that was started from one waits there for good.
    raise _PassPhraseNeeded(
        "the private key has a pass phrase; take it off with: openssl pkey -in OLD -out NEW"
    )


def unusable_files(tls: PeerTls) -> Iterator[tuple[str, str]]:
    """Finds the files that no connection can be made with: (key of the table, what is expected there) of each.

    A file that cannot be read is passed over: `config.contradictions` tells it.
    """
    if tls.ca_file is not None and not _holds_certificates(tls.ca_file):
        yield "ca_file", "certificates in PEM form, at least one and all of them whole"
    if tls.certificate_file is None or tls.key_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tls.certificate_file, tls.key_file, _nobody_types_it
        )
    except _PassPhraseNeeded:
        without = f"a private key without a pass phrase; run: openssl pkey -in {tls.key_file} -out NEW"
        yield "key_file", without
    except ssl.SSLError as error:
        yield from _wrong_of_pair(tls.certificate_file, tls.key_file, error.reason)
    except OSError:
        return


# The last one is OpenSSL's word for a key of another kind, such as an elliptic one for an RSA certificate.
_OF_ANOTHER_CERTIFICATE = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def _wrong_of_pair(certificate: Path, key: Path, reason: str | None) -> Iterator[tuple[str, str]]:
    """Says which of a certificate and its key OpenSSL does not take; `reason` is its own word, if it has one."""
    if reason in _OF_ANOTHER_CERTIFICATE:
        yield "key_file", f"the private key of the first certificate in {certificate}"
    elif not _holds_certificates(certificate):
        yield "certificate_file", "our certificate in PEM form, whole"
        if not _holds_key(key):
            yield "key_file", "a private key in PEM form, whole"
    elif reason is None:
        yield "key_file", "a private key in PEM form, whole"
    else:
        yield "certificate_file", f"a certificate that OpenSSL takes ({reason.lower().replace('_', ' ')})"


def _holds_certificates(file: Path) -> bool:
    """Is there a certificate in it, and none that is damaged? True for a file that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        return False
    except OSError:
        return True
    return context.cert_store_stats()["x509"] > 0


def _holds_key(file: Path) -> bool:
    """Does it look as if a private key were in it? True for a file that cannot be read."""
    try:
        return b"PRIVATE KEY-----" in file.read_bytes()
    except OSError:
        return True


# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10


def not_believed(error: ssl.SSLCertVerificationError, otherwise: str) -> str:
    """Says of a peer that its certificate is not believed, why, and what to do; the peer's name goes before it.

    Args:
        otherwise: what to do if it is not a matter of time.
    """
    cures = {
        _NOT_YET_VALID: "Is the clock of this machine right?",
        _HAS_EXPIRED: "It has to be renewed there, if the clock of this machine is right.",
    }
    cure = cures.get(error.verify_code, otherwise)
    return f"showed a certificate that we do not believe ({error.verify_message}). {cure}"


_HANDSHAKES = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS; switch that on there",
    "HTTP_REQUEST": "it speaks no TLS, and HTTP",
    "UNSUPPORTED_PROTOCOL": "it knows no TLS 1.2",
    "NO_SHARED_CIPHER": "it knows no suite of our tls.profile",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate; give it one, or set "
    "tls.require_client_certificate = false",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not believe our certificate; give it our authority",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not believe our certificate; give it our authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not believe our certificate; give it our authority",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has ended; renew tls.certificate_file",
}
"""What OpenSSL's word for a handshake that failed at a port of ours means, of the sender; and what to do."""


def handshake_problem(error: ssl.SSLError) -> str:
    """Says why a sender and a port of ours came to no TLS: in OpenSSL's word, to be searched for, and in ours."""
    word = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        cures = {
            _NOT_YET_VALID: "is the clock of this machine right?",
            _HAS_EXPIRED: "renew it there, if the clock of this machine is right",
        }
        cure = cures.get(error.verify_code, "add its authority to tls.ca_file")
        meaning = f"its certificate is not believed ({error.verify_message}); {cure}"
    else:
        meaning = _HANDSHAKES.get(word, "see the log of the sender")
    return f"TLS handshake failed: {word}: {meaning}"


def shut_down(connection: socket.socket, how: int) -> None:
    """Shuts a connection down that another thread works with, TLS or not; harmless if it has ended.

    SSLSocket's own would take away what the other thread shakes hands with.

    Args:
        how: socket.SHUT_RD or socket.SHUT_RDWR.
    """
    with suppress(OSError):
        socket.socket.shutdown(connection, how)


class PortContext:
    """The context of a port, made anew when one of its files has changed; for several threads.

    Connections that are open keep the one they began with. New files that are no good, such as a certificate whose key
    has not been written yet, leave the old ones in force, and the log says so.

    Args:
        tls: is read at once; raises as `port_context`.
    """

    def __init__(self, tls: PortTls) -> None:
        self._tls = tls
        self._context = port_context(tls)
        self._stamps = self._seen_at()

    def current(self) -> ssl.SSLContext:
        """The context for a new connection. Looks at the files, 10 µs, and reads them if they have changed."""
        stamps = self._seen_at()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = port_context(self._tls)
                log.info("certificate read anew", file=str(self._tls.certificate_file))
            except OSError as error:
                log.error("the changed TLS files cannot be used; the old ones stay", reason=str(error))
        return self._context

    def _seen_at(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(
            _stamp(path) for path in (self._tls.certificate_file, self._tls.key_file, self._tls.ca_file)
        )


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


# --- who stands behind a certificate ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A certificate that a peer has shown and that one of our authorities vouches for.

    Attributes:
        names: Common Name of its subject, and its DNS names.
        sha256: of its DER form, hexadecimal in lower case without colons.
    """

    names: tuple[str, ...]
    sha256: str


def shown_certificate(connection: object) -> ShownCertificate | None:
    """Gives what the other side of a connection has shown; None without encryption, or if it has shown none."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    encoded = connection.getpeercert(binary_form=True)
    if not encoded:
        return None
    # Imported where a certificate is read: it is 7 MB of the process that listens, and most ports are plain.
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate = x509.load_der_x509_certificate(encoded)
    names = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    with suppress(x509.ExtensionNotFound):
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += others.get_values_for_type(x509.DNSName)
    return ShownCertificate(tuple(names), sha256(encoded).hexdigest())


# --- expiry -------------------------------------------------------------------------------------------------


def expiring(files: Sequence[Path], now: datetime) -> Iterator[str]:
    """Says of each file whose first certificate ends within EXPIRY_WARNING_DAYS, or has ended, when that is.

    A file that cannot be read is passed over: who uses it says so.
    """
    if not files:
        return
    from cryptography import x509  # as above

    for file in files:
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError):
            continue
        ends = certificate.not_valid_after_utc
        if ends <= now:
            yield f"the certificate in {file} has ended on {ends:%Y-%m-%d}; put a new one there, no restart is needed"
        elif ends - now < timedelta(days=EXPIRY_WARNING_DAYS):
            yield f"the certificate in {file} ends on {ends:%Y-%m-%d}; have it renewed"


def warn_of_expiry(files: Callable[[], Sequence[Path]], clock: Callable[[], datetime]) -> None:
    """Writes what `expiring` says to the log; called by the clock."""
    for warning in expiring(files(), clock()):
        log.warning("certificate", reason=warning)
