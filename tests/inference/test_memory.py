"""A model that will not fit is refused before it is loaded, with the numbers and a way out."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from inference.engines.cxr_llava import loading as cxr_llava
from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.m4cxr import loading as m4cxr
from inference.engines.m4cxr.model import M4CXR, M4CXRConfig
from inference.engines.medgemma import loading as medgemma
from inference.engines.memory import check_memory, free_memory_bytes, left_in_group, need_of
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.sources import Sources, find_sources
from inference.engines.stored import StoredTensor
from tests.inference.medgemma_small import write_medgemma
from tests.inference.small import TINY, VECTORS

GIB = 1 << 30
ON_CARD = Place("cuda:0", torch.bfloat16)


def published(keys: str) -> Sources:
    """What the headers of a published model's files would say."""
    pairs = [line.split() for line in (VECTORS / keys).read_text().splitlines() if line]
    base = {name: StoredTensor(Path(), name, tuple(map(int, shape.split("x")))) for name, shape in pairs}
    return Sources(Path(), base, {}, {}, (), ())


def need_of_m4cxr(place: Place):
    return need_of(published("m4cxr-keys.txt"), m4cxr.text_shape(M4CXRConfig(), 500), place)


def test_the_published_m4cxr_takes_14_73_gb_in_bfloat16_as_its_modules_do():
    with torch.device("meta"):
        model = M4CXR(M4CXRConfig()).to(torch.bfloat16)

    assert need_of_m4cxr(ON_CARD).weights == sum(tensor.nbytes for tensor in model.state_dict().values())
    assert need_of_m4cxr(ON_CARD).weights == 14_733_134_720


def test_the_published_cxr_llava_takes_14_09_gb_in_bfloat16():
    shape = cxr_llava.text_shape(CXRLLaVAConfig(), 512)

    assert need_of(published("cxr-llava-keys.txt"), shape, ON_CARD).weights == 14_092_742_656


def test_a_token_of_m4cxr_takes_128_kib_in_the_cache():
    shape = m4cxr.text_shape(M4CXRConfig(), 500)

    assert need_of_m4cxr(ON_CARD).cache == 2 * shape.tokens_kept * 128 * 1024


@pytest.mark.parametrize("weights", ["full", "int8", "int4"])
def test_weights_are_counted_to_the_byte(weights):
    place = replace(IN_FLOAT32_ON_CPU, weights=weights)
    sources = find_sources(TINY, m4cxr.published_names)
    model = m4cxr.load_sources(sources, place).model

    counted = need_of(sources, m4cxr.text_shape(model.config, 10), place).weights

    assert counted == sum(tensor.nbytes for tensor in model.state_dict().values())


@pytest.mark.slow
def test_attached_adapters_are_counted_to_the_byte():
    attached = {"a": TINY / "adapter", "b": TINY / "adapter"}
    sources = find_sources(TINY, m4cxr.published_names, attached=attached)
    model = m4cxr.load_sources(sources, IN_FLOAT32_ON_CPU).model

    counted = need_of(sources, m4cxr.text_shape(model.config, 10), IN_FLOAT32_ON_CPU).weights

    assert counted == sum(tensor.nbytes for tensor in model.state_dict().values())


def test_medgemmas_weights_are_counted_by_its_published_names(tmp_path):
    sources = find_sources(write_medgemma(tmp_path), medgemma.published_names)
    shape, place = medgemma.text_shape(tmp_path, 10), replace(IN_FLOAT32_ON_CPU, weights="int8")
    network = medgemma.load_sources(sources, place).model.network

    counted = need_of(sources, shape, place).weights

    tied = network.lm_head.weight.nbytes
    assert counted == sum(tensor.nbytes for tensor in network.state_dict().values()) - tied


def test_a_card_that_is_too_small_is_refused_with_what_fits_it():
    with pytest.raises(
        ValueError, match=r"M4CXR needs 19\.9 GiB on cuda:0 .* and 14\.0 GiB are free"
    ) as error:
        check_memory("M4CXR", need_of_m4cxr, ON_CARD, 14 * GIB)

    assert 'set weights = "int8" (13.7 GiB) or set weights = "int4" (11.3 GiB)' in str(error.value)


def test_only_settings_that_fit_are_offered():
    in_full = Place("cpu", torch.float32)

    with pytest.raises(ValueError, match=r': set weights = "int4" \(\d+\.\d GiB\), or end what else'):
        check_memory("M4CXR", need_of_m4cxr, in_full, 19 * GIB)
    with pytest.raises(ValueError, match="no smaller setting fits either"):
        check_memory("M4CXR", need_of_m4cxr, in_full, 4 * GIB)


def test_a_model_that_fits_is_let_through():
    check_memory("M4CXR", need_of_m4cxr, ON_CARD, 20 * GIB)


def test_the_machine_has_some_memory_free():
    assert 0 < free_memory_bytes("cpu") < 1 << 50


def a_group(folder: Path, limit: str) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 400\ninactive_file 250\n")
    return folder


def test_a_containers_limit_counts_and_file_pages_that_can_be_dropped_do_not(tmp_path):
    assert list(left_in_group(a_group(tmp_path, "1000"))) == [550]


def test_a_container_without_a_limit_leaves_the_machines_memory(tmp_path):
    assert list(left_in_group(a_group(tmp_path, "max"))) == []
    assert list(left_in_group(tmp_path / "nowhere")) == []


def taken_and_needed(folder: Path, dtype: str, weights: str) -> tuple[int, int]:
    command = [sys.executable, "-m", "tests.inference.memory_taken", str(folder), dtype, weights]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return printed["taken"], printed["need"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_need_is_never_less_than_what_is_taken_and_but_for_the_margin_at_most_half_more(tmp_path):
    writing = [sys.executable, "-m", "tests.inference.memory_taken", str(tmp_path), "small"]
    subprocess.run(writing, check=True)
    taken = partial(taken_and_needed, tmp_path, "bfloat16")

    for used, needed in (taken("full"), taken("int8"), taken("int4")):
        assert used <= needed <= 1.5 * used + 512 * 1024**2
