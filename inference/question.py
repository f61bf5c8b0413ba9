"""What a model can be asked beside the draft: a closed set of tasks, a question, and an answer with its places."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from inference.case import Case, Image
from inference.reading import Box, EngineIdentity, Turn


class Task(StrEnum):
    """One kind of question. Which of them a model was trained for, its engine says."""

    PHRASE = "phrase"
    """Where on the image is what a phrase of a report describes?"""
    FINDING = "finding"
    """Is one finding there, and where?"""
    FINDINGS = "findings"
    """Which of several findings are there, and where?"""
    ABNORMAL = "abnormal"
    """Where is anything abnormal?"""
    REGION = "region"
    """Where is an anatomical region?"""
    ORGAN = "organ"
    """Where is an organ?"""
    QUESTION = "question"
    """A question of one's own about one image."""
    DIFFERENCE = "difference"
    """What has changed between the latest earlier exam and this one?"""
    VIEW = "view"
    """Which projection is the image?"""
    PLAIN = "plain"
    """The draft in easy language."""
    SUMMARY = "summary"
    """The draft in short; a draft's impression is the answer to this."""
    DIFFERENTIAL = "differential"
    """Which diagnoses may be behind what the image shows?"""


_TEXT_NEEDED = {
    Task.PHRASE: "the phrase to be found",
    Task.FINDING: "the finding",
    Task.REGION: "the anatomical region",
    Task.ORGAN: "the organ",
    Task.QUESTION: "the question",
}
_TEXT_OPTIONAL = (Task.FINDINGS, Task.DIFFERENCE)

TEXT_CHARACTERS_MAX = 1000
"""A longer question was never trained, and would crowd the images out of the model's context."""


class CannotAsk(ValueError):
    """A question that this model, or this case, has no place for; one sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person asks of a case.

    Attributes:
        text: the phrase, finding, findings separated by commas, region, organ or question; "" where a task takes none.
        image_key: of the image that is asked about; None for the first frontal one of the current exam.
    """

    task: Task
    text: str = ""
    image_key: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: its name, as it was asked for or as the model named it, and its boxes."""

    name: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered.

    Attributes:
        text: the answer to the question itself, without the conversation's structure.
        places: what the answer says of places, in its order; a name that is not here was not placed, and is not
            thereby absent.
        turns: the whole conversation word for word, the answer's own turn last.
        engine: who said it.
        problems: sentences on what could not be read or must not be trusted.
    """

    task: Task
    text: str
    places: tuple[Place, ...]
    turns: tuple[Turn, ...]
    engine: EngineIdentity
    problems: tuple[str, ...] = ()


def check_question(question: Question, tasks: Collection[Task], model_name: str) -> None:
    """Holds a question against what a model was trained for.

    Raises:
        CannotAsk: if the model does not know the task, or the task and its text do not fit each other.
    """
    if question.task not in tasks:
        known = ", ".join(sorted(tasks)) or "nothing but drafts"
        raise CannotAsk(f'{model_name} was not trained for the task "{question.task}"; it knows: {known}')
    length = len(question.text)
    if length > TEXT_CHARACTERS_MAX:
        raise CannotAsk(f"the text has {length} characters, at most {TEXT_CHARACTERS_MAX} can be asked")
    needed = _TEXT_NEEDED.get(question.task)
    if needed and not question.text.strip():
        raise CannotAsk(f'the task "{question.task}" needs a text: {needed}')
    if question.text and not needed and question.task not in _TEXT_OPTIONAL:
        raise CannotAsk(f'the task "{question.task}" takes no text')


def plain_text(text: str, remove_structure: Callable[[str], str]) -> str:
    """Brings a person's words on one line, without what would be read as the structure of the conversation.

    Raises:
        CannotAsk: if nothing of it is left.
    """
    line = " ".join(remove_structure(text).split())
    if not line:
        raise CannotAsk("nothing of the text is left without what shapes a conversation")
    return line


def image_of(case: Case, question: Question) -> tuple[Image, tuple[str, ...]]:
    """Gives the image of the current exam that a question is about, and says if it is no frontal one.

    Raises:
        CannotAsk: if the current exam has no such image.
    """
    images = case.current.images
    key = question.image_key
    wanted = [image for image in images if image.key == key or (key is None and image.view.is_frontal)]
    if not wanted and key is not None:
        known = ", ".join(image.key for image in images)
        raise CannotAsk(f"the current exam has no image {key}; it has: {known}")
    if not images:
        raise CannotAsk("the current exam has no image")
    image = (wanted or images)[0]
    if image.view.is_frontal:
        return image, ()
    return image, (f"The image that was asked about is not known to be frontal (view {image.view}).",)
