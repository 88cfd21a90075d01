"""The calls of a generation as one: prompt and steps are the rows of one matrix, over all keys that there were."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from heedful._types import Int, Tensor
from heedful.inspection.cached import CachedCalls, CallSpan
from heedful.inspection.calls import AttentionCall
from heedful.inspection.masks import CallablePattern, reach, read_function
from heedful.ops import AttentionMatrix, Mask
from heedful.ops._tree import Value
from heedful.ops.biases import ALiBi, Bias, RelativeBias

_LARGEST = 2**31  # bytes of the numbers that are added to the scores
_MASK = 2**26  # pairs of a mask that is kept as numbers
_EQUAL = ("score", "normalize", "scale", "softcap", "sinks")


def sequences(calls: Iterable[AttentionCall]) -> list[list[AttentionCall]]:
    """The calls that go on with each other's keys, together; each of the others by itself. In the order of the first ones."""
    found: dict[int, list[AttentionCall]] = {}
    for index, call in enumerate(calls):
        found.setdefault(-1 - index if call.cached is None else id(call.cached.calls), []).append(call)
    return list(found.values())


def whole_calls(calls: Iterable[AttentionCall]) -> list[AttentionCall]:
    """Each sequence of calls as one call; those that cannot be joined stay as they are."""
    calls = list(calls)
    moved = moved_samples(calls)
    whole = []
    for sequence in sequences(calls):
        try:
            whole.append(joined_call(sequence, moved))
        except ValueError:
            whole += sequence
    return whole


def moved_samples(calls: Iterable[AttentionCall]) -> dict[int, Tensor]:
    """With the keys of which samples the self-attention of a forward pass goes on, where that is not with its own.

    Its last layer says it: the keys of the first ones are the same in two samples that wrote the same from different sources.
    """
    last = {
        call.step: call.cached.calls.spans[call.cached.number].parents
        for call in calls
        if call.cached is not None and call.kind == "self"
    }
    return {step: parents for step, parents in last.items() if parents is not None}


def joined_call(calls: Sequence[AttentionCall], moved: Mapping[int, Tensor] | None = None) -> AttentionCall:
    """The calls of one sequence as one; a single call as it is.

    The samples are those of the last call; each has the queries and keys of its parents.

    Args:
        calls: all of them, in order.
        moved: for each forward pass of a beam search with the keys of which samples it goes on. The keys of an encoder, which
            are the same for all beams of a text, do not tell it.

    Raises:
        ValueError: they are some calls of a sequence only, their mechanisms differ, or what is added to their scores is too large.
    """
    if len(calls) == 1 and (calls[0].cached is None or len(calls[0].cached.calls.spans) == 1):
        return calls[0]
    first = calls[0]
    assert first.cached is not None
    sequence = first.cached.calls
    if [call.cached.number for call in calls if call.cached] != list(range(len(sequence.spans))):
        raise ValueError(
            f"calls of {first.module!r} must be joined from the first to the last: got {len(calls)} of {len(sequence.spans)}."
        )
    if first.kind == "cross" and moved:
        sequence = _of_beams(calls, [moved.get(call.step) for call in calls])
    parts = [_Part(call, sequence, number) for number, call in enumerate(calls)]
    query, key = sequence.whole()
    mechanism = parts[0].matrix.mechanism
    for part in parts[1:]:
        for name in _EQUAL:
            if not _equal(getattr(mechanism, name), getattr(part.matrix.mechanism, name)):
                raise ValueError(
                    f"calls of {first.module!r} that are joined must have the same `{name}`: step {part.step} has another."
                )
    size = query.shape[-2], key.shape[-2]
    bias = _bias(parts, size)
    pattern, _ = read_function(
        functools.partial(_visible, parts, size[1]), (*_lead(parts, _allowed), *size), torch.device("cpu")
    )
    if isinstance(pattern, CallablePattern) and query.shape[0] * size[0] * size[1] <= _MASK:
        pattern = Mask(pattern.rows(torch.arange(size[0])))
    options = {name: getattr(mechanism, name) for name in _EQUAL}
    matrix = AttentionMatrix(query, key, pattern=pattern, bias=bias, **options)
    causal, window = reach(pattern, matrix.shape)
    causal = causal or (first.kind == "self" and all(call.causal for call in calls))
    counts = Counter(note for call in calls for note in call.notes)
    notes = dict.fromkeys([*first.notes, *(note for note, count in counts.items() if count > 1)])
    notes[f"{len(calls)} calls of a generation, joined"] = None
    return dataclasses.replace(first, matrix=matrix, causal=causal, window=window, notes=tuple(notes))


class _Part:
    """One call, and where it stands in the whole matrix.

    Attributes:
        matrix: of the call.
        step: its forward pass.
        rows: its first row, and the one behind its last.
        columns: its first key, and the one behind its last.
        samples: which of its samples each sample of the last call goes back to.
    """

    def __init__(self, call: AttentionCall, sequence: CachedCalls, number: int) -> None:
        span = sequence.spans[number]
        self.matrix, self.step, self.rows, self.columns = call.matrix, call.step, span.queries, span.keys
        of_each = span.samples // (
            self.matrix.shape[0] if len(self.matrix.shape) > 3 else 1
        )  # beams that are queries of one
        self.samples = sequence.samples_at(number) // of_each

    def of_samples(self, tensor: Tensor) -> Tensor:
        """Numbers that broadcast to the call's matrix, for the samples of the last call."""
        return tensor[self.samples] if tensor.dim() == 4 and len(tensor) > 1 else tensor


