"""DICOMweb as user agent: which studies of a patient an archive has (QIDO-RS), and one of them (WADO-RS).

PS3.18 10.6 and 10.4. Storing has a module of its own, `agent.peers.stow`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from time import monotonic

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from agent.dicom.answers import found_study
from agent.dicom.opening import CONTENT_ERRORS
from agent.fetching import StudyQuery
from agent.peers.association import peer_name
from agent.peers.http import problem_of, session
from agent.peers.querying import FoundStudies, too_many
from agent.peers.retrieving import Arrived, RetrieveOutcome, Take
from config.settings import ArchiveSettings, DestinationSettings

# It writes the addresses that it asks for, and patient IDs are part of those.
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)

WebPeer = ArchiveSettings | DestinationSettings
"""Whom we reach by DICOMweb."""

_FIELDS = [
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
    "IssuerOfPatientID",
    "StudyDescription",
]
_UNDEFINED_LENGTH = 0xFFFFFFFF


def search_studies(archive: ArchiveSettings, query: StudyQuery) -> FoundStudies:
    """Asks an archive for the studies of a patient; see `agent.peers.Peers.find_studies`."""
    filters = {"PatientID": query.patient_id, "StudyDate": f"{query.first_date}-{query.last_date}"}
    try:
        with client_of(archive) as client:
            answers = client.search_for_studies(
                limit=archive.answers_max + 1, fields=_FIELDS, search_filters=filters
            )
        datasets = [_dataset(answer) for answer in answers]
    except (requests.RequestException, OSError, *CONTENT_ERRORS) as error:
        problem, is_for_good = web_problem(archive, error)
        return FoundStudies(problem=problem, is_for_good=is_for_good)
    found = (
        found_study(dataset, assume_charset=archive.assume_charset, default_issuer=archive.default_issuer)
        for dataset in datasets[: archive.answers_max]
        if dataset is not None
    )
    note = too_many(archive.name, archive.answers_max) if len(datasets) > archive.answers_max else None
    return FoundStudies(tuple(study for study in found if study is not None), note=note)


def retrieve_study(archive: ArchiveSettings, study_instance_uid: str, take: Take) -> RetrieveOutcome:
    """Fetches a study object by object; see `agent.peers.Peers.retrieve`."""
    deadline = monotonic() + archive.request_seconds
    completed = failed = 0
    try:
        with client_of(archive) as client:
            for dataset in client.iter_study(study_instance_uid, media_types=(("application/dicom", "*"),)):
                status = take(_arrived(dataset))
                completed += status == 0x0000
                failed += status != 0x0000
                if monotonic() > deadline:
                    problem = (
                        f"{peer_name(archive)} did not send the whole study within "
                        f"{archive.request_seconds:g} s. If it is only slow, raise its request_seconds in peers.toml."
                    )
                    return RetrieveOutcome(completed, None, problem, True)
    except (requests.RequestException, OSError, *CONTENT_ERRORS) as error:
        problem, is_for_good = web_problem(archive, error)
        return RetrieveOutcome(completed, None, problem, is_for_good)
    not_kept = f"{peer_name(archive)} sent {failed} objects that could not be kept." if failed else None
    return RetrieveOutcome(completed, failed, not_kept, True)


def greet(peer: WebPeer) -> str | None:
    """Asks for any one study, since DICOMweb has no echo; a sentence if that is not answered, or None."""
    try:
        with client_of(peer) as client:
            client.search_for_studies(limit=1)
    except (requests.RequestException, OSError, *CONTENT_ERRORS) as error:
        return web_problem(peer, error)[0]
    return None


@contextmanager
def client_of(peer: WebPeer, *, accept: str | None = None) -> Iterator[DICOMwebClient]:
    """A client of a peer's DICOMweb service, for one transaction. Raises NoAuthorization."""
    with session(peer.tls, peer.authorization) as opened:
        if accept is not None:
            opened.headers["Accept"] = accept
        client = DICOMwebClient(
            url=peer.url,
            session=opened,
            timeout=(peer.connect_seconds, peer.answer_seconds),
        )
        client.set_http_retry_params(retry=False)
        yield client


def _dataset(answer: object) -> Dataset | None:
    """Reads one answer in the DICOM JSON model (PS3.18 Annex F); None for what is none."""
    try:
        return Dataset.from_json(answer)
    except CONTENT_ERRORS:
        return None


def _arrived(dataset: Dataset) -> Arrived:
    last = dataset.get_item(max(dataset.keys()))
    if isinstance(last, RawDataElement) and len(last.value or b"") < last.length < _UNDEFINED_LENGTH:
        raise EOFError("the object ends in the middle of its last element")  # pydicom says nothing of it
    buffer = BytesIO()
    meta, dataset.file_meta = dataset.file_meta, FileMetaDataset()
    dataset.preamble = None
    # pydicom has inflated what was deflated.
    syntax = ExplicitVRLittleEndian if meta.TransferSyntaxUID.is_deflated else meta.TransferSyntaxUID
    # Elements that nobody has looked at are written as the bytes that they were read from.
    dcmwrite(buffer, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return Arrived(
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(syntax),
        content=buffer.getvalue(),
    )


def web_problem(peer: WebPeer, error: Exception) -> tuple[str, bool]:
    """Says what went wrong with a DICOMweb service, and whether it will again; see `agent.peers.http.problem_of`."""
    name = peer_name(peer)
    if isinstance(error, (requests.RequestException, OSError)):
        return problem_of(name, peer.answer_seconds, error)
    return f"{name} sent what is no DICOM ({type(error).__name__}). Is url in peers.toml right?", False
