"""Every point of a life, cut: `python -m tests.crash points`."""

import multiprocessing
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.database import connect
from tests.crash.effects import HOWS, SIDES, Cut
from tests.crash.hospital import a_hospital, live_through
from tests.crash.observer import broken_promises
from tests.databases import a_postgresql_server, address_of, administer, configured, empty_database, named


@dataclass(frozen=True, slots=True)
class Life:
    """How one life went.

    Attributes:
        kind_cut: the kind of effect that went wrong, "" if none did; a killed process cannot tell.
        was_cut: False if the life had fewer effects than the number of the cut.
        problems: what was not as promised.
    """

    cut: Cut
    kind_cut: str
    was_cut: bool
    effects: int
    seconds: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ward:
    """Where lives are lived one after the other.

    Attributes:
        folder: for lives; each has its own in it, which stays if something was wrong.
        newborn: a store with nothing in it, copied for each life: to make its 256 folders anew would be
            256 points that differ in nothing.
        database_url: of a PostgreSQL database of its own, "" for an SQLite file in each life's folder.
    """

    folder: Path
    newborn: Path
    database_url: str


def live_once(ward: Ward, cut: Cut) -> Life:
    """Lives a whole life with one cut and looks at what became of it."""
    folder = ward.folder / str(cut).replace(" ", "-")
    shutil.copytree(ward.newborn, folder)
    if ward.database_url:
        database = connect(ward.database_url)
        empty_database(database)
        database.close()
    started = time.monotonic()
    with a_hospital(folder, ward.database_url, cut) as hospital:
        try:
            live_through(hospital)
            problems = tuple(broken_promises(hospital))
        except AssertionError as error:
            problems = (str(error),)
        was_cut = hospital.was_killed or bool(hospital.kind_cut)
        life = Life(cut, hospital.kind_cut, was_cut, hospital.effects, time.monotonic() - started, problems)
    if problems:
        print(f"{folder}: {'; '.join(problems)}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return life


@contextmanager
def wards(kind: str, count: int, folder: Path) -> Iterator[list[Ward]]:
    """Places for `count` lives at a time, on SQLite or on a PostgreSQL server of their own."""
    newborn = folder / "newborn"
    with a_hospital(newborn, "", Cut()) as hospital:
        newborn.mkdir(parents=True)
        hospital.running()
        hospital.stop()
    if kind == "sqlite":
        yield [Ward(folder / str(number), newborn, "") for number in range(count)]
        return
    with a_postgresql_server() as server:
        address = address_of(server)
        names = [f"ward_{number}" for number in range(count)]
        administer(address, *(f"CREATE DATABASE {name}" for name in names))
        yield [
            Ward(folder / str(number), newborn, configured(named(address, name)))
            for number, name in enumerate(names)
        ]


def points(ward: Ward, every: int, share: tuple[int, int] = (0, 1)) -> Iterator[Life]:
    """Cuts at effect 1, 2, 3 … in all ways, until a life comes through uncut.

    Args:
        every: only each so-many-th effect, another one for each way.
        share: (number, count): of so many wards that divide the points, this is that one.
    """
    number, count = share
    for way, (how, side) in enumerate((how, side) for how in HOWS for side in SIDES):
        at = 1 + way * every // 4 + number * every
        while (life := live_once(ward, Cut(at, side, how))).was_cut:
            yield life
            at += every * count
        yield life


def cut_everything(kind: str, every: int, count: int, folder: Path) -> bool:
    """Cuts the points of a life on one kind of database and prints what came of it; False if a promise was broken."""
    with wards(kind, count, folder / kind) as places:
        lives = list(_side_by_side(places, every))
    return _tell(kind, lives)


def _side_by_side(places: list[Ward], every: int) -> Iterator[Life]:
    jobs = [(place, every, (number, len(places))) for number, place in enumerate(places)]
    with ProcessPoolExecutor(len(places), multiprocessing.get_context("spawn")) as pool:
        for lives in pool.map(_lives, jobs):
            yield from lives


def _lives(job: tuple[Ward, int, tuple[int, int]]) -> list[Life]:
    return list(points(*job))


def print_head() -> None:
    """Prints the head of the table."""
    print(f"{'database':<12}{'cut':<14}{'points':>7}{'uncut':>7}{'broken':>8}{'seconds':>9}")


def _tell(kind: str, lives: list[Life]) -> bool:
    for how in HOWS:
        for side in SIDES:
            of_way = [life for life in lives if (life.cut.how, life.cut.side) == (how, side)]
            cut = [life for life in of_way if life.was_cut]
            broken = [life for life in of_way if life.problems]
            seconds = sum(life.seconds for life in of_way)
            uncut = len(of_way) - len(cut)
            print(f"{kind:<12}{how + ' ' + side:<14}{len(cut):>7}{uncut:>7}{len(broken):>8}{seconds:>9.0f}")
    kinds = Counter(life.kind_cut for life in lives if life.kind_cut)
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())))
    for life in lives:
        for problem in life.problems:
            print(f"  {kind}, {life.cut} ({life.kind_cut or '?'}): {problem}")
    return not any(life.problems for life in lives)
