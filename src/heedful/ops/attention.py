"""Attention: `A = normalise(score(Q, K) + bias, where the pattern allows)`, and the output is `A V`.

scores       ops/scores.py        how relevant is key j to query i
+ bias       ops/biases/          numbers to add
pattern      ops/patterns/        which pairs may attend at all
normalise    ops/normalizers/     each row of scores becomes weights
select       ops/selection.py     all of them, the largest, or one that is drawn
@ value      ops/engines/         computed without storing A; the definition: reference.py; which engine and why: plan.py
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import handle_torch_function, has_torch_function_variadic

from heedful._checks import (
    Shape,
    autocasts,
    check_cap,
    check_finite,
    check_fraction,
    check_operands,
    check_scale,
    check_sinks,
)
from heedful._types import Float, Tensor
from heedful.ops._readable import transformed, under_vmap
from heedful.ops._tree import bare
from heedful.ops.biases import Bias, as_bias
from heedful.ops.engines import assemble, fused, reference
from heedful.ops.engines.tiled import TiledFunction
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Causal, Global, Pattern
from heedful.ops.plan import Engine, Plan, choose, compiles
from heedful.ops.scores import Dot, ScaledDot, Score
from heedful.ops.selection import Sampled, Selection, Soft

_GLOBAL, _SCALED_DOT, _SOFT = Global(), ScaledDot(), Soft()
_PLAIN = (Global, Causal)
_NOTHING_ELSE = (None, None, None, None, 0.0, None)  # bias, scale, softcap, sinks, dropout, seed


def attention(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = _GLOBAL,
    select: Selection = _SOFT,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: Engine | None = None,
    strict: bool = False,
) -> Float[Tensor, "... N E"]:
    """For each query, the mean of the values, weighted by how relevant their keys are: `normalise(score(Q, K) + bias) V`.

    Exact, in memory linear in N and M, in training and in any derivative too.

    Args:
        query: `[..., H, N, D]`, H heads of N queries that are D numbers wide; also `[batch, N, D]` and `[N, D]`.
        key: `[..., G, M, D]`. G divides H: each key head serves H / G query heads.
        value: `[..., G, M, E]`.
        score: how relevant a key is to a query: `ScaledDot()`, `Dot()`, `Bilinear(W)`, `Additive(w)`, `Cosine()`, `Gaussian(b)`.
        normalize: what makes weights of a row's scores: `softmax`, `softmax1`, `relu`, `proportional`, `sigmoid`, `sparsemax`,
            `entmax15`, `entmax(alpha)`, `linear`.
        pattern: who may see whom (True = may attend): `Global()`, `Causal()`, `Local(128)`, `Documents(ids)` and others,
            combined by `&`, `|` and `~`. A row that may see nothing gives 0, and gradients of 0.
        select: `Soft()`, `Hard()` or `Sampled()`.
        bias: added to the scores: a tensor that broadcasts to `[..., H, N, M]`, or a value such as `ALiBi(8)`, or a sum of them.
        scale: what a score is multiplied by, in place of its own factor (1 / sqrt(D) for `ScaledDot`, otherwise 1): a number,
            or a tensor that broadcasts to `[..., H, N, 1]`.
        softcap: a cap c on the scaled scores, `c tanh(s / c)`, before the bias.
        sinks: one more score a row, of which the weight goes to nothing; a tensor that broadcasts to the axes before N, `[H]`.
        dropout: the probability with which a weight is set to 0; the others are divided by `1 - dropout`.
        seed: of dropout and of `Sampled`; a draw depends on (seed, batch, head, row, column) only. None: drawn from PyTorch's
            generator.
        engine: None: the best one, see `heedful.plan`. "fused", "banded", "tiled", "flex" or "reference" (the definition, in
            N x M memory).
        strict: whether what is not linear in memory is refused.

    Returns:
        `[..., H, N, E]`, in the dtype of `query`.

    Raises:
        ValueError: sizes, devices, the pattern or an engine do not fit; with `strict`, memory would not be linear.
        TypeError: dtypes or values do not fit.

    A NaN or an infinity in a key or a value reaches only the rows that may see it. In those rows a NaN in a key makes the
    whole row NaN, one in a value its own feature; an infinity in a key does the same where the pattern hides a pair, and
    where it hides none its score is computed as it is, so that a weight may be a plain 0 or 1.

    Example:
        >>> query, key, value = torch.randn(2, 8, 100, 64), torch.randn(2, 2, 100, 64), torch.randn(2, 2, 100, 32)
        >>> attention(query, key, value, pattern=Causal() & Lengths(torch.tensor([100, 73]))).shape
        torch.Size([2, 8, 100, 32])
        >>> attention(query, key, value, score=Cosine(), scale=10.0, normalize=entmax15, pattern=Local(7)).shape
        torch.Size([2, 8, 100, 32])

    Source: Bahdanau et al. 2015; Vaswani et al. 2017, equation 1.
    """
    if has_torch_function_variadic(query, key, value):
        return handle_torch_function(
            attention, (query, key, value), query, key, value, score=score, normalize=normalize, pattern=pattern,
            select=select, bias=bias, scale=scale, softcap=softcap, sinks=sinks, dropout=dropout, seed=seed,
            engine=engine, strict=strict,
        )  # fmt: skip
    usual = (
        type(score) is ScaledDot
        and normalize is softmax
        and type(select) is Soft
        and type(pattern) in _PLAIN
        and not dropout
    )
    if usual and bias is None and scale is None and softcap is None and sinks is None and engine is None:
        out = _plain(query, key, value, pattern)
        if out is not None:
            return out
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, dropout, seed)
    return _attend(query, key, value, mechanism, engine, strict)[0]


class _Lane(NamedTuple):
    """What is known of a plain call by its sizes."""

    hides: bool
    causal: bool
    scale: float
    function: TiledFunction


def _plain(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor | None:
    """The plain case in few lines of Python, of which each takes microseconds; None where something is not plain."""
    if torch.compiler.is_compiling() or transformed() or torch.autograd.forward_ad._current_level >= 0:
        return None
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return None
    dtype, device = query.dtype, query.device
    if not dtype.is_floating_point or not dtype == key.dtype == value.dtype:
        return None
    if not device == key.device == value.device:
        return None
    lane = _lane(pattern, query.shape, key.shape, value.shape)
    if lane is None or autocasts(query) or not fused.has_kernel(query):
        return None
    if lane.hides and not math.isfinite(_total(key, value)):
        return None
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        if not query.stride(-1) == key.stride(-1) == value.stride(-1) == 1:
            return None
        return assemble.Plain.apply(lane.function, lane.causal, lane.scale, query, key, value)  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(query, key, value, is_causal=lane.causal)


@functools.lru_cache(maxsize=256)
def _lane(pattern: Pattern, query: torch.Size, key: torch.Size, value: torch.Size) -> _Lane | None:
    """None where the operands do not fit, for the errors to be found, and where PyTorch's kernel needs more than they are."""
    shape, width = (*query[:-1], *key[-2:-1]), query[-1] if query else 0
    if len(query) != 4 or 0 in (*shape, width) or not query[:2] == key[:2] == value[:2] or key != value:
        return None
    pattern.check(shape)
    if key[-1] != width or (isinstance(pattern, Causal) and pattern.offset(shape) != 0):
        return None
    mechanism = mechanism_of(Dot(), softmax, pattern, _SOFT, None, width**-0.5, None, None, 0.0, None)
    function = assemble.assembled(mechanism, shape, "fused", width, width, None)[0]
    return _Lane(pattern.hides(shape), isinstance(pattern, Causal), width**-0.5, function)


