"""Who the patient is: numbers in one form, and never a study of somebody else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dicom.headers import headers_of
from agent.identity import (
    IDENTIFIERS_MAX,
    IdentifierRules,
    difference,
    evidence,
    identified,
    identifier_of,
    rules_of_peers,
)
from agent.priors import PriorCandidate, PriorRules, choose_priors
from config.settings import IssuerSettings, PeersSettings, SenderSettings
from storage.records import Demographics, KnownPatients, PatientIdentifier, Study
from tests.agent.test_priors import a_study
from tests.builders import a_radiograph

RULES = rules_of_peers(
    PeersSettings(
        senders=(SenderSettings(ae_title="XRAY", default_issuer="north", remove_id_prefix="N-"),),
        issuers=(
            IssuerSettings(name="NORTH", also_called=("1.2.3",), ignore_leading_zeros=True),
            IssuerSettings(name="SOUTH", ignore_case=True),
        ),
    )
)


@pytest.mark.parametrize(
    ("patient_id", "issuer", "found"),
    [
        (" 4711 ", "NORTH ", ("4711", "NORTH")),
        ("004711", "north", ("4711", "NORTH")),
        ("004711", "1.2.3", ("4711", "NORTH")),
        ("000", "NORTH", ("0", "NORTH")),
        ("004711", "SOUTH", ("004711", "SOUTH")),
        ("a12", "SOUTH", ("A12", "SOUTH")),
        ("a12", "ELSEWHERE", ("a12", "ELSEWHERE")),
        ("0012", "", ("0012", "")),
    ],
)
def test_a_number_is_read_as_its_issuer_means_it(patient_id: str, issuer: str, found: tuple[str, str]):
    assert identifier_of(patient_id, issuer, RULES) == PatientIdentifier(*found)


@pytest.mark.parametrize("patient_id", ["", "  ", "unknown", "UNKNOWN ", "0"])
def test_what_is_typed_where_nobody_knows_the_patient_identifies_nobody(patient_id: str):
    assert identifier_of(patient_id, "NORTH", RULES) is None


@pytest.mark.parametrize(("patient_id", "issuer"), [("1" * 257, "SOUTH"), ("4711", "S" * 257)])
def test_what_is_longer_than_any_number_or_issuer_identifies_nobody(patient_id: str, issuer: str):
    assert identifier_of(patient_id, issuer, RULES) is None


def test_a_sender_s_issuer_and_prefix_count_for_that_sender_alone():
    study = headers_of(a_radiograph(patient_id="N-0815")).study()

    assert identified(study, "XRAY", RULES).identifiers == (PatientIdentifier("815", "NORTH"),)
    assert identified(study, "OTHER", RULES).identifiers == (PatientIdentifier("N-0815"),)


def a_radiograph_with_other_ids(*others: tuple[str, str]) -> Study:
    image = a_radiograph(patient_id="A1", issuer="NORTH")
    image.OtherPatientIDsSequence = [
        a_radiograph(patient_id=number, issuer=issuer) for number, issuer in others
    ]
    return headers_of(image).study()


def test_other_patient_ids_are_further_identifiers_if_they_name_their_issuer():
    study = a_radiograph_with_other_ids(("s9", "SOUTH"), ("77", ""), ("A1", "NORTH"))

    found = identified(study, "XRAY", RULES).identifiers

    assert found == (PatientIdentifier("A1", "NORTH"), PatientIdentifier("S9", "SOUTH"))


def test_a_study_keeps_no_more_identifiers_than_the_limit():
    study = a_radiograph_with_other_ids(*((f"{number}", "SOUTH") for number in range(40)))

    assert len(identified(study, "XRAY", RULES).identifiers) == IDENTIFIERS_MAX


def test_two_numbers_of_one_issuer_are_two_patients_though_a_third_number_is_shared():
    shared = PatientIdentifier("S9", "SOUTH")
    one = replace(a_study(), identifiers=(PatientIdentifier("A1", "NORTH"), shared))
    other = replace(a_study(), identifiers=(PatientIdentifier("B2", "NORTH"), shared))

    assert difference(one, other, KnownPatients()) == "issuer NORTH gave it another patient ID"


def test_a_link_makes_two_numbers_one_patient_and_is_named_as_the_reason():
    old, new = PatientIdentifier("A1", "NORTH"), PatientIdentifier("B2", "NORTH")
    prior = a_study(patient_id="A1", issuer_of_patient_id="NORTH")
    current = a_study(patient_id="B2", issuer_of_patient_id="NORTH")

    linked = KnownPatients(surviving={old: new})

    assert difference(current, prior, KnownPatients()) == "issuer NORTH gave it another patient ID"
    assert difference(current, prior, linked) is None
    assert "since the patient's numbers were linked" in evidence(current, prior, linked)


@pytest.mark.parametrize(
    "said", [{"sex": "O"}, {"sex": "U"}, {"birth_date": "00000000"}, {"birth_date": "1950"}]
)
def test_what_is_not_known_of_a_patient_speaks_neither_for_nor_against(said: dict[str, str]):
    with_issuer = {"issuer_of_patient_id": "NORTH"}

    assert difference(a_study(**with_issuer), a_study(**with_issuer | said), KnownPatients()) is None
    both_unknown = difference(a_study(**said), a_study(**said), KnownPatients())
    assert (both_unknown is None) == ("sex" in said)  # then the name speaks for them


def test_a_link_joins_no_two_birth_dates():
    old, new = PatientIdentifier("A1", "NORTH"), PatientIdentifier("B2", "NORTH")
    prior = a_study(patient_id="A1", issuer_of_patient_id="NORTH", birth_date="19840615")
    current = a_study(patient_id="B2", issuer_of_patient_id="NORTH")

    reason = difference(current, prior, KnownPatients(surviving={old: new}))

    assert reason == "birth date differs: 19840615, current study 19500101"


OLD = {"birth_date": "19500110", "sex": "M", "patient_name": "Miller^Anna"}


@pytest.mark.parametrize("field", list(OLD))
def test_what_a_registry_has_corrected_speaks_against_nobody(field: str):
    current = a_study(issuer_of_patient_id="NORTH")
    prior = replace(current, **{field: OLD[field]})
    said = [Demographics("Miller^Anna", "19500110", "M"), Demographics("Doe^Jane", "19500101", "F")]

    def with_statements(count: int) -> KnownPatients:
        return KnownPatients(demographics={PatientIdentifier("A1", "NORTH"): tuple(said[:count])})

    assert difference(current, prior, with_statements(2)) is None
    assert difference(current, prior, with_statements(1)) is not None


def test_no_reason_names_a_patient():
    current = a_study(patient_id="IDOFONE", patient_name="Nameofone^X")
    others = [
        a_study(patient_id="IDOFTWO", patient_name="Otherperson^Y"),
        a_study(patient_id="IDOFONE", patient_name="Otherperson^Y"),
        a_study(patient_id="IDOFONE", sex="M"),
    ]

    told = " ".join(str(difference(current, other, KnownPatients())) for other in others)

    assert not any(word in told for word in ("IDOF", "Nameof", "Otherperson"))


# Never a study of another patient. The truth is kept here as who was on the table; the rule sees headers alone.

PEOPLE = (
    {"patient_name": "Doe^Jane", "birth_date": "19500101", "sex": "F"},
    {"patient_name": "Doe^John", "birth_date": "19500101", "sex": "M"},
    {"patient_name": "Miller^Anna", "birth_date": "19840506", "sex": "F"},
    {"patient_name": "Miller^Anna", "birth_date": "19840605", "sex": "F"},
    {"patient_name": "Okafor^Ruth", "birth_date": "19500101", "sex": "F"},
    {"patient_name": "Miller^Anna", "birth_date": "19840506", "sex": "F"},
)
"""Twins; two of one name with swapped birth dates; one born on the twins' day; one whom only her number tells apart."""

