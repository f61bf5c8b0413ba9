"""A digest is worked out once for each state of a file, and is never that of another state."""

import hashlib
import json
import os
import subprocess
import time

import pytest

from inference.engines import digests
from inference.engines.digests import digest_of, stamps_of


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def old_enough(monkeypatch):
    """Lets a file count as settled that was written a moment ago; stands for two seconds of waiting."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -1)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def spoil(state) -> None:
    """Makes every kept digest another, so that one sees where it is taken."""
    kept = json.loads((state / "weights-digests.json").read_text())
    (state / "weights-digests.json").write_text(
        json.dumps({path: [stamp, "kept"] for path, (stamp, _) in kept.items()})
    )


def test_the_digest_of_one_file_is_its_sha256(weights):
    assert digest_of([weights]) == sha256(b"weights")


def test_the_digest_of_several_files_is_that_of_what_sha256sum_prints(weights):
    (weights.parent / "b.safetensors").write_bytes(b"more")
    names = ["model.safetensors", "b.safetensors"]
    printed = subprocess.run(
        ["sha256sum", *names], cwd=weights.parent, capture_output=True, check=True
    ).stdout

    assert digest_of([weights.parent / name for name in names]) == sha256(printed)


@pytest.mark.usefixtures("old_enough")
def test_a_file_that_has_not_changed_is_not_hashed_again(weights, tmp_path):
    digest_of([weights], tmp_path / "state")
    spoil(tmp_path / "state")

    assert digest_of([weights], tmp_path / "state") == "sha256:kept"


@pytest.mark.usefixtures("old_enough")
def test_a_file_with_the_same_size_and_the_same_time_put_back_is_hashed_again(weights, tmp_path):
    before = weights.stat()
    digest_of([weights], tmp_path / "state")

    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert weights.stat().st_mtime_ns == before.st_mtime_ns
    assert digest_of([weights], tmp_path / "state") == sha256(b"WEIGHTS")


@pytest.mark.usefixtures("old_enough")
def test_a_file_that_was_replaced_by_another_is_hashed_again(weights, tmp_path):
    digest_of([weights], tmp_path / "state")
    other = tmp_path / "other"
    other.write_bytes(b"0therwe")

    other.replace(weights)

    assert digest_of([weights], tmp_path / "state") == sha256(b"0therwe")


def test_a_file_that_changed_a_moment_ago_is_not_kept(weights, tmp_path):
    assert time.time_ns() - weights.stat().st_ctime_ns < 2e9

    digest_of([weights], tmp_path / "state")

    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("old_enough")
@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": [1, 2, 3]}'])
def test_kept_digests_that_are_damaged_count_for_nothing(weights, tmp_path, content):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "weights-digests.json").write_text(content)

    assert digest_of([weights], tmp_path / "state") == sha256(b"weights")


@pytest.mark.usefixtures("old_enough")
def test_the_digest_of_a_file_that_is_gone_is_not_kept_for_ever(weights, tmp_path):
    digest_of([weights], tmp_path / "state")
    weights.rename(tmp_path / "renamed")

    digest_of([tmp_path / "renamed"], tmp_path / "state")

    kept = json.loads((tmp_path / "state" / "weights-digests.json").read_text())
    assert list(kept) == [str((tmp_path / "renamed").resolve())]


def test_every_change_of_a_file_is_another_stamp(weights):
    seen = {stamps_of([weights])}

    weights.chmod(0o600)
    seen.add(stamps_of([weights]))
    weights.write_bytes(b"weightier")
    seen.add(stamps_of([weights]))

    assert len(seen) == 3
