"""The convolutions of which all picture models are built: convolution, batch normalization, ReLU; residual blocks (He et al. 2016)."""

from torch import nn

from heedful._types import Float, Tensor


class ConvNorm(nn.Sequential):
    """Convolution, batch normalization, ReLU: `[B, before, H, W] -> [B, after, H / stride, W / stride]`, rounded up.

    Args:
        before: channels of what it is given.
        after: channels of what it gives.
        kernel: side of the kernel, an odd number.
        stride: pixels from one position to the next.
        dilation: pixels from one weight of the kernel to the next.
        relu: whether a ReLU follows.

    Raises:
        ValueError: the kernel's side is even: it would have no center.

    Example:
        >>> ConvNorm(3, 8, stride=2)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 8, 3, 4])
    """

    def __init__(
        self, before: int, after: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, relu: bool = True
    ) -> None:
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd: got {kernel}.")
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(convolution, nn.BatchNorm2d(after))
        if relu:
            self.append(nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3, added to what they are given: `[B, before, H, W] -> [B, after, H / stride, W / stride]`.

    At first the convolutions add nothing: the weight of their last batch normalization is 0 (Goyal et al. 2017).

    Args:
        before: channels of what it is given.
        after: channels of what it gives.
        stride: pixels from one position to the next, in the first convolution.
        dilation: pixels from one weight of the kernels to the next, in both.

    Example:
        >>> ResidualBlock(8, 16, stride=2)(torch.zeros(1, 8, 5, 8)).shape
        torch.Size([1, 16, 3, 4])
    """

    def __init__(self, before: int, after: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(before, after, stride=stride, dilation=dilation)
        self.second = ConvNorm(after, after, dilation=dilation, relu=False)
        self.stride = stride
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(before, after, 1, relu=False)
        self.activation = nn.ReLU(inplace=True)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B before H W"]) -> Float[Tensor, "B after y z"]:
        # Not a convolution with a stride: with fewer than 8 channels, channels last, its backward pass in PyTorch 2.13 writes beyond
        # its memory on a CPU.
        shortcut = self.shortcut(x[..., :: self.stride, :: self.stride])
        return self.activation(shortcut + self.second(self.first(x)))  # type: ignore[no-any-return]
