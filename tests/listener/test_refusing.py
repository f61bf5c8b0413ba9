"""What is not taken is answered with the fitting status, written down, and leaves nothing behind."""

import resource
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from structlog.typing import EventDict

from agent.listener.dataset import INFLATED_BYTES_MAX
from tests.listener.conftest import Inbox, StartListener, a_cr
from tests.listener.wire import CR, DX, EXPLICIT, RawSender, dataset_pdus, store_request

pytestmark = pytest.mark.slow

DEFLATED = "1.2.840.10008.1.2.1.99"


def refused(inbox: Inbox, data: bytes, uid: str, **arguments: object) -> tuple[int, str]:
    """Sends an object that will be refused; (status, reason as written down). Nothing of it must be left."""
    with RawSender(inbox.port).associate(
        {1: (CR, [EXPLICIT]), 3: (DX, [EXPLICIT]), 5: (CR, [DEFLATED])}
    ) as sender:
        answer = sender.store(data, uid, **arguments)
        good_uid, good = a_cr(99)
        assert sender.store(good, good_uid).status == 0x0000, "the association goes on"

    refusal = inbox.the_refusal()
    assert refusal.status == answer.status
    assert (refusal.calling_ae_title, refusal.address) == ("MODALITY", "127.0.0.1")
    assert answer.comment == refusal.reason[:64].replace("\\", "/").strip()
    assert inbox.part_files() == []
    assert inbox.instance_count() == 1
    return answer.status, refusal.reason


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "1.2.3/4", "1..2", "1.02.3", ".", "", "1." + "2" * 63, "1.2.3\\4", "１.２"]
)
def test_a_sop_instance_uid_that_is_none_never_becomes_a_file_name(inbox: Inbox, uid: str) -> None:
    status, reason = refused(inbox, a_cr()[1], uid.encode("ascii", "replace").decode())

    assert status == 0x0117
    assert "PS3.5 9.1" in reason


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_study_or_series_uid_that_is_none_never_becomes_a_folder_name(inbox: Inbox, keyword: str) -> None:
    uid, data = a_cr()
    before, after = element_of(data, keyword, EXPLICIT)

    status, reason = refused(
        inbox, before + b"../../../etc/cron.d/a".ljust(len(element_value(data, keyword))) + after, uid
    )

    assert status == 0xA900
    assert "../../../etc/cron.d/a" in reason


def element_value(data: bytes, keyword: str) -> bytes:
    before, after = element_of(data, keyword, EXPLICIT)
    return data[len(before) : len(data) - len(after)]


def element_of(data: bytes, keyword: str, syntax: str) -> tuple[bytes, bytes]:
    """The bytes before and behind the value of an element of group 0020, explicit VR."""
    number = {"StudyInstanceUID": 0x000D, "SeriesInstanceUID": 0x000E}[keyword]
    start = data.index(struct.pack("<HH", 0x0020, number) + b"UI") + 8
    length = struct.unpack_from("<H", data, start - 2)[0]
    return data[:start], data[start + length :]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_that_names_no_study_or_series_is_refused(inbox: Inbox, keyword: str) -> None:
    uid, data = a_cr(missing=(keyword,))

    status, reason = refused(inbox, data, uid)

    assert status == 0xA900
    assert reason.startswith(keyword[:5])


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_study_or_series_uid_is_judged_whole_however_it_is_padded(inbox: Inbox, keyword: str) -> None:
    uid, data = a_cr()
    before, after = element_of(data, keyword, EXPLICIT)
    value = b"1.2.3.4".rjust(70)

    status, reason = refused(inbox, before[:-2] + struct.pack("<H", len(value)) + value + after, uid)

    assert status == 0xA900
    assert reason.endswith("holds 70 bytes; a UID has 64 at most (PS3.5 9.1)")


def test_an_object_that_is_another_than_announced_is_refused(inbox: Inbox) -> None:
    _, data = a_cr(1)

    status, reason = refused(inbox, data, "1.2.3.4")

    assert status == 0xA900
    assert (
        reason == "SOP Instance UID of the dataset is 1.2.826.0.1.3680043.10.999.1, the request says 1.2.3.4"
    )


def test_an_object_of_another_class_than_announced_is_refused(inbox: Inbox) -> None:
    uid, data = a_cr()

    status, reason = refused(inbox, data, uid, sop_class_uid=DX, context_id=3)

    assert status == 0xA900
    assert reason.startswith(f"SOP Class UID of the dataset is {CR}")


def test_a_request_for_another_class_than_its_context_is_refused(inbox: Inbox) -> None:
    uid, data = a_cr()

    assert refused(inbox, data, uid, sop_class_uid=DX, context_id=1)[0] == 0x0122


def test_a_truncated_dataset_is_refused_and_says_where_it_ends(inbox: Inbox) -> None:
    uid, data = a_cr()

    status, reason = refused(inbox, data[:-1000], uid)

    assert status == 0xC000
    assert reason == "the dataset ends in the middle of an element in (7FE0,0010): 1000 bytes are missing"


@pytest.mark.parametrize("data", [b"", b"\0", b"GIF89a" * 100, bytes(5000)])
def test_what_is_no_dataset_is_refused(inbox: Inbox, data: bytes) -> None:
    assert refused(inbox, data, a_cr()[0])[0] in (0xA900, 0xC000)


