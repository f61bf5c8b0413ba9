"""The questions M4CXR was trained with, word for word, and which of them a case can be asked.

A report is drafted in two turns: which findings are there, then a description given that answer. There are
three forms, for one image, for several of one study, and for a study with one prior study. Wording, order and
spaces are those of training; another comma makes other tokens.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.case import Case, Exam, Image
from inference.engines.report_words import FINDING_NAMES, MEASUREMENT
from inference.question import Task

BEGIN, END, IMAGE = "<s>", "</s>", "<image>"
STRUCTURE = re.compile(r"<image>|\[INST\]|\[/INST\]|<s>|</s>")
"""What shapes a conversation; in free text it would be read as structure."""

SYSTEM_SENTENCE = (
    "The following is a conversation between a curious human and an AI medical assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

GROUNDING_ANSWERS = ("Yes.", "Not present.")
"""How the answer to a grounding question begins, if the finding is there and if it is not."""

ONE_IMAGE = f"radiology image: {IMAGE}"
TWO_IMAGES = f"reference: {IMAGE}, main: {IMAGE}"
"""The image parts of a first question: of one image alone, and of an earlier and a current one."""

QUESTIONS: Mapping[Task, str] = {
    Task.PHRASE: "Provide the bounding box coordinate of the region this phrase describes: {text}",
    Task.FINDING: "Is {text} present in the radiology image? "
    "If so, provide the bounding box coordinates of the region.",
    Task.FINDINGS: "Which of the following findings are present in the radiology image? "
    "Provide the bounding box coordinates if present. Findings: {text}",
    Task.ABNORMAL: "Provide the bounding box coordinates of abnormal regions in the radiology image.",
    Task.REGION: "Provide the bounding box coordinate of the anatomical region. {text}",
    Task.ORGAN: "Provide the bounding box coordinates of {text} in the radiology image.",
    Task.QUESTION: "Answer the question. {text}",
    Task.DIFFERENCE: "Using the provided reference and main radiology images, "
    "answer the following question. {text}",
    Task.VIEW: "What is the view of this chest X-ray?",
    Task.PLAIN: "Explain the description with easy language.",
    Task.SUMMARY: "Summarize the description concisely.",
}
"""What each task is asked with. PLAIN and SUMMARY follow a report, in conversations about one image; the others
open a conversation about one image, DIFFERENCE about two. No other place was trained."""

USUAL_DIFFERENCE = "what has changed compared to the reference image?"

REGION_NAMES = (
    *(
        f"{side} {part}"
        for side in ("right", "left")
        for part in (
            "lung",
            "upper lung zone",
            "mid lung zone",
            "lower lung zone",
            "hilar structures",
            "apical zone",
            "costophrenic angle",
            "hemidiaphragm",
            "clavicle",
        )
    ),
    "trachea",
    "spine",
    "aortic arch",
    "mediastinum",
    "upper mediastinum",
    "svc",
    "cardiac silhouette",
    "cavoatrial junction",
    "right atrium",
    "carina",
    "abdomen",
)
"""Anatomical regions of Chest ImaGenome, which the model learned to place."""

_BROKEN_NUMBER = re.compile(r"[ ]?\d*(?:[./,:·]\d+)+")
"""A number that cleaning would run together: 3.5 to 35, 2/14 to 214, 8:45 to 845, .5 to 5, C5/6 to C56."""

IMAGES_OF_ONE_STUDY_MAX = 5
IMAGES_OF_TWO_STUDIES_MAX = 10
_PRIOR_REPORT_CHARACTERS_MIN = 5
"""Training left out pairs whose cleaned reports are shorter."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportPlan:
    """One of the three forms, filled in for a case.

    Attributes:
        images: in the order of their marks.
        findings_question, report_question: the two user turns, the first with system sentence and images.
        has_prior: whether a prior study is among it.
        problems: sentences on what this form had to leave out of the case.
    """

    images: tuple[Image, ...]
    findings_question: str
    report_question: str
    has_prior: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanedReport:
    """A prior report as the model knows them, and how many measurements and dates were taken out."""

    text: str
    masked_count: int


def render(questions: Sequence[str], answers: Sequence[str]) -> str:
    """Writes a conversation as it was written in training.

    Args:
        questions: the user's turns.
        answers: the model's; as many as questions, or one fewer where the last one is to be generated.
    """
    ends = [f"{answer}{END}" for answer in answers] + [""] * (len(questions) - len(answers))
    turns = (f"[INST] {question} [/INST]{end}" for question, end in zip(questions, ends, strict=True))
    return BEGIN + "".join(turns)


def first_question(image_part: str, question: str) -> str:
    """Puts the system sentence and the images before the first question."""
    return f"{SYSTEM_SENTENCE} {image_part} {question}"


def task_question(task: Task, text: str = "") -> str:
    """Asks a task as the first question of a conversation of its own.

    Args:
        task: one of QUESTIONS that does not follow a report.
    """
    image_part = TWO_IMAGES if task is Task.DIFFERENCE else ONE_IMAGE
    return first_question(image_part, QUESTIONS[task].format(text=text))


def grounding_question(finding: str) -> str:
    """Asks where a finding is, on one image alone in a conversation of its own: no other way was trained."""
    return task_question(Task.FINDING, finding)


