"""The codes of our results: `codes.csv`, each row with how far it was verified.

Verification A: equal to pydicom's copy of the DICOM dictionary, which a test checks. B: found in a
terminology browser's copy or in several published guides. local: ours, scheme 99PREREAD. Nothing unverified
stands there.

Not there on purpose: SCT 287272002, which DICOM calls "Cardiomegaly" and SNOMED "Enlarged septal foramen of
heart".
"""

import csv
from dataclasses import dataclass
from importlib.resources import files

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from agent.dicom.uids import derived_uid
from inference.reading import Change, Status

LOCAL_SCHEME = "99PREREAD"
"""Coding Scheme Designator of our own codes; private ones begin with 99 (PS3.3 8.2)."""


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One row of the table.

    Attributes:
        group: what the code is for: finding, site, side, status, change, language, heading, reason.
        key: our word for it.
        verification: "A", "B" or "local".
        site: key of the finding's anatomic site, "" if it has none.
    """

    group: str
    key: str
    code: Code
    verification: str
    site: str


def _table() -> dict[tuple[str, str], CodeRow]:
    text = files(__package__).joinpath("codes.csv").read_text(encoding="utf-8")
    rows = [
        CodeRow(
            row["group"],
            row["key"],
            Code(row["value"], row["scheme"], row["meaning"]),
            row["verification"],
            row["site"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
    return {(row.group, row.key): row for row in rows}


CODES = _table()
"""(group, key) to row."""


def finding_code(name: str) -> Code:
    """Gives the code of a finding; a name that the table does not know is coded as "Finding"."""
    return _finding(name).code


def site_code(name: str) -> Code | None:
    """Gives the anatomic site of a finding, or None if it has none of its own."""
    site = _finding(name).site
    return code("site", site) if site else None


def side_code(side: str) -> Code:
    """Gives the laterality modifier of "left", "right" or "bilateral" (CID 244)."""
    return code("side", side)


def status_code(status: Status) -> Code:
    """Gives Present, Absent or Undetermined (CID 240)."""
    return code("status", status.value)


def change_code(change: Change) -> Code:
    """Gives the value of Qualitative Difference (111049, DCM)."""
    return code("change", change.value)


def code(group: str, key: str) -> Code:
    """Gives one code of the table. Raises KeyError if there is none."""
    return CODES[group, key].code


def local_scheme() -> CodingSchemeIdentificationItem:
    """Says whose codes 99PREREAD are (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    return CodingSchemeIdentificationItem(
        LOCAL_SCHEME,
        name="preread",
        uid=derived_uid("coding scheme", LOCAL_SCHEME),
        responsible_organization="preread",
    )


def _finding(name: str) -> CodeRow:
    return CODES.get(("finding", name.lower())) or CODES["finding", "*"]
