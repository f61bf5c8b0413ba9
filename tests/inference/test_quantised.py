"""Weights in 8 or 4 bits are as near to what they were as the bits allow, and only those that may be."""

import pytest
import torch
from torch import nn

from inference.engine import open_engine
from inference.engines.m4cxr.loading import TEXT_LAYERS, load_model
from inference.engines.opening import Place
from inference.engines.quantised import QuantisedLinear, stored_bytes
from tests.inference.small import TINY

ROUNDED = ("int8", "int4")


def a_linear(rows: int = 48, columns: int = 64, *, has_bias: bool = False) -> nn.Linear:
    torch.manual_seed(7)
    return nn.Linear(columns, rows, bias=has_bias).requires_grad_(False)


def test_int8_is_off_by_half_a_step_of_its_row_at_most():
    linear = a_linear()
    step = linear.weight.abs().amax(1, keepdim=True) / 127

    error = (QuantisedLinear(linear, "int8", torch.float32).dense() - linear.weight).abs()

    assert (error <= step * 0.501).all()
    assert error.max() > 0


def test_int4_is_off_by_half_a_step_of_its_group_at_most():
    linear = a_linear()
    groups = linear.weight.view(48, 2, 32)
    step = (groups.amax(2, keepdim=True) - groups.amin(2, keepdim=True)) / 15

    error = (QuantisedLinear(linear, "int4", torch.float32).dense() - linear.weight).abs()

    assert (error.view(48, 2, 32) <= step * 0.501).all()
    assert error.max() > 0


@pytest.mark.parametrize("weights", ROUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_computes_with_its_weights_and_bias_in_the_numbers_asked_for(weights, dtype):
    linear = a_linear(has_bias=True)
    layer = QuantisedLinear(linear, weights, dtype)
    x = torch.randn(2, 5, 64).to(dtype)

    y = layer(x)

    assert y.dtype == dtype
    assert torch.allclose(y.float(), linear(x.float()), atol=0.02 if weights == "int8" else 0.25)
    assert torch.equal(y, nn.functional.linear(x, layer.dense(), layer.bias))


@pytest.mark.parametrize("weights", ROUNDED)
@pytest.mark.parametrize("value", [0.0, 1e-30, 3.0])
def test_a_row_of_equal_weights_stays_what_it_is(weights, value):
    linear = a_linear()
    linear.weight.fill_(value)

    dense = QuantisedLinear(linear, weights, torch.bfloat16).dense()

    assert torch.allclose(dense.float(), linear.weight, rtol=2**-7)


@pytest.mark.parametrize("weights", ROUNDED)
def test_a_layer_takes_the_bytes_that_were_counted(weights):
    layer = QuantisedLinear(a_linear(), weights, torch.bfloat16)

    taken = sum(buffer.numel() * buffer.itemsize for buffer in layer.buffers())

    assert taken == stored_bytes(48, 64, weights, torch.bfloat16)


def test_a_width_that_int4_cannot_group_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match='a layer is 40 wide, no multiple of 32; set weights = "int8"'):
        QuantisedLinear(a_linear(columns=40), "int4", torch.float32)


def test_a_weight_that_is_not_finite_is_refused():
    linear = a_linear()
    linear.weight[0, 0] = float("inf")

    with pytest.raises(ValueError, match="a weight is not finite"):
        QuantisedLinear(linear, "int8", torch.float32)


@pytest.mark.parametrize("weights", ROUNDED)
def test_only_the_language_models_projections_are_rounded(tiny, weights):
    rounded = load_model(TINY, Place("cpu", torch.float32, weights)).model
    linears = {n for n, m in tiny.named_modules() if isinstance(m, nn.Linear) and n.startswith(TEXT_LAYERS)}

    assert {n for n, m in rounded.named_modules() if isinstance(m, QuantisedLinear)} == linears
    assert len(linears) == 7 * tiny.config.text_layers
    others = {n: t for n, t in tiny.state_dict().items() if n.rpartition(".")[0] not in linears}
    assert all(torch.equal(rounded.state_dict()[name], tensor) for name, tensor in others.items())


@pytest.mark.parametrize("weights", ROUNDED)
def test_a_model_whose_weights_were_rounded_says_so(tiny_folder, weights):
    plain = open_engine("m4cxr", model_folder=tiny_folder, device="cpu")

    rounded = open_engine("m4cxr", model_folder=tiny_folder, device="cpu", weights=weights)

    assert rounded.identity.model_name == f"M4CXR ({weights} weights)"
    assert rounded.identity.weights_digest == plain.identity.weights_digest