def _of_beams(calls: Sequence[AttentionCall], parents: Sequence[Int[Tensor, " B"] | None]) -> CachedCalls:
    """Calls on the keys of an encoder, with the beams that go on with each other as samples, one query each.

    The beams of a text may be samples already, or several queries of one.
    """
    sequence = calls[0].cached.calls  # type: ignore[union-attr]
    spans: list[CallSpan] = []
    queries = [call.matrix.query for call in calls]
    if any(query.shape[-2] > 1 for query in queries[1:]):
        if queries[0].shape[-2] > 1:
            raise ValueError(
                f"calls of {calls[0].module!r} cannot be joined: it cannot be told which of their queries are beams."
            )
        rows = [query.transpose(1, 2).flatten(0, 1) for query in queries]  # [samples x beams, H, D]
        whole = rows[0].new_zeros(max(map(len, rows)), rows[0].shape[1], len(rows), rows[0].shape[2])
        for step, row in enumerate(rows):
            whole[: len(row), :, step] = row
        own = [
            span._replace(samples=len(row), queries=(step, step + 1))
            for step, (span, row) in enumerate(zip(sequence.spans, rows, strict=True))
        ]
    else:
        whole, own = sequence.query, sequence.spans
    for span, moved in zip(own, parents, strict=True):
        fits = spans and moved is not None and len(moved) == span.samples and int(moved.max()) < spans[-1].samples
        spans.append(span._replace(parents=moved if fits else None))
    return CachedCalls.of(whole, sequence.key, spans)


def _allowed(part: _Part, rows: Tensor) -> Tensor:
    """What some rows of a call see, `[..., n, M]` of its keys."""
    columns = torch.arange(part.columns[1] - part.columns[0])
    return part.of_samples(part.matrix.pattern.allowed(rows[:, None], columns[None], part.matrix.shape))


def _added(part: _Part, rows: Tensor) -> Tensor:
    """What is added to the scores of some rows of a call."""
    columns = torch.arange(part.columns[1] - part.columns[0])
    bias = part.matrix.bias
    return (
        torch.zeros(1, 1) if bias is None else part.of_samples(bias.at(rows[:, None], columns[None], part.matrix.shape))
    )


def _lead(parts: Sequence[_Part], function: Callable[[_Part, Tensor], Tensor]) -> tuple[int, ...]:
    """The axes before the last two of what a function gives for all calls."""
    return tuple(
        torch.broadcast_shapes(*{function(part, torch.zeros(1, dtype=torch.long)).shape[:-2] for part in parts})
    )


def _visible(parts: Sequence[_Part], keys: int, rows: Int[Tensor, " n"]) -> Tensor:
    """What some rows of the whole matrix see; the rows stand in rising order."""
    visible = torch.zeros(*_lead(parts, _allowed), len(rows), keys, dtype=torch.bool)
    _fill(visible, parts, rows, _allowed)
    return visible


def _fill(whole: Tensor, parts: Sequence[_Part], rows: Tensor, function: Callable[[_Part, Tensor], Tensor]) -> None:
    """Puts what a function gives for some rows of each call where it belongs."""
    bounds = torch.tensor([part.rows[0] for part in parts] + [parts[-1].rows[1]])
    starts = torch.searchsorted(rows, bounds).tolist()
    for part, start, stop in zip(parts, starts, starts[1:], strict=False):
        if start < stop:
            whole[..., start:stop, slice(*part.columns)] = function(part, rows[start:stop] - part.rows[0])


def _bias(parts: Sequence[_Part], size: tuple[int, int]) -> Bias | Tensor | None:
    """What is added to the scores: by distance, where it is that in each call; else as numbers."""
    biases = [part.matrix.bias for part in parts]
    if all(bias is None for bias in biases):
        return None
    last = biases[-1]
    if (
        isinstance(last, ALiBi | RelativeBias)
        and all(type(bias) is type(last) for bias in biases)
        and size[0] == size[1]
    ):
        aligned = dataclasses.replace(last, align=None)
        if all(_is_part(aligned, part, size) for part in parts):
            return aligned
    lead = _lead(parts, _added)
    dtype = functools.reduce(
        torch.promote_types, {_added(part, torch.zeros(1, dtype=torch.long)).dtype for part in parts}
    )
    count = torch.Size(lead).numel() * size[0] * size[1]
    if count * dtype.itemsize > _LARGEST:
        raise ValueError(
            f"what is added to the scores must take at most {_LARGEST:,} bytes, joined: got {count * dtype.itemsize:,}."
        )
    numbers = torch.zeros(*lead, *size, dtype=dtype)
    _fill(numbers, parts, torch.arange(size[0]), _added)
    return numbers


def _is_part(bias: Bias, part: _Part, size: tuple[int, int]) -> bool:
    """Whether a bias of the whole matrix gives what that of a call gives."""
    rows, columns = (torch.arange(*bounds) for bounds in (part.rows, part.columns))
    lead = part.matrix.shape[:-2]
    return torch.equal(bias.at(rows[:, None], columns[None], (*lead, *size)), _added(part, rows - part.rows[0]))


def _equal(a: Any, b: Any) -> bool:
    """Whether two values of a mechanism are the same, number by number."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Value) and type(a) is type(b):
        fields = [field.name for field in dataclasses.fields(a)]  # type: ignore[arg-type]
        return all(_equal(getattr(a, name), getattr(b, name)) for name in fields)
    return type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)
