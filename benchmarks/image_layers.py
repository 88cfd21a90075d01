"""Attention on feature maps against the published forms, which store N x N: `python -m benchmarks image-layers`.

Time and memory of `DualAttention` and of `SelfAttention2d` with a penalty on the gradient (R1), and how near `conv_as_attention` comes
to random convolutions.
"""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks._measure import keep, paired, size
from benchmarks.operator import peak_of_this_process
from heedful.nn import DualAttention, SelfAttention2d, conv_as_attention

CHANNELS, SIDE, LARGE_SIDE = 64, 64, 256
CONVOLUTIONS = 200


class StoredDual(nn.Module):
    """Dual attention as its authors wrote it: both affinities are stored (Fu et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_conv, self.key_conv = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma, self.channel_gamma = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]`."""
        query, key = self.query_conv(x).flatten(2).mT, self.key_conv(x).flatten(2)
        weights = torch.softmax(torch.bmm(query, key), dim=-1)
        spatial = torch.bmm(self.value_conv(x).flatten(2), weights.mT).view(x.shape)
        rows = x.flatten(2)
        energy = torch.bmm(rows, rows.mT)
        weights = torch.softmax(energy.amax(-1, keepdim=True).expand_as(energy) - energy, dim=-1)
        channel = torch.bmm(weights, rows).view(x.shape)
        return (self.gamma * spatial + x) + (self.channel_gamma * channel + x) - x


class StoredSagan(nn.Module):
    """The self-attention of SAGAN with its weights stored (Zhang et al. 2019), keys and values not pooled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (
            (channels, channels // 8),
            (channels, channels // 8),
            (channels, channels // 2),
            (channels // 2, channels),
        )
        self.convs = nn.ModuleList(spectral_norm(nn.Conv2d(*one, 1, bias=False)) for one in sizes)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]`."""
        query, key, value = (conv(x).flatten(2) for conv in self.convs[:3])
        weights = torch.softmax(torch.bmm(query.mT, key), dim=-1)
        gathered = torch.bmm(value, weights.mT).unflatten(-1, x.shape[-2:])
        return self.gamma * self.convs[3](gathered) + x


LAYERS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "dual": (DualAttention, StoredDual),
    "sagan": (SelfAttention2d, StoredSagan),
}


def training_step(layer: nn.Module, what: str, side: int) -> Callable[[], None]:
    """A forward and a backward pass of one picture; of "sagan", with a penalty on the gradient of the picture."""
    torch.manual_seed(0)
    for name, parameter in layer.named_parameters():
        if name.endswith("gamma"):
            nn.init.ones_(parameter)
    x = torch.randn(1, CHANNELS, side, side, requires_grad=True)
    weights = torch.randn_like(x)

    def step() -> None:
        loss = (layer(x) * weights).sum()
        if what == "sagan":
            (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
            loss = loss + gradient.square().sum()
        loss.backward()

    return step


def measured(who: str, what: str, side: int) -> None:
    """Prints the MB that one training step takes at its peak, beside the layer and its input."""
    step = training_step(LAYERS[what][who != "heedful"](CHANNELS), what, side)
    training_step(LAYERS[what][who != "heedful"](CHANNELS), what, 4)()  # what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of from now on
    before = peak_of_this_process()
    step()
    print((peak_of_this_process() - before) / 1024)


def peak(who: str, what: str, side: int) -> float:
    """The same, in a process of its own."""
    code = (
        "import sys; from benchmarks.image_layers import measured; measured(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, who, what, str(side)], check=True, capture_output=True, text=True
    )
    return max(float(done.stdout.split()[-1]), 1e-3)  # the system counts in KB


def layers(seconds: float = 20.0) -> dict[str, dict[str, float]]:
    """Time and memory of both, and their ratios."""
    found = {}
    side = size(SIDE)
    for what, (ours, theirs) in LAYERS.items():
        pair = paired(*(training_step(one(CHANNELS), what, side) for one in (ours, theirs)), seconds=seconds)
        megabytes, stored = peak("heedful", what, side), peak("stored", what, side)
        found[what] = {
            "side": side, "seconds": pair.ours, "stored_seconds": pair.theirs, "speedup": 1 / pair.ratio,
            "megabytes": megabytes, "stored_megabytes": stored, "memory": megabytes / stored,
        }  # fmt: skip
        print(
            f"  {what:<6} {side} x {side}  {1e3 * pair.ours:6.0f} ms, stored {1e3 * pair.theirs:6.0f} ms: {1 / pair.ratio:.2f} x   "
            f"{megabytes:6.0f} MB, stored {stored:6.0f} MB: {megabytes / stored:.3f}", flush=True,
        )  # fmt: skip
    return found


def random_convolution(seed: int) -> tuple[nn.Conv2d, Tensor]:
    """A convolution with a random setting of everything that it has, and an input that it takes."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    groups = choose.choice((1, 1, 2, 3))
    kernel, stride = ((choose.randint(1, most), choose.randint(1, most)) for most in (5, 3))
    mode = choose.choice(("zeros", "reflect", "replicate", "circular"))
    conv = nn.Conv2d(
        groups * choose.randint(1, 4), groups * choose.randint(1, 4), kernel, stride=stride, groups=groups,
        padding=(choose.randint(0, 3), choose.randint(0, 3)), padding_mode=mode,
        dilation=(choose.randint(1, 3), choose.randint(1, 3)), bias=choose.random() < 0.5,
    )  # fmt: skip
    height, width = (
        max(d * (k - 1) + 1, 4) + choose.randint(0, 12) for d, k in zip(conv.dilation, kernel, strict=True)
    )
    return conv, torch.randn(choose.randint(1, 3), conv.in_channels, height, width)


@torch.no_grad()
def convolutions(count: int) -> dict[str, Any]:
    """The largest difference between random convolutions and what `conv_as_attention` makes of them."""
    largest = 0.0
    for seed in range(count):
        conv, x = random_convolution(seed)
        largest = max(largest, float((conv_as_attention(conv)(x) - conv(x)).abs().amax()))
    print(f"  {count} random convolutions as attention: no output differs by more than {largest:.1e}")
    return {"count": count, "largest_difference": largest}


def main() -> None:
    """Prints all figures, and keeps results/image-layers.json."""
    print(f"attention on feature maps of {CHANNELS} channels, a training step of one picture")
    found: dict[str, Any] = {"layers": layers(), "convolutions": convolutions(size(CONVOLUTIONS))}
    side = size(LARGE_SIDE)
    found["large"] = {"side": side, "megabytes": peak("heedful", "dual", side)}
    print(f"  dual   {side} x {side}  {found['large']['megabytes']:,.0f} MB")
    keep("image-layers", found)


if __name__ == "__main__":
    main()
