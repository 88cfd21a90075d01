"""Encoders by the names of their parts, for models of sequences: one table an axis."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import nn

from heedful._checks import check_divides
from heedful._types import Float, Tensor
from heedful.nn import (
    LearnedALiBi,
    LearnedPositions,
    LearnedRelativeBias,
    RotaryPositions,
    SinusoidalPositions,
    TransformerDecoder,
    TransformerEncoder,
)
from heedful.ops import (
    Additive,
    ALiBi,
    Bilinear,
    Causal,
    Cosine,
    Dot,
    Global,
    Lengths,
    Local,
    Normalizer,
    Pattern,
    ScaledDot,
    Score,
    entmax15,
    proportional,
    relu,
    sigmoid,
    softmax,
    softmax1,
    sparsemax,
)
from heedful.ops.biases import log_buckets

ScoreName = Literal["scaled-dot", "dot", "general", "additive", "cosine"]
NormalizerName = Literal["softmax", "softmax1", "entmax15", "sparsemax", "relu", "sigmoid", "proportional"]
PositionName = Literal["rotary", "learned", "sinusoidal", "relative", "alibi", "learned-alibi", "none"]

SCORES: dict[ScoreName, Callable[[int, int], Score]] = {  # of the number of heads and the width of one
    "scaled-dot": lambda heads, width: ScaledDot(),
    "dot": lambda heads, width: Dot(),
    "general": lambda heads, width: Bilinear(nn.Parameter(torch.eye(width).expand(heads, -1, -1) * width**-0.5)),
    "additive": lambda heads, width: Additive(nn.Parameter(torch.randn(heads, width) * width**-0.5)),
    "cosine": lambda heads, width: Cosine(),
}
NORMALIZERS: dict[NormalizerName, Normalizer] = {
    "softmax": softmax,
    "softmax1": softmax1,
    "entmax15": entmax15,
    "sparsemax": sparsemax,
    "relu": relu,
    "sigmoid": sigmoid,
    "proportional": proportional,
}


_Absolute = LearnedPositions | SinusoidalPositions
_Relative = RotaryPositions | LearnedRelativeBias | LearnedALiBi | ALiBi
_NEIGHBORS = (-1, 1, 0, -2, 2)


class Decoder(NamedTuple):
    """A decoder, and the positions that are added to its input.

    Attributes:
        positions: is added to the input; None where the decoder itself knows the distances, or nobody.
        layers: the decoder.
    """

    positions: _Absolute | None
    layers: TransformerDecoder


class Encoder(NamedTuple):
    """An encoder, and the positions that are added to its input.

    Attributes:
        positions: is added to the input; None where the encoder itself knows the distances, or nobody.
        layers: the encoder.
    """

    positions: _Absolute | None
    layers: TransformerEncoder


def build_encoder(
    *,
    width: int,
    heads: int,
    layers: int,
    ffn_width: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    max_positions: int = 1024,
    align: Literal["end"] | None = None,
) -> Encoder:
    """Builds an encoder for sequences.

    Args:
        width: the features of a token.
        heads: attention heads of a layer.
        layers: how many.
        ffn_width: features inside each layer's network.
        dropout: share of each sublayer's output that is dropped in training.
        drop_path: probability that a sample skips the last layer in training.
        norm: "pre" or "post".
        score: a name of `SCORES`.
        normalize: a name of `NORMALIZERS`.
        positions: rotary, relative (a learned bias in buckets of the distance) and ALiBi tell distances, at any length;
            learned and sinusoidal are added to the input.
        max_positions: the most positions that learned ones know.
        align: "end" for a model that goes on with a cache.

    Example:
        >>> build_encoder(width=8, heads=2, layers=1, ffn_width=16, score="additive").layers(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """
    absolute, relative = _positions(positions, width, heads, max_positions, align)
    encoder = TransformerEncoder(
        width, heads, layers, ffn_width=ffn_width, dropout=dropout, drop_path=drop_path, norm=norm,
        score=SCORES[score](heads, width // heads), normalize=NORMALIZERS[normalize], positions=relative,
    )  # fmt: skip
    return Encoder(absolute, encoder)


def build_decoder(
    *,
    width: int,
    heads: int,
    layers: int,
    ffn_width: int,
    dropout: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    max_positions: int = 1024,
) -> Decoder:
    """Builds a decoder for sequences; the arguments are those of `build_encoder`.

    Example:
        >>> decoder = build_decoder(width=8, heads=2, layers=1, ffn_width=16).layers
        >>> decoder(torch.randn(1, 3, 8), torch.randn(1, 5, 8)).shape
        torch.Size([1, 3, 8])
    """
    absolute, relative = _positions(positions, width, heads, max_positions, "end")
    decoder = TransformerDecoder(
        width, heads, layers, ffn_width=ffn_width, dropout=dropout, norm=norm, score=SCORES[score](heads, width // heads),
        normalize=NORMALIZERS[normalize], positions=relative,
    )  # fmt: skip
    return Decoder(absolute, decoder)


def _positions(
    name: PositionName, width: int, heads: int, max_positions: int, align: Literal["end"] | None
) -> tuple[_Absolute | None, _Relative | None]:
    """Positions that are added to the input, or that the attention itself uses."""
    check_divides("heads", heads, "width", width)
    absolute: _Absolute | None = None
    relative: _Relative | None = None
    match name:
        case "rotary":
            relative = RotaryPositions(width // heads)
        case "learned":
            absolute = LearnedPositions(max_positions, width)
        case "sinusoidal":
            absolute = SinusoidalPositions(width)
        case "relative":
            relative = LearnedRelativeBias(heads, 32, buckets="log", align=align)
            init_near(relative)
        case "alibi":
            relative = ALiBi(heads, align)
        case "learned-alibi":
            relative = LearnedALiBi(heads, align=align)
    return absolute, relative


def init_near(layer: LearnedRelativeBias) -> None:
    """Initial biases that prefer near keys, and in each head one neighbor most: distant keys are attended to where that is learned.

    The weight of a distance d falls as (1 + d)^-1.5, so that distant keys together weigh little however long the text is.
    """
    heads, entries = layer.table.shape
    bucket_of = partial(log_buckets, count=entries, max_distance=layer.max_distance, bidirectional=layer.bidirectional)
    distances = torch.arange(-layer.max_distance, layer.max_distance + 1)
    buckets = bucket_of(distances)
    sums = torch.zeros(entries).index_add_(0, buckets, distances.abs().float())
    with torch.no_grad():
        layer.table.sub_(1.5 * (sums / buckets.bincount(minlength=entries).clamp_min(1)).log1p())
        for head, bucket in enumerate(bucket_of(torch.tensor(_NEIGHBORS[:heads])).tolist()):
            layer.table[head, bucket] += 2.0


def attention_pattern(window: int, *, causal: bool = False) -> Pattern:
    """Which keys a query sees: all (0), or those up to `window` positions away; with `causal` only those before it.

    Example:
        >>> attention_pattern(0, causal=True), attention_pattern(4, causal=True)
        (Causal(align='end'), Local(before=4, after=0, align='end'))
    """
    if window:
        return Local(window, 0 if causal else window, "end")
    return Causal("end") if causal else Global()


def add_positions(x: Float[Tensor, "B N D"], positions: nn.Module | None, start: int = 0) -> Float[Tensor, "B N D"]:
    """The input plus its positions, which begin at `start`."""
    return x if positions is None else positions(x, start=start)


def padding(lengths: Tensor, max_length: int) -> Pattern:
    """Which positions are no padding; all of them where the lengths are one, so that nothing need be masked."""
    if torch.compiler.is_exporting():  # a graph is for all lengths
        return Lengths(lengths)
    return Global() if bool((lengths == max_length).all()) else Lengths(lengths)
