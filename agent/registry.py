"""Takes what a patient registry tells (HL7 v2 ADT): merged, changed and corrected patients become links, not moves."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agent.hl7.message import DATA_ERROR, Message, MessageError
from agent.hl7.patients import patient_changes_of
from agent.identity import IdentifierRules
from agent.messages import MessageType
from storage.patients import LinkRefused, Patients
from storage.records import PatientChange

_Told = tuple[Sequence[PatientChange], str, datetime]


def patient_messages(patients: Patients, rules: IdentifierRules) -> MessageType:
    """How messages of type ADT are taken.

    Args:
        rules: how issuers and their numbers are written here, the same as for DICOM.
    """
    return MessageType(partial(_parse, rules), partial(_store, patients))


def _parse(rules: IdentifierRules, message: Message, now: datetime) -> _Told:
    said_by = f"{message.kind} {message.control_id} of {message.sender}"
    return patient_changes_of(message, rules), said_by, now


def _store(patients: Patients, told: _Told) -> str:
    changes, said_by, now = told
    try:
        made = patients.apply(changes, said_by, now)
    except LinkRefused as error:
        raise MessageError(str(error), DATA_ERROR) from error
    return f"patients: {len(changes)} told of, {len(made)} numbers newly linked"
