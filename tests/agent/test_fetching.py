"""Which earlier exams are asked for, and how long they are waited for."""

from dataclasses import replace

import pytest

from agent.dicom.answers import FoundStudy
from agent.fetching import (
    Here,
    awaited,
    choose_to_fetch,
    exam_ordered,
    order_of,
    study_query,
    what_is_missing,
)
from agent.identity import identified, numbers_elsewhere, rules_of_peers
from agent.priors import PriorRules
from agent.selection import RADIOGRAPHY, SelectionRules
from config.settings import IssuerSettings, PeersSettings, SenderSettings
from storage.outside_records import ExplainedStudy, PriorRequest, RequestedStudy
from storage.records import KnownPatients, PatientIdentifier, Study
from tests.storage.builders import NOW, PRIOR, STUDY, a_prior, a_study, an_order, later

RULES = rules_of_peers(
    PeersSettings(
        senders=(SenderSettings(ae_title="XRAY", remove_id_prefix="N-"),),
        issuers=(IssuerSettings(name="NORTH", also_called=("1.2.3",), ignore_leading_zeros=True),),
    )
)
CHESTS = SelectionRules(
    settle_seconds=60,
    complete_when_views=frozenset(),
    study_age_days_max=14,
    body_parts=frozenset({"CHEST"}),
    description_words=frozenset({"chest"}),
    read_if_unnamed=True,
    images_max=3,
)


def found(uid: str = PRIOR, modalities: tuple[str, ...] = ("DX",), **fields: str) -> FoundStudy:
    return FoundStudy(a_study(uid, study_date="20250301", modalities=modalities, **fields))


def an_older_chest(uid: str = "2.25.51", **fields: str) -> FoundStudy:
    return FoundStudy(a_study(uid, study_date="20240301", modalities=("DX",), **fields))


def here(uid: str = PRIOR, **fields: str) -> Study:
    return a_study(uid, study_date="20250301", modalities=("DX",), **fields)


def chosen(
    *studies: FoundStudy,
    ours: tuple[Study, ...] = (),
    shown: tuple[str, ...] | None = None,
    incomplete: str = "",
    count: int = 3,
    shown_max: int = 10,
) -> list[str]:
    """What is fetched; of ours all are shown, unless it is said which."""
    here = Here(ours, [one.study_instance_uid for one in ours] if shown is None else shown, {incomplete})
    rules = PriorRules(count_max=count)
    to_fetch = choose_to_fetch(
        a_study(), studies, here, rules, min(count, shown_max), CHESTS, KnownPatients()
    )
    return [one.study.study_instance_uid for one in to_fetch.chosen]


def passed_over(*studies: FoundStudy, ours: tuple[Study, ...] = ()) -> dict[str, str]:
    here = Here(ours, [one.study_instance_uid for one in ours])
    to_fetch = choose_to_fetch(a_study(), studies, here, PriorRules(count_max=1), 1, CHESTS, KnownPatients())
    return {one.study_instance_uid: one.reason for one in to_fetch.passed_over}


def a_request(**fields: object) -> PriorRequest:
    whole = PriorRequest(
        number=1,
        archive="arch",
        job_number=1,
        order_number=None,
        asked_at=NOW,
        expires_at=later(60),
        found_at=later(1),
        study_instance_uids=(PRIOR,),
        note=None,
        attempts=0,
        due_at=NOW,
        waiting_since=None,
        lease_owner=None,
        lease_until=None,
        problem=None,
        done_at=None,
        failed_at=None,
    )
    return replace(whole, **fields)  # type: ignore[arg-type]


def test_an_archive_is_asked_for_the_patient_within_the_window():
    query = study_query(a_study(patient_id=" A1 ", study_date="2026.03.01"), 365, RULES)

    assert query is not None
    assert (query.patient_id, query.first_date, query.last_date) == ("A1", "20250301", "20260301")


@pytest.mark.parametrize("missing", [{"patient_id": " "}, {"study_date": ""}, {"study_date": "20261301"}])
def test_nobody_is_asked_where_no_prior_could_be_chosen(missing):
    assert study_query(a_study(**missing), 365, RULES) is None


def test_a_radiograph_of_the_patient_is_fetched_and_one_that_is_here_is_not():
    assert chosen(found()) == [PRIOR]
    assert chosen(found(), ours=(here(),)) == []


def test_a_prior_that_did_not_come_whole_is_fetched_again():
    assert chosen(found(), ours=(here(),), incomplete=PRIOR) == [PRIOR]


def test_an_exam_of_another_modality_is_left_alone_and_one_of_unknown_modality_is_fetched():
    assert chosen(found(modalities=("CT", "SR"))) == []
    assert chosen(found(modalities=("SR", "CR"))) == [PRIOR]
    assert chosen(found(modalities=())) == [PRIOR]


@pytest.mark.parametrize("modality", sorted(RADIOGRAPHY))
def test_every_modality_that_is_read_is_fetched_and_explained(modality: str):
    assert chosen(found(modalities=(modality,))) == [PRIOR]
    assert PRIOR in passed_over(found(modalities=(modality,), patient_id="B2"))


