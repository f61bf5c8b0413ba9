"""Drafts for tests of messages; each builder takes only what a test is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from agent.outgoing.draft import Draft
from agent.outputs.marks import marks_of
from agent.outputs.stamp import Device, Sources
from config.receiver_settings import (
    DropFolderSettings,
    FhirServerSettings,
    Hl7ReceiverSettings,
    WebhookSettings,
)
from config.values import Secret
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Score, Status
from storage.records import ResultObject
from tests.builders import a_radiograph, having
from tests.storage.builders import a_study

SEOUL = timezone(timedelta(hours=9))
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ENGINE = EngineIdentity("m4cxr", "0.1.0", "M4CXR", f"sha256:{'5a' * 32}")
DEMO = EngineIdentity("m4cxr", "0.1.0", "demo", ENGINE.weights_digest, is_demo=True)
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
IMAGE_UID = "1.2.826.0.1.3680043.8.498.2"
IMAGE = having(a_radiograph(study_uid=STUDY_UID, rows=256, columns=320), SOPInstanceUID=IMAGE_UID)
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"

AN_EFFUSION = Finding(
    "pleural effusion", Status.PRESENT, Change.LARGER, "right", (Box(IMAGE_UID, 40, 120, 140.5, 220),), 0.923
)
NO_PNEUMOTHORAX = Finding("pneumothorax", Status.ABSENT)
UNCALIBRATED = (Score("pleural effusion", 0.923),)
PLACELESS = (
    Finding("pneumothorax", Status.ABSENT, boxes=(Box(IMAGE_UID, 10, 10, 100, 100),)),
    Finding("edema", Status.PRESENT, boxes=(Box(IMAGE_UID, 0, 0, 320, 256),)),
    Finding("fracture", Status.PRESENT, boxes=(Box(IMAGE_UID, 400, 10, 500, 60),)),
)
"""Findings whose boxes no output shows: of what is absent, of the whole image, beside the image."""
A_DOUBTFUL_HEART = Finding("cardiomegaly", Status.UNCERTAIN)


def a_reading(*findings: Finding, **about: Any) -> Reading:
    whole = Reading(
        findings=findings or (AN_EFFUSION, NO_PNEUMOTHORAX, A_DOUBTFUL_HEART),
        report="There is a right pleural effusion.\n\nThe heart is large.",
        turns=(),
        engine=ENGINE,
        scores=(Score("pleural effusion", 0.923, 0.61, "400 studies"),),
        impression="Right pleural effusion, larger.",
        differential="Heart failure; pneumonia.",
    )
    return replace(whole, **about)


def a_draft(**about: Any) -> Draft:
    """A draft; its marks are those of its reading."""
    reading = about.get("reading") or a_reading()
    study = a_study(
        STUDY_UID,
        issuer_of_patient_id="CLINIC",
        study_time="083000.5",
        accession_number="4711",
    )
    whole = Draft(
        study=study,
        order=None,
        revision=1,
        made_at=datetime(2026, 3, 1, 9, 15, 30, tzinfo=SEOUL),
        observed_at=datetime(2026, 3, 1, 8, 30, tzinfo=SEOUL),
        device=Device("0.1.0", "SN-1", "2.25.4711", institution_name="North Clinic"),
        reading=reading,
        marks=marks_of(Sources((IMAGE,)), reading).marks,
        indication="Cough.",
        reasons=("Current image, 20260301, PA.", "No prior exam was shown to the model."),
        objects=(
            ResultObject("2.25.9", "1.2.840.10008.5.1.4.1.1.88.11", 1, "report_sr", "a/b", "0" * 64, 9),
        ),
    )
    return replace(whole, **about)


def a_withdrawal(**about: Any) -> Draft:
    """What `a_draft` becomes when it is withdrawn."""
    reading = a_reading()
    withdrawn = {
        "revision": 2,
        "replaces": 1,
        "earlier": (reading.findings,),
        "withdrawn_because": "wrong patient",
    }
    return a_draft(**withdrawn | about)


def an_hl7_receiver(port: int = 2575, **about: Any) -> Hl7ReceiverSettings:
    return Hl7ReceiverSettings(**{"name": "ris", "host": "127.0.0.1", "port": port, **about})


def a_fhir_server(port: int = 80, **about: Any) -> FhirServerSettings:
    return FhirServerSettings(**{"name": "fhir", "url": f"http://127.0.0.1:{port}/r4", **about})


def a_webhook(port: int = 80, **about: Any) -> WebhookSettings:
    whole = {"name": "hook", "url": f"http://127.0.0.1:{port}/drafts", "secret": Secret(env="HOOK_SECRET")}
    return WebhookSettings(**whole | about)


def a_drop_folder(path: Any) -> DropFolderSettings:
    return DropFolderSettings(name="dictation", path=path)
