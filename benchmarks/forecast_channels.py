"""A training step of forecast with attention over 321 channels, against the same model whose attention over channels stores its matrix.

python -m benchmarks.forecast_channels [--channels 321] [--length 720] [--batch 8] [--seconds 25]
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._measure import keep, paired
from heedful.models import forecaster


class StoredAttention(nn.Module):
    """Multi-head self-attention as it is commonly written: the weights are stored."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.project, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """`[B, N, D]`."""
        query, key, value = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


def step(who: str, channels: int, length: int, batch: int) -> Callable[[], None]:
    """A training step of heedful's model, or of the same with stored weights."""
    torch.manual_seed(0)
    model = forecaster.Forecaster(length=length, horizon=96, channels=channels, attention="both", patch=24, stride=24)
    if who == "stored":
        for layer in model.attend.channel_layers:  # type: ignore[union-attr]
            layer.attention = StoredAttention(16, 4)
    nn.init.ones_(model.gate)
    past = torch.randn(batch, length, channels)

    def run() -> None:
        model.zero_grad()
        model(past).square().mean().backward()

    return run


def peak(who: str, *sizes: int) -> float:
    """MB that one step takes at its peak, beside model and input, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.operator import peak_of_this_process as peak; "
        "from benchmarks.forecast_channels import step; run = step(sys.argv[1], *map(int, sys.argv[2:])); "
        "Path('/proc/self/clear_refs').write_text('5'); before = peak(); run(); print((peak() - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, who, *map(str, sizes)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Times both in turns, and measures the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("channels", 321), ("length", 720), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=25.0)
    options = parser.parse_args()
    sizes = (options.channels, options.length, options.batch)
    pair = paired(step("heedful", *sizes), step("stored", *sizes), seconds=options.seconds)
    ours, theirs, half = peak("heedful", *sizes), peak("stored", *sizes), peak("heedful", sizes[0] // 2, *sizes[1:])
    found = {
        "channels": sizes[0], "length": sizes[1], "batch": sizes[2], "seconds": pair.ours, "stored_seconds": pair.theirs,
        "speedup": 1 / pair.ratio, "megabytes": ours, "stored_megabytes": theirs, "megabytes_of_half_the_channels": half,
    }  # fmt: skip
    print(found)
    keep("forecast-channels", found)


if __name__ == "__main__":
    main()
