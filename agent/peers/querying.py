"""C-FIND as SCU: which studies of a patient an archive has, and what a worklist holds (PS3.4 Annexes C and K).

An SCP may answer junk, answer more than anybody asked for, or never come to an end; each of these ends here, by
count or by the clock, with what was understood so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from agent.dicom.answers import FoundStudy, found_study, modalities_of, with_patient
from agent.dicom.opening import quietly
from agent.fetching import StudyQuery
from agent.peers.association import SERVICE_REFUSED, Called, NoAssociation, associate, lost, peer_name
from config.settings import ArchiveSettings, WorklistSettings

PENDING = (0xFF00, 0xFF01)

CANCEL_SECONDS = 5.0
"""How long a peer may go on answering after a C-CANCEL; then the association is aborted."""

SERIES_QUERIES_MAX = 20
"""Studies that are asked one by one for their modalities, where the archive does not tell them at once."""

_PATIENT_KEYS = ("IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY_KEYS = (
    "StudyInstanceUID",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)
_WORKLIST_KEYS = (
    "AccessionNumber",
    "StudyInstanceUID",
    "PatientID",
    *_PATIENT_KEYS,
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "ReasonForTheRequestedProcedure",
    "ReasonForTheImagingServiceRequest",
)
_STEP_KEYS = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepDescription",
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of one query.

    Attributes:
        datasets: the identifiers that could be decoded.
        note: a sentence if there may be more than these, or None.
        problem: a sentence for the person on duty if the peer did not come to an end by itself or said no;
            then what came before is worth nothing.
        is_for_good: True if it will say no to the same query again.
    """

    datasets: tuple[Dataset, ...] = ()
    note: str | None = None
    problem: str | None = None
    is_for_good: bool = False


@dataclass(frozen=True, slots=True)
class FoundStudies:
    """The studies that an archive has of a patient; `note`, `problem` and `is_for_good` as in `Answers`."""

    studies: tuple[FoundStudy, ...] = ()
    note: str | None = None
    problem: str | None = None
    is_for_good: bool = False


def find_studies(ae_title: str, archive: ArchiveSettings, query: StudyQuery) -> FoundStudies:
    """Asks an archive for the studies of a patient; see `agent.peers.Peers.find_studies`."""
    root = {
        "study": StudyRootQueryRetrieveInformationModelFind,
        "patient": PatientRootQueryRetrieveInformationModelFind,
    }[archive.information_model]
    association = _associate(ae_title, archive, root)
    if isinstance(association, NoAssociation):
        return FoundStudies(problem=association.problem, is_for_good=association.is_for_good)
    asking = _Asking(association, archive, root, monotonic() + archive.request_seconds)
    try:
        return _find_studies(asking, archive, query)
    finally:
        association.release()


def find_entries(
    ae_title: str, worklist: WorklistSettings, modality: str, first_date: str, last_date: str
) -> Answers:
    """Asks a worklist for the steps of one modality; see `agent.peers.Peers.find_entries`."""
    association = _associate(ae_title, worklist, ModalityWorklistInformationFind)
    if isinstance(association, NoAssociation):
        return Answers(problem=association.problem, is_for_good=association.is_for_good)
    deadline = monotonic() + worklist.request_seconds
    asking = _Asking(association, worklist, ModalityWorklistInformationFind, deadline)
    identifier = _empty(_WORKLIST_KEYS)
    step = _empty(_STEP_KEYS)
    step.Modality = modality
    step.ScheduledProcedureStepStartDate = f"{first_date}-{last_date}"
    identifier.ScheduledProcedureStepSequence = [step]
    try:
        return asking.find(identifier, worklist.answers_max)
    finally:
        association.release()


_STATUS: Mapping[int, tuple[str, bool]] = {
    0x0122: (f"SOP Class not supported. {SERVICE_REFUSED}", True),
    0x0124: ("not authorised. Its administrator must allow us to query", False),
    0xFE00: ("cancelled, and not by us", False),
}
"""What a C-FIND status of PS3.7 Annex C means, and whether for good."""


def too_many(name: str, answers_max: int) -> str:
    """Says that a peer has more answers than we listened to."""
    return f"{name} has more than {answers_max} answers; the first {answers_max} were looked at"


def judge_query(status: int) -> tuple[str, bool]:
    """Says what a final C-FIND status other than success means, and whether it will not change (PS3.4 C.4.1.1.4)."""
    known = _STATUS.get(status)
    if known is not None:
        return known
    if 0xA700 <= status <= 0xA7FF:
        return "out of resources", False
    if 0xA900 <= status <= 0xA9FF:
        return (
            "the identifier does not match the SOP Class. Try another information_model in peers.toml",
            True,
        )
    # Cxxx, "unable to process", is also what a database says that is being restarted.
    return "unable to process; see its log", False


def _associate(ae_title: str, called: Called, sop_class: str) -> Association | NoAssociation:
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    return associate(ae_title, called, [build_context(sop_class, syntaxes)])


def _find_studies(asking: "_Asking", archive: ArchiveSettings, query: StudyQuery) -> FoundStudies:
    answers = asking.find(_study_identifier(archive, query), archive.answers_max)
    if answers.problem is not None:
        return FoundStudies(problem=answers.problem, is_for_good=answers.is_for_good)
    read = (
        found_study(dataset, assume_charset=archive.assume_charset, default_issuer=archive.default_issuer)
        for dataset in answers.datasets
    )
    found = [one for one in read if one is not None]
    if archive.information_model == "patient":
        found = _with_patient(asking, archive, query, found)
    # A key that was asked for may be left out of the answer; who is meant is then the one asked for.
    found = [one if one.study.patient_id else _of_patient(one, query.patient_id) for one in found]
    return FoundStudies(tuple(_with_modalities(asking, found)), note=answers.note)


