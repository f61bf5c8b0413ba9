"""What an operator says of patient numbers: these two are one patient, or they are not after all."""

from agent.clock import system_clock
from agent.identity import identifier_of_cx, rules_of_peers
from agent.operators import operator
from agent.store import Store, existing_store
from config.settings import Settings
from storage.records import PatientIdentifier, PatientLink


def listed(settings: Settings, limit: int) -> str:
    """The links in force, newest first, one a line."""
    store = existing_store(settings)
    try:
        return _lines(store.patients.links(limit)) or "no patient numbers are linked"
    finally:
        store.database.close()


def link(settings: Settings, old: str, surviving: str, reason: str) -> str:
    """Links two numbers and says so.

    Raises:
        ValueError: if one is no number, or the store refuses the link (`storage.patients.LinkRefused`).
    """
    pair = _identifier(old, settings), _identifier(surviving, settings)
    store = existing_store(settings)
    try:
        made = store.patients.link(*pair, reason, operator(), system_clock())
        if made is None:
            return "they are linked already; nothing was changed"
        return f"link {made.number} made; {_studies(store, pair[1])}"
    finally:
        store.database.close()


def unlink(settings: Settings, number: int) -> str:
    """Takes a link back and says so. Raises LookupError if it is not in force."""
    store = existing_store(settings)
    try:
        ended = store.patients.unlink(number, operator(), system_clock())
        return f"link {number} taken back; {_studies(store, ended.surviving)}"
    finally:
        store.database.close()


def history(settings: Settings, identifier: str) -> str:
    """Every link from or to a number, oldest first. Raises ValueError if it is none."""
    wanted = _identifier(identifier, settings)
    store = existing_store(settings)
    try:
        return _lines(store.patients.history(wanted)) or "this number was never linked"
    finally:
        store.database.close()


def _identifier(text: str, settings: Settings) -> PatientIdentifier:
    identifier = identifier_of_cx(text, rules_of_peers(settings.peers))
    if identifier is None:
        raise ValueError("a patient number is written ID^^^ISSUER or ID, and is no placeholder of peers.toml")
    return identifier


def _studies(store: Store, surviving: PatientIdentifier) -> str:
    return f"{len(store.index.history([surviving]).studies)} studies are here under the patient's numbers"


def _lines(links: tuple[PatientLink, ...]) -> str:
    return "\n".join(map(_line, links))


def _line(link: PatientLink) -> str:
    made = f"{link.reason}, by {link.linked_by} at {link.linked_at.isoformat(timespec='seconds')}"
    ended = ""
    if link.unlinked_at is not None:
        ended = f"; taken back by {link.unlinked_by} at {link.unlinked_at.isoformat(timespec='seconds')}"
    return f"link {link.number}: {_shown(link.old)} is now {_shown(link.surviving)} ({made}{ended})"


def _shown(identifier: PatientIdentifier) -> str:
    return f"{identifier.patient_id}^^^{identifier.issuer}" if identifier.issuer else identifier.patient_id
