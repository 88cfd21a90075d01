"""From what was seen of a model to a section of a report: one pass over each matrix, and nothing N x N."""

import math
import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._checks import Shape
from heedful._types import Int, Tensor
from heedful.inspection.heads import THRESHOLDS, HeadKind, Questions, ask, questions
from heedful.inspection.seen import Seen, SeenAttention
from heedful.ops import AttentionMatrix, Causal, Global, ScaledDot, Statistic, softmax, statistics
from heedful.ops.summaries import top_of
from heedful.report.attention import AttentionSection, Cells, Layer, Links, Vectors
from heedful.report.sides import Positions, Side

ROOM = 8_000_000  # bytes of numbers in a file, before they are written as text
ALL = 15_000_000  # and where every pair fits into them
_FINEST, _COARSEST = 512, 64  # cells of a map along each axis
_MOST_LINKS = 64
_CURVE = 1024  # points of a curve
_ROLLOUT = 128  # cells of the map of the rollout


def attention_section(
    seen: Seen,
    *,
    title: str,
    text: str = "",
    sides: Sequence[Side] = (),
    tokens: Int[Tensor, "*B N"] | None = None,
    separators: Sequence[int] | None = None,
    sample: int = 0,
    room: int | None = None,
) -> AttentionSection:
    """What was seen of one input, as a section.

    Args:
        seen: the calls.
        title: the heading.
        text: one or two sentences below it.
        sides: what stands along the axes: the first that has as many positions as an axis is taken for keys and for
            queries, the last that has for the queries of cross- and causal attention and the keys of the latter.
        tokens: of the keys of self-attention, for the kinds of heads that ask for them.
        separators: which tokens are separators.
        sample: which one of a batch.
        room: bytes of numbers in a file: they say whether every pair of a layer is kept, or the largest of each row. By default
            8 million, or 15 million where every pair of every layer fits into them.

    Raises:
        ValueError: nothing was seen, or `sample` is not of the batch.
    """
    if not len(seen):
        missed = "".join(f" {m.module}: {m.why}." for m in seen.missed)
        raise ValueError(f"`seen` must hold at least one call of attention: got none.{missed}")
    for call in seen:
        batch = math.prod(call.matrix.shape[:-3])
        if not 0 <= sample < batch:
            raise ValueError(f"`sample` must be from 0 to {batch - 1}, of the batch of {call.module!r}: got {sample}.")
    cross = {call.module for call in seen if call.kind == "cross"}
    if room is None:
        room = ALL if sum(_smallest(call.matrix) for call in seen) <= ALL else ROOM
    rows = sum(_heads(call.matrix) * call.matrix.shape[-2] for call in seen)
    placed, layers = [*sides], []
    labels = _labels([call.module for call in seen])
    for index, call in enumerate(seen):
        asked = questions(call.module, call.matrix, tokens, separators, cross=cross)
        share = room * _heads(call.matrix) * call.matrix.shape[-2] / rows
        with torch.no_grad():
            layers.append(_layer(call, labels[index], asked, placed, sample, share))
    followed = _rollout(seen, placed, sample)
    return AttentionSection(title, text, layers if followed is None else [*layers, followed], placed)


