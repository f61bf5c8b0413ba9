"""Synthetic patients as DICOM files, for trying an installation out before a real film goes in."""

from datetime import datetime
from pathlib import Path

from agent.demo.studies import demo_patient

ROWS, COLUMNS = 1024, 1024


def write_films(folder: Path, patients: int, now: datetime) -> int:
    """Writes earlier exams with their reports, and an exam of `now`, one folder for each patient.

    Args:
        now: local time of the hospital.

    Returns:
        how many files were written.
    """
    written = 0
    for position in range(patients):
        patient = demo_patient(position, now, rows=ROWS, columns=COLUMNS)
        for exam, objects in (("1-prior", patient.prior_objects), ("2-current", patient.current_objects)):
            for number, dataset in enumerate(objects, start=1):
                path = folder / patient.patient_id / exam / f"{number}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(path, enforce_file_format=True)
                written += 1
    return written
