"""Gathers what belongs to one study, takes the patient out of it, and lets it go only if nothing is found again."""

import json
import platform
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.clock import system_clock
from agent.dicom.deidentifying import (
    Identity,
    Pseudonyms,
    deidentified,
    read_to_deidentify,
    reason_against_pixels,
)
from agent.dicom.headers import Unreadable
from agent.dicom.pixels import FILE_BYTES_MAX
from agent.exporting.known import identity_of, words_of
from agent.exporting.life import NOTICE, Life, Telling, first_of, told
from agent.exporting.words import Words
from agent.manifest import load_manifest
from agent.operators import operator
from agent.outputs import KINDS_WITH_PICTURES
from agent.store import Store, existing_store
from config.settings import Settings
from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import shown_patient
from storage.records import InstanceRole, Study

STORY = "study.json"
"""Name of the file that tells the life of the study."""

DAYS_MIN, DAYS_MAX = 365, 3650
"""Between these lies the number of days by which all dates are made earlier; drawn anew for each export."""


@dataclass(frozen=True, slots=True)
class Part:
    """One object that goes along.

    Attributes:
        name: of its file, without any UID.
        label: for a person ("image 2 of the study").
        number: of an image, from 1, through study and priors; None for what preread made.
        path: relative to the files folder.
    """

    name: str
    label: str
    number: int | None
    sop_instance_uid: str
    path: str


