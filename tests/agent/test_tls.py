"""Certificates that end, and what we speak towards peers; what our port refuses is in tests/listener/test_tls.py."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from agent.tls import expiring, peer_context, unusable_files
from config.tls_settings import DestinationTlsSettings
from tests.certificates import a_pair

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def a_certificate(folder: Path, *, ends: datetime) -> Path:
    issued = trustme.CA().issue_cert("preread.example", not_after=ends)
    issued.cert_chain_pems[0].write_to_path(folder / "own.pem")
    return folder / "own.pem"


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (31, None),
        (29, "ends on 2026-03-31; have it renewed"),
        (-1, "has ended on 2026-03-01; put a new one there, no restart is needed"),
    ],
)
def test_a_certificate_is_named_a_month_before_it_ends(tmp_path: Path, days: int, said: str | None) -> None:
    file = a_certificate(tmp_path, ends=NOW + timedelta(days=days))

    assert list(expiring([file], NOW)) == ([f"the certificate in {file} {said}"] if said else [])


def test_a_file_that_is_no_certificate_is_left_to_who_uses_it(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("-----BEGIN")

    assert list(expiring([tmp_path / "own.pem", tmp_path / "none.pem"], NOW)) == []


@pytest.mark.parametrize("profile", ["bcp195", "bcp195_extended"])
def test_towards_a_peer_nothing_older_and_nothing_weaker_is_offered(profile: str) -> None:
    context = peer_context(DestinationTlsSettings(), profile)

    before_1_3 = [one for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert all(one["aead"] and one["kea"] == "kx-ecdhe" for one in before_1_3)
    assert min(one["strength_bits"] for one in before_1_3) == (128 if profile == "bcp195" else 256)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, {}),
        ({"ca_file": "empty"}, {"ca_file": "certificates in PEM form, at least one and all of them whole"}),
        ({"ca_file": "own.key"}, {"ca_file": "certificates in PEM form, at least one and all of them whole"}),
        (
            {"ca_file": "damaged.pem"},
            {"ca_file": "certificates in PEM form, at least one and all of them whole"},
        ),
        ({"key_file": "other.key"}, {"key_file": "the private key of the first certificate in {}/own.pem"}),
        (
            {"key_file": "elliptic.key"},
            {"key_file": "the private key of the first certificate in {}/own.pem"},
        ),
        ({"key_file": "empty"}, {"key_file": "a private key in PEM form, whole"}),
        ({"key_file": "damaged.key"}, {"key_file": "a private key in PEM form, whole"}),
        (
            {"key_file": "locked.key"},
            {"key_file": "a private key without a pass phrase; run: openssl pkey -in {}/locked.key -out NEW"},
        ),
        ({"certificate_file": "damaged.pem"}, {"certificate_file": "our certificate in PEM form, whole"}),
        (
            {"certificate_file": "own.key", "key_file": "own.pem"},
            {
                "certificate_file": "our certificate in PEM form, whole",
                "key_file": "a private key in PEM form, whole",
            },
        ),
        (
            {"certificate_file": "damaged.pem", "key_file": "gone"},
            {"certificate_file": "our certificate in PEM form, whole"},
        ),
        ({"ca_file": "gone", "certificate_file": "gone"}, {}),
    ],
)
def test_what_no_connection_can_be_made_with_is_told_by_its_key(
    tmp_path: Path, files: dict[str, str], told: dict[str, str]
) -> None:
    tls = a_pair(tmp_path).model_copy(update={key: tmp_path / name for key, name in files.items()})

    assert dict(unusable_files(tls)) == {key: words.format(tmp_path) for key, words in told.items()}


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    tls = a_pair(tmp_path).model_copy(update={"key_file": tmp_path / "locked.key"})

    with pytest.raises(OSError, match="the private key has a pass phrase"):
        peer_context(tls)
