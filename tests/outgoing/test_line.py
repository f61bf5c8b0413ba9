"""Messages on the whole line: nothing is lost, nothing doubled, and it can be seen what happened."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from agent.casework import draft_of, messages_of
from agent.hl7.message import parse_message
from agent.lanes import delivery_lanes
from agent.manifest import load_manifest, load_reading
from agent.outgoing.draft import Draft
from agent.outgoing.fhir import bundle_of
from agent.outputs import OUTPUTS
from config.settings import Settings
from inference.case import Case
from inference.reading import Box, Reading
from storage.records import Delivery, Job, ResultObject, Stage
from tests.agent.line import Line
from tests.builders import a_radiograph
from tests.outgoing.builders import a_drop_folder, a_fhir_server, a_webhook, an_hl7_receiver
from tests.outgoing.conftest import OpenLine
from tests.outgoing.peers import MllpPeer, Script, acknowledged, dead, mllp_peer, silent, web_peer
from tests.scripted_engine import an_effusion

pytestmark = pytest.mark.slow


def a_study_read(line: Line, **about: Any) -> str:
    study = line.arrive(a_radiograph(accession="4711", **about))
    line.wait(60)
    line.run()
    return study


def to(name: str, line: Line, study: str) -> Delivery:
    """The delivery of the newest job to this receiver."""
    deliveries = line.tools.jobs.deliveries.of_job(line.job(study).number)
    return next(one for one in deliveries if one.destination == name)


def filler_numbers(peer: MllpPeer) -> list[str]:
    return [parse_message(message).first("OBR").text(3) for message in peer.received]


def test_a_draft_reaches_everybody_once_each_in_its_own_form(
    open_line: OpenLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOOK_SECRET", "key")
    (tmp_path / "drop").mkdir()
    with mllp_peer(acknowledged("AA")) as ris, web_peer(200) as fhir, web_peer(204) as hook:
        line = open_line(
            hl7_receivers=(an_hl7_receiver(ris.port),),
            fhir_servers=(a_fhir_server(fhir.port),),
            webhooks=(a_webhook(hook.port),),
            drop_folders=(a_drop_folder(tmp_path / "drop"),),
        )
        study = a_study_read(line)

    (dropped,) = (tmp_path / "drop").iterdir()
    assert line.job(study).stage is Stage.DONE
    assert (len(ris.received), len(fhir.received), len(hook.received)) == (1, 1, 1)
    assert dropped.name == f"{study}_r1.json"
    assert json.loads(dropped.read_bytes())["event"] == "draft"
    made = line.tools.jobs.results_of_job(line.job(study).number)
    objects = {one.sop_instance_uid for one in made if one.kind in OUTPUTS}
    assert {one.sop_instance_uid for one in line.pacs.received(study)} == objects


def test_messages_point_where_the_dicom_objects_point_and_nowhere_else(open_line: OpenLine, tmp_path: Path):
    (tmp_path / "drop").mkdir()
    line = open_line(drop_folders=(a_drop_folder(tmp_path / "drop"),))
    line.engine.script = whole_and_lower_half

    a_study_read(line)

    (dropped,) = (tmp_path / "drop").iterdir()
    draft = json.loads(dropped.read_bytes())
    (boxes,) = [one["boxes"] for one in draft["findings"]]
    assert [(box["left"], box["top"], box["right"], box["bottom"]) for box in boxes] == [(0, 32, 48, 64)]
    assert "it covers more than 98% of the image" in json.dumps(draft["sections"])


def whole_and_lower_half(case: Case) -> Reading:
    """A finding with two boxes: one over all of the image and one over its lower half, and past its edge."""
    image = case.current.images[0]
    whole = Box(image.key, 0, 0, image.columns, image.rows)
    lower = Box(image.key, 0, image.rows / 2, image.columns, image.rows + 9)
    said = an_effusion(case)
    return replace(said, findings=(replace(said.findings[0], boxes=(whole, lower)),))


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this machine into a zone."""

    def _in_zone(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield _in_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kolkata"])
@pytest.mark.parametrize("day", ["19000101", "00010101"])
def test_a_study_of_long_ago_is_a_fhir_bundle_that_is_right_in_every_zone(
    open_line: OpenLine, in_zone: Callable[[str], None], zone: str, day: str
):
    in_zone(zone)
    line = open_line()
    study = a_study_read(line)

    content = bundle_of(drafted(line, line.job(study), study_date=day), a_fhir_server())

    Bundle.model_validate(json.loads(content))
    assert f'"effectiveDateTime":"{day[:4]}-01-01"' in content.decode()


def test_a_peer_that_dies_before_its_acknowledgement_gets_the_same_bytes_again(open_line: OpenLine):
    with mllp_peer(dead, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)
        assert "without an acknowledgement" in (to("ris", line, study).problem or "")

        line.wait(10)
        line.run()

    assert line.job(study).stage is Stage.DONE
    assert len(ris.received) == 2
    assert ris.received[0] == ris.received[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [silent, lambda _: b"\x0bnonsense\x1c\r", acknowledged("AE", condition="207")]
)
def test_a_peer_in_trouble_gets_it_when_it_is_well(open_line: OpenLine, script: Script):
    with mllp_peer(script, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port, ack_seconds=1.0),))
        study = a_study_read(line)
        waiting = line.job(study).stage

        line.wait(10)
        line.run()

    assert (waiting, line.job(study).stage) == (Stage.DELIVER, Stage.DONE)
    assert ris.received[0] == ris.received[1]


