"""The demo model's small vocabulary: every word of the synthetic reports and of the questions is one token."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from inference.engines.m4cxr.prompts import BEGIN, END, SYSTEM_SENTENCE
from inference.engines.report_words import FINDING_NAMES
from inference.geometry import MODEL_UNITS
from inference.phantom import report

UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2

WHOLE_PHRASES = (
    SYSTEM_SENTENCE,
    "Which of the following findings are present in the",
    f"Findings: {', '.join(FINDING_NAMES)}",
    "Based on the previous conversation, provide a description of the findings in the",
    "The radiology studies are given in chronological order.",
    "present in the radiology image? If so, provide the bounding box coordinates of the region.",
    "[INST]",
    "[/INST]",
)
"""Parts of the questions that never change are one token each: the model says the same, in half the time."""

OTHER_TEXTS = (
    "radiology image: radiology images: prior radiology images: , prior radiology report: follow-up images: ,",
    "current follow-up radiology images? current follow-up radiology images. radiology image? radiology image.",
    "radiology images? radiology images. Is",
    f"{', '.join(FINDING_NAMES)}. Not found. Not present. Yes.",
)

_LETTERS = [chr(code) for code in range(0x21, 0x7F)] + ["▁"]
_PIECES = r"▁?[A-Za-z]+|▁?[0-9]+|▁|[^▁A-Za-z0-9]"
_VOCABULARY_MAX = 4000


def build_tokenizer() -> Tokenizer:
    """Builds the vocabulary from the grammar of the reports, the questions and the numbers of boxes.

    Pieces are spelled as in the published model's tokenizer.json: "▁" before the text and for every space.
    Words outside the vocabulary fall apart into letters.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_MAX,
        min_frequency=0,
        special_tokens=["<unk>", BEGIN, END],
        initial_alphabet=_LETTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in WHOLE_PHRASES])
    return tokenizer


def _corpus() -> Iterable[str]:
    yield from (f"{sentence}." for sentence in report.all_sentences())
    yield from OTHER_TEXTS
    numbers = [str(number) for number in range(MODEL_UNITS + 1)]
    yield f"[{','.join(numbers)}]"
