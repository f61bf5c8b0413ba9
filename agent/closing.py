"""A radiologist's report ends the drafts of its study: what is on its way is stopped, and nothing new begins."""

from datetime import datetime

import structlog

from agent.reports.choosing import report_for
from agent.reports.matching import SURE_TIES, AttachedReport
from config.settings import Settings
from storage.index import Index
from storage.jobs import Jobs
from storage.outside_records import ReportStatus
from storage.records import Closing, ClosingKind, KnownPatients, Study
from storage.reports import Reports

log = structlog.get_logger()


def in_force(study_instance_uid: str, jobs: Jobs) -> Closing | None:
    """The closing that keeps a study from being read, or None."""
    return next((one for one in jobs.closings.of_study(study_instance_uid) if one.reopened_at is None), None)


def close_if_reported(
    study: Study, index: Index, reports: Reports, jobs: Jobs, settings: Settings, now: datetime
) -> bool:
    """Closes a study if its final report is here; False if it is not, or was known when the study was reopened."""
    if not settings.reading.study.close_when_reported:
        return False
    found = _final_report(study, index.known_patients(study.identifiers), reports, settings)
    if found is None:
        return False
    report = found.report
    because = f"the {report.status} report {report.origin} ({report.source}) is here, by {found.because}"
    closing = Closing(study.study_instance_uid, ClosingKind.REPORTED, because, report.number, now)
    was_open = jobs.closings.close(closing)
    if was_open:
        log.info("study closed", study=study.study_instance_uid, report=report.number)
    return was_open


def _final_report(
    study: Study, known: KnownPatients, reports: Reports, settings: Settings
) -> AttachedReport | None:
    """The report that holds of a study, if a radiologist stands behind it and it names the study or its number.

    One that only fits by patient, time and procedure is good enough to be shown to a model, not to end a draft.
    """
    attached = report_for(study, (), reports, known, settings).attached
    if attached is None or attached.because not in SURE_TIES:
        return None
    is_final = attached.report.status in (ReportStatus.FINAL, ReportStatus.CORRECTED)
    return attached if is_final else None