def _of_patient(found: FoundStudy, patient_id: str) -> FoundStudy:
    return replace(found, study=replace(found.study, patient_id=patient_id))


def _study_identifier(archive: ArchiveSettings, query: StudyQuery) -> Dataset:
    # Modalities in Study is asked for and not matched: two values of it match only where both sides have
    # negotiated that (PS3.4 C.2.2.2.4), and one SCP in three ignores it.
    is_study_root = archive.information_model == "study"
    identifier = _empty((*(_PATIENT_KEYS if is_study_root else ()), *_STUDY_KEYS))
    identifier.QueryRetrieveLevel = "STUDY"
    name_patient(identifier, query.patient_id)
    identifier.StudyDate = f"{query.first_date}-{query.last_date}"
    return identifier


def _with_patient(
    asking: "_Asking", archive: ArchiveSettings, query: StudyQuery, found: list[FoundStudy]
) -> list[FoundStudy]:
    """Adds the patient's attributes, which patient root answers on patient level only (PS3.4 C.6.1.1)."""
    identifier = _empty(_PATIENT_KEYS)
    identifier.QueryRetrieveLevel = "PATIENT"
    name_patient(identifier, query.patient_id)
    patients = asking.find(identifier, answers_max=2).datasets
    if len(patients) != 1:
        return found  # of two with the same ID nobody knows whose the studies are; the rules then take none
    return [with_patient(one, patients[0], assume_charset=archive.assume_charset) for one in found]


def _with_modalities(asking: "_Asking", found: list[FoundStudy]) -> list[FoundStudy]:
    """Asks on series level where Modalities in Study, an optional key, came back empty; newest studies first."""
    told: dict[str, tuple[str, ...]] = {}
    untold = [one.study for one in found if not one.study.modalities]
    untold.sort(key=lambda study: study.study_date, reverse=True)
    for study in untold[:SERIES_QUERIES_MAX]:
        identifier = _empty(("SeriesInstanceUID", "Modality"))
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = study.study_instance_uid
        if asking.sop_class == PatientRootQueryRetrieveInformationModelFind:
            name_patient(identifier, study.patient_id)
        series = asking.find(identifier, answers_max=100)
        if series.problem is not None:
            break
        words = (word for one in series.datasets for word in modalities_of(one, "Modality"))
        told[study.study_instance_uid] = tuple(dict.fromkeys(words))
    return [
        replace(one, study=replace(one.study, modalities=told[one.study.study_instance_uid]))
        if one.study.study_instance_uid in told
        else one
        for one in found
    ]


def name_patient(identifier: Dataset, patient_id: str) -> None:
    """Puts the patient ID into an identifier, with a character set if it needs one."""
    with quietly():  # an ID that is too long for its VR is asked for all the same
        identifier.PatientID = patient_id
    if not patient_id.isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"


def _empty(keywords: Sequence[str]) -> Dataset:
    identifier = Dataset()
    for keyword in keywords:
        setattr(identifier, keyword, None)
    return identifier


@dataclass(slots=True)
class _Asking:
    """One association on which queries are put, one after the other, until a deadline (monotonic)."""

    association: Association
    called: ArchiveSettings | WorklistSettings
    sop_class: str
    deadline: float
    message_id: int = 0

    def find(self, identifier: Dataset, answers_max: int) -> Answers:
        self.message_id += 1
        started = monotonic()
        datasets: list[Dataset] = []
        pending, is_late = 0, False
        cancelled_at: float | None = None
        try:
            for status, answer in self.association.send_c_find(identifier, self.sop_class, self.message_id):
                if "Status" not in status:
                    return Answers(problem=lost(self.called, monotonic() - started, "asked"))
                if status.Status not in PENDING:
                    break
                pending += 1
                if answer is not None and pending <= answers_max:
                    datasets.append(answer)
                is_late = is_late or monotonic() > self.deadline
                if cancelled_at is None and (pending > answers_max or is_late):
                    self.association.send_c_cancel(self.message_id, query_model=self.sop_class)
                    cancelled_at = monotonic()
                if cancelled_at is not None and monotonic() > cancelled_at + CANCEL_SECONDS:
                    self.association.abort()
                    break
        except (RuntimeError, ValueError):
            # pynetdicom's words for an association that has ended, and for a context that it did not accept.
            return Answers(problem=lost(self.called, monotonic() - started, "asked"))
        if is_late:
            return Answers(problem=self._never_ended())
        if cancelled_at is not None:
            return Answers(tuple(datasets), too_many(self.called.name, answers_max))
        return self._judged(int(status.Status), tuple(datasets))

    def _never_ended(self) -> str:
        seconds = self.called.request_seconds
        return (
            f"{peer_name(self.called)} did not come to the end of its answers within {seconds:g} s. "
            "If it is only slow, raise its request_seconds in peers.toml."
        )

    def _judged(self, status: int, datasets: tuple[Dataset, ...]) -> Answers:
        if status == 0x0000:
            return Answers(datasets)
        words, is_for_good = judge_query(status)
        return Answers(
            problem=f"{peer_name(self.called)} refused the query, status {status:04X}: {words}.",
            is_for_good=is_for_good,
        )
