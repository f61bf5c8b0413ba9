"""An adapter is laid over the base that it was made for, or one sentence says what differs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from inference.engine import open_engine
from inference.engines.adapters import Adapter
from inference.engines.cxr_llava import loading as cxr_llava
from inference.engines.m4cxr import loading as m4cxr
from inference.engines.medgemma import loading as medgemma
from inference.engines.opening import IN_FLOAT32_ON_CPU
from inference.engines.sources import find_sources
from tests.inference import cxr_llava_small
from tests.inference.medgemma_small import write_medgemma
from tests.inference.small import TINY, a_case

LORA = TINY / "adapter"


@pytest.fixture
def adapter(tmp_path):
    return shutil.copytree(LORA, tmp_path / "adapter", copy_function=shutil.copyfile)


def set_in(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def near(expected, tolerance):
    return pytest.approx(expected.numpy(), abs=tolerance)


def logits(model, golden):
    with torch.inference_mode():
        return model(golden["pixel_values"], golden["input_ids"])


def with_adapters(**folders: Path):
    return m4cxr.load_sources(find_sources(TINY, m4cxr.published_names, attached=folders), IN_FLOAT32_ON_CPU)


def test_a_case_is_read_with_the_attached_adapter_that_it_names_or_with_none(golden):
    expected = load_file(LORA / "golden_adapter.safetensors")["logits_with_adapter"]
    loaded = with_adapters(trained=LORA)

    for name, answer in ((None, golden["logits"]), ("trained", expected), (None, golden["logits"])):
        with loaded.adapters.chosen(name):
            assert logits(loaded.model, golden).numpy() == near(answer, 1e-3)


def test_two_attached_adapters_do_not_mix(adapter, golden):
    set_in(adapter, lora_alpha=8)
    weak = m4cxr.load_model(TINY, adapter_folder=adapter).model
    loaded = with_adapters(strong=LORA, weak=adapter)

    with loaded.adapters.chosen("strong"):
        strong_logits = logits(loaded.model, golden)
    with loaded.adapters.chosen("weak"):
        weak_logits = logits(loaded.model, golden)

    assert weak_logits.numpy() == near(logits(weak, golden), 1e-3)
    assert (strong_logits - weak_logits).abs().max() > 0.1


def test_an_attached_adapter_lies_over_a_merged_one(adapter, golden):
    set_in(adapter, modules_to_save=None)
    only_lora = {
        name: t for name, t in load_file(LORA / "adapter_model.safetensors").items() if "lora" in name
    }
    save_file(only_lora, adapter / "adapter_model.safetensors")
    set_in(shutil.copytree(adapter, adapter / "twice"), lora_alpha=64)
    sources = find_sources(TINY, m4cxr.published_names, adapter_folder=adapter, attached={"again": adapter})
    loaded = m4cxr.load_sources(sources, IN_FLOAT32_ON_CPU)
    twice = m4cxr.load_model(TINY, adapter_folder=adapter / "twice").model

    with loaded.adapters.chosen("again"):
        assert logits(loaded.model, golden).numpy() == near(logits(twice, golden), 1e-3)


def test_a_merged_adapter_leaves_a_model_of_plain_layers(tiny):
    merged = m4cxr.load_model(TINY, adapter_folder=LORA).model

    assert {name: type(module) for name, module in merged.named_modules()} == {
        name: type(module) for name, module in tiny.named_modules()
    }


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({"lora_alpha": 16}, 2),
        ({"use_rslora": True}, 32 / 8**0.5),
        ({"alpha_pattern": {"q_proj": 80}}, 10),
    ],
)
def test_the_scale_is_the_one_that_the_settings_say(adapter, tiny, changes, scale):
    set_in(adapter, **changes)
    path = "language_model.model.layers.0.self_attn.q_proj"
    stored = load_file(adapter / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.{path}.lora_{half}.weight"] for half in "AB")

    merged = m4cxr.load_model(TINY, adapter_folder=adapter).model

    change = merged.get_submodule(path).weight - tiny.get_submodule(path).weight
    assert torch.allclose(change, scale * (b @ a), atol=1e-5)


def test_merging_is_done_before_the_cast_to_bfloat16(adapter):
    place = replace(IN_FLOAT32_ON_CPU, dtype=torch.bfloat16)
    path = "language_model.model.layers.1.self_attn.v_proj"

    half = m4cxr.load_model(TINY, place, adapter_folder=adapter).model
    full = m4cxr.load_model(TINY, adapter_folder=adapter).model

    assert torch.equal(half.get_submodule(path).weight, full.get_submodule(path).weight.bfloat16())


def test_another_scale_is_another_digest_and_each_attached_adapter_has_its_own(adapter):
    set_in(adapter, lora_alpha=16)
    attached = {"one": LORA, "other": adapter}

    digests = find_sources(TINY, m4cxr.published_names, attached=attached).digests()

    assert set(digests) == {None, "one", "other"}
    assert len(set(digests.values())) == 3


def test_the_reading_says_which_adapter_read_the_case(tiny_folder):
    engine = open_engine(
        "m4cxr", model_folder=tiny_folder, device="cpu", adapters={"trained": LORA}, answer_tokens_max=4
    )

    plain = engine.read(a_case())
    adapted = engine.read(replace(a_case(), adapter="trained"))

    assert plain.engine == engine.identity
    assert adapted.engine.weights_digest != engine.identity.weights_digest
    assert [turn.answer for turn in plain.turns] != [turn.answer for turn in adapted.turns]


def test_an_adapter_that_is_not_attached_is_refused_with_what_there_is(tiny_folder):
    engine = open_engine("m4cxr", model_folder=tiny_folder, device="cpu", adapters={"trained": LORA})

    with pytest.raises(ValueError, match='adapter "other" is not attached; there are: trained'):
        engine.read(replace(a_case(), adapter="other"))


def test_an_adapters_name_that_cannot_be_part_of_a_tensors_name_is_refused():
    with pytest.raises(ValueError, match=r"adapters are called a\.b; use up to 32 letters"):
        with_adapters(**{"a.b": LORA})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "set are {'use_dora': True}"),
        ({"bias": "all"}, "set are {'bias': 'all'}"),
        ({"init_lora_weights": "pissa"}, "set are {'init_lora_weights': 'pissa'}"),
        ({"megatron_config": {"x": 1}}, "set are {'megatron_config'"),
        ({"peft_type": "IA3"}, "set are {'peft_type': 'IA3'}"),
        ({"r": None}, "r is None"),
        ({"r": 4}, "an adapter of rank 4 .* of another shape: .*lora_A is 8x64, expected 4x64"),
        ({"alpha_pattern": {"gate_proj": 4}}, "alpha_pattern names gate_proj, which is no layer"),
        ({"modules_to_save": ["abstractor"]}, r"left over: vision_model\."),
    ],
)
def test_an_adapter_whose_sum_is_another_is_refused(adapter, change, said):
    set_in(adapter, **change)

    with pytest.raises(ValueError, match=said):
        m4cxr.load_model(TINY, adapter_folder=adapter)


def rewrite(adapter: Path, change) -> None:
    path = adapter / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {n.replace("layers.1", "layers.9"): v for n, v in t.items()}, "it changes .*layers.9"),
        (lambda t: {n: v for n, v in t.items() if "lora" not in n}, "it changes no layer"),
        (lambda t: {n: v for n, v in t.items() if "layers.0.self_attn.q_proj.lora_A" not in n}, "missing: "),
        (
            lambda t: {n: torch.zeros(8, 96) if "lora_A" in n else v for n, v in t.items()},
            "8x96, expected 8x64",
        ),
    ],
)
def test_an_adapter_for_another_base_is_refused_in_a_sentence_that_names_what_differs(adapter, change, said):
    rewrite(adapter, change)

    with pytest.raises(ValueError, match=said) as error:
        m4cxr.load_model(TINY, adapter_folder=adapter)

    assert str(error.value).startswith(str(adapter))


@pytest.mark.parametrize("way", ["merged", "attached"])
def test_an_adapter_that_holds_no_numbers_is_refused_by_its_file_and_tensor(adapter, way):
    rewrite(adapter, lambda tensors: {name: t * float("nan") for name, t in tensors.items()})

    with pytest.raises(ValueError, match=rf"^{adapter}/adapter_model\.safetensors: base_model.* not finite"):
        with_adapters(trained=adapter) if way == "attached" else m4cxr.load_model(
            TINY, adapter_folder=adapter
        )


def test_an_adapter_among_the_weights_is_not_passed_over(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "weights", copy_function=shutil.copyfile)
    shutil.copyfile(LORA / "adapter_model.safetensors", folder / "adapter_model.safetensors")

    with pytest.raises(ValueError, match="an adapter lies beside the weights; give it a folder of its own"):
        m4cxr.load_model(folder)


def test_a_sum_that_is_not_finite_is_refused(adapter):
    set_in(adapter, lora_alpha=1e300)

    with pytest.raises(ValueError, match=rf"^{adapter}: laid over .* not finite; fetch it again"):
        m4cxr.load_model(TINY, adapter_folder=adapter)


def a_peft_adapter(network: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Trains nothing: lays random LoRA over a network, saves it as peft does, and gives the network with it."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(network, config).eval()
    adapted.save_pretrained(folder)
    return adapted


@torch.inference_mode()
def test_cxr_llava_takes_an_adapter_of_pefts_making(tmp_path):
    golden = cxr_llava_small.golden()
    adapted = a_peft_adapter(cxr_llava.load_model(cxr_llava_small.TINY).model, tmp_path)
    sources = find_sources(cxr_llava_small.TINY, cxr_llava.published_names, adapter_folder=tmp_path)

    loaded = cxr_llava.load_sources(sources, IN_FLOAT32_ON_CPU).model

    assert logits(loaded, golden).numpy() == near(logits(adapted, golden), 1e-4)
    assert not torch.allclose(logits(loaded, golden), golden["logits"], atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("is_merged", [True, False])
def test_medgemma_takes_an_adapter_of_pefts_making(tmp_path, is_merged):
    folder = write_medgemma(tmp_path, strength=3)
    ids = torch.arange(20, 40)[None]
    network = medgemma.load_model(folder).model.network
    plain, adapted = network(ids).logits, a_peft_adapter(network, tmp_path / "lora")(ids).logits
    chosen = {"adapter_folder": tmp_path / "lora"} if is_merged else {"attached": {"a": tmp_path / "lora"}}

    loaded = medgemma.load_sources(
        find_sources(folder, medgemma.published_names, **chosen), IN_FLOAT32_ON_CPU
    )

    with loaded.adapters.chosen(None if is_merged else "a"):
        assert loaded.model.network(ids).logits.numpy() == near(adapted, 1e-4)
    assert not torch.allclose(plain, adapted, atol=1e-2)


def test_an_adapters_settings_belong_to_its_digest():
    adapter = find_sources(TINY, m4cxr.published_names, attached={"a": LORA}).attached["a"]

    assert isinstance(adapter, Adapter)
    assert [path.name for path in adapter.files] == ["adapter_config.json", "adapter_model.safetensors"]
