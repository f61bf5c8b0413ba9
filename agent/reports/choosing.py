"""The one way from a study to its report from outside: what the store has, under every number of the patient."""

from collections.abc import Sequence
from dataclasses import replace

from agent.identity import IdentifierRules, in_one_form, rules_of_peers
from agent.reports.matching import ReportChoice, choose_report
from config.settings import Settings
from storage.records import KnownPatients, PatientIdentifier, Study
from storage.reports import Reports


def report_for(
    study: Study, others: Sequence[Study], reports: Reports, known: KnownPatients, settings: Settings
) -> ReportChoice:
    """Chooses the report of a study; see `choose_report`.

    A report may call the patient by a number that a link has put in the place of the study's, or by one that it has
    replaced, and writes numbers and issuers as its sender does.

    Args:
        others: the patient's other studies.
        known: links between the patient's identifiers.
    """
    rules = rules_of_peers(settings.peers)
    study = _under_all_numbers(study, known, rules)
    numbers = sorted({study.patient_id.strip(), *(one.patient_id for one in study.identifiers)})
    versions = [
        replace(version, patients=in_one_form(version.patients, rules))
        for version in reports.versions_for(study.study_instance_uid, study.accession_number, numbers)
    ]
    others = [_under_all_numbers(other, known, rules) for other in others]
    return choose_report(study, versions, others, settings.reading.priors.report_window_hours)


def _under_all_numbers(study: Study, known: KnownPatients, rules: IdentifierRules) -> Study:
    as_sent = PatientIdentifier(study.patient_id, study.issuer_of_patient_id)
    return replace(study, identifiers=in_one_form((*known.linked(study.identifiers), as_sent), rules))
