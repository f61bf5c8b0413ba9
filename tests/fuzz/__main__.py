"""`make fuzz`: inputs over the parsers, associations at the live port, and what came of them in figures."""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.fuzz.campaign import Figures, run
from tests.fuzz.port import besiege
from tests.fuzz.targets import targets


def shares() -> dict[str, int]:
    """Each target's part of a thousand inputs."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        return {name: target.share for name, target in targets(Path(folder), stack).items()}


def main() -> int:
    """Runs what the arguments say; gives 1 if anything failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--inputs", type=int, default=1_000_000, help="over all parsers")
    arguments.add_argument("--associations", type=int, default=20_000, help="at the live port")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments.add_argument("--only", help="one target, with all the inputs")
    arguments.add_argument("--processes", type=int, default=2)
    told = arguments.parse_args()
    wanted = {told.only: 1000} if told.only else shares()
    with ThreadPoolExecutor(told.processes) as pool:
        running = [
            pool.submit(run, name, told.seed, told.first, told.inputs * share // sum(wanted.values()))
            for name, share in wanted.items()
            if told.inputs
        ]
        done: list[Figures] = []
        for future in running:
            done.append(future.result())
            print(done[-1].line(), *done[-1].failures, sep="\n", flush=True)
    failures = [failure for figures in done for failure in figures.failures]
    print(f"{sum(figures.inputs for figures in done)} inputs, {len(failures)} failures")
    if told.associations and not told.only:
        siege = besiege(told.associations, told.seed)
        print(siege.line())
        failures += siege.failures
        print(*siege.failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
