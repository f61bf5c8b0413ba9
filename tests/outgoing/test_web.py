"""What an HTTP answer means, and that a receiver can tell who has sent it what."""

import base64
import hmac
import socket
from hashlib import sha256

import pytest

from agent.outgoing.web import key_of, post_bundle, post_signed, signature_of
from agent.peers import StoreKind, Verdict
from config.values import Secret
from tests.outgoing.builders import NOW, a_fhir_server, a_webhook
from tests.outgoing.peers import web_peer


def posted(status: int, body: bytes = b"{}") -> Verdict:
    with web_peer(status, body=body) as peer:
        return post_bundle(a_fhir_server(peer.port), b"{}")


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_is_taken(status: int):
    assert posted(status) == Verdict(StoreKind.TAKEN, None)


@pytest.mark.parametrize("status", [401, 403, 408, 409, 425, 429, 500, 502, 503])
def test_what_passes_is_tried_again_and_says_which_status_it_was(status: int):
    verdict = posted(status)

    assert verdict.kind is StoreKind.REFUSED_FOR_NOW
    assert f"HTTP status {status}" in (verdict.words or "")


@pytest.mark.parametrize("status", [301, 307, 400, 404, 405, 412, 422])
def test_what_will_not_pass_is_final_and_says_what_to_do(status: int):
    verdict = posted(status)

    assert verdict.kind is StoreKind.REFUSED_FOR_GOOD
    assert f"HTTP status {status}" in (verdict.words or "")


def test_the_codes_of_an_operation_outcome_are_told_and_its_words_are_not():
    verdict = posted(422, b'{"issue":[{"code":"invariant","diagnostics":"Doe^Jane"},{"code":"value"}]}')

    assert "(invariant, value)" in (verdict.words or "")
    assert "Doe" not in (verdict.words or "")


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"issue": 5}', b"\xff\xfe", b"null"])
def test_an_answer_that_is_no_operation_outcome_is_told_without_it(body: bytes):
    assert "answered HTTP status 500. See its log" in (posted(500, body).words or "")


def test_a_server_that_dies_over_a_transaction_gets_it_again():
    verdict = posted(0)

    assert verdict.kind is StoreKind.NOT_SENT
    assert "(ConnectionError)" in (verdict.words or "")


def test_a_silent_server_is_left_after_answer_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        verdict = post_bundle(a_fhir_server(server.getsockname()[1], answer_seconds=0.1), b"{}")

    assert verdict.kind is StoreKind.NOT_SENT
    assert "did not answer within 0.1 s" in (verdict.words or "")


def test_the_authorization_of_the_site_goes_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FHIR_SECRET", "Bearer s3cret")
    with web_peer(200) as peer:
        post_bundle(a_fhir_server(peer.port, authorization=Secret(env="FHIR_SECRET")), b"{}")

    ((headers, _),) = peer.received
    assert headers["authorization"] == "Bearer s3cret"


def test_a_secret_that_is_gone_is_waited_for_and_its_place_named():
    verdict = post_bundle(a_fhir_server(authorization=Secret(env="NOT_SET")), b"{}")

    assert verdict.kind is StoreKind.NOT_SENT
    assert "environment variable NOT_SET is not set" in (verdict.words or "")


def test_a_proxy_of_the_environment_never_sees_a_patient(monkeypatch: pytest.MonkeyPatch):
    with web_peer(200) as proxy, web_peer(200) as peer:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        post_bundle(a_fhir_server(peer.port), b"{}")

    assert (len(peer.received), len(proxy.received)) == (1, 0)


def test_a_receiver_can_check_the_signature_of_what_is_posted_and_its_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "a key of the site")
    with web_peer(204) as peer:
        verdict = post_signed(a_webhook(peer.port), "2.25.7", b'{"event":"draft"}', NOW)

    ((headers, content),) = peer.received
    signed = f"2.25.7.{int(NOW.timestamp())}.".encode() + content
    expected = base64.b64encode(hmac.new(b"a key of the site", signed, sha256).digest()).decode()
    assert verdict.kind is StoreKind.TAKEN
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("2.25.7", str(int(NOW.timestamp())))


def test_the_signature_is_that_of_the_example_of_standard_webhooks():
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signature = signature_of(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_secret_that_is_no_base64_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "whsec_???")

    verdict = post_signed(a_webhook(), "2.25.7", b"{}", NOW)

    assert "what follows whsec_ is no base64" in (verdict.words or "")
