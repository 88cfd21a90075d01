"""How the weights of a matrix fit into a share of the bytes of a file."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Tensor
from heedful.inspection.calls import num_heads
from heedful.ops import AttentionMatrix, Causal, Global, ScaledDot, softmax
from heedful.report.pair_weights import Dense, QueryKey, TopWeights, WholeRows

_CELLS = (512, 384, 256, 192, 128, 96, 64)  # of a map along each axis
COARSEST = _CELLS[-1]
_MOST_TOP = 64  # largest weights of a row
_ROWS_SHARE = 0.35  # of what there is, for rows of special tokens
_MAP_SHARE = 0.6  # of what is left, for the map


def exact_kind(A: AttentionMatrix, share: float) -> type[Dense] | type[QueryKey] | None:
    """What holds every pair in a share of the file; None where nothing does."""
    if exact_bytes(A) > share:
        return None
    return Dense if Dense.bytes(num_heads(A), *A.shape[-2:]) == exact_bytes(A) else QueryKey


def exact_bytes(A: AttentionMatrix) -> float:
    """The bytes that all pairs take at least."""
    heads, (queries, keys) = num_heads(A), A.shape[-2:]
    dense = Dense.bytes(heads, queries, keys)
    return min(dense, QueryKey.bytes(heads, queries, keys, A.query.shape[-1])) if _is_query_key(A) else dense


def _is_query_key(A: AttentionMatrix) -> bool:
    """Whether rows follow from queries and keys alone."""
    m = A.mechanism
    return (
        isinstance(m.score, ScaledDot)
        and m.normalize is softmax
        and m.bias is None
        and m.softcap is None
        and m.sinks is None
        and not torch.is_tensor(m.factor(A.query.shape[-1]))
        and isinstance(A.pattern, (Global, Causal))
    )


class Parts(NamedTuple):
    """What a layer holds that does not hold every pair.

    Attributes:
        cells: of the map along each axis.
        top: largest weights of each row.
        whole_rows: how many rows with all of their weights.
    """

    cells: int
    top: int
    whole_rows: int


def parts_of(heads: int, queries: int, keys: int, share: float, special: int = 0) -> Parts:
    """What fills a share beside the curves; `special` is how many queries have a whole row if they fit."""
    share -= 4 * heads * (queries + keys)
    each = WholeRows.bytes_each(heads, keys)
    rows = min(special, int(max(share, 0) * _ROWS_SHARE / each))
    share -= rows * each
    cells = next((cells for cells in _CELLS if 2 * heads * cells**2 <= _MAP_SHARE * share), COARSEST)
    left = share - 2 * heads * cells**2
    most = int(left / (heads * queries * TopWeights.bytes_each(keys)))
    return Parts(cells, min(max(most, 1), _MOST_TOP, keys), rows)


def exact_weights(A: AttentionMatrix, kind: type[Dense] | type[QueryKey], sample: int) -> Dense | QueryKey:
    """Every pair of one sample."""
    heads, (queries, keys) = num_heads(A), A.shape[-2:]

    def of(tensor: Tensor, *sizes: int) -> NDArray[np.float32]:
        return tensor.reshape(-1, heads, *sizes)[sample].float().cpu().numpy()

    if kind is Dense:
        return Dense(of(A[..., :, :], queries, keys))
    query, key, factor = A.inner_product()
    key = key.repeat_interleave(heads // key.shape[-3], -3) if key.dim() > 2 else key
    ahead = None
    if isinstance(A.pattern, Causal):
        ahead = keys - queries if A.pattern.align == "end" else 0
    width = query.shape[-1]
    return QueryKey(of(query, queries, width), of(key, keys, width), factor, ahead)
