"""A worker process for tests: claims once, waits for a line, then claims until nothing is due.

Prints the numbers it got, a line for each claim.

python -m tests.storage.claimer jobs|deliveries URL OWNER
"""

import sys

from storage.database import connect
from storage.jobs import Deliveries, Jobs
from storage.records import Stage
from tests.storage.builders import LEASE_SECONDS, NOW


def main(kind: str, url: str, owner: str) -> None:
    database = connect(url)
    jobs, deliveries = Jobs(database), Deliveries(database)

    def claim() -> list[int]:
        if kind == "deliveries":
            return [delivery.number for delivery in deliveries.claim(owner, NOW, LEASE_SECONDS)]
        job = jobs.claim([Stage.GATHER], owner, NOW, LEASE_SECONDS)
        return [] if job is None else [job.number]

    print(*claim(), flush=True)
    sys.stdin.readline()
    while claimed := claim():
        print(*claimed)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
