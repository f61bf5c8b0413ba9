"""dcmtk reads every object, from whatever source it was made."""

from pathlib import Path

import pytest
from pydicom import Dataset

from tests.outputs.drafts import KINDS, SOURCES, a_full_reading, a_source, built, sources_of, the_one
from tests.outputs.test_gotchas import DOCUMENTS
from tests.outputs.validators import dcmtk, written

pytestmark = pytest.mark.peers


def a_draft(kind: str, source: str) -> tuple[Dataset, Dataset]:
    """(source, object) with a prior and everything that a reading may hold."""
    header = SOURCES[source]()
    prior = a_source(days_ago=300, patient_id=header.get("PatientID", ""))
    (made,) = built(kind, sources_of(header, priors=(prior,)), a_full_reading(header))
    return header, made


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("source", SOURCES)
def test_dsrdump_reads_every_document_and_its_name(kind: str, source: str, tmp_path: Path):
    header, document = a_draft(kind, source)

    printed = dcmtk("dsrdump", "+Pl", written(document, tmp_path))

    assert str(header.get("PatientName", "")) in printed
    assert "AI DRAFT - NOT VERIFIED" in printed
    if kind != "key_object_selection":
        assert all(flag in printed for flag in ("PRELIMINARY", "COMPLETE", "UNVERIFIED"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_dcmdump_reads_every_object_to_its_end(kind: str, source: str, tmp_path: Path):
    header, made = a_draft(kind, source)

    printed = dcmtk("dcmdump", "+L", "+P", "PatientName", "+P", "SOPInstanceUID", written(made, tmp_path))

    assert str(header.get("PatientName", "")) in printed
    assert str(made.SOPInstanceUID) in printed
    assert "W: " not in printed


def test_dcm2pdf_takes_the_pdf_out_as_it_was_put_in(tmp_path: Path):
    made = the_one("encapsulated_pdf", a_source())

    dcmtk("dcm2pdf", written(made, tmp_path), tmp_path / "draft.pdf")

    assert (tmp_path / "draft.pdf").read_bytes() == made.EncapsulatedDocument[
        : made.EncapsulatedDocumentLength
    ]
