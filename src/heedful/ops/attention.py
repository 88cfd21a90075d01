"""Attention: `A = normalise(score(Q, K) + bias, where the pattern allows)`, and the output is `A V`.

scores       ops/scores.py        how relevant is key j to query i
+ bias                            numbers to add
pattern      ops/patterns.py      which pairs may attend at all
normalise    ops/normalizers.py   each row of scores becomes weights
@ value      ops/engines/         computed without storing A: fused.py; the definition: reference.py
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch.overrides import handle_torch_function, has_torch_function_variadic

from heedful._checks import Shape, check_bias, check_operands
from heedful._types import Float, Tensor
from heedful.ops import normalizers
from heedful.ops.engines import fused, reference
from heedful.ops.patterns import Global, Pattern
from heedful.ops.scores import ScaledDot, Score

Normalizer = Callable[..., Tensor]
Engine = Literal["fused", "reference"]
_GLOBAL, _SCALED_DOT = Global(), ScaledDot()
_ENGINES = {"fused": fused.attention, "reference": reference.attention}


def attention(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = normalizers.softmax,
    pattern: Pattern = _GLOBAL,
    bias: Float[Tensor, "..."] | None = None,
    engine: Engine = "fused",
) -> Float[Tensor, "... N E"]:
    """For each query, the mean of the values, weighted by how relevant their keys are: `softmax(score(Q, K) + bias) V`.

    Args:
        query: `[..., H, N, D]`, H heads of N queries that are D numbers wide; also `[batch, N, D]` and `[N, D]`.
        key: `[..., G, M, D]`. G divides H: each key head serves H / G query heads.
        value: `[..., G, M, E]`.
        score: a value of `heedful.ops.scores`, such as `ScaledDot()` or `Dot()`.
        normalize: a function of `heedful.ops.normalizers`: `softmax`.
        pattern: who may see whom (True = may attend): `Global()`, `Causal()`, `Lengths(n)`, `Mask(tensor)`, combined by
            `&`, `|` and `~`. A row that may see nothing gives 0, and gradients of 0.
        bias: added to the scores; broadcasts to `[..., H, N, M]`.
        engine: "fused" stores no matrix; "reference" is the definition, in N x M memory.

    Returns:
        `[..., H, N, E]`, in the dtype of `query`.

    Raises:
        ValueError: sizes, devices or the pattern do not fit.
        TypeError: dtypes do not fit.

    A NaN or an infinity in a key or a value reaches only the rows that may see it. In those rows a bad key makes the whole
    row NaN, a bad value its own feature.

    Example:
        >>> query, key, value = torch.randn(2, 8, 100, 64), torch.randn(2, 2, 100, 64), torch.randn(2, 2, 100, 32)
        >>> attention(query, key, value, pattern=Causal() & Lengths(torch.tensor([100, 73]))).shape
        torch.Size([2, 8, 100, 32])

    Source: Bahdanau et al. 2015; Vaswani et al. 2017, equation 1.
    """
    if has_torch_function_variadic(query, key, value):
        return handle_torch_function(
            attention, (query, key, value), query, key, value,
            score=score, normalize=normalize, pattern=pattern, bias=bias, engine=engine,
        )  # fmt: skip
    shape = check_operands(query, key, value)
    _check_values(query, shape, score, normalize, pattern, bias)
    run = _ENGINES.get(engine)
    if run is None:
        raise ValueError(f"`engine` must be 'fused' or 'reference': got {engine!r}.")
    if not pattern.hides(shape):
        return run(query, key, value, score, pattern, bias, shape)
    query, key, value, poison = isolate(query, key, value, pattern, shape)
    out = run(query, key, value, score, pattern, bias, shape)
    return out if poison is None else out + poison.to(out.dtype)


def attention_weights(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = normalizers.softmax,
    pattern: Pattern = _GLOBAL,
    bias: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "... N M"]:
    """The matrix A itself, stored: N x M numbers a head. `heedful.AttentionMatrix` is the same, never stored.

    The arguments are those of `attention`; the result is in at least float32, and `attention_weights(...) @ value` is what
    `attention` gives.

    Example:
        >>> attention_weights(torch.zeros(1, 4), torch.zeros(3, 4), pattern=Lengths(2))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    shape = check_operands(query, key)
    _check_values(query, shape, score, normalize, pattern, bias)
    if not pattern.hides(shape):
        return reference.weights(query, key, score, pattern, bias, shape)
    query, key, _, poison = isolate(query, key, key[..., :0], pattern, shape, rows=True)
    weights = reference.weights(query, key, score, pattern, bias, shape)
    if poison is None:
        return weights
    return weights + poison.masked_fill(~reference.visible(pattern, shape, query.device), 0)


