"""What DICOMweb and FHIR share: a session as `peers.toml` wants it, and what went wrong in a sentence.

The errors of the libraries are not repeated: they hold addresses, and those patient IDs.
"""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from agent.tls import not_believed
from config.settings import DestinationTlsSettings, Secret

# It writes the addresses that it asks for, and patient IDs are part of those.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

_WRONG_REQUEST = range(400, 500)
_PASSING = (408, 425, 429)
"""Of the 4xx, those that say "later" (RFC 9110, RFC 8470, RFC 6585)."""


class NoAuthorization(OSError):
    """The value of the header Authorization is not where the settings say."""


@contextmanager
def session(tls: DestinationTlsSettings | None, authorization: Secret | None) -> Iterator[requests.Session]:
    """Opens a session that talks to the configured host and to nobody else.

    Args:
        authorization: where the value of the header Authorization is; read each time, so that it may be renewed.

    Raises:
        NoAuthorization: if it is not there.
    """
    with requests.Session() as opened:
        # A proxy of the environment is for the world outside; patient IDs must not go there.
        opened.trust_env = False
        # Nor to wherever an answer points.
        opened.max_redirects = 0
        if authorization is not None:
            try:
                opened.headers["Authorization"] = authorization.reveal()
            except LookupError as error:
                raise NoAuthorization(error.args[0]) from None
        if tls is not None:
            opened.verify = str(tls.ca_file) if tls.ca_file else True
            if tls.certificate_file and tls.key_file:
                opened.cert = (str(tls.certificate_file), str(tls.key_file))
        yield opened


def problem_of(name: str, answer_seconds: float, error: Exception) -> tuple[str, bool]:
    """Says what went wrong with a peer, without the error's own text, and whether it will again.

    Args:
        name: of the peer, as a sentence begins with it.
    """
    match error:
        case requests.HTTPError(response=requests.Response(status_code=(401 | 403) as code)):
            return f"{name} answered HTTP status {code}. Set its authorization in peers.toml.", True
        case requests.HTTPError(response=requests.Response(status_code=code)):
            is_for_good = code in _WRONG_REQUEST and code not in _PASSING
            return f"{name} answered HTTP status {code}. See its log.", is_for_good
        case requests.TooManyRedirects():
            return f"{name} sends us on to another address. Write that as its url in peers.toml.", True
        case requests.exceptions.SSLError():
            return f"{name} {_no_tls(error)}", False
        case requests.Timeout():
            return (
                f"{name} did not answer within {answer_seconds:g} s. "
                "If it is only slow, raise its answer_seconds in peers.toml."
            ), False
        case NoAuthorization():
            return f"{name}: its authorization in peers.toml is not there ({error.args[0]}).", False
        case _:
            return f"{name} cannot be connected ({type(error).__name__}). Is url in peers.toml right?", False


def _no_tls(error: requests.exceptions.SSLError) -> str:
    cure = "Set tls.ca_file of it in peers.toml."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return not_believed(cause, cure)
        cause = cause.__context__
    return f"and we agree on no TLS connection. {cure}"
