"""A stop while something is in hand: it is finished, or given back as if nobody had begun with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE

from agent.service import Serving
from config.loading import load
from storage.outside_records import PriorRequest
from tests.agent.query_archives import QueryArchive, a_query_archive
from tests.builders import a_radiograph, a_report_sr
from tests.end_to_end.conftest import free_port, wait_for

pytestmark = pytest.mark.slow

PRIOR = a_radiograph(days_ago=20)
REPORT = a_report_sr(days_ago=20, findings="Small left effusion.")
CURRENT = a_radiograph()


@contextmanager
def moving(on_move: Callable[[QueryArchive], Iterator[object]], folder: Path) -> Iterator[Serving]:
    """A preread that has just told its archive to send a prior."""
    with a_query_archive(PRIOR, REPORT) as archive:
        archive.moves_to = free_port()
        archive.on_move = lambda _: on_move(archive)
        serving = a_serving(folder, archive)
        serving.start()
        try:
            send(CURRENT, archive.moves_to)
            wait_for("the prior to be asked for", lambda: archive.moved, 20)
            yield serving
        finally:
            serving.stop()


def a_serving(folder: Path, archive: QueryArchive) -> Serving:
    config = folder / "config"
    config.mkdir()
    (config / "agent.toml").write_text(
        f'[listener]\nport = {archive.moves_to}\nfree_bytes_min = 0\n[storage]\nfolder = "{folder}/data"\n'
        "[worker]\nstop_seconds = 2.0\n"
    )
    (config / "peers.toml").write_text(
        f'[[archive]]\nname = "arch"\nae_title = "ARCH"\nhost = "127.0.0.1"\nport = {archive.port}\n'
        'retrieve = "c-move"\n[[sender]]\nae_title = "XRAY1"\n'
    )
    (config / "reading.toml").write_text(
        "[reader]\nchild = false\n[study]\nsettle_seconds = 0.1\nstudy_age_days_max = 36500\n"
    )
    return Serving(load(config))


def send(dataset: Dataset, port: int) -> None:
    entity = AE("XRAY1")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="PREREAD")
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()


def the_request(serving: Serving) -> PriorRequest:
    (request,) = serving._store.requests.of_job(1)
    return request


def test_a_prior_that_is_on_its_way_at_a_stop_comes_whole(tmp_path: Path):
    is_stopping = threading.Event()

    def move(archive: QueryArchive) -> Iterator[object]:
        is_stopping.wait(10)
        yield archive.destination([PRIOR, REPORT])
        yield 2
        yield from ((0xFF00, held) for held in (PRIOR, REPORT))

    with moving(move, tmp_path) as serving:
        stopping = threading.Thread(target=serving.stop)
        stopping.start()
        wait_for("the stop", serving._workers["gather"]._stopping.is_set, 10)
        is_stopping.set()
        stopping.join(20)

        (prior,) = serving._store.requests.studies([PRIOR.StudyInstanceUID])
        assert (prior.ended_at is not None, prior.problem) == (True, None)
        assert the_request(serving).done_at is not None


def test_a_request_that_outlasts_a_stop_is_given_back_and_costs_no_attempt(tmp_path: Path):
    is_over = threading.Event()

    def move(archive: QueryArchive) -> Iterator[object]:
        yield archive.destination([PRIOR, REPORT])
        yield 2
        is_over.wait(20)
        yield from ((0xFF00, held) for held in (PRIOR, REPORT))

    with moving(move, tmp_path) as serving:
        serving.stop()
        is_over.set()

        request = the_request(serving)
        (prior,) = serving._store.requests.studies([PRIOR.StudyInstanceUID])
        assert (request.lease_owner, request.attempts, request.done_at) == (None, 0, None)
        assert (prior.ended_at, prior.problem) == (None, None)
