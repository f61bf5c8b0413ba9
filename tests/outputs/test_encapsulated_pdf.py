"""The printed draft."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_raw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from agent.outputs import Sources
from agent.outputs.capture import COLOURS
from agent.outputs.page import WRONG_LETTER
from inference.reading import Finding, Status
from tests.outputs.drafts import (
    CYRILLIC,
    DEMO,
    JAPANESE,
    KOREAN,
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    sources_of,
    texts,
    the_one,
)

KIND = "encapsulated_pdf"
HEADER = a_source()


@contextmanager
def pdf_in(made: Dataset) -> Iterator[pdfium.PdfDocument]:
    pdf = pdfium.PdfDocument(made.EncapsulatedDocument[: made.EncapsulatedDocumentLength])
    try:
        yield pdf
    finally:
        pdf.close()


def pages_of(made: Dataset) -> list[str]:
    """The selectable text of each page, every run of white space as one space."""
    with pdf_in(made) as pdf:
        return [" ".join(page.get_textpage().get_text_bounded().split()) for page in pdf]


def pictures_of(made: Dataset) -> list[np.ndarray]:
    """Each picture in the PDF, (rows, columns, 3) uint8 RGB."""
    with pdf_in(made) as pdf:
        objects = [one for page in pdf for one in page.get_objects((pdfium_raw.FPDF_PAGEOBJ_IMAGE,))]
        return [np.asarray(one.get_bitmap().to_pil().convert("RGB")) for one in objects]


def test_every_word_of_the_text_report_can_be_selected():
    header = a_source()
    reading = a_full_reading(
        header, report="FINDINGS: Right effusion.\n\nIMPRESSION: Heart <b>large</b> & wide."
    )

    printed = " ".join(pages_of(the_one(KIND, header, reading)))

    words = texts(the_one("report_sr", header, reading))[5:]  # the first five name the device
    assert len(words) > 8
    for text in words:
        # A digest is longer than a line and may be broken anywhere.
        assert "".join(text.split()) in "".join(printed.split())


def test_every_page_warns_and_says_whose_it_is_and_who_made_it():
    header = a_source()
    long = a_reading(an_effusion(a_box(header)), report="Long.\n\n" * 90, engine=DEMO)

    pages = pages_of(the_one(KIND, header, long))

    assert len(pages) >= 3
    for number, page in enumerate(pages, start=1):
        assert page.startswith(
            "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL Doe Jane Patient ID A1, born 19500101"
        )
        assert "Model preread synthetic demo model, weights sha256:d0d0" in page
        assert f"Page {number}." in page


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("\\ISO 2022 IR 149", KOREAN),
        ("\\ISO 2022 IR 87", JAPANESE),
        ("ISO_IR 144", CYRILLIC),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 101", "Łukasz^Żółć"),
    ],
)
def test_a_name_can_be_read_in_all_its_groups(charset: str, name: str):
    made = the_one(KIND, a_source(charset=charset, name=name))

    for page in pages_of(made):
        assert name.replace("^", " ").replace("=", " = ") in page
        assert WRONG_LETTER not in page


def test_a_letter_that_cannot_be_written_right_is_marked_and_never_drawn_wrong():
    made = the_one(KIND, a_source(charset="ISO_IR 127", name="قباني^لنزار"))

    pages = pages_of(made)

    assert f"{WRONG_LETTER * 5} {WRONG_LETTER * 5}" in pages[0]
    assert "A letter that this page cannot write stands as" in pages[-1]
    assert str(made.PatientName) == "قباني^لنزار"


def test_the_pictures_have_the_boxes_where_the_words_say():
    header = a_source()
    reading = a_reading(an_effusion(a_box(header, left=80, top=64, right=240, bottom=192)))
    made = the_one(KIND, header, reading)

    (picture,) = pictures_of(made)

    yellow = (picture == [int(COLOURS[0][n : n + 2], 16) for n in (1, 3, 5)]).all(axis=-1)  # (rows, columns)
    inside = yellow[40:-40]  # without the strips of words
    columns = np.flatnonzero(inside.sum(axis=0) > 100)
    assert (columns[0], columns[-1] + 1) == pytest.approx(np.array([0.25, 0.75]) * picture.shape[1], abs=1)
    assert "F1 Pleural effusion, right; present; columns 80 to 240, rows 64 to 192" in " ".join(
        pages_of(made)
    )


def test_there_is_a_picture_of_each_image_with_a_box_or_else_of_the_first_frontal_one():
    lateral, frontal = a_source(view="LL"), a_source(view="PA")
    both = a_reading(an_effusion(a_box(lateral), a_box(frontal)))
    none = a_reading(Finding("edema", Status.PRESENT))

    for reading, expected in ((both, [lateral, frontal]), (none, [frontal])):
        (made,) = built(KIND, sources_of(lateral, frontal), reading)
        shown = [item.ReferencedSOPInstanceUID for item in made.SourceInstanceSequence]
        assert shown == [header.SOPInstanceUID for header in expected]
        assert len(pictures_of(made)) == len(expected)


def test_the_object_is_unverified_and_known_to_name_the_patient():
    made = the_one(KIND, a_source())

    assert (made.VerificationFlag, made.BurnedInAnnotation) == ("UNVERIFIED", "YES")
    assert made.DocumentTitle == "AI DRAFT - NOT VERIFIED - chest radiograph"
    assert (made.Modality, made.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert len(made.EncapsulatedDocument) % 2 == 0


def test_the_pdf_is_dated_by_the_stamp_and_its_properties_name_no_patient():
    with pdf_in(the_one(KIND, a_source(name="Geheim^Gerda"))) as pdf:
        properties = pdf.get_metadata_dict()

    assert properties["CreationDate"] == "D:20260302091530+09'00'"
    assert not any("Geheim" in value for value in properties.values())


def test_missing_pixels_are_an_error_that_names_the_image():
    header = a_source()

    with pytest.raises(ValueError, match=f"no rendered pixels for image {header.SOPInstanceUID}"):
        built(KIND, Sources((header,)), a_reading())


@pytest.mark.slow
@settings(max_examples=25)
@given(st.text(max_size=300))
def test_any_answer_can_be_printed(answer: str):
    made = the_one(KIND, HEADER, a_reading(report=answer))

    assert made.EncapsulatedDocument.startswith(b"%PDF-")


def test_an_answer_without_end_and_a_hundred_boxes_are_printed_on_many_pages():
    boxes = (a_box(HEADER, left=2 * number, right=2 * number + 8) for number in range(100))

    pages = pages_of(the_one(KIND, HEADER, a_reading(an_effusion(*boxes), report="흉수" * 20_000)))

    assert sum(page.count("흉") for page in pages) == 20_000
    assert "F1.100 Pleural effusion" in " ".join(pages)
