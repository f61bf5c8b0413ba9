"""What the store promises about orders, on both databases alike."""

from dataclasses import replace

import pytest

from storage.orders import Orders
from storage.requests import PriorRequests
from tests.storage.builders import LEASE_SECONDS, NOW, STUDY, an_order, later


def test_an_order_comes_back_by_its_accession_number_and_by_its_study(orders: Orders):
    kept = orders.put(an_order(), (), NOW)

    assert kept == an_order(number=kept.number)
    assert orders.order(kept.number) == kept
    assert orders.of_study("2.25.9", "4711") == (kept,)
    assert orders.of_study(STUDY, "") == (kept,)
    assert orders.of_study("2.25.9", "") == ()


def test_an_order_told_again_fills_and_corrects_and_empties_nothing(orders: Orders):
    first = orders.put(an_order(requested_procedure=""), (), NOW)

    again = orders.put(an_order(indication="", requested_procedure="XR", heard_at=later(60)), (), NOW)

    assert again == replace(first, requested_procedure="XR", heard_at=later(60))


def test_the_same_accession_number_of_another_patient_is_another_order(orders: Orders):
    first = orders.put(an_order(), (), NOW)

    other = orders.put(an_order(patient_id="B2", heard_at=later(1)), (), NOW)

    assert [order.number for order in orders.of_study(STUDY, "4711")] == [other.number, first.number]


@pytest.mark.parametrize("missing", [{"patient_id": ""}, {"accession_number": "", "study_instance_uid": ""}])
def test_an_order_that_could_not_be_found_again_is_refused(orders: Orders, missing: dict[str, str]):
    with pytest.raises(ValueError, match="needs a patient ID"):
        orders.put(an_order(**missing), (), NOW)


def test_the_priors_of_an_order_are_asked_for_once(orders: Orders, requests: PriorRequests):
    for seconds in (0, 60):
        kept = orders.put(an_order(heard_at=later(seconds)), ["arch"], later(3600))

    request = requests.claim("asker", later(60), LEASE_SECONDS)
    assert request is not None
    assert (request.order_number, request.job_number) == (kept.number, None)
    assert requests.claim("asker", later(60), LEASE_SECONDS) is None


def test_a_cancelled_order_is_forgotten_with_its_requests(orders: Orders, requests: PriorRequests):
    orders.put(an_order(), ["arch"], later(3600))

    assert orders.cancel(an_order(indication=""))
    assert not orders.cancel(an_order())

    assert orders.of_study(STUDY, "4711") == ()
    assert requests.claim("asker", NOW, LEASE_SECONDS) is None


def test_orders_that_nobody_told_of_for_long_are_forgotten(orders: Orders):
    orders.put(an_order(), ["arch"], NOW)
    kept = orders.put(an_order(accession_number="4712", heard_at=later(60)), (), NOW)

    assert orders.forget(later(60)) == 1
    assert orders.of_study(STUDY, "4711") == (kept,)
