"""The valid inputs that are damaged: small, and between them with every structure that the parsers know."""

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.builders import a_radiograph, a_report_sr, a_uid, as_bytes, chest_pixels
from tests.fuzz.mutation import Element, elements_of
from tests.hl7.builders import an_obx, an_oru
from tests.listener.wire import CR, VERIFICATION, store_request

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dataset as bytes.

    Attributes:
        start: where it begins in `content`; 0 if there is no file meta in front.
        elements: of the top level, for what changes them one by one.
    """

    content: bytes
    transfer_syntax: str
    start: int
    elements: tuple[Element, ...]


@cache
def images() -> tuple[Dataset, ...]:
    """Radiographs in every encoding that has a reader of its own."""
    grey = chest_pixels(24, 16, bits=8)
    plain = [
        a_radiograph(rows=24, columns=16),
        a_radiograph(modality="CR", rows=24, columns=16, photometric="MONOCHROME1", window=(500, 900)),
        a_radiograph(rows=24, columns=16, transfer_syntax=IMPLICIT, view="LATERAL"),
        a_radiograph(rows=24, columns=16, charset="ISO 2022 IR 87", name="Yamada^Tarou=\x1b$B;3ED\x1b(B"),
    ]
    packed = [
        a_radiograph(bits=8, transfer_syntax=syntax)
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
    ]
    baseline = a_radiograph(modality="CR", rows=24, columns=16, bits=8)
    buffer = BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, "JPEG")
    baseline.PixelData = encapsulate([buffer.getvalue()])
    baseline["PixelData"].is_undefined_length = True
    baseline.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return (*plain, *packed, baseline)


@cache
def reports() -> tuple[Dataset, ...]:
    """Structured reports of the kinds that are read."""
    return (
        a_report_sr(),
        a_report_sr(headings="dcm", verified=False),
        a_report_sr(headings="free", observer="", findings="FINDINGS: Clear.\r\nIMPRESSION: Normal."),
    )


@cache
def files_of_images() -> tuple[Encoded, ...]:
    return tuple(_file(image) for image in images())


@cache
def files_of_reports() -> tuple[Encoded, ...]:
    return tuple(_file(report) for report in reports())


@cache
def datasets() -> tuple[Encoded, ...]:
    """Datasets without file meta, as they come over an association."""
    return tuple(
        Encoded(
            whole.content[whole.start :],
            whole.transfer_syntax,
            0,
            elements_of(whole.content[whole.start :], is_implicit=whole.transfer_syntax == IMPLICIT),
        )
        for whole in (*files_of_images(), *files_of_reports())
    )


def _file(dataset: Dataset) -> Encoded:
    content = as_bytes(dataset)
    start = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return Encoded(content, syntax, start, elements_of(content, is_implicit=syntax == IMPLICIT, start=start))


def deflated(content: bytes) -> bytes:
    """The dataset as PS3.5 A.5 wants it."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@cache
def big_endian() -> bytes:
    """A dataset in the retired encoding."""
    buffer = BytesIO()
    dataset = a_report_sr()
    dcmwrite(
        buffer, Dataset({element.tag: element for element in dataset}), implicit_vr=False, little_endian=False
    )
    return buffer.getvalue()


COMMANDS = (
    store_request(CR, a_uid("fuzz")),
    store_request(VERIFICATION, "", has_dataset=False, field=0x0030),
    store_request(CR, a_uid("fuzz"), field=0x8001),
)