def _layer(call: SeenAttention, label: str, asked: Questions, sides: list[Side], sample: int, share: float) -> Layer:
    """A call, in at most a share of the file."""
    A, heads = call.matrix, _heads(call.matrix)
    queries, keys = A.shape[-2:]
    exact = _exact(A, share)
    cells, links = (_COARSEST, 0) if exact else _finest(heads, queries, keys, share)
    rows, columns = min(cells, queries), min(cells, keys)
    every = ask(A, {**asked.statistics, **_statistics(A.shape, rows, columns, links)})
    kinds = asked.rows(every, slice(sample, sample + 1))
    found = {name: t.reshape(-1, heads, *t.shape[-2:])[sample].float().cpu() for name, t in every.items()}
    if "near" in found:  # which begins with the first key
        found["first"] = found["near"][..., :1]
    top, late = top_of(found["top"]), call.causal or call.kind == "cross"
    found["largest"] = top.values[..., :1]
    return Layer(
        name=call.module or "(outside)",
        label=label,
        kind=call.kind,
        map=(found["map"] / torch.bincount(_cells(queries, rows))[:, None]).numpy(),
        pairs=_pairs(A, exact, sample) if exact else Links(top.indices.numpy(), top.values.numpy()),
        queries=queries,
        keys=keys,
        rows=_side(sides, queries, last=late),
        columns=_side(sides, keys, last=call.causal and call.kind != "cross"),
        numbers=_numbers(found, kinds),
        kinds=[k.kind for k in kinds],
        curves={name: block_means(found[name][..., 0].numpy()) for name in ("entropy", "received") if name in found},
        facts=_facts(call),
    )


def _statistics(shape: Shape, rows: int, columns: int, links: int) -> dict[str, Statistic]:
    """What is asked of a matrix beside the kinds of its heads."""
    queries, keys = shape[-2:]
    row_cell, column_cell = _cells(queries, rows), _cells(keys, columns)
    asked = {
        "top": statistics.top(shape, max(links, 1)),
        "received": statistics.received(shape, row_cell),
        "map": statistics.pooled(shape, row_cell, column_cell, (rows, columns)),
    }
    if queries == keys:
        positions = torch.arange(keys, dtype=torch.float64)[:, None]
        asked["distance"] = statistics.distance(shape, positions, positions)
    return asked


def _cells(positions: int, cells: int) -> Int[Tensor, " N"]:
    """The cell of each position."""
    return torch.arange(positions) * cells // positions


def _numbers(found: Mapping[str, Tensor], kinds: Sequence[HeadKind]) -> dict[str, list[float]]:
    """The numbers of each head."""
    means = ("entropy", "largest", "first", "distance")
    numbers = {name: found[name][..., 0].mean(-1).tolist() for name in means if name in found}
    numbers["received"] = (found["received"][..., 0].amax(-1) / found["largest"].shape[-2]).tolist()
    for name in THRESHOLDS:
        if name not in numbers:
            scores = (kind.scores[name] for kind in kinds)
            numbers[name] = [math.nan if score is None else score for score in scores]
    return numbers


def _heads(matrix: AttentionMatrix) -> int:
    return matrix.shape[-3] if len(matrix.shape) > 2 else 1


def _labels(modules: Sequence[str]) -> list[str]:
    """The number of each layer, with the name of its stack where there are several: "layer 2", "decoder 0"."""
    split = [re.match(r"((?:[^.]*\.)*?)(\d+)(?:\.|$)", module) for module in modules]
    stacks = [found[1].strip(".").split(".") if found else [] for found in split]
    named = {tuple(stack) for stack, found in zip(stacks, split, strict=True) if found}
    start, stop = _shared(named), _shared({stack[::-1] for stack in named})
    labels = []
    for module, stack, found in zip(modules, stacks, split, strict=True):
        own = ".".join(stack[start : len(stack) - stop]) if len(named) > 1 else "layer"
        labels.append(f"{own or '.'.join(stack)} {found[2]}" if found else module or "(outside)")
    return labels


def _shared(stacks: Collection[Sequence[str]]) -> int:
    """How many parts all names begin with."""
    unlike = (i for i, parts in enumerate(zip(*stacks, strict=False)) if len(set(parts)) > 1)
    return next(unlike, min(map(len, stacks), default=0))


def _facts(call: SeenAttention) -> list[tuple[str, str | int | float]]:
    facts: list[tuple[str, str | int | float]] = [("computed by", call.engine)]
    if call.causal:
        facts.append(("causal", "yes"))
    if call.window:
        facts.append(("window", call.window))
    return facts + [("note", note) for note in call.notes]