NUMBERS = {
    "NORTH": ("1", "2", "3", "4", "21", "9"),
    "SOUTH": ("2", "1", "4", "3", "2", "9"),
    "ERRING": ("1", "1", "1", "1", "1", "9"),
}
"""What a hospital calls each: most numbers mean several people, and one hospital gives one number to nearly all."""

NUMBERED_TWICE = {"NORTH": ("5", "6", "7", "8", "5a", "11"), "SOUTH": ("6", "5", "8", "7", "6a", "11")}
"""What a hospital called each when it did not know that they had been there before."""

TRUE_LINKS = [
    (
        PatientIdentifier(NUMBERED_TWICE[hospital][person], hospital),
        PatientIdentifier(NUMBERS[hospital][person], hospital),
    )
    for hospital in NUMBERED_TWICE
    for person in range(len(PEOPLE))
]

films = st.fixed_dictionaries(
    {
        "person": st.integers(0, 5),
        "hospital": st.sampled_from(sorted(NUMBERS)),
        "is_numbered_twice": st.booleans(),
        "says_issuer": st.booleans(),
        "names_other_hospital": st.booleans(),
        "missing": st.sets(st.sampled_from(["birth_date", "sex"]), max_size=1),
        "days_ago": st.integers(1, 1800),
    }
)
links = st.sets(st.sampled_from(TRUE_LINKS)).map(dict)


