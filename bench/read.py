"""Seconds a reading: our way against the plain way, in one interleaved run, and decoding against the memory's speed.

The plain way is the published script's: every turn encodes all images and reads the whole conversation again, and
the places and the yes/no questions are asked one after the other. Both ways must say the same tokens.

    python -m bench.read [--rounds 2]
    python -m bench.read --shape 7b --device cuda      random weights of the published shape, in bfloat16
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from bench.listener import peak_rss_mb
from inference.case import Case, Image
from inference.engines.adapters import AttachedAdapters
from inference.engines.decoding import greedy, until_end
from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.engines.m4cxr.draft import Respondent, read_case
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import M4CXR, M4CXRConfig
from inference.engines.m4cxr.parse import parse_findings, tidy
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import grounding_question, render, report_plans
from inference.engines.m4cxr.tasks import answer
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.opening import Opened, Place
from inference.engines.ready import ReadyEngine
from inference.engines.report_words import FINDING_NAMES
from inference.engines.talk import running_on
from inference.engines.vision_rows import KEEPS_NOTHING, VisionRows
from inference.phantom.cases import HELD_OUT_SEED_MIN, case
from inference.phantom.train.evaluate import drawn_case
from inference.reading import EngineIdentity, Reading

MISTRAL_VOCABULARY = Path(__file__).parents[1] / "tests" / "vectors" / "mistral-v1"
SMALL = M4CXRConfig(
    image_size_px=140,
    vision_width=64,
    vision_layers=2,
    vision_heads=2,
    abstractor_width=64,
    abstractor_depth=1,
    query_count=25,
    text_width=128,
    text_layers=2,
    text_heads=4,
    text_key_value_heads=2,
    text_head_width=32,
    text_mlp_width=256,
)
"""The published shape made small: it runs the program for a GPU on any machine."""

SEED = HELD_OUT_SEED_MIN + 9000
KINDS = ("single image", "several images", "two studies")

Said = tuple[tuple[str, str, int], ...]
"""Of each turn its purpose, its answer and how many tokens that took."""


@dataclass(frozen=True)
class Subject:
    """The model under measurement, and the ids of every answer it gave, by text and count of tokens."""

    respondent: Respondent
    engine: ReadyEngine[Respondent]
    ids_of: dict[tuple[str, int], set[tuple[int, ...]]]


def open_subject(shape: str, device: str, answer_tokens_max: int) -> Subject:
    """Opens the demo weights, or makes random ones of a shape: "small" in float32, "7b" in bfloat16."""
    if shape == "demo":
        model = load_model(DEMO_WEIGHTS, Place(device, torch.float32)).model
        vocabulary = open_vocabulary(DEMO_WEIGHTS, model.config)
    else:
        torch.manual_seed(1)
        config, dtype = (SMALL, torch.float32) if shape == "small" else (M4CXRConfig(), torch.bfloat16)
        torch.set_default_dtype(dtype)
        with torch.device(device):
            model = M4CXR(config).eval().requires_grad_(False)
        torch.set_default_dtype(torch.float32)
        vocabulary = open_vocabulary(MISTRAL_VOCABULARY, config)
    ids_of: dict[tuple[str, int], set[tuple[int, ...]]] = {}

    def decode(ids: Sequence[int]) -> str:
        text = vocabulary.decode(ids)
        ids_of.setdefault((text, len(ids)), set()).add(tuple(ids))
        return text

    respondent = Respondent(model, replace(vocabulary, decode=decode), answer_tokens_max)
    identity = EngineIdentity("m4cxr", "bench", shape, "sha256:", is_demo=True)
    dtype = model.abstractor.pos_emb.dtype
    opened = Opened(respondent, AttachedAdapters(None, ()), {None: identity}, Place(device, dtype))
    begin = partial(read_case, asks_impression=False)
    engine = ReadyEngine(opened, {None: KEEPS_NOTHING}, frozenset(), begin=begin, answer=answer)
    return Subject(respondent, engine, ids_of)


def drawn_cases(kind: str, side_px: int) -> Iterator[Case]:
    """Draws synthetic cases of one of KINDS."""
    for seed in count(SEED):
        prior, current = case(seed, prior=kind == "two studies")
        if kind == "two studies" or (len(current.views) > 1) == (kind == "several images"):
            yield drawn_case(prior, current, side_px)


# --- the plain way ------------------------------------------------------------------------------


def read_plainly(respondent: Respondent, asked: Case) -> Said:
    """Reads a case as the published script would, one question after the other, nothing kept between them."""
    plan = report_plans(asked)[0]
    listed = _answer(respondent, plan.images, [plan.findings_question], [])
    names_said = tidy(respondent.vocabulary.decode(listed))
    questions = [plan.findings_question, plan.report_question]
    said = [("findings", listed), ("report", _answer(respondent, plan.images, questions, [names_said]))]
    named = parse_findings(names_said).names
    for image in asked.current.images:
        if not image.view.is_frontal:
            continue
        placed = {}
        for name in FINDING_NAMES:
            tokens_max = respondent.answer_tokens_max if name in named else 1
            placed[name] = _answer(respondent, [image], [grounding_question(name)], [], tokens_max)
        said += [(f"grounding: {name}", placed[name]) for name in named]
    return tuple((purpose, respondent.vocabulary.decode(ids), len(ids)) for purpose, ids in said)


def _answer(
    respondent: Respondent,
    images: Sequence[Image],
    questions: Sequence[str],
    answers: Sequence[str],
    tokens_max: int | None = None,
) -> list[int]:
    model, vocabulary = respondent.model, respondent.vocabulary
    device = model.abstractor.pos_emb.device
    pixels = pixel_values([image.pixels for image in images], model.config.image_size_px)
    ids = torch.tensor([vocabulary.ids(render(questions, answers))], device=device)  # (1, T)
    new_ids = greedy(
        model,
        model.embed(ids, model.image_rows(pixels.to(device))),
        cache=model.new_cache(),
        tokens_max=tokens_max or respondent.answer_tokens_max,
        end_id=model.end_id,
    )
    return until_end(new_ids[0], model.end_id)


# --- measuring ------------------------------------------------------------------------------------

Way = Callable[[Sequence[Case]], list[Said]]


@dataclass
class Tally:
    """What one way took for one kind of case."""

    cases: int = 0
    tokens: int = 0
    seconds: float = 0.0


def ways_of(subject: Subject, batches: Sequence[int]) -> dict[str, Way]:
    """Names the ways to read several cases, the plain one first, then ours with so many cases at once."""

    def said_in(reading: Reading) -> Said:
        return tuple((turn.purpose, turn.answer, turn.answer_tokens) for turn in reading.turns)

    def ours(batch: int) -> Way:
        return lambda cases: [
            said_in(reading)
            for start in range(0, len(cases), batch)
            for reading in subject.engine.read_many(cases[start : start + batch])
        ]

    ways: dict[str, Way] = {"plain": lambda cases: [read_plainly(subject.respondent, one) for one in cases]}
    return ways | {f"ours, {batch} at once": ours(batch) for batch in batches}


def measure(
    ways: dict[str, Way], rounds: Sequence[Sequence[Case]], device: str
) -> tuple[dict[str, Tally], int]:
    """Reads the cases of each round in each way, another one first each time.

    Returns:
        The tallies by way, and how many cases were said otherwise than the plain way says them.
    """
    tallies = {name: Tally() for name in ways}
    differing = 0
    names = list(ways)
    with torch.inference_mode():
        for number, cases in enumerate(rounds):
            said = {}
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                said[name], seconds = timed(lambda way=ways[name], cases=cases: way(cases), device)
                tally = tallies[name]
                tally.cases += len(cases)
                tally.tokens += sum(count for one in said[name] for *_, count in one)
                tally.seconds += seconds
            differing += sum(len(set(alike)) > 1 for alike in zip(*said.values(), strict=True))
    return tallies, differing


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """Gives what `work` gives, and the seconds it took.

    On a CPU those of the processor, on one thread: what others do on the machine does not count. On a GPU those of
    the clock.
    """
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    began = clock()
    result = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return result, clock() - began


def peak_mb(asked: argparse.Namespace, way: str) -> float:
    """Reads a few cases of two studies in one way, in a process of its own, and says the most memory it held.

    On a CPU all of the process, libraries included; on a GPU what torch took of the card.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(_own_peak_mb, asked, way).result()


