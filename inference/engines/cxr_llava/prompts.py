"""The questions CXR-LLaVA was trained with, word for word, and which image of a case it is asked about.

LLaMA-2's chat form with a system part. The model takes one image, in the first turn, and nothing of an earlier
exam; what of a case it is not shown becomes a sentence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference.case import Case, Image

BEGIN, END, IMAGE = "<s>", "</s>", "<image>"
STRUCTURE = re.compile(r"<image>|\[/?INST\]|<</?SYS>>|</?s>|<unk>")
"""What shapes a conversation; in free text it would be read as structure."""

SYSTEM_SENTENCE = (
    "You are a helpful radiologist. Try to interpret chest x ray image and answer to the question that user "
    "provides."
)
REPORT_QUESTION = (
    "Write a radiologic report on the given chest radiograph, including information about atelectasis, "
    "cardiomegaly, consolidation, pulmonary edema, pleural effusion, and pneumothorax."
)
DIFFERENTIAL_QUESTION = "What are the possible differential diagnoses for this patient?"

YES, NO = " Yes", " No"
"""How answers begin. The space is training's, which put one before every answer."""

FINDING_NAMES = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "pleural effusion",
    "pneumothorax",
)
"""CheXbert's labels for what the report is asked to be about, in the order of the question."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageChoice:
    """The one image that the model is shown, and sentences on what of the case it is not shown."""

    image: Image
    problems: tuple[str, ...] = ()


def render(questions: Sequence[str], answers: Sequence[str]) -> str:
    """Writes a conversation as it was written in training.

    Args:
        questions: the user's turns.
        answers: the model's; as many as questions, or one fewer where the last one is to be generated.
    """
    ends = [f" {answer} {END}" for answer in answers] + [""] * (len(questions) - len(answers))
    return "".join(
        f"{BEGIN}[INST] {question} [/INST]{end}" for question, end in zip(questions, ends, strict=True)
    )


def first_question(question: str) -> str:
    """Puts the system sentence and the image before the first question."""
    return f"<<SYS>>\n{SYSTEM_SENTENCE}\n<</SYS>>\n\n{IMAGE}\n{question}"


def presence_question(finding: str) -> str:
    """Asks for one finding. The wording is ours: no such question is published."""
    return f"Does this chest radiograph show {finding}? Answer with yes or no."


def choose_image(case: Case) -> ImageChoice:
    """Takes the first frontal image of the current exam, or its first one, and says what that leaves out.

    Raises:
        ValueError: if the case has no image.
    """
    images = case.current.images
    if not images:
        raise ValueError("the case has no image")
    image = next((image for image in images if image.view.is_frontal), None)
    problems: list[str] = []
    if image is None:
        problems.append(
            "No image of the current exam is known to be frontal; the model was shown the first one."
        )
    if len(images) > 1:
        problems.append(f"The model was shown 1 of {len(images)} images.")
    if case.priors:
        count = len(case.priors)
        unseen = "earlier exam was" if count == 1 else f"{count} earlier exams were"
        problems.append(f"This model looks at one image and no earlier exam; the {unseen} not shown.")
    return ImageChoice(image or images[0], tuple(problems))


def remove_structure(text: str) -> str:
    """Takes out of free text what would be read as the structure of the conversation."""
    # A space in its place joins nothing anew: deleting the "<s>" of "<im<s>age>" would make an image mark.
    return STRUCTURE.sub(" ", text)
