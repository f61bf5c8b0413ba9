"""Posts messages over HTTP: FHIR transactions, and JSON signed as Standard Webhooks 1.0 has it."""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from agent.peers import StoreKind, Verdict
from agent.peers.http import problem_of, session
from config.receiver_settings import FhirServerSettings, WebhookSettings
from config.values import Secret

ANSWER_BYTES_MAX = 65_536
_SHOWN_CHARACTERS_MAX = 200
_PASSING = (401, 403, 408, 409, 423, 425, 429)
"""Of the 4xx those that pass, or that an administrator there or here can make pass (RFC 9110; 423 RFC 4918)."""


def post_bundle(server: FhirServerSettings, content: bytes) -> Verdict:
    """Posts a transaction to the base of a server (FHIR R4 3.1.0.11); it is taken whole or not at all."""
    headers = {
        "Content-Type": "application/fhir+json; charset=utf-8",
        "Accept": "application/fhir+json",
        "Prefer": "return=minimal",
    }
    return _posted(server, server.authorization, headers, content)


def post_signed(webhook: WebhookSettings, uid: str, content: bytes, now: datetime) -> Verdict:
    """Posts JSON with the three headers of Standard Webhooks; the same message again has the same webhook-id."""
    try:
        key = key_of(webhook.secret.reveal())
    except LookupError as error:
        return Verdict(StoreKind.NOT_SENT, f"{_name(webhook)}: its secret is gone ({error}).")
    timestamp = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "webhook-id": uid,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature_of(key, uid, timestamp, content),
    }
    return _posted(webhook, None, headers, content)


def reach(receiver: FhirServerSettings | WebhookSettings) -> str | None:
    """Asks a FHIR server for its capability statement (R4 3.1.0.1), a webhook for anything; a sentence, or None."""
    name, wait = _name(receiver), (receiver.connect_seconds, receiver.answer_seconds)
    try:
        if isinstance(receiver, WebhookSettings):
            with session(receiver.tls, None) as opened:
                opened.head(receiver.url, timeout=wait, allow_redirects=False)
            return None
        with session(receiver.tls, receiver.authorization) as opened:
            headers = {"Accept": "application/fhir+json"}
            url = f"{receiver.url}/metadata?_summary=true"
            opened.get(url, headers=headers, timeout=wait, stream=True).raise_for_status()
        return None
    except OSError as error:
        return problem_of(name, receiver.answer_seconds, error)[0]


def key_of(secret: str) -> bytes:
    """The bytes of a webhook secret: what is base64 behind "whsec_", else the text itself in UTF-8."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise LookupError("what follows whsec_ is no base64") from error
    return secret.encode()


def signature_of(key: bytes, uid: str, timestamp: str, content: bytes) -> str:
    """The value of webhook-signature: "v1," and the base64 of HMAC-SHA256 over "uid.timestamp.content"."""
    signed = b".".join((uid.encode(), timestamp.encode(), content))
    return "v1," + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()


def _posted(
    receiver: FhirServerSettings | WebhookSettings,
    authorization: Secret | None,
    headers: Mapping[str, str],
    content: bytes,
) -> Verdict:
    wait = (receiver.connect_seconds, receiver.answer_seconds)
    try:
        with (
            session(receiver.tls, authorization) as opened,
            opened.post(
                receiver.url, data=content, headers=headers, timeout=wait, allow_redirects=False, stream=True
            ) as response,
        ):
            return _judged(receiver, response.status_code, next(response.iter_content(ANSWER_BYTES_MAX), b""))
    except OSError as error:  # those of requests are OSErrors
        return Verdict(StoreKind.NOT_SENT, problem_of(_name(receiver), receiver.answer_seconds, error)[0])


def _judged(receiver: FhirServerSettings | WebhookSettings, status: int, body: bytes) -> Verdict:
    name = _name(receiver)
    if 200 <= status < 300:
        return Verdict(StoreKind.TAKEN, None)
    if status in (401, 403):
        return Verdict(
            StoreKind.REFUSED_FOR_NOW, f"{name} does not let us in, HTTP status {status}. See its secret."
        )
    if 300 <= status < 400:
        words = f"{name} sends us elsewhere, HTTP status {status}. Write the final url into peers.toml."
        return Verdict(StoreKind.REFUSED_FOR_GOOD, words)
    if status == 412:
        words = (
            f"{name} holds more than one resource with an identifier of ours, HTTP status 412. "
            "Delete the doubles there, then send again."
        )
        return Verdict(StoreKind.REFUSED_FOR_GOOD, words)
    said = _codes_in(body)
    words = f"{name} answered HTTP status {status}{said}. See its log."
    passing = status >= 500 or status in _PASSING
    return Verdict(StoreKind.REFUSED_FOR_NOW if passing else StoreKind.REFUSED_FOR_GOOD, words)


def _codes_in(body: bytes) -> str:
    """The issue codes of an OperationOutcome; its texts may repeat what we sent, so they stay out of the log."""
    try:
        issues = json.loads(body).get("issue", [])
        codes = [str(issue["code"]) for issue in issues if isinstance(issue, dict) and "code" in issue]
    except (ValueError, AttributeError, TypeError):
        return ""
    shown = "".join(filter(str.isprintable, ", ".join(dict.fromkeys(codes))))[:_SHOWN_CHARACTERS_MAX]
    return f" ({shown})" if shown else ""


def _name(receiver: FhirServerSettings | WebhookSettings) -> str:
    kind = "FHIR server" if isinstance(receiver, FhirServerSettings) else "Webhook"
    return f'{kind} "{receiver.name}" ({receiver.url})'
