"""Attention within windows as one matrix over all positions.

Models that attend within windows of a picture, or along its rows, have these in the axis of the batch or beside that of the
heads. Here they are joined: positions stand in their order in the picture, and each sees those of its window. Padding
that was added to fill windows stands behind them.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.forms import Forms
from heedful.inspection.windows import WindowBias
from heedful.ops import Documents, Global
from heedful.ops.biases import as_bias
from heedful.ops.mechanism import SCALED_DOT


class _Windows(NamedTuple):
    """How windows make up the positions of each sample.

    Attributes:
        axes: of the rows `[..., N]`, those of samples and windows.
        samples: how many.
        order: of the positions of a sample, at which place behind each other in its windows each one stands.
        size: of a window.
        padding: how many positions at the end are padding.
    """

    axes: tuple[int, ...]
    samples: int
    order: Int[Tensor, " N"]
    size: int
    padding: int


def joined(captured: CapturedCall, forms: Forms) -> CapturedCall:
    """The call as one of all positions of each sample; as it is where it has no windows, or they do not make up the whole."""
    options, lead = dict(captured.options), captured.query.shape[:-1]
    if captured.key.shape[:-1] != lead or options.get("score", SCALED_DOT) != SCALED_DOT:
        return captured
    if any(isinstance(one, Tensor) and one.dim() > 3 for one in (options.get("scale"), options.get("sinks"))):
        return captured
    windows = _windows(forms, captured.query if captured.rows is None else captured.rows, lead)
    if windows is None:
        return captured
    of_keys = _windows(forms, captured.key, lead)
    if of_keys is not None and not torch.equal(of_keys.order, windows.order):
        return captured
    groups = windows.order // windows.size
    options |= {"pattern": Documents(groups), "bias": _bias(captured, windows)}
    note = f"{len(groups) // windows.size} windows of {windows.size:,} positions, joined"
    if windows.padding:
        note += f"; the last {windows.padding:,} positions are padding"
    value, output = (None if one is None else _of_positions(one, windows) for one in (captured.value, captured.output))
    query, key = (_of_positions(one, windows) for one in (captured.query, captured.key))
    return replace(
        captured, query=query, key=key, value=value, output=output, options=options, kind=captured.kind or "self",
        notes=(*captured.notes, note),
    )  # fmt: skip


def has_windows(forms: Forms, weights: Float[Tensor, "... n m"] | None) -> bool:
    """Whether the rows of weights are of windows that make up the whole."""
    return weights is not None and _windows(forms, weights, weights.shape[:-1]) is not None


def _windows(forms: Forms, rows: Tensor, lead: torch.Size) -> _Windows | None:
    """What windows there are: the axis of the features is one along which no row of a window differs from the next."""
    shape, size = forms.first_shape(rows), lead[-1]
    if shape is None or rows.shape[:-1].numel() != lead.numel() or size in _wholes(shape):
        return None
    elements = forms.origins(rows).reshape(lead)
    coordinates = torch.unravel_index(elements.clamp_min(0), shape)
    axes = range(1, len(shape))
    features = [a for a in axes if bool(((coordinates[a] == coordinates[a][..., :1]) | (elements < 0)).all())]
    found = (_made_of(elements, coordinates, shape, one) for one in features[::-1])
    return next((windows for windows in found if windows is not None), None)


def _wholes(shape: torch.Size) -> tuple[int, ...]:
    """How many positions a sample may have: its features are the last axis, or of a picture the one after the samples."""
    return (shape[1:-1].numel(), *((shape[2:].numel(),) if len(shape) > 3 else ()))


def _made_of(
    elements: Int[Tensor, "... n"], coordinates: Sequence[Tensor], shape: torch.Size, features: int
) -> _Windows | None:
    """The windows, if they make up all positions, which are counted along the other axes, once in each sample, and all alike."""
    axes = [a for a in range(1, len(shape)) if a != features]
    count, samples, size = prod(shape[a] for a in axes), shape[0], elements.shape[-1]
    position = torch.zeros_like(elements)
    for axis in axes:
        position = position * shape[axis] + coordinates[axis]
    position = (position + coordinates[0] * count).masked_fill(elements < 0, -1)
    lead = range(elements.dim() - 1)
    varying = tuple(a for a in lead if bool((position != position.narrow(a, 0, 1)).any()))
    other = [a for a in lead if a not in varying]
    heads = [elements.shape[a] for a in other if a > 0]
    if not heads or (prod(heads) == 1 and len(shape) > 3 and features != 1):  # its windows may be heads
        return None
    position = position.permute(*other, *varying, -1).flatten(0, len(other) - 1)[0]
    if position.numel() <= samples * size or position.numel() % samples:
        return None
    position = position.reshape(samples, -1)
    place = torch.where(position < 0, position, position - torch.arange(samples)[:, None] * count)
    padding = place[0] < 0
    whole = torch.equal(place[0][~padding].sort().values, torch.arange(count))
    if not whole or bool((place != place[0]).any()):
        return None
    place = place[0].masked_scatter(padding, torch.arange(count, count + int(padding.sum())))
    return _Windows(varying, samples, place.argsort(), size, int(padding.sum()))


def _by_window(tensor: Tensor, windows: _Windows, axes: int) -> Tensor:
    """`[..., n, *]` as `[samples, *other axes, W, n, *]`; `axes` is how many there are before n."""
    other = [a for a in range(axes) if a not in windows.axes]
    tensor = tensor.permute(*windows.axes, *other, *range(axes, tensor.dim()))
    tensor = tensor.reshape(windows.samples, -1, *tensor.shape[len(windows.axes) :])
    return tensor.movedim(1, 1 + len(other))


def _of_positions(tensor: Tensor, windows: _Windows) -> Tensor:
    """`[..., n, D]` as `[samples, H, N, D]`."""
    axes = tensor.dim() - 2
    rows = _by_window(tensor.detach(), windows, axes).flatten(-3, -2)
    rows = rows.reshape(windows.samples, -1, *rows.shape[-2:])
    return rows.index_select(-2, windows.order.to(rows.device))


def _bias(captured: CapturedCall, windows: _Windows) -> WindowBias | None:
    """What is added to the scores within each window, and what is masked there."""
    options: dict[str, Any] = captured.options
    pattern, bias = options.get("pattern", Global()), options.get("bias")
    shape = (*captured.query.shape[:-1], captured.key.shape[-2])
    rows, columns = torch.arange(shape[-2])[:, None], torch.arange(shape[-1])[None]
    table = None if bias is None else as_bias(bias).at(rows, columns, shape).detach()
    if pattern.masks_any(shape):
        allowed = pattern.allowed(rows, columns, shape)
        table = torch.zeros((), device=allowed.device) if table is None else table
        table = torch.where(allowed, table, -torch.inf)
    if table is None:
        return None
    table = table.reshape((1,) * (len(shape) - table.dim()) + table.shape)
    axes = len(shape) - 2
    if all(table.shape[a] == 1 for a in windows.axes):
        other = [a for a in range(axes) if a not in windows.axes]
        table = table.permute(*other, *windows.axes, -2, -1).reshape(-1, 1, *table.shape[-2:])
    else:
        sizes = [shape[a] if a in windows.axes else table.shape[a] for a in range(axes)]
        table = _by_window(table.expand(*sizes, *table.shape[-2:]), windows, axes)
        table = table.reshape(windows.samples, -1, *table.shape[-3:])
    return WindowBias(table, windows.order // windows.size, windows.order % windows.size)
