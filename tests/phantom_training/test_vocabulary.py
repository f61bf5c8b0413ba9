"""The demo model's vocabulary holds what its reports, questions and boxes are made of."""

from pathlib import Path

import pytest

from inference.engines.m4cxr.model import M4CXRConfig
from inference.engines.m4cxr.tokens import Vocabulary, open_vocabulary
from inference.phantom.report import all_sentences, all_words
from inference.phantom.train.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return open_vocabulary(folder, M4CXRConfig(query_count=25, vocabulary_size=tokenizer.get_vocab_size()))


def test_every_word_of_the_reports_is_one_token(vocabulary: Vocabulary) -> None:
    assert [word for word in all_words() if len(vocabulary.encode(word)) != 1] == []


def test_every_number_of_a_box_is_one_token(vocabulary: Vocabulary) -> None:
    lengths = {len(vocabulary.encode(f"[{number},{number}]")) for number in range(101)}

    assert lengths == {len(["▁", "[", "7", ",", "7", "]"])}


def test_every_sentence_comes_back_as_it_was(vocabulary: Vocabulary) -> None:
    assert [line for line in all_sentences() if vocabulary.decode(vocabulary.encode(line)) != line] == []


def test_a_word_that_was_never_seen_falls_apart_and_comes_back(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("sarcoidosis")

    assert len(ids) > 1
    assert vocabulary.decode(ids) == "sarcoidosis"


def test_the_vocabulary_is_the_same_at_every_build() -> None:
    assert build_tokenizer().to_str() == build_tokenizer().to_str()
