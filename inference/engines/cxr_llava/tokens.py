"""Conversations become token ids the way CXR-LLaVA was trained, and ids become text.

The text is cut at `<image>`, and both parts are tokenized from a begin token on; the one of the second part is
dropped again. As the text itself starts with `<s>`, every conversation begins with two begin tokens.

Whether the vocabulary's leading "▁" goes before every piece between `<s>` and `</s>`, or only before the piece
that a part starts with, depends on `legacy` in tokenizer_config.json. transformers' own classes have changed
their minds on this more than once; so sentencepiece or tokenizers are asked for the bare pieces, and
the "▁" is put here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, normalizers

from inference.engines.cxr_llava.model import IMAGE_MARKER, CXRLLaVAConfig
from inference.engines.cxr_llava.prompts import (
    BEGIN,
    DIFFERENTIAL_QUESTION,
    END,
    IMAGE,
    REPORT_QUESTION,
    first_question,
    render,
)
from inference.engines.stored import json_object

_LLAMA_VOCABULARY_SIZE = 32000
_LLAMA_PIECES: dict[str, list[int]] = {
    " [INST] <<SYS>>\n": [518, 25580, 29962, 3532, 14816, 29903, 6778, 13],
    " [/INST]": [518, 29914, 25580, 29962],
}
"""Ids of LLaMA-2. Mistral's vocabulary has the same size, and would be taken without a word."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Text to ids and back.

    Attributes:
        encode: ids of a piece of text as it stands: no special tokens, no "▁" but for its own spaces.
        decode: text of ids, special tokens left out.
        begin_id, end_id: of `<s>` and `</s>`.
        patch_count: places that the image takes.
        is_legacy: whether "▁" goes before every piece, or only before one that starts a part.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    begin_id: int
    end_id: int
    patch_count: int
    is_legacy: bool

    def ids(self, conversation: str) -> list[int]:
        """Gives the ids of a rendered conversation, IMAGE_MARKER at the places of the image."""
        first, *others = (self.part_ids(part) for part in conversation.split(IMAGE))
        ids = [self.begin_id, *first]
        for part in others:
            ids += [IMAGE_MARKER] * self.patch_count + part
        return ids

    def part_ids(self, part: str) -> list[int]:
        """Gives the ids of a text without image, without the begin token that is put before it."""
        ids: list[int] = []
        for place, piece in enumerate(re.split(f"({BEGIN}|{END})", part)):
            if piece == BEGIN:
                ids.append(self.begin_id)
            elif piece == END:
                ids.append(self.end_id)
            elif piece:
                ids += self.encode(f" {piece}" if self.is_legacy or place == 0 else piece)
        return ids


def open_vocabulary(model_folder: Path, config: CXRLLaVAConfig) -> Vocabulary:
    """Opens the vocabulary beside the weights, tokenizer.model or else tokenizer.json, and checks it.

    A vocabulary of LLaMA's size must give LLaMA's ids. Any must give the questions back word for word, and the
    ids of `tokenizer_check.json` ({"text": [ids], ...}, as `part_ids`) if that file is there.

    Raises:
        ValueError: if there is none, or it gives other ids than the model was trained with.
    """
    piece_file, json_file = model_folder / "tokenizer.model", model_folder / "tokenizer.json"
    is_legacy = _is_legacy(model_folder / "tokenizer_config.json")
    if piece_file.is_file():
        path, vocabulary = piece_file, _from_sentencepiece(piece_file, config, is_legacy)
    elif json_file.is_file():
        path, vocabulary = json_file, _from_tokenizers(json_file, config, is_legacy)
    else:
        raise ValueError(f"{model_folder} holds neither tokenizer.model nor tokenizer.json")
    if config.vocabulary_size == _LLAMA_VOCABULARY_SIZE:
        for text, expected in _LLAMA_PIECES.items():
            _check_ids(path, text, vocabulary.encode(text), expected)
    check_file = model_folder / "tokenizer_check.json"
    if check_file.is_file():
        for text, expected in json_object(check_file).items():
            _check_ids(path, text, vocabulary.part_ids(text), expected)
    _check_round_trip(path, vocabulary, config.vocabulary_size)
    return vocabulary


def _is_legacy(path: Path) -> bool:
    """Reads the flag; a checkpoint that does not say is one of the time before there was another way."""
    said = json_object(path).get("legacy") if path.is_file() else None
    return True if said is None else bool(said)


def _from_sentencepiece(path: Path, config: CXRLLaVAConfig, is_legacy: bool) -> Vocabulary:
    try:
        pieces = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} is no sentencepiece model: {error}") from error
    _check_ends(path, (pieces.bos_id(), pieces.eos_id()), config)
    special = {pieces.unk_id(), pieces.bos_id(), pieces.eos_id()}
    # sentencepiece puts "▁" before every text. Behind a line feed, which is a byte of its own and part of
    # no longer piece, the text is free of it.
    lead = "\n"
    lead_length = len(pieces.encode(lead, out_type=int))

    def encode(text: str) -> list[int]:
        return list(pieces.encode(lead + text, out_type=int, add_bos=False, add_eos=False))[lead_length:]

    def decode(ids: Sequence[int]) -> str:
        return str(pieces.decode([token for token in ids if token not in special]))

    return Vocabulary(encode, decode, config.begin_id, config.end_id, config.patch_count, is_legacy)


def _from_tokenizers(path: Path, config: CXRLLaVAConfig, is_legacy: bool) -> Vocabulary:
    if "model" not in json_object(path):  # tokenizers itself raises a bare Exception
        raise ValueError(f"{path} holds no tokenizer; fetch it again")
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    _check_ends(path, (tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)), config)
    # Files of this vocabulary differ in where they put "▁", by the library that wrote them.
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = None

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    return Vocabulary(encode, decode, config.begin_id, config.end_id, config.patch_count, is_legacy)


def _check_ends(path: Path, ends: tuple[int | None, int | None], config: CXRLLaVAConfig) -> None:
    if ends != (config.begin_id, config.end_id):
        raise ValueError(
            f"{path}: begin and end of text are {ends}, config.json says {(config.begin_id, config.end_id)}"
        )


def _check_ids(path: Path, text: str, ids: list[int], expected: list[int]) -> None:
    if ids != expected:
        raise ValueError(
            f"{path}: {text!r} becomes {ids}, the model was trained with {expected}; "
            "take the tokenizer.model and tokenizer_config.json that belong to these weights"
        )


def _check_round_trip(path: Path, vocabulary: Vocabulary, vocabulary_size: int) -> None:
    """Holds that the questions are known to the vocabulary word for word, line feeds and brackets too."""
    conversation = render([first_question(REPORT_QUESTION), DIFFERENTIAL_QUESTION], ["."])
    for text in re.split(f"{BEGIN}|{END}|{IMAGE}", conversation):
        ids = vocabulary.encode(text)
        if text and (not ids or max(ids) >= vocabulary_size):
            raise ValueError(f"{path}: {text!r} becomes {ids}, the model knows ids below {vocabulary_size}")
        if vocabulary.decode(ids).strip() != text.strip():
            raise ValueError(f"{path}: {text!r} comes back as {vocabulary.decode(ids)!r}")
