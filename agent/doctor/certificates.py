"""TLS certificates: ours from their files, the peers' as they show them; how many days each has left."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from agent.doctor.lines import Line, Verdict

_AREA = "certificate"
WARN_DAYS = 30.0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate holds. Times UTC, aware."""

    not_before: datetime
    not_after: datetime


def read_validity(file: Path) -> Validity:
    """Reads the first certificate of a PEM file, which is the owner's own.

    Raises:
        OSError, ValueError: if it cannot be read, or holds none.
    """
    return _validity(x509.load_pem_x509_certificates(file.read_bytes())[0])


def shown_validity(host: str, port: int) -> Validity:
    """Asks a TLS server for its certificate; whether it is to be believed is not asked here.

    Raises:
        OSError: if it cannot be reached or speaks no TLS (ssl.SSLError is one).
        ValueError: if what it shows cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), _CONNECT_SECONDS) as plain,
        closing(context.wrap_socket(plain, server_hostname=host)) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    if not shown:
        raise ValueError("it shows no certificate")
    return _validity(x509.load_der_x509_certificate(shown))


def _validity(certificate: x509.Certificate) -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def judge_validity(whose: str, validity: Validity, now: datetime) -> Line:
    """Says how long a certificate holds.

    Args:
        whose: in words, such as 'destination "archive"' or a file's name.
    """
    days = (validity.not_after - now).total_seconds() / 86_400
    until = f"{whose}: valid until {validity.not_after:%Y-%m-%d}"
    if now < validity.not_before:
        text = (
            f"{whose}: valid only from {validity.not_before:%Y-%m-%d} on; is the clock of this machine right?"
        )
        return Line(Verdict.PROBLEM, _AREA, text)
    if days < 0:
        return Line(Verdict.PROBLEM, _AREA, f"{until}, {-days:.0f} days ago; have it renewed")
    if days < WARN_DAYS:
        return Line(Verdict.WARNING, _AREA, f"{until}, {days:.0f} days left; have it renewed")
    return Line(Verdict.OK, _AREA, f"{until}, {days:.0f} days left")


def judge_files(files: Iterator[tuple[str, Path]], now: datetime) -> Iterator[Line]:
    """Judges our own certificates, each with the key of its setting."""
    for key, file in files:
        try:
            yield judge_validity(f"{key} ({file})", read_validity(file), now)
        except (OSError, ValueError) as error:
            yield Line(
                Verdict.PROBLEM,
                _AREA,
                f"{key}: {file} holds no certificate in PEM form ({error}); correct it",
            )


def judge_shown(whose: str, host: str, port: int, now: datetime) -> Line:
    """Judges the certificate that a peer shows."""
    try:
        return judge_validity(whose, shown_validity(host, port), now)
    except (OSError, ValueError) as error:
        text = f"{whose}: {host}:{port} shows no certificate ({error}); is TLS switched on there?"
        return Line(Verdict.PROBLEM, _AREA, text)