def export(
    settings: Settings,
    study_instance_uid: str,
    out: Path,
    *,
    pixels_seen: bool = False,
    without: Collection[int] = (),
    images_only: bool = False,
) -> str:
    """Writes a study without its patient into a new folder, and says what is in it.

    Args:
        out: is made, or empty.
        pixels_seen: somebody has looked at the images and found no text that names anybody.
        without: numbers of images that stay out.
        images_only: none of our own objects goes along.

    Raises:
        LookupError: if the study is unknown.
        ValueError: if the folder holds something, an image may not be handed over, or something of the patient was
            found in what was written; then nothing is left of it.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} is not empty; name a new folder, so that nothing else goes along with the export"
        )
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent} is no folder; make it first")
    store = existing_store(settings)
    try:
        with store.files.keeping_all():
            study = store.index.study(study_instance_uid)
            if study is None:
                raise LookupError(f"study {study_instance_uid} is unknown: nothing of it was received")
            life = _life(store, study)
            drafts = () if images_only else _drafts(life)
            parts, missing = _there(store, [*_images(store, life), *drafts])
            return _hand_over(
                store, settings, life, _wanted(parts, without), missing, out, pixels_seen=pixels_seen
            )
    except OSError as error:
        raise ValueError(f"{out} cannot be written, and nothing is left of it: {error.strerror}") from error
    finally:
        store.database.close()


def _wanted(parts: Sequence[Part], without: Collection[int]) -> list[Part]:
    numbers = {part.number for part in parts if part.number is not None}
    unknown = sorted(set(without) - numbers)
    if unknown:
        raise ValueError(
            f"there is no image {unknown[0]}; this study has {len(numbers)}, those of its priors included"
        )
    return [part for part in parts if part.number not in without]


def _hand_over(
    store: Store,
    settings: Settings,
    life: Life,
    parts: Sequence[Part],
    missing: int,
    out: Path,
    *,
    pixels_seen: bool,
) -> str:
    study = life.study
    pseudonyms = Pseudonyms(secrets.token_bytes(32), DAYS_MIN + secrets.randbelow(DAYS_MAX - DAYS_MIN))
    identity = identity_of(store, life)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))  # 0700, and in nobody's way
    try:
        for part in parts:
            identity |= _write(store, part, folder, pseudonyms, pixels_seen)
        words = words_of(store, settings, life, identity, pseudonyms)
        _tell(folder, life, parts, missing, words, pseudonyms, settings)
        _search(folder, words)
        images = sum(part.number is not None for part in parts)
        said = f"{images} images and {len(parts) - images} objects of ours"
        detail = f"de-identified by {operator()}: {said}"
        # First the record, then the folder: no export without one.
        store.audits.add(
            AuditRecord(
                system_clock(),
                AuditEvent.EXPORTED,
                str(out),
                "",
                study.study_instance_uid,
                shown_patient(study.identifiers),
                len(parts),
                detail,
            )
        )
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = f"; {missing} whose files are gone were left out" if missing else ""
    return (
        f"{out}: {said}, and {STORY}{gone}. No report text, picture, PDF or message, and nothing that others made "
        "beside the images. Look through it before you hand it on: nobody can prove pixels and words clean."
    )


def _life(store: Store, study: Study) -> Life:
    uid = study.study_instance_uid
    jobs = store.jobs.jobs_of_study(uid)
    return Life(
        study=study,
        is_held=store.holds.of_study(uid) is not None,
        instances=store.index.instances(uid),
        events=store.jobs.events_of_study(uid),
        jobs=jobs,
        results={job.number: store.jobs.results_of_job(job.number) for job in jobs},
        deliveries={job.number: store.jobs.deliveries.of_job(job.number) for job in jobs},
    )


def _images(store: Store, life: Life) -> Iterator[Part]:
    """The images of the study, then those of the priors that some revision chose, in the order of their dates."""
    images = [instance for instance in life.instances if instance.role is InstanceRole.IMAGE]
    for number, image in enumerate(images, start=1):
        yield Part(f"image-{number}.dcm", f"image {number}", number, image.sop_instance_uid, image.path)
    manifests = [load_manifest(job.manifest_json) for job in life.jobs if job.manifest_json is not None]
    priors = {prior.study_instance_uid: prior for manifest in manifests for prior in manifest.priors}
    shown = {
        image.sop_instance_uid: (place, image.path)
        for place, prior in enumerate(sorted(priors.values(), key=lambda prior: prior.study_date), start=1)
        for manifest in manifests
        for exam in manifest.priors
        if exam.study_instance_uid == prior.study_instance_uid
        for image in exam.images
    }
    for number, (uid, (place, path)) in enumerate(shown.items(), start=len(images) + 1):
        yield Part(
            f"image-{number}-prior-{place}.dcm", f"image {number} (of prior {place})", number, uid, path
        )


def _drafts(life: Life) -> Iterator[Part]:
    """Our own objects, but no picture and no page: words are in their pixels and cannot be taken out."""
    for job in life.jobs:
        objects = [result for result in life.results[job.number] if result.sop_class_uid]
        for number, result in enumerate(objects, start=1):
            if result.kind not in KINDS_WITH_PICTURES:
                name = f"draft-{job.revision}-{number}-{result.kind}.dcm"
                yield Part(
                    name,
                    f"{result.kind} of revision {job.revision}",
                    None,
                    result.sop_instance_uid,
                    result.path,
                )


def _there(store: Store, parts: Sequence[Part]) -> tuple[list[Part], int]:
    there = [part for part in parts if store.files.absolute(part.path).exists()]
    return there, len(parts) - len(there)


def _write(store: Store, part: Part, folder: Path, pseudonyms: Pseudonyms, pixels_seen: bool) -> Identity:
    """Writes one object without the patient; gives what stood in it."""
    try:
        dataset, identity = read_to_deidentify(store.files.absolute(part.path), FILE_BYTES_MAX)
        if part.number is not None:
            reason = reason_against_pixels(dataset, is_seen=pixels_seen)
            if reason is not None:
                raise ValueError(
                    f"{part.label} is not handed over: {reason}; or leave it out: --without {part.number}"
                )
        content = deidentified(dataset, pseudonyms, is_ours=part.number is None)
    except Unreadable as error:
        leave = f"; leave it out: --without {part.number}" if part.number is not None else ""
        raise ValueError(f"{part.label} is not handed over: {error.reason}{leave}") from None
    _keep(folder / part.name, content)
    return identity


def _keep(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _tell(
    folder: Path,
    life: Life,
    parts: Sequence[Part],
    missing: int,
    words: Words,
    pseudonyms: Pseudonyms,
    settings: Settings,
) -> None:
    files = {part.sop_instance_uid: part.name for part in parts}
    story: dict[str, Any] = {
        "notice": NOTICE,
        "versions": {
            "preread": version("preread"),
            "python": platform.python_version(),
            "pydicom": version("pydicom"),
            "dicom-anonymizer": version("dicom-anonymizer"),
        },
        "settings_digest": settings.digest,
        "files_gone": missing,
        "study": told(life, Telling(words, pseudonyms, files, first_of(life))),
    }
    _keep(folder / STORY, json.dumps(story, indent=2, ensure_ascii=False).encode())


def _search(folder: Path, words: Words) -> None:
    """Looks for the patient in all that was written, images first: what stands in one may stand in a draft, too."""
    for path in sorted(folder.iterdir(), key=lambda path: (not path.name.startswith("image-"), path.name)):
        try:
            found = words.found_in(path.name, path.read_bytes())
        except Unreadable as error:
            raise ValueError(
                f"{error.reason}, so nobody can say that it is clean; all that was written is removed"
            ) from None
        if found is not None:
            raise ValueError(
                f"{found} was found again in {path.name}; all that was written is removed{_way_out(path.name)}"
            )


def _way_out(name: str) -> str:
    kind, _, rest = name.partition("-")
    if kind == "image":
        return f"; leave the image out: --without {rest.partition('-')[0].removesuffix('.dcm')}"
    return "; leave our own objects out: --images-only" if kind == "draft" else ""
