"""Conversations become token ids the way M4CXR was trained, and ids become text.

The text is cut at its structure (`<image>`, `[INST]`, ...) and every piece is tokenized by itself, so a piece
that starts with a space gets the vocabulary's own leading "▁" in addition. transformers 5 has classes that
do not, and give other ids for every prompt; so sentencepiece or tokenizers are asked directly, and a
known piece is checked when the vocabulary is opened.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXRConfig
from inference.engines.m4cxr.prompts import BEGIN, END, IMAGE, STRUCTURE, SYSTEM_SENTENCE
from inference.engines.report_words import FINDING_NAMES
from inference.engines.stored import json_object

_MISTRAL_VOCABULARY_SIZE = 32000
_MISTRAL_PIECES: dict[str, list[int]] = {
    " radiology image: ": [28705, 16893, 2161, 3469, 28747, 28705],
    "[INST]": [733, 16289, 28793],
    "[/INST]": [733, 28748, 16289, 28793],
    " ": [259],
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Text to ids and back.

    Attributes:
        encode: ids of one piece of text, no special tokens added.
        decode: text of ids, special tokens left out.
        begin_id, end_id: of `<s>` and `</s>`.
        query_count: places that one `<image>` takes.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    begin_id: int
    end_id: int
    query_count: int

    def ids(self, conversation: str) -> list[int]:
        """Gives the ids of a rendered conversation, IMAGE_MARKER at the places of images."""
        ids: list[int] = []
        for piece in re.split(f"({STRUCTURE.pattern})", conversation):
            if piece == BEGIN:
                ids.append(self.begin_id)
            elif piece == END:
                ids.append(self.end_id)
            elif piece == IMAGE:
                ids += [IMAGE_MARKER] * self.query_count
            elif piece:
                ids += self.encode(piece)
        return ids


def open_vocabulary(model_folder: Path, config: M4CXRConfig) -> Vocabulary:
    """Opens the vocabulary beside the weights, tokenizer.model or else tokenizer.json, and checks it.

    A vocabulary of Mistral's size must give the ids that M4CXR was trained with. Any other must give known
    texts back, and the ids of `tokenizer_check.json` ({"text": [ids], ...}) if that file is there.

    Raises:
        ValueError: if there is none, or it gives other ids than the model was trained with.
    """
    piece_file, json_file = model_folder / "tokenizer.model", model_folder / "tokenizer.json"
    if piece_file.is_file():
        path, vocabulary = piece_file, _from_sentencepiece(piece_file, config)
    elif json_file.is_file():
        path, vocabulary = json_file, _from_tokenizers(json_file, config)
    else:
        raise ValueError(f"{model_folder} holds neither tokenizer.model nor tokenizer.json")
    known = dict(_MISTRAL_PIECES) if config.vocabulary_size == _MISTRAL_VOCABULARY_SIZE else {}
    check_file = model_folder / "tokenizer_check.json"
    if check_file.is_file():
        known |= json_object(check_file)
    for text, expected in known.items():
        if vocabulary.encode(text) != expected:
            raise ValueError(
                f"{path}: {text!r} becomes {vocabulary.encode(text)}, the model was trained with {expected}; "
                "take the tokenizer.model that belongs to these weights"
            )
    _check_round_trip(path, vocabulary, config.vocabulary_size)
    return vocabulary


def _from_sentencepiece(path: Path, config: M4CXRConfig) -> Vocabulary:
    try:
        pieces = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} is no sentencepiece model: {error}") from error
    _check_ends(path, (pieces.bos_id(), pieces.eos_id()), config)
    special = {pieces.unk_id(), pieces.bos_id(), pieces.eos_id()}

    def encode(text: str) -> list[int]:
        return list(pieces.encode(text, out_type=int, add_bos=False, add_eos=False))

    def decode(ids: Sequence[int]) -> str:
        return str(pieces.decode([token for token in ids if token not in special]))

    return Vocabulary(encode, decode, config.begin_id, config.end_id, config.query_count)


def _from_tokenizers(path: Path, config: M4CXRConfig) -> Vocabulary:
    if "model" not in json_object(path):  # tokenizers itself raises a bare Exception
        raise ValueError(f"{path} holds no tokenizer; fetch it again")
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    _check_ends(path, (tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)), config)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    return Vocabulary(encode, decode, config.begin_id, config.end_id, config.query_count)


def _check_ends(path: Path, ends: tuple[int | None, int | None], config: M4CXRConfig) -> None:
    if ends != (config.begin_id, config.end_id):
        raise ValueError(
            f"{path}: begin and end of text are {ends}, config.json says {(config.begin_id, config.end_id)}"
        )


def _check_round_trip(path: Path, vocabulary: Vocabulary, vocabulary_size: int) -> None:
    """Holds that the sentences every prompt begins with are known to the vocabulary word for word."""
    for text in (SYSTEM_SENTENCE, *FINDING_NAMES, "Yes. [0,63,25,90], [57,66,90,98]."):
        ids = vocabulary.encode(text)
        if not ids or max(ids) >= vocabulary_size:
            raise ValueError(f"{path}: {text!r} becomes {ids}, the model knows ids below {vocabulary_size}")
        if vocabulary.decode(ids).strip() != text:
            raise ValueError(f"{path}: {text!r} comes back as {vocabulary.decode(ids)!r}")
