"""What is sent is stored byte for byte, once, and answered when it is safe."""

import os
import re
import struct
import threading
import zlib
from hashlib import sha256
from io import BytesIO

import pytest
from pydicom import dcmread
from sqlalchemy import text

from agent.admission import TRANSFER_SYNTAXES
from agent.dicom.uids import IMPLEMENTATION_CLASS_UID
from agent.listener.dataset import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from storage.records import Instance, InstanceRole
from tests.listener.conftest import NOW, Inbox, StartListener, a_cr
from tests.listener.wire import (
    CR,
    DX,
    EXPLICIT,
    P_DATA,
    VERIFICATION,
    RawSender,
    dataset_pdus,
    pdu,
    pdv,
    store_request,
)

UNCOMPRESSED = (EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


def in_syntax(transfer_syntax: str) -> tuple[str, bytes]:
    """A CR image of some 100,000 bytes in this transfer syntax (compressed pixels are invented)."""
    if transfer_syntax in UNCOMPRESSED:
        return a_cr(rows=256, columns=200, transfer_syntax=transfer_syntax)
    if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        uid, data = a_cr(rows=256, columns=200)
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return uid, deflater.compress(data) + deflater.flush()
    uid, header = a_cr(missing=("PixelData",))
    frame = os.urandom(100_000)
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    for content in (b"", frame):
        pixels += struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
    return uid, header + pixels + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("pdu_bytes", [16_384, 131_072])
def test_the_dataset_is_kept_byte_for_byte_in_every_transfer_syntax(inbox: Inbox, pdu_bytes: int) -> None:
    contexts = {2 * number + 1: (CR, [syntax]) for number, syntax in enumerate(TRANSFER_SYNTAXES)}

    with RawSender(inbox.port).associate(contexts) as sender:
        assert sender.accepted == {number: syntaxes[0] for number, (_, syntaxes) in contexts.items()}
        for number, syntax in sender.accepted.items():
            uid, data = in_syntax(syntax)
            uid, data = f"{uid}.{number}", with_uid(data, uid, f"{uid}.{number}", syntax)
            answer = sender.store(data, uid, context_id=number, pdu_bytes=pdu_bytes)

            assert (syntax, answer.status, answer.comment) == (syntax, 0x0000, "")
            assert inbox.dataset_bytes(uid) == data
            assert inbox.index.known(uid).transfer_syntax_uid == syntax


# Rows of 2 KB: below, next to and above the 1 MiB up to which a dataset is hashed as it comes.
@pytest.mark.parametrize("rows", [256, 511, 512, 1024])
def test_the_digest_is_of_the_dataset_as_sent_whatever_its_size(inbox: Inbox, rows: int) -> None:
    uid, data = a_cr(rows=rows, columns=1024)

    with RawSender(inbox.port).associate() as sender:
        sender.store(data, uid)

    assert inbox.index.known(uid).sha256 == sha256(data).hexdigest()


def with_uid(data: bytes, old: str, new: str, syntax: str) -> bytes:
    """The dataset with another SOP Instance UID of another length."""
    if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(with_uid(zlib.decompress(data, -15), old, new, EXPLICIT)) + deflater.flush()
    order = ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"
    is_implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN

    def element(uid: str) -> bytes:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        length = (
            struct.pack(order + "L", len(value))
            if is_implicit
            else b"UI" + struct.pack(order + "H", len(value))
        )
        return struct.pack(order + "HH", 0x0008, 0x0018) + length + value

    assert element(old) in data
    return data.replace(element(old), element(new))


def test_the_file_has_a_preamble_and_a_file_meta_that_names_the_sender(inbox: Inbox) -> None:
    uid, data = a_cr()

    with RawSender(inbox.port).associate(calling="ROOM_3") as sender:
        sender.store(data, uid)

    file = inbox.files.read(inbox.index.known(uid).path)
    meta = dcmread(BytesIO(file), stop_before_pixels=True).file_meta
    assert file[:132] == bytes(128) + b"DICM"
    assert (meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID) == (uid, CR)
    assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle) == (EXPLICIT, "ROOM_3")
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


