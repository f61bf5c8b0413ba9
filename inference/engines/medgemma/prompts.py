"""The questions put to MedGemma, in its publisher's chat format, and what of a case is shown with them.

A report is drafted in two turns: which findings are there, then a description given that answer. MedGemma was
published with a format for one image and a question, and with none for a prior exam. So the wording is ours, and
the exams are told apart by words before each image.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from inference.case import Case, Exam, Image, View
from inference.engines.report_words import FINDING_NAMES

SYSTEM_SENTENCE = "You are an expert radiologist."
"""The publisher's own, from the model card."""

IMAGE = "<image>"
"""Stands in a question where an image is shown. No space may be next to it: the chat template would drop it."""

BEGIN, START_OF_TURN, END_OF_TURN = "<bos>", "<start_of_turn>", "<end_of_turn>"
START_OF_USER_TURN = f"{START_OF_TURN}user\n"
START_OF_IMAGE = "<start_of_image>"

_STRUCTURE = re.compile(r"</?[A-Za-z_]\w*>|\[multimodal\]|\[@BOS@\]")
"""What the tokenizer takes for structure or markup. Its special tokens are a few hundred, <unused0> to <unused98>
among them; no radiologist's sentence needs a word in angle brackets, so all of them go."""

IMAGES_OF_CURRENT_MAX = 4
IMAGES_OF_PRIOR_MAX = 2
"""A frontal and a lateral view of each exam, and two repeats. Each image takes 256 tokens and a pass of 4,096
patches; how answers change with more images has not been measured."""

PRIOR_REPORT_CHARACTERS_MAX = 4000
INDICATION_CHARACTERS_MAX = 1000
"""Longer than nearly every such text; a bound, so that no header can fill the model's context."""

FREE_PROMPTING = (
    "Showing this model a prior exam in this way is free prompting, which its publisher has neither described nor "
    "measured: what it says of changes may be wrong."
)

_WHICH_FINDINGS = (
    f"Which of the following findings are present in the current exam? {', '.join(FINDING_NAMES)}.\n"
    'Answer with a comma-separated list of those that are present, in these words, or with "none".'
)
_DESCRIBE = (
    "Given these findings, write the findings section of the radiology report of the current exam, in plain "
    "sentences without headings, lists or measurements."
)
SUMMARY_QUESTION = (
    "Write the impression section of this report: one to three plain sentences on what matters most in it. "
    "Add nothing that the findings section does not say, and no measurements."
)
PLAIN_QUESTION = (
    "Explain this report to the patient in easy language, in a few sentences. "
    "Add nothing that it does not say."
)
_VIEWS = {
    View.PA: "PA view",
    View.AP: "AP view",
    View.FRONTAL: "frontal view",
    View.LATERAL: "lateral view",
    View.UNKNOWN: "view not known",
}


@dataclass(frozen=True, slots=True, eq=False)
class ReportPlan:
    """What a case is asked and shown.

    Attributes:
        images: in the order of their marks, which is that of time.
        opening: what the first user turn begins with, whatever it asks: the exams, their images and texts.
        findings_question, report_question: the two user turns.
        has_prior: whether a prior exam is among it.
        problems: sentences on what was left out of the case, and on what its answers cannot be trusted for.
    """

    images: tuple[Image, ...]
    opening: str
    report_question: str
    has_prior: bool = False
    problems: tuple[str, ...] = ()

    @property
    def findings_question(self) -> str:
        return f"{self.opening}{_WHICH_FINDINGS}"

    def presence_question(self, finding: str) -> str:
        """Asks for one finding, in the place of all."""
        return f"{self.opening}Does the current exam show {finding}? Answer with yes or no."


def report_plan(case: Case) -> ReportPlan:
    """Plans the questions on a case: with the latest prior that has images, or else on the current exam alone.

    Of each exam the first images are shown, which are frontal where there are frontal ones.

    Raises:
        ValueError: if the case has no image.
    """
    if not case.current.images:
        raise ValueError("the case has no image")
    prior, problems = _choose_prior(case)
    images, marks, image_problems = _shown("Current", case.current, IMAGES_OF_CURRENT_MAX)
    indication, indication_problems = _said("Indication", case.indication, INDICATION_CHARACTERS_MAX)
    current = ReportPlan(
        images=images,
        opening=f"{marks}{indication}",
        report_question=_DESCRIBE,
        problems=(*problems, *image_problems, *indication_problems),
    )
    return _alone(current) if prior is None else _compared(prior, current)


