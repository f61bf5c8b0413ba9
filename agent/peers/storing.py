"""C-STORE as SCU: what is sent, in which form, and what the answer means for us (PS3.4 Annex B)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from agent.peers.association import (
    CLASS_REFUSED,
    NoAssociation,
    associate,
    class_name,
    lost,
    peer_name,
)
from config.settings import DestinationSettings

CONTEXTS_MAX = 128
"""Presentation contexts of one association: their IDs are the odd numbers below 256 (PS3.8 Table 9-18)."""

REENCODED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What an uncompressed object is offered in beside its own form; the second all must take (PS3.5 10.1)."""


class StoreKind(StrEnum):
    """What became of one object."""

    TAKEN = "taken"
    """The destination has it."""
    REFUSED_FOR_NOW = "refused_for_now"
    """It said no, for a reason that passes or that its administrator can remove: send again."""
    REFUSED_FOR_GOOD = "refused_for_good"
    """It said no, and will say no to the same object again."""
    NOT_SENT = "not_sent"
    """There is no answer: not reached, association refused or lost. Send again; twice is harmless."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a C-STORE status means for us.

    Attributes:
        words: what the status says and what to do, or None for plain success.
    """

    kind: StoreKind
    words: str | None


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one file that was to be stored.

    Attributes:
        status: DIMSE status of the answer, or None if none came.
        problem: a sentence for the person on duty, also for a warning; None if all is well.
        is_quoting: the sentence has the peer's own words in it, which may name the patient: not for the log.
    """

    sop_instance_uid: str
    status: int | None
    kind: StoreKind
    problem: str | None
    is_quoting: bool = False


_NOW, _GOOD, _TAKEN = StoreKind.REFUSED_FOR_NOW, StoreKind.REFUSED_FOR_GOOD, StoreKind.TAKEN

_STATUS: Mapping[int, Verdict] = {
    0x0000: Verdict(_TAKEN, None),
    # PS3.7 Annex C.4: warnings and failures that any service may answer.
    0x0001: Verdict(_TAKEN, "requested optional attributes not supported"),
    0x0107: Verdict(_TAKEN, "attribute list error"),
    0x0116: Verdict(_TAKEN, "attribute value out of range"),
    0x0111: Verdict(_TAKEN, "duplicate SOP Instance: it has the object from an earlier try"),
    0x0110: Verdict(_NOW, "processing failure; see its log"),
    0x0117: Verdict(_GOOD, "invalid SOP Instance UID"),
    0x0118: Verdict(_GOOD, "no such SOP Class"),
    0x0119: Verdict(_GOOD, "class and instance conflict"),
    0x0122: Verdict(_GOOD, "SOP Class not supported; take that output away from it in peers.toml"),
    0x0124: Verdict(_NOW, "not authorised; its administrator must allow us to store"),
    0x0210: Verdict(_NOW, "duplicate invocation"),
    0x0211: Verdict(_GOOD, "unrecognised operation: it stores nothing"),
    0x0212: Verdict(_GOOD, "mistyped argument"),
    0x0213: Verdict(_NOW, "resource limitation"),
    0xFE00: Verdict(_NOW, "cancelled"),
    # PS3.4 Table B.2-1: warnings of the Storage Service.
    0xB000: Verdict(_TAKEN, "coercion of data elements: it keeps the object with changed attributes"),
    0xB006: Verdict(_TAKEN, "elements discarded: it keeps the object without some attributes"),
    0xB007: Verdict(_TAKEN, "data set does not match SOP Class, taken nevertheless"),
}


def judge_status(status: int) -> Verdict:
    """Says what a C-STORE status means for us (PS3.4 B.2.3 and Table B.2-1, PS3.7 Annex C).

    A status that no table here knows is a failure, and one for good: a person must see it.
    """
    known = _STATUS.get(status)
    if known is not None:
        return known
    if 0xA700 <= status <= 0xA7FF:
        return Verdict(_NOW, "out of resources; it needs disk space or fewer senders")
    if 0xA900 <= status <= 0xA9FF:
        return Verdict(_GOOD, "data set does not match SOP Class; keep the object for its vendor")
    if 0xB000 <= status <= 0xBFFF:
        return Verdict(_TAKEN, "taken with a warning")
    if 0xC000 <= status <= 0xCFFF:
        return Verdict(_GOOD, "cannot understand; keep the object for its vendor")
    return Verdict(_GOOD, "failure; see its log")


def store(ae_title: str, destination: DestinationSettings, files: Sequence[Path]) -> tuple[StoreOutcome, ...]:
    """Sends files to a destination; see `agent.peers.Peers.store`."""
    outcomes: list[StoreOutcome] = []
    for batch in _batches([_stored(path) for path in files]):
        outcomes += _store_batch(ae_title, destination, batch)
    return tuple(outcomes)


def _store_batch(
    ae_title: str, destination: DestinationSettings, batch: "Sequence[_Stored]"
) -> list[StoreOutcome]:
    contexts = list(dict.fromkeys(context for one in batch for context in one.contexts()))
    if not contexts:
        return [_unreadable(one) for one in batch]
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    association = associate(ae_title, destination, proposed)
    if isinstance(association, NoAssociation):
        kind = StoreKind.REFUSED_FOR_GOOD if association.is_for_good else StoreKind.NOT_SENT
        return [_unsent(one, association.problem, kind) for one in batch]
    try:
        return list(_send_all(association, destination, batch))
    finally:
        association.release()


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file that is to be sent, as far as its file meta information says what it is (PS3.10 7.1)."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def is_readable(self) -> bool:
        return bool(self.sop_class_uid and self.sop_instance_uid and self.transfer_syntax_uid)

    @property
    def may_be_reencoded(self) -> bool:
        return self.transfer_syntax_uid in (*REENCODED, DeflatedExplicitVRLittleEndian)

    def contexts(self) -> Iterator[tuple[str, str]]:
        """Names what to propose for it: its own form first, one transfer syntax in each context."""
        if self.is_readable:
            yield self.sop_class_uid, self.transfer_syntax_uid
            for syntax in REENCODED if self.may_be_reencoded else ():
                yield self.sop_class_uid, str(syntax)


def _stored(path: Path) -> _Stored:
    try:
        meta = read_file_meta_info(path)
    except InvalidDicomError:
        return _Stored(path, "", "", "")
    keywords = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    return _Stored(path, *(str(meta.get(keyword) or "") for keyword in keywords))


def _batches(objects: Sequence[_Stored]) -> Iterator[list[_Stored]]:
    """Cuts where one association could not propose everything; with our own objects that is never."""
    batch: list[_Stored] = []
    contexts: set[tuple[str, str]] = set()
    for one in objects:
        wanted = contexts | set(one.contexts())
        if batch and len(wanted) > CONTEXTS_MAX:
            yield batch
            batch, wanted = [], set(one.contexts())
        batch.append(one)
        contexts = wanted
    if batch:
        yield batch


def _send_all(
    association: Association, destination: DestinationSettings, batch: Sequence[_Stored]
) -> Iterator[StoreOutcome]:
    """Sends one after the other; once the association is gone, the rest is not sent and says why."""
    accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in association.accepted_contexts}
    lost: str | None = None
    for number, one in enumerate(batch, start=1):
        if lost is not None or not one.is_readable:
            yield _unsent(one, lost or "")
        elif accepted.isdisjoint(one.contexts()):
            refused = f"{peer_name(destination)} accepts no {class_name(one.sop_class_uid)}"
            form = UID(one.transfer_syntax_uid).name
            problem = f"{refused} as {form} (no presentation context accepted). {CLASS_REFUSED}"
            yield _unsent(one, problem, StoreKind.REFUSED_FOR_GOOD)
        else:
            outcome = _send(association, destination, one, number, accepted)
            # Without an answer nothing more is tried: pynetdicom may take a while to see that the peer is
            # gone, and each further object would wait its answer_seconds in vain.
            lost = outcome.problem if outcome.kind is StoreKind.NOT_SENT else None
            yield outcome


def _send(
    association: Association,
    destination: DestinationSettings,
    one: _Stored,
    number: int,
    accepted: set[tuple[str, str]],
) -> StoreOutcome:
    started = monotonic()
    own_form = (one.sop_class_uid, one.transfer_syntax_uid) in accepted
    try:
        # A path goes from disk as it is; a dataset is encoded in the form that was accepted.
        answer = association.send_c_store(one.path if own_form else dcmread(one.path), msg_id=number % 65535)
    except RuntimeError:
        # pynetdicom's word for an association that ended between two objects.
        return _unsent(one, lost(destination, monotonic() - started))
    except (ValueError, AttributeError) as error:
        # Not the error's own text: it may repeat a value, and values are patient data.
        problem = f"{one.path} cannot be encoded for {peer_name(destination)} ({type(error).__name__})."
        return _unsent(one, problem, StoreKind.REFUSED_FOR_GOOD)
    if "Status" not in answer:
        return _unsent(one, lost(destination, monotonic() - started))
    verdict = judge_status(answer.Status)
    said_of_it = None
    if verdict.words is not None:
        verb = "took" if verdict.kind is StoreKind.TAKEN else "refused"
        said = f"status {answer.Status:04X}: {verdict.words}"
        said_of_it = f"{peer_name(destination)} {verb} {class_name(one.sop_class_uid)}, {said}."
    return StoreOutcome(one.sop_instance_uid, answer.Status, verdict.kind, said_of_it)


def _unsent(one: _Stored, problem: str, kind: StoreKind = StoreKind.NOT_SENT) -> StoreOutcome:
    return StoreOutcome(one.sop_instance_uid, None, kind, problem) if one.is_readable else _unreadable(one)


def _unreadable(one: _Stored) -> StoreOutcome:
    problem = f"{one.path} has no complete file meta information (PS3.10 7.1) and cannot be sent."
    return StoreOutcome(one.sop_instance_uid, None, StoreKind.REFUSED_FOR_GOOD, problem)
