"""What archives send: by the same door as everything else, and no more than they were told to send."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from agent.peers import Arrived, Peers, StoreOutcome
from config.peers_settings import SenderSettings
from config.settings import DestinationSettings
from storage.orders import Orders
from storage.requests import PriorRequests
from tests.builders import a_radiograph, write
from tests.listener.conftest import NOW, Inbox, StartListener, encoded
from tests.storage.builders import a_prior, an_order

XRAY, ARCH = SenderSettings(ae_title="XRAY1"), SenderSettings(ae_title="ARCH", default_issuer="CLINIC")


@pytest.fixture
def inbox(start: StartListener) -> Inbox:
    """A listener with one sender, and one archive that is no sender."""
    return start(senders=(XRAY,), archives=(ARCH,))


def is_told_to_send(inbox: Inbox, study: str) -> None:
    requests = PriorRequests(inbox.database)
    Orders(inbox.database).put(an_order(heard_at=NOW), ["arch"], NOW + timedelta(hours=1))
    request = requests.claim("asker", NOW, 60)
    assert request is not None
    requests.found(request, [a_prior(study)], NOW)
    requests.fetching(request, study, NOW)


def send(inbox: Inbox, calling: str, dataset: Dataset, folder: Path) -> StoreOutcome:
    us = DestinationSettings(name="us", ae_title="PREREAD", host="127.0.0.1", port=inbox.port)
    return Peers(calling).store(us, [write(dataset, folder / "sent.dcm")])[0]


def arrived(dataset: Dataset, **fields: object) -> Arrived:
    whole = {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID),
        "content": encoded(dataset),
    }
    return Arrived(**(whole | fields))


def test_an_archive_may_send_what_it_was_told_to_send_and_it_is_a_prior(inbox: Inbox, tmp_path: Path):
    prior = a_radiograph()
    is_told_to_send(inbox, prior.StudyInstanceUID)

    assert send(inbox, "ARCH", prior, tmp_path).status == 0x0000

    study = inbox.index.study(prior.StudyInstanceUID)
    assert study is not None
    assert (study.fetched_from, study.issuer_of_patient_id) == ("arch", "CLINIC")


def test_an_archive_that_sends_what_nobody_asked_for_is_refused(inbox: Inbox, tmp_path: Path):
    is_told_to_send(inbox, "2.25.50")

    assert send(inbox, "ARCH", a_radiograph(), tmp_path).status == 0x0124

    assert '"ARCH" was not asked for study' in inbox.the_refusal().reason
    assert inbox.instance_count() == 0


def test_an_archive_that_is_a_sender_too_may_send_anything(start: StartListener, tmp_path: Path):
    inbox = start(senders=(SenderSettings(ae_title="ARCH"),), archives=(ARCH,))

    assert send(inbox, "ARCH", a_radiograph(), tmp_path).status == 0x0000
    assert len(inbox.index.unread()) == 1


def test_what_came_over_our_own_association_is_kept_like_what_was_sent(inbox: Inbox):
    prior = a_radiograph()
    is_told_to_send(inbox, prior.StudyInstanceUID)

    statuses = [inbox.listener.take(arrived(prior), "ARCH") for _ in range(2)]

    assert statuses == [0x0000, 0x0000]
    assert inbox.dataset_bytes(prior.SOPInstanceUID) == encoded(prior)
    assert [instance.sop_instance_uid for instance in inbox.stored] == [prior.SOPInstanceUID]


def test_what_is_no_object_of_ours_is_answered_with_its_status(start: StartListener):
    inbox = start(instance_bytes_max=4096)
    prior = a_radiograph()

    refused = [
        inbox.listener.take(arrived(prior, sop_class_uid="1.2.840.10008.5.1.4.1.1.2"), "ARCH"),
        inbox.listener.take(arrived(prior, content=b"junk"), "ARCH"),
        inbox.listener.take(arrived(a_radiograph(rows=500, columns=400)), "ARCH"),
    ]

    assert refused == [0x0122, 0xC000, 0xA700]
    assert inbox.part_files() == []