def test_an_object_above_the_limit_is_refused(start: StartListener) -> None:
    inbox = start(instance_bytes_max=100_000)
    uid, data = a_cr(2, rows=256, columns=256)

    status, reason = refused(inbox, data, uid)

    assert status == 0xA700
    assert reason == "larger than instance_bytes_max = 100000 of agent.toml"


def test_a_sender_that_does_not_end_is_aborted(start: StartListener) -> None:
    inbox = start(instance_bytes_max=100_000)

    with RawSender(inbox.port).associate() as sender:
        sender.command(store_request(CR, "1.2.3"))
        sender.socket.sendall(b"".join(dataset_pdus(bytes(250_000), 16_384)))
        assert sender.read_pdu()[0] in (7, 0)

    assert inbox.the_refusal().reason.startswith("the sender did not end")


def test_a_full_disk_is_answered_before_anything_is_written(start: StartListener) -> None:
    inbox = start(free_bytes_min=10**15)
    uid, data = a_cr()

    with RawSender(inbox.port).associate() as sender:
        answer = sender.store(data, uid)

    assert answer.status == 0xA700
    assert "free_bytes_min" in inbox.the_refusal().reason
    assert inbox.part_files() == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 2 MB: an error of the operating system, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_in_mid_object_is_answered(inbox: Inbox, small_files: None) -> None:
    uid, data = a_cr(rows=1200, columns=1200)

    status, reason = refused(inbox, data, uid)

    assert (status, reason) == (0xA700, "the file could not be written: File too large")


def in_one_line(log: list[EventDict]) -> list[str]:
    """The reasons of the errors on the log; fails if one has a traceback."""
    errors = [entry for entry in log if entry["log_level"] == "error"]
    assert not any(entry.get("exc_info") for entry in errors)
    return [entry["reason"] for entry in errors]


def test_a_sender_has_its_answer_when_the_refusal_cannot_be_written_down(inbox: Inbox) -> None:
    with inbox.database.writing() as connection:
        connection.execute(text("DROP TABLE refusals"))
    uid, data = a_cr()

    with capture_logs() as log, RawSender(inbox.port).associate() as sender:
        answers = [sender.store(data[:-100], uid).status, sender.store(data, uid).status]

    assert answers == [0xC000, 0x0000]
    assert in_one_line(log) == ["no such table: refusals"]


def test_a_sender_is_told_to_come_again_while_the_database_takes_nothing(inbox: Inbox) -> None:
    uid, data = a_cr()
    with inbox.database.writing() as connection:
        connection.execute(text("ALTER TABLE instances RENAME TO gone"))

    with capture_logs() as log, RawSender(inbox.port).associate() as sender:
        away = sender.store(data, uid)
        with inbox.database.writing() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO instances"))
        back = sender.store(data, uid)

    assert (away.status, back.status) == (0xA700, 0x0000)
    assert inbox.part_files() == []
    assert in_one_line(log) == ["no such table: instances"]


def test_a_sender_is_told_to_come_again_while_all_connections_to_the_database_are_in_use(
    inbox: Inbox,
) -> None:
    uid, data = a_cr()
    inbox.database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]

    with RawSender(inbox.port).associate() as sender:
        with ExitStack() as in_use:
            for _ in range(100):
                in_use.enter_context(inbox.database.reading())
            away = [sender.store(data, uid).status, sender.store(data[:-100], uid).status]
        back = sender.store(data, uid)

    assert (away, back.status) == ([0xA700, 0xC000], 0x0000)


def test_a_deflated_bomb_is_refused_without_being_inflated(inbox: Inbox) -> None:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = (
        b"".join(deflater.compress(bytes(1 << 20)) for _ in range((INFLATED_BYTES_MAX >> 20) + 2))
        + deflater.flush()
    )

    status, reason = refused(inbox, bomb, a_cr()[0], context_id=5)

    assert len(bomb) < 200_000
    assert (status, "inflates to more" in reason) == (0xA700, True)


def test_a_deflated_dataset_that_is_cut_off_is_refused(inbox: Inbox) -> None:
    uid, data = a_cr()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(data) + deflater.flush()

    assert refused(inbox, deflated[:-20], uid, context_id=5) == (
        0xC000,
        "the deflated dataset ends too early",
    )


def test_a_refusal_says_nothing_of_the_patient(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    uid, data = a_cr(name="Marker^Name", patient_id="MARKER-ID", missing=("StudyInstanceUID",))

    refused(inbox, data, uid)
    with RawSender(inbox.port).associate() as sender:
        sender.store(*reversed(a_cr(5, name="Marker^Name", patient_id="MARKER-ID")))

    output = capsys.readouterr()
    assert "refused" in output.out + output.err
    assert "MARKER" not in (output.out + output.err).upper()


class ABugError(Exception):
    """What no code of ours raises."""


def test_a_bug_behind_the_port_is_answered_loud_and_leaves_nothing(
    start: StartListener, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ABugError

    inbox = start(headers=broken)
    uid, data = a_cr()

    with RawSender(inbox.port).associate() as sender:
        answer = sender.store(data, uid)

    assert answer.status == 0xC0FF
    assert "ABugError" in capsys.readouterr().out
    assert inbox.part_files() == []
