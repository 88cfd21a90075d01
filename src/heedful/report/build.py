"""From the calls of a model to a section of a report: one pass over each matrix, and nothing N x N."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from heedful._checks import Shape
from heedful._types import Bool, Int, Tensor
from heedful.inspection.calls import AttentionCall, chains, num_heads
from heedful.inspection.head_statistics import compute, head_statistics, is_cross
from heedful.inspection.heads import THRESHOLDS, HeadKind, classified
from heedful.inspection.joined import whole_calls
from heedful.inspection.rollout import rollout
from heedful.inspection.tokens import Token, separator_ids
from heedful.ops import Statistic, statistics
from heedful.ops.summaries import top_of
from heedful.report.attention import AttentionSection, Layer
from heedful.report.axes import Axis, Picture, Positions, Text
from heedful.report.budget import COARSEST, Parts, exact_bytes, exact_kind, exact_weights, parts_of
from heedful.report.cells import cell_starts, cells_of, cuts_of
from heedful.report.pair_weights import Dense, TopWeights, WholeRows
from heedful.report.read_axes import AxisInput, TokenAxis, is_of_batch, read_axes, read_tokens

DEFAULT_BUDGET = 8_000_000  # bytes of numbers in a file, before they are written as text
EXACT_BUDGET = 15_000_000  # and where every pair fits into them
_MOST_SAMPLES = 16  # of a batch, in one section
_WHOLE = 512  # positions up to which a rollout has a cell for each pair
_ROLLOUT = 128  # cells of its map above


def attention_section(
    calls: Sequence[AttentionCall],
    *,
    title: str,
    text: str = "",
    axes: AxisInput = (),
    tokens: AxisInput | None = None,
    separators: Sequence[Token] | None = None,
    sample: int | None = None,
    budget: int | None = None,
) -> AttentionSection:
    """The attention of a model on one input, or on each of a batch, as a section.

    Args:
        calls: a recording, or some of its calls; those of a generation are joined.
        title: the heading.
        text: one or two sentences below it.
        axes: what stands along the axes: `Axis` values, or lists of strings or token ids. The first that has as many
            positions as an axis is taken for keys and for queries, the last that has for the queries of cross- and causal
            attention and the keys of the latter.
        tokens: strings or ids, of one sample or of the whole batch, or axes. They tell the kinds of heads that go by tokens,
            and stand along each axis of their length for which `axes` has nothing.
        separators: which tokens are separators.
        sample: which one of a batch; None: the first, and the others beside it to choose from, up to 16, where every pair of
            all of them fits into the file, and tokens, if there are any, are those of a batch.
        budget: bytes of numbers in a file: they say whether every pair of a layer is stored, or the largest of each row. By
            default 8 million, or 15 million where every pair of every layer fits into them.

    Raises:
        TypeError: `axes` or `tokens` are something else.
        ValueError: there is no call, `sample` is not of the batch, or an axis has the length of none.
    """
    if not len(calls):
        raise ValueError("`calls` must hold at least one call of attention: got none.")
    calls = whole_calls(calls)
    samples = [sample or 0] if sample is not None else _samples(calls, axes, tokens, budget)
    sections = [_section(calls, title, text, axes, tokens, separators, one, budget) for one in samples]
    return replace(sections[0], samples=sections[1:])


def _samples(
    calls: Sequence[AttentionCall], axes: AxisInput, tokens: AxisInput | None, budget: int | None
) -> Sequence[int]:
    """The first sample, and the others where all of them fit into a file and what stands along their axes is known."""
    batches = {math.prod(call.shape[:-3]) for call in calls}
    most = min(max(batches), _MOST_SAMPLES)
    fits = most * sum(exact_bytes(call.matrix) for call in calls) <= (EXACT_BUDGET if budget is None else budget)
    return range(most) if fits and len(batches) == 1 and is_of_batch(axes, tokens, max(batches)) else [0]


def _section(
    calls: Sequence[AttentionCall],
    title: str,
    text: str,
    axes: AxisInput,
    tokens: AxisInput | None,
    separators: Sequence[Token] | None,
    sample: int,
    budget: int | None,
) -> AttentionSection:
    """One sample as a section."""
    for call in calls:
        batch = math.prod(call.shape[:-3])
        if not 0 <= sample < batch:
            raise ValueError(f"`sample` must be from 0 to {batch - 1}, of the batch of {call.module!r}: got {sample}.")
    every_axis, token_axes = read_axes(axes, calls, sample), read_tokens(tokens, calls, sample)
    for axis, *_ in token_axes:
        if not any(other.count in (None, axis.count) for other in every_axis):
            every_axis.append(axis)
    cross = {call.module for call in calls if call.kind == "cross"}
    if budget is None:
        budget = EXACT_BUDGET if sum(exact_bytes(call.matrix) for call in calls) <= EXACT_BUDGET else DEFAULT_BUDGET
    rows = sum(num_heads(call.matrix) * call.shape[-2] for call in calls)
    layers = []
    for call, label in zip(calls, _labels(calls), strict=True):
        crosses = is_cross(call.module, call.matrix, cross)
        ids, marks = (None, None) if crosses else _tokens_of(call, token_axes, separators)
        share = budget * num_heads(call.matrix) * call.shape[-2] / rows
        with torch.no_grad():
            layers.append(_layer(call, label, crosses, ids, marks, every_axis, sample, share))
    followed = [chain for chain in chains(calls) if len(chain) > 1 and len({call.shape for call in chain}) == 1]
    layers += [_rollout(chain, _chain_label(chain, followed), every_axis, sample) for chain in followed]
    batch = max(math.prod(call.shape[:-3]) for call in calls)
    if batch > 1:
        text = f"{text} Sample {sample} of a batch of {batch}, from 0.".strip()
    first = next((layer for layer in layers if layer.nan), None)
    if first is not None:
        text = f"{text} NaN begins in {first.label} ({first.name}): {first.nan}.".strip()
    across = [i for i, layer in enumerate(layers) if layer.kind == "cross" and isinstance(every_axis[layer.rows], Text)]
    opens = {"view": "input", "layer": str(across[-1])} if across else {}
    return AttentionSection(title, text, layers, every_axis, opens=opens)


def _tokens_of(
    call: AttentionCall, token_axes: Sequence[TokenAxis], separators: Sequence[Token] | None
) -> tuple[Int[Tensor, " M"] | None, list[int] | None]:
    """The ids of the keys of a call, and which of them are separators."""
    for _, ids, vocabulary in token_axes:
        if ids is not None and len(ids) == call.shape[-1]:
            return torch.tensor(ids), separator_ids(separators, vocabulary)
    return None, None


def _layer(
    call: AttentionCall,
    label: str,
    crosses: bool,
    tokens: Tensor | None,
    separators: Sequence[int] | None,
    axes: list[Axis],
    sample: int,
    share: float,
) -> Layer:
    """A call, in at most a share of the file."""
    A, heads = call.matrix, num_heads(call.matrix)
    queries, keys = A.shape[-2:]
    last = call.causal or call.kind == "cross"
    if call.kind == "channel":
        rows = columns = _channels_index(axes, queries)
    else:
        rows = _axis_index(axes, queries, last=last) if call.grid is None else _picture_index(axes, call.grid)
        of_keys = None if call.grid is None else _key_grid(call.grid, keys)
        last = call.causal and call.kind != "cross"
        columns = _axis_index(axes, keys, last=last) if of_keys is None else _picture_index(axes, of_keys)
    cuts = [cuts_of(axes[index]) for index in (rows, columns)]
    exact, alone = exact_kind(A, share), _alone(cuts[0], queries)
    parts = Parts(COARSEST, 0, 0) if exact else parts_of(heads, queries, keys, share, len(alone))
    row_starts, column_starts = cell_starts(queries, parts.cells, cuts[0]), cell_starts(keys, parts.cells, cuts[1])
    of_heads = head_statistics(A, tokens, separators, crosses=crosses)
    values = compute(A, {**of_heads.statistics, **_statistics(A.shape, row_starts, column_starts, parts.top)})
    kinds = classified(call.module, heads, of_heads.scores(values, slice(sample, sample + 1)))
    numbers = {name: t.reshape(-1, heads, *t.shape[-2:])[sample].float().cpu() for name, t in values.items()}
    if "near" in numbers:  # which begins with the first key
        numbers["first"] = numbers["near"][..., :1]
    top = top_of(numbers["top"])
    numbers["largest"] = top.values[..., :1]
    return Layer(
        name=call.module or "(outside)",
        label=label,
        kind=call.kind,
        map=(numbers["map"] / row_starts.diff()[:, None]).numpy(),
        pairs=exact_weights(A, exact, sample) if exact else TopWeights(top.indices.numpy(), top.values.numpy()),
        queries=queries,
        keys=keys,
        rows=rows,
        columns=columns,
        numbers=_numbers(numbers, kinds),
        kinds=[k.kind for k in kinds],
        curves={name: numbers[name][..., 0].numpy() for name in ("received", "entropy") if name in numbers},
        facts=_facts(call),
        nan=_nan_words(~numbers["largest"][..., 0].isfinite()),
        whole_rows=_whole_rows(A[..., alone[: parts.whole_rows], :], alone, sample) if parts.whole_rows else None,
        row_starts=row_starts.tolist(),
        column_starts=column_starts.tolist(),
    )


def _nan_words(found: Bool[Tensor, "H N"]) -> str:
    """Which heads and rows hold what is not a number."""
    heads, queries = (_ranges(found.any(axis).nonzero()[:, 0].tolist()) for axis in (1, 0))
    return f"heads {heads}, queries {queries}" if heads else ""


def _ranges(numbers: Sequence[int], most: int = 8) -> str:
    """Rising numbers in words, the first ranges of many."""
    starts = [at for at, number in enumerate(numbers) if at == 0 or numbers[at - 1] != number - 1]
    runs = pairwise([*starts, len(numbers)])
    words = [str(numbers[a]) if b - a == 1 else f"{numbers[a]} to {numbers[b - 1]}" for a, b in runs]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more ranges" if len(words) > most else "")


def _alone(cuts: Sequence[int], count: int) -> list[int]:
    """The positions that have a cell of their own at any size."""
    return [cut for cut, after in pairwise(cuts) if after == cut + 1 and cut < count]


def _whole_rows(rows: Tensor, queries: Sequence[int], sample: int) -> WholeRows:
    """Rows `[..., H, S, M]` of the first of some queries, of one sample."""
    count, keys = rows.shape[-2:]
    heads = rows.shape[-3] if rows.dim() > 2 else 1
    return WholeRows(list(queries[:count]), rows.reshape(-1, heads, count, keys)[sample].float().cpu().numpy())


def _statistics(shape: Shape, row_starts: Tensor, column_starts: Tensor, most_top: int) -> dict[str, Statistic]:
    """What is computed of a matrix beside the kinds of its heads."""
    queries, keys = shape[-2:]
    row_cell, column_cell = cells_of(row_starts), cells_of(column_starts)
    requested = {
        "top": statistics.topk(shape, max(most_top, 1)),
        "received": statistics.received(shape, row_cell),
        "map": statistics.pool(shape, row_cell, column_cell, (len(row_starts) - 1, len(column_starts) - 1)),
    }
    if queries == keys:
        positions = torch.arange(keys, dtype=torch.float64)[:, None]
        requested["distance"] = statistics.distance(shape, positions, positions)
    return requested


def _numbers(values: Mapping[str, Tensor], kinds: Sequence[HeadKind]) -> dict[str, list[float]]:
    """The numbers of each head."""
    means = ("entropy", "largest", "first", "distance")
    numbers = {name: values[name][..., 0].mean(-1).tolist() for name in means if name in values}
    numbers["received"] = (values["received"][..., 0].amax(-1) / values["largest"].shape[-2]).tolist()
    for name in THRESHOLDS:
        if name not in numbers:
            scores = (kind.scores[name] for kind in kinds)
            numbers[name] = [math.nan if score is None else min(max(score, 0.0), 1.0) for score in scores]
    return numbers


def _labels(calls: Sequence[AttentionCall]) -> list[str]:
    """Names of the calls, each another: "layer 2"; "decoder 0 self", "decoder 0 cross"; "layer 2, block 1"; "layer 2, step 1"."""
    labels = _numbered([call.module for call in calls])
    differences = (
        [f" {call.kind}" for call in calls],
        [_within(call.module) for call in calls],
        [f", step {call.step}" for call in calls],
    )
    for words in differences:
        told = {label: {w for one, w in zip(labels, words, strict=True) if one == label} for label in labels}
        labels = [label + (w if len(told[label]) > 1 else "") for label, w in zip(labels, words, strict=True)]
    before = [labels[:index].count(label) for index, label in enumerate(labels)]
    return [
        f"{label}, call {count}" if labels.count(label) > 1 else label
        for label, count in zip(labels, before, strict=True)
    ]


def _within(module: str) -> str:
    """Where a module stands in its layer: ", block 1" of "layers.0.blocks.1.attention"."""
    parts = re.findall(r"([^.]+)\.(\d+)(?=\.|$)", module)[1:]
    return "".join(f", {name.removesuffix('s')} {number}" for name, number in parts)


def _numbered(modules: Sequence[str]) -> list[str]:
    """The number of each layer, with the name of its stack where there are several: "layer 2", "decoder 0"."""
    split = [re.match(r"((?:[^.]*\.)*?)(\d+)(?:\.|$)", module) for module in modules]
    stacks = [match[1].strip(".").split(".") if match else [] for match in split]
    numbered = {tuple(stack) for stack, match in zip(stacks, split, strict=True) if match}
    start, stop = _shared(numbered), _shared({stack[::-1] for stack in numbered})
    labels = []
    for module, stack, match in zip(modules, stacks, split, strict=True):
        own = ".".join(stack[start : len(stack) - stop]) if len(numbered) > 1 else "layer"
        labels.append(f"{own or '.'.join(stack)} {match[2]}" if match else module or "(outside)")
    return labels


def _shared(stacks: Collection[Sequence[str]]) -> int:
    """How many parts all names begin with."""
    unlike = (i for i, parts in enumerate(zip(*stacks, strict=False)) if len(set(parts)) > 1)
    return next(unlike, min(map(len, stacks), default=0))


def _facts(call: AttentionCall) -> list[tuple[str, str | int | float]]:
    facts: list[tuple[str, str | int | float]] = [("computed by", call.engine)]
    if call.causal:
        facts.append(("causal", "yes"))
    if call.window:
        facts.append(("window", call.window))
    return facts + [("note", note) for note in call.notes]


def _axis_index(axes: list[Axis], count: int, *, last: bool) -> int:
    """Which axis stands where there are so many positions; bare positions where none has as many."""
    fitting = [i for i, axis in enumerate(axes) if axis.count in (None, count)]
    if not fitting:
        axes.append(Positions(count))
        return len(axes) - 1
    return fitting[-1] if last else fitting[0]


def _channels_index(axes: list[Axis], count: int) -> int:
    """Which axis stands for so many channels: never that of a picture that happens to have as many places."""
    fitting = [i for i, axis in enumerate(axes) if isinstance(axis, Positions) and axis.count == count]
    if not fitting:
        axes.append(Positions(count, name="channels"))
    return fitting[0] if fitting else len(axes) - 1


def _key_grid(grid: tuple[int, int], keys: int) -> tuple[int, int] | None:
    """Rows and columns of keys that are the places of a grid, or so many places by so many of it, pooled; None if they are none."""
    pooled = ((-(-grid[0] // size), -(-grid[1] // size)) for size in range(1, max(grid) + 1))
    return next((one for one in pooled if math.prod(one) == keys), None)


def _picture_index(axes: list[Axis], grid: tuple[int, int]) -> int:
    """Which axis stands for the places of a feature map: where none does, the picture that there is, or a gray one."""
    fitting = [i for i, axis in enumerate(axes) if axis.count == math.prod(grid) and not isinstance(axis, Positions)]
    if not fitting:
        pixels = next((axis.pixels for axis in axes if isinstance(axis, Picture)), None)
        axes.append(Picture(np.full((8 * grid[0], 8 * grid[1]), 224, np.uint8) if pixels is None else pixels, grid))
    return fitting[0] if fitting else len(axes) - 1


def _chain_label(chain: Sequence[AttentionCall], all_chains: Sequence[Sequence[AttentionCall]]) -> str:
    """The stack and the step of a rollout, so far as others differ in it."""
    step = f" in step {chain[0].step}" if len({one[0].step for one in all_chains}) > 1 else ""
    stack = f" of {chain[0].stack}" if len({one[0].stack for one in all_chains}) > 1 and chain[0].stack else ""
    alike = sum((one[0].stack, one[0].step) == (chain[0].stack, chain[0].step) for one in all_chains) > 1
    size = f", {chain[0].matrix.shape[-1]:,} positions" if alike else ""
    return f"rollout{stack}{step}{size}"


def _rollout(square: Sequence[AttentionCall], label: str, axes: list[Axis], sample: int) -> Layer:
    """Attention followed through the layers of a stack: as one more layer, of one head."""
    n, axis = square[0].matrix.shape[-1], _axis_index(axes, square[0].matrix.shape[-1], last=square[0].causal)
    cuts = cuts_of(axes[axis])
    starts = cell_starts(n, n if n <= _WHOLE else _ROLLOUT, cuts)
    cell, is_whole, alone = cells_of(starts), len(starts) > n, _alone(cuts, n)
    R = rollout([call.matrix for call in square])
    product = (R @ torch.nn.functional.one_hot(cell).float()).reshape(-1, n, len(starts) - 1)[sample].float()
    pooled = torch.zeros(len(starts) - 1, len(starts) - 1).index_add(0, cell, product) / starts.diff()[:, None]
    grid = pooled.numpy()[None]
    received = product.sum(0) if is_whole else (R.T @ torch.ones(n, 1)).reshape(-1, n)[sample].float()
    return Layer(
        name=label,
        label=label,
        kind="rollout",
        map=grid,
        pairs=Dense(grid) if is_whole else None,
        queries=n,
        keys=n,
        rows=axis,
        columns=axis,
        curves={"received": received.numpy()[None]},
        facts=[("followed through", f"{len(square)} layers, half around each")],
        nan=_nan_words(~product.sum(-1)[None].isfinite()),
        whole_rows=None if is_whole or not alone else _whole_rows(R.rows(alone).unsqueeze(-3), alone, sample),
        row_starts=starts.tolist(),
        column_starts=starts.tolist(),
    )
