"""What is fuzzed: each parser with its valid inputs, what may be done to them, and what must hold of the answer."""

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from agent.admission import role_of
from agent.dicom.answers import found_order, found_study
from agent.dicom.headers import HEADER_TAGS, Unreadable, headers_from_elements, read_headers
from agent.dicom.opening import read_header_dataset, read_whole
from agent.dicom.pixels import FILE_BYTES_MAX, render
from agent.dicom.reports import REPORT_BYTES_MAX, is_draft_of_ours, report_of
from agent.errors import GiveUp
from agent.hl7.acknowledgement import acknowledgement
from agent.hl7.framing import Deframer, TooLong, framed, split_file
from agent.hl7.message import MessageError, parse_message
from agent.identity import IdentifierRules, identified
from agent.listener.commands import encode_store_response, parse_command
from agent.listener.dataset import survey
from agent.listener.file_meta import file_meta
from agent.listener.messages import Incoming, Wire
from agent.listener.statuses import ProtocolBreach, Refused
from agent.reports.importing import Importer
from agent.service import open_intake
from agent.store import open_store
from config.loading import ConfigError, load
from config.settings import AgentSettings, ListenerSettings, Settings, StorageSettings
from tests.builders import a_uid
from tests.fuzz import corpus
from tests.fuzz.incoming import an_intake
from tests.fuzz.mutation import (
    LYING_LENGTHS,
    damaged_bytes,
    damaged_dataset,
    damaged_text,
)
from tests.listener.wire import CR, EXPLICIT, VERIFICATION, pdv

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        share: of all inputs, in parts per thousand.
        make: draws an input.
        take: gives it to the parser; says in a word what the parser answered. Whatever it raises is a bug.
        seconds_max: processor time for one input.
    """

    share: int
    make: Callable[[Random], Any]
    take: Callable[[Any], str]
    seconds_max: float = 2.0


def targets(folder: Path, stack: ExitStack) -> dict[str, Target]:
    """Every target by its name; those that store something do so below `folder`."""
    settings = Settings(
        agent=AgentSettings(
            storage=StorageSettings(folder=folder / "state"), listener=ListenerSettings(free_bytes_min=0)
        )
    )
    store = open_store(settings)
    stack.callback(store.database.close)
    intake = open_intake(settings, store, lambda: NOW)
    importer = Importer(intake, store.reports, lambda: NOW, is_dry_run=True)
    listener = an_intake(store.files, store.index, stack)
    return {
        "survey": Target(200, _a_dataset, _survey, 5.0),
        "commands": Target(200, _a_command, _command),
        "messages": Target(80, _some_pdvs, lambda pdvs: _messages(pdvs, listener)),
        "file meta": Target(10, _a_title, _file_meta),
        "headers": Target(70, _a_file, _headers, 5.0),
        "answers": Target(30, _an_answer, _answer),
        "pixels": Target(20, _an_image, _pixels, 5.0),
        "reports": Target(40, _a_report, _report, 5.0),
        "hl7": Target(170, _a_message, lambda content: _hl7(content, intake)),
        "mllp": Target(120, _a_stream, _mllp),
        "tables": Target(40, _a_table, lambda table: _table(table, importer, folder)),
        # A table's name of thousands of parts takes the square of that; the file is the administrator's own.
        "toml": Target(20, _a_config, lambda content: _config(content, folder), 20.0),
    }


# --- what comes over an association -----------------------------------------------------------------------


def _a_dataset(random: Random) -> tuple[bytes, str]:
    whole = random.choice(corpus.datasets())
    is_implicit = whole.transfer_syntax == corpus.IMPLICIT
    content = damaged_dataset(random, whole.content, whole.elements, is_implicit=is_implicit)
    kind = random.randrange(12)
    if kind == 0:
        return corpus.deflated(content), corpus.DEFLATED
    if kind == 1:
        return damaged_bytes(random, corpus.deflated(content)), corpus.DEFLATED
    if kind == 2:
        return damaged_bytes(random, corpus.big_endian()), corpus.BIG_ENDIAN
    if kind == 3:
        return content, random.choice((corpus.EXPLICIT, corpus.IMPLICIT, corpus.BIG_ENDIAN))
    return content, whole.transfer_syntax


def _survey(given: tuple[bytes, str]) -> str:
    content, syntax = given
    try:
        found = survey(content, 0, syntax, HEADER_TAGS)
        headers = headers_from_elements(found.elements, syntax)
    except Refused as refused:
        return _said("refused", refused.reason)
    except Unreadable as error:
        return _said("unreadable", error.reason)
    _is_storable(headers)
    _is_storable(identified(headers.study(), "MODALITY", IdentifierRules()))
    return "read"


def _a_command(random: Random) -> bytes:
    return damaged_bytes(random, random.choice(corpus.COMMANDS))


def _command(content: bytes) -> str:
    try:
        command = parse_command(content)
    except ProtocolBreach as breach:
        return _said("refused", str(breach))
    answered = parse_command(encode_store_response(command, 0xA700, "no \\ room ü" * 9))
    assert (answered.field, answered.has_dataset) == (0x8001, False)
    return "read"


def _some_pdvs(random: Random) -> list[bytes]:
    """The P-DATA of one association: whole messages, some of them damaged, some with lies in the PDV headers."""
    pieces = []
    for _ in range(random.randint(1, 3)):
        data = random.choice(corpus.datasets()).content
        cut = random.randrange(1, len(data))
        pieces += [
            pdv(random.choice(corpus.COMMANDS), is_command=True, is_last=True),
            pdv(data[:cut], is_command=False, is_last=False),
            pdv(data[cut:], is_command=False, is_last=True),
        ]
    at = random.randrange(len(pieces))
    kind = random.randrange(5)
    if kind == 0:
        pieces[at] = struct.pack(
            ">LBB", random.choice(LYING_LENGTHS), random.randrange(256), random.randrange(256)
        )
    elif kind == 1:
        del pieces[at]
    elif kind == 2:
        pieces[at:at] = [pieces[at]]
    else:
        pieces[at] = damaged_bytes(random, pieces[at])
    return pieces


def _messages(pieces: list[bytes], intake: Any) -> str:
    sent: list[bytes] = []
    wire = Wire({1: (CR, EXPLICIT), 3: (VERIFICATION, EXPLICIT)}, 16_384, sent.append, lambda *_: None)
    incoming = Incoming(wire, intake.peer, intake.intake)
    try:
        for piece in pieces:
            incoming.take(memoryview(piece))
            incoming.flush()
    except ProtocolBreach as breach:
        return _said("aborted", str(breach))
    finally:
        incoming.drop("the association ended")
    return "answered" if sent else "silent"


def _a_title(random: Random) -> str:
    return damaged_bytes(random, b"MODALITY")[:16].decode("latin-1")  # a PDU has room for no more


def _file_meta(title: str) -> str:
    meta = read_whole(BytesIO(file_meta(CR, a_uid("fuzz"), EXPLICIT, title)), bytes_max=10_000).file_meta
    assert meta.MediaStorageSOPInstanceUID == a_uid("fuzz")
    assert isinstance(meta.SourceApplicationEntityTitle or "", str), "a title became two"
    return "written"


# --- files --------------------------------------------------------------------------------------------------


def _a_file(random: Random) -> bytes:
    return _damaged_file(random, random.choice((*corpus.files_of_images(), *corpus.files_of_reports())))


def _an_image(random: Random) -> bytes:
    return _damaged_file(random, random.choice(corpus.files_of_images()))


def _a_report(random: Random) -> bytes:
    return _damaged_file(random, random.choice(corpus.files_of_reports()))


def _damaged_file(random: Random, whole: corpus.Encoded) -> bytes:
    if random.random() < 0.4:
        return damaged_bytes(random, whole.content)
    is_implicit = whole.transfer_syntax == corpus.IMPLICIT
    return damaged_dataset(random, whole.content, whole.elements, is_implicit=is_implicit)


def _headers(content: bytes) -> str:
    try:
        headers = read_headers(BytesIO(content))
        read_header_dataset(BytesIO(content))
    except Unreadable as error:
        return _said("unreadable", error.reason)
    _is_storable(headers)
    with suppress(KeyError):
        role_of(headers.sop_class_uid)
    return "read"


def _an_answer(random: Random) -> tuple[bytes, str]:
    whole = random.choice(corpus.files_of_reports())
    return _damaged_file(random, whole), random.choice(("", "ISO_IR 100", "ISO 2022 IR 87"))


def _answer(given: tuple[bytes, str]) -> str:
    content, charset = given
    try:
        dataset = read_header_dataset(BytesIO(content))
    except Unreadable:
        return "unreadable"
    study = found_study(dataset, assume_charset=charset or None, default_issuer="CLINIC")
    order = found_order(dataset, "worklist", NOW, assume_charset=charset or None, default_issuer="CLINIC")
    _is_storable(study)
    _is_storable(order)
    return "left out" if study is None else "read"


def _pixels(content: bytes) -> str:
    try:
        image = render(read_whole(BytesIO(content), bytes_max=FILE_BYTES_MAX))
    except (Unreadable, GiveUp) as error:
        return _said("refused", error.reason)
    assert image.pixels.ndim == 2
    assert image.pixels.dtype == "uint16"
    return "drawn"


def _report(content: bytes) -> str:
    try:
        dataset = read_whole(BytesIO(content), bytes_max=REPORT_BYTES_MAX)
    except Unreadable as error:
        return _said("unreadable", error.reason)
    is_draft_of_ours(dataset)
    report = report_of(dataset)
    _is_storable(report)
    return "no report" if report is None else "read"


# --- HL7, tables, configuration -----------------------------------------------------------------------------


def _a_message(random: Random) -> bytes:
    """A message as the deframer gives it, which leaves no frame's byte in any."""
    message = random.choice(corpus.HL7)
    if random.random() < 0.3:
        message = damaged_bytes(random, message, corpus.HL7_TOKENS)
    else:
        message = damaged_text(random, message, corpus.HL7_MARKS, corpus.HL7_TOKENS)
    return message.translate(None, b"\x0b\x1c")


