"""From a mask to a pattern: what is plain structure becomes a value that takes no memory."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Bool, ColumnIndex, Float, Int, RowIndex, Tensor
from heedful.ops import Causal, Documents, Global, Lengths, Local, Mask, Pattern
from heedful.ops._tree import flatten
from heedful.ops.patterns.sequence import all_of

_AT_ONCE = 2**22  # pairs that are looked at at a time

Rows = Callable[[Int[Tensor, " n"]], Bool[Tensor, "... n M"]]  # what some rows of a mask show


class RecognizedMask(NamedTuple):
    """What a mask says.

    Attributes:
        pattern: who may see whom.
        bias: the numbers that a floating-point mask adds where it hides nothing, or None if they are all 0.
        empty: how many rows it hides whole, over all batches and heads.
    """

    pattern: Pattern
    bias: Float[Tensor, "..."] | None
    empty: int


def recognize(mask: Bool[Tensor, "... N M"]) -> Pattern:
    """The pattern of a mask: a structured one where the mask is `Global`, causal, a window, padding, documents or of both.

    The mask is read a few rows at a time. What is no such structure becomes `Mask(mask)`; axes along which a mask was
    expanded are not stored.

    Args:
        mask: True = may attend, with as many axes as the matrix, or two. Its last two axes are those of queries and keys; an
            axis of size 1 stands for all.

    Raises:
        TypeError: `mask` is not of booleans.
        ValueError: `mask` has fewer than two axes.

    Example:
        >>> recognize(torch.ones(5, 5, dtype=torch.bool).tril())
        Causal(align=None)
        >>> recognize(torch.ones(2, 5, dtype=torch.bool).tril(3))
        Causal(align='end')
        >>> recognize(torch.ones(5, 5, dtype=torch.bool).tril().triu(-2))
        And(first=Causal(align=None), second=Local(before=2, after=0, align=None))
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"`mask` must be a bool tensor (True = may attend): got {mask.dtype}.")
    return read(mask).pattern


def read(mask: Tensor) -> RecognizedMask:
    """What a mask says: bool, True = may attend; or floating point, added, where -inf and half the lowest number hide.

    Raises:
        TypeError: `mask` is of integers.
        ValueError: `mask` has fewer than two axes.
    """
    if mask.dim() < 2:
        raise ValueError(f"`mask` must be [..., N, M]: got {list(mask.shape)}.")
    mask = compact(mask.detach())
    if mask.dtype == torch.bool:
        pattern, empty = _pattern(lambda rows: mask.index_select(-2, rows), mask.shape, mask.device)
        return RecognizedMask(pattern or Mask(mask.clone()), None, empty)
    if not mask.is_floating_point():
        raise TypeError(f"`mask` must be bool or floating point: got {mask.dtype}.")
    lowest = torch.finfo(mask.dtype).min / 2
    pattern, empty = _pattern(lambda rows: mask.index_select(-2, rows) > lowest, mask.shape, mask.device)
    bias = mask.masked_fill(mask <= lowest, 0) if _adds(mask, lowest) else None
    return RecognizedMask(pattern or Mask(mask > lowest), bias, empty)


def read_function(rows: Rows, shape: Shape, device: torch.device) -> tuple[Pattern, int]:
    """The pattern of what is asked row by row, and how many rows are hidden whole; nothing N x M is stored.

    Args:
        rows: gives what some rows of `shape` show.
        shape: `(..., N, M)`.
        device: where the numbers of the rows are to be.
    """
    pattern, empty = _pattern(rows, shape, device)
    return pattern or CallablePattern(rows, shape), empty


def compact(tensor: Tensor) -> Tensor:
    """The same numbers without the copies that `expand` seems to make."""
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


