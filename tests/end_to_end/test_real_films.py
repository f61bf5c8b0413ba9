"""Real radiographs, wrapped as DICOM, go through the whole line.

The demo model's opinion of a real film is worthless, and every draft says so; what is looked at here is that each
study comes to its end, with its own patient's prior and nobody else's.
"""

import csv
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent import manifest as manifests
from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph, a_report_sr, a_uid
from tests.end_to_end.conftest import Running
from tests.real_data import real_data

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(1800)]

PATIENTS = int(os.environ.get("PREREAD_TEST_FILM_PATIENTS", "8"))
"""How many patients of the collection are sent; all of them take minutes."""

VIEWS = {"PA": "PA", "AP": "AP", "AP Supine": "AP", "L": "LL", "": ""}


def films() -> dict[str, list[dict[str, str]]]:
    """The rows of the collection by patient, those with several studies first, in the order of time."""
    with real_data("cxr", "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    patients: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        patients[row["patient_key"]].append(row)
    by_number = sorted(patients, key=lambda key: (-len({row["study_order"] for row in patients[key]}), key))
    return {
        key: sorted(patients[key], key=lambda row: int(row["study_order"])) for key in by_number[:PATIENTS]
    }


def study_uid(row: dict[str, str]) -> str:
    return a_uid("film", row["patient_key"], row["study_order"])


def test_every_study_of_real_films_comes_to_its_end_with_its_own_patient_s_prior(
    preread: Running, pacs: MiniPacs
):
    patients = films()
    for key, rows in patients.items():
        last = max(int(row["study_order"]) for row in rows)
        for row in rows:
            days_ago = 10 * (last - int(row["study_order"]))
            grey = Image.open(real_data("cxr", "images", Path(row["file"]).name)).convert("L")
            image = a_radiograph(
                patient_id=key,
                study_uid=study_uid(row),
                view=VIEWS[row["view"]],
                days_ago=days_ago,
                number=int(row["image_in_study"] or 1),
                modality="CR",
                pixels=np.asarray(grey),
                bits=8,
            )
            report = a_report_sr(patient_id=key, study_uid=study_uid(row), days_ago=days_ago)
            pacs.send([image, report], "127.0.0.1", preread.port, "PREREAD")

    ended = {
        (key, study_uid(row)): preread.wait_for_jobs(study_uid(row))[-1]
        for key, rows in patients.items()
        for row in rows
    }

    assert {job.stage for job in ended.values()} <= {Stage.DONE, Stage.SKIPPED}
    assert all(job.problem for job in ended.values() if job.stage is Stage.SKIPPED)
    compared = 0
    for (key, _), job in ended.items():
        if job.manifest_json is not None:
            own = {study_uid(row) for row in patients[key]}
            priors = {exam.study_instance_uid for exam in manifests.load_manifest(job.manifest_json).priors}
            assert priors <= own
            compared += bool(priors)
    assert compared
    drafts = [json.loads(job.reading_json)["reading"] for job in ended.values() if job.reading_json]
    assert drafts
    assert all(draft["engine"]["is_demo"] for draft in drafts)
