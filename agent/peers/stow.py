"""STOW-RS as user agent: objects go to a DICOMweb service, and its answer says what became of each (PS3.18 10.5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import requests
from pydicom import dcmread
from pydicom.dataset import Dataset

from agent.dicom.opening import CONTENT_ERRORS
from agent.peers.association import peer_name
from agent.peers.storing import Stored, StoreKind, StoreOutcome, judged, stored, unreadable, unsent
from agent.peers.web import client_of, web_problem
from config.settings import DestinationSettings

_JSON = "application/dicom+json"
_CONFLICT = 409
_FOR_GOOD = (400, 406, 409, 411, 413, 414, 415, 416, 422)
"""Of the statuses that fail the whole request, those that the same objects would get again (RFC 9110 15.5). The others
pass, or an administrator can remove what they tell of: a wrong url, a missing right."""


def store_instances(destination: DestinationSettings, files: Sequence[Path]) -> tuple[StoreOutcome, ...]:
    """Sends files to a DICOMweb destination, all in one request; see `agent.peers.Peers.store`."""
    objects = [stored(path) for path in files]
    readable = [one for one in objects if one.is_readable]
    outcomes = dict(zip(readable, _post(destination, readable), strict=True)) if readable else {}
    return tuple(outcomes.get(one) or unreadable(one) for one in objects)


def _post(destination: DestinationSettings, objects: Sequence[Stored]) -> list[StoreOutcome]:
    try:
        with client_of(destination, accept=_JSON) as client:
            said = client.store_instances([dcmread(one.path) for one in objects])
        # The library keeps the status to itself: 200 names no object that failed, and 202 does.
        is_sure = not _failed(said)
    except requests.HTTPError as error:
        if error.response.status_code != _CONFLICT:
            return [_refused(destination, one, error) for one in objects]
        said, is_sure = _body(error.response), False
    except (requests.RequestException, OSError, *CONTENT_ERRORS) as error:
        return [unsent(one, web_problem(destination, error)[0]) for one in objects]
    return [_judged(destination, one, said, is_sure=is_sure) for one in objects]


def _judged(destination: DestinationSettings, one: Stored, said: Dataset, *, is_sure: bool) -> StoreOutcome:
    """Judges one object by the Store Instances Response (PS3.18 Annex I.2).

    Args:
        is_sure: an object that it does not name is taken: the request as a whole succeeded.
    """
    taken, failed = _taken(said), _failed(said)
    if one.sop_instance_uid in failed:
        return judged(destination, one, failed[one.sop_instance_uid])
    if one.sop_instance_uid in taken or is_sure:
        return judged(destination, one, taken.get(one.sop_instance_uid, 0x0000))
    problem = f"{peer_name(destination)} refused others of the request and says nothing of this object; see its log."
    return unsent(one, problem)


def _taken(said: Dataset) -> Mapping[str, int]:
    """SOP Instance UID to Warning Reason, 0x0000 without one."""
    items = said.get("ReferencedSOPSequence") or ()
    return {str(item.ReferencedSOPInstanceUID): int(item.get("WarningReason") or 0x0000) for item in items}


def _failed(said: Dataset) -> Mapping[str, int]:
    """SOP Instance UID to Failure Reason; 0x0110, processing failure, without one."""
    items = said.get("FailedSOPSequence") or ()
    return {
        str(item.get("ReferencedSOPInstanceUID") or ""): int(item.get("FailureReason") or 0x0110)
        for item in items
    }


def _body(response: requests.Response) -> Dataset:
    try:
        body = response.json()
        return Dataset.from_json(body[0] if isinstance(body, list) else body)
    except CONTENT_ERRORS:
        return Dataset()


def _refused(destination: DestinationSettings, one: Stored, error: requests.HTTPError) -> StoreOutcome:
    is_for_good = error.response.status_code in _FOR_GOOD
    kind = StoreKind.REFUSED_FOR_GOOD if is_for_good else StoreKind.REFUSED_FOR_NOW
    return unsent(one, web_problem(destination, error)[0], kind)