def test_nothing_is_moved_that_would_be_passed_over():
    strangers = [found("2.25.51", birth_date="19840615"), found("2.25.52", patient_id="A10")]

    assert chosen(*strangers) == []


def test_only_as_many_are_fetched_as_are_shown_and_what_is_here_counts():
    older = an_older_chest()

    assert chosen(found(), older, count=1) == [PRIOR]
    assert chosen(older, ours=(here(),), count=1) == []
    assert chosen(older, ours=(here(),), count=2) == ["2.25.51"]


def test_what_is_here_and_is_not_shown_takes_no_place():
    hands = (here("2.25.61"), here("2.25.62"), here("2.25.63"))

    assert chosen(an_older_chest(), ours=hands, shown=()) == ["2.25.51"]


def test_newer_films_of_the_hand_do_not_keep_a_chest_in_the_archive_and_say_why():
    hand = found(study_description="XR HAND LEFT")

    assert chosen(hand, an_older_chest(), count=1) == ["2.25.51"]
    assert passed_over(hand, an_older_chest()) == {
        PRIOR: "it has no image to show: its description names hand, none of chest "
        "(reading.toml study.description_words)"
    }


def test_a_chest_goes_before_newer_films_that_do_not_say_what_they_show():
    portable = found(study_description="PORTABLE")

    assert chosen(portable, an_older_chest(), count=1) == ["2.25.51"]
    assert passed_over(portable, an_older_chest()) == {
        PRIOR: "older ones named as chests go first, and nothing names it as one (priors.count_max = 1)"
    }


@pytest.mark.parametrize("description", ["", "XR", "Portable", "RX TORAX", "Rö", "ACUTE ABDOMEN"])
def test_a_film_that_may_be_a_chest_is_fetched_even_beside_older_chests_that_are_here(description: str):
    ours = (here("2.25.61", study_description="XR CHEST"),)

    newest = FoundStudy(a_study(PRIOR, study_date="20260101", study_description=description))

    assert chosen(newest, ours=ours, count=1) == [PRIOR]


def test_an_exam_that_would_not_be_shown_beside_what_is_here_is_not_fetched_in_reserve():
    older = an_older_chest()
    newer = FoundStudy(a_study("2.25.52", study_date="20250601", modalities=("CR",)))

    assert chosen(older, newer, shown_max=1) == ["2.25.51", "2.25.52"]
    assert chosen(older, newer, ours=(here(),), shown_max=1) == ["2.25.52"]


def test_each_radiograph_that_is_left_in_the_archive_has_its_reason_and_what_is_here_is_explained_there():
    older = an_older_chest()
    stranger = found("2.25.52", birth_date="19840615")
    later_one = FoundStudy(a_study("2.25.53", study_date="20270301", modalities=("DX",)))
    scan = found("2.25.54", modalities=("CT",))

    reasons = passed_over(found(), older, stranger, later_one, scan)

    assert sorted(reasons) == ["2.25.51", "2.25.52", "2.25.53"]
    assert reasons["2.25.51"] == "older than the 1 that go first (priors.count_max = 1)"
    assert "birth date" in reasons["2.25.52"]
    assert "later than the current study" in reasons["2.25.53"]
    assert passed_over(found(), ours=(here(study_time="1"), here("2.25.55"))) == {}


def test_an_exam_left_in_two_archives_is_told_once_with_the_archive_that_was_asked_first():
    left = ExplainedStudy("2.25.51", "it is too old")
    first = a_request(passed_over=(left,))
    second = a_request(number=2, archive="other", passed_over=(left, ExplainedStudy("2.25.52", "it is late")))

    told = {one.study_instance_uid: one.reason for one in awaited([first, second], [], NOW).passed_over}

    assert told == {"2.25.51": "it is too old (in arch)", "2.25.52": "it is late (in other)"}


@pytest.mark.parametrize(
    ("came", "failed", "is_whole", "missing"),
    [
        (2, 0, True, None),
        (2, None, True, None),
        (0, 0, True, "nothing came"),
        (1, 1, False, "1 of 2 objects came"),
        (3, None, False, "3 objects came before it broke off"),
    ],
)
def test_what_is_missing_is_said_in_a_few_words(came, failed, is_whole, missing):
    assert what_is_missing(came, failed, is_whole=is_whole) == missing


def test_a_job_waits_for_an_answer_and_goes_on_when_the_wait_is_over():
    silent = a_request(found_at=None, study_instance_uids=())

    waits, over = awaited([silent], [], later(59)), awaited([silent], [], later(60))

    assert waits.reason == "waits for earlier exams from arch"
    assert waits.after_seconds == 1
    assert over.reason is None
    assert over.notes == ("arch was asked for earlier exams and did not answer in 60 s",)


