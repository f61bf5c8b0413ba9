"""Times as other systems write them, to the local digits that reports and orders are compared by."""

import re
from datetime import datetime

# A day, a time on it down to the second at most, the offset of that time: so are times in HL7 (v2.5.1 2.A.77), DICOM
# (PS3.5 6.2) and ISO 8601 (FHIR R4 dateTime and instant). What follows is passed over.
_TIME = re.compile(
    r"(\d{4}-?\d\d-?\d\d)[T ]?((?:\d\d(?::?\d\d){0,2})?)(?:[.,]\d*)? ?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


def local_digits(time: str) -> str:
    """ "YYYYMMDDHHMMSS" or less of a time in HL7, DICOM or ISO 8601 form; "" if there is no whole date in it.

    Local to this machine: a time with an offset from UTC is turned into it, one without is taken for it. A day
    alone, and what is no moment (30 February), keep their own digits.
    """
    told = _TIME.match(time.strip())
    if told is None:
        return ""
    date, clock, offset = told[1].replace("-", ""), told[2].replace(":", ""), told[3]
    digits = date + clock
    if not clock or not offset:
        return digits
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{offset}").astimezone()
    except (ValueError, OverflowError):  # years 1 and 9999 may have no local time
        return digits
    return f"{moment:%Y%m%d%H%M%S}"[: len(digits)]


def date_digits(date: str) -> str:
    """ "YYYYMMDD" of a date or time in the same forms, its own day whatever its offset; "" if it is not whole.

    For birth dates: they are no moments, and "1950" is not another one than "19500312".
    """
    told = _TIME.match(date.strip())
    return told[1].replace("-", "") if told else ""
