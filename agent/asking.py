"""`preread ask`: one more question to the model about a study that preread has read, in this process."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from agent import manifest as manifests
from agent.casework import case_of, drawn_answer, other_parts
from agent.errors import GiveUp
from agent.manifest import Manifest
from agent.outputs.wording import NOT_NAMED_IS_NOT_ABSENT, banner
from agent.reader import open_configured_engine
from agent.store import existing_store
from config.settings import Settings
from inference.question import Answer, CannotAsk, Question, Task
from storage.files import Files


def question_of(task: str, text: str, image_key: str | None) -> Question:
    """Reads what was typed.

    Raises:
        GiveUp: if there is no such task.
    """
    if task not in set(Task):
        raise GiveUp(f'there is no task "{task}"; there are: {", ".join(sorted(Task))}')
    return Question(Task(task), text, image_key)


def ask(settings: Settings, study_instance_uid: str, question: Question, picture: Path | None) -> Answer:
    """Shows the model what it saw when it last read the study, and asks.

    Args:
        picture: file for the image with the answer's boxes, named .png or another kind that pillow writes; None
            for no picture.

    Raises:
        GiveUp: if the study was not read yet, an image cannot be shown, the model cannot be opened, or it was not
            trained for this; one sentence each.
    """
    store = existing_store(settings)
    try:
        jobs = store.jobs.jobs_of_study(study_instance_uid)
    finally:
        store.database.close()
    texts = [job.manifest_json for job in jobs if job.manifest_json is not None]
    if not texts:
        raise GiveUp(
            f"study {study_instance_uid} has never been gathered, so there is nothing to ask about; "
            f"see: preread why {study_instance_uid}"
        )
    manifest = manifests.load_manifest(texts[-1])
    answer = _answer(settings, manifest, store.files, question)
    if picture is not None:
        _save(answer, manifest, store.files, picture)
    return answer


def as_json(answer: Answer) -> dict[str, Any]:
    """Gives an answer as plain values, with the line that nobody has verified it."""
    return {"notice": banner(answer.engine), **asdict(answer)}


def as_text(answer: Answer) -> str:
    """Writes an answer for a person: first that nobody has verified it, then what was said, then its limits."""
    turn = answer.turns[-1]
    lines = [
        banner(answer.engine),
        f"{answer.engine.model_name}, {answer.engine.weights_digest}",
        f"shown: {', '.join(turn.image_keys)}",
        f"asked: {turn.question}",
        f"said:  {answer.text or '(nothing)'}",
    ]
    for place in answer.places:
        boxes = "".join(
            f" [{box.left:.0f} {box.top:.0f} {box.right:.0f} {box.bottom:.0f}]" for box in place.boxes
        )
        lines.append(f"place: {place.name}{boxes} (left top right bottom, in stored pixels)")
    if answer.task is Task.FINDINGS:
        lines.append(f"limit: {NOT_NAMED_IS_NOT_ABSENT}")
    return "\n".join([*lines, *(f"limit: {problem}" for problem in answer.problems)])


def _answer(settings: Settings, manifest: Manifest, files: Files, question: Question) -> Answer:
    try:
        case, problems = case_of(manifest, files, settings)
    except OSError as error:
        raise GiveUp(f"an image of the study cannot be read: {error}") from error
    try:
        engine = open_configured_engine(settings)
    except (OSError, ValueError, RuntimeError) as error:
        raise GiveUp(f"{error}; correct the [engine] of reading.toml, then: preread check") from error
    try:
        answer = engine.ask(case, question)
    except CannotAsk as error:
        raise GiveUp(str(error)) from error
    finally:
        engine.close()
    parts = other_parts(manifests.as_shown(manifest, answer))
    return replace(answer, problems=(*problems, *parts, *answer.problems))


def _save(answer: Answer, manifest: Manifest, files: Files, path: Path) -> None:
    try:
        Picture.fromarray(drawn_answer(answer, manifest, files)).save(path)
    except (OSError, ValueError) as error:
        raise GiveUp(f"the picture cannot be written to {path}: {error}") from error
