"""What the instances of one study say of its patient: joined where they agree, told apart where they do not."""

from datetime import date

from storage.records import Instance, PatientIdentifier, Study


def union(before: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in (*before, *more) if word))


def known_identifiers(
    before: tuple[PatientIdentifier, ...], arrived: tuple[PatientIdentifier, ...]
) -> tuple[PatientIdentifier, ...]:
    """Joins what two instances of one study say; the first stays first, with its issuer once somebody names it."""
    both = tuple(dict.fromkeys((*before, *arrived)))
    if not (before and arrived) or before[0].patient_id != arrived[0].patient_id or before[0].issuer:
        return both
    return tuple(dict.fromkeys((arrived[0], *both)))


def conflict_of(before: Study, arrived: Study, instance: Instance) -> str | None:
    """Says what tells the two patients apart and which instance it was; the values stay out, since logs repeat it."""
    differing = _differing(before, arrived)
    if not differing:
        return None
    uid = instance.sop_instance_uid
    return f"the instances of this study name two patients: {', '.join(differing)} of {uid} differs from the first's"


def _differing(before: Study, arrived: Study) -> list[str]:
    """Names what tells two patients apart. Not the name: it is spelled in many ways and may be corrected."""
    differing = []
    if before.identifiers and arrived.identifiers and not set(before.identifiers) & set(arrived.identifiers):
        ours, theirs = before.identifiers[0], arrived.identifiers[0]
        if ours.patient_id != theirs.patient_id:
            differing.append("patient ID")
        elif ours.issuer and theirs.issuer:
            differing.append("issuer of the patient ID")
    if are_two(whole_date(before.birth_date), whole_date(arrived.birth_date)):
        differing.append("birth date")
    if are_two(sex_of(before.sex), sex_of(arrived.sex)):
        differing.append("sex")
    return differing


def are_two(one: str, other: str) -> bool:
    """True if both are known and they differ."""
    return one != other and "" not in (one, other)


def whole_date(text: str) -> str:
    """ "YYYYMMDD" of a whole date, with the dots of ACR-NEMA or without; "" for what is none: 1950, 00000000."""
    digits = text.strip().replace(".", "")
    try:
        whole = len(digits) == 8 and digits.isascii() and digits.isdecimal()
        return str(date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))).replace("-", "") if whole else ""
    except ValueError:
        return ""


def sex_of(text: str) -> str:
    """ "F" or "M"; "" for "O", which stands for what a sender cannot say otherwise (PS3.3 C.2.3), "U" and others."""
    sex = text.strip().upper()
    return sex if sex in ("F", "M") else ""
