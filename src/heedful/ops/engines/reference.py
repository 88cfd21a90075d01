"""The definition, in N x M memory: for tests, for short inputs and for reading."""

import torch

from heedful._checks import Shape
from heedful._types import Bool, Float, Tensor
from heedful.ops.normalizers import softmax
from heedful.ops.patterns import Pattern
from heedful.ops.scores import Score


def weights(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    score: Score,
    pattern: Pattern,
    bias: Float[Tensor, "..."] | None,
    shape: Shape,
) -> Float[Tensor, "... N M"]:
    """`A = softmax(score(Q, K) + bias, where the pattern allows)`, in at least float32."""
    scores = score(at_least_float32(query), at_least_float32(_all_heads(key, query)))
    if bias is not None:
        scores = scores + bias
    return softmax(scores, visible(pattern, shape, query.device) if pattern.hides(shape) else None)


def attention(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    score: Score,
    pattern: Pattern,
    bias: Float[Tensor, "..."] | None,
    shape: Shape,
) -> Float[Tensor, "... N E"]:
    """`A V`, in at least float32, given back in the dtype of `query`."""
    matrix = weights(query, key, score, pattern, bias, shape)
    return (matrix @ _all_heads(value, query).to(matrix.dtype)).to(query.dtype)


def visible(pattern: Pattern, shape: Shape, device: torch.device) -> Bool[Tensor, "..."]:
    """The whole pattern as a tensor that broadcasts to `shape`."""
    rows, columns = torch.arange(shape[-2], device=device), torch.arange(shape[-1], device=device)
    return pattern.allowed(rows[:, None], columns[None], shape)


def at_least_float32(tensor: Float[Tensor, "*sizes"]) -> Float[Tensor, "*sizes"]:
    """Half precision is raised to float32, the rest stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _all_heads(tensor: Float[Tensor, "... M F"], query: Float[Tensor, "... N D"]) -> Float[Tensor, "... M F"]:
    """Each of G key/value heads serves H / G heads of the query."""
    if tensor.dim() < 4 or tensor.shape[-3] == query.shape[-3]:
        return tensor
    return tensor.repeat_interleave(query.shape[-3] // tensor.shape[-3], dim=-3)
