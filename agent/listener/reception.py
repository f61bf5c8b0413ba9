"""One C-STORE request, from its command to its answer: bytes to a part-file, part-file to a row."""

import hashlib
import os
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from typing import Any

import structlog

from agent.admission import role_of, valid_uid
from agent.dicom.headers import HEADER_TAGS, Unreadable
from agent.dicom.uids import path_of
from agent.identity import identified
from agent.listener.commands import Command
from agent.listener.dataset import Survey, mismatch, survey
from agent.listener.file_meta import file_meta
from agent.listener.intake import RECEIVED, Intake, Peer
from agent.listener.statuses import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    DUPLICATE_SOP_INSTANCE,
    INTERNAL_ERROR,
    INVALID_SOP_INSTANCE,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    ProtocolBreach,
    Refused,
)
from storage.database import is_unavailable, trouble_of
from storage.files import PartFile
from storage.index import PutVerdict
from storage.records import Instance

log = structlog.get_logger()

_VIEWS_AT_ONCE = 1024
"""IOV_MAX of Linux: the buffers that one writev takes."""
_SMALL_BYTES_MAX = 1_048_576
"""A dataset of no more is hashed as it comes and synced in its association's own thread."""
_NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sender is told.

    Attributes:
        comment: for Error Comment; "" with success.
        stored: the new row, or None if nothing new was stored.
    """

    status: int
    comment: str = ""
    stored: Instance | None = None


class Reception:
    """Takes the fragments of one dataset and decides, after the last, whether we have it for good.

    Once something speaks against the object it goes on swallowing, since the protocol has no way to stop a
    sender but the abort of everything; the part-file is gone by then.

    The SHA-256 is of the dataset as sent, without the preamble and the File Meta Information that we put in
    front: so the same object is known again when another system sends it on or a later version receives it.
    """

    def __init__(
        self, command: Command, abstract_syntax_uid: str, transfer_syntax_uid: str, peer: Peer, intake: Intake
    ) -> None:
        self._command = command
        self._transfer_syntax_uid = transfer_syntax_uid
        self._peer = peer
        self._intake = intake
        self._fragments: list[memoryview] = []
        self._dataset_bytes = 0
        self._meta_bytes = 0
        self._sha256 = hashlib.sha256()
        self._hashed_bytes = 0
        self._part: PartFile | None = None
        self._refused: Refused | None = None
        try:
            self._open(abstract_syntax_uid)
        except (Refused, OSError) as error:
            self._refuse(error)

    def add(self, fragment: memoryview) -> None:
        """Takes the next fragment. The memory must stay as it is until `flush`.

        Raises:
            ProtocolBreach: if a sender goes on and on with an object that is too large.
        """
        self._dataset_bytes += len(fragment)
        bytes_max = self._intake.limits.instance_bytes_max
        if self._refused is None and self._dataset_bytes > bytes_max:
            self._refuse(
                Refused(OUT_OF_RESOURCES, f"larger than instance_bytes_max = {bytes_max} of agent.toml")
            )
        if self._dataset_bytes > 2 * bytes_max:
            raise ProtocolBreach(f"the sender did not end after twice instance_bytes_max = {bytes_max} bytes")
        if self._refused is None:
            self._fragments.append(fragment)

    def flush(self) -> None:
        """Writes (and hashes, if it is little) what was added straight from its memory, then free again."""
        fragments, self._fragments = self._fragments, []
        if self._part is None:
            return
        if self._is_small():
            for fragment in fragments:
                self._sha256.update(fragment)
            self._hashed_bytes = self._dataset_bytes
        try:
            for first in range(0, len(fragments), _VIEWS_AT_ONCE):
                _write(self._part.fileno(), fragments[first : first + _VIEWS_AT_ONCE])
        except OSError as error:
            self._refuse(error)

    def finish(self) -> Outcome:
        """Makes the object durable and known, or says why not. Never raises; a refused one leaves nothing.

        One of the three places of this program with a catch-all: the sender must get an answer.
        """
        try:
            return self._store()
        except Refused as refused:
            self._drop_part()
            self._note(refused.reason, refused.status)
            return Outcome(refused.status, refused.reason)
        except Exception as error:
            self._drop_part()
            if is_unavailable(error):
                # Not as an error of ours, which says that the object cannot be understood: a sender that believes it
                # never sends the object again.
                reason = trouble_of(error)
                log.error(
                    "the database is away or full",
                    sop_instance_uid=self._command.sop_instance_uid,
                    reason=reason,
                    exc_info=reason is None,
                )
                return Outcome(OUT_OF_RESOURCES, "the database is away or full; send again later")
            log.exception("C-STORE failed", sop_instance_uid=self._command.sop_instance_uid)
            return Outcome(INTERNAL_ERROR, "internal error; see the log of the receiver")

    def drop(self, reason: str) -> None:
        """Forgets the object: its association ended before the last fragment came."""
        self._fragments.clear()
        self._drop_part()
        self._note(reason, None)

    def _open(self, abstract_syntax_uid: str) -> None:
        command, intake = self._command, self._intake
        if not valid_uid(command.sop_instance_uid):
            raise Refused(
                INVALID_SOP_INSTANCE, f"SOP Instance UID {command.sop_instance_uid[:64]!r} breaks PS3.5 9.1"
            )
        if command.sop_class_uid != abstract_syntax_uid:
            named = command.sop_class_uid[:64]
            raise Refused(
                SOP_CLASS_NOT_SUPPORTED, f"SOP Class {named!r} sent in the context of {abstract_syntax_uid}"
            )
        free_bytes = intake.files.free_bytes()
        if free_bytes < intake.limits.free_bytes_min:
            raise Refused(
                OUT_OF_RESOURCES,
                f"{free_bytes} bytes are free, fewer than free_bytes_min = {intake.limits.free_bytes_min}",
            )
        meta = file_meta(
            command.sop_class_uid,
            command.sop_instance_uid,
            self._transfer_syntax_uid,
            self._peer.calling_ae_title,
        )
        self._part = intake.files.begin(f"{path_of(RECEIVED, command.sop_instance_uid)}.dcm")
        self._part.write(meta)
        self._meta_bytes = len(meta)

    def _store(self) -> Outcome:
        self.flush()
        if self._refused is not None:
            raise self._refused
        assert self._part is not None
        try:
            described = self._described if self._is_small() else self._described_while_syncing
            instance, study = described(self._part)
            instance = replace(instance, path=self._keep(self._part, instance))
        except OSError as error:
            raise _disk_trouble(error) from error
        put = self._intake.commits.put(instance, study)
        if put.verdict is PutVerdict.GONE:
            raise Refused(OUT_OF_RESOURCES, "it was deleted here while it came once more; send it again")
        if put.verdict is not PutVerdict.STORED:
            return _judge(put.instance, instance.sha256)
        log.info("stored", sop_instance_uid=instance.sop_instance_uid, size_bytes=instance.size_bytes)
        return Outcome(SUCCESS, stored=put.instance)

    def _is_small(self) -> bool:
        # A CR: to hand its fsync to another thread and to read the file once more cost a twentieth of the
        # processor each. Of 10 MB it is the other way round: 54 images a second so, 50 if hashed as they come.
        return self._dataset_bytes <= _SMALL_BYTES_MAX

    def _described_while_syncing(self, part: PartFile) -> tuple[Instance, Any]:
        # The disk works on the file while we hash and read it: 10 MB take either of them some 7 ms.
        syncing = self._intake.syncing.submit(part.sync)
        try:
            return self._described(part)
        finally:
            syncing.result()  # before anybody closes the descriptor

    def _described(self, part: PartFile) -> tuple[Instance, Any]:
        """The row and its study, out of the whole part-file."""
        command = self._command
        with mmap(part.fileno(), 0, access=ACCESS_READ) as content:
            found = survey(content, self._meta_bytes, self._transfer_syntax_uid, HEADER_TAGS)
        identity = found.identity
        refused = mismatch(identity, command.sop_class_uid, command.sop_instance_uid)
        if refused is not None:
            raise refused
        for name, uid in (("Study", identity.study_instance_uid), ("Series", identity.series_instance_uid)):
            if not valid_uid(uid):
                raise Refused(
                    DOES_NOT_MATCH, f"{name} Instance UID is {uid[:64]!r}, which is no UID (PS3.5 9.1)"
                )
        self._check_asked(identity.study_instance_uid)
        headers, study = self._headers(found)
        instance = Instance(
            number=0,
            sop_instance_uid=identity.sop_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            study_instance_uid=identity.study_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax_uid=self._transfer_syntax_uid,
            modality=headers.modality,
            view_group=headers.view_group,
            calling_ae_title=self._peer.calling_ae_title,
            called_ae_title=self._peer.called_ae_title,
            path="",
            sha256=self._digest(part),
            size_bytes=self._meta_bytes + self._dataset_bytes,
            received_at=self._intake.clock(),
            role=role_of(identity.sop_class_uid),
        )
        return instance, study

    def _check_asked(self, study_instance_uid: str) -> None:
        sender = self._peer.calling_ae_title
        if sender in self._intake.asked_only and not self._intake.index.is_asked_for(
            study_instance_uid, sender
        ):
            raise Refused(
                NOT_AUTHORISED,
                f'"{sender}" was not asked for study {study_instance_uid}. If it may send by itself, '
                "add a [[sender]] in peers.toml.",
            )

    def _digest(self, part: PartFile) -> str:
        if self._hashed_bytes < self._dataset_bytes:
            # Read, not mapped: pages of a map would count as this process's memory.
            with open(part.fileno(), "rb", buffering=0, closefd=False) as file:
                file.seek(self._meta_bytes + self._hashed_bytes)
                hashlib.file_digest(file, lambda: self._sha256)
        return self._sha256.hexdigest()

    def _headers(self, found: Survey) -> tuple[Any, Any]:
        sender = self._intake.senders.get(self._peer.calling_ae_title)
        assume_charset = sender.assume_charset if sender else None
        try:
            headers = self._intake.headers(
                found.elements, self._transfer_syntax_uid, assume_charset=assume_charset
            )
        except Unreadable as error:
            raise Refused(CANNOT_UNDERSTAND, error.reason) from error
        study = identified(headers.study(), self._peer.calling_ae_title, self._intake.identifiers)
        return headers, study

    def _keep(self, part: PartFile, instance: Instance) -> str:
        """Puts the file under its name and returns that name; "" if the object is known and needs no second file.

        A file that is there without a row is litter of a crash between the two. Mostly it is this very object
        sent again, and then keeps its name; after an upgrade, or from another sender, the File Meta
        Information differs, and the new file gets a numbered name beside it.
        """
        stem = path_of(RECEIVED, instance.sop_instance_uid)
        for number in range(_NAMES_MAX):
            path = f"{stem}.dcm" if number == 0 else f"{stem}-{number}.dcm"
            try:
                part.keep(path)
            except FileExistsError:
                if self._intake.index.known(instance.sop_instance_uid) is not None:
                    # Not the path of that row: retention may delete row and file before our commit.
                    self._drop_part()
                    return ""
                continue
            return path
        raise Refused(
            OUT_OF_RESOURCES, f"{_NAMES_MAX} files without a row stand in the way at {stem}.dcm; remove them"
        )

    def _refuse(self, error: Refused | OSError) -> None:
        self._refused = error if isinstance(error, Refused) else _disk_trouble(error)
        self._fragments.clear()
        self._drop_part()

    def _drop_part(self) -> None:
        if self._part is not None:
            self._part.drop()
            self._part = None

    def _note(self, reason: str, status: int | None) -> None:
        self._intake.refuse(
            self._peer, reason, sop_instance_uid=self._command.sop_instance_uid[:64], status=status
        )


def _judge(known: Instance, sha256: str) -> Outcome:
    """What to say to an object whose UID we have: success if it is the same, for then we do have it."""
    if known.sha256 == sha256:
        log.info("known already", sop_instance_uid=known.sop_instance_uid)
        return Outcome(SUCCESS)
    raise Refused(
        DUPLICATE_SOP_INSTANCE,
        f"other content is stored under this SOP Instance UID, from {known.calling_ae_title} "
        f"(sha256 {known.sha256[:12]}, this one {sha256[:12]}); the first one is kept",
    )


def _write(descriptor: int, views: list[memoryview]) -> None:
    wanted = sum(map(len, views))
    written = os.writev(descriptor, views)
    if written < wanted:  # a nearly full disk takes a part; the next call says why
        rest = memoryview(b"".join(views))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _disk_trouble(error: OSError) -> Refused:
    return Refused(OUT_OF_RESOURCES, f"the file could not be written: {error.strerror or error}")
