"""An encoder of frames: self-attention over a window, a convolution beside it, and both as a stream.

    x + FFN(x) / 2 -> + attention over the window -> + convolution -> + FFN(x) / 2 -> norm

A stream gives what the whole recording gives: each layer keeps keys and values as far as its window reaches back, the frames that
wait for later ones, and what the convolution reaches back to. So its memory does not grow.

Source: Gulati et al. 2020; windows of truncated self-attention in streams: Povey et al. 2018, Zhang et al. 2020 (chunks).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Tensor
from heedful.models.encoders import padding
from heedful.nn import MultiHeadAttention, RotaryPositions
from heedful.nn.dropout import Dropout
from heedful.ops import Documents, Local, Pattern
from heedful.ops.mechanism import GLOBAL


class FrameWindow(NamedTuple):
    """Which frames of a layer's input a frame attends to.

    Attributes:
        before: how many frames before its own; None: all.
        after: how many after its own; None: all. Each layer waits for so many, one after the other.
        chunk: 0; or frames in chunks of so many, of which each sees its own chunk to the end, and `before` frames. `after` has no meaning
            then: all layers wait for the end of the chunk, once.

    Example:
        >>> FrameWindow(2, 1).pattern(5)
        Local(before=2, after=1, align=None)
    """

    before: int | None = None
    after: int | None = None
    chunk: int = 0

    @property
    def streams(self) -> bool:
        """Whether it ends on both sides."""
        return self.before is not None and (self.after is not None or self.chunk > 0)

    def delay(self, layers: int) -> int:
        """How many frames at most so many layers wait for, beyond a frame."""
        return self.chunk - 1 if self.chunk else layers * (self.after or 0)

    def pattern(self, count: int) -> Pattern:
        """Over a recording of so many frames."""
        before = count if self.before is None else self.before
        if self.chunk:
            own = Documents(torch.arange(count) // self.chunk)
            return own | Local(before, 0) if before else own
        after = count if self.after is None else self.after
        return GLOBAL if min(before, after) >= count - 1 else Local(before, after)

    def ready(self, start: int, end: int, last: bool) -> int:
        """How many of the frames from `start` on see all that they are to see where there are those up to `end`."""
        if last:
            return end - start
        if self.chunk:
            return end // self.chunk * self.chunk - start
        return max(end - (self.after or 0) - start, 0)


class LayerState:
    """What a layer keeps of a stream.

    Attributes:
        waiting: frames `[1, n, D]` that wait for later ones.
        start: the position of the first of them.
        keys: of the frames from `first` on, and their values, `[1, H, m, d]` each.
        first: the position of the first of them.
        inputs: what the convolution reaches back to, `[1, kernel - 1, D]`.
    """

    def __init__(self, layer: "ConformerLayer") -> None:
        like = layer.norm.weight
        heads = layer.attention.heads
        self.waiting = like.new_zeros(1, 0, layer.width)
        self.start = self.first = 0
        self.keys = self.values = like.new_zeros(1, heads, 0, layer.width // heads)
        self.inputs = like.new_zeros(1, layer.convolution.kernel - 1, layer.width)


class GatedConvolution(nn.Module):
    """A gated convolution over time, of each feature alone.

    Args:
        width: the features.
        kernel: over how many frames; odd.
        causal: whether a frame sees those before it alone; otherwise as many after it.
    """

    def __init__(self, width: int, kernel: int, *, causal: bool) -> None:
        super().__init__()
        check_positive("kernel", kernel)
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd: got {kernel}.")
        self.kernel, self.causal = kernel, causal
        self.expand, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.depthwise, self.norm = nn.Conv1d(width, width, kernel, groups=width), nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "B N D"], real: Tensor | None = None) -> Float[Tensor, "B N D"]:
        """Of whole recordings; `real`, `[B, N, 1]`: which frames are no padding."""
        gated = F.glu(self.expand(x), dim=-1)
        if real is not None:
            gated = gated * real
        ahead = 0 if self.causal else self.kernel // 2
        return self._convolve(F.pad(gated, (0, 0, self.kernel - 1 - ahead, ahead)))

    def step(
        self, x: Float[Tensor, "1 n D"], before: Float[Tensor, "1 K D"]
    ) -> tuple[Float[Tensor, "1 n D"], Float[Tensor, "1 K D"]]:
        """Of the next frames of a stream; what is kept for those that follow comes with them."""
        gated = torch.cat([before, F.glu(self.expand(x), dim=-1)], dim=1)
        return self._convolve(gated), gated[:, gated.shape[1] - self.kernel + 1 :]

    def _convolve(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B n D"]:
        return self.out(F.silu(self.norm(self.depthwise(x.mT).mT)))  # type: ignore[no-any-return]


class ConformerLayer(nn.Module):
    """Attention over a window and a convolution, between two halves of a network.

    Args:
        width: the features of a frame.
        heads: attention heads; divides `width`.
        ffn_width: features inside each of both networks.
        kernel: frames of the convolution; odd.
        causal: whether the convolution sees earlier frames alone, as a stream needs it.
        dropout: the share of each sublayer's output that is set to 0 in training.

    Example:
        >>> layer = ConformerLayer(8, 2, ffn_width=16, kernel=3)
        >>> layer(torch.randn(3, 5, 8), pattern=Local(2, 1)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self, width: int, heads: int, *, ffn_width: int, kernel: int = 15, causal: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_positive("width", width)
        self.width = width
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, ffn_width), nn.SiLU(), Dropout(check_fraction("dropout", dropout)),
                nn.Linear(ffn_width, width),
            )
            for _ in range(2)
        )  # fmt: skip
        self.attention = MultiHeadAttention(width, heads, rotary=RotaryPositions(width // heads))
        self.convolution = GatedConvolution(width, kernel, causal=causal)
        self.attention_norm, self.convolution_norm, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B N D"], *, pattern: Pattern = GLOBAL, real: Tensor | None = None
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, frames, width]`; `real`, `[B, N, 1]`: which frames are no padding."""
        x = self._network(0, x)
        x = x + self.dropout(self.attention(self.attention_norm(x), pattern=pattern))
        x = x + self.dropout(self.convolution(self.convolution_norm(x), real))
        return self.norm(self._network(1, x))  # type: ignore[no-any-return]

    def step(
        self, x: Float[Tensor, "1 n D"], state: LayerState, window: FrameWindow, last: bool = False
    ) -> Float[Tensor, "1 m D"]:
        """The frames of a stream that can be told with the next of its input, `x`; `last`: there are no more."""
        x = self._network(0, x)
        end = state.start + state.waiting.shape[1] + x.shape[1]
        positions = torch.arange(end - x.shape[1], end, device=x.device)
        keys, values = self.attention.project(self.attention_norm(x), positions=positions)
        state.keys, state.values = torch.cat([state.keys, keys], 2), torch.cat([state.values, values], 2)
        state.waiting = torch.cat([state.waiting, x], 1)
        parts, goes_to = [], state.start + window.ready(state.start, end, last)
        while state.start < goes_to:
            stop = min((state.start // window.chunk + 1) * window.chunk, goes_to) if window.chunk else goes_to
            parts.append(self._attend(state, window, stop, end))
        x = torch.cat([x[:, :0], *parts], 1)
        if not x.shape[1]:
            return x
        convolved, state.inputs = self.convolution.step(self.convolution_norm(x), state.inputs)
        return self.norm(self._network(1, x + convolved))  # type: ignore[no-any-return]

    def _attend(self, state: LayerState, window: FrameWindow, stop: int, end: int) -> Float[Tensor, "1 n D"]:
        """The waiting frames up to `stop`, with what they see, of the keys up to `end`."""
        assert window.before is not None
        start, count = state.start, stop - state.start
        seen = stop if window.chunk else min(stop + (window.after or 0), end)  # where the keys end
        oldest = max(start - window.before, state.first)
        keys, values = (t[:, :, oldest - state.first : seen - state.first] for t in (state.keys, state.values))
        ahead = seen - stop  # by which the last key is later than the last query
        after = count - 1 if window.chunk else (window.after or 0) - ahead
        pattern: Pattern = Local(window.before + ahead, after, "end")
        if window.chunk and window.before < count - 1:  # frames of the own chunk are seen, however early
            key_ids = torch.arange(oldest, seen) >= start
            pattern = pattern | Documents(torch.ones(count, dtype=torch.long), key_ids.long())
        x, state.waiting = state.waiting[:, :count], state.waiting[:, count:]
        out = self.attention(
            self.attention_norm(x), projected=(keys, values), positions=torch.arange(start, stop, device=x.device),
            pattern=pattern,
        )  # fmt: skip
        state.start = stop
        dropped = max(stop - window.before, state.first) - state.first
        state.first += dropped
        state.keys, state.values = state.keys[:, :, dropped:], state.values[:, :, dropped:]
        return x + out  # type: ignore[no-any-return]

    def _network(self, index: int, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return torch.add(x, self.dropout(self.networks[index](x)), alpha=0.5)


class Conformer(nn.Module):
    """Layers, one above the other, that share a window.

    Args:
        width: the features of a frame.
        heads: attention heads of a layer.
        layers: how many.
        ffn_width: features inside each network.
        kernel: frames of each convolution; odd.
        causal: whether convolutions see earlier frames alone.
        dropout: as in a layer.

    Example:
        >>> encoder, x = Conformer(8, 2, 2, ffn_width=16, kernel=3).eval(), torch.randn(1, 9, 8)
        >>> whole, states = encoder(x, torch.tensor([9]), FrameWindow(3, 1)), encoder.states()
        >>> with torch.no_grad():
        ...     parts = [encoder.step(x[:, i : i + 1], states, FrameWindow(3, 1), last=i == 8) for i in range(9)]
        >>> [part.shape[1] for part in parts], torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
        ([0, 0, 1, 1, 1, 1, 1, 1, 3], True)
    """

    def __init__(
        self, width: int, heads: int, layers: int, *, ffn_width: int, kernel: int = 15, causal: bool = True,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.causal = width, causal
        self.layers = nn.ModuleList(
            ConformerLayer(width, heads, ffn_width=ffn_width, kernel=kernel, causal=causal, dropout=dropout)
            for _ in range(check_positive("layers", layers))
        )

    def forward(self, x: Float[Tensor, "B N D"], lengths: Tensor, window: FrameWindow) -> Float[Tensor, "B N D"]:
        """Encodes recordings of so many frames."""
        real = padding(lengths, x.shape[1])
        pattern = window.pattern(x.shape[1]) & real
        there = None if real is GLOBAL else torch.arange(x.shape[1], device=x.device)[:, None] < lengths[:, None, None]
        for layer in self.layers:
            x = layer(x, pattern=pattern, real=there)
        return x

    def states(self) -> list[LayerState]:
        """Of a stream that has not begun."""
        return [LayerState(layer) for layer in self.layers]  # type: ignore[arg-type]

    def step(
        self, x: Float[Tensor, "1 n D"], states: list[LayerState], window: FrameWindow, last: bool = False
    ) -> Float[Tensor, "1 m D"]:
        """The frames of a stream that can be told with the next of its input, `x`.

        Raises:
            ValueError: the window does not end, or the convolutions see later frames.
        """
        if not window.streams or not self.causal:
            raise ValueError(f"a stream needs a window that ends and causal convolutions: got {window}, {self.causal}.")
        for layer, state in zip(self.layers, states, strict=True):
            x = layer.step(x, state, window, last)  # type: ignore[operator]
        return x
