"""Every tensor is accounted for, whatever the file calls it."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engines.m4cxr.config import config_from, config_sections
from inference.engines.m4cxr.loading import (
    UNUSED_TENSORS,
    load_model,
    published_names,
    save_model,
    upstream_name,
)
from inference.engines.m4cxr.model import M4CXR, M4CXRConfig
from inference.engines.sources import find_sources
from inference.engines.stored import weight_files
from tests.inference.small import TINY, VECTORS

QUERY = "language_model.model.layers.0.self_attn.q_proj.weight"
LAYER = "vision_model.encoder.layer.0"


@pytest.fixture
def tensors():
    return load_file(TINY / "model.safetensors")


def a_folder(folder: Path, tensors: dict, **config_files: str) -> Path:
    shutil.copyfile(TINY / "config.json", folder / "config.json")
    save_file(tensors, folder / "model.safetensors")
    for name, content in config_files.items():
        (folder / f"{name}.json").write_text(content)
    return folder


def logits(model, golden):
    with torch.inference_mode():
        return model(golden["pixel_values"], golden["input_ids"])


def published_shapes() -> dict[str, tuple[int, ...]]:
    lines = (VECTORS / "m4cxr-keys.txt").read_text().split("\n")
    pairs = [line.split() for line in lines if line]
    return {name: tuple(map(int, shape.split("x"))) for name, shape in pairs}


def test_the_full_model_has_the_600_tensors_of_the_published_one():
    with torch.device("meta"):
        model = M4CXR(M4CXRConfig())

    ours = {upstream_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}

    assert len(ours) == 600
    assert ours == published_shapes()


def test_dimensions_are_read_from_the_published_shapes():
    sections = config_sections(M4CXRConfig())

    assert config_from(sections, published_shapes()) == M4CXRConfig()
    assert config_from({}, published_shapes()) == M4CXRConfig()


def test_the_digest_is_that_of_the_weight_file():
    expected = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()

    assert find_sources(TINY, published_names).digests() == {None: f"sha256:{expected}"}


def test_a_saved_model_has_the_published_names_and_loads_again(tmp_path, tiny, golden):
    save_model(tiny, tmp_path)

    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(TINY / "model.safetensors"))
    assert load_model(tmp_path).model.config == tiny.config
    assert torch.equal(logits(load_model(tmp_path).model, golden), logits(tiny, golden))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_in_half_precision_become_float32(tmp_path, tiny, dtype):
    save_model(tiny, tmp_path, dtype)

    loaded = load_model(tmp_path).model

    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.abstractor.pos_emb, tiny.abstractor.pos_emb.to(dtype).float())


def test_shards_are_read_by_their_index(tmp_path, tensors, tiny, golden):
    names = sorted(tensors)
    half = len(names) // 2
    parts = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    shutil.copyfile(TINY / "config.json", tmp_path / "config.json")

    assert [path.name for path in weight_files(tmp_path)] == ["a.safetensors", "b.safetensors"]
    assert torch.equal(logits(load_model(tmp_path).model, golden), logits(tiny, golden))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"base_model.model.model.{name}",
        lambda name: name.replace("vision_model.", "model.eye.").replace("abstractor.", "model.bridge."),
        lambda name: name.replace("attention.attention.query", "attention.q_proj"),
        lambda name: name.replace("abstractor.", "abstractor.modules_to_save.default."),
        lambda name: name.replace("q_proj.weight", "q_proj.base_layer.weight"),
        lambda name: name.replace("language_model.model.", "model.language_model.").replace(
            "language_model.lm_", "lm_"
        ),
    ],
)
def test_other_spellings_of_the_names_are_understood(tensors, rename):
    found = published_names([rename(name) for name in tensors])

    assert {rename(name): name for name in tensors} == found


def test_the_twins_that_peft_keeps_are_left_out():
    names = ["abstractor.modules_to_save.default.pos_emb", "abstractor.original_module.pos_emb"]

    assert published_names(names) == {names[0]: "abstractor.pos_emb"}


def test_the_three_unused_tensors_may_be_absent(tmp_path, tensors, tiny, golden):
    few = {name: tensor for name, tensor in tensors.items() if name not in UNUSED_TENSORS}

    loaded = load_model(a_folder(tmp_path, few)).model

    assert len(few) == len(tensors) - 3
    assert torch.equal(logits(loaded, golden), logits(tiny, golden))


def test_a_missing_a_left_over_and_a_misshapen_tensor_are_named_together(tmp_path, tensors):
    del tensors["abstractor.readout.2.bias"]
    tensors["abstractor.net.7.weight"] = torch.zeros(2)
    tensors["language_model.model.norm.weight"] = torch.zeros(63)

    with pytest.raises(ValueError, match="do not fit M4CXR") as error:
        load_model(a_folder(tmp_path, tensors))

    assert "missing: abstractor.readout.2.bias" in str(error.value)
    assert "left over: abstractor.net.7.weight" in str(error.value)
    assert "language_model.model.norm.weight is 63, expected 64" in str(error.value)


def test_an_attention_that_would_stay_random_is_missing(tmp_path, tensors):
    del tensors[f"{LAYER}.attention.attention.query.weight"]

    with pytest.raises(ValueError, match=f"missing: {LAYER}.attention.attention.query.weight"):
        load_model(a_folder(tmp_path, tensors))


def test_quantised_weights_are_refused(tmp_path, tensors):
    tensors[QUERY] = tensors[QUERY].to(torch.int8)

    with pytest.raises(ValueError, match="is stored as I8, expected float weights"):
        load_model(a_folder(tmp_path, tensors))


def test_other_weights_are_called_no_m4cxr(tmp_path):
    with pytest.raises(ValueError, match=r"these are not the weights of an M4CXR: .* is missing"):
        load_model(a_folder(tmp_path, {"model.embed_tokens.weight": torch.zeros(3, 4)}))


def test_an_abstractor_of_another_kind_is_refused(tmp_path, tensors):
    sections = json.loads((TINY / "config.json").read_text())
    sections["projector_config"]["num_eos_tokens"] = 1
    folder = a_folder(tmp_path, tensors, config=json.dumps(sections))

    with pytest.raises(ValueError, match=r"projector_config\.num_eos_tokens is 1, expected 0"):
        load_model(folder)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("vision_config", "hidden_act", "gelu_pytorch_tanh"),
        ("text_config", "hidden_act", "gelu"),
        ("text_config", "sliding_window", 16),
        ("text_config", "rope_scaling", {"type": "linear", "factor": 2.0}),
        ("text_config", "rope_parameters", {"rope_type": "yarn"}),
        ("text_config", "rope_parameters", {"type": "linear", "factor": 2.0}),
        ("text_config", "tie_word_embeddings", True),
    ],
)
def test_a_model_that_computes_otherwise_is_refused(section, key, value):
    with pytest.raises(ValueError, match=rf"config\.json: {section}\.{key}.* is .*, expected"):
        config_from({section: {key: value}}, published_shapes())


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_config", "num_attention_heads", 0),
        ("text_config", "num_attention_heads", "32"),
        ("text_config", "num_attention_heads", 3),
        ("text_config", "head_dim", 5),
        ("text_config", "max_position_embeddings", 0),
        ("text_config", "rms_norm_eps", "1e-5"),
        ("text_config", "rope_theta", -1),
        ("text_config", "eos_token_id", [2, 3]),
        ("vision_config", "num_attention_heads", True),
        ("projector_config", "num_query_tokens", 0),
    ],
)
def test_a_number_that_none_can_be_is_refused_by_its_key(section, key, value):
    with pytest.raises(ValueError, match=rf"config\.json: {section}\.(num_attention_heads|{key})"):
        config_from({section: {key: value}}, published_shapes())


def test_a_section_that_is_none_is_refused_and_null_says_nothing():
    assert config_from({"vision_config": None, "text_config": {"rope_theta": None}}, published_shapes())
    with pytest.raises(ValueError, match=r"config\.json: text_config is 'x', expected a section"):
        config_from({"text_config": "x"}, published_shapes())


def test_an_image_takes_no_more_places_than_it_has_patches():
    with pytest.raises(ValueError, match="10000000000 image places are more than the 1369 patches"):
        config_from({"projector_config": {"num_query_tokens": 10**10}}, published_shapes())


@pytest.mark.parametrize(
    "text",
    [
        {"rope_parameters": {"rope_type": "default"}, "rope_theta": 5e5},
        {"rope_scaling": None, "rope_theta": 5e5},
        {"rope_scaling": {"rope_type": "default"}, "rope_theta": 5e5},
        {"rope_scaling": {"type": "default", "rope_theta": 5e5}},
    ],
)
def test_the_base_of_positions_is_found_where_either_transformers_writes_it(text):
    assert config_from({"text_config": text}, published_shapes()).rope_theta == 5e5


def test_lora_inside_the_model_file_is_merged_too(tmp_path, tensors):
    a, b = torch.randn(2, 64), torch.randn(64, 2)
    stem = QUERY.removesuffix(".weight")
    tensors |= {f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}
    folder = a_folder(tmp_path, tensors, adapter_config='{"r": 2, "lora_alpha": 6}')

    merged = load_model(folder).model.language_model.model.layers[0].self_attn.q_proj.weight

    assert torch.allclose(merged, tensors[QUERY] + 3 * (b @ a), atol=1e-5)