def _side(sides: list[Side], count: int, *, last: bool) -> int:
    """Which side an axis is; bare positions where none has as many."""
    fitting = [i for i, side in enumerate(sides) if side.count in (None, count)]
    if not fitting:
        sides.append(Positions(count))
        return len(sides) - 1
    return fitting[-1] if last else fitting[0]


def _exact(A: AttentionMatrix, share: float) -> type[Cells] | type[Vectors] | None:
    """How all pairs fit into a share of the file, if they do."""
    if _smallest(A) > share:
        return None
    return Cells if Cells.bytes(_heads(A), *A.shape[-2:]) == _smallest(A) else Vectors


def _smallest(A: AttentionMatrix) -> float:
    """The bytes that all pairs take at least."""
    heads, (queries, keys) = _heads(A), A.shape[-2:]
    cells = Cells.bytes(heads, queries, keys)
    return min(cells, Vectors.bytes(heads, queries, keys, A.query.shape[-1])) if _plain(A) else cells


def _plain(A: AttentionMatrix) -> bool:
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


def _finest(heads: int, queries: int, keys: int, share: float) -> tuple[int, int]:
    """The cells of the map along each axis and the links of each row that fill a share."""
    cells = _FINEST
    while cells > _COARSEST and 2 * heads * cells**2 > 0.5 * share:
        cells //= 2
    left = share - 2 * heads * cells**2
    most = int(left / (heads * queries * Links.bytes_each(keys)))
    return cells, min(max(most, 1), _MOST_LINKS, keys)


def _pairs(A: AttentionMatrix, exact: type[Cells] | type[Vectors], sample: int) -> Cells | Vectors:
    heads, (queries, keys) = _heads(A), A.shape[-2:]

    def of(tensor: Tensor, *sizes: int) -> NDArray[np.float32]:
        return tensor.reshape(-1, heads, *sizes)[sample].float().cpu().numpy()

    if exact is Cells:
        return Cells(of(A[..., :, :], queries, keys))
    query, key, factor = A.inner_product()
    key = key.repeat_interleave(heads // key.shape[-3], -3) if key.dim() > 2 else key
    ahead = None
    if isinstance(A.pattern, Causal):
        ahead = keys - queries if A.pattern.align == "end" else 0
    width = query.shape[-1]
    return Vectors(of(query, queries, width), of(key, keys, width), factor, ahead)


def _rollout(seen: Seen, sides: list[Side], sample: int) -> Layer | None:
    """Attention followed through all layers, where they are of one shape: as one more layer, of one head."""
    square = [call for call in seen if call.kind == "self" and call.matrix.shape[-1] == call.matrix.shape[-2]]
    if len(square) < 2 or len({call.matrix.shape for call in square}) > 1:
        return None
    n = square[0].matrix.shape[-1]
    cells = min(n, _ROLLOUT)
    cell = _cells(n, cells)
    R = seen.rollout(modules=[call.module for call in square])
    columns = torch.nn.functional.one_hot(cell, cells).float()
    product = (R @ columns).reshape(-1, n, cells)[sample].float()
    pooled = torch.zeros(cells, cells).index_add(0, cell, product) / torch.bincount(cell)[:, None]
    grid = pooled.numpy()[None]
    return Layer(
        name="rollout",
        label="rollout",
        kind="rollout",
        map=grid,
        pairs=Cells(grid) if cells == n else None,
        queries=n,
        keys=n,
        rows=_side(sides, n, last=square[0].causal),
        columns=_side(sides, n, last=square[0].causal),
        curves={"received": block_means(product.sum(0).numpy()[None]) if cells == n else grid.sum(1)},
        facts=[("followed through", f"{len(square)} layers, half around each")],
    )


def block_means(curves: NDArray[np.floating], points: int = _CURVE) -> NDArray[np.floating]:
    """Curves `[H, N]` of at most so many points, each the mean of a stretch."""
    count = curves.shape[-1]
    if count <= points:
        return curves
    starts = np.arange(points) * count // points
    return np.add.reduceat(curves, starts, axis=-1) / np.diff([*starts, count])
