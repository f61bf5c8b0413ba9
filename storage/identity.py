"""What the instances of one study say of its patient: joined where they agree, told apart where they do not."""

from storage.columns import storable
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
    if before.birth_date and arrived.birth_date and before.birth_date != storable(arrived.birth_date):
        differing.append("birth date")
    # "O" stands for what a sender cannot say otherwise (PS3.3 C.2.3): it contradicts nothing.
    if {before.sex, arrived.sex} == {"F", "M"}:
        differing.append("sex")
    return differing