@dataclass(frozen=True, eq=False)
class CallablePattern(Pattern):
    """Any pattern, as a function that is asked for rows.

    Args:
        rows: gives what some rows show, `[..., n, M]`.
        over: the shape `(..., N, M)` of all of them.
    """

    rows: Rows
    over: Shape

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        """True where a row may see a column."""
        if rows.dim() == 2:
            return self.rows(rows.flatten()).index_select(-1, columns.flatten())
        visible = self.rows(rows.flatten())
        index = torch.arange(rows.numel(), device=rows.device).view(rows.shape)
        return visible[..., index, columns]

    def check(self, shape: Shape) -> None:
        """Raises ValueError where the sizes differ."""
        if self.over[-2:] != shape[-2:]:
            raise ValueError(f"the mask must be {list(shape[-2:])}: got {list(self.over[-2:])}.")

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        """Whether what is visible depends on the row, and on the column."""
        return True, True

    def batched(self, shape: Shape) -> bool:
        """Whether the pattern differs along the first axes."""
        return any(size > 1 for size in self.over[:-3])

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        """The pattern of one entry of the first axis."""
        if len(self.over) != len(shape):
            return self
        at = index if self.over[0] > 1 else 0
        return CallablePattern(lambda rows: self.rows(rows)[at], self.over[1:])


def _adds(mask: Tensor, lowest: float) -> bool:
    """Whether there is a number but 0 where nothing is hidden."""
    for rows in _tiles(mask.shape, mask.device):
        part = mask.index_select(-2, rows)
        if bool(((part != 0) & (part > lowest)).any()):
            return True
    return False


