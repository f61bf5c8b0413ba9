"""What can be told before the weights are loaded, and what is told when memory ends."""

import gc
import shutil
import weakref

import pytest
import torch

from inference.engine import OutOfMemory, open_engine
from inference.engines.adapters import AttachedAdapters
from inference.engines.opening import (
    IN_FLOAT32_ON_CPU,
    Opened,
    check_dtype,
    out_of_memory_reason,
    place_of,
)
from inference.reading import EngineIdentity

IDENTITY = EngineIdentity("m4cxr", "1", "M4CXR", "sha256:0")
TORCH_SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB."


def an_opened(respondent: object = None) -> Opened:
    return Opened(respondent, AttachedAdapters(None, ()), {None: IDENTITY}, IN_FLOAT32_ON_CPU)


def test_memory_that_the_machine_has_not_is_one_sentence():
    with pytest.raises(
        OutOfMemory, match=r"the machine is out of memory \(\d+ bytes asked for\); end what else"
    ):
        an_opened().use(None, lambda *_: torch.empty(1 << 60, dtype=torch.uint8))


def test_what_the_work_held_is_given_back_before_the_error_is_raised():
    held: list[weakref.ref] = []

    def work(*_: object) -> None:
        tensor = torch.ones(1000)
        held.append(weakref.ref(tensor))
        torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(OutOfMemory) as caught:
        an_opened().use(None, work)
    gc.collect()

    assert held[0]() is None
    assert caught.value.__context__ is None


def test_a_card_that_is_full_is_named_with_what_was_asked_for():
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError(TORCH_SAYS)

    with pytest.raises(OutOfMemory, match=r"out of memory \(2\.00 GiB asked for\)"):
        an_opened().use(None, full)
    assert out_of_memory_reason("cuda:1", TORCH_SAYS).startswith("GPU cuda:1 is out of memory (2.00 GiB")


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_card_that_is_full_is_known_whichever_library_says_so(said):
    def full(*_: object) -> None:
        raise RuntimeError(said)

    with pytest.raises(OutOfMemory, match="is out of memory"):
        an_opened().use(None, full)


@pytest.mark.parametrize(
    ("name", "content"),
    [("model_card.json", "{}"), ("tokenizer_check.json", "[]"), ("config.json", '{"vision_config": null}')],
)
def test_a_file_in_another_form_is_one_sentence(tiny_folder, tmp_path, name, content):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / name).write_text(content)

    with pytest.raises(ValueError, match=str(folder)):
        open_engine("m4cxr", model_folder=str(folder), device="cpu")


def test_another_error_of_torch_stays_what_it_is():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        an_opened().use(None, lambda *_: torch.ones(2, 3) @ torch.ones(2, 3))


def test_bfloat16_on_a_card_that_has_none_is_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r'Tesla T4 has no bfloat16 \(compute capability 7\.5, .*dtype = "float32"'
    ):
        check_dtype(torch.bfloat16, "Tesla T4", (7, 5))
    check_dtype(torch.float32, "Tesla T4", (7, 5))
    check_dtype(torch.bfloat16, "NVIDIA A10", (8, 6))


def test_weights_other_than_the_pinned_ones_are_refused_with_both_digests(tiny_folder):
    digest = open_engine("m4cxr", model_folder=tiny_folder, device="cpu").identity.weights_digest

    open_engine("m4cxr", model_folder=tiny_folder, device="cpu", weights_digest=digest)
    with pytest.raises(ValueError, match=rf"are {digest}, but weights_digest asks for sha256:0+: put"):
        open_engine("m4cxr", model_folder=tiny_folder, device="cpu", weights_digest="sha256:" + "0" * 64)


def test_a_tokenizer_is_judged_before_the_weights_are_read(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "tiny")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(-4, 2))

    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        open_engine("m4cxr", model_folder=folder, device="cpu")
    shutil.copyfile(tiny_folder / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not JSON"):
        open_engine("m4cxr", model_folder=folder, device="cpu")


@pytest.mark.parametrize("name", ["nowhere:open_it", "tests.scripted_engine:nowhere"])
def test_an_engine_of_the_site_that_cannot_be_imported_is_said_in_a_sentence(name):
    with pytest.raises(ValueError, match=f'engine "{name}" cannot be imported: .*nowhere'):
        open_engine(name)


def test_float32_is_float32_in_convolutions_too():
    """The setting is torch's own; what cuDNN makes of it is seen on a card alone."""
    torch.backends.cudnn.conv.fp32_precision = "tf32"

    place_of("cpu", "float32", 1, None)

    assert torch.backends.cudnn.conv.fp32_precision == "ieee"


def test_products_in_coarser_numbers_are_summed_in_float32():
    """As above: what cuBLAS makes of it is seen on a card alone."""
    matmul = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = True

    place_of("cpu", "bfloat16", 1, None)

    assert not matmul.allow_bf16_reduced_precision_reduction
    assert not matmul.allow_fp16_reduced_precision_reduction