def plan(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = _GLOBAL,
    select: Selection = _SOFT,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    dropout: float = 0.0,
    seed: int | None = 0,
    engine: Engine | None = None,
    strict: bool = False,
) -> Plan:
    """Which engine `attention` takes for these arguments and why, its floating-point operations and its bytes.

    Nothing is computed; only sizes count (and, of patterns, what they hide). Raises what `attention` raises.

    Example:
        >>> query = torch.zeros(1, 8, 4096, 64)
        >>> print(plan(query, query, query, normalize=entmax15))
        engine     tiled: the normaliser is not softmax
        matrix     1 x 8 x 4,096 x 4,096, of which 100 % is computed
        forward    35 GFLOP, ... MB
        training   123 GFLOP, ... MB
        memory     linear in the number of positions
    """
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, dropout, seed)
    return choose(query, key, value, mechanism, check(query, key, value, mechanism), engine, strict)


class Drawn(NamedTuple):
    """What `draw` gives.

    Attributes:
        output: the values of the drawn keys `[..., H, N, E]`.
        log_probability: the logarithm of the probability of each draw `[..., H, N]`, differentiable.

    Example:
        >>> output, log_probability = draw(torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(5, 2), seed=0)
        >>> output.shape, log_probability.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    output: Float[Tensor, "... N E"]
    log_probability: Float[Tensor, "... N"]


def draw(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = _GLOBAL,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    seed: int | None = None,
) -> Drawn:
    """Hard attention by chance: each query draws one key from its weights and takes its value.

    The choice has no gradient; the score-function estimator has: with a reward R for each output, the gradient of
    `(R.detach() * log_probability).sum()` is an unbiased estimate of that of the expected reward.

    The arguments are those of `attention`; with the same `seed` the same keys are drawn.

    Example:
        >>> query, key = torch.zeros(3, 4, requires_grad=True), torch.randn(5, 4)
        >>> drawn = draw(query, key, torch.arange(5.0)[:, None], seed=1)
        >>> drawn.log_probability.exp()
        tensor([0.2000, 0.2000, 0.2000], grad_fn=<ExpBackward0>)

    Source: Xu et al. 2015, section 4.1; Williams 1992.
    """
    select = Sampled(gradient="score-function")
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, 0.0, seed)
    output, log_probability = _attend(query, key, value, mechanism, None, False)
    assert log_probability is not None
    return Drawn(output, log_probability)


def attention_weights(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M K"],
    *,
    score: Score = _SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = _GLOBAL,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "... N M"]:
    """The matrix A itself, stored: N x M numbers a head. `heedful.AttentionMatrix` is the same, never stored.

    The arguments are those of `attention`; the result is in at least float32, and `attention_weights(...) @ value` is what
    `attention` gives.

    Example:
        >>> attention_weights(torch.zeros(1, 4), torch.zeros(3, 4), pattern=Lengths(2))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    mechanism = mechanism_of(score, normalize, pattern, _SOFT, bias, scale, softcap, sinks, 0.0, None)
    shape = check(query, key, None, mechanism)
    if autocasts(query):
        with torch.autocast(query.device.type, enabled=False):
            query, key = _autocast(query, key)
            return _weights(query, key, mechanism, shape)
    return _weights(query, key, mechanism, shape)


