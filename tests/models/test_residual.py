import pytest
import torch

from heedful.models.residual import ConvNorm, ResidualBlock


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
def test_any_size_and_what_a_stride_makes_of_it(stride, dilation, size):
    x = torch.randn(2, 5, *size).to(memory_format=torch.channels_last)
    for block in (ResidualBlock(5, 7, stride=stride, dilation=dilation), ConvNorm(5, 7, stride=stride)):
        y = block.eval().to(memory_format=torch.channels_last)(x)
        assert y.shape == (2, 7, -(-size[0] // stride), -(-size[1] // stride))
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_a_new_block_adds_nothing_and_learns_to():
    torch.manual_seed(0)
    block, x = ResidualBlock(5, 5), torch.rand(2, 5, 4, 3)
    before = block(x)
    torch.testing.assert_close(before, x)
    optimizer = torch.optim.SGD(block.parameters(), 0.1)
    for _ in range(2):  # the last normalization learns first
        (block(x) ** 2).mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in block.first.parameters())
    assert not torch.allclose(block(x), x)


def test_no_convolution_of_one_pixel_has_a_stride():
    """Its backward pass in PyTorch 2.13 writes beyond its memory where there are fewer than 8 channels, channels last."""
    convolutions = [one for one in ResidualBlock(5, 7, stride=2).modules() if isinstance(one, torch.nn.Conv2d)]
    assert sorted((one.kernel_size[0], one.stride[0]) for one in convolutions) == [(1, 1), (3, 1), (3, 2)]


def test_a_kernel_has_a_center():
    with pytest.raises(ValueError, match=r"^`kernel` must be odd: got 2\.$"):
        ConvNorm(3, 4, 2)
