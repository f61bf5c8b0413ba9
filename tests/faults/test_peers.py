"""Peers that accept and are silent, vanish, or take less than there is to give."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from pydicom import Dataset

from agent.overview import status
from config.settings import Settings
from storage.records import Stage
from tests.builders import a_radiograph
from tests.faults.conftest import Clinic, MakeClinic, with_destinations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUDIES = 12


def an_image(patient: int = 1) -> Dataset:
    return a_radiograph(patient_id=f"N{patient}", modality="CR", rows=32, columns=24)


def in_a_hurry(settings: Settings) -> Settings:
    return with_destinations(settings, connect_seconds=0.3, answer_seconds=0.3)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are made and nothing is ever said: a half-open peer, or a frozen one."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


def test_a_destination_that_says_nothing_holds_up_nobody_else(a_clinic: MakeClinic, silent_port: int):
    def silenced(settings: Settings) -> Settings:
        pacs, archive = in_a_hurry(settings).peers.destinations
        pacs = pacs.model_copy(update={"port": silent_port})
        peers = settings.peers.model_copy(update={"destinations": (pacs, archive)})
        return settings.model_copy(update={"peers": peers})

    clinic = a_clinic(silenced)
    clinic.send(an_image())
    clinic.rounds(5)

    waiting = status(clinic.settings, 10)["undelivered"]
    assert clinic.results("archive").total() == 1
    assert {one["destination"] for one in waiting} == {"pacs"}
    assert "did not answer our association request within 0.3 s" in waiting[0]["problem"]


def test_what_destinations_do_not_take_waits_in_the_database_and_is_told(a_clinic: MakeClinic):
    clinic = a_clinic(in_a_hurry)
    for pacs in clinic.destinations.values():
        pacs.close()
    clinic.send(*(an_image(patient) for patient in range(STUDIES)))
    clinic.rounds(4)

    said = status(clinic.settings, STUDIES)

    assert said["jobs"]["deliver"] == STUDIES
    assert all("cannot be connected" in one["problem"] for one in said["undelivered"])
    # Each rests after some tries, so not all of what waits has been tried.
    waiting = {one["name"]: (one["rests_until"] is not None, one["waiting"]) for one in said["troubled"]}
    made = {
        one.name: len(one.outputs or clinic.settings.reading.outputs.defaults)
        for one in clinic.settings.peers.destinations
    }
    assert waiting == {name: (True, count * STUDIES) for name, count in made.items()}


def test_senders_that_vanish_in_mid_association_leave_no_thread_behind(clinic: Clinic):
    clinic.send(an_image())
    threads = threading.active_count()

    for _ in range(20):
        with socket.create_connection(("127.0.0.1", clinic.running().port)) as connection:
            connection.send(b"\1\0\0\0")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    clinic.send(an_image(2))
    clinic.until_it_is_quiet()

    assert threading.active_count() <= threads + 2
    assert clinic.ended(str(an_image(2).StudyInstanceUID)) == [Stage.DONE]
