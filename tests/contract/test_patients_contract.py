"""What the store promises about links between patient identifiers, on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.database import Database
from storage.index import Index
from storage.jobs import Jobs
from storage.patients import LinkRefused, Patients, survivors
from storage.records import Demographics, PatientChange, PatientIdentifier
from storage.tables import patient_links
from tests.storage.builders import NOW, STUDY, a_study, an_instance, later, texts

A, B, C, D = (PatientIdentifier(number, "NORTH") for number in "ABCD")


@pytest.fixture
def patients(database: Database) -> Iterator[Patients]:
    return Patients(database)


def put_study(index: Index, uid: str, identifier: PatientIdentifier) -> None:
    study = a_study(uid, patient_id=identifier.patient_id, issuer_of_patient_id=identifier.issuer)
    index.put(an_instance(f"{uid}.1", study=uid), study)


def found(index: Index, identifier: PatientIdentifier) -> set[str]:
    """The studies that come up for a patient who is called so today."""
    history = index.history((identifier,))
    return {study.study_instance_uid for study in history.studies}


def test_a_merge_brings_the_old_number_s_studies_to_the_patient(index: Index, patients: Patients):
    put_study(index, "2.25.1", A)
    put_study(index, "2.25.2", B)

    patients.link(A, B, "merge", "HL7 ADT^A40 from HIS", NOW)

    assert found(index, B) == found(index, A) == {"2.25.1", "2.25.2"}
    assert index.history((B,)).known.surviving == {A: B}


def test_a_merge_that_comes_before_its_studies_counts_for_them(index: Index, patients: Patients):
    patients.link(A, B, "merge", "HL7 ADT^A40 from HIS", NOW)

    put_study(index, "2.25.1", A)

    assert found(index, B) == {"2.25.1"}


def test_a_chain_of_merges_leads_to_its_end_in_whatever_order_it_was_told(index: Index, patients: Patients):
    put_study(index, "2.25.1", A)
    for old, new in ((C, D), (A, B), (B, C)):
        patients.link(old, new, "merge", "HIS", NOW)

    assert found(index, D) == {"2.25.1"}
    assert index.history((A,)).known.surviving == {A: D, B: D, C: D}


def test_a_link_that_is_taken_back_is_as_if_it_had_not_been_made(index: Index, patients: Patients):
    put_study(index, "2.25.1", A)
    link = patients.link(A, B, "merge", "HIS", NOW)
    assert link is not None

    patients.unlink(link.number, "operator root", later(60))

    assert found(index, B) == set()
    assert patients.link(A, C, "merge", "HIS", later(120)) is not None


def test_a_number_of_another_issuer_is_not_linked_along(index: Index, patients: Patients):
    put_study(index, "2.25.1", PatientIdentifier("C", "SOUTH"))
    patients.link(PatientIdentifier("B", "SOUTH"), PatientIdentifier("C", "SOUTH"), "merge", "HIS", NOW)

    assert found(index, A) == found(index, B) == set()


def test_the_same_merge_again_changes_nothing(patients: Patients):
    patients.link(A, B, "merge", "HIS", NOW)

    assert patients.link(A, B, "merge", "HIS again", later(60)) is None
    assert len(patients.links(9)) == 1


@pytest.mark.parametrize("chain", [((A, B),), ((A, B), (B, C)), ((A, B), (B, C), (C, D))])
def test_a_circle_is_refused_in_a_sentence_that_names_no_patient(patients: Patients, chain: tuple):
    for old, new in chain:
        patients.link(old, new, "merge", "HIS", NOW)

    with pytest.raises(LinkRefused, match="one patient already, the other way round"):
        patients.link(chain[-1][1], A, "merge", "HIS", NOW)


def test_a_number_has_one_successor_and_a_second_is_refused_with_the_first_one_s_link(patients: Patients):
    patients.link(A, B, "merge", "HIS", NOW)

    with pytest.raises(LinkRefused, match="link 1 replaces this identifier by another one already"):
        patients.link(A, C, "merge", "HIS", NOW)


def test_an_identifier_cannot_replace_itself(patients: Patients):
    with pytest.raises(LinkRefused, match="cannot replace itself"):
        patients.link(A, A, "merge", "HIS", NOW)


def test_a_message_is_taken_in_whole_or_not_at_all(patients: Patients):
    change = PatientChange("merge", links=((A, B), (C, C)))

    with pytest.raises(LinkRefused):
        patients.apply([change], "HIS", NOW)

    assert patients.links(9) == ()


def test_who_linked_and_unlinked_when_is_kept(patients: Patients):
    link = patients.link(A, B, "merge", "HL7 ADT^A40 from HIS", NOW)
    assert link is not None
    patients.unlink(link.number, "operator root", later(60))
    patients.link(C, A, "change of ID", "HIS", later(120))

    ended, after = patients.history(A)

    assert (ended.linked_by, ended.linked_at) == ("HL7 ADT^A40 from HIS", NOW)
    assert (ended.unlinked_by, ended.unlinked_at) == ("operator root", later(60))
    assert (after.old, after.surviving, after.unlinked_at) == (C, A, None)


def test_the_life_of_each_study_tells_of_its_links(index: Index, jobs: Jobs, patients: Patients):
    put_study(index, STUDY, A)
    link = patients.link(A, B, "merge", "HL7 ADT^A40 from HIS", NOW)
    assert link is not None
    patients.unlink(link.number, "operator root", later(60))

    assert texts(jobs)[-2:] == [
        "an identifier of the patient is replaced by another (merge, link 1, HL7 ADT^A40 from HIS)",
        "an identifier of the patient is no longer replaced: link 1 taken back by operator root",
    ]


@pytest.mark.parametrize("number", [1, 99])
def test_a_link_that_is_not_in_force_cannot_be_taken_back(patients: Patients, number: int):
    patients.link(A, B, "merge", "HIS", NOW)
    patients.unlink(1, "operator", NOW)

    with pytest.raises(LookupError, match=f"no link {number} is in force"):
        patients.unlink(number, "operator", NOW)


def test_what_a_registry_says_of_a_patient_is_kept_once_and_in_order(index: Index, patients: Patients):
    wrong, right = Demographics("Doe^Jane", "19500110", "F"), Demographics("Doe^Jane", "19500101", "F")
    for said in (wrong, right, right):
        change = PatientChange("update", identifiers=(A,), demographics=said)
        patients.apply([change], "HL7 ADT^A08", NOW)

    assert index.history((A,)).known.demographics == {A: (wrong, right)}


numbers = st.integers(0, 5).map(lambda number: PatientIdentifier(str(number), "NORTH"))
acts = st.lists(st.tuples(st.sampled_from(["link", "link", "unlink"]), numbers, numbers), max_size=25)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts)
def test_any_sequence_of_merges_and_unmerges_is_as_in_a_model_of_arrows(database: Database, acts: list):
    with database.writing() as connection:
        connection.execute(patient_links.delete())
    patients, index, arrows = (
        Patients(database),
        Index(database),
        dict[PatientIdentifier, PatientIdentifier](),
    )
    for act, old, new in acts:
        if act == "unlink":
            arrows.pop(old, None)
            for link in patients.links(99):
                if link.old == old:
                    patients.unlink(link.number, "operator", NOW)
        elif takes(patients, old, new) is not None:
            arrows[old] = new

    for identifier in {one for _, *pair in acts for one in pair}:
        known = index.history((identifier,)).known
        assert known.survivor(identifier) == end_of(identifier, arrows)


def takes(patients: Patients, old: PatientIdentifier, new: PatientIdentifier) -> object:
    try:
        return patients.link(old, new, "merge", "HIS", NOW)
    except LinkRefused:
        return None


def end_of(
    identifier: PatientIdentifier, arrows: dict[PatientIdentifier, PatientIdentifier]
) -> PatientIdentifier:
    """The end of the arrows, walked one by one; a circle would take more steps than there are arrows."""
    for _ in range(len(arrows)):
        identifier = arrows.get(identifier, identifier)
    assert identifier not in arrows, "the arrows go round"
    return identifier


def test_survivors_are_the_ends_of_their_chains():
    assert survivors({A: B, B: C, D: C}) == {A: C, B: C, D: C}
