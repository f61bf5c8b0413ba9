"""Command sets: we read what pynetdicom writes, it reads what we write, and garbage is named as such."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pynetdicom import dimse_messages
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from agent.listener.commands import C_STORE_RQ, Command, encode_store_response, parse_command
from agent.listener.file_meta import file_meta
from agent.listener.messages import p_data
from agent.listener.statuses import ProtocolBreach
from tests.listener.wire import CR, EXPLICIT, store_request

COMMAND = Command(C_STORE_RQ, 7, CR, "1.2.3", True, "")


def test_a_request_as_pynetdicom_writes_it_is_understood() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 65_535, 1
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CR, "1.2.3"
    primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID = "ARCHIVE", 3
    primitive.DataSet = BytesIO(b"\0\0")
    message = dimse_messages.C_STORE_RQ()
    message.primitive_to_message(primitive)

    command = parse_command(encode(message.command_set, True, True))

    assert command == Command(C_STORE_RQ, 65_535, CR, "1.2.3", True, "ARCHIVE")


@pytest.mark.parametrize("comment", ["", "even", "odd", "x" * 100, "back\\slash", "ümlaut"])
def test_a_response_is_understood_by_pynetdicom(comment: str) -> None:
    response = decode(BytesIO(encode_store_response(COMMAND, 0xA700, comment)), True, True)

    assert (response.CommandField, response.Status) == (0x8001, 0xA700)
    assert (response.MessageIDBeingRespondedTo, response.CommandDataSetType) == (7, 0x0101)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (CR, "1.2.3")
    assert len(response.get("ErrorComment", "")) == min(len(comment), 64)


@given(st.binary(max_size=300))
def test_garbage_is_a_breach_of_the_protocol_and_nothing_else(content: bytes) -> None:
    try:
        parse_command(content)
    except ProtocolBreach:
        return


@given(st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_a_mutilated_request_is_read_or_named_a_breach(at: int, change: bytes) -> None:
    request = store_request(CR, "1.2.3")
    try:
        parse_command(request[:at] + change + request[at + len(change) :])
    except ProtocolBreach:
        return


@pytest.mark.parametrize("pdu_bytes_max", [0, 1, 70, 128, 16_384])
def test_an_answer_is_cut_to_what_the_peer_takes(pdu_bytes_max: int) -> None:
    response = encode_store_response(COMMAND, 0xC000, "why" * 20)

    pdus = p_data(1, response, pdu_bytes_max)

    assert b"".join(pdu[12:] for pdu in pdus) == response
    assert [pdu[11] for pdu in pdus] == [1] * (len(pdus) - 1) + [3]
    assert all(len(pdu) - 6 <= max(pdu_bytes_max, 70) for pdu in pdus if pdu_bytes_max)


def test_the_file_meta_is_what_pydicom_would_read() -> None:
    meta = dcmread(BytesIO(file_meta(CR, "1.2.3", EXPLICIT, "ROOM_3"))).file_meta

    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CR, "1.2.3")
    assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle) == (EXPLICIT, "ROOM_3")
    assert (meta.ImplementationVersionName, len(meta)) == ("PREREAD", 8)


def test_an_ae_title_stays_one_value_whatever_its_characters() -> None:
    meta = dcmread(BytesIO(file_meta(CR, "1.2.3", EXPLICIT, "A\\B\x1b$\xe9"))).file_meta

    assert meta.SourceApplicationEntityTitle == "A?B?$?"