def _own_peak_mb(asked: argparse.Namespace, way: str) -> float:
    subject = _subject(asked)
    measure(
        {way: ways_of(subject, asked.batches)[way]},
        [list(islice(drawn_cases("two studies", asked.side_px), max(asked.batches)))],
        asked.device,
    )
    if asked.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    # Not getrusage: its figure outlives exec, so a child begins with its parent's.
    return peak_rss_mb(os.getpid())


def bytes_a_second(device: str) -> float:
    """Measures how fast memory is read and written, by copying 256 MB within it."""
    source = torch.ones(1 << 26, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    seconds = [timed(lambda: target.copy_(source), device)[1] for _ in range(10)]
    return 2 * source.nbytes / median(seconds)


@dataclass(frozen=True)
class Decoding:
    """Tokens a second after a prompt of noise.

    Attributes:
        by_parts: as an answer is said.
        by_passes: as transformers says it.
        floor: how many there could be at most if every weight of the language model, which each token needs, came at
            the memory's speed.
    """

    by_parts: float
    by_passes: float
    floor: float


def decoding(model: M4CXR, prompt_tokens: int = 512, tokens: int = 64, rounds: int = 5) -> Decoding:
    """Lets a model speak both ways by turns; takes the medians."""
    device = model.abstractor.pos_emb.device
    with torch.inference_mode():
        ids = torch.randint(3, model.config.vocabulary_size, (1, prompt_tokens), device=device)
        embeddings = model.embed(ids, None)

        def by_passes(count: int) -> Tensor:
            # An id that no answer has: all are spoken.
            return greedy(model, embeddings, cache=model.new_cache(), tokens_max=count, end_id=-1)

        def speed(speak: Callable[[int], Tensor]) -> float:
            # An answer of one token takes what hearing the prompt takes.
            _, hearing = timed(lambda: speak(1), str(device))
            _, seconds = timed(lambda: speak(1 + tokens), str(device))
            return tokens / (seconds - hearing)

        speeds = [(speed(partial(running_on, model, embeddings)), speed(by_passes)) for _ in range(rounds)]
    # Of the embeddings each token reads one row only.
    embeddings_bytes = model.language_model.model.embed_tokens.weight.nbytes
    read_bytes = sum(weight.nbytes for weight in model.language_model.parameters()) - embeddings_bytes
    by_parts, passes = (median(each) for each in zip(*speeds, strict=True))
    return Decoding(by_parts, passes, bytes_a_second(str(device)) / read_bytes)


def look_seconds(subject: Subject, image: Image, folder: Path) -> tuple[float, float]:
    """Measures what a look at an image takes, preprocessing aside, and what it takes to fetch what was kept of it."""
    model = subject.respondent.model
    device = str(model.abstractor.pos_emb.device)
    pixels = pixel_values([image.pixels], model.config.image_size_px).to(device)
    kept = VisionRows(folder / "vision", "bench", 1_000_000_000)
    with torch.inference_mode():
        seen = kept.of(pixels, lambda pixels: model.image_rows(pixels)[0])
        looks = [timed(lambda: model.image_rows(pixels), device)[1] for _ in range(10)]
        fetches = [timed(lambda: kept.of(pixels, lambda _: seen), device)[1] for _ in range(10)]
    return median(looks), median(fetches)


# --- the tables -----------------------------------------------------------------------------------


def lines(asked: argparse.Namespace) -> Iterator[str]:
    """Gives the lines of two Markdown tables, each when it is measured."""
    subject = _subject(asked)
    ways, size = ways_of(subject, asked.batches), max(asked.batches)
    yield "| case | way | s a case | cases an hour | tokens/s | times faster |"
    yield "|---|---|---|---|---|---|"
    differing = 0
    for kind in KINDS:
        cases = list(islice(drawn_cases(kind, asked.side_px), asked.rounds * size))
        measure(ways, [cases[:1]], asked.device)  # to warm up
        rounds = [cases[start : start + size] for start in range(0, len(cases), size)]
        tallies, otherwise = measure(ways, rounds, asked.device)
        differing += otherwise
        for name, tally in tallies.items():
            seconds = tally.seconds / tally.cases
            faster = tallies["plain"].seconds / tally.seconds
            yield (
                f"| {kind} | {name} | {seconds:.3f} | {3600 / seconds:.0f} "
                f"| {tally.tokens / tally.seconds:.0f} | {faster:.1f} |"
            )
    # One text can be of other tokens: then nobody knows which of them a reading said.
    differing += sum(len(ids) > 1 for ids in subject.ids_of.values())
    yield f"\n{differing} of {len(KINDS) * asked.rounds * size} cases were not said alike.\n"
    with TemporaryDirectory() as folder:
        look, fetch = look_seconds(subject, cases[0].current.images[0], Path(folder))
    yield f"Looking at an image: {look * 1e3:.1f} ms; fetching what was seen: {fetch * 1e3:.1f} ms."
    spoken = decoding(subject.respondent.model)
    yield (
        f"Decoding: {spoken.by_parts:.0f} tokens/s, {spoken.by_passes:.0f} by transformers' passes; reading the "
        f"weights at the memory's speed allows {spoken.floor:.0f} ({spoken.by_parts / spoken.floor:.0%})."
    )
    names = list(ways)
    del subject, ways
    for name in names:
        yield f"Peak memory, {name}: {peak_mb(asked, name):.0f} MB."
    if differing and asked.shape != "7b":
        raise SystemExit("the ways differ: that is a bug")


def _subject(asked: argparse.Namespace) -> Subject:
    torch.set_num_threads(1)
    return open_subject(asked.shape, asked.device, asked.answer_tokens_max)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=("demo", "small", "7b"), default="demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="cases at once")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of as many cases as the largest batch, of each kind"
    )
    parser.add_argument("--side-px", type=int, default=512, help="rows and columns of the films drawn")
    parser.add_argument("--answer-tokens-max", type=int, default=64)
    for line in lines(parser.parse_args(arguments)):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
