"""The numbers of /metrics: they come from rows, whoever wrote them, and begin with this process."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics.counting import Metrics, State, reason_class
from storage.census import Census
from storage.database import connect
from storage.index import Index
from storage.jobs import Comparable, Jobs
from storage.records import Refusal, RunningProcess
from tests.storage.builders import NOW, an_open_job, claimed_deliveries, composed, done, later, put

READER = RunningProcess("read", "box", 17, NOW, NOW, "sha256:ab", "m4cxr")


class Site:
    """A store, and the metrics of a process that started when it was empty but for one instance."""

    def __init__(self, folder: Path) -> None:
        database = connect(f"sqlite:///{folder}/preread.sqlite")
        self.index, self.jobs = Index(database), Jobs(database)
        put(self.index, "2.25.1", study="2.25.900")
        self.state = State(5_000, READER, "sha256:cd")
        self.metrics = Metrics(Census(database), lambda: later(30), lambda: self.state)
        self.close = database.close

    def scrape(self) -> dict[str, float]:
        """Every sample but those that are 0, by its name and labels."""
        found = {}
        for family in text_string_to_metric_families(self.metrics.text().decode()):
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                if sample.value:
                    found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@pytest.fixture
def site(tmp_path: Path):
    site = Site(tmp_path)
    yield site
    site.close()


def test_what_was_there_before_the_start_is_not_counted(site: Site):
    assert "preread_studies_received_total" not in site.scrape()


def test_what_comes_is_counted_once_however_often_the_monitor_asks(site: Site):
    put(site.index, "2.25.8", study="2.25.200", content=b"three")
    site.scrape()

    page = site.scrape()

    assert page["preread_studies_received_total"] == 1
    assert page["preread_instances_received_total{role=image}"] == 1
    assert page["preread_received_bytes_total{role=image}"] == 5


def test_a_draft_on_its_way_is_seen_in_steps_readings_and_deliveries(site: Site):
    composed(site.index, site.jobs, "PACS")
    first, second = claimed_deliveries(site.jobs.deliveries)
    site.jobs.deliveries.delivered(first, 0x0000, later(1))
    site.jobs.deliveries.later(second, "PACS is down", later(60), later(10))

    page = site.scrape()

    assert page["preread_steps_total{outcome=done,stage=read}"] == 1
    assert page["preread_deliveries_total{destination=PACS,outcome=done}"] == 1
    assert page["preread_deliveries_total{destination=PACS,outcome=later}"] == 1
    assert page["preread_open_deliveries{destination=PACS}"] == 1
    assert page["preread_delivery_waits_seconds{destination=PACS}"] == 20
    assert page["preread_jobs{stage=deliver}"] == 1


def test_the_oldest_job_of_a_stage_has_the_age_of_its_opening(site: Site):
    an_open_job(site.index, site.jobs)

    assert site.scrape()["preread_oldest_job_seconds{stage=gather}"] == 30


def test_seconds_fall_into_the_bucket_of_their_length_and_all_above(site: Site):
    composed(site.index, site.jobs, "PACS")
    site.jobs.deliveries.delivered(claimed_deliveries(site.jobs.deliveries)[0], 0x0000, later(4))

    page = site.scrape()

    assert "preread_step_seconds_bucket{le=2.5,stage=deliver}" not in page
    assert page["preread_step_seconds_bucket{le=5.0,stage=deliver}"] == 1
    assert page["preread_step_seconds_bucket{le=+Inf,stage=deliver}"] == 1
    assert page["preread_step_seconds_sum{stage=deliver}"] == 4


def test_second_readings_are_counted_apart_from_the_steps_of_the_line(site: Site):
    done(site.index, site.jobs)
    site.scrape()
    claim = site.jobs.second_readings.claim("second 1", later(10), 60, Comparable(NOW))
    assert claim is not None
    site.jobs.second_readings.keep(*claim, "{}", later(14))
    site.state = State(5_000, READER, "sha256:cd", second_waiting=3)

    page = site.scrape()

    assert page["preread_second_readings_total{outcome=done}"] == 1
    assert page["preread_second_reading_seconds_bucket{le=5.0}"] == 1
    assert page["preread_second_reading_seconds_sum"] == 4
    assert page["preread_open_second_readings"] == 3
    assert (
        page["preread_steps_total{outcome=done,stage=read}"] == page["preread_readings_total{engine=}"] == 1
    )
    assert not any("stage=second" in name for name in page)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (None, "connection"),
        (0xA700, "out_of_resources"),
        (0xA9FF, "does_not_match"),
        (0xC001, "cannot_understand"),
        (0xC0FF, "internal_error"),
        (0x0111, "duplicate_instance"),
        (0x0110, "other"),
    ],
)
def test_a_refusal_is_counted_under_the_class_of_its_status(status: int | None, word: str):
    assert reason_class(status) == word


def test_refusals_are_counted_without_who_or_what(site: Site):
    site.index.refuse(Refusal(NOW, "ROGUE", "10.9.9.9", "2.25.77", 0xA700, "disk low"))

    page = site.metrics.text().decode()

    assert 'preread_refused_total{reason="out_of_resources"} 1.0' in page
    assert not any(word in page for word in ("ROGUE", "10.9.9.9", "2.25.77", "disk low"))


def test_a_reader_that_is_silent_is_0_and_the_configuration_has_its_digest(site: Site):
    assert site.scrape()["preread_reader_alive"] == 1

    site.state = State(5_000, None, "sha256:cd")
    page = site.scrape()

    assert "preread_reader_alive" not in page
    assert page["preread_free_bytes"] == 5_000
    assert any(key.startswith("preread_build_info{config=sha256:cd,version=") for key in page)