def test_the_row_says_who_sent_what_when(inbox: Inbox) -> None:
    uid, data = a_cr(view="AP", patient_id="P7")

    with RawSender(inbox.port).associate(calling="ROOM_3") as sender:
        sender.store(data, uid)

    row = inbox.index.known(uid)
    assert (row.calling_ae_title, row.called_ae_title, row.received_at) == ("ROOM_3", "PREREAD", NOW)
    assert (row.modality, row.view_group, row.role) == ("CR", "frontal", InstanceRole.IMAGE)
    assert re.fullmatch(rf"received/[0-9a-f]{{2}}/{re.escape(uid)}\.dcm", row.path)
    assert row.size_bytes == len(inbox.files.read(row.path))
    assert inbox.index.study(row.study_instance_uid).patient_id == "P7"


def test_who_waits_for_new_instances_is_told(inbox: Inbox) -> None:
    uid, data = a_cr()

    with RawSender(inbox.port).associate() as sender:
        sender.store(data, uid)
        sender.store(data, uid)
        sender.release()

    assert [instance.sop_instance_uid for instance in inbox.stored] == [uid]


def test_the_same_object_again_is_success_and_no_second_row(inbox: Inbox) -> None:
    uid, data = a_cr()

    answers = []
    for calling in ("ROOM_3", "PACS"):
        with RawSender(inbox.port).associate(calling=calling) as sender:
            answers.append(sender.store(data, uid).status)

    assert answers == [0x0000, 0x0000]
    assert inbox.instance_count() == 1
    assert inbox.index.known(uid).calling_ae_title == "ROOM_3"
    assert inbox.part_files() == []


def test_other_content_under_a_known_uid_is_refused_and_the_first_is_kept(inbox: Inbox) -> None:
    uid, first = a_cr(view="PA")
    _, second = a_cr(view="AP")

    with RawSender(inbox.port).associate() as sender:
        sender.store(first, uid)
        answer = sender.store(second, uid)

    assert answer.status == 0x0111
    assert inbox.the_refusal().reason.startswith("other content is stored under this SOP Instance UID")
    assert inbox.dataset_bytes(uid) == first
    assert inbox.part_files() == []


def test_litter_of_a_crash_between_file_and_row_stands_in_nobodys_way(inbox: Inbox) -> None:
    uid, data = a_cr()
    with RawSender(inbox.port).associate() as sender:
        sender.store(data, uid)
    path = inbox.index.known(uid).path
    other, litter = uid.replace("999.1", "999.2"), path.replace("999.1.dcm", "999.2.dcm")
    inbox.files.put(litter, b"half of something")

    with RawSender(inbox.port).associate() as sender:
        answer = sender.store(a_cr(2)[1], other)

    assert answer.status == 0x0000
    assert inbox.index.known(other).path != litter
    assert inbox.dataset_bytes(other) == a_cr(2)[1]


def test_an_object_that_retention_deletes_while_it_comes_once_more_is_asked_for_again(inbox: Inbox) -> None:
    uid, data = a_cr()
    with RawSender(inbox.port).associate(calling="ROOM_3") as sender:
        sender.store(data, uid)
    index, known = inbox.listener._intake.index, inbox.index.known(uid)

    def known_and_then_deleted(sop_instance_uid: str) -> Instance | None:
        with inbox.database.writing() as connection:
            connection.execute(text("DELETE FROM instances"))
        inbox.files.absolute(known.path).unlink(missing_ok=True)
        return known

    with RawSender(inbox.port).associate(calling="PACS") as sender, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "known", known_and_then_deleted)
        first = sender.store(data, uid).status
        assert (first, inbox.index.known(uid)) == (0xA700, None)
        again = sender.store(data, uid).status

    assert again == 0x0000
    assert inbox.dataset_bytes(uid) == data


def test_fragments_may_be_cut_and_packed_as_the_sender_likes(inbox: Inbox) -> None:
    uid, data = a_cr()
    command = store_request(CR, uid)
    values = [
        pdv(command[at : at + 10], is_command=True, is_last=at + 10 >= len(command))
        for at in range(0, len(command), 10)
    ]
    values += [
        pdv(data[at : at + 1000], is_command=False, is_last=at + 1000 >= len(data))
        for at in range(0, len(data), 1000)
    ]

    with RawSender(inbox.port).associate() as sender:
        sender.socket.sendall(pdu(P_DATA, b"".join(values)))
        answer = sender.answer()

    assert answer.status == 0x0000
    assert inbox.dataset_bytes(uid) == data