def test_a_nak_fails_the_job_with_its_words_and_costs_nobody_else_the_draft(open_line: OpenLine):
    with mllp_peer(acknowledged("AR", text="no such order")) as ris, web_peer(200) as fhir:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),), fhir_servers=(a_fhir_server(fhir.port),))
        study = a_study_read(line)
        line.wait(3600)
        line.run()

    assert line.job(study).stage is Stage.FAILED
    assert "refused it, AR: no such order" in (line.job(study).problem or "")
    assert (len(ris.received), len(fhir.received)) == (1, 1)


def test_the_words_of_a_nak_are_in_the_store_and_never_in_the_log(
    open_line: OpenLine, capsys: pytest.CaptureFixture[str]
):
    with mllp_peer(acknowledged("AE", text="unknown patient Doe")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)

    assert "unknown patient Doe" in (line.job(study).problem or "")
    assert "not delivered" in (logged := capsys.readouterr().out)
    assert "Doe" not in logged


@pytest.mark.parametrize("status", [0, 409, 500])
def test_a_fhir_server_in_trouble_gets_the_same_transaction_until_it_takes_it(
    open_line: OpenLine, status: int
):
    with web_peer(status, status, 200) as fhir:
        line = open_line(fhir_servers=(a_fhir_server(fhir.port),))
        study = a_study_read(line)
        for seconds in (10, 60):
            line.wait(seconds)
            line.run()

    assert line.job(study).stage is Stage.DONE
    assert len({content for _, content in fhir.received}) == 1
    assert len(fhir.received) == 3


def test_a_receiver_that_stays_away_longer_than_the_patience_is_given_up_with_its_sentence(
    open_line: OpenLine,
):
    with mllp_peer(dead) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)
        for _ in range(3):
            line.wait(2000)
            line.run()

    assert line.job(study).stage is Stage.FAILED
    assert "tried for 4000 s" in (to("ris", line, study).problem or "")


def test_a_late_image_makes_a_message_that_replaces_the_one_before(open_line: OpenLine):
    with mllp_peer(acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        a_study_read(line)
        a_study_read(line, view="LL")

    first, second = (parse_message(message) for message in ris.received)
    assert filler_numbers(ris) == ["4711", "4711"]
    assert first.control_id != second.control_id
    assert "Revision 2 of this draft; it takes the place of revision 1." in second.segments[7].text(5)


def test_a_message_that_waits_is_not_sent_once_the_next_revision_takes_its_place(open_line: OpenLine):
    with mllp_peer(dead, acknowledged("AA")) as ris:
        line = open_line(hl7_receivers=(an_hl7_receiver(ris.port),))
        study = a_study_read(line)
        line.arrive(a_radiograph(accession="4711", view="LL"))
        line.now = line.tools.index.unread()[0].newest_received_at
        line.tools.jobs.open(study, 2, "late", line.now)
        line.run()
        line.wait(3600)
        line.run()

    first, _ = line.tools.jobs.jobs_of_study(study)
    stopped = line.tools.jobs.deliveries.of_job(first.number)[-1]
    assert len(ris.received) == 2
    assert "Revision 2" in ris.received[-1].decode()
    assert (stopped.is_stopped, stopped.problem) == (True, "revision 2 takes its place")
    assert first.stage is Stage.DONE


def test_composing_again_makes_the_same_messages(open_line: OpenLine):
    line = open_line(hl7_receivers=(an_hl7_receiver(1),), fhir_servers=(a_fhir_server(1),))
    study = a_study_read(line)
    made = line.tools.jobs.results_of_job(line.job(study).number)
    objects = tuple(one for one in made if one.kind in OUTPUTS)

    again = composed_again(line, line.job(study), objects)

    assert set(again.values()) == set(made) - set(objects)
    assert len(again) == 2


def drafted(line: Line, job: Job, **about: str) -> Draft:
    """The draft of a job that was read; `about` changes its study."""
    tools = line.tools
    manifest, reading = load_manifest(job.manifest_json or ""), load_reading(job.reading_json or "")
    study = tools.index.study(job.study_instance_uid)
    assert study is not None
    study = replace(study, **about)
    return draft_of(job, manifest, reading, study, tools.files, tools.jobs, tools.settings)


def composed_again(line: Line, job: Job, objects: tuple[ResultObject, ...]) -> dict[str, ResultObject]:
    tools, draft = line.tools, drafted(line, job)
    in_the_order_made = tuple(sorted(objects, key=lambda one: list(OUTPUTS).index(one.kind)))
    return messages_of(replace(draft, objects=in_the_order_made), job.number, tools.files, tools.settings)


def test_a_receiver_that_was_taken_out_of_the_settings_fails_its_deliveries_with_one_reason(
    open_line: OpenLine,
):
    line = open_line(hl7_receivers=(an_hl7_receiver(1),))
    studies = [a_study_read(line) for _ in range(2)]
    gone = open_line()
    gone.now = line.now

    gone.wait(600)  # longer than any pause that chance makes of 60 s
    gone.run()

    assert {gone.job(study).problem for study in studies} == {
        'ris: destination "ris" is no longer in peers.toml; put it back, then: '
        'preread deliveries replay --destination "ris"'
    }


def test_each_receiver_has_one_lane_so_that_no_message_overtakes_another():
    receivers = (an_hl7_receiver(), a_fhir_server())
    settings = Settings().model_copy(
        update={
            "peers": Settings().peers.model_copy(
                update={"hl7_receivers": receivers[:1], "fhir_servers": receivers[1:]}
            )
        }
    )

    lanes = delivery_lanes(settings)

    assert list(lanes) == ["deliver to ris 1", "deliver to fhir 1", "deliver to nobody"]