def isolate(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    pattern: Pattern,
    shape: Shape,
    *,
    rows: bool = False,
) -> tuple[Float[Tensor, "... N D"], Float[Tensor, "... M D"], Float[Tensor, "... M E"], Float[Tensor, "..."] | None]:
    """Takes NaN and infinities out of the operands, and gives what has to be added to the rows that may see them.

    Kernels multiply what is hidden by a weight of 0, and 0 x NaN is NaN. A sum finds the rare case. In it, one uniform
    attention over marks tells which rows see a bad key or value. With `rows`, what is to be added has one column.
    """
    total = _total(key) + _total(value) + (_total(query) if pattern.empties(shape) else 0.0)
    if math.isfinite(total):
        return query, key, value, None
    with torch.no_grad():
        bad_query, bad_key = ~query.isfinite().all(-1, keepdim=True), ~key.isfinite().all(-1, keepdim=True)
        marks = [torch.ones_like(bad_key), bad_key, value.isnan(), value == math.inf, value == -math.inf]
        axes = torch.broadcast_shapes(bad_key.shape[:-1], value.shape[:-1])
        marks = [mark.expand(*axes, mark.shape[-1]) for mark in marks]
        uniform = (
            torch.zeros_like(query[..., :1], dtype=torch.float32),
            torch.zeros_like(key[..., :1], dtype=torch.float32),
        )
        seen = fused.attention(*uniform, torch.cat(marks, dim=-1).float(), _SCALED_DOT, pattern, None, shape) > 0
        some, sees_key, nan, high, low = seen.split([1, 1, *[value.shape[-1]] * 3], dim=-1)
        bad_row = sees_key | (some & bad_query)
        if rows:
            nan, high, low = bad_row, torch.zeros_like(bad_row), torch.zeros_like(bad_row)
        poison = torch.zeros_like(nan, dtype=torch.float32).masked_fill(high, math.inf).masked_fill(low, -math.inf)
        poison = poison.masked_fill(nan | bad_row | (high & low), math.nan)
    return query.masked_fill(bad_query, 0), key.masked_fill(bad_key, 0), value.masked_fill(~value.isfinite(), 0), poison


def _total(tensor: Tensor) -> float:
    if tensor.requires_grad:
        tensor = tensor.detach()
    return (tensor.sum(dtype=torch.float32) if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.sum()).item()


def _check_values(
    query: Tensor, shape: Shape, score: Score, normalize: Normalizer, pattern: Pattern, bias: Tensor | None
) -> None:
    if not isinstance(score, Score):
        raise TypeError(f"`score` must be a score such as `ScaledDot()`: got {score!r}.")
    if normalize is not normalizers.softmax:
        raise ValueError(f"`normalize` must be `heedful.softmax`: got {normalize!r}.")
    if not isinstance(pattern, Pattern):
        hint = "; wrap a tensor as `Mask(tensor)`" if torch.is_tensor(pattern) else ""
        raise TypeError(f"`pattern` must be a pattern such as `Causal()`{hint}: got {type(pattern).__name__}.")
    pattern.check(shape)
    if bias is not None:
        check_bias(bias, query, shape)
