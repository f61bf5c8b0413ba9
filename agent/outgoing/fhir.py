"""A draft as a FHIR R4 transaction: DiagnosticReport, Observations, Device, Provenance. Pure.

Each resource is written by a conditional update (R4 3.1.0.4.3) on an identifier that we derive, so that a transaction
sent twice changes nothing, and a later revision takes the place of an earlier one. Patient, order and ImagingStudy
are the site's: they are referred to by identifier and never written.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from agent.dicom.uids import derived_uid
from agent.outgoing.draft import (
    Draft,
    banner_of,
    boxes_of,
    chain_of,
    finding_uids,
    is_named_present,
    score_of,
    sections_of,
    study_date_of,
    text_of,
)
from agent.outputs.codes import (
    LOCAL_SCHEME,
    change_code,
    finding_code,
    side_code,
    site_code,
    status_code,
)
from agent.outputs.wording import certainty_percent, program, score_remark
from config.receiver_settings import FhirServerSettings
from inference.reading import Finding

URI_SYSTEM = "urn:ietf:rfc:3986"
LOCAL_SYSTEM = f"urn:oid:{derived_uid('coding scheme', LOCAL_SCHEME)}"
"""System of our own codes and tags."""

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    LOCAL_SCHEME: LOCAL_SYSTEM,
}
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_PERCENT = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
_WITHDRAWN = "entered-in-error"

Resource = dict[str, Any]


def bundle_of(draft: Draft, server: FhirServerSettings) -> bytes:
    """Writes the transaction: the same draft for the same server gives the same bytes.

    Findings of earlier revisions that this one has not, and all of a withdrawn draft, become entered-in-error.
    """
    device, now = _device(draft), _observations(draft, server)
    taken_back = [one for one in _taken_back(draft, server) if one["identifier"] not in _identifiers(now)]
    report = _report(draft, server, now)
    provenance = _provenance(draft, [report, *now])
    entries = [_entry(one) for one in (device, *now, *taken_back, report)]
    by_tag = quote(f"{URI_SYSTEM}|{_provenance_tag(draft)}", safe="")
    entries.append(_entry_at(provenance, f"Provenance?_tag={by_tag}", _provenance_tag(draft)))
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode()


def _identifiers(resources: Sequence[Resource]) -> list[Any]:
    return [one["identifier"] for one in resources]


def _entry(resource: Resource) -> Resource:
    value = resource["identifier"][0]["value"]
    search = quote(f"{URI_SYSTEM}|{value}", safe="")
    return _entry_at(resource, f"{resource['resourceType']}?identifier={search}", value)


def _entry_at(resource: Resource, url: str, identifier: str) -> Resource:
    return {
        "fullUrl": _full_url(identifier),
        "resource": resource,
        "request": {"method": "PUT", "url": url},
    }


def _full_url(identifier: str) -> str:
    """The temporary address of a resource inside the transaction: the UUID in its 2.25 UID (PS3.5 B.2)."""
    return UUID(int=int(identifier.rpartition(".")[2])).urn


def _reference_to(resource: Resource) -> Resource:
    return {
        "reference": _full_url(resource["identifier"][0]["value"]),
        "type": resource["resourceType"],
    }


def _identifier(uid: str) -> list[Resource]:
    return [{"system": URI_SYSTEM, "value": f"urn:oid:{uid}"}]


def _meta(draft: Draft) -> Resource:
    """Labels what the model asserts."""
    label = {
        "system": f"{_TERMINOLOGY}/v3-ObservationValue",
        "code": "AIAST",
        "display": "Artificial Intelligence asserted",
    }
    return {"security": [label], "tag": _tags(draft)}


def _tags(draft: Draft) -> list[Resource]:
    """Stand on every resource, since each may be shown without the others."""
    tags = [{"system": LOCAL_SYSTEM, "code": "UNVERIFIED", "display": "AI draft, not verified"}]
    if draft.reading.engine.is_demo:
        tags.append({"system": LOCAL_SYSTEM, "code": "DEMO", "display": "Synthetic demo model"})
    return tags


def _model_uid(draft: Draft) -> str:
    engine = draft.reading.engine
    return derived_uid("model", engine.name, engine.version, engine.model_name, engine.weights_digest)


def _device(draft: Draft) -> Resource:
    """This program with its weights: other weights are another Device."""
    device, engine = draft.device, draft.reading.engine
    return {
        "resourceType": "Device",
        "meta": {"tag": _tags(draft)},
        "identifier": _identifier(_model_uid(draft)),
        "status": "active",
        "manufacturer": device.manufacturer,
        "deviceName": [
            {"name": device.model_name, "type": "manufacturer-name"},
            {"name": engine.model_name, "type": "model-name"},
        ],
        "version": [{"value": device.software_version}, {"value": engine.version}],
        "note": [{"text": program(engine)}],
    }


def _subject(draft: Draft, server: FhirServerSettings) -> Resource:
    if not draft.study.patient_id:
        return {"type": "Patient", "display": "not identified"}
    issuer = draft.study.issuer_of_patient_id.strip()
    is_oid = issuer.replace(".", "").isdecimal() and "." in issuer
    system = server.patient_system or (f"urn:oid:{issuer}" if is_oid else "")
    identifier: Resource = {"value": draft.study.patient_id}
    if system:
        identifier["system"] = system
    if issuer and not is_oid:
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def _imaging_study(draft: Draft) -> Resource:
    uid = f"urn:oid:{draft.study.study_instance_uid}"
    return {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": uid}}


def _based_on(draft: Draft, server: FhirServerSettings) -> list[Resource]:
    accession = draft.study.accession_number.strip()
    if not accession:
        return []
    kind = {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": "ACSN"}]}
    identifier: Resource = {"type": kind, "value": accession}
    if server.accession_system:
        identifier["system"] = server.accession_system
    return [{"type": "ServiceRequest", "identifier": identifier}]


def _times(draft: Draft) -> Resource:
    times: Resource = {"issued": draft.made_at.isoformat(timespec="seconds")}
    if effective := _effective(draft):
        times["effectiveDateTime"] = effective
    return times


def _effective(draft: Draft) -> str:
    """When the study was made, as a dateTime (R4 2.24.0.1), or its date alone; "" if nobody knows.

    The offset of a dateTime has whole minutes; that of local mean time has not: +00:09:21 in Paris until 1911.
    """
    at = draft.observed_at
    if at is not None and not (at.utcoffset() or timedelta()) % timedelta(minutes=1):
        return at.isoformat(timespec="seconds")
    day = study_date_of(draft.study)
    return day and f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _report(draft: Draft, server: FhirServerSettings, observations: Sequence[Resource]) -> Resource:
    withdrawn = draft.withdrawn_because is not None
    conclusion = [line for one in sections_of(draft) if one.key == "impression" for line in one.lines]
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": _meta(draft),
        # The first finds the report again; the second ties this revision to its document in the PACS.
        "identifier": [*_identifier(draft.report_uid), *_document(draft)],
        "basedOn": _based_on(draft, server),
        "status": _WITHDRAWN if withdrawn else server.status,
        "category": [
            {"coding": [{"system": f"{_TERMINOLOGY}/v2-0074", "code": "RAD"}]},
            {"coding": [{"system": _SYSTEMS["LN"], "code": "LP29684-5", "display": "Radiology"}]},
        ],
        "code": {
            "coding": [{"system": _SYSTEMS["LN"], "code": "18748-4", "display": "Diagnostic imaging study"}],
            "text": draft.procedure or "Chest radiograph",
        },
        "subject": _subject(draft, server),
        **_times(draft),
        "performer": _performer(draft),
        "result": [_reference_to(one) for one in observations],
        "imagingStudy": [_imaging_study(draft)],
        "conclusion": "\n".join(conclusion) or f"{banner_of(draft)}\n{chain_of(draft)}".strip(),
        "conclusionCode": _conclusion_codes(draft),
        "presentedForm": [_presented(draft)],
    }
    # Nobody interprets it: resultsInterpreter stays out, and so does every list without an element.
    return {name: value for name, value in report.items() if value != []}


def _document(draft: Draft) -> list[Resource]:
    return [
        uid for one in draft.objects if one.kind == "report_sr" for uid in _identifier(one.sop_instance_uid)
    ]


def _performer(draft: Draft) -> list[Resource]:
    name = draft.device.institution_name
    return [{"type": "Organization", "display": name}] if name else []


def _conclusion_codes(draft: Draft) -> list[Resource]:
    if draft.withdrawn_because is not None:
        return []
    named = [finding_code(one.name) for one in draft.reading.findings if is_named_present(one)]
    return [_concept(one) for one in dict.fromkeys(named)]


def _presented(draft: Draft) -> Resource:
    return {
        "contentType": "text/plain; charset=utf-8",
        "language": "en",
        "data": b64encode(text_of(draft).encode()).decode(),
        "title": banner_of(draft),
        "creation": draft.made_at.isoformat(timespec="seconds"),
    }


def _observations(draft: Draft, server: FhirServerSettings) -> list[Resource]:
    if draft.withdrawn_because is not None:
        return []
    findings = draft.reading.findings
    uids = finding_uids(draft, findings)
    return [
        _observation(finding, uid, "preliminary", draft, server)
        for finding, uid in zip(findings, uids, strict=True)
    ]


def _taken_back(draft: Draft, server: FhirServerSettings) -> list[Resource]:
    """What earlier revisions said, as said in error. The caller leaves out what is said again."""
    said = {
        uid: finding
        for findings in draft.earlier
        for uid, finding in zip(finding_uids(draft, findings), findings, strict=True)
    }
    return [_observation(finding, uid, _WITHDRAWN, draft, server) for uid, finding in said.items()]


def _observation(
    finding: Finding, uid: str, status: str, draft: Draft, server: FhirServerSettings
) -> Resource:
    concept = finding_code(finding.name)
    asked, answer = codes.DCM.Finding, concept
    if not is_named_present(finding):  # as in ORU: the finding is asked, its status is the answer
        asked, answer = concept, status_code(finding.status)
    site = site_code(finding.name)
    remarks = banner_of(draft), score_remark(score_of(draft, finding))
    observation = {
        "resourceType": "Observation",
        "meta": _meta(draft),
        "identifier": _identifier(uid),
        "status": status,
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "imaging"}]}],
        "code": _concept(asked),
        "subject": _subject(draft, server),
        **_times(draft),
        "valueCodeableConcept": _concept(answer),
        "bodySite": [] if site is None else _concept(site),
        "device": _reference_to(_device(draft)),
        "derivedFrom": [_imaging_study(draft)],
        "note": [{"text": text} for text in filter(None, remarks)],
        "component": _components(finding, draft),
    }
    return {name: value for name, value in observation.items() if value != []}


def _components(finding: Finding, draft: Draft) -> list[Resource]:
    parts: list[Resource] = []
    if finding.side is not None:
        side = _concept(side_code(finding.side))
        parts.append({"code": _concept(codes.SCT.Laterality), "valueCodeableConcept": side})
    if finding.change is not None:
        change = _concept(change_code(finding.change))
        parts.append({"code": _concept(codes.DCM.QualitativeDifference), "valueCodeableConcept": change})
    score = score_of(draft, finding)
    if score is not None:
        quantity = {"value": certainty_percent(score), **_PERCENT}
        name = {**_concept(codes.DCM.CertaintyOfFinding), "text": score_remark(score)}
        parts.append({"code": name, "valueQuantity": quantity})
    for box in boxes_of(draft, finding):
        # R4 has no place for a region; words that a program can read do no harm to one that cannot.
        corners = f"{box.left:g},{box.top:g} {box.right:g},{box.bottom:g}"
        words = f"urn:oid:{box.image_key} column,row {corners}"
        parts.append({"code": _concept(codes.DCM.ImageRegion), "valueString": words})
    return parts


def _concept(value: Code) -> Resource:
    system = _SYSTEMS[value.scheme_designator]
    return {
        "coding": [{"system": system, "code": value.value, "display": value.meaning}],
        "text": value.meaning,
    }


def _provenance_tag(draft: Draft) -> str:
    uid = derived_uid("provenance", draft.study.study_instance_uid, str(draft.revision))
    return f"urn:oid:{uid}"


def _provenance(draft: Draft, targets: Sequence[Resource]) -> Resource:
    """Who made this revision, of what. R4 gives Provenance no identifier, so it is found again by a tag."""
    author = {"coding": [{"system": f"{_TERMINOLOGY}/provenance-participant-type", "code": "author"}]}
    provenance: Resource = {
        "resourceType": "Provenance",
        "meta": {"tag": [{"system": URI_SYSTEM, "code": _provenance_tag(draft)}, *_tags(draft)]},
        "target": [_reference_to(one) for one in targets],
        "recorded": draft.made_at.isoformat(timespec="milliseconds"),
        "agent": [{"type": author, "who": _reference_to(_device(draft))}],
        "entity": [{"role": "source", "what": _imaging_study(draft)}],
    }
    if chain := chain_of(draft):
        provenance["reason"] = [{"text": chain}]
        report = {"type": "DiagnosticReport", "identifier": _identifier(draft.report_uid)[0]}
        provenance["entity"].append({"role": "revision", "what": report})
    return provenance
