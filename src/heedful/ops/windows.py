"""Windows of the attention matrix that is never stored: any rows and columns, exactly."""

import math
from typing import Any

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops.engines import reference
from heedful.ops.engines.reference import all_heads, at_least_float32
from heedful.ops.products import Matrix, loses_precision
from heedful.ops.reduce import weights_of

_STREAMED = 2**22  # scores that are held at a time


def window(A: Matrix, index: Any) -> Tensor:
    """`A[index]`: scores of the window and lse of its rows, or whole rows a few at a time."""
    leading, row_index, column_index = _split(index, A.shape)
    rows, drop_row = _positions(row_index, A.shape[-2], A.query.device)
    columns, drop_column = _positions(column_index, A.shape[-1], A.query.device)
    lse = _lse_of(A, rows) if A._fused else None
    if not len(rows) or not A.shape[-1]:
        weights = at_least_float32(A.query).new_zeros(*A.shape[:-2], len(rows), len(columns))
    elif lse is not None and not loses_precision(lse):
        weights = (_scores(A, rows, columns) - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
    else:
        source = A.source()
        tiles = [
            weights_of(source, A.shape, rows_chunk).index_select(-1, columns) for rows_chunk in rows.split(_height(A))
        ]
        weights = torch.cat(tiles, dim=-2)
    weights = weights[(*leading, slice(None), slice(None))]
    weights = weights[..., 0] if drop_column else weights
    return weights.select(-1 if drop_column else -2, 0) if drop_row else weights


def _scores(A: Matrix, rows: Int[Tensor, "n"], columns: Int[Tensor, "m"]) -> Float[Tensor, "... n m"]:
    """The scores of a window, -inf where masked."""
    key = all_heads(at_least_float32(A.key), A.query)
    query, mechanism = at_least_float32(A.query).index_select(-2, rows), A.mechanism
    scores = reference.scores(query, key.index_select(-2, columns), A.mechanism, A.shape, rows, columns)
    if not mechanism.pattern.masks_any(A.shape) and mechanism.bias is None:
        return scores
    return scores.masked_fill(~reference.visible(mechanism, A.shape, rows, columns), -math.inf)


def _lse_of(A: Matrix, rows: Int[Tensor, "n"]) -> Float[Tensor, "... n"]:
    """Lse of some rows: a few are computed by themselves, many with all the others in one fused pass."""
    if (A._known_lse is not None and not A._differentiable()) or 4 * len(rows) > A.shape[-2]:
        return A.lse().index_select(-1, rows)
    columns = torch.arange(A.shape[-1], device=rows.device)
    return torch.cat([_logsumexp(_scores(A, rows_chunk, columns)) for rows_chunk in rows.split(_height(A))], dim=-1)


def _logsumexp(scores: Tensor) -> Tensor:
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).logsumexp(-1).masked_fill(empty[..., 0], -math.inf)


def _height(A: Matrix) -> int:
    return max(_STREAMED // max(math.prod(A.shape[:-2]) * A.shape[-1], 1), 1)


def _split(index: Any, shape: Shape) -> tuple[tuple[Any, ...], Any, Any]:
    """An index as (leading axes, rows, columns)."""
    items = index if isinstance(index, tuple) else (index,)
    axes, dots = len(shape), sum(item is Ellipsis for item in items)
    if any(item is None for item in items) or dots > 1 or len(items) - dots > axes:
        raise IndexError(
            f"an index of a matrix of shape {list(shape)} must have at most {axes} items and one `...`: got {index!r}."
        )
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    items = (*items[:at], *[slice(None)] * (axes - len(items) + dots), *items[at + dots :])
    return items[:-2], items[-2], items[-1]


def _positions(index: Any, count: int, device: torch.device) -> tuple[Int[Tensor, "n"], bool]:
    """The positions that an index of one axis chooses, and whether the axis is dropped."""
    chosen = torch.arange(count, device=device)[index]
    if chosen.dim() > 1:
        raise IndexError(
            f"rows and columns must be chosen by an integer, a slice or one list: got {list(chosen.shape)} indices."
        )
    return chosen.reshape(-1), chosen.dim() == 0
