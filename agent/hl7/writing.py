r"""The writing side: texts into fields, fields into segments, segments into a message (HL7 v2.5.1 chapter 2). Pure."""

import re
from collections.abc import Sequence

from agent.hl7.message import Delimiters

STANDARD = Delimiters()


def escaped(text: str, delimiters: Delimiters = STANDARD) -> str:
    r"""Text that may stand in a field (2.7): delimiters as \F\ and the like, line ends as \.br\.

    What else is a control character means nothing in a text and would end a segment or the frame: it is left out.
    """
    mark = delimiters.escape
    letters = {
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.subcomponent: "T",
        delimiters.repetition: "R",
        delimiters.escape: "E",
    }
    pattern = "[" + re.escape("".join(letters)) + "]"
    safe = re.sub(pattern, lambda match: f"{mark}{letters[match[0]]}{mark}", text)
    broken = re.sub(r"\r\n|\r|\n", lambda _: f"{mark}.br{mark}", safe)
    return re.sub(r"[\x00-\x1f\x7f]", "", broken)


def components(*texts: str) -> str:
    """A field of several components, each escaped; empty ones at the end are left out."""
    return "^".join(map(escaped, texts)).rstrip("^")


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment of fields by their number, each written as it is; of MSH the numbers count from 3."""
    first = 3 if name == "MSH" else 1
    written = [fields.get(number, "") for number in range(first, max(fields) + 1)]
    return "|".join((name, *(("^~\\&",) if name == "MSH" else ()), *written)).rstrip("|")


def message(segments: Sequence[str]) -> str:
    """A message: every segment ends with a carriage return, the last one too (2.3)."""
    return "".join(f"{one}\r" for one in segments)