def one_image_question(image: Image, text: str) -> str:
    """Asks a question about one image of the current exam, in a conversation of its own."""
    return f"Chest X-ray, {_VIEWS[image.view]}:{IMAGE}{text}"


def messages(questions: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
    """Writes a conversation as the processor's chat template takes it.

    Args:
        questions: the user's turns, IMAGE where an image is shown.
        answers: the model's; one fewer than questions where the last one is to be generated.
    """
    turns = [_message("system", SYSTEM_SENTENCE)]
    for number, question in enumerate(questions):
        turns.append(_message("user", question))
        turns += [_message("assistant", answer) for answer in answers[number : number + 1]]
    return turns


def last_question(rendered: str) -> str:
    """Cuts the last user turn out of a rendered conversation: the words the model got, IMAGE for each image."""
    return rendered.rpartition(START_OF_USER_TURN)[2].partition(END_OF_TURN)[0].replace(START_OF_IMAGE, IMAGE)


def remove_structure(text: str) -> str:
    """Takes out of free text what would be read as the structure of the conversation.

    A space takes its place, so that nothing is joined anew: "<bos<eos>>" does not become "<bos>".
    """
    return _STRUCTURE.sub(" ", text)


def _message(role: str, text: str) -> dict[str, Any]:
    """Writes one turn: its pieces of text, and an image between each two."""
    content: list[dict[str, str]] = []
    for number, piece in enumerate(text.split(IMAGE)):
        if number:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    return {"role": role, "content": content}


def _choose_prior(case: Case) -> tuple[Exam | None, tuple[str, ...]]:
    """Chooses the latest prior with images, and says what that leaves out."""
    if not case.priors:
        return None, ()
    with_images = [prior for prior in case.priors if prior.images]
    if not with_images:
        return None, ("No prior exam has images, so the draft compares with none.",)
    prior = with_images[-1]
    if len(case.priors) == 1:
        return prior, ()
    return prior, (f"Of {len(case.priors)} prior exams the model was shown one: {_age(prior)}.",)


def _age(prior: Exam) -> str:
    if prior.days_before is None:
        return "of unknown date"
    return f"{prior.days_before} {'day' if prior.days_before == 1 else 'days'} before the current exam"


def _alone(current: ReportPlan) -> ReportPlan:
    return replace(
        current,
        opening=f"This is the current exam of a patient; no earlier exam is shown.\n{current.opening}",
        report_question=f"{current.report_question} Do not compare with earlier exams: none was shown.",
    )


def _compared(prior: Exam, current: ReportPlan) -> ReportPlan:
    images, marks, image_problems = _shown("Prior", prior, IMAGES_OF_PRIOR_MAX)
    report, cut_problems = _said("Report of the prior exam", prior.report, PRIOR_REPORT_CHARACTERS_MAX)
    return ReportPlan(
        images=(*images, *current.images),
        opening=f"These are chest X-rays of one patient in time order: a prior exam, {_age(prior)}, "
        f"then the current exam.\n{marks}{report}{current.opening}",
        report_question=f"{current.report_question} Compare it with the prior exam: say what is new, larger, "
        "smaller, unchanged or resolved.",
        has_prior=True,
        problems=(FREE_PROMPTING, *current.problems, *image_problems, *cut_problems),
    )


def _shown(which: str, exam: Exam, images_max: int) -> tuple[tuple[Image, ...], str, tuple[str, ...]]:
    """Takes an exam's first images; gives them, a line with the place of each, and what was left out."""
    images = exam.images[:images_max]
    marks = "".join(
        f"{which} exam, image {number} of {len(images)}, {_VIEWS[image.view]}:{IMAGE}"
        for number, image in enumerate(images, start=1)
    )
    if len(images) == len(exam.images):
        return images, marks, ()
    left_out = f"The model was shown {len(images)} of {len(exam.images)} images of the {which.lower()} exam."
    return images, marks, (left_out,)


def _said(what: str, text: str | None, characters_max: int) -> tuple[str, tuple[str, ...]]:
    """Writes a line of free text with its name before it, or nothing; and says if the text was cut."""
    line = " ".join(remove_structure(text or "").split())
    if not line:
        return "", ()
    if len(line) <= characters_max:
        return f"{what}: {line}\n", ()
    cut = f"{what}: the model was shown the first {characters_max} of {len(line)} characters."
    return f"{what}: {line[:characters_max].rstrip()}\n", (cut,)
