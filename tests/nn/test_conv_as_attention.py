"""A convolution as attention, in random settings; `benchmarks/image_layers.py` has 200 of them."""

import pytest
import torch
from torch import nn as torch_nn

import heedful
from benchmarks.image_layers import random_convolution
from heedful import nn


@pytest.mark.parametrize("seed", range(25))
def test_it_equals_the_convolution(seed):
    conv, x = random_convolution(seed)
    layer = nn.conv_as_attention(conv)
    expected = conv(x)
    assert layer(x).shape == expected.shape
    assert (layer(x) - expected).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid", 2, (0, 3)])
def test_padding_by_words_and_even_kernels(padding):
    torch.manual_seed(0)
    conv, x = torch_nn.Conv2d(3, 4, (4, 3), padding=padding, dilation=(1, 2)).double(), torch.randn(2, 3, 9, 8).double()
    torch.testing.assert_close(nn.conv_as_attention(conv)(x), conv(x), rtol=1e-8, atol=1e-8)


def test_large_pictures_lose_nothing():
    torch.manual_seed(0)
    conv, x = torch_nn.Conv2d(1, 1, 2, bias=False), torch.randn(1, 1, 2, 3_000)
    torch.testing.assert_close(nn.conv_as_attention(conv)(x), conv(x), rtol=1e-5, atol=1e-5)


def test_weights_have_the_gradients_of_the_convolution():
    conv, x = torch_nn.Conv2d(4, 6, 3, padding=1, groups=2).double(), torch.randn(2, 4, 5, 4).double()
    layer, other = nn.conv_as_attention(conv), x.clone().requires_grad_()
    x.requires_grad_()
    conv(x).square().sum().backward()
    layer(other).square().sum().backward()
    torch.testing.assert_close(other.grad, x.grad)
    torch.testing.assert_close(layer.output.weight.grad.flatten(), conv.weight.grad.flatten())
    torch.testing.assert_close(layer.output.bias.grad, conv.bias.grad)
    assert layer.gate.grad.abs().min() > 0  # what it learns first


def test_all_that_learns_has_its_derivative():
    torch.manual_seed(1)
    layer = nn.conv_as_attention(torch_nn.Conv2d(2, 2, (1, 2), padding=(0, 1)), qk_channels=3, sharpness=1.0).double()
    torch_nn.init.normal_(layer.gate)
    names, values = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(1, 2, 2, 3).double().requires_grad_()

    def out(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(out, (x, *values))


def test_which_head_looks_where():
    layer = nn.conv_as_attention(torch_nn.Conv2d(4, 4, (3, 2), padding=(2, 0), dilation=(2, 1)), sharpness=1.0)
    heads = layer.looks_at()
    assert [(one.head, one.down, one.right) for one in heads[:3]] == [(0, -2, 0), (1, -2, 1), (2, 0, 0)]
    layer.gate.data[1], layer.offset.data[0] = 0.25, torch.tensor([-2.0, 0.5])
    assert layer.looks_at()[1].gate == 0.25
    with heedful.watch(layer) as recording:
        layer(torch.randn(1, 4, 20, 20))
    matrix = recording[""]  # heads by place, then by content; keys are the padded picture, 24 x 20
    row = 10 * 19 + 9
    seen = matrix[0, :6, row].unflatten(-1, (24, 20))
    for one, weights in zip(layer.looks_at(), seen, strict=True):
        nearest = weights[10 + 2 + int(one.down), 9 + round(one.right)]
        assert nearest.item() == pytest.approx(one.weight, rel=1e-4)


def test_half_precision_and_autocast():
    torch.manual_seed(0)
    conv, x = torch_nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 40, 40)
    expected = conv(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(nn.conv_as_attention(conv)(x).float(), expected, rtol=0.03, atol=0.03)
    half = nn.conv_as_attention(conv.bfloat16())(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.03, atol=0.03)


def test_what_does_not_fit():
    with pytest.raises(TypeError, match=r"^`conv` must be a torch.nn.Conv2d: got Linear\.$"):
        nn.conv_as_attention(torch_nn.Linear(3, 3))
    layer = nn.conv_as_attention(torch_nn.Conv2d(3, 4, 5))
    with pytest.raises(
        ValueError, match=r"^`x` must be at least as large as the kernel, \(5, 5\) with padding: got \[4, 9\]\.$"
    ):
        layer(torch.randn(1, 3, 4, 9))
    with pytest.raises(
        ValueError, match=r"^`x` must be \[batch, channels, height, width\] with 3 channels: got \[1, 4, 9, 9\]\.$"
    ):
        layer(torch.randn(1, 4, 9, 9))
