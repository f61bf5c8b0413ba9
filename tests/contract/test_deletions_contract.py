"""What deleting promises, on SQLite and on PostgreSQL alike."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from storage.audits import Audits
from storage.database import Database
from storage.deletions import Deleted, Deletions, StudyAge
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Jobs
from storage.patients import Patients
from storage.records import InstanceRole, PatientIdentifier, Refusal
from storage.reports import Reports
from storage.requests import PriorRequests
from storage.tables import metadata
from tests.storage.builders import (
    LEASE_SECONDS,
    NOW,
    PRIOR,
    STUDY,
    a_quarantined_message,
    a_report,
    a_study,
    an_instance,
    an_open_job,
    being_fetched,
    composed,
    done,
    later,
    put,
    texts,
)

OLD = "2.25.100"
NEW = "2.25.200"
YEAR = NOW + timedelta(days=365)
IMAGE = f"{STUDY}.7"


def age_of(deletions: Deletions, study: str = STUDY) -> StudyAge:
    (age,) = (one for one in deletions.ages(0, 100) if one.study_instance_uid == study)
    return age


def forget_images(deletions: Deletions, study: str = STUDY) -> Deleted | None:
    return deletions.forget_images(age_of(deletions, study), "30 days old", YEAR)


def rows(database: Database) -> dict[str, int]:
    """How many rows each table has that has any; how long steps took is not of any study."""
    with database.reading() as connection:
        counts = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if table.name != "step_times"
        }
    return {name: count for name, count in counts.items() if count}


def test_the_age_of_a_study_says_whether_it_is_needed(index: Index, jobs: Jobs, deletions: Deletions):
    job = done(index, jobs)

    age = age_of(deletions)

    assert (age.arrived_at, age.changed_at, age.instances, age.size_bytes) == (NOW, job.changed_at, 1, 5)
    assert not any((age.is_busy, age.is_held, age.is_fetched))
    assert age.has_identifier


def test_a_study_is_busy_while_unread_or_on_its_way_or_being_sent(
    index: Index, jobs: Jobs, requests: PriorRequests, deletions: Deletions
):
    being_fetched(index, jobs, requests)
    put(index, "2.25.3", study="2.25.300")
    index.put(an_instance("2.25.5", study=PRIOR, calling_ae_title="ARCH"), a_study(PRIOR))

    ages = deletions.ages(0, 100)

    assert {age.study_instance_uid: age.is_busy for age in ages} == dict.fromkeys(
        (STUDY, "2.25.300", PRIOR), True
    )
    assert age_of(deletions, PRIOR).is_fetched


def test_the_age_counts_the_later_exams_of_the_same_patient_whose_images_are_here(
    index: Index, jobs: Jobs, deletions: Deletions
):
    for uid, day in ((OLD, "20240101"), ("2.25.150", "20250101"), (NEW, "20260101")):
        index.put(an_instance(f"{uid}.7", study=uid), a_study(uid, study_date=day))
    index.put(
        an_instance("2.25.9", study="2.25.900"), a_study("2.25.900", patient_id="B", study_date="20260201")
    )
    assert [age.newer_exams for age in deletions.ages(0, 10)] == [2, 1, 0, 0]

    jobs.open(NEW, 100, "quiet", NOW)

    assert age_of(deletions, OLD).newer_exams == 2


def test_ages_come_page_by_page_oldest_arrival_first(index: Index, deletions: Deletions):
    for uid in ("2.25.30", "2.25.10", "2.25.20"):
        put(index, f"{uid}.7", study=uid)

    first = deletions.ages(0, 2)
    rest = deletions.ages(first[-1].newest_number, 2)

    assert [age.study_instance_uid for age in (*first, *rest)] == ["2.25.30", "2.25.10", "2.25.20"]


def test_forgotten_images_leave_the_study_its_jobs_and_a_sentence(
    index: Index, jobs: Jobs, deletions: Deletions, audits: Audits
):
    done(index, jobs)

    deleted = forget_images(deletions)

    assert deleted == Deleted((an_instance(IMAGE).path,), instances=1)
    assert index.instances(STUDY) == ()
    assert (index.study(STUDY) or a_study()).images_deleted_at == YEAR
    assert len(jobs.jobs_of_study(STUDY)) == 1
    assert texts(jobs)[-1] == "1 instances deleted by retention: 30 days old"
    last = audits.waiting("filed_at", 100)[-1]
    assert (last.event, last.patient_id, last.instances, last.detail) == ("deleted", "A1", 1, "30 days old")


def test_an_image_that_is_sent_again_after_its_deletion_is_kept_and_not_read_anew(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    forget_images(deletions)

    index.put(an_instance(IMAGE, received_at=YEAR), a_study())

    assert index.known(IMAGE) is not None
    assert index.unread() == ()


def test_a_new_image_of_a_study_whose_images_were_deleted_is_read(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    forget_images(deletions)

    put(index, "2.25.8")

    (unread,) = index.unread()
    assert (unread.study_instance_uid, unread.next_revision) == (STUDY, 2)


def test_an_object_of_ours_is_known_as_ours_after_its_deletion(
    index: Index, jobs: Jobs, deletions: Deletions
):
    (result, *_) = jobs.results_of_job(done(index, jobs).number)
    deletions.forget_results(STUDY, YEAR, "90 days old", YEAR)

    back = put(index, result.sop_instance_uid, role=InstanceRole.REPORT).instance

    assert back.role is InstanceRole.OURS


def test_images_can_be_deleted_again_after_they_were_sent_again(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    forget_images(deletions)
    put(index, IMAGE)

    assert forget_images(deletions) is not None
    assert index.known(IMAGE) is None


def test_images_that_somebody_needs_are_not_forgotten(
    index: Index, jobs: Jobs, holds: Holds, deletions: Deletions
):
    done(index, jobs, OLD)
    age = age_of(deletions, OLD)
    an_open_job(index, jobs, NEW)  # of the same patient: it may look at the old one

    assert deletions.forget_images(age, "old", YEAR) is None
    assert len(index.instances(OLD)) == 1


def test_images_of_a_linked_patient_with_a_job_on_its_way_are_not_forgotten(
    database: Database, index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs, OLD)
    number = index.put(an_instance("2.25.8", study=NEW), a_study(NEW, patient_id="B2")).instance.number
    jobs.open(NEW, number, "quiet", NOW)
    Patients(database).link(PatientIdentifier("A1"), PatientIdentifier("B2"), "merge", "ADT 1", NOW)

    assert forget_images(deletions, OLD) is None


def test_images_of_a_held_study_are_not_forgotten(
    index: Index, jobs: Jobs, holds: Holds, deletions: Deletions
):
    done(index, jobs)
    age = age_of(deletions)
    holds.hold(STUDY, "operator", "", NOW)

    assert deletions.forget_images(age, "old", YEAR) is None


def test_images_are_not_forgotten_if_another_came_since_the_age_was_taken(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    age = age_of(deletions)
    put(index, "2.25.8", role=InstanceRole.OTHER)

    assert deletions.forget_images(age, "old", YEAR) is None


def test_results_are_forgotten_with_their_deliveries_once_every_job_has_ended(
    index: Index, jobs: Jobs, deletions: Deletions
):
    job = done(index, jobs)
    paths = {result.path for result in jobs.results_of_job(job.number)}
    assert deletions.with_old_results(YEAR, "", 10) == (STUDY,)

    deleted = deletions.forget_results(STUDY, YEAR, "90 days old", YEAR)

    assert (set(deleted.paths), deleted.results) == (paths, 2)
    assert jobs.results_of_job(job.number) == jobs.deliveries_of_job(job.number) == ()
    assert deletions.with_old_results(YEAR, "", 10) == ()


def test_results_are_kept_while_they_are_new_or_on_their_way_or_held(
    index: Index, jobs: Jobs, holds: Holds, deletions: Deletions
):
    done(index, jobs, "2.25.200")
    composed(index, jobs, "PACS")
    holds.hold("2.25.200", "operator", "", NOW)

    assert deletions.with_old_results(YEAR, "", 10) == ()
    assert deletions.forget_results(STUDY, YEAR, "old", YEAR) == Deleted(())
    assert deletions.forget_results("2.25.200", YEAR, "old", YEAR) == Deleted(())


def test_a_study_is_forgotten_with_everything_that_points_to_it(
    database: Database, index: Index, jobs: Jobs, requests: PriorRequests, deletions: Deletions
):
    requests.ask(done(index, jobs).number, ["arch"], NOW, later(60))
    assert deletions.forgettable(YEAR, 10) == ()
    forget_images(deletions)
    deletions.forget_results(STUDY, YEAR, "old", YEAR)
    assert deletions.forgettable(YEAR, 10) == ()
    (uid,) = deletions.forgettable(YEAR + timedelta(days=1), 10)

    deletions.forget_study(uid)

    assert set(rows(database)) == {"deleted_instances", "audit_records"}


def test_a_deleted_study_leaves_a_sentence_an_audit_record_and_its_uids(
    database: Database, index: Index, jobs: Jobs, deletions: Deletions, audits: Audits
):
    done(index, jobs)

    deleted = deletions.delete_study(STUDY, "operator ann", "sent by mistake", YEAR)

    assert (deleted.instances, deleted.results, len(deleted.paths)) == (1, 2, 3)
    assert set(rows(database)) == {"deleted_instances", "audit_records", "events"}
    assert texts(jobs) == [
        "the study with 1 instances and 2 result objects deleted by operator ann: sent by mistake"
    ]
    last = audits.waiting("filed_at", 100)[-1]
    assert (last.event, last.actor, last.patient_id) == ("deleted", "operator ann", "A1")


def test_a_deleted_study_that_is_sent_again_is_not_read_until_somebody_asks(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    deletions.delete_study(STUDY, "operator", "", YEAR)

    put(index, IMAGE)

    assert index.unread() == ()
    assert jobs.again(STUDY, YEAR).revision == 1


def test_a_study_on_its_way_is_not_deleted_unless_it_is_held_and_in_nobodys_hand(
    index: Index, jobs: Jobs, holds: Holds, deletions: Deletions
):
    an_open_job(index, jobs)
    with pytest.raises(LookupError, match=r"job 1 .* on its way \(stage gather\).*preread hold 2\.25\.100"):
        deletions.delete_study(STUDY, "operator", "", NOW)
    jobs.claim(["gather"], "worker 1", NOW, LEASE_SECONDS)
    holds.hold(STUDY, "operator", "", NOW)
    with pytest.raises(LookupError, match=r"just worked on \(worker 1\)"):
        deletions.delete_study(STUDY, "operator", "", NOW)

    assert deletions.delete_study(STUDY, "operator", "", later(LEASE_SECONDS)).instances == 1


def test_a_study_is_not_deleted_while_another_of_the_patient_may_look_at_it(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs, OLD)
    an_open_job(index, jobs, NEW)

    with pytest.raises(LookupError, match=r"job 2 of study 2\.25\.200, the same patient's, is on its way"):
        deletions.delete_study(OLD, "operator", "", NOW)


def test_a_study_without_images_is_not_read_again_and_says_why(
    index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs)
    forget_images(deletions)

    with pytest.raises(LookupError, match=r"images of study 2\.25\.100 were deleted; have them sent again"):
        jobs.again(STUDY, YEAR)


def test_reports_refusals_and_messages_go_by_their_age(
    database: Database, index: Index, reports: Reports, deletions: Deletions
):
    reports.add([a_report("Old."), a_report("New.", received_at=later(60))])
    for moment in (NOW, later(60)):
        index.refuse(Refusal(moment, "XRAY1", "", "2.25.1", 0xA700, "disk full"))
    for content, moment in ((b"old", NOW), (b"new", later(60))):
        reports.quarantine(a_quarantined_message(content, at=moment))

    assert deletions.forget_reports(later(1), 10) == deletions.forget_refusals(later(1), 10) == 1
    assert deletions.forget_messages(later(1), 10).paths == (a_quarantined_message(b"old").path,)
    counts = rows(database)
    assert [counts[name] for name in ("reports", "refusals", "quarantined_messages")] == [1, 1, 1]


def test_memories_go_by_their_age_and_the_life_of_a_study_stays_with_it(
    database: Database, index: Index, jobs: Jobs, deletions: Deletions
):
    done(index, jobs, OLD)
    done(index, jobs, NEW)
    deletions.delete_study(OLD, "operator", "", later(60))

    assert deletions.forget_memories(later(60), 10) == 0
    assert deletions.forget_memories(later(61), 10) == 4  # three UIDs and a sentence
    assert texts(jobs, NEW) != []


def test_every_path_that_a_row_names_is_known(
    index: Index, jobs: Jobs, reports: Reports, deletions: Deletions
):
    (result, other) = jobs.results_of_job(done(index, jobs).number)
    message = reports.quarantine(a_quarantined_message())
    paths = {an_instance(IMAGE).path, result.path, message.path}

    assert deletions.known_paths([*paths, "received/00/2.25.9.dcm"]) == paths
    assert set(deletions.all_paths()) == {*paths, other.path}
