"""Every conversation gets the ids that the reference code gives it."""

import json
import shutil

import pytest

from inference.engines.cxr_llava.model import IMAGE_MARKER, CXRLLaVAConfig
from inference.engines.cxr_llava.prompts import REPORT_QUESTION, first_question, render
from inference.engines.cxr_llava.tokens import open_vocabulary
from tests.inference.cxr_llava_small import SMALL, conversations, write_vocabulary
from tests.inference.small import MISTRAL

STAND_IN = CXRLLaVAConfig(vocabulary_size=32001)
"""Of another size than LLaMA's, so that Mistral's pieces, which the reference ids were made with, are taken."""


def a_stand_in(folder, tokenizer_config=None):
    shutil.copyfile(MISTRAL / "tokenizer.model", folder / "tokenizer.model")
    if tokenizer_config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


def expanded(ids):
    return [token for one in ids for token in ([IMAGE_MARKER] * 1024 if one == IMAGE_MARKER else [one])]


@pytest.mark.parametrize("is_legacy", [False, True])
def test_all_conversations_get_the_ids_of_the_reference(tmp_path, is_legacy):
    vocabulary = open_vocabulary(a_stand_in(tmp_path, {"legacy": is_legacy}), STAND_IN)

    for name, case in conversations().items():
        expected = expanded(case[f"stand_in_ids_legacy_{str(is_legacy).lower()}"])
        assert vocabulary.ids(case["rendered_prompt"]) == expected, name


@pytest.mark.parametrize("tokenizer_config", [None, {}, {"legacy": None}])
def test_a_vocabulary_that_does_not_say_is_legacy(tmp_path, tokenizer_config):
    assert open_vocabulary(a_stand_in(tmp_path, tokenizer_config), STAND_IN).is_legacy


def test_a_conversation_begins_with_two_begin_tokens_and_has_one_image(tmp_path):
    write_vocabulary(tmp_path)

    ids = open_vocabulary(tmp_path, SMALL).ids(render([first_question(REPORT_QUESTION)], []))

    assert ids[:2] == [1, 1]
    assert ids.count(IMAGE_MARKER) == SMALL.patch_count
    assert 1 not in ids[2:]


def test_a_tokenizer_json_puts_the_space_by_the_flag_not_by_its_own_rule(tmp_path):
    write_vocabulary(tmp_path)
    texts = ("<s>[INST] a", "\nWrite </s><s>[INST]")

    found = {}
    for is_legacy in (False, True):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"legacy": is_legacy}))
        vocabulary = open_vocabulary(tmp_path, SMALL)
        found[is_legacy] = [vocabulary.part_ids(text) for text in texts]

    encode = vocabulary.encode
    assert found[False] == [
        [1, *encode("[INST] a")],
        [*encode(" \nWrite "), 2, 1, *encode("[INST]")],
    ]
    assert found[True] == [
        [1, *encode(" [INST] a")],
        [*encode(" \nWrite "), 2, 1, *encode(" [INST]")],
    ]


def test_an_answer_is_decoded_without_special_tokens(tmp_path):
    vocabulary = open_vocabulary(a_stand_in(tmp_path), STAND_IN)

    ids = [1, *vocabulary.encode(" The heart is enlarged."), 2]

    assert vocabulary.decode(ids).strip() == "The heart is enlarged."


def test_mistrals_vocabulary_is_not_taken_for_llamas(tmp_path):
    with pytest.raises(ValueError, match=r"the model was trained with \[518, 25580, 29962"):
        open_vocabulary(a_stand_in(tmp_path), CXRLLaVAConfig())


def test_a_small_vocabulary_is_held_to_its_check_file(tmp_path):
    write_vocabulary(tmp_path)
    ids = open_vocabulary(tmp_path, SMALL).part_ids("edema")
    (tmp_path / "tokenizer_check.json").write_text(json.dumps({"edema": ids}))
    open_vocabulary(tmp_path, SMALL)

    (tmp_path / "tokenizer_check.json").write_text('{"edema": [5]}')

    with pytest.raises(ValueError, match="trained with \\[5\\]"):
        open_vocabulary(tmp_path, SMALL)


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path):
    write_vocabulary(tmp_path)

    with pytest.raises(ValueError, match="the model knows ids below 100"):
        open_vocabulary(tmp_path, CXRLLaVAConfig(vocabulary_size=100))


def test_a_folder_without_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither tokenizer\.model nor tokenizer\.json"):
        open_vocabulary(tmp_path, SMALL)


def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"nothing of the kind")

    with pytest.raises(ValueError, match="is no sentencepiece model"):
        open_vocabulary(tmp_path, SMALL)


def test_ends_of_text_other_than_the_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="begin and end of text are"):
        open_vocabulary(a_stand_in(tmp_path), CXRLLaVAConfig(vocabulary_size=32001, end_id=3))