def report_plans(case: Case) -> tuple[ReportPlan, ...]:
    """Lists the forms in which this case can be asked, the fullest first.

    With a prior study if one has images and a findings text and both studies together are not too large; with
    several images if there are; at last, always, with the first image alone.

    Raises:
        ValueError: if the case has no image.
    """
    if not case.current.images:
        raise ValueError("the case has no image")
    prior, prior_problems = _choose_prior(case)
    plans: list[ReportPlan] = []
    if prior is not None:
        plans.append(_two_study_plan(prior, case.current, prior_problems))
        prior_problems = ("The prior exam does not fit into the model's context and was left out.",)
    if len(case.current.images) > 1:
        plans.append(_several_image_plan(case.current, prior_problems))
    plans.append(_single_image_plan(case.current, prior_problems))
    return tuple(plans)


def clean_report(text: str) -> CleanedReport:
    """Brings a prior report into the form the model was trained on.

    Training deleted all punctuation inside sentences, decimal points too, so "3.5 cm" became "35 cm". Numbers
    with units, decimals and dates are therefore taken out first, as de-identification had done with many.
    """
    without_units, unit_count = MEASUREMENT.subn("", text)
    without_numbers, broken_count = _BROKEN_NUMBER.subn("", without_units)
    # Structure goes last: deleting a "*" can make "<im*age>" whole. A space in its place joins nothing anew.
    cleaned = remove_structure(clean_text(without_numbers))
    return CleanedReport(re.sub(r"\s+", " ", cleaned).strip(), unit_count + broken_count)


def clean_text(text: str) -> str:
    """Cleans a report exactly as the training texts were cleaned; an empty one becomes "."."""
    text = text.replace("\n", " ")
    for twice, once, times in (("__", "_", 7), ("  ", " ", 6), ("..", ".", 8)):
        for _ in range(times):
            text = text.replace(twice, once)
    text = text.replace("1. ", "")
    for before in (". ", " "):
        for number in "2345":
            text = text.replace(f"{before}{number}. ", ". ")
    return ". ".join(_clean_sentence(sentence) for sentence in text.strip().split(". ")) + "."


def remove_structure(text: str) -> str:
    """Takes out of free text what would be read as the structure of the conversation."""
    return STRUCTURE.sub(" ", text)


def _clean_sentence(sentence: str) -> str:
    sentence = re.sub(r"[\"/\\']", "", sentence).strip()
    return re.sub(r"\s+", " ", re.sub(r"[.,?;*!%^&_+():\[\]{}]", "", sentence))


def _choose_prior(case: Case) -> tuple[Exam | None, tuple[str, ...]]:
    """Chooses the latest prior with images and a findings text, and says what that leaves out.

    Training showed one prior, never more, never one without images, and of its report the findings, never the
    impression.
    """
    if not case.priors:
        return None, ()
    usable = [prior for prior in case.priors if prior.images and _has_findings_text(prior)]
    if not usable:
        return None, (
            "No prior exam has both images and a report with findings, so the draft compares with none.",
        )
    prior = usable[-1]
    image_count = len(prior.images) + len(case.current.images)
    if image_count > IMAGES_OF_TWO_STUDIES_MAX:
        return None, (
            f"Prior and current exam have {image_count} images, the model takes {IMAGES_OF_TWO_STUDIES_MAX}; "
            "the prior was left out and the draft compares with none.",
        )
    if len(case.priors) == 1:
        return prior, ()
    return prior, (
        f"Of {len(case.priors)} prior exams the model was shown one, {_age(prior)}; it takes no more.",
    )


def _has_findings_text(prior: Exam) -> bool:
    if prior.report is None or prior.report_section == "impression":
        return False
    return len(clean_report(prior.report).text) >= _PRIOR_REPORT_CHARACTERS_MIN


def _age(prior: Exam) -> str:
    return "of unknown date" if prior.days_before is None else f"{prior.days_before} days before"


def _marks(images: Sequence[Image]) -> str:
    return " ".join([IMAGE] * len(images))


def _findings_question(where: str) -> str:
    return f"Which of the following findings are present in the {where}? Findings: {', '.join(FINDING_NAMES)}"


def _report_question(where: str) -> str:
    return f"Based on the previous conversation, provide a description of the findings in the {where}."


def _two_study_plan(prior: Exam, current: Exam, problems: tuple[str, ...]) -> ReportPlan:
    report = clean_report(prior.report or "")
    if report.masked_count:
        problems += (
            f"{report.masked_count} measurements or dates of the prior report were kept from the model.",
        )
    question = (
        f"follow-up images: {_marks(current.images)}, "
        "The radiology studies are given in chronological order. "
        + _findings_question("current follow-up radiology images")
    )
    return ReportPlan(
        images=(*prior.images, *current.images),
        findings_question=first_question(
            f"prior radiology images: {_marks(prior.images)}, prior radiology report: {report.text}", question
        ),
        report_question=_report_question("current follow-up radiology images"),
        has_prior=True,
        problems=problems,
    )


def _several_image_plan(current: Exam, problems: tuple[str, ...]) -> ReportPlan:
    images = current.images[:IMAGES_OF_ONE_STUDY_MAX]
    if len(images) < len(current.images):
        problems += (f"The model was shown {len(images)} of {len(current.images)} images.",)
    return ReportPlan(
        images=images,
        findings_question=first_question(
            f"radiology images: {_marks(images)}", _findings_question("radiology images")
        ),
        report_question=_report_question("radiology images"),
        problems=problems,
    )


def _single_image_plan(current: Exam, problems: tuple[str, ...]) -> ReportPlan:
    if len(current.images) > 1:
        problems += (f"The model was shown 1 of {len(current.images)} images.",)
    return ReportPlan(
        images=current.images[:1],
        findings_question=first_question(ONE_IMAGE, _findings_question("radiology image")),
        report_question=_report_question("radiology image"),
        problems=problems,
    )
