"""All that says how attention is computed, as one value, and whether it fits what it is to be computed of."""

from dataclasses import dataclass

import torch

from heedful._checks import (
    Shape,
    as_integer,
    check_finite,
    check_fraction,
    check_operands,
    check_positive_finite,
    check_scale,
    check_sinks,
)
from heedful._types import Float, Tensor
from heedful.ops._cache import LRUCache
from heedful.ops._concrete import under_vmap
from heedful.ops._tree import Value, key_of
from heedful.ops.biases import Bias, as_bias
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Global, Pattern
from heedful.ops.scores import ScaledDot, Score
from heedful.ops.selection import Sampled, Selection, Soft

SCALED_DOT, GLOBAL, SOFT = ScaledDot(), Global(), Soft()


@dataclass(frozen=True, eq=False)
class Mechanism(Value):
    """The axes of attention; the fields are the arguments of `heedful.attention`."""

    score: Score = SCALED_DOT
    normalize: Normalizer = softmax
    pattern: Pattern = GLOBAL
    select: Selection = SOFT
    bias: Bias | None = None
    scale: Float[Tensor, "..."] | float | None = None
    softcap: float | None = None
    sinks: Float[Tensor, "..."] | None = None
    dropout: float = 0.0
    seed: int = 0

    def factor(self, width: int) -> Float[Tensor, "..."] | float:
        """What the score of each pair is multiplied by."""
        return self.score.scale(width) if self.scale is None else self.scale


def check(query: Tensor, key: Tensor, value: Tensor | None, mechanism: Mechanism) -> Shape:
    """The shape of the matrix; raises where the operands do not fit each other or the mechanism."""
    shape = check_operands(query, key, value)
    mechanism.score.check(query, key)
    mechanism.pattern.check(shape)
    if mechanism.bias is not None:
        mechanism.bias.check(query, shape)
    mechanism.normalize.check(query, shape)
    check_scale(mechanism.scale, query, shape)
    if mechanism.sinks is not None:
        check_sinks(mechanism.sinks, query, shape)
    return shape


def mechanism_of(
    score: Score,
    normalize: Normalizer,
    pattern: Pattern,
    select: Selection,
    bias: Tensor | Bias | None,
    scale: Tensor | float | None,
    softcap: float | None,
    sinks: Tensor | None,
    dropout: float,
    seed: int | None,
) -> Mechanism:
    """The arguments as one value; raises where one is not what it has to be, or they do not go together."""
    if not isinstance(score, Score):
        raise TypeError(f"`score` must be a score such as `ScaledDot()`: got {score!r}.")
    if not isinstance(normalize, Normalizer):
        raise TypeError(f"`normalize` must be a normalizer such as `heedful.softmax`: got {normalize!r}.")
    if not isinstance(pattern, Pattern):
        hint = "; wrap a tensor as `Mask(tensor)`" if torch.is_tensor(pattern) else ""
        raise TypeError(f"`pattern` must be a pattern such as `Causal()`{hint}: got {type(pattern).__name__}.")
    if not isinstance(select, Selection):
        raise TypeError(f"`select` must be a selection such as `Hard()`: got {select!r}.")
    if isinstance(select, Sampled) and normalize.signed:
        raise ValueError(f"`Sampled` needs weights that are not negative: got `normalize` {normalize!r}.")
    if scale is not None and not torch.is_tensor(scale):
        scale = check_finite("scale", scale, "a number or a tensor")
    if softcap is not None:
        softcap = check_positive_finite("softcap", softcap)
    if sinks is not None and not normalize.normalized:
        raise ValueError(f"`sinks` need a normalizer whose rows add up to 1: got {normalize!r}.")
    dropout = check_fraction("dropout", dropout)
    if seed is not None:
        seed = as_integer("seed", seed, rule="an integer or None")
    if not (dropout or isinstance(select, Sampled)):
        seed = 0
    elif seed is None:
        if under_vmap():
            raise ValueError("`seed` must be given under `torch.func.vmap`: got None.")
        seed = int(torch.randint(2**31, ()))
    numbers = None if bias is None else as_bias(bias)
    arguments = score, normalize, pattern, select, numbers, scale, softcap, sinks, dropout, seed
    key = key_of(arguments)
    return Mechanism(*arguments) if key is None else _MECHANISMS.get(key, lambda: Mechanism(*arguments))


_MECHANISMS: LRUCache[Mechanism] = LRUCache(2**20, lambda _: 1024)  # one of a kind, so that it is a key itself
