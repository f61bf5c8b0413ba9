"""A report finds its study under every number of the patient, however its sender writes it."""

import pytest

from agent.reports.choosing import report_for
from config.settings import AgentSettings, IssuerSettings, PeersSettings, ReadingSettings, Settings
from storage.database import connect
from storage.records import KnownPatients, PatientIdentifier
from storage.reports import Reports
from tests.storage.builders import a_report, a_study

OLD, NEW = PatientIdentifier("123", "HOSP"), PatientIdentifier("456", "HOSP")
STUDY = a_study(
    patient_id="W-000123", accession_number="ACC1", issuer_of_patient_id="HOSP", identifiers=(OLD,)
)
SETTINGS = Settings(
    agent=AgentSettings(),
    peers=PeersSettings(
        issuers=(IssuerSettings(name="HOSP", also_called=("MRN",), ignore_leading_zeros=True),)
    ),
    reading=ReadingSettings(),
)


@pytest.fixture
def reports(tmp_path):
    database = connect(f"sqlite:///{tmp_path}/preread.sqlite")
    yield Reports(database)
    database.close()


@pytest.mark.parametrize(
    ("patient_id", "issuer"),
    [("123", "HOSP"), ("0123", "HOSP"), ("000123", "HOSP"), ("000123", "MRN"), ("123", "")],
)
def test_numbers_and_issuers_are_read_as_those_of_images(reports, patient_id, issuer):
    reports.add([a_report(patient_id=patient_id, issuer=issuer)])

    choice = report_for(STUDY, (), reports, KnownPatients(), SETTINGS)

    assert choice.attached is not None, choice.reasons


@pytest.mark.parametrize("replaced", [(OLD, NEW), (NEW, OLD)])
def test_a_report_under_a_number_that_is_linked_is_found_whichever_of_them_replaced_the_other(
    reports, replaced
):
    unnumbered = {"report_key": "F-9", "accession_number": ""}
    reports.add([a_report(patient_id="456", issuer="HOSP", **unnumbered)])
    known = KnownPatients(surviving=dict([replaced]))

    assert report_for(STUDY, (), reports, known, SETTINGS).attached is not None
    assert report_for(STUDY, (), reports, KnownPatients(), SETTINGS).attached is None


def test_what_is_typed_where_nobody_knows_the_patient_ties_no_report(reports):
    unknown = a_study(patient_id="UNKNOWN", accession_number="ACC1", identifiers=())
    reports.add([a_report(patient_id="UNKNOWN")])

    choice = report_for(unknown, (), reports, KnownPatients(), SETTINGS)

    assert choice.attached is None
    assert "no patient" in choice.reasons[0]
