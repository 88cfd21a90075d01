"""A forecaster: a linear path, to which attention over patches of the past adds through a gate that is closed at first."""

from typing import Literal

import torch
from torch import nn

from heedful._checks import check_choice, check_positive
from heedful._types import Float, Int, Tensor
from heedful.nn import LearnedPositions, TransformerEncoderLayer
from heedful.nn.dropout import Dropout
from heedful.nn.transformer import init_projections

__all__ = ["ATTENTION", "Forecaster", "PatchAttention"]

Attention = Literal["time", "both", "none"]
ATTENTION: tuple[Attention, ...] = ("time", "both", "none")
_LEAST = 1e-4  # of the standard deviation by which a window is divided: a constant one stays what it is


class PatchAttention(nn.Module):
    """From windows to what is added to their forecasts: attention over patches of time, and over channels.

    Each window of each channel is cut into patches that overlap; a patch is one position. After each layer over the patches of a
    channel there is, with `channels`, one over the channels of a patch.

    Args:
        length: L, values of a window.
        horizon: H, values of a forecast.
        channels: how many, where they attend to each other; 0: each channel is by itself, with the same weights.
        patch: values of a patch.
        stride: from patch to patch.
        width: features of a patch.
        heads: of attention.
        ffn_width: features inside each layer's network.
        layers: how many.
        dropout: as in `TransformerEncoderLayer`, and before the last layer.

    Example:
        >>> PatchAttention(length=40, horizon=5, patch=8, stride=4, width=8, heads=2, ffn_width=16, layers=1)(torch.randn(2, 40, 3)).shape
        torch.Size([2, 5, 3])

    Source: Nie et al. 2023 (PatchTST), over time; Zhang and Yan 2023 (Crossformer), over time and channels in turn.
    """

    def __init__(
        self,
        *,
        length: int,
        horizon: int,
        channels: int = 0,
        patch: int,
        stride: int,
        width: int,
        heads: int,
        ffn_width: int,
        layers: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch, self.stride = min(check_positive("patch", patch), length), check_positive("stride", stride)
        self.count = -(-(length - self.patch) // self.stride) + 1
        self.padding = (self.count - 1) * self.stride + self.patch - length  # before the first value
        self.embed, self.positions = nn.Linear(self.patch, width), LearnedPositions(self.count, width)

        def stack(count: int) -> nn.ModuleList:
            made = (TransformerEncoderLayer(width, heads, ffn_width=ffn_width, dropout=dropout) for _ in range(count))
            return nn.ModuleList(made)

        self.layers, self.channel_layers = stack(layers), stack(layers if channels else 0)
        self.channel_table = nn.Parameter(0.02 * torch.randn(channels, 1, width)) if channels else None
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        self.head = nn.Linear(self.count * width, horizon)
        init_projections(self.layers)
        init_projections(self.channel_layers)

    def forward(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B H C"]:
        """Of windows of mean 0 and deviation 1."""
        batch, _, channels = x.shape
        rows = nn.functional.pad(x.mT.flatten(0, 1), (self.padding, 0))  # [B C, L]
        x = self.positions(self.embed(rows.unfold(-1, self.patch, self.stride)))  # [B C, P, D]
        if self.channel_table is not None:
            x = (x.unflatten(0, (batch, channels)) + self.channel_table).flatten(0, 1)
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if self.channel_table is not None:
                turned = x.unflatten(0, (batch, channels)).transpose(1, 2)  # [B, P, C, D]
                turned = self.channel_layers[number](turned.flatten(0, 1)).unflatten(0, turned.shape[:2])
                x = turned.transpose(1, 2).flatten(0, 1)
        out: Tensor = self.head(self.dropout(self.norm(x)).flatten(1))
        return out.view(batch, channels, -1).mT


class Forecaster(nn.Module):
    r"""Forecasts the next H values of C channels from the last L, in one step.

    What is known of any time, its place in a cycle and `known`, explains a part of the values; the rest, minus its mean over the
    window, goes through a linear path and through attention over patches:

        forecast = mean + explained(future) + W (past - explained(past) - mean) + gate * deviation * attend(...)

    The gate, the cycle and, unless they are set, all other weights of the first three terms begin at 0: a linear path that was found
    in closed form (`heedful.models.ridge`) is where the training begins.

    Args:
        length: L.
        horizon: H.
        channels: C.
        cycle: steps of a learned table that recurs, such as the 24 hours of a day; 0: none.
        known: how many columns are known of any time, such as features of the calendar; each channel has its own weights for them.
        attention: over "time", "both" time and channels, or "none".
        patch: as in `PatchAttention`, and so are the arguments that follow.

    Example:
        >>> model = Forecaster(length=40, horizon=5, channels=3, cycle=24)
        >>> model(torch.ones(2, 40, 3), phase=torch.tensor([0, 7])).shape
        torch.Size([2, 5, 3])

    Source: Kim et al. 2022 (RevIN), the mean of a window and its deviation; Lin et al. 2024 (CycleNet), the cycle; Zhang et al.
    2019, the gate.
    """

    def __init__(
        self,
        *,
        length: int,
        horizon: int,
        channels: int,
        cycle: int = 0,
        known: int = 0,
        attention: Attention = "time",
        patch: int = 16,
        stride: int = 8,
        width: int = 16,
        heads: int = 4,
        ffn_width: int = 128,
        layers: int = 3,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.length, self.horizon = check_positive("length", length), check_positive("horizon", horizon)
        check_choice("attention", attention, ATTENTION)
        self.linear = nn.Parameter(torch.zeros(length, horizon))
        self.cycle = nn.Parameter(torch.zeros(channels, cycle)) if cycle else None
        self.effects = nn.Parameter(torch.zeros(channels, known)) if known else None
        self.attend = None
        if attention != "none":
            self.gate = nn.Parameter(torch.zeros(1))
            self.attend = PatchAttention(
                length=length, horizon=horizon, channels=channels if attention == "both" else 0, patch=patch,
                stride=stride, width=width, heads=heads, ffn_width=ffn_width, layers=layers, dropout=dropout,
            )  # fmt: skip

    def forward(
        self,
        past: Float[Tensor, "B L C"],
        known: Float[Tensor, "B T K"] | None = None,
        phase: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B H C"]:
        """The next values.

        Args:
            past: of one scale, as they were when the model was trained.
            known: of the window and the forecast, L + H rows.
            phase: where the window begins within the cycle.
        """
        linear, added = self.paths(past, known, phase)
        return linear if added is None else linear + added

    def paths(
        self, past: Tensor, known: Tensor | None = None, phase: Tensor | None = None
    ) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H C"] | None]:
        """The forecast of the linear path with all that is explained, and what attention adds to it; None where there is none."""
        explained = self.explained(known, phase)
        base = past if explained is None else past - explained[:, : self.length]
        mean = base.mean(1, keepdim=True)
        base = base - mean
        linear = mean + torch.einsum("blc,lh->bhc", base, self.linear)
        if explained is not None:
            linear = linear + explained[:, self.length :]
        if self.attend is None:
            return linear, None
        scale = base.square().mean(1, keepdim=True).sqrt().clamp_min(_LEAST)
        return linear, self.gate * scale * self.attend(base / scale)

    def explained(self, known: Tensor | None, phase: Tensor | None) -> Float[Tensor, "B T C"] | None:
        """What the calendar, the known columns and the cycle say of the window and the forecast; None where there are none."""
        total = None
        if self.effects is not None:
            if known is None:
                raise ValueError(f"`known` must be {self.effects.shape[1]} columns: got none.")
            total = known @ self.effects.mT
        if self.cycle is not None:
            if phase is None:
                raise ValueError("`phase` must say where each window begins within the cycle: got none.")
            steps = torch.arange(self.length + self.horizon, device=phase.device)
            turning = self.cycle.mT[(phase[:, None] + steps) % self.cycle.shape[1]]  # [B, T, C]
            total = turning if total is None else total + turning
        return total
