"""A worker process for tests: waits for a line, then claims until nothing is due and prints what it got.

python -m tests.storage.claimer jobs|deliveries URL OWNER
"""

import sys

from storage.database import connect
from storage.jobs import Deliveries, Jobs
from storage.records import Stage
from tests.storage.builders import LEASE_SECONDS, NOW


def main(kind: str, url: str, owner: str) -> None:
    database = connect(url)
    jobs = Jobs(database)
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "jobs":
        while (job := jobs.claim([Stage.GATHER], owner, NOW, LEASE_SECONDS)) is not None:
            print(job.number)
    else:
        while claimed := Deliveries(database).claim(owner, NOW, LEASE_SECONDS):
            print(*(delivery.number for delivery in claimed), sep="\n")
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
