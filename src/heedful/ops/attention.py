"""Attention: `A = normalize(score(Q, K) + bias, where the pattern allows)`, and the output is `A V`.

scores       ops/scores.py        how relevant is key j to query i
+ bias       ops/biases/          numbers to add
pattern      ops/patterns/        which pairs may attend at all
normalize    ops/normalizers/     each row of scores becomes weights
select       ops/selection.py     all of them, the largest, or one that is drawn
@ value      ops/engines/         computed without storing A; the definition: reference.py; which engine and why: plan.py
"""

from typing import Any, NamedTuple

import torch
from torch.overrides import handle_torch_function, has_torch_function_variadic

from heedful._checks import Shape, autocasts
from heedful._types import Float, Keys, Queries, Tensor, Values
from heedful.ops import fast_path
from heedful.ops.biases import Bias
from heedful.ops.engines import kernel, reference
from heedful.ops.engines.base import EngineName, Result
from heedful.ops.engines.features import requires_grad
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, SOFT, Mechanism, check, mechanism_of
from heedful.ops.nonfinite import mask_nonfinite
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Pattern
from heedful.ops.plan import Plan, choose, compiles
from heedful.ops.scores import Dot, ScaledDot, Score
from heedful.ops.selection import Sampled, Selection, Soft


def _compute(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape, **options: Any) -> Result:
    """The pipeline, from operands that fit to the output; for keys that are drawn, also the logarithm of their probability."""
    dtype = query.dtype
    query, key, value, nonfinite = mask_nonfinite(query, key, value, mechanism, shape)
    query, key, value = _wide_enough(query, key, value, mechanism)
    plan = choose(query, key, value, mechanism, shape, **options)
    out, log_probability = plan.run()  # scores -> + bias, where the pattern allows -> normalize -> select -> @ value
    out = out.to(dtype)
    return out if nonfinite is None else out + nonfinite.to(dtype), log_probability


def attention(
    query: Queries,
    key: Keys,
    value: Values,
    *,
    score: Score = SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = GLOBAL,
    select: Selection = SOFT,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: EngineName | None = None,
    strict: bool = False,
) -> Float[Tensor, "... N E"]:
    """For each query, the mean of the values, weighted by how relevant their keys are: `normalize(score(Q, K) + bias) V`.

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
    whole row NaN, one in a value its own feature; an infinity in a key does the same where the pattern masks a pair, and
    where it masks none its score is computed as it is, so that a weight may be a plain 0 or 1.

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
        and type(pattern) in fast_path.PLAIN
        and not dropout
    )
    if usual and bias is None and scale is None and softcap is None and sinks is None and engine is None:
        out = fast_path.attend(query, key, value, pattern)
        if out is not None:
            return out
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, dropout, seed)
    return attend(query, key, value, mechanism, engine, strict)[0]


def plan(
    query: Queries,
    key: Keys,
    value: Values,
    *,
    score: Score = SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = GLOBAL,
    select: Selection = SOFT,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    dropout: float = 0.0,
    seed: int | None = 0,
    engine: EngineName | None = None,
    strict: bool = False,
) -> Plan:
    """Which engine `attention` takes for these arguments and why, its floating-point operations and its bytes.

    Nothing is computed; only sizes count (and, of patterns, what they hide). Raises what `attention` raises.

    Example:
        >>> query = torch.zeros(1, 8, 4096, 64)
        >>> print(plan(query, query, query, normalize=entmax15))
        engine     tiled: the normalizer is not softmax
        matrix     1 x 8 x 4,096 x 4,096, of which 100 % is computed
        forward    35 GFLOP, ... MB
        training   123 GFLOP, ... MB
        memory     linear in the number of positions
    """
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, dropout, seed)
    return choose(query, key, value, mechanism, check(query, key, value, mechanism), engine, strict)


class Sample(NamedTuple):
    """What `sample` gives.

    Attributes:
        output: the values of the drawn keys `[..., H, N, E]`.
        log_probability: the logarithm of the probability of each draw `[..., H, N]`, differentiable.

    Example:
        >>> output, log_probability = sample(torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(5, 2), seed=0)
        >>> output.shape, log_probability.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    output: Float[Tensor, "... N E"]
    log_probability: Float[Tensor, "... N"]


