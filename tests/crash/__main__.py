"""`python -m tests.crash points` cuts a life at every effect; `python -m tests.crash kills` kills at random moments."""

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

DATABASES = ("sqlite", "postgresql")


def main() -> int:
    """Prints what came of it; gives 1 if a promise was broken, and then leaves the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("points", "kills"))
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--every", type=int, default=1, help="points: cut only each so-many-th effect")
    # A life mostly waits.
    wards = 2 * (os.cpu_count() or 1)
    parser.add_argument("--wards", type=int, default=wards, help="points: lives at a time")
    parser.add_argument("--kills", type=int, default=250, help="kills: on each database")
    parser.add_argument("--seed", type=int, help="kills: of the moments and of who is killed")
    arguments = parser.parse_args()
    # Imported here: each process of a life imports this module once more.
    from tests.crash.kills import spend_a_night
    from tests.crash.points import cut_everything, print_head

    folder = Path(tempfile.mkdtemp(prefix="preread-crash-"))
    databases = arguments.database or DATABASES
    if arguments.what == "points":
        print_head()
        are_kept = [cut_everything(kind, arguments.every, arguments.wards, folder) for kind in databases]
    else:
        seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
        print(f"seed {seed}")
        are_kept = [spend_a_night(kind, arguments.kills, seed, folder / kind) for kind in databases]
    if all(are_kept):
        shutil.rmtree(folder)
        return 0
    print(f"what is left lies in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