def _hl7(content: bytes, intake: Any) -> str:
    try:
        told = intake.parsed(content)
    except MessageError as error:
        answer = acknowledgement(content, "AE", NOW, reason=error.reason, condition=error.condition)
        said = _said("refused", error.reason)
    else:
        _is_storable(told)
        answer = acknowledgement(content, "AA", NOW)
        said = "read"
    # What is answered is one message in one frame, whatever was asked.
    assert list(Deframer(10**7).feed(framed(answer))) == [answer], "the answer breaks its frame"
    segments = [segment.name for segment in parse_message(answer).segments]
    assert segments in (["MSH", "MSA"], ["MSH", "MSA", "ERR"]), segments
    return said


def _a_stream(random: Random) -> list[bytes]:
    whole = b"".join(framed(random.choice(corpus.HL7)) for _ in range(random.randint(1, 4)))
    stream = damaged_bytes(random, whole, corpus.HL7_TOKENS)
    step = random.choice((1, 7, 100, 65_536)) if len(stream) < 20_000 else 65_536
    return [stream[at : at + step] for at in range(0, len(stream), step)]


def _mllp(pieces: list[bytes]) -> str:
    deframer = Deframer(4096)
    for message in split_file(b"".join(pieces)):
        assert b"\x0b" not in message
    try:
        for piece in pieces:
            for message in deframer.feed(piece):
                assert len(message) <= 4096
    except TooLong:
        return "too long"
    return "cut"


