"""Coverage-guided fuzzing of the parsers that take plain bytes, by atheris, which is installed for this alone.

`python -m tests.fuzz.guided TARGET --seconds 300`: libFuzzer changes the seeds of `make fuzz` and keeps what reaches a
line of ours or of pydicom that nothing reached before. It ends at the first exception that the parser does not answer
for, at an input that takes longer than a minute, or when the time is over.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["agent", "config", "storage", "pydicom"]):
    from tests.fuzz import corpus
    from tests.fuzz.targets import targets

SEEDS = 60

_FROM_BYTES = {
    "survey": lambda content: (content, corpus.EXPLICIT),
    "commands": bytes,
    "headers": bytes,
    "reports": bytes,
    "pixels": bytes,
    "hl7": lambda content: content.translate(None, b"\x0b\x1c"),  # as the deframer gives it
    "mllp": lambda content: [content],
    "toml": bytes,
}
"""How a target's input is made of bytes."""

_TO_BYTES = {"survey": lambda given: given[0], "mllp": b"".join}


def main() -> None:
    """Ends the process itself, as libFuzzer does."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("target", choices=sorted(_FROM_BYTES))
    arguments.add_argument("--seconds", type=int, default=300)
    told = arguments.parse_args()
    stack = ExitStack()  # never closed: libFuzzer does not come back
    folder = Path(tempfile.mkdtemp(prefix="preread-guided-"))
    target, from_bytes = targets(folder, stack)[told.target], _FROM_BYTES[told.target]
    seeds = folder / "seeds"
    seeds.mkdir()
    for number in range(SEEDS):
        given = target.make(Random(f"{told.target}/guided/{number}"))
        (seeds / str(number)).write_bytes(_TO_BYTES.get(told.target, bytes)(given))
    options = [f"-max_total_time={told.seconds}", "-timeout=60", "-rss_limit_mb=2048", "-max_len=65536"]
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={folder}/", str(seeds)],
        lambda content: target.take(from_bytes(content)),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
