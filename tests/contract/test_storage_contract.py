"""What the store promises about instances, studies and refusals, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from sqlalchemy.exc import OperationalError

from storage.database import Database, is_unavailable, trouble_of
from storage.index import Index, PutVerdict
from storage.jobs import Jobs
from storage.records import NUMBER_CHARACTERS_MAX, InstanceRole, PatientIdentifier, Refusal, Stage
from tests.storage.builders import (
    NOW,
    STUDY,
    a_result,
    a_study,
    an_instance,
    at_compose,
    claimed,
    later,
    put,
    texts,
)

# Put


def test_an_instance_comes_back_as_it_was_put_with_its_number(index: Index):
    sent = an_instance(view_group="lateral", size_bytes=5_000_000_000)

    stored = index.put(sent, a_study()).instance

    assert stored.number == 1
    assert index.known(sent.sop_instance_uid) == stored
    assert index.instances(STUDY) == (stored,)


def test_a_study_comes_back_as_its_first_instance_named_it(index: Index):
    index.put(an_instance(), a_study(patient_name="Müller^Ünal=ヤマダ", accession_number="4711"))

    assert index.study(STUDY) == a_study(
        patient_name="Müller^Ünal=ヤマダ", accession_number="4711", modalities=("DX",)
    )


def test_what_was_never_put_is_none(index: Index):
    assert index.known("2.25.9") is None
    assert index.study("2.25.9") is None
    assert index.instances("2.25.9") == ()


def test_times_are_utc_and_aware_whatever_zone_they_came_in(index: Index):
    at_tokyo = datetime(2026, 3, 1, 17, 0, 0, 123456, tzinfo=timezone(timedelta(hours=9)))

    put(index, received_at=at_tokyo)

    stored = index.instances(STUDY)[0].received_at
    assert stored == at_tokyo
    assert stored.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(index: Index):
    with pytest.raises(Exception, match="a time without a zone"):
        put(index, received_at=datetime(2026, 3, 1))


def test_the_same_instance_again_is_a_duplicate_and_no_second_row(index: Index):
    first = put(index, content=b"image").instance

    again = put(index, content=b"image", received_at=later(60), calling_ae_title="PACS")

    assert again.verdict == PutVerdict.DUPLICATE
    assert again.instance == first
    assert index.counts()["instances"] == 1


def test_other_bytes_under_the_same_uid_are_different_and_change_nothing(index: Index):
    first = put(index, content=b"image").instance

    other = index.put(an_instance(content=b"other image"), a_study(patient_id="B2"))

    assert other.verdict == PutVerdict.DIFFERENT
    assert other.instance == first
    assert index.study(STUDY) == a_study(modalities=("DX",))


def test_a_duplicate_without_a_file_of_what_is_no_longer_here_is_gone_and_makes_no_row(index: Index):
    verdicts = [put(index, path=path).verdict for path in ("", "received/00/2.25.1.dcm", "")]

    assert verdicts == [PutVerdict.GONE, PutVerdict.STORED, PutVerdict.DUPLICATE]
    assert [one.path for one in index.instances(STUDY)] == ["received/00/2.25.1.dcm"]


def test_several_instances_put_at_once_are_judged_one_by_one(index: Index):
    arrivals = [
        (an_instance("2.25.1"), a_study()),
        (an_instance("2.25.1"), a_study()),
        (an_instance("2.25.1", content=b"other"), a_study()),
        (an_instance("2.25.2"), a_study()),
    ]

    verdicts = [one.verdict for one in index.put_many(arrivals)]

    assert verdicts == ["stored", "duplicate", "different", "stored"]
    assert [instance.number for instance in index.instances(STUDY)] == [1, 2]


def test_an_instance_with_the_study_of_another_stores_none_of_its_group(index: Index):
    arrivals = [(an_instance("2.25.1"), a_study()), (an_instance("2.25.2"), a_study("2.25.200"))]

    with pytest.raises(ValueError, match=r"instance 2\.25\.2 is of study 2\.25\.100"):
        index.put_many(arrivals)

    assert index.counts()["instances"] == 0


def test_instances_put_by_many_threads_get_each_a_number(index: Index):
    with ThreadPoolExecutor(4) as threads:
        puts = list(threads.map(lambda n: put(index, f"2.25.{n % 25}", study=STUDY), range(100)))

    assert sorted(one.verdict for one in puts).count("stored") == 25
    numbers = [instance.number for instance in index.instances(STUDY)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 25


def test_instances_are_listed_up_to_a_number(index: Index):
    for number in (1, 2, 3):
        put(index, f"2.25.{number}")

    assert [one.sop_instance_uid for one in index.instances(STUDY, 2)] == ["2.25.1", "2.25.2"]


@pytest.mark.parametrize("name", ["Doe\0", "Doe\ud800", "Doe^\udcff"])
def test_a_name_that_no_database_holds_does_not_keep_its_image_out(index: Index, name: str):
    index.put(an_instance(view_group=name), a_study(patient_name=name, patient_id=name))

    again = index.put(an_instance("2.25.2"), a_study(patient_id=name))

    study = index.study(STUDY)
    assert again.verdict == PutVerdict.STORED
    assert study is not None
    assert study.patient_name.endswith("\ufffd")
    assert study.conflict is None


def test_numbers_as_long_as_any_find_room_in_every_index(index: Index):
    number = "".join(map(chr, Random(1).sample(range(0x10000, 0x20000), NUMBER_CHARACTERS_MAX)))
    identifiers = (PatientIdentifier(number, number[::-1]),)

    put = index.put(an_instance(), replace(a_study(accession_number=number), identifiers=identifiers))

    assert put.verdict == PutVerdict.STORED
    assert [one.study_instance_uid for one in index.history(identifiers).studies] == [STUDY]


def test_a_row_that_a_database_never_takes_is_not_taken_for_an_outage(index: Index, database: Database):
    number = "".join(map(chr, Random(1).sample(range(0x10000, 0x20000), 1000)))

    if database.engine.dialect.name == "sqlite":
        assert index.put(an_instance(), a_study(accession_number=number)).verdict == PutVerdict.STORED
        return
    with pytest.raises(OperationalError, match="ProgramLimitExceeded") as raised:
        index.put(an_instance(), a_study(accession_number=number))

    assert (trouble_of(raised.value), is_unavailable(raised.value)) == (None, False)


def test_our_own_object_come_back_is_ours_whatever_its_class(index: Index, jobs: Jobs):
    job = at_compose(index, jobs)
    result = a_result(job)
    jobs.advance(job, Stage.DELIVER, NOW, results=[result], event="composed")

    back = put(index, result.sop_instance_uid, role=InstanceRole.REPORT, modality="SR")

    assert back.instance.role == InstanceRole.OURS
    study = index.study(STUDY)
    assert study is not None
    assert study.modalities == ("DX",)


# Studies


def test_later_instances_fill_what_was_empty_and_overwrite_nothing(index: Index):
    index.put(an_instance("2.25.1"), a_study(accession_number="", study_description="XR CHEST"))

    index.put(
        an_instance("2.25.2", modality="SR"),
        a_study(accession_number="4711", study_description="other", patient_name="Doe^J"),
    )

    assert index.study(STUDY) == a_study(accession_number="4711", modalities=("DX", "SR"))


def test_a_later_instance_with_another_patient_id_sets_a_conflict_that_names_it_and_no_patient(
    index: Index, jobs: Jobs
):
    index.put(an_instance("2.25.1"), a_study())

    index.put(an_instance("2.25.2"), a_study(patient_id="B2", birth_date="19840615", patient_name="Roe^Bob"))

    study = index.study(STUDY)
    assert study is not None
    assert study.conflict == (
        "the instances of this study name two patients: "
        "patient ID, birth date of 2.25.2 differs from the first's"
    )
    assert study.patient_id == "A1"
    assert "names another patient" in texts(jobs)[-1]


def test_the_first_conflict_of_a_study_stays(index: Index):
    for number, patient_id in enumerate(["A1", "B2", "C3", "A1"]):
        index.put(an_instance(f"2.25.{number}"), a_study(patient_id=patient_id))

    study = index.study(STUDY)
    assert study is not None
    assert "of 2.25.1 differs" in (study.conflict or "")


def test_an_empty_patient_id_or_issuer_is_no_conflict(index: Index):
    index.put(an_instance("2.25.1"), a_study(issuer_of_patient_id="", birth_date=""))

    index.put(an_instance("2.25.2"), a_study(patient_id="", issuer_of_patient_id="CLINIC"))

    study = index.study(STUDY)
    assert study is not None
    assert study.conflict is None
    assert study.issuer_of_patient_id == "CLINIC"


def test_the_history_of_a_patient_has_the_studies_with_the_id_of_any_issuer_newest_first(index: Index):
    for number, issuer in enumerate(["", "CLINIC", "OTHER"]):
        study = f"2.25.{number}"
        index.put(an_instance(f"{study}.1", study=study), a_study(study, issuer_of_patient_id=issuer))
    index.put(an_instance("2.25.9.1", study="2.25.9"), a_study("2.25.9", patient_id="A10"))

    found = index.history([PatientIdentifier("A1", "CLINIC")]).studies

    assert [study.study_instance_uid for study in found] == ["2.25.2", "2.25.1", "2.25.0"]


def test_a_study_is_found_by_every_identifier_that_any_of_its_instances_named(index: Index):
    index.put(an_instance("2.25.1"), a_study())
    further = (PatientIdentifier("A1"), PatientIdentifier("S9", "SOUTH"))
    index.put(an_instance("2.25.2"), a_study(identifiers=further))

    found = index.history([PatientIdentifier("S9", "SOUTH")]).studies

    assert [study.study_instance_uid for study in found] == [STUDY]
    assert found[0].identifiers == further


def test_an_issuer_that_a_later_instance_names_completes_the_first_identifier(index: Index):
    index.put(an_instance("2.25.1"), a_study())
    index.put(an_instance("2.25.2"), a_study(issuer_of_patient_id="CLINIC"))

    study = index.study(STUDY)

    assert study is not None
    assert study.identifiers == (PatientIdentifier("A1", "CLINIC"), PatientIdentifier("A1"))


def test_nobody_is_the_patient_without_an_id(index: Index):
    index.put(an_instance(), a_study(patient_id=""))

    assert index.history(()).studies == ()


def test_so_many_studies_of_a_patient_at_most_are_found_the_newest(index: Index):
    for number in range(4):
        put(index, f"2.25.{number}.1", study=f"2.25.{number}")

    found = index.history([PatientIdentifier("A1")], studies_max=2).studies

    assert [study.study_instance_uid for study in found] == ["2.25.3", "2.25.2"]


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ({"patient_id": "B2"}, "patient ID"),
        ({"birth_date": "19840615"}, "birth date"),
        ({"sex": "M"}, "sex"),
    ],
)
def test_a_study_with_two_patients_is_in_doubt_and_stays_so_when_more_comes(
    index: Index, later: dict[str, str], told: str
):
    index.put(an_instance("2.25.1"), a_study())
    index.put(an_instance("2.25.2"), a_study(**later))
    index.put(an_instance("2.25.3"), a_study())

    (study,) = index.in_doubt(5)

    assert f"two patients: {told} of 2.25.2 differs" in (study.conflict or "")


def test_another_number_of_the_same_patient_in_one_study_is_no_doubt(index: Index):
    index.put(an_instance("2.25.1"), a_study())
    both = (PatientIdentifier("S9", "SOUTH"), PatientIdentifier("A1"))
    index.put(an_instance("2.25.2"), a_study(patient_id="S9", identifiers=both))

    assert index.in_doubt(5) == ()


def test_recent_studies_are_those_that_something_came_for_last(index: Index):
    for uid, study in [("2.25.1", "2.25.10"), ("2.25.2", "2.25.20"), ("2.25.3", "2.25.10")]:
        put(index, uid, study=study)

    assert [study.study_instance_uid for study in index.recent_studies(5)] == ["2.25.10", "2.25.20"]
    assert [study.study_instance_uid for study in index.recent_studies(1)] == ["2.25.10"]


# Unread


def test_a_study_with_new_images_is_unread(index: Index):
    put(index, "2.25.1", received_at=later(0))
    put(index, "2.25.2", received_at=later(30), view_group="lateral")

    (unread,) = index.unread()

    assert unread.study_instance_uid == STUDY
    assert unread.newest_number == 2
    assert (unread.oldest_received_at, unread.newest_received_at) == (later(0), later(30))
    assert [image.view_group for image in unread.instances] == ["frontal", "lateral"]
    assert unread.next_revision == 1


def test_a_study_with_a_job_over_all_its_images_is_not_unread(index: Index, jobs: Jobs):
    put(index, "2.25.1")

    jobs.open(STUDY, index.unread()[0].newest_number, "quiet for 60 s", NOW)

    assert index.unread() == ()


def test_a_late_image_makes_its_study_unread_again_for_revision_two(index: Index, jobs: Jobs):
    put(index, "2.25.1")
    jobs.open(STUDY, 1, "quiet for 60 s", NOW)

    put(index, "2.25.2", received_at=later(600))

    (unread,) = index.unread()
    assert (unread.newest_number, unread.next_revision) == (2, 2)
    assert unread.oldest_received_at == later(600)
    assert len(unread.instances) == 2


@pytest.mark.parametrize("role", [InstanceRole.REPORT, InstanceRole.OTHER, InstanceRole.OURS])
def test_only_an_image_makes_a_study_unread(index: Index, role: InstanceRole):
    put(index, "2.25.1", role=role)

    assert index.unread() == ()


def test_our_own_object_come_back_does_not_make_its_study_unread(index: Index, jobs: Jobs):
    job = at_compose(index, jobs)
    picture = a_result(job, "secondary_capture")
    jobs.advance(job, Stage.DELIVER, NOW, results=[picture], event="composed")

    put(index, picture.sop_instance_uid, role=InstanceRole.IMAGE)

    assert index.unread() == ()


def test_a_report_that_came_last_is_within_the_watermark_to_be(index: Index):
    put(index, "2.25.1")
    put(index, "2.25.2", role=InstanceRole.REPORT, received_at=later(20))

    (unread,) = index.unread()

    assert (unread.newest_number, unread.newest_received_at) == (2, later(20))
    assert len(unread.instances) == 1


def test_unread_studies_are_told_apart(index: Index):
    for number in range(3):
        put(index, f"2.25.{number}.1", study=f"2.25.{number}")
        put(index, f"2.25.{number}.2", study=f"2.25.{number}")

    assert sorted((one.study_instance_uid, len(one.instances)) for one in index.unread()) == [
        ("2.25.0", 2),
        ("2.25.1", 2),
        ("2.25.2", 2),
    ]


# Refusals and counts


def a_refusal(number: int) -> Refusal:
    return Refusal(NOW, "STRANGER\0", "10.0.0.1", f"2.25.{number}", 0xA900, f"no study UID, try {number}")


def test_refusals_are_told_newest_first(index: Index):
    for number in (1, 2, 3):
        index.refuse(a_refusal(number))

    assert [refusal.sop_instance_uid for refusal in index.refusals(2)] == ["2.25.3", "2.25.2"]
    assert index.refusals(1)[0].calling_ae_title == "STRANGER\ufffd"


def test_the_oldest_refusals_are_forgotten(database: Database):
    index = Index(database, refusals_max=3)

    for number in range(10):
        index.refuse(a_refusal(number))

    assert [refusal.sop_instance_uid for refusal in index.refusals(99)] == ["2.25.9", "2.25.8", "2.25.7"]


def test_a_refusal_without_a_status_is_kept_so(index: Index):
    index.refuse(Refusal(NOW, "", "10.0.0.1", "", None, "not DICOM: b'GET /'"))

    assert index.refusals(1)[0].status is None


def test_counts_say_how_much_there_is(index: Index, jobs: Jobs):
    put(index, "2.25.1", content=b"12345")
    put(index, "2.25.2", study="2.25.200", content=b"123")
    jobs.open(STUDY, 1, "quiet", NOW)
    index.refuse(a_refusal(1))

    assert index.counts() == {
        "studies": 2,
        "unread_studies": 1,
        "instances": 2,
        "size_bytes": 8,
        "refusals": 1,
    }
    assert jobs.counts()[Stage.GATHER] == 1
    assert claimed(jobs).study_instance_uid == STUDY
