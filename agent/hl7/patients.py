"""What an ADT message says of a patient's numbers: merge, change of ID, update (HL7 v2.5.1 3.3, IHE PAM). Pure."""

from collections.abc import Sequence

from agent.hl7.message import (
    DATA_ERROR,
    FIELD_MISSING,
    UNSUPPORTED_TYPE,
    Message,
    MessageError,
    Segment,
    refuse_too_long,
    refuse_too_many,
)
from agent.identity import IdentifierRules, digits_of, identifier_of
from storage.records import Demographics, PatientChange, PatientIdentifier

CHANGES = {
    "ADT^A08": "update",
    "ADT^A31": "update",
    "ADT^A40": "merge",
    "ADT^A47": "change of ID",
}
"""The messages that are understood, and what they do: A08 and A31 update a person (3.3.8, 3.3.31), A40 merges two
numbers (3.3.40), A47 replaces one (3.3.47)."""

_SEXES = {"F": "F", "M": "M", "O": "O", "A": "O", "N": "O"}  # HL7 Table 0001 to PS3.3 C.2.3; U says nothing
_NOT_OF_A_PERSON = ("AN", "ANC", "AND", "ANT", "VN")  # HL7 Table 0203: accounts and visits
_NULL = '""'


def patient_changes_of(
    message: Message, rules: IdentifierRules, default_issuer: str = ""
) -> tuple[PatientChange, ...]:
    """Reads what a message changes, one entry for each patient in it (A40 may hold several).

    Each old number (MRG-1) is followed by the one of the same issuer in PID-3; of several, by the one of the same
    type (CX.5).

    Args:
        rules: how issuers and their numbers are written here, the same as for DICOM.
        default_issuer: of numbers for which the message names no assigning authority (CX.4).

    Raises:
        MessageError: if it is none of `CHANGES`, or does not say which number follows which.
    """
    reason = CHANGES.get(message.kind)
    if reason is None:
        known = ", ".join(CHANGES)
        raise MessageError(
            f"{message.kind or 'a message without a type'} is none of {known}", UNSUPPORTED_TYPE
        )
    groups = _groups(message.segments)
    refuse_too_many(sum(map(_identifier_count, groups)))
    changes = [_change_of(reason, patient, merged, rules, default_issuer) for patient, merged in groups]
    if not changes:
        raise MessageError("it has no PID segment", FIELD_MISSING)
    return tuple(changes)


def _groups(segments: Sequence[Segment]) -> list[tuple[Segment, Segment | None]]:
    """Each PID with the MRG that belongs to it."""
    groups: list[tuple[Segment, Segment | None]] = []
    for segment in segments:
        if segment.name == "PID":
            groups.append((segment, None))
        elif segment.name == "MRG" and groups:
            groups[-1] = (groups[-1][0], segment)
    return groups


def _identifier_count(group: tuple[Segment, Segment | None]) -> int:
    patient, merged = group
    return len(patient.repetitions(3)) + (0 if merged is None else len(merged.repetitions(1)))


def _change_of(
    reason: str, patient: Segment, merged: Segment | None, rules: IdentifierRules, default_issuer: str
) -> PatientChange:
    ours = _typed(patient, 3, rules, default_issuer)
    if not ours:
        raise MessageError("PID-3 holds no patient identifier", FIELD_MISSING)
    links: list[tuple[PatientIdentifier, PatientIdentifier]] = []
    if reason != "update":
        olds = _typed(merged, 1, rules, default_issuer) if merged is not None else []
        if not olds:
            raise MessageError(
                "MRG-1 holds no patient identifier, so nothing says what was merged", FIELD_MISSING
            )
        followed = [(old, _follower(old, kind, ours)) for old, kind in olds]
        links = [(old, new) for old, new in followed if old != new]
        if not links:
            raise MessageError("PID-3 and MRG-1 hold the same identifiers", DATA_ERROR)
    return PatientChange(
        reason=reason,
        links=tuple(dict.fromkeys(links)),
        identifiers=tuple(dict.fromkeys(identifier for identifier, _ in ours)),
        demographics=_demographics(patient),
    )


def _typed(
    segment: Segment, number: int, rules: IdentifierRules, default_issuer: str
) -> list[tuple[PatientIdentifier, str]]:
    """The patient identifiers of a field of type CX, each with its type (CX.5); of visits and accounts none."""
    found = []
    for one in segment.repetitions(number):
        kind = segment.part(one, 5).upper()
        authority = segment.part(one, 4) or segment.part(one, 4, 2)  # HD: namespace, else universal ID
        number_text = segment.part(one)
        if kind in _NOT_OF_A_PERSON:
            continue
        refuse_too_long(
            (f"patient ID ({segment.name}-{number})", number_text),
            (f"assigning authority ({segment.name}-{number}.4)", authority),
        )
        identifier = identifier_of(
            "" if number_text == _NULL else number_text,
            default_issuer if authority in ("", _NULL) else authority,
            rules,
        )
        if identifier is not None:
            found.append((identifier, kind))
    return found


def _follower(
    old: PatientIdentifier, kind: str, ours: Sequence[tuple[PatientIdentifier, str]]
) -> PatientIdentifier:
    same_issuer = [(one, its_kind) for one, its_kind in ours if one.issuer == old.issuer]
    same_kind = [(one, its_kind) for one, its_kind in same_issuer if its_kind == kind]
    followers = {one for one, _ in (same_kind or same_issuer)}
    if len(followers) != 1:
        issuer = f"issuer {old.issuer}" if old.issuer else "no issuer"
        raise MessageError(
            f"PID-3 holds {len(followers)} identifiers of {issuer} for one in MRG-1; which follows it cannot be told",
            DATA_ERROR,
        )
    return followers.pop()


def _demographics(patient: Segment) -> Demographics:
    def said(number: int, component: int = 1) -> str:
        text = patient.text(number, component)
        return "" if text == _NULL else text

    birth_date = digits_of(said(7))[:8]
    # XPN puts the suffix before the prefix, PN of DICOM behind it (PS3.5 6.2.1).
    family, given, middle, suffix, prefix = (said(5, component) for component in range(1, 6))
    name = "^".join((family, given, middle, prefix, suffix)).rstrip("^")
    refuse_too_long(("patient name (PID-5)", name))
    return Demographics(
        patient_name=name,
        birth_date=birth_date if len(birth_date) == 8 else "",
        sex=_SEXES.get(said(8).upper(), ""),
    )
