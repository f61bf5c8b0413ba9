"""Days of turned clock: studies come in all the time, and nothing that the process holds may grow.

`python -m tests.faults.soak --hours 240` is the long one.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.builders import a_radiograph
from tests.crash.effects import Cut
from tests.crash.hospital import Hospital, a_hospital
from tests.crash.product import Usage
from tests.hl7.builders import an_oru

STUDIES_AN_HOUR = 4
WARM_HOURS = 4
SWING = 3
"""Descriptors or threads of an association that is just ending; a leak is one for each study."""
GROWTH_BYTES_MAX = 15_000_000
"""For a day of 96 studies. An image that is held, or a thread that stays, is seen long before."""


def soak(hospital: Hospital, hours: int) -> Iterator[Usage]:
    """Lets so many hours pass, with studies and reports in each; what the process holds after each of them."""
    begin = hospital.now
    for hour in range(hours):
        for number in range(STUDIES_AN_HOUR):
            patient = f"H{hour}N{number}"
            image = a_radiograph(patient_id=patient, modality="CR", rows=512, columns=400)
            hospital.send(image)
            hospital.tell(an_oru(patients=patient, filler=f"F{patient}", control_id=f"C{patient}"))
        hospital.until_it_is_quiet()
        yield hospital.usage
        hospital.now = max(hospital.now, begin + timedelta(hours=hour + 1))


def growth(usages: list[Usage]) -> Usage:
    """What was added between the first warm hour and the last."""
    first, last = usages[WARM_HOURS], usages[-1]
    return replace(
        last,
        rss_bytes=last.rss_bytes - first.rss_bytes,
        descriptors=last.descriptors - first.descriptors,
        threads=last.threads - first.threads,
    )


def main() -> int:
    """Prints what the process held after each hour; 1 if it has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=240)
    hours = parser.parse_args().hours
    usages = []
    with (
        tempfile.TemporaryDirectory(prefix="preread-soak-") as folder,
        a_hospital(Path(folder), "", Cut()) as hospital,
    ):
        for hour, usage in enumerate(soak(hospital, hours), start=1):
            usages.append(usage)
            print(
                f"hour {hour:>4}: {usage.rss_bytes / 1e6:>7.1f} MB, {usage.descriptors} descriptors, "
                f"{usage.threads} threads"
            )
        hospital.stop()
    return int(has_grown(growth(usages), hours))


def has_grown(grown: Usage, hours: int) -> bool:
    """Whether that is more than a day may cost, for so many hours."""
    too_much = grown.rss_bytes > GROWTH_BYTES_MAX * max(1.0, hours / 24)
    return too_much or max(grown.descriptors, grown.threads) > SWING


if __name__ == "__main__":
    sys.exit(main())
