"""Storage commitment: destinations that answer for what they took, in each of the ways that the Standard allows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from agent.admission import Sender
from agent.delivering import noting_commitments
from agent.demo.pacs import connection_opened
from agent.listener import Commitments
from agent.listener.contexts import answer
from agent.listener.intake import Peer
from agent.peers import CommitmentReport
from config.settings import DestinationSettings
from storage.records import Delivery, Stage
from tests.agent.archives import Archive, an_archive
from tests.agent.line import PATIENCE, Line
from tests.builders import a_radiograph

pytestmark = pytest.mark.slow

PACS_SETTINGS = DestinationSettings(name="pacs", ae_title="TESTPACS", host="h", commitment=True)


@dataclass
class Committing:
    """An archive's commitment: keeps what it is asked for, and reports when told to or on the same association."""

    on_same_association: bool = False
    status: int = 0x0000
    failing: bool = False
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    reported: threading.Event = field(default_factory=threading.Event)

    def action(self, event: evt.Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        return self.status, None

    def sent(self, event: evt.Event) -> None:
        """Reports as soon as the answer to the N-ACTION is out."""
        if self.on_same_association and type(event.message).__name__ == "N_ACTION_RSP":
            threading.Thread(target=self.report_on, args=(event.assoc,)).start()

    def report_on(self, association: Association) -> None:
        information = Dataset()
        information.TransactionUID = self.asked[-1].TransactionUID
        objects = list(self.asked[-1].ReferencedSOPSequence)
        if self.failing:
            for one in objects:
                one.FailureReason = 0x0110
            information.FailedSOPSequence = objects
        else:
            information.ReferencedSOPSequence = objects
        status, _ = association.send_n_event_report(
            information,
            2 if self.failing else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        self.answers.append(status.Status)
        self.reported.set()

    def report_to(self, line: Line, *, says_its_role: bool = True, ae_title: str = "TESTPACS") -> None:
        """Reports on an association of its own."""
        ae = AE(ae_title=ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if says_its_role else []
        association = ae.associate(
            "127.0.0.1",
            line.listener.port,
            ae_title="PREREAD",
            ext_neg=roles,
            evt_handlers=[(evt.EVT_CONN_OPEN, connection_opened)],
        )
        assert association.is_established
        self.report_on(association)
        association.release()


@contextmanager
def committing(folder: Path, *, offers: bool = True, **how: object) -> Iterator[tuple[Line, Committing]]:
    """A line whose destination must commit to what it takes, our port open."""
    peer = Committing(**how)
    classes = [BasicTextSRStorage, *([StorageCommitmentPushModel] if offers else [])]
    handlers = [(evt.EVT_N_ACTION, peer.action), (evt.EVT_DIMSE_SENT, peer.sent)]
    with an_archive(classes=classes, ae_title="TESTPACS", more_handlers=handlers) as archive:
        settings = {"commitment": True, "commitment_seconds": 600.0}
        line = Line(folder, archive, outputs=("report_sr",), destination=settings)
        line.listener.start()
        yield line, peer
        line.listener.stop(5)


def sent_to(line: Line) -> list[str]:
    assert isinstance(line.pacs, Archive)
    return line.pacs.instances


def deliver(line: Line) -> str:
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    return study


def delivery(line: Line, study: str) -> Delivery:
    return line.tools.jobs.deliveries.of_job(line.job(study).number)[0]


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for reports that do not come."""
    monkeypatch.setattr("agent.peers.commitment.LINGER_SECONDS", 0.0)


def test_a_draft_is_done_when_the_destination_has_committed_to_it(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)
        waiting = delivery(line, study)
        assert (line.job(study).stage, waiting.taken_at is not None) == (Stage.DELIVER, True)

        peer.report_to(line)

        assert (line.job(study).stage, peer.answers) == (Stage.DONE, [0x0000])
    (asked,) = peer.asked
    assert [str(one.ReferencedSOPInstanceUID) for one in asked.ReferencedSOPSequence] == sent_to(line)
    assert str(asked.TransactionUID) == waiting.transaction_uid


def test_a_report_from_a_destination_that_selects_no_role_counts_too(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)

        peer.report_to(line, says_its_role=False)

        assert line.job(study).stage is Stage.DONE


def test_a_report_on_the_same_association_counts_even_if_it_is_quicker_than_we(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent.peers.commitment.LINGER_SECONDS", 20.0)
    with committing(tmp_path, on_same_association=True) as (line, peer):
        study = deliver(line)

        assert line.job(study).stage is Stage.DONE
        assert peer.reported.wait(10)
    assert (peer.answers, len(sent_to(line))) == ([0x0000], 1)


def test_what_is_not_committed_to_in_time_is_sent_again_and_asked_for_anew(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)

        line.wait(599)
        line.run()
        assert len(peer.asked) == 1
        line.wait(1)
        line.run()
        peer.report_to(line)

        assert line.job(study).stage is Stage.DONE
    first, second = (str(asked.TransactionUID) for asked in peer.asked)
    assert first != second
    assert len(set(sent_to(line))) == 1


def test_what_is_not_committed_to_is_sent_again_and_given_up_in_the_end(tmp_path: Path):
    with committing(tmp_path, failing=True) as (line, peer):
        study = deliver(line)
        for _ in range(3):
            peer.report_to(line)
            line.wait(60)
            line.run()

        assert line.job(study).stage is Stage.FAILED
    assert (len(peer.asked), len(set(sent_to(line)))) == (3, 1)
    assert "took it and does not commit to it (reason 0110)" in (line.job(study).problem or "")


def test_the_transaction_cannot_be_guessed_from_the_delivery(tmp_path: Path):
    asked = []
    for folder in ("one", "other"):
        with committing(tmp_path / folder) as (line, _):
            study = deliver(line)
            own = delivery(line, study)
            asked.append((own.sop_instance_uid, own.number, own.claim_number, own.transaction_uid))

    (*facts, transaction_uid), (*same_facts, another) = asked
    assert facts == same_facts
    assert transaction_uid != another


def test_a_report_that_comes_twice_is_answered_twice_and_changes_nothing(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)

        peer.report_to(line)
        peer.report_to(line)

        assert (line.job(study).stage, peer.answers) == (Stage.DONE, [0x0000, 0x0000])
    told = [event.text for event in line.tools.jobs.events_of_study(study)]
    assert sum("committed to by pacs" in text for text in told) == 1


def test_a_report_on_what_nobody_asked_for_is_refused(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        deliver(line)
        peer.asked[-1].TransactionUID = "1.2.3"

        peer.report_to(line)

    assert peer.answers == [0x0110]


def test_only_a_destination_may_report_at_all(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)

        with pytest.raises(AssertionError, match="is_established"):
            peer.report_to(line, ae_title="XRAY")

        assert line.job(study).stage is Stage.DELIVER


def test_a_report_on_what_another_destination_took_is_refused(tmp_path: Path):
    with committing(tmp_path) as (line, peer):
        study = deliver(line)
        report = CommitmentReport(str(peer.asked[-1].TransactionUID), tuple(sent_to(line)), ())
        other = DestinationSettings(name="other", ae_title="OTHER", host="h", commitment=True)
        take = noting_commitments(
            (other, PACS_SETTINGS), line.tools.jobs.deliveries, lambda: line.now, PATIENCE
        )

        assert take(report, "OTHER") == 0x0110
        assert line.job(study).stage is Stage.DELIVER
        assert take(report, "TESTPACS") == 0x0000


@pytest.mark.parametrize(("address", "may"), [("192.0.2.7", True), ("192.0.2.8", False)])
def test_a_destination_reports_from_its_addresses_only(address: str, may: bool):
    commitments = Commitments((Sender("TESTPACS", ("192.0.2.7",)),), lambda *_: 0)

    assert commitments.may_come_from(Peer(address, "TESTPACS", "PREREAD")) is may


def test_a_destination_without_the_service_has_the_draft_and_somebody_is_told(tmp_path: Path):
    with committing(tmp_path, offers=False) as (line, _):
        study = deliver(line)

        assert line.job(study).stage is Stage.DONE
        assert "offers no storage commitment" in (delivery(line, study).problem or "")


def test_a_request_that_is_refused_for_now_is_put_again(tmp_path: Path):
    with committing(tmp_path, status=0x0213) as (line, peer):
        study = deliver(line)
        assert "refused to commit to what it took, status 0213" in (delivery(line, study).problem or "")

        peer.status = 0x0000
        line.wait(60)
        line.run()
        peer.report_to(line)

        assert line.job(study).stage is Stage.DONE


def test_a_port_that_asks_nobody_to_commit_offers_no_storage_commitment():
    proposed = [build_context(StorageCommitmentPushModel)]

    assert answer(proposed) == []
    assert [context.scp_role for context in answer(proposed, takes_commitments=True)] == [True]
