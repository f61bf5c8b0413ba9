"""A draft as JSON, for webhooks and folders; described in docs/messages.md. Pure."""

import json
from typing import Any

from pydicom.sr.coding import Code

from agent.outgoing.draft import (
    Draft,
    banner_of,
    boxes_of,
    chain_of,
    finding_uids,
    patient_sex_of,
    sections_of,
    study_date_of,
    study_time_of,
)
from agent.outputs.codes import change_code, finding_code, side_code, status_code
from agent.outputs.wording import program
from inference.reading import Finding
from storage.identity import whole_date

VERSION = 1
"""Of the form. It rises when a key goes or means something else; a new key is no new version."""


def json_of(draft: Draft) -> bytes:
    """Writes the draft: the same draft gives the same bytes. UTF-8, keys in the order of the description."""
    study, order, engine = draft.study, draft.order, draft.reading.engine
    withdrawn = draft.withdrawn_because is not None
    content = {
        "version": VERSION,
        "event": "withdrawn" if withdrawn else "draft",
        "warning": banner_of(draft),
        "report_uid": draft.report_uid,
        "revision": draft.revision,
        "replaces_revision": draft.replaces,
        "chain": chain_of(draft),
        "withdrawn_because": draft.withdrawn_because,
        "made_at": draft.made_at.isoformat(timespec="seconds"),
        "study": {
            "study_instance_uid": study.study_instance_uid,
            "accession_number": study.accession_number.strip(),
            "study_date": study_date_of(study),
            "study_time": study_time_of(study),
            "description": draft.procedure,
            "placer_order_number": "" if order is None else order.placer_order_number,
            "filler_order_number": "" if order is None else order.filler_order_number,
            "indication": draft.indication or "",
        },
        "patient": {
            "patient_id": study.patient_id,
            "issuer_of_patient_id": study.issuer_of_patient_id,
            "patient_name": study.patient_name,
            "birth_date": whole_date(study.birth_date),
            "sex": patient_sex_of(study),
        },
        "sections": [
            {"key": one.key, "title": one.title, "lines": list(one.lines)} for one in sections_of(draft)
        ],
        "findings": [] if withdrawn else _findings(draft),
        "objects": [
            {"kind": one.kind, "sop_class_uid": one.sop_class_uid, "sop_instance_uid": one.sop_instance_uid}
            for one in draft.objects
        ],
        "model": {
            "name": engine.model_name,
            "engine": engine.name,
            "engine_version": engine.version,
            "weights_digest": engine.weights_digest,
            "is_demo": engine.is_demo,
            "words": program(engine),
        },
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _findings(draft: Draft) -> list[dict[str, Any]]:
    findings = draft.reading.findings
    scores = {score.name: score for score in draft.reading.scores}
    written = []
    for finding, uid in zip(findings, finding_uids(draft, findings), strict=True):
        score = scores.get(finding.name)
        written.append(
            {
                "finding_uid": uid,
                **_words_and_codes(finding),
                "score": None if score is None else score.value,
                "calibrated_score": None if score is None else score.calibrated,
                "boxes": [
                    {
                        "sop_instance_uid": box.image_key,
                        "left": box.left,
                        "top": box.top,
                        "right": box.right,
                        "bottom": box.bottom,
                    }
                    for box in boxes_of(draft, finding)
                ],
            }
        )
    return written


def _words_and_codes(finding: Finding) -> dict[str, Any]:
    side = None if finding.side is None else _code(side_code(finding.side))
    change = None if finding.change is None else _code(change_code(finding.change))
    return {
        "name": finding.name,
        "status": finding.status.value,
        "side": finding.side,
        "change": None if finding.change is None else finding.change.value,
        "codes": {
            "finding": _code(finding_code(finding.name)),
            "status": _code(status_code(finding.status)),
            "side": side,
            "change": change,
        },
    }


def _code(value: Code) -> dict[str, str]:
    return {"value": value.value, "scheme": value.scheme_designator, "meaning": value.meaning}
