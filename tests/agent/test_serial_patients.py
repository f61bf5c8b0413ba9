"""Real series of chest films, wrapped as DICOM: each later study gets exactly the right prior, none of a stranger."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.demo.pacs import MiniPacs
from agent.gathering import Priors, priors_of, rules_of, selection_of
from agent.selection import reason_not_to_read
from tests.agent.line import Line
from tests.builders import TODAY, a_radiograph, a_report_sr, a_uid
from tests.real_data import real_data

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(900)]

VIEWS = {"PA": "PA", "AP": "AP", "AP Supine": "AP", "L": "LL", "": ""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Line]:
    store = Line(tmp_path, MiniPacs("TESTPACS", tmp_path / "pacs"))
    yield store
    store.pacs.close()


@dataclass(frozen=True)
class Visit:
    """One day at the hospital, as the collection knows it; the truth that the headers are made from."""

    patient: str
    order: int
    days_ago: int
    films: tuple[dict[str, str], ...]

    @property
    def uid(self) -> str:
        return a_uid("visit", self.patient, self.order)

    @property
    def is_frontal(self) -> bool:
        return any(film["view"] != "L" for film in self.films)


def visits() -> list[Visit]:
    """All visits of the collection, 700 days after the first at most; NIH tells their order only, so ten days apart."""
    with real_data("cxr", "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = sorted({(row["patient_key"], int(row["study_order"])) for row in rows})
    found = []
    for patient, order in keys:
        films = tuple(r for r in rows if (r["patient_key"], int(r["study_order"])) == (patient, order))
        offset = films[0]["day_offset_from_first"]
        found.append(Visit(patient, order, 4000 - int(float(offset) if offset else 10 * order), films))
    return found


def who(patient: str, patients: list[str], dataset: str) -> dict[str, str]:
    """A header's patient. Numbers count up in each hospital, so each number means up to three people."""
    number = [one for one in patients if one.startswith(patient[:3])].index(patient)
    birth_date = date(1930, 1, 1) + timedelta(days=97 * patients.index(patient))
    return {
        "patient_id": f"{number:04d}",
        # every third patient's hospital does not say who it is
        "issuer": "" if patients.index(patient) % 3 == 0 else dataset,
        "birth_date": birth_date.strftime("%Y%m%d"),
        "sex": "FM"[patients.index(patient) % 2],
        "name": f"{patient[4:].title()}^Test",
    }


def arrive(store: Line, visit: Visit, patient: dict[str, str]) -> None:
    common = {**patient, "study_uid": visit.uid, "days_ago": visit.days_ago, "time": f"{visit.order:02d}0000"}
    for number, film in enumerate(visit.films, start=1):
        grey = Image.open(real_data("cxr", "images", Path(film["file"]).name)).convert("L").reduce(4)
        image = a_radiograph(
            **common, view=VIEWS[film["view"]], number=number, modality="CR", pixels=np.asarray(grey), bits=8
        )
        store.arrive(image)
    store.arrive(a_report_sr(**common))


def right_prior(visit: Visit, everything: list[Visit]) -> list[str]:
    """The patient's last earlier visit with a frontal film, by the collection's own numbering."""
    earlier = [v for v in everything if v.patient == visit.patient and v.order < visit.order and v.is_frontal]
    return [max(earlier, key=lambda one: one.order).uid] if earlier else []


def chosen_for(store: Line, visit: Visit) -> Priors | None:
    """What `gather` chooses, or None where the study is not read at all."""
    tools = store.tools
    study = tools.index.study(visit.uid)
    assert study is not None
    rules = rules_of(tools.settings)
    selection = selection_of(tools.index.instances(visit.uid), tools.files, tools.settings, rules)
    taken_on = TODAY - timedelta(days=visit.days_ago)
    if reason_not_to_read(selection, study.study_date, study.conflict, taken_on, rules) is not None:
        return None
    return priors_of(study, len(selection.images), tools.index, tools.files, tools.reports, tools.settings)


def test_each_later_study_of_every_serial_patient_gets_exactly_the_right_prior(store: Line):
    everything = visits()
    patients = sorted({visit.patient for visit in everything})
    for visit in everything:
        arrive(store, visit, who(visit.patient, patients, visit.films[0]["dataset"]))

    read = {visit.uid: priors for visit in everything if (priors := chosen_for(store, visit)) is not None}
    right = {visit.uid: right_prior(visit, everything) for visit in everything if visit.uid in read}
    chosen = {uid: [exam.study_instance_uid for exam in priors.exams] for uid, priors in read.items()}

    assert chosen == right
    assert sum(map(bool, right.values())) > 100
    assert not any(visit.is_frontal for visit in everything if visit.uid not in read)
    passed_over = [one.reason for priors in read.values() for one in priors.passed_over]
    assert any("birth date differs" in reason for reason in passed_over), "no number meant two people"
