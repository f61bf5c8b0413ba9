"""Retention with real files and a real database."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from config.settings import RetentionSettings
from storage.files import Files
from tests.keeping.stores import NOW, Kept
from tests.storage.builders import a_quarantined_message, put, texts

OLD, NEW = "2.25.100", "2.25.200"


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path, RetentionSettings(image_days=30, prior_days=60, result_days=40, study_days=100))


def test_images_are_deleted_when_their_days_are_over_and_why_says_so(kept: Kept):
    image = kept.done(OLD, date="19990101")
    kept.now = NOW + timedelta(days=30)

    assert kept.turns.turn().studies == 1

    assert not image.exists()
    assert texts(kept.store.jobs, OLD)[-1] == (
        "1 instances deleted by retention: last changed 30 days ago; retention.image_days = 30"
    )


def test_the_newest_exams_of_a_patient_are_kept_as_priors(kept: Kept):
    image = kept.done(OLD)
    kept.now = NOW + timedelta(days=59)
    assert kept.turns.turn().studies == 0
    kept.now = NOW + timedelta(days=60)

    assert kept.turns.turn().studies == 1
    assert not image.exists()


def test_what_is_unread_or_held_is_kept_for_ever(kept: Kept):
    kept.put(OLD)
    kept.done(NEW, patient="B2")
    kept.store.holds.hold(NEW, "operator", "", NOW)
    kept.now = NOW + timedelta(days=10_000)

    done = kept.turns.turn()

    assert (done.studies, done.files) == (0, 0)
    assert len(kept.stored()) == 4


def test_results_go_after_their_days_and_the_study_after_its(kept: Kept):
    kept.done(OLD, date="19990101")
    kept.now = NOW + timedelta(days=41)
    kept.turns.turn()
    assert kept.stored() == set()
    assert kept.store.index.study(OLD) is not None

    kept.now += timedelta(days=101)
    kept.turns.turn()

    assert kept.store.index.study(OLD) is None
    assert kept.store.jobs.events_of_study(OLD) == ()


def test_the_dry_run_names_what_would_go_and_deletes_nothing(kept: Kept):
    image = kept.done(OLD, date="19990101")
    kept.done(NEW)
    kept.now = NOW + timedelta(days=31)

    (found,) = kept.turns.due()

    assert (found[0].study_instance_uid, found[0].instances) == (OLD, 1)
    assert found[1] == "last changed 31 days ago; retention.image_days = 30"
    assert image.exists()


def test_many_studies_go_in_several_turns_or_in_one_that_is_whole(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent.keeping.retention._STUDIES_MAX", 2)
    monkeypatch.setattr("agent.keeping.retention._PAGE", 1)
    for number in range(7):
        kept.done(f"2.25.{number}00", date="19990101")
    kept.now = NOW + timedelta(days=30)

    assert [kept.turns.turn().studies for _ in range(2)] == [2, 2]

    assert kept.turns.turn(whole=True).studies == 3


def test_a_message_in_quarantine_goes_with_its_bytes(kept: Kept):
    message = kept.store.reports.quarantine(a_quarantined_message(path="quarantine/00/x.hl7"))
    kept.store.files.put(message.path, b"MSH|")
    kept.aged(message.path)
    kept.now = NOW + timedelta(days=91)

    kept.turns.turn()

    assert kept.store.reports.quarantined() == ()
    assert kept.stored() == set()


def test_a_file_without_a_row_is_swept_after_a_day_and_others_are_not(kept: Kept):
    image = kept.put(OLD)
    for path in ("received/00/2.25.9.dcm", "received/00/2.25.100.7-1.dcm", "results/ab/2.25.8.dcm"):
        kept.store.files.put(path, b"litter")
        kept.aged(path)
    kept.now = NOW + timedelta(hours=23)
    assert kept.turns.turn().files == 0
    kept.now = NOW + timedelta(hours=25)

    assert kept.turns.turn().files == 3

    assert kept.stored() == {"received/00/2.25.100.7.dcm"}
    assert image.exists()


def test_a_cut_between_rows_and_files_leaves_litter_that_is_swept(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
):
    image = kept.done(OLD, date="19990101")
    kept.now = NOW + timedelta(days=30)
    monkeypatch.setattr(Files, "remove", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kept.turns.turn()
    monkeypatch.undo()
    assert image.exists()

    kept.turns.turn()

    assert not image.exists()


def test_nothing_is_deleted_while_a_backup_is_made(kept: Kept):
    image = kept.done(OLD, date="19990101")
    kept.now = NOW + timedelta(days=30)

    with kept.store.files.keeping_all():
        done = kept.turns.turn()

    assert not done.is_complete
    assert image.exists()


def a_full_disk(kept: Kept, monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(Files, "free_bytes", lambda _: free_bytes)


def test_room_is_made_with_the_oldest_images_first_and_priors_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = Kept(tmp_path, RetentionSettings(free_bytes_start=100, free_bytes_stop=110))
    prior = kept.done("2.25.100")
    old, newer = kept.done("2.25.200", date="19990101"), kept.done("2.25.300", date="19990101")
    kept.now = NOW + timedelta(days=1)
    a_full_disk(kept, monkeypatch, 99)

    assert kept.turns.make_room().studies == 3, "each image has five bytes, and eleven are missing"

    assert not any(path.exists() for path in (prior, old, newer))
    assert [texts(kept.store.jobs, f"2.25.{n}00")[-1].partition(":")[2] for n in (1, 2, 3)] == [
        " less than retention.free_bytes_start = 100 bytes were free"
    ] * 3


def test_room_is_made_only_as_far_as_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = Kept(tmp_path, RetentionSettings(free_bytes_start=100, free_bytes_stop=101))
    prior, old = kept.done("2.25.100"), kept.done("2.25.200", date="19990101")
    kept.now = NOW + timedelta(days=1)
    a_full_disk(kept, monkeypatch, 99)

    assert kept.turns.make_room().studies == 1

    assert prior.exists()
    assert not old.exists()


def test_no_room_is_made_while_enough_is_free_or_of_what_came_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = Kept(tmp_path, RetentionSettings(free_bytes_start=100, free_bytes_stop=110))
    image = kept.done("2.25.100")
    a_full_disk(kept, monkeypatch, 99)
    assert kept.turns.make_room().studies == 0

    kept.now = NOW + timedelta(days=1)
    a_full_disk(kept, monkeypatch, 100)

    assert kept.turns.make_room().studies == 0
    assert image.exists()


def test_no_images_are_given_up_for_room_that_a_backup_still_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = Kept(tmp_path, RetentionSettings(free_bytes_start=100, free_bytes_stop=110))
    image = kept.done("2.25.100")
    os.link(image, tmp_path / "in a backup")
    kept.now = NOW + timedelta(days=1)
    a_full_disk(kept, monkeypatch, 99)

    assert kept.turns.make_room().studies == 0
    assert image.exists()


def test_an_object_that_is_sent_again_while_its_study_is_deleted_keeps_its_file(kept: Kept):
    kept.done(OLD, date="19990101")
    kept.now = NOW + timedelta(days=30)
    (age,) = kept.store.deletions.ages(0, 10)
    deleted = kept.store.deletions.forget_images(age, "old", kept.now)
    assert deleted is not None
    kept.store.files.put(deleted.paths[0], b"image")  # the listener, before its row

    assert not kept.store.files.remove(deleted.paths[0], kept.now)

    put(kept.store.index, f"{OLD}.7", study=OLD, path=deleted.paths[0])
    assert kept.store.files.read(deleted.paths[0]) == b"image"
