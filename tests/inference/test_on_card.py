"""On a card the engines do what they do on a CPU, and no operation gets numbers of both.

The card is a pretended one: that is what can be held against every line without one.
"""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

from inference.engine import open_engine
from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.engines.m4cxr.loading import load_model
from inference.engines.opening import Place
from inference.engines.talk import running_on
from inference.question import Question, Task
from tests.inference import cxr_llava_small
from tests.inference.medgemma_small import write_medgemma
from tests.inference.pretended_card import CARD, OnCard, looks, pretended_card
from tests.inference.small import TINY, a_case, a_prior, an_image, said_of

CASES = (a_case(), a_case(priors=(a_prior(),)), a_case((an_image("one"), an_image("other", rows=50))))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_folder):
    """A folder of weights for each family; the answers are nonsense, as long as they may be."""
    llava = tmp_path_factory.mktemp("llava")
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(cxr_llava_small.TINY / name, llava / name)
    cxr_llava_small.write_vocabulary(llava)
    medgemma = write_medgemma(tmp_path_factory.mktemp("medgemma"))
    return {"m4cxr": tiny_folder, "cxr_llava": llava, "medgemma": medgemma}


def on_both(work):
    """What a piece of work gives on the CPU, and what on the card."""
    here = work(device="cpu")
    with pretended_card():
        return here, work(device="cuda:0")


def test_the_pretended_card_refuses_what_a_card_refuses():
    with pretended_card():
        there = torch.ones(3, device=CARD)

        assert (there + torch.tensor(1.0)).device == CARD
        assert (there.cpu() + torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
        with pytest.raises(RuntimeError, match="of the CPU"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert torch.ones(3).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("m4cxr", {"dtype": "float32"}),
        ("m4cxr", {"weights": "int8"}),
        ("m4cxr", {"weights": "int4", "adapter_folder": TINY / "adapter"}),
        ("cxr_llava", {"dtype": "float32"}),
        ("cxr_llava", {"weights": "int8"}),
        ("medgemma", {"dtype": "float32"}),
        ("medgemma", {"weights": "int4"}),
    ],
)
def test_cases_read_at_once_are_read_as_on_a_cpu(folders, name, settings):
    """In bfloat16 where nothing else is asked for, as a card has it."""
    settings = {"dtype": "bfloat16", "answer_tokens_max": 8} | settings

    def readings(device):
        engine = open_engine(name, model_folder=folders[name], device=device, **settings)
        model = engine._opened.respondent.model
        network = model.network if name == "medgemma" else model
        assert all(isinstance(weight, OnCard) == (device != "cpu") for weight in network.parameters())
        return [said_of(reading) for reading in engine.read_many(CASES)]

    here, there = on_both(readings)

    assert there == here


def test_the_demo_model_says_and_finds_what_it_does_on_a_cpu():
    def readings(device):
        engine = open_engine("m4cxr", model_folder=DEMO_WEIGHTS, device=device, dtype="float32")
        return [said_of(reading) for reading in engine.read_many(CASES)]

    here, there = on_both(readings)

    assert there == here


def test_an_attached_adapter_is_taken_and_left(folders):
    def answers(device):
        engine = open_engine(
            "m4cxr",
            model_folder=folders["m4cxr"],
            device=device,
            dtype="float32",
            adapters={"trained": TINY / "adapter"},
            answer_tokens_max=4,
        )
        cases = [replace(a_case(), adapter="trained"), a_case()]
        return [said_of(engine.read(case)) for case in cases]

    here, there = on_both(answers)

    assert there == here
    assert here[0] != here[1]


def test_what_was_seen_of_an_image_is_fetched_onto_the_card(folders, tmp_path):
    def readings(device):
        engine = open_engine(
            "m4cxr",
            model_folder=folders["m4cxr"],
            device=device,
            dtype="float32",
            answer_tokens_max=4,
            vision_folder=tmp_path / device,
            vision_cache_mb=10,
        )
        return [said_of(engine.read(case)) for case in (CASES[1], CASES[1])]

    here, there = on_both(readings)

    assert there == here
    assert len(list((tmp_path / "cuda:0").iterdir())) == 1  # prior and current film are alike


def test_a_token_costs_one_look_at_the_card():
    def looked(tokens):
        looks.clear()
        running_on(model, embeddings, tokens)
        return len(looks)

    with pretended_card(), torch.inference_mode():
        model = load_model(TINY, Place("cuda:0", torch.float32)).model
        embeddings = model.embed(torch.ones(2, 9, dtype=torch.long, device=CARD), None)

        assert looked(7) - looked(3) == 4


@pytest.mark.parametrize(
    ("name", "question"),
    [
        *(
            ("m4cxr", Question(task, "edema"))
            for task in (Task.PHRASE, Task.FINDING, Task.FINDINGS, Task.QUESTION)
        ),
        ("m4cxr", Question(Task.REGION, "left lung")),
        *(("m4cxr", Question(task)) for task in (Task.ABNORMAL, Task.VIEW, Task.SUMMARY, Task.PLAIN)),
        ("m4cxr", Question(Task.DIFFERENCE)),
        ("cxr_llava", Question(Task.QUESTION, "Is there edema?")),
        ("cxr_llava", Question(Task.DIFFERENTIAL)),
        ("medgemma", Question(Task.QUESTION, "Is there edema?")),
    ],
)
def test_questions_are_answered_as_on_a_cpu(folders, name, question):
    def answer(device):
        opened = partial(open_engine, name, model_folder=folders[name], dtype="float32", answer_tokens_max=6)
        given = opened(device=device).ask(CASES[1], question)
        return given.text, given.places, [turn.answer for turn in given.turns]

    here, there = on_both(answer)

    assert there == here
