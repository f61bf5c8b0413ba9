"""Every conversation of training gets the ids it had in training."""

import shutil

import pytest

from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXRConfig
from inference.engines.m4cxr.prompts import first_question, render
from inference.engines.m4cxr.tokens import open_vocabulary
from tests.inference.small import MISTRAL, SMALL, write_vocabulary


@pytest.fixture(scope="module")
def mistral():
    return open_vocabulary(MISTRAL, M4CXRConfig())


def expanded(ids):
    return [
        token
        for entry in ids
        for token in ([IMAGE_MARKER] * entry["image"] if isinstance(entry, dict) else [entry])
    ]


def test_all_conversations_get_the_ids_of_training(conversations, mistral):
    assert len(conversations["cases"]) == 24
    for case in conversations["cases"]:
        for turn in case["turns"]:
            assert mistral.ids(turn["rendered_prompt"]) == expanded(turn["prompt_ids"]), case["name"]
            assert len(mistral.ids(turn["rendered_prompt"])) == turn["prompt_token_count"]
        assert mistral.ids(case["full_training_text"]) == expanded(case["full_ids"]), case["name"]


def test_all_conversations_are_rendered_as_in_training(conversations):
    for case in conversations["cases"]:
        assert case["preamble"][0] in first_question(case["preamble"][1], "")
        users = [turn["user"] for turn in case["turns"]]
        questions = [first_question(case["preamble"][1], users[0]), *users[1:]]
        answers = [turn["example_answer"] for turn in case["turns"]]

        for number, turn in enumerate(case["turns"]):
            assert render(questions[: number + 1], answers[:number]) == turn["rendered_prompt"]
        assert render(questions, answers) == case["full_training_text"]


def test_an_answer_is_decoded_without_special_tokens(mistral):
    ids = [1, *mistral.encode("The heart is [1,2,3,4]."), 2]

    assert mistral.decode(ids) == "The heart is [1,2,3,4]."


def test_a_vocabulary_of_mistrals_size_with_other_ids_is_refused(tmp_path):
    write_vocabulary(tmp_path, size=320)

    with pytest.raises(ValueError, match="the model was trained with"):
        open_vocabulary(tmp_path, M4CXRConfig())


def test_a_small_vocabulary_is_held_to_its_check_file(tmp_path):
    write_vocabulary(tmp_path, size=320)
    ids = open_vocabulary(tmp_path, SMALL).encode("edema")
    (tmp_path / "tokenizer_check.json").write_text(f'{{"edema": {ids}}}')
    open_vocabulary(tmp_path, SMALL)

    (tmp_path / "tokenizer_check.json").write_text('{"edema": [5]}')

    with pytest.raises(ValueError, match="trained with \\[5\\]"):
        open_vocabulary(tmp_path, SMALL)


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path):
    write_vocabulary(tmp_path, size=400)

    with pytest.raises(ValueError, match="the model knows ids below 300"):
        open_vocabulary(tmp_path, M4CXRConfig(vocabulary_size=300))


def test_a_folder_without_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither tokenizer\.model nor tokenizer\.json"):
        open_vocabulary(tmp_path, SMALL)


def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"nothing of the kind")

    with pytest.raises(ValueError, match="is no sentencepiece model"):
        open_vocabulary(tmp_path, SMALL)


def test_ends_of_text_other_than_the_models_are_refused(tmp_path):
    shutil.copyfile(MISTRAL / "tokenizer.model", tmp_path / "tokenizer.model")

    with pytest.raises(ValueError, match="begin and end of text are"):
        open_vocabulary(tmp_path, M4CXRConfig(end_id=3))
