"""A folder is a whole MedGemma or an error that names what is wrong with it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForConditionalGeneration

from inference.engines.digests import digest_of
from inference.engines.medgemma.loading import load_model, load_sources, published_names
from inference.engines.opening import IN_FLOAT32_ON_CPU
from inference.engines.sources import find_sources
from tests.inference.medgemma_small import CHAT_TEMPLATE, edit_json, write_medgemma

NORM = "language_model.model.norm.weight"
EMBEDDINGS = "language_model.model.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path):
    return write_medgemma(tmp_path)


def rewrite(folder, change):
    """Puts other tensors into the weight file: what `change` makes of them, or leaves of them."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path, metadata={"format": "pt"})


def state(folder):
    return load_model(folder).model.network.state_dict()


def as_published(name):
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def as_saved_by_transformers_5(name):
    return "model." + as_published(name).replace("language_model.model.", "language_model.")


@pytest.mark.parametrize("spelling", [as_published, as_saved_by_transformers_5])
def test_the_published_and_the_later_names_are_understood(folder, spelling):
    expected = state(folder)
    rewrite(folder, lambda tensors: {spelling(name): tensor for name, tensor in tensors.items()})

    loaded = state(folder)

    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_an_adapter_beside_the_weights_is_refused_since_transformers_would_take_it_unasked(folder):
    (folder / "adapter_config.json").write_text("{}")

    with pytest.raises(ValueError, match="an adapter lies beside the weights; give it a folder of its own"):
        load_model(folder)


def test_shards_are_read_and_digested_in_order(folder, tmp_path_factory):
    shards = tmp_path_factory.mktemp("shards")
    model = Gemma3ForConditionalGeneration.from_pretrained(folder)
    for file in folder.iterdir():
        if file.name != "model.safetensors":
            (shards / file.name).write_bytes(file.read_bytes())
    model.save_pretrained(shards, max_shard_size="100KB")
    sources = find_sources(shards, published_names)

    loaded = load_sources(sources, IN_FLOAT32_ON_CPU).model.network.state_dict()

    assert len(sources.files) > 1
    assert sources.digests() == {None: digest_of(sorted(shards.glob("*.safetensors")))}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state(folder).items())


def test_an_output_layer_of_its_own_may_be_there_or_not(folder):
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": tensors[EMBEDDINGS].clone()})

    assert torch.equal(
        state(folder)["lm_head.weight"], state(folder)["model.language_model.embed_tokens.weight"]
    )


def test_a_missing_a_left_over_and_a_misshapen_tensor_are_named_together(folder):
    def change(tensors):
        del tensors["multi_modal_projector.mm_soft_emb_norm.weight"]
        tensors["vision_tower.vision_model.head.probe"] = torch.zeros(2)
        tensors[NORM] = torch.zeros(63)

    rewrite(folder, change)

    with pytest.raises(ValueError, match="do not fit MedGemma") as error:
        load_model(folder)

    assert "missing: model.multi_modal_projector.mm_soft_emb_norm.weight" in str(error.value)
    assert "left over: model.vision_tower.head.probe" in str(error.value)
    assert "norm.weight is 63, expected 64" in str(error.value)


def test_a_tensor_under_two_spellings_is_refused(folder):
    rewrite(folder, lambda tensors: tensors | {"model.language_model.norm.weight": tensors[NORM] + 1})

    with pytest.raises(ValueError, match=r"two tensors are called language_model\.norm\.weight"):
        load_model(folder)


def test_quantised_weights_are_refused(folder):
    rewrite(folder, lambda tensors: tensors | {NORM: tensors[NORM].to(torch.int8)})

    with pytest.raises(ValueError, match="is stored as I8, expected float weights"):
        load_model(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        load_model(tmp_path / "nowhere")


def test_a_damaged_file_is_named(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])

    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read: .* fetch it again"):
        load_model(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_a_file_that_is_not_there_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(ValueError, match=f"{name} is not there"):
        load_model(folder)


def test_no_code_of_the_folder_is_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('run')")
    edit_json(folder / "config.json", auto_map={"AutoModel": "evil.Evil"})
    edit_json(folder / "processor_config.json", auto_map={"AutoProcessor": "evil.Evil"})
    edit_json(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Evil"})
    edit_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})

    load_model(folder)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config", {"model_type": "llava"}, 'model_type is "llava", expected "gemma3"'),
        (
            "config",
            {"image_token_index": 8},
            r"image tokens: the processor has \(7, 9, 8\), config.json \(7, 8, 8\)",
        ),
        ("processor_config", {"image_seq_length": 9}, "tokens an image: the processor has 9, config.json 4"),
        (
            "preprocessor_config",
            {"size": {"height": 8, "width": 8}},
            r"image size: the processor has \(8, 8\)",
        ),
        (
            "preprocessor_config",
            {"image_processor_type": "CLIPImageProcessor"},
            "is for CLIPImageProcessorPil",
        ),
        ("tokenizer_config", {"boi_token": None}, "names no tokens for images"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, file, changes, said):
    edit_json(folder / f"{file}.json", **changes)

    with pytest.raises(ValueError, match=said):
        load_model(folder)


def test_a_tokenizer_that_does_not_know_the_ends_of_turns_is_refused(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<end_of_turn>", "<turn_end>"))

    with pytest.raises(ValueError, match="the tokenizer has no token <end_of_turn>"):
        load_model(folder)


def test_a_vocabulary_larger_than_the_model_is_refused(folder):
    path = folder / "tokenizer.json"
    vocabulary = json.loads(path.read_text())
    vocabulary["model"]["vocab"]["toolarge"] = 400
    path.write_text(json.dumps(vocabulary))

    with pytest.raises(ValueError, match="the tokenizer has 401 tokens, the model knows 400"):
        load_model(folder)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "holds no chat template"),
        (CHAT_TEMPLATE.replace('+ "\\n\\n" if', '+ "\\n\\n" if not'), "chat template is not MedGemma's"),
    ],
)
def test_another_chat_template_is_refused(folder, template, said):
    path = folder / "chat_template.jinja"
    path.unlink()
    if template:
        path.write_text(template)

    with pytest.raises(ValueError, match=said):
        load_model(folder)


def test_an_allowed_pickle_gives_the_same_weights(folder):
    expected = state(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    loaded = load_sources(find_sources(folder, published_names, allow_pickled=True), IN_FLOAT32_ON_CPU)

    assert all(torch.equal(loaded.model.network.state_dict()[name], t) for name, t in expected.items())
