"""NaN and infinities reach only the rows that may see them.

Kernels multiply what is masked by a weight of 0, and 0 x NaN is NaN.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from heedful._checks import Shape
from heedful._types import Bool, ColumnIndex, Float, Keys, Queries, RowIndex, Tensor, Values
from heedful.ops._concrete import under_vmap
from heedful.ops.biases import Bias
from heedful.ops.engines.base import EngineName
from heedful.ops.mechanism import SOFT, Mechanism, mechanism_of
from heedful.ops.normalizers import softmax
from heedful.ops.patterns import Pattern
from heedful.ops.plan import choose
from heedful.ops.scores import Dot

_FINITE = ContextVar("heedful_finite", default=False)


@contextmanager
def assumed_finite() -> Iterator[None]:
    """Within it, nothing is looked for: where a model that reads whole numbers is traced, its graph is half as large."""
    token = _FINITE.set(True)
    try:
        yield
    finally:
        _FINITE.reset(token)


def mask_nonfinite(
    query: Queries, key: Keys, value: Values, mechanism: Mechanism, shape: Shape, *, rows: bool = False
) -> tuple[Float[Tensor, "... N D"], Float[Tensor, "... M K"], Float[Tensor, "... M E"], Float[Tensor, "..."] | None]:
    """Takes NaN and infinities out of the operands, and gives what has to be added to the rows that may see them.

    One number finds the rare case. In it (and where no number can be read, under `torch.func.vmap` and `torch.compile`), one
    uniform attention over marks tells which rows see a bad key or value. With `rows`, what is to be added has one column.
    """
    pattern, bias = mechanism.pattern, mechanism.bias
    assumed = not torch.compiler.is_dynamo_compiling() and _FINITE.get()  # which Dynamo could not trace
    if (not pattern.masks_any(shape) and bias is None) or query.is_meta or assumed:
        return query, key, value, None
    if not torch.compiler.is_compiling() and not under_vmap():
        may_be_empty = pattern.may_be_empty(shape) or bias is not None
        total = total_of(key, value) + (total_of(query) if may_be_empty else 0.0)
        if math.isfinite(total):
            return query, key, value, None
    with torch.no_grad():
        bad_query, bad_key = ~query.isfinite().all(-1, keepdim=True), ~key.isfinite().all(-1, keepdim=True)
        marks = [torch.ones_like(bad_key), bad_key, value.isnan(), value == math.inf, value == -math.inf]
        axes = torch.broadcast_shapes(bad_key.shape[:-1], value.shape[:-1])
        marks = [mark.expand(*axes, mark.shape[-1]) for mark in marks]
        q, k = (t.new_zeros(*t.shape[:-1], 1, dtype=torch.float32) for t in (query, key))
        v = torch.cat(marks, dim=-1).float()
        visible = pattern if bias is None else _VisiblePairs(pattern, bias)
        uniform = mechanism_of(Dot(), softmax, visible, SOFT, None, None, None, None, 0.0, None)
        engine: EngineName | None = "fused" if torch.compiler.is_exporting() else None  # one that a graph can hold
        counts, _ = choose(q, k, v, uniform, shape, engine, False).run()
        sees_any, sees_key, nan, high, low = (counts > 0).split([1, 1, *[value.shape[-1]] * 3], dim=-1)
        bad_row = sees_key | (sees_any & bad_query)
        if rows:
            nan, high, low = bad_row, torch.zeros_like(bad_row), torch.zeros_like(bad_row)
        nonfinite = torch.zeros_like(nan, dtype=torch.float32).masked_fill(high, math.inf).masked_fill(low, -math.inf)
        nonfinite = nonfinite.masked_fill(nan | bad_row | (high & low), math.nan)
    return (
        query.masked_fill(bad_query, 0),
        key.masked_fill(bad_key, 0),
        value.masked_fill(~value.isfinite(), 0),
        nonfinite,
    )


@dataclass(frozen=True, eq=False)
class _VisiblePairs(Pattern):
    """The pairs that neither a pattern nor a bias masks, by -inf."""

    pattern: Pattern
    bias: Bias

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return self.pattern.allowed(rows, columns, shape) & (self.bias.at(rows, columns, shape) != -math.inf)

    def check(self, shape: Shape) -> None:
        pass

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        a, b = self.pattern.depends(shape), self.bias.depends(shape)
        return a[0] or b[0], a[1] or b[1]

    def batched(self, shape: Shape) -> bool:
        return True


def total_of(*tensors: Tensor) -> float:
    """A number that is finite only if all of theirs are: their inner product where two fit (half the time), or their sums."""
    flat = [t.detach() if t.requires_grad else t for t in tensors]
    if (
        len(flat) == 2
        and flat[0].shape == flat[1].shape
        and all(t.dtype == torch.float32 and t.is_contiguous() for t in flat)
    ):
        return torch.dot(flat[0].view(-1), flat[1].view(-1)).item()
    halves = (torch.float16, torch.bfloat16)
    return sum((t.sum(dtype=torch.float32) if t.dtype in halves else t.sum()).item() for t in flat)