def _a_table(random: Random) -> tuple[str, bytes]:
    name = random.choice(("reports.csv", "reports.json", "reports.jsonl", "reports.hl7"))
    if name == "reports.hl7":
        return name, b"\n".join((_a_message(random), random.choice(corpus.HL7)))
    valid, marks = (
        (corpus.CSV, corpus.CSV_MARKS) if name.endswith("csv") else (corpus.JSON, corpus.JSON_MARKS)
    )
    if random.random() < 0.3:
        return name, damaged_bytes(random, valid, corpus.TABLE_TOKENS)
    return name, damaged_text(random, valid, marks, corpus.TABLE_TOKENS)


def _table(table: tuple[str, bytes], importer: Importer, folder: Path) -> str:
    name, content = table
    path = folder / name
    path.write_bytes(content)
    counted = importer.take(path)
    assert len(counted.refused) <= counted.found
    return "refused" if counted.refused else "read"


def _a_config(random: Random) -> bytes:
    if random.random() < 0.3:
        return damaged_bytes(random, corpus.TOML, corpus.TOML_TOKENS)
    return damaged_text(random, corpus.TOML, corpus.TOML_MARKS, corpus.TOML_TOKENS)


def _config(content: bytes, folder: Path) -> str:
    place = folder / "config"
    place.mkdir(exist_ok=True)
    (place / "peers.toml").write_bytes(content)
    try:
        load(place)
    except ConfigError as error:
        return _said("refused", "\n".join(map(str, error.problems)))
    return "read"


# --- what must hold -----------------------------------------------------------------------------------------


def _said(word: str, reason: str) -> str:
    """The word, once it is sure that the parser gave a reason."""
    assert reason
    return word


def _is_storable(value: Any) -> None:
    """Asserts that both databases can hold every text in a record: UTF-8, and no NUL (PostgreSQL)."""
    for text in _texts(value):
        assert "\0" not in text, "a text holds a NUL, which PostgreSQL refuses"
        text.encode("utf-8")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for one in fields(value):
            yield from _texts(getattr(value, one.name))
    elif isinstance(value, (tuple, list, set, frozenset)):
        for one in value:
            yield from _texts(one)