def _weights(query: Tensor, key: Tensor, mechanism: Mechanism, shape: Shape) -> Tensor:
    pattern = mechanism.pattern
    query, key, _, poison = isolate(query, key, key[..., :0], pattern, shape, rows=True)
    query, key = (reference.at_least_float32(t) for t in (query, reference.all_heads(key, query)))
    rows_, columns = reference.positions(shape, query.device)
    weights = reference.weights(query, key, mechanism, shape, rows_, columns)
    if poison is None:
        return weights
    return weights + poison.masked_fill(~reference.visible(pattern, shape, query.device), 0)


def attend(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> Tensor:
    """`attention` by a mechanism as one value."""
    return _attend(query, key, value, mechanism, None, False)[0]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, engine: Engine | None, strict: bool
) -> tuple[Tensor, Tensor | None]:
    """The output, and the log-probability of what was drawn."""
    if torch.compiler.is_compiling() and not compiles(query, mechanism, engine):
        # One break of the graph; as a decorator, `disable` would import the compiler with this file.
        return torch.compiler.disable(_eagerly)(query, key, value, mechanism, engine, strict)  # type: ignore[no-any-return]
    shape = check(query, key, value, mechanism)
    if autocasts(query):
        with torch.autocast(query.device.type, enabled=False):
            query, key, value = _autocast(query, key, value)
            return _attend(query, key, value, mechanism, engine, strict)
    query, key, value, poison = isolate(query, key, value, mechanism.pattern, shape)
    dtype = query.dtype
    if not isinstance(mechanism.score, (Dot, ScaledDot)):  # features in half precision would lose what it still has
        query, key, value = (reference.at_least_float32(t) for t in (query, key, value))
    out, log_probability = choose(query, key, value, mechanism, shape, engine, strict).run(query, key, value)
    out = out.to(dtype)
    return out if poison is None else out + poison.to(out.dtype), log_probability


def _eagerly(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, engine: Engine | None, strict: bool
) -> tuple[Tensor, Tensor | None]:
    """Under `torch.compile`, what is not PyTorch's fused kernel."""
    return _attend(query, key, value, mechanism, engine, strict)


