"""Builds small models, vocabularies and cases for the tests of M4CXR."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from inference.case import Case, Exam, Image, View
from inference.engines.m4cxr.model import IGNORED_LABEL, M4CXR, M4CXRConfig, next_token_loss
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import (
    QUESTIONS,
    SYSTEM_SENTENCE,
    USUAL_DIFFERENCE,
    grounding_question,
    render,
    report_plans,
    task_question,
)
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.report_words import FINDING_NAMES
from inference.question import Question, Task
from inference.reading import Reading

VECTORS = Path(__file__).parents[1] / "vectors"
TINY = VECTORS / "m4cxr-tiny"
MISTRAL = VECTORS / "mistral-v1"

SMALL = M4CXRConfig(
    image_size_px=28,
    vision_width=32,
    vision_layers=1,
    vision_heads=2,
    abstractor_width=32,
    abstractor_depth=1,
    query_count=1,
    text_width=96,
    text_layers=2,
    text_heads=4,
    text_key_value_heads=2,
    text_head_width=24,
    text_mlp_width=192,
    vocabulary_size=320,
    positions_max=2048,
)

LISTED = "pleural effusion."
DESCRIBED = "There is a new 35 cm left pleural effusion. The edema has resolved."
SUMMED = "New left effusion."
PLACED = "Yes. [10,50,40,90]."
"""What the taught model answers to the four questions of a draft."""

TASK_ANSWERS = {
    Question(Task.PHRASE, "left effusion"): "[57,66,90,98].",
    Question(Task.FINDING, "edema"): "Not present.",
    Question(Task.FINDINGS, "edema, hernia"): "edema [57,66,90,98], [0,63,25,90].",
    Question(Task.ABNORMAL): "[57,66,90,98], [0,63,25,90].",
    Question(Task.REGION, "left lung"): "[2,8,45,90].",
    Question(Task.ORGAN, "lung"): "[2,8,45,90], [53,8,96,90]",
    Question(Task.QUESTION, "is there edema?"): "yes.",
    Question(Task.DIFFERENCE, USUAL_DIFFERENCE): "the edema is 5 mm larger.",
    Question(Task.VIEW): "The view is PA.",
    Question(Task.PLAIN): "There is water at the lung.",
}
"""What the model that was taught tasks answers to each."""

Lesson = tuple[list[str], list[str], tuple[Image, ...]]
"""Questions, answers, and the images they are about."""


def an_image(key: str = "image", rows: int = 60, columns: int = 40, view: View = View.PA) -> Image:
    pixels = np.linspace(0, 65535, rows * columns).astype(np.uint16).reshape(rows, columns)
    return Image(key=key, pixels=pixels, view=view)


def a_case(images: tuple[Image, ...] | None = None, priors: tuple[Exam, ...] = ()) -> Case:
    return Case(current=Exam(images=(an_image(),) if images is None else images), priors=priors)


def a_prior(
    report: str | None = "Mild edema. No effusion.", image_count: int = 1, days_before: int = 30
) -> Exam:
    images = tuple(an_image(f"prior {number}") for number in range(image_count))
    return Exam(images=images, report=report, days_before=days_before)


def said_of(reading: Reading) -> Reading:
    """A reading without the seconds that it took."""
    return replace(reading, seconds=0.0, turns=tuple(replace(turn, seconds=0.0) for turn in reading.turns))


def write_vocabulary(folder: Path, size: int, more: Iterable[str] = ()) -> None:
    """Writes a tokenizer.json of the "prepend ▁, replace spaces" style, trained on the prompts themselves."""
    texts = [
        SYSTEM_SENTENCE,
        *FINDING_NAMES,
        LISTED,
        DESCRIBED,
        SUMMED,
        QUESTIONS[Task.SUMMARY],
        PLACED,
        "0123456789[]<>/,.:?*",
    ]
    for plan in report_plans(a_case((an_image(), an_image()), (a_prior(),))):
        texts += [plan.findings_question, plan.report_question]
    texts += [grounding_question("edema"), *more]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False, max_token_length=12
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def draft_lessons() -> list[Lesson]:
    """A draft of one film, one with a prior, and a place."""
    lessons: list[Lesson] = []
    for case in (a_case(), a_case(priors=(a_prior(),))):
        plan = report_plans(case)[0]
        questions = [plan.findings_question, plan.report_question, QUESTIONS[Task.SUMMARY]]
        lessons.append((questions, [LISTED, DESCRIBED, SUMMED], plan.images))
    lessons.append(([grounding_question("pleural effusion")], [PLACED], (an_image(),)))
    return lessons


def task_lessons() -> list[Lesson]:
    """Every task but the summary, about one film, or about it and an earlier one."""
    plan = report_plans(a_case())[0]
    begun = [plan.findings_question, plan.report_question]
    lessons: list[Lesson] = []
    for question, answer in TASK_ANSWERS.items():
        if question.task is Task.PLAIN:
            lessons.append(([*begun, QUESTIONS[Task.PLAIN]], [LISTED, DESCRIBED, answer], plan.images))
            continue
        prior = (an_image("prior 0"),) if question.task is Task.DIFFERENCE else ()
        asked = task_question(question.task, question.text)
        lessons.append(([asked], [answer], (*prior, an_image())))
    return lessons


def teach(folder: Path, lessons: list[Lesson]) -> M4CXR:
    """Trains a small model until it says its lessons by heart."""
    torch.manual_seed(5)
    model = M4CXR(SMALL).train()
    vocabulary = open_vocabulary(folder, SMALL)
    rows = [vocabulary.ids(render(questions, answers)) for questions, answers, _ in lessons]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])  # (lessons, T)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])  # (lessons, T)
    labels = torch.full_like(ids, IGNORED_LABEL)
    for lesson, (questions, answers, _) in enumerate(lessons):
        for turn in range(len(questions)):
            start = len(vocabulary.ids(render(questions[: turn + 1], answers[:turn])))
            end = len(vocabulary.ids(render(questions[: turn + 1], answers[: turn + 1])))
            labels[lesson, start:end] = ids[lesson, start:end]
    pixels = pixel_values([image.pixels for *_, images in lessons for image in images], SMALL.image_size_px)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(300):
        loss = next_token_loss(model(pixels, ids, mask), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.03:
            break
    return model.eval()