HL7 = tuple(
    message.encode()
    for message in (
        an_oru(),
        an_oru(
            an_obx("FINDINGS: \\.br\\Clear \\X0D0A\\ \\H\\no\\N\\ effusion."),
            charset="UNICODE UTF-8",
            accession="A7",
        ),
        an_oru(
            an_obx("ab\\T\\cd~next", kind="FT"),
            an_obx("^application^pdf^Base64^SGVsbG8=", kind="ED"),
            ending="\n",
        ),
        "\r".join(
            (
                "MSH|^~\\&|HIS|NORTH|PREREAD||20260302||ADT^A40^ADT_A39|1|P|2.5.1",
                "PID|1||B2^^^NORTH^MR~99^^^SOUTH&1.2.3&ISO^MR||Doe^Jane||19500101|F",
                "MRG|A1^^^NORTH^MR",
            )
        ),
        "\r".join(
            (
                "MSH|^~\\&|RIS||||||ORM^O01|1|P|2.5.1",
                "PID|1||A1^^^CLINIC&1.2.3&ISO^MR||Doe^Jane^M^Jr^Dr||19500101|F",
                "ORC|NW|P1|F1||||^^^202603010830",
                "OBR|1|P1|F1|CXR^XR CHEST 2 VIEWS^L|||||||||Dyspnoea|||||4711|||||||||||||^Cough for two weeks.",
                "ZDS|1.2.3.4^100^Application^DICOM",
            )
        ),
    )
)
HL7_MARKS = b"|^~\\&\r\n"
HL7_TOKENS = (
    b"MSH|^~\\&|", b"\rMSH|", b"\rOBX|1|TX|", b"\x0b", b"\x1c\r", b"\\X", b"\\X41\\", b"\\.br999\\", b"\\.sp+20\\",
    b"^~" * 500, b"\\" * 999, b"ORU^R01", b"ADT^A40", b"ORM^O01", b"UNICODE UTF-16", b"ISO IR87", b"\x1b$B", b"\xff",
    b"99999999999999999999", b"20261399250000", b"\0", b"BHS|", b"<SB>", b"<EB><CR>", b"\xef\xbb\xbf",
)  # fmt: skip

CSV = (
    b"patient_id,issuer,study_date,accession_number,text,status\n"
    b'A1,CLINIC,20260301,F100,"FINDINGS: Clear, both sides.\nIMPRESSION: Normal.",final\n'
    b"A2,,20260301,,No acute disease.,preliminary\n"
)
JSON = (
    b'{"resourceType":"DiagnosticReport","id":"r1","status":"final","subject":{"identifier":{"value":"A1",'
    b'"assigner":{"display":"CLINIC"}}},"issued":"2026-03-01T10:00:00Z","effectiveDateTime":"2026-03-01",'
    b'"conclusion":"Normal.","presentedForm":[{"contentType":"text/plain","data":"Q2xlYXIu"}],'
    b'"identifier":[{"value":"F100","type":{"coding":[{"code":"ACSN"}]}}]}'
)
CSV_MARKS, JSON_MARKS = b',"\n\r', b'{}[]:,"\\'
TABLE_TOKENS = (
    b'"', b"\0", b"[" * 5000, b'{"a":' * 5000, b"1e999", b"NaN", b"-1", b"9" * 5000, b"null", b"true", b"[]", b"{}",
    b'"\\ud800"', b"\xff\xfe", b'{"resourceType":"Bundle","entry":[', b"\xef\xbb\xbf", b"=cmd|' /C calc'!A0",
)  # fmt: skip

TOML = (
    b'accept_any_sender = false\nplaceholder_ids = ["0"]\n[[sender]]\nae_title = "XRAY1"\naddresses = ["10.1.2.0/24"]\n'
    b'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.1.2.3"\nport = 104\noutputs = ["report_sr"]\n'
    b'[[archive]]\nname = "old"\nretrieve = "dicomweb"\nurl = "https://pacs.example/dicom-web"\n'
)
TOML_MARKS = b'[]="\n.,'
TOML_TOKENS = (
    b"[" * 3000, b"a." * 3000, b"{" * 500, b"9" * 5000, b"1e999", b"nan", b"inf", b"0x", b"'''", b'"""', b"\0", b"\xff",
    b"2026-13-45", b"true", b"[]", b"{}", b"\\ud800", b"\\U0001F600", b"[[sender]]", b"\xef\xbb\xbf", b"#", b"..\\..",
)  # fmt: skip