def test_a_job_waits_for_a_prior_and_says_that_it_did_not_come():
    waits, over = (awaited([a_request()], [a_prior()], later(seconds)) for seconds in (20, 60))

    assert (waits.reason, waits.after_seconds) == ("waits for prior of 2025-03-01 from arch", 5)
    assert over.notes == ("prior of 2025-03-01 was asked from arch and did not come in 60 s",)


@pytest.mark.parametrize(
    ("study", "notes"),
    [
        (a_prior(ended_at=later(5)), ()),
        (
            a_prior(ended_at=later(5), problem="1 of 2 objects came"),
            ("prior of 2025-03-01 was asked from arch: 1 of 2 objects came",),
        ),
    ],
)
def test_a_job_goes_on_as_soon_as_everything_has_ended(study: RequestedStudy, notes: tuple[str, ...]):
    found = awaited([a_request(done_at=later(5))], [study], later(6))

    assert (found.reason, found.notes) == (None, notes)


def test_an_archive_that_refused_and_one_that_answered_too_much_are_told_to_the_reader():
    refused = a_request(archive="b", found_at=None, study_instance_uids=(), failed_at=later(2))
    too_much = a_request(note="arch has more than 9 answers; the first 9 were looked at", done_at=later(3))

    found = awaited([refused, too_much], [], later(4))

    assert found.reason is None
    assert found.notes == ("b could not be asked for earlier exams", too_much.note)


def test_an_order_is_that_of_the_study_only_if_the_patient_agrees():
    right = an_order(issuer_of_patient_id="CLINIC")
    others = (an_order(patient_id="B2"), an_order(birth_date="19840615"))

    assert order_of(a_study(), [*others, right], RULES) == right
    assert order_of(a_study(issuer_of_patient_id="OTHER"), [*others, right], RULES) is None


def test_an_order_may_write_the_number_as_nobody_else_does():
    study = identified(a_study(patient_id="N-0815", issuer_of_patient_id="north"), "XRAY", RULES)

    for number, issuer in (("815", "NORTH"), ("000815", "1.2.3"), ("N-0815", "")):
        order = an_order(patient_id=number, issuer_of_patient_id=issuer)
        assert order_of(study, [order], RULES) == order
    assert order_of(study, [an_order(patient_id="816", issuer_of_patient_id="NORTH")], RULES) is None


def test_an_archive_is_asked_for_the_number_without_what_its_sender_puts_before_it():
    sent = a_study(patient_id="N-0815", issuer_of_patient_id="north", study_date="20260301")

    asked = [study_query(identified(sent, sender, RULES), 365, RULES) for sender in ("XRAY", "OTHER")]

    assert [query.patient_id for query in asked if query is not None] == ["0815", "N-0815"]


def north(number: str) -> PatientIdentifier:
    return PatientIdentifier(number, "NORTH")


MERGED_TWICE = KnownPatients({north("1"): north("3"), north("2"): north("3")})


@pytest.mark.parametrize(("own", "numbers"), [("1", ("1", "3", "2")), ("3", ("3", "1", "2")), ("4", ("4",))])
def test_an_archive_may_know_a_patient_under_each_number_the_valid_one_first(
    own: str, numbers: tuple[str, ...]
):
    study = a_study(patient_id=own, issuer_of_patient_id="NORTH")

    assert numbers_elsewhere(study, RULES, MERGED_TWICE, "") == numbers


def test_a_number_is_not_asked_for_a_second_time_in_its_one_form():
    sent = a_study(patient_id="N-0815", issuer_of_patient_id="north", study_date="20260301")
    known = KnownPatients({north("815"): north("3")})

    assert numbers_elsewhere(identified(sent, "XRAY", RULES), RULES, known, "") == ("0815", "3")


def test_an_archive_is_asked_for_no_number_that_another_issuer_gave():
    study = a_study(
        patient_id="1",
        issuer_of_patient_id="NORTH",
        identifiers=(north("1"), PatientIdentifier("S7", "SOUTH"), PatientIdentifier("T8", "")),
    )

    assert numbers_elsewhere(study, RULES, MERGED_TWICE, "1.2.3") == ("1", "3", "2")
    assert numbers_elsewhere(study, RULES, MERGED_TWICE, "SOUTH") == ("1", "S7")


def test_an_archive_is_asked_for_four_numbers_at_most():
    known = KnownPatients({north(str(number)): north("99") for number in range(9)})
    study = a_study(patient_id="99", issuer_of_patient_id="NORTH")

    assert numbers_elsewhere(study, RULES, known, "") == ("99", "0", "1", "2")


def test_a_number_that_identifies_nobody_brings_no_other():
    study = a_study(patient_id="unknown", issuer_of_patient_id="NORTH", identifiers=(north("1"),))

    assert numbers_elsewhere(study, RULES, MERGED_TWICE, "NORTH") == ("unknown",)


def test_an_exam_that_is_ordered_without_a_day_is_taken_for_todays():
    assert exam_ordered(an_order()).study_date == "20260301"
    assert exam_ordered(an_order(scheduled_date="")).study_date == f"{NOW.astimezone():%Y%m%d}"
    assert exam_ordered(an_order()).study_instance_uid == STUDY
