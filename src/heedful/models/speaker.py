"""Who speaks, or any label of a recording: an encoder of frames, pooling over them by attention, an embedding, cosines to classes.

    frames [B, N, bands] -> convolution -> (depthwise convolution, self-attention) x layers -> all layers side by side
    -> attentive statistics [B, 2 C] -> embedding [B, E] -> cosines [B, classes], times a scale

Source: Desplanques et al., "ECAPA-TDNN", 2020 (layers side by side, attentive statistics); Gulati et al., "Conformer", 2020
(convolution and attention in turn); Deng et al., "ArcFace", 2019 (cosines with an angular margin).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.nn import AttentiveStatistics, TransformerEncoderLayer
from heedful.ops import Lengths, Local, Pattern

MOST_FRAMES = 3000  # that are heard at once: 30 s


def angular_margin(cosines: Float[Tensor, "B C"], labels: Int[Tensor, "B"], margin: float) -> Float[Tensor, "B C"]:
    """Cosines, that of the right class with its angle larger by a margin: `cos(angle + margin)`.

    Beyond `pi - margin`, where it would rise again, it goes on falling: `cos(angle) - margin * sin(margin)`.

    Args:
        cosines: from -1 to 1, of each class.
        labels: the right classes; a negative one has no margin.
        margin: in radians, from 0 on.

    Example:
        >>> angular_margin(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), 0.2)
        tensor([[0.3180, 0.0000]])

    Source: Deng et al. 2019, equation 3.
    """
    known = labels >= 0
    right = cosines.gather(1, labels.clamp_min(0)[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    sine = (1 - right.square()).sqrt()
    larger = right * math.cos(margin) - sine * math.sin(margin)
    larger = torch.where(right > -math.cos(margin), larger, right - margin * math.sin(margin))
    there = F.one_hot(labels.clamp_min(0), cosines.shape[1]).bool() & known[:, None]
    return torch.where(there, larger, cosines)


class SpeakerNetwork(nn.Module):
    """Gives recordings, as frames of features, the scaled cosines of each class.

    Args:
        classes: how many.
        bands: features of a frame.
        width: of the encoder.
        layers: blocks of a convolution and attention.
        heads: of self-attention.
        ffn_width: width of each block's feed-forward network.
        kernel: frames that a convolution covers; odd.
        window: how many frames before and after a frame sees; 0: all.
        pooling_heads: of the attention over frames.
        embedding: features of a recording.
        scale: by which cosines become logits.
        dropout: of each sublayer's output.

    The mean and the standard deviation of the features are buffers, `mean` and `std`, so that it takes features as they are.

    Example:
        >>> model = SpeakerNetwork(classes=3, bands=8, width=8, heads=2, embedding=4).eval()
        >>> frames, lengths = torch.randn(2, 30, 8), torch.tensor([30, 12])
        >>> model(frames, lengths).shape, model.embed(frames, lengths).shape
        (torch.Size([2, 3]), torch.Size([2, 4]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        classes: int,
        bands: int = 40,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        ffn_width: int = 128,
        kernel: int = 5,
        window: int = 0,
        pooling_heads: int = 4,
        embedding: int = 64,
        scale: float = 30.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd: got {kernel}.")
        self.window, self.scale = window, scale
        self.first = _FrameConvolution(bands, width, kernel)
        self.convolutions = nn.ModuleList(_FrameConvolution(width, width, kernel, groups=width) for _ in range(layers))
        self.attentions = nn.ModuleList(
            TransformerEncoderLayer(width, heads, ffn_width=ffn_width, dropout=dropout) for _ in range(layers)
        )
        self.joined = nn.Linear((layers + 1) * width, 2 * width)
        self.pool = AttentiveStatistics(2 * width, pooling_heads)
        self.pooled_norm = nn.LayerNorm(4 * width)
        self.embedding = nn.Linear(4 * width, embedding)
        self.head = nn.Linear(embedding, classes, bias=False)
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))

    def forward(self, frames: Float[Tensor, "B N bands"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B classes"]:
        """The logits; of each recording the first `lengths` frames are no padding."""
        return self.scale * self.cosines(self.embed(frames, lengths))

    def cosines(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, "B classes"]:
        """Of embeddings and the direction of each class."""
        return embeddings @ F.normalize(self.head.weight, dim=1).T

    def embed(self, frames: Float[Tensor, "B N bands"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Of each recording a vector of length 1; the cosine of two tells how alike they are."""
        there = (torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])[..., None]
        visible = Lengths(lengths)
        pattern: Pattern = visible & Local(self.window) if self.window else visible
        x = self.first((frames - self.mean) / self.std, there)
        layers = [x]
        for convolution, attention in zip(self.convolutions, self.attentions, strict=True):
            x = x + convolution(x, there)
            x = attention(x, pattern=pattern)
            layers.append(x)
        pooled = self.pool(F.gelu(self.joined(torch.cat(layers, -1))), pattern=visible)
        return F.normalize(self.embedding(self.pooled_norm(pooled)), dim=1)


class _FrameConvolution(nn.Module):
    """Over the frames, of which those that are padding count as 0; then a norm of each frame."""

    def __init__(self, before: int, after: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(before, after, kernel, padding=kernel // 2, groups=groups)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = self.over_time((x * there).transpose(1, 2)).transpose(1, 2)
        return F.gelu(self.norm(x))