def isolate(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    pattern: Pattern,
    shape: Shape,
    *,
    rows: bool = False,
) -> tuple[Float[Tensor, "... N D"], Float[Tensor, "... M K"], Float[Tensor, "... M E"], Float[Tensor, "..."] | None]:
    """Takes NaN and infinities out of the operands, and gives what has to be added to the rows that may see them.

    Kernels multiply what is hidden by a weight of 0, and 0 x NaN is NaN. One number finds the rare case. In it (and where no
    number can be read, under `torch.func.vmap` and `torch.compile`), one uniform attention over marks tells which rows see
    a bad key or value. With `rows`, what is to be added has one column.
    """
    if not pattern.hides(shape) or query.is_meta:
        return query, key, value, None
    if not torch.compiler.is_compiling() and not under_vmap():
        total = _total(key, value) + (_total(query) if pattern.empties(shape) else 0.0)
        if math.isfinite(total):
            return query, key, value, None
    with torch.no_grad():
        bad_query, bad_key = ~query.isfinite().all(-1, keepdim=True), ~key.isfinite().all(-1, keepdim=True)
        marks = [torch.ones_like(bad_key), bad_key, value.isnan(), value == math.inf, value == -math.inf]
        axes = torch.broadcast_shapes(bad_key.shape[:-1], value.shape[:-1])
        marks = [mark.expand(*axes, mark.shape[-1]) for mark in marks]
        q, k = (torch.zeros_like(t[..., :1], dtype=torch.float32) for t in (query, key))
        v = torch.cat(marks, dim=-1).float()
        uniform = mechanism_of(Dot(), softmax, pattern, _SOFT, *_NOTHING_ELSE)
        found, _ = choose(q, k, v, uniform, shape, None, False).run(q, k, v)
        some, sees_key, nan, high, low = (found > 0).split([1, 1, *[value.shape[-1]] * 3], dim=-1)
        bad_row = sees_key | (some & bad_query)
        if rows:
            nan, high, low = bad_row, torch.zeros_like(bad_row), torch.zeros_like(bad_row)
        poison = torch.zeros_like(nan, dtype=torch.float32).masked_fill(high, math.inf).masked_fill(low, -math.inf)
        poison = poison.masked_fill(nan | bad_row | (high & low), math.nan)
    return query.masked_fill(bad_query, 0), key.masked_fill(bad_key, 0), value.masked_fill(~value.isfinite(), 0), poison


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
        raise TypeError(f"`normalize` must be a normaliser such as `heedful.softmax`: got {normalize!r}.")
    if not isinstance(pattern, Pattern):
        hint = "; wrap a tensor as `Mask(tensor)`" if torch.is_tensor(pattern) else ""
        raise TypeError(f"`pattern` must be a pattern such as `Causal()`{hint}: got {type(pattern).__name__}.")
    if not isinstance(select, Selection):
        raise TypeError(f"`select` must be a selection such as `Hard()`: got {select!r}.")
    if isinstance(select, Sampled) and normalize.signed:
        raise ValueError(f"`Sampled` needs weights that are not negative: got `normalize` {normalize!r}.")
    if scale is not None and not torch.is_tensor(scale):
        check_finite("scale", scale, "a number or a tensor")
    if softcap is not None:
        check_cap("softcap", softcap)
    if sinks is not None and not normalize.adds_up:
        raise ValueError(f"`sinks` need a normaliser whose rows add up to 1: got {normalize!r}.")
    check_fraction("dropout", dropout)
    if seed is not None and not isinstance(seed, int):
        raise TypeError(f"`seed` must be an integer or None: got {seed!r}.")
    if not (dropout or isinstance(select, Sampled)):
        seed = 0
    elif seed is None:
        if under_vmap():
            raise ValueError("`seed` must be given under `torch.func.vmap`: got None.")
        seed = int(torch.randint(2**31, ()))
    plain = bias is None and sinks is None and not torch.is_tensor(scale) and not torch.compiler.is_compiling()
    if plain and bare(score) and bare(normalize) and bare(pattern) and bare(select):
        return _kept_mechanism(score, normalize, pattern, select, scale, softcap, dropout, seed)
    return Mechanism(
        score, normalize, pattern, select, None if bias is None else as_bias(bias), scale, softcap, sinks, dropout, seed
    )


@functools.lru_cache(maxsize=256)
def _kept_mechanism(
    score: Score,
    normalize: Normalizer,
    pattern: Pattern,
    select: Selection,
    scale: float | None,
    softcap: float | None,
    dropout: float,
    seed: int,
) -> Mechanism:
    return Mechanism(score, normalize, pattern, select, None, scale, softcap, None, dropout, seed, bare=True)


def _autocast(*tensors: Tensor) -> list[Tensor]:
    """What PyTorch's own attention would be given under autocast."""
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    return [t if t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def _total(*tensors: Tensor) -> float:
    """A number that is finite only if all of theirs are: their inner product where two fit (half the time), or their sums."""
    flat = [t.detach() if t.requires_grad else t for t in tensors]
    if len(flat) == 2 and flat[0].shape == flat[1].shape and all(_plain_numbers(t) for t in flat):
        return torch.dot(flat[0].view(-1), flat[1].view(-1)).item()
    halves = (torch.float16, torch.bfloat16)
    return sum((t.sum(dtype=torch.float32) if t.dtype in halves else t.sum()).item() for t in flat)


def _plain_numbers(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.is_contiguous()