def test_a_sender_that_gives_byte_by_byte_is_understood(inbox: Inbox) -> None:
    uid, data = a_cr(rows=4, columns=4)
    stream = pdu(P_DATA, pdv(store_request(CR, uid), is_command=True, is_last=True)) + b"".join(
        dataset_pdus(data, 64)
    )

    with RawSender(inbox.port).associate() as sender:
        for byte in stream:
            sender.socket.sendall(bytes([byte]))
        answer = sender.answer()

    assert answer.status == 0x0000
    assert inbox.dataset_bytes(uid) == data


def test_an_empty_last_fragment_ends_a_dataset(inbox: Inbox) -> None:
    uid, data = a_cr()

    with RawSender(inbox.port).associate() as sender:
        sender.command(store_request(CR, uid))
        sender.socket.sendall(pdu(P_DATA, pdv(data, is_command=False, is_last=False)))
        sender.socket.sendall(pdu(P_DATA, pdv(b"", is_command=False, is_last=True)))
        answer = sender.answer()

    assert answer.status == 0x0000
    assert inbox.dataset_bytes(uid) == data


def test_four_associations_at_once_get_everything_stored(inbox: Inbox) -> None:
    sent = dict(a_cr(number, patient_id=f"P{number % 3}") for number in range(40))
    statuses: list[int] = []

    def send(share: list[str]) -> None:
        with RawSender(inbox.port).associate() as sender:
            statuses.extend(sender.store(sent[uid], uid).status for uid in share)

    in_parallel(send, [list(sent)[start::4] for start in range(4)])

    assert statuses == [0x0000] * 40
    assert all(inbox.dataset_bytes(uid) == data for uid, data in sent.items())
    assert inbox.instance_count() == 40


def test_the_same_object_from_four_senders_at_once_is_one_row(inbox: Inbox) -> None:
    uid, data = a_cr()
    statuses: list[int] = []

    def send(calling: str) -> None:
        with RawSender(inbox.port).associate(calling=calling) as sender:
            statuses.append(sender.store(data, uid).status)

    in_parallel(send, ["A", "B", "C", "D"])

    assert statuses == [0x0000] * 4
    assert inbox.instance_count() == 1
    assert inbox.dataset_bytes(uid) == data


def in_parallel(work: object, shares: list) -> None:
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_an_echo_is_answered_also_between_two_objects(inbox: Inbox) -> None:
    uid, data = a_cr()
    echo = store_request(VERIFICATION, "", has_dataset=False, field=0x0030)

    with RawSender(inbox.port).associate({1: (VERIFICATION, [EXPLICIT]), 3: (CR, [EXPLICIT])}) as sender:
        sender.command(echo)
        answers = [sender.answer().status, sender.store(data, uid, context_id=3).status]
        sender.command(echo)
        answers.append(sender.answer().status)

    assert answers == [0, 0, 0]


def test_the_senders_first_choice_of_encoding_is_accepted_but_big_endian_comes_last(inbox: Inbox) -> None:
    jpeg_lossless = "1.2.840.10008.1.2.4.70"
    contexts = {
        1: (CR, [jpeg_lossless, EXPLICIT]),
        3: (DX, [EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]),
    }

    with RawSender(inbox.port).associate(contexts) as sender:
        assert sender.accepted == {1: jpeg_lossless, 3: IMPLICIT_VR_LITTLE_ENDIAN}


@pytest.mark.slow
def test_a_stop_lets_the_object_in_hand_come_to_its_end(inbox: Inbox) -> None:
    uid, data = a_cr()
    first, *rest = dataset_pdus(data, 1024)

    with RawSender(inbox.port).associate() as sender:
        sender.command(store_request(CR, uid))
        sender.socket.sendall(first)
        stopping = threading.Thread(target=inbox.listener.stop, args=(10.0,))
        stopping.start()
        sender.socket.sendall(b"".join(rest))
        answer = sender.answer()
        stopping.join(10)

    assert answer.status == 0x0000
    assert not stopping.is_alive()
    assert inbox.dataset_bytes(uid) == data


@pytest.mark.slow
def test_a_stop_ends_idle_associations_at_once(start: StartListener) -> None:
    inbox = start(idle_seconds=600)

    with RawSender(inbox.port).associate() as sender:
        inbox.listener.stop(10.0)

        assert sender.read_pdu()[0] in (7, 0)