def a_film(film: dict[str, Any]) -> Study:
    """The header that is sent of a film, from who was on the table and what the hospital knew and left out."""
    person, hospital = film["person"], film["hospital"]
    is_careful = hospital != "ERRING"
    numbers = NUMBERED_TWICE if film["is_numbered_twice"] and is_careful else NUMBERS
    elsewhere = "SOUTH" if hospital == "NORTH" else "NORTH"
    told = film["names_other_hospital"] and is_careful
    others = (PatientIdentifier(NUMBERS[elsewhere][person], elsewhere),) if told else ()
    own = PatientIdentifier(numbers[hospital][person], hospital if film["says_issuer"] else "")
    study = a_study(
        **{**PEOPLE[person], **dict.fromkeys(film["missing"] if is_careful else (), "")},
        patient_id=own.patient_id,
        issuer_of_patient_id=own.issuer,
        days_ago=film["days_ago"],
    )
    return identified(replace(study, identifiers=(own, *others)), "XRAY", IdentifierRules())


@pytest.mark.slow
@settings(max_examples=800)
@given(films, st.lists(films, min_size=3, max_size=8), links)
def test_never_a_study_of_another_patient(current: Any, others: list[Any], linked: Any):
    candidates = [replace(a_film(other), study_instance_uid=f"2.25.{n}") for n, other in enumerate(others)]
    on_the_table = {f"2.25.{n}": other["person"] for n, other in enumerate(others)}
    study = replace(a_film(current), study_date="20260302", study_instance_uid="1.2.3")

    choice = choose_priors(
        study, list(map(PriorCandidate, candidates)), PriorRules(count_max=9), KnownPatients(linked)
    )

    assert {on_the_table[prior.study_instance_uid] for prior in choice.chosen} <= {current["person"]}


@given(st.integers(0, 5), st.sampled_from(sorted(NUMBERED_TWICE)), st.booleans(), st.booleans())
def test_a_patient_with_two_numbers_has_all_priors_once_they_are_linked(
    person: int, hospital: str, current_is_new: bool, prior_is_new: bool
):
    film = {"person": person, "hospital": hospital, "says_issuer": True, "names_other_hospital": False}
    film |= {"missing": (), "days_ago": 30}
    current = a_film({**film, "is_numbered_twice": not current_is_new})
    prior = a_film({**film, "is_numbered_twice": not prior_is_new})

    assert difference(current, prior, KnownPatients(dict(TRUE_LINKS))) is None
