"""What people say of the axes, axes or plain tokens, as the axes of one sample."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful._types import Tensor
from heedful.inspection.calls import AttentionCall
from heedful.inspection.tokens import Token, is_row, numbered, token_rows
from heedful.report.axes import Axis, Text

AxisInput = Axis | Tensor | NDArray[Any] | Sequence[Any]
"""An axis or tokens, or several of them in a list."""


class TokenAxis(NamedTuple):
    """Tokens along an axis.

    Attributes:
        axis: as the page shows them.
        ids: one for each; None where the axis is no text.
        vocabulary: the id of each string; None where the tokens were ids.
    """

    axis: Axis
    ids: list[int] | None
    vocabulary: Mapping[str, int] | None


def read_axes(axes: AxisInput, calls: Sequence[AttentionCall], sample: int) -> list[Axis]:
    """The axes that somebody names: one, or several in a list.

    Args:
        axes: each an `Axis`, or tokens as `heedful.inspection.tokens` reads them. A flat list of tokens is one axis.
        calls: of which some query or key axis must have as many positions.
        sample: which one of tokens that are given for a batch.

    Raises:
        TypeError: it is something else.
        ValueError: tokens are nested too deep, or an axis has more or fewer positions than all queries and keys.
    """
    if _is_one(axes):
        return [_read("axes", axes, calls, sample).axis]
    if isinstance(axes, str | bytes):
        token_rows("axes", axes)  # which refuses it
    if not isinstance(axes, Sequence):
        raise TypeError(f"`axes` must be a list of axes or of tokens: got {axes!r:.60}.")
    return [_read(f"axes[{index}]", axis, calls, sample).axis for index, axis in enumerate(axes)]


def read_tokens(tokens: AxisInput | None, calls: Sequence[AttentionCall], sample: int) -> list[TokenAxis]:
    """The tokens that somebody names: strings or ids, one `Axis` or several.

    Raises:
        TypeError: they are something else.
        ValueError: they are nested too deep, or more or fewer than all queries and keys.
    """
    if tokens is None:
        return []
    if isinstance(tokens, Sequence) and len(tokens) > 0 and isinstance(tokens[0], Axis):
        return [_read(f"tokens[{index}]", axis, calls, sample) for index, axis in enumerate(tokens)]
    return [_read("tokens", tokens, calls, sample)]


def is_of_batch(axes: AxisInput, tokens: AxisInput | None, batch: int) -> bool:
    """Whether what is said of the axes is said of each sample of a batch: lists of tokens, one for each and equally long."""
    given = [] if tokens is None else [tokens]
    if _is_one(axes) or not isinstance(axes, Sequence):
        given.append(axes)
    else:
        given += axes
    for value in given:
        if isinstance(value, Axis | str | bytes) or not hasattr(value, "__len__") or len(value) != batch:
            return False
        if is_row(value) or len({len(row) for row in value if hasattr(row, "__len__")}) != 1:
            return False
    return True


def fitting(axes: Iterable[Axis], calls: Sequence[AttentionCall]) -> list[Axis]:
    """Those axes that have as many positions as the queries or the keys of some call."""
    counts = _counts(calls)
    return [axis for axis in axes if axis.count is None or axis.count in counts]


def _read(location: str, value: Any, calls: Sequence[AttentionCall], sample: int) -> TokenAxis:
    if isinstance(value, Axis):
        row: Sequence[Token] = value.tokens if isinstance(value, Text) else ()
        read = _numbered(value, row) if len(row) else TokenAxis(value, None, None)
    else:
        row = _of_sample(location, token_rows(location, value).rows, calls, sample)
        padding = [index for index, token in enumerate(row) if isinstance(token, int) and token < 0]
        read = _numbered(Text([str(token) for token in row], special=padding), row)
    counts = _counts(calls)
    if read.axis.count is not None and read.axis.count not in counts:
        listed = " or ".join(map(str, sorted(counts)))
        raise ValueError(
            f"`{location}` must have as many positions as the queries or keys of a call, {listed}: got {read.axis.count}."
        )
    return read


def _numbered(axis: Axis, row: Sequence[Token]) -> TokenAxis:
    ids, vocabulary = numbered([row])
    return TokenAxis(axis, ids[0], vocabulary)


def _of_sample(
    location: str, rows: Sequence[Sequence[Token]], calls: Sequence[AttentionCall], sample: int
) -> Sequence[Token]:
    """The tokens of one sample; one list stands for all."""
    if len(rows) == 1:
        return rows[0]
    batches = sorted({math.prod(call.shape[:-3]) for call in calls})
    if len(rows) not in batches:
        listed = " or ".join(map(str, batches))
        raise ValueError(
            f"`{location}` must be one list of tokens, or one for each of a batch of {listed}: got {len(rows)}."
        )
    return rows[sample]


def _counts(calls: Sequence[AttentionCall]) -> set[int]:
    return {count for call in calls for count in call.shape[-2:]}


def _is_one(axes: AxisInput) -> bool:
    """Whether it is one axis and no list of axes."""
    if isinstance(axes, Axis | Tensor | np.ndarray):
        return True
    return is_row(axes) and not isinstance(axes[0], Axis)