def sample(
    query: Queries,
    key: Keys,
    value: Values,
    *,
    score: Score = SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = GLOBAL,
    bias: Float[Tensor, "..."] | Bias | None = None,
    scale: Float[Tensor, "..."] | float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "..."] | None = None,
    seed: int | None = None,
) -> Sample:
    """Hard attention by chance: each query draws one key from its weights and takes its value.

    The choice has no gradient; the score-function estimator has: with a reward R for each output, the gradient of
    `(R.detach() * log_probability).sum()` is an unbiased estimate of that of the expected reward.

    The arguments are those of `attention`; with the same `seed` the same keys are drawn.

    Example:
        >>> query, key = torch.zeros(3, 4, requires_grad=True), torch.randn(5, 4)
        >>> sampled = sample(query, key, torch.arange(5.0)[:, None], seed=1)
        >>> sampled.log_probability.exp()
        tensor([0.2000, 0.2000, 0.2000], grad_fn=<ExpBackward0>)

    Source: Xu et al. 2015, section 4.1; Williams 1992.
    """
    select = Sampled(gradient="score-function")
    mechanism = mechanism_of(score, normalize, pattern, select, bias, scale, softcap, sinks, 0.0, seed)
    output, log_probability = attend(query, key, value, mechanism, None, False)
    assert log_probability is not None
    return Sample(output, log_probability)


def attention_weights(
    query: Queries,
    key: Keys,
    *,
    score: Score = SCALED_DOT,
    normalize: Normalizer = softmax,
    pattern: Pattern = GLOBAL,
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
    mechanism = mechanism_of(score, normalize, pattern, SOFT, bias, scale, softcap, sinks, 0.0, None)
    shape = check(query, key, None, mechanism)
    if autocasts(query):
        with torch.autocast(query.device.type, enabled=False):
            query, key = _autocast(query, key)
            return _weights(query, key, mechanism, shape)
    return _weights(query, key, mechanism, shape)


def _weights(query: Tensor, key: Tensor, mechanism: Mechanism, shape: Shape) -> Tensor:
    query, key, _, nonfinite = mask_nonfinite(query, key, key[..., :0], mechanism, shape, rows=True)
    query, key = (reference.at_least_float32(t) for t in (query, reference.all_heads(key, query)))
    rows, columns = reference.positions(shape, query.device)
    weights = reference.weights(query, key, mechanism, shape, rows, columns)
    if nonfinite is None:
        return weights
    return weights + nonfinite.masked_fill(~reference.visible(mechanism, shape, rows, columns), 0)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mechanism: Mechanism,
    engine: EngineName | None = None,
    strict: bool = False,
) -> Result:
    """`attention` by a mechanism as one value, with the log-probability of what was drawn; also in a graph, under autocast."""
    if torch.compiler.is_compiling() and not compiles(query, mechanism, engine):
        if not torch.compiler.is_exporting():
            # One break of the graph; as a decorator, `disable` would import the compiler with this file.
            return torch.compiler.disable(_eagerly)(query, key, value, mechanism, engine, strict)  # type: ignore[no-any-return]
        if engine is not None:
            raise ValueError(
                f"`engine` must be None, 'fused' or 'reference' where a graph is exported: got {engine!r}."
            )
        engine = "reference"  # the others look at numbers, which a graph cannot
    shape = check(query, key, value, mechanism)
    if autocasts(query):
        with torch.autocast(query.device.type, enabled=False):
            query, key, value = _autocast(query, key, value)
            return _compute(query, key, value, mechanism, shape, engine=engine, strict=strict)
    return _compute(query, key, value, mechanism, shape, engine=engine, strict=strict)


def _eagerly(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, engine: EngineName | None, strict: bool
) -> Result:
    """What a graph leaves to Python."""
    return attend(query, key, value, mechanism, engine, strict)


def _autocast(*tensors: Tensor) -> list[Tensor]:
    """What PyTorch's own attention would be given under autocast."""
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    return [t if t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def _wide_enough(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> tuple[Tensor, Tensor, Tensor]:
    """Half precision raised to float32 where features, scales or numbers to add would lose what they still have in it."""
    bias, dtype = mechanism.bias, query.dtype
    if dtype not in (torch.float16, torch.bfloat16):
        return query, key, value
    plain = isinstance(mechanism.score, (Dot, ScaledDot)) and not torch.is_tensor(mechanism.scale)
    # beside queries in half precision, the kernel of a CPU takes a mask in float32; columns are of their dtype
    masked = (
        bias is not None and kernel.is_available(query) and not requires_grad(bias) and not mechanism.pattern.narrow()
    )
    if plain and (bias is None or masked):
        return query, key, value
    return query.float(), key.float(), value.float()
