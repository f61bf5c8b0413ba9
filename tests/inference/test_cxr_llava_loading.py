"""Every tensor is accounted for, and the dimensions are those that the tensors show."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engines.cxr_llava.config import config_from, config_sections
from inference.engines.cxr_llava.loading import (
    UNUSED_TENSORS,
    load_model,
    published_names,
    save_model,
    tensor_shapes,
)
from inference.engines.cxr_llava.model import CXRLLaVA, CXRLLaVAConfig
from inference.engines.sources import find_sources
from tests.inference import cxr_llava_small
from tests.inference.cxr_llava_small import TINY
from tests.inference.small import VECTORS


@pytest.fixture(scope="module")
def golden():
    return cxr_llava_small.golden()


@pytest.fixture
def tensors():
    return load_file(TINY / "model.safetensors")


def a_folder(folder: Path, tensors: dict, sections: dict | None = None) -> Path:
    if sections is None:
        shutil.copyfile(TINY / "config.json", folder / "config.json")
    else:
        (folder / "config.json").write_text(json.dumps(sections))
    save_file(tensors, folder / "model.safetensors")
    return folder


def tiny_sections() -> dict:
    return json.loads((TINY / "config.json").read_text())


def logits(model, golden):
    with torch.inference_mode():
        return model(golden["pixel_values"], golden["input_ids"])


def published_shapes() -> dict[str, tuple[int, ...]]:
    pairs = [line.split() for line in (VECTORS / "cxr-llava-keys.txt").read_text().splitlines() if line]
    return {name: tuple(map(int, shape.split("x"))) for name, shape in pairs}


def test_the_full_model_has_the_589_tensors_of_the_published_one():
    with torch.device("meta"):
        ours = tensor_shapes(CXRLLaVA(CXRLLaVAConfig()))

    assert len(ours) == 589
    assert ours == published_shapes()


def test_dimensions_are_read_from_the_published_shapes():
    sections = config_sections(CXRLLaVAConfig())

    assert config_from(sections, published_shapes()) == CXRLLaVAConfig()
    assert config_from({}, published_shapes()) == CXRLLaVAConfig()


def test_the_digest_is_that_of_the_weight_file():
    expected = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()

    assert find_sources(TINY, published_names).digests() == {None: f"sha256:{expected}"}


def test_a_saved_model_has_the_published_names_and_loads_again(tmp_path, golden):
    tiny = load_model(TINY).model
    save_model(tiny, tmp_path)

    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(TINY / "model.safetensors"))
    assert load_model(tmp_path).model.config == tiny.config
    assert torch.equal(logits(load_model(tmp_path).model, golden), logits(tiny, golden))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_in_half_precision_become_float32(tmp_path, dtype):
    tiny = load_model(TINY).model
    save_model(tiny, tmp_path, dtype)

    loaded = load_model(tmp_path).model

    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.mm_projector.weight, tiny.mm_projector.weight.to(dtype).float())


def test_shards_are_read_by_their_index(tmp_path, tensors, golden):
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    shutil.copyfile(TINY / "config.json", tmp_path / "config.json")

    assert torch.equal(logits(load_model(tmp_path).model, golden), logits(load_model(TINY).model, golden))


def test_the_unused_projection_may_be_absent(tmp_path, tensors, golden):
    few = {name: tensor for name, tensor in tensors.items() if name not in UNUSED_TENSORS}

    loaded = load_model(a_folder(tmp_path, few)).model

    assert len(few) == len(tensors) - 1
    assert torch.equal(logits(loaded, golden), logits(load_model(TINY).model, golden))


def test_a_missing_a_left_over_and_a_misshapen_tensor_are_named_together(tmp_path, tensors):
    del tensors["mm_projector.bias"]
    tensors["vision_tower.ln_between.weight"] = torch.zeros(2)
    tensors["llama.norm.weight"] = torch.zeros(63)
    tensors["vision_tower.proj"] = torch.zeros(3, 5)

    with pytest.raises(ValueError, match="do not fit CXR-LLaVA") as error:
        load_model(a_folder(tmp_path, tensors))

    assert "missing: mm_projector.bias" in str(error.value)
    assert "left over: vision_tower.ln_between.weight" in str(error.value)
    assert "llama.norm.weight is 63, expected 64" in str(error.value)
    assert "vision_tower.proj is 3x5, expected 128x32" in str(error.value)


def test_weights_that_are_tied_are_not_taken_as_untied(tmp_path, tensors):
    del tensors["lm_head.weight"]

    with pytest.raises(ValueError, match=r"missing: lm_head\.weight"):
        load_model(a_folder(tmp_path, tensors))


def test_other_weights_are_called_no_cxr_llava(tmp_path):
    with pytest.raises(ValueError, match=r"these are not the weights of a CXR-LLaVA: .* is missing"):
        load_model(a_folder(tmp_path, {"model.embed_tokens.weight": torch.zeros(3, 4)}))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "clip_quick_gelu", True),
        ("llama", "hidden_act", "gelu"),
        ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}),
    ],
)
def test_a_model_that_computes_otherwise_is_refused(tmp_path, tensors, section, key, value):
    sections = tiny_sections()
    (sections if section is None else sections[section])[key] = value

    with pytest.raises(ValueError, match=rf"config\.json: .*{key}.* is .*, expected"):
        load_model(a_folder(tmp_path, tensors, sections))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("llama", "num_attention_heads", 0),
        ("llama", "rms_norm_eps", "1e-5"),
        ("image_preprocess_cfg", "std", 0),
        ("clip_vision_cfg", "head_width", "64"),
    ],
)
def test_a_number_that_none_can_be_is_refused_by_its_key(section, key, value):
    with pytest.raises(ValueError, match=rf"config\.json: {section}\.{key} is .*, expected"):
        config_from({section: {key: value}}, published_shapes())


def test_the_llama_section_may_be_written_as_transformers_5_writes_it():
    text = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}

    assert config_from({"llama": text}, published_shapes()).rope_theta == 5e5
    with pytest.raises(ValueError, match="rope_type is 'yarn'"):
        config_from({"llama": {"rope_parameters": {"rope_type": "yarn"}}}, published_shapes())
