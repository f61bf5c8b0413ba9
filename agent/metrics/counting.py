"""The numbers of /metrics, in Prometheus' text form: how things stand, and what has happened since the start.

All of them come from rows, also those of the reader, which is another process. No label holds anything of a patient:
labels are stages, roles, reasons, outcomes, and names from the configuration.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from threading import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from storage.census import Census, Happened, Standing
from storage.records import Beside, RunningProcess, Stage, StepOutcome, StepTime

BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Of the histogram; a reading takes a second on a card and minutes without one."""

_REASONS: tuple[tuple[int, int, str], ...] = (
    (0xA700, 0xFF00, "out_of_resources"),
    (0xA900, 0xFF00, "does_not_match"),
    (0xC0FF, 0xFFFF, "internal_error"),
    (0xC000, 0xF000, "cannot_understand"),
    (0x0111, 0xFFFF, "duplicate_instance"),
    (0x0117, 0xFFFF, "invalid_instance"),
    (0x0122, 0xFFFF, "sop_class_not_supported"),
    (0x0124, 0xFFFF, "not_authorised"),
)
"""(status, mask, word), first match wins: the classes of PS3.4 Table B.2-1 and the codes of PS3.7 Annex C."""


def reason_class(status: int | None) -> str:
    """Names why something was refused: by the DIMSE status answered, "connection" if it never came to one."""
    if status is None:
        return "connection"
    return next((word for value, mask, word in _REASONS if status & mask == value), "other")


@dataclass(slots=True)
class Counted:
    """What has happened since the start of this process, added up."""

    studies: int = 0
    instances: Counter[str] = field(default_factory=Counter)
    instance_bytes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    readings: Counter[str] = field(default_factory=Counter)
    second_readings: Counter[str] = field(default_factory=Counter)
    buckets: dict[Stage | Beside, Counter[float]] = field(default_factory=dict)
    seconds: dict[Stage | Beside, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, happened: Happened) -> None:
        """Adds what is new."""
        self.studies += happened.studies
        for role, (number, size) in happened.instances.items():
            self.instances[role] += number
            self.instance_bytes[role] += size
        for status, number in happened.refusals.items():
            self.refused[reason_class(status)] += number
        for time in happened.step_times:
            self._add_step(time)

    def _add_step(self, time: StepTime) -> None:
        if time.stage is Stage.DELIVER:
            self.deliveries[time.done_by, time.outcome] += 1
        elif time.stage is Beside.SECOND_READING:
            self.second_readings[time.outcome] += 1
        else:
            self.steps[time.stage, time.outcome] += 1
        if time.outcome is not StepOutcome.DONE:
            return
        if time.stage is Stage.READ:
            self.readings[time.done_by] += 1
        bound = next((bound for bound in BUCKETS_SECONDS if time.seconds <= bound), float("inf"))
        self.buckets.setdefault(time.stage, Counter())[bound] += 1
        self.seconds[time.stage] += time.seconds


@dataclass(frozen=True, slots=True)
class State:
    """What is not in the census and may change while the process runs.

    Attributes:
        reader: seen lately, or None.
        second_waiting: second readings that wait or are being read; None without a second engine.
    """

    free_bytes: int
    reader: RunningProcess | None
    config_digest: str
    second_waiting: int | None = None


class Metrics:
    """Gives /metrics. Counting begins when it is made; safe for several threads.

    Args:
        state: asked at each scrape.
    """

    def __init__(self, census: Census, clock: Callable[[], datetime], state: Callable[[], State]) -> None:
        self._census = census
        self._clock = clock
        self._state = state
        self._lock = Lock()
        self._marks = census.marks()
        self._counted = Counted()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The whole page, Prometheus text format 0.0.4. Raises what the database raises if it cannot be asked."""
        return generate_latest(self._registry)

    def describe(self) -> tuple[Metric, ...]:
        """Names nothing in advance: prometheus_client would count otherwise, to find names that are there twice."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Gives the families with their samples; called by prometheus_client."""
        with self._lock:
            happened = self._census.since(self._marks)
            self._counted.add(happened)
            self._marks = happened.marks
            yield from _counters(self._counted)
        yield from _gauges(self._census.standing(), self._state(), self._clock())


