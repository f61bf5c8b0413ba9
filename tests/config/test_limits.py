"""Every limit of the settings: one over it is refused with both ends named, and what it limits is tried elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from annotated_types import Ge, Le

from config.loading import FILES, ConfigError, load
from config.wording import expectation, fields_by_key, is_list, leaf_keys

REPOSITORY = Path(__file__).resolve().parents[2]

# What stands in the way of strangers: the test that goes one over the limit at a running port, or past it in time.
TRIED_BY = {
    "listener.associations_max": "listener/test_at_the_port.py::test_the_association_above_the_limit_is_rejected",
    "listener.instance_bytes_max": "listener/test_refusing.py::test_an_object_above_the_limit_is_refused",
    "listener.pdu_bytes_max": "listener/test_breaches.py::test_a_pdu_longer_than_agreed_upon_is_not_read",
    "listener.idle_seconds": "listener/test_breaches.py::test_an_idle_association_is_aborted_in_the_end",
    "listener.stall_seconds": "listener/test_breaches.py::test_a_sender_that_stops_in_mid_pdu_is_put_out",
    "listener.negotiation_seconds": "listener/test_breaches.py::test_half_an_association_request_is_put_out",
    "listener.free_bytes_min": "listener/test_refusing.py::test_a_full_disk_is_answered_before_anything_is_written",
    "hl7.connections_max": "hl7/test_port.py::test_one_connection_too_many_is_closed_and_the_others_go_on",
    "hl7.message_bytes_max": "hl7/test_port.py::test_a_message_above_the_limit_ends_the_connection",
    "hl7.message_seconds": "hl7/test_port.py::test_a_message_that_never_ends_ends_the_connection",
    "hl7.idle_seconds": "hl7/test_port.py::test_a_silent_connection_is_closed_without_a_word",
    "archive.answers_max": "agent/test_peers_querying.py::test_more_answers_than_the_limit_are_cancelled_and_said",
    "archive.request_seconds": "agent/test_peers_querying.py::test_answers_without_end_are_left_when_the_time_is_over",
    "archive.answer_seconds": "agent/test_peers_querying.py::test_an_archive_that_falls_silent_is_left_after_answer",
    "destination.answer_seconds": "agent/test_peers.py::test_an_archive_that_never_answers_a_store_is_left_after",
    "destination.failures_max": "agent/test_delivering.py::test_a_destination_that_is_down_rests_and_one_draft_tries",
    "destination.commitment_seconds": "agent/test_commitment.py::test_what_is_not_committed_to_in_time_is_sent_again",
    "destination.connect_seconds": "agent/test_peers.py::test_a_port_that_takes_connections_and_says_nothing_is_left",
}
NETWORK = ("listener.", "hl7.", "archive.", "destination.")
# The same mechanism as what is tried, or how much of ours goes out at once, which no stranger can raise.
SAME_AS = {
    "archive.connect_seconds": "destination.connect_seconds",
    "archive.associations_max": "listener.associations_max",
    "destination.associations_max": "listener.associations_max",
}


def limits() -> Iterator[tuple[str, str, float, float]]:
    """(file, key, least, most) of every number in the settings."""
    for file, model in FILES.items():
        for key, field in leaf_keys(model):
            ends = {type(one): one for one in field.metadata}
            if Ge in ends and Le in ends:
                yield file, key, ends[Ge].ge, ends[Le].le


def written(file: str, key: str, value: float) -> str:
    """A file that says nothing but one setting, in a table of that kind."""
    table, _, name = key.rpartition(".")
    outer = table.partition(".")[0]
    is_repeated = is_list(fields_by_key(FILES[file])[outer])
    inner = f"[{table}]\n" if table != outer else ""
    return f"{f'[[{outer}]]' if is_repeated else f'[{outer}]'}\n{inner}{name} = {value}\n"


@pytest.mark.parametrize(("file", "key", "least", "most"), list(limits()), ids=str)
def test_one_over_a_limit_is_refused_and_both_ends_are_named(
    tmp_path: Path, file: str, key: str, least: float, most: float
) -> None:
    expected = next(expectation(field) for name, field in leaf_keys(FILES[file]) if name == key)
    for value in (least - 1, most + 1):
        (tmp_path / file).write_text(written(file, key, value))

        with pytest.raises(ConfigError) as refused:
            load(tmp_path)

        name = key.rpartition(".")[2]
        (told,) = [str(one) for one in refused.value.problems if f"{name} = {value}" in str(one)]
        assert told.endswith(f"expected {expected}")
        assert f"{least:g}" in told.replace(",", "") or str(least) in told


def test_every_limit_on_the_network_is_tried_by_a_test() -> None:
    on_the_network = {
        key
        for _, key, _, _ in limits()
        if key.startswith(NETWORK) and key.endswith(("_max", "_min", "_seconds"))
    }

    assert on_the_network == {*TRIED_BY, *SAME_AS}


@pytest.mark.parametrize("place", TRIED_BY.values())
def test_the_test_that_tries_a_limit_exists(place: str) -> None:
    file, _, name = place.partition("::")

    assert f"def {name}" in (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
