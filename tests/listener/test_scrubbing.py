"""A file that the disk has changed or lost is found by its digest, and comes back when it is sent again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from agent.cli import app
from agent.scrubbing import Damage, scrub, what_to_do
from storage.inventory import Inventory, StoredFile
from storage.outside_records import QuarantinedMessage
from storage.reports import Reports
from tests.listener.conftest import NOW, Inbox, a_cr
from tests.listener.wire import RawSender


def send(inbox: Inbox, number: int) -> Path:
    """Sends an image; where it is stored."""
    uid, data = a_cr(number)
    with RawSender(inbox.port).associate() as sender:
        assert sender.store(data, uid).status == 0x0000
    known = inbox.index.known(uid)
    assert known is not None
    return inbox.files.absolute(known.path)


def damaged(inbox: Inbox) -> list[Damage]:
    inventory = Inventory(inbox.database)
    return list(scrub(inventory, inbox.files, 0, told=lambda count, size_bytes: None))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_was_received_is_what_its_row_says(inbox: Inbox):
    send(inbox, 1)
    send(inbox, 2)

    assert damaged(inbox) == []


@pytest.mark.parametrize("at", [128, 140, 400, -1])
def test_one_bit_that_has_changed_is_found(inbox: Inbox, at: int):
    send(inbox, 1)
    path = send(inbox, 2)

    flip(path, at)

    (damage,) = damaged(inbox)
    assert inbox.files.absolute(damage.file.path) == path
    assert "is not what was stored" in what_to_do(damage, path)


def test_a_file_that_was_cut_short_or_lost_is_found(inbox: Inbox):
    short, lost = send(inbox, 1), send(inbox, 2)
    short.write_bytes(short.read_bytes()[:100])
    lost.unlink()

    found = {inbox.files.absolute(one.file.path): one.is_missing for one in damaged(inbox)}

    assert found == {short: False, lost: True}


def test_a_file_that_is_deleted_with_its_row_meanwhile_is_not_missed(inbox: Inbox):
    path = send(inbox, 1)
    (listed,) = Inventory(inbox.database).files()
    with inbox.database.writing() as connection:
        connection.execute(text("DELETE FROM instances"))
    path.unlink()

    class Outdated(Inventory):
        def files(self) -> Iterator[StoredFile]:
            return iter([listed])

    assert list(scrub(Outdated(inbox.database), inbox.files, 0, told=lambda *_: None)) == []


def test_an_image_set_aside_comes_back_when_it_is_sent_again(inbox: Inbox):
    path = send(inbox, 1)
    flip(path, -1)
    (damage,) = damaged(inbox)

    aside = inbox.files.set_aside(damage.file.path)
    send(inbox, 1)

    assert damaged(inbox) == []
    assert inbox.files.absolute(aside).is_file()


def test_a_damaged_message_in_quarantine_is_found(inbox: Inbox):
    inbox.files.put("quarantine/ab/x.hl7", b"MSH")
    Reports(inbox.database).quarantine(
        QuarantinedMessage(0, NOW, 1, "RIS", "why", "quarantine/ab/x.hl7", "f" * 64, 3, None)
    )

    (damage,) = damaged(inbox)

    assert "HL7 message in quarantine" in what_to_do(damage, Path("x"))


def test_reading_goes_no_faster_than_asked(inbox: Inbox):
    size_bytes = send(inbox, 1).stat().st_size
    waited: list[float] = []

    found = scrub(
        Inventory(inbox.database), inbox.files, size_bytes / 8, told=lambda *_: None, sleep=waited.append
    )

    assert list(found) == []
    assert waited == [pytest.approx(8.0)]


def test_the_command_names_what_is_damaged_and_sets_it_aside(inbox: Inbox, tmp_path: Path):
    flip(send(inbox, 1), -1)
    (tmp_path / "data").symlink_to(tmp_path)
    (tmp_path / "agent.toml").write_text('[storage]\nfolder = "data"\n')
    words = ["scrub", "--config", str(tmp_path), "--mb-per-second", "0"]

    first = CliRunner().invoke(app, [*words, "--set-aside"])
    second = CliRunner().invoke(app, words)

    assert (first.exit_code, second.exit_code) == (1, 1)
    assert "is not what was stored" in first.output
    assert "set aside as damaged/received/" in first.output
    assert "is missing" in second.output
    assert "0 files read (0.0 MB), 1 damaged or missing" in second.output