def _counters(counted: Counted) -> Iterator[Metric]:
    studies = "Studies of which the first instance came."
    yield CounterMetricFamily("preread_studies_received", studies, value=counted.studies)
    yield _counter("preread_instances_received", "DICOM objects stored.", ["role"], counted.instances)
    yield _counter("preread_received_bytes", "Bytes of these objects.", ["role"], counted.instance_bytes)
    yield _counter(
        "preread_refused", "Objects and connections that were not taken.", ["reason"], counted.refused
    )
    steps = "Tries of a step, by how they ended; a step that waits is no try."
    yield _counter("preread_steps", steps, ["stage", "outcome"], counted.steps)
    deliveries = "Tries to deliver an object, by how they ended."
    yield _counter("preread_deliveries", deliveries, ["destination", "outcome"], counted.deliveries)
    yield _counter("preread_readings", "Cases that were read.", ["engine"], counted.readings)
    second = "Tries of a second reading, by how they ended; one that waits is no try."
    yield _counter("preread_second_readings", second, ["outcome"], counted.second_readings)
    took = "From the claim of a step to its commit, if it was done."
    stages = [stage for stage in counted.buckets if isinstance(stage, Stage)]
    yield _histogram("preread_step_seconds", took, ["stage"], stages, counted)
    took = "From the claim of a second reading to its commit, if it was done."
    seconds = [one for one in counted.buckets if one is Beside.SECOND_READING]
    yield _histogram("preread_second_reading_seconds", took, [], seconds, counted)


def _histogram(
    name: str,
    text: str,
    labels: list[str],
    timed: Iterable[Stage | Beside],
    counted: Counted,
) -> Metric:
    """A histogram of some of what was timed; of a single work it has no label."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for work in timed:
        so_far, rising = 0, []
        for bound in (*BUCKETS_SECONDS, float("inf")):
            so_far += counted.buckets[work][bound]
            rising.append(("+Inf" if bound == float("inf") else str(bound), so_far))
        family.add_metric([work] if labels else [], rising, counted.seconds[work])
    return family


def _counter(name: str, text: str, labels: list[str], counts: Counter) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in sorted(counts.items()):
        family.add_metric([key] if isinstance(key, str) else list(key), count)
    return family


def _gauges(standing: Standing, state: State, now: datetime) -> Iterator[Metric]:
    jobs = {stage.value: float(number) for stage, number in standing.jobs.items()}
    yield _gauge("preread_jobs", "Jobs by stage.", "stage", jobs)
    ages = {stage.value: (now - at).total_seconds() for stage, at in standing.oldest_opened_at.items()}
    yield _gauge("preread_oldest_job_seconds", "Age of the oldest job of a stage.", "stage", ages)
    waiting = {name: float(number) for name, (number, _) in standing.deliveries.items()}
    yield _gauge("preread_open_deliveries", "Objects that are not delivered yet.", "destination", waiting)
    since = {
        name: 0.0 if at is None else (now - at).total_seconds()
        for name, (_, at) in standing.deliveries.items()
    }
    text = "How long the destination has not taken what waits for it longest; 0 = it was not refused yet."
    yield _gauge("preread_delivery_waits_seconds", text, "destination", since)
    unread = "Studies with images that no job has seen."
    yield GaugeMetricFamily("preread_unread_studies", unread, value=standing.unread_studies)
    quarantine = "HL7 messages that nobody has seen to."
    yield GaugeMetricFamily("preread_quarantined_messages", quarantine, value=standing.quarantined)
    yield GaugeMetricFamily("preread_free_bytes", "Free bytes of the files' disk.", value=state.free_bytes)
    second = "Second readings that wait or are being read."
    yield GaugeMetricFamily("preread_open_second_readings", second, value=state.second_waiting)
    alive = "1 if a reader was seen within metrics.reader_silent_seconds."
    yield GaugeMetricFamily("preread_reader_alive", alive, value=state.reader is not None)
    build = GaugeMetricFamily("preread_build_info", "What runs here; always 1.", labels=["version", "config"])
    build.add_metric([version("preread"), state.config_digest], 1)
    yield build


def _gauge(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