def _tiles(shape: Shape, device: torch.device) -> Iterator[Int[Tensor, " n"]]:
    height = max(_AT_ONCE // max(math.prod(shape[:-2]) * shape[-1], 1), 1)
    yield from torch.arange(shape[-2], device=device).split(height)


class _Extent(NamedTuple):
    """What the rows of a mask reach.

    Attributes:
        keys: the keys that any row sees `[..., M]`.
        first: the first key of each row `[..., N]`, -1 where it sees none.
        lower: the least of `j - i` over all visible pairs.
        upper: the greatest.
        empty: how many rows see nothing.
    """

    keys: Bool[Tensor, "... M"]
    first: Int[Tensor, "... N"]
    lower: int
    upper: int
    empty: int


def _pattern(rows: Rows, shape: Shape, device: torch.device) -> tuple[Pattern | None, int]:
    """A structured pattern or None, and how many rows are empty."""
    if shape[-2] == 1:
        keys = rows(torch.zeros(1, dtype=torch.long, device=device))[..., 0, :]
        return _of_keys(keys) or Global(), int((~keys.any(-1)).sum())
    if shape[-1] == 1 or 0 in shape:
        return None, 0
    extent = _extent(rows, shape, device)
    return _fitting(rows, shape, device, extent), extent.empty


def _extent(rows: Rows, shape: Shape, device: torch.device) -> _Extent:
    keys = torch.zeros((*shape[:-2], shape[-1]), dtype=torch.bool, device=device)
    firsts, lower, upper, empty = [], shape[-1], -shape[-2], 0
    for index in _tiles(shape, device):
        visible = rows(index)
        keys |= visible.any(-2)
        sees = visible.any(-1)
        first = visible.byte().argmax(-1)
        last = shape[-1] - 1 - visible.flip(-1).byte().argmax(-1)
        firsts.append(first.masked_fill(~sees, -1))
        empty += int((~sees).sum())
        if bool(sees.any()):
            lower = min(lower, int((first - index)[sees].min()))
            upper = max(upper, int((last - index)[sees].max()))
    return _Extent(keys, torch.cat(firsts, dim=-1), lower, upper, empty)


def _fitting(rows: Rows, shape: Shape, device: torch.device, extent: _Extent) -> Pattern | None:
    """The simplest structure that shows exactly what the rows show."""
    candidates = list(_candidates(shape, extent))
    columns = torch.arange(shape[-1], device=device)[None]
    for index in _tiles(shape, device):
        visible = rows(index)
        candidates = [c for c in candidates if bool((c.allowed(index[:, None], columns, shape) == visible).all())]
        if not candidates:
            return None
    return on_cpu(candidates[0])


def _candidates(shape: Shape, extent: _Extent) -> Iterator[Pattern]:
    keys = _of_keys(extent.keys)
    for lower, upper in (
        (None, None),
        (None, extent.upper),
        (extent.lower, extent.upper),
        (extent.lower, None),
    ):
        band = _band(lower, upper, *shape[-2:])
        if band is not None:
            yield band
        if band is not None and keys is not None:
            yield keys if isinstance(band, Global) else band & keys
    if shape[-1] == shape[-2] and (len(shape) == 2 or (len(shape) == 4 and shape[1] == 1)):
        ids = extent.first if len(shape) == 2 else extent.first[:, 0]
        documents = Documents(ids[0] if ids.dim() == 2 and len(ids) == 1 else ids)
        yield documents
        yield Causal() & documents


def _band(lower: int | None, upper: int | None, N: int, M: int) -> Pattern | None:
    """Pairs with `lower <= j - i <= upper`; None: as far as it goes."""
    if lower is None and upper is None:
        return Global()
    found = None
    for align, offset in (("end", M - N), ("start", 0)):
        before = N + M if lower is None else offset - lower
        after = N + M if upper is None else upper - offset
        if before < 0 or after < 0:
            continue
        at = None if N == M else align
        if after == 0:
            causal = Causal(at)  # type: ignore[arg-type]
            return causal if lower is None else causal & Local(before, 0, at)  # type: ignore[arg-type]
        found = Local(before, after, at)  # type: ignore[arg-type]
    return found


def _of_keys(keys: Bool[Tensor, "... M"]) -> Pattern | None:
    """The pattern of padding; None where there is none."""
    if bool(keys.all()):
        return None
    lengths = keys.sum(-1)
    if bool((keys == (torch.arange(keys.shape[-1], device=keys.device) < lengths[..., None])).all()):
        if lengths.numel() == 1:
            return Lengths(int(lengths))
        if lengths.dim() == 2 and lengths.shape[1] == 1:  # of a batch, the same for all heads
            return Lengths(lengths[:, 0].cpu())
    return Mask(keys.unsqueeze(-2).cpu())


def reach(pattern: Pattern, shape: tuple[int, ...]) -> tuple[bool, int | None]:
    """Whether a pattern is causal, and how many keys its window has."""
    causal, window = False, None
    for part in pattern.conjuncts():
        if isinstance(part, Causal):
            causal = causal or part.align in (None, "end") or shape[-2] <= shape[-1]
        elif isinstance(part, Local):
            before, after = part.reach()
            causal = causal or after == 0
            if before < shape[-1] - 1 or after == 0:
                window = min(window or before + after + 1, before + after + 1)
    return causal, window if window is None or window < shape[-1] else None


def without_last_keys(pattern: Pattern, bias: Any, shape: Shape) -> tuple[int, Pattern, Any] | None:
    """How many keys are left without those last ones that no row sees, and pattern and bias over them; None where all are."""
    parts = [_seen_keys(one, shape) for one in pattern.conjuncts()]
    if None in parts or not (bias is None or isinstance(bias, Tensor)):
        return None
    keys = min([shape[-1], *(part for part in parts if part is not None)])
    if not 0 < keys < shape[-1]:
        return None
    left = [_over_keys(one, keys, shape) for one in pattern.conjuncts()]
    if bias is not None and bias.dim() and bias.shape[-1] == shape[-1]:
        bias = bias[..., :keys]
    return keys, all_of([one for one in left if not isinstance(one, Global)]), bias


def _seen_keys(pattern: Pattern, shape: Shape) -> int | None:
    """Behind which key no row sees any more; None where it depends on how many there are."""
    if isinstance(pattern, Lengths):
        return int(torch.as_tensor(pattern.lengths).max())
    if isinstance(pattern, Mask) and pattern.mask.shape[-1] == shape[-1]:
        seen = pattern.mask.flatten(0, -2).any(0).nonzero()
        return int(seen[-1]) + 1 if len(seen) else 0
    if isinstance(pattern, Causal | Local) and pattern.align == "start":
        return shape[-2] if isinstance(pattern, Causal) else shape[-1]
    return None


def _over_keys(pattern: Pattern, keys: int, shape: Shape) -> Pattern:
    """The same pattern where only the first keys are left."""
    if isinstance(pattern, Lengths):
        return Global() if int(torch.as_tensor(pattern.lengths).min()) == keys else pattern
    if isinstance(pattern, Mask):
        return Mask(pattern.mask[..., :keys])
    if isinstance(pattern, Causal | Local) and keys == shape[-2]:
        return dataclasses.replace(pattern, align=None)
    return pattern


def on_cpu(pattern: Pattern) -> Pattern:
    """The same pattern with its tensors on the CPU."""
    tensors, build = flatten(pattern)
    return build(iter([t.cpu() for t in tensors])) if tensors else pattern
