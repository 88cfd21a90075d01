"""Calls that go on with a cache: of what all of them hold, each query and each key is kept once.

A call of attention whose keys begin with those that the call before it had, number by number, adds only what is new: the
growing cache of a decoder, a window that slides, the cache of a beam search whose samples change places, and the keys of an
encoder, which stay the same at each step.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.ops import AttentionMatrix

Allocate = Callable[[tuple[int, ...], torch.dtype], tuple[Tensor, Callable[[], None]]]
"""Gives memory of a shape and dtype, and what gives it back."""

_CHECKED = 8  # calls of a sequence that are all checked, behind them each of so many
_RECENT = 64  # sequences of one module with which a call may go on


class CallSpan(NamedTuple):
    """What one call has of the queries and keys of a sequence.

    Attributes:
        samples: how many there are, B.
        queries: its first query and the one behind its last.
        keys: its first key and the one behind its last.
        added: how many of its keys no call before had; they are the last.
        parents: `[B]`, with the keys of which sample of the call before each goes on; None: with its own.
    """

    samples: int
    queries: tuple[int, int]
    keys: tuple[int, int]
    added: int
    parents: Int[Tensor, " B"] | None = None


class CachedCalls:
    """The queries and keys of calls of which each goes on with the keys of the one before it.

    Sample b of the queries and keys holds what was computed for sample b.

    Attributes:
        spans: what each call has of them.

    Args:
        query: of the first call.
        key: of the first call.
        allocate: gives the memory.
    """

    def __init__(self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"], allocate: Allocate) -> None:
        self._query, self._key = _Growing(query, allocate), _Growing(key, allocate)
        samples = query.shape[0] if query.dim() > 3 else 1
        self.spans = [CallSpan(samples, (0, query.shape[-2]), (0, key.shape[-2]), key.shape[-2])]
        self._moved: int | None = None  # the first call whose samples go on with others
        self._matrices: dict[int, AttentionMatrix] = {}

    @classmethod
    def of(cls, query: Tensor, key: Tensor, spans: list[CallSpan]) -> "CachedCalls":
        """A sequence that was read from a file."""
        calls = cls.__new__(cls)
        calls._query, calls._key = _Growing.of(query), _Growing.of(key)
        calls.spans, calls._matrices = spans, {}
        calls._moved = next((i for i, span in enumerate(spans) if span.parents is not None), None)
        return calls

    @property
    def query(self) -> Float[Tensor, "... N D"]:
        """Of all calls."""
        return self._query.tensor

    @property
    def key(self) -> Float[Tensor, "... M D"]:
        """Of all calls."""
        return self._key.tensor

    def shape(self, index: int) -> tuple[int, ...]:
        """Of the matrix of a call, `(..., H, N, M)`."""
        span = self.spans[index]
        lead = (span.samples,) if self.query.dim() > 3 else ()
        sizes = (end - start for start, end in (span.queries, span.keys))
        return (*lead, *self.query.shape[len(lead) : -2], *sizes)

    def matrix(self, index: int, options: Mapping[str, Any]) -> AttentionMatrix:
        """The matrix of a call: where no sample went on with the keys of another, of views."""
        if index in self._matrices:
            return self._matrices[index]
        span = self.spans[index]
        matrix = AttentionMatrix(
            self._rows(index, False, *span.queries), self._rows(index, True, *span.keys), **options
        )
        if len(self.spans) == 1:  # what it knows serves again; when the sequence grows, its memory moves
            self._matrices[0] = matrix
        return matrix

    def whole(self) -> tuple[Float[Tensor, "... N D"], Float[Tensor, "... M D"]]:
        """All queries and all keys, those of the last samples and of their parents."""
        last = len(self.spans) - 1
        queries, keys = self.spans[last].queries[1], self.spans[last].keys[1]
        return self._rows(last, False, 0, queries), self._rows(last, True, 0, keys)

    def samples_at(self, index: int) -> Int[Tensor, " B"]:
        """Which sample of a call each sample of the last call goes back to."""
        rows = torch.arange(self.spans[-1].samples)
        for span in self.spans[:index:-1]:
            rows = rows if span.parents is None else span.parents[rows]
        return rows

    def follow(self, query: Float[Tensor, "... n D"], key: Float[Tensor, "... M D"], *, same: bool) -> bool:
        """Takes in a call, if its keys go on with those of the last.

        Args:
            query: of the call.
            key: of the call.
            same: whether keys that are the same, none of them new, count.
        """
        last = self.spans[-1]
        if not (_fits(query, self.query) and _fits(key, self.key)):
            return False
        queries, keys, seen = query.shape[-2], key.shape[-2], last.keys[1] - last.keys[0]
        for added in (0, queries) if last.added == 0 else (queries, 0):  # as the call before, first
            kept = keys - added
            if not 0 < kept <= seen or (added == 0 and not same):
                continue
            is_same, parents = self._parents(key[..., :kept, :], last.keys[1] - kept, last.keys[1])
            if is_same:
                samples = query.shape[0] if query.dim() > 3 else 1
                end = last.keys[1] + added
                self._matrices.clear()
                self._query.append(query)
                self._key.append(key[..., kept:, :])
                ends = last.queries[1], last.queries[1] + queries
                if parents is not None and self._moved is None:
                    self._moved = len(self.spans)
                self.spans.append(CallSpan(samples, ends, (end - keys, end), added, parents))
                return True
        return False

    def forget_last(self) -> None:
        """Takes the last call back."""
        last = self.spans.pop()
        if self._moved == len(self.spans):
            self._moved = None
        self._query.length, self._key.length = last.queries[0], last.keys[1] - last.added

    def _rows(self, index: int, keys: bool, start: int, stop: int) -> Tensor:
        """Queries or keys as the samples of a call have them."""
        growing, span = self._key if keys else self._query, self.spans[index]
        if growing.tensor.dim() < 4:
            return growing.tensor[..., start:stop, :]
        if self._moved is None or index < self._moved:
            return growing.tensor[: span.samples, ..., start:stop, :]
        source = self._sources(index, keys)[:, start:stop]
        return growing.tensor[source, :, torch.arange(start, stop)].transpose(1, 2)

    def _sources(self, index: int, keys: bool) -> Int[Tensor, "B n"]:
        """For each sample of a call and each position so far, the sample for which it was computed."""
        rows, parts = torch.arange(self.spans[index].samples), []
        for span in self.spans[index::-1]:
            count = span.added if keys else span.queries[1] - span.queries[0]
            parts.append(rows[:, None].expand(-1, count))
            rows = rows if span.parents is None else span.parents[rows]
        return torch.cat(parts[::-1], dim=1)

    def _parents(self, key: Float[Tensor, "... m D"], start: int, stop: int) -> tuple[bool, Tensor | None]:
        """Whether keys are those of the last call, sample by sample, and of which samples if not of the same."""
        before = self._rows(len(self.spans) - 1, True, start, stop)
        batched = key.dim() == 4 and len(key) > 0
        likely = key.shape == before.shape  # of several samples the last key says first whether they changed places
        if likely and batched and len(key) > 1:
            likely = _same(key[..., -1:, :], before[..., -1:, :])
        if likely and _same(key, before):
            return True, None
        if not batched or len(before) == 1 == len(key):
            return False, None
        parents = []
        for index, one in enumerate(key):
            others = [i for i in (index, *range(len(before))) if i < len(before)]
            parent = next((i for i in others if _same(one[:, -1:], before[i, :, -1:]) and _same(one, before[i])), None)
            if parent is None:
                return False, None
            parents.append(parent)
        return True, torch.tensor(parents)


class CachedCall(NamedTuple):
    """One call of a sequence.

    Attributes:
        calls: the sequence.
        number: of the call in it.
        options: further arguments of its matrix.
    """

    calls: CachedCalls
    number: int
    options: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        return self.calls.shape(self.number)

    def matrix(self) -> AttentionMatrix:
        """The matrix, made when it is asked for."""
        return self.calls.matrix(self.number, self.options)


class _Recent(NamedTuple):
    """A sequence that may go on; of its last call the forward pass, and the further arguments of its matrix."""

    calls: CachedCalls
    step: int
    options: Mapping[str, Any]


class Sequences:
    """The sequences of a watch that may go on, of each module.

    Args:
        allocate: gives their memory.
    """

    def __init__(self, allocate: Allocate) -> None:
        self.allocate = allocate
        self.recent: dict[tuple[str, str], list[_Recent]] = {}
        self.goes_on = -1  # the last forward pass whose self-attention goes on with a cache
        self._begun: set[int] = set()  # forward passes whose self-attention goes on with nothing

    def keep(
        self,
        module: tuple[str, str],
        step: int,
        query: Float[Tensor, "... N D"],
        key: Float[Tensor, "... M D"],
        options: Mapping[str, Any],
        check: Callable[[], None],
    ) -> CachedCall:
        """A call, with those before it whose keys it goes on with.

        Args:
            module: its name, and the kind of the call.
            step: the forward pass.
            query: on the CPU, as the key.
            key: they are copied.
            options: further arguments of the matrix.
            check: raises where the call is refused; of many calls that go on alike it is asked for some.
        """
        recent = self.recent.setdefault(module, [])
        # of the same encoder's keys, those of another text begin where its self-attention does
        same = module[1] == "cross" and query.shape[-2] < key.shape[-2] and step not in self._begun
        for one in sorted(recent, key=lambda one: -one.step):
            if one.step == step or not one.calls.follow(query, key, same=same):
                continue
            number = len(one.calls.spans) - 1
            try:
                if number < _CHECKED or number % _CHECKED == 0 or not _alike(options, one.options):
                    check()
            except Exception:
                one.calls.forget_last()
                raise
            self.goes_on = step if module[1] == "self" else self.goes_on
            recent.remove(one)
            recent.append(_Recent(one.calls, step, options))
            return CachedCall(one.calls, number, options)
        check()
        if module[1] == "self":
            self._begun.add(step)
        calls = CachedCalls(query, key, self.allocate)
        recent.append(_Recent(calls, step, options))
        del recent[:-_RECENT]
        return CachedCall(calls, 0, options)


class _Growing:
    """A tensor `[..., n, D]` to which positions are added; where memory is full, it moves to an eighth more.

    Args:
        tensor: with which it begins, copied.
        allocate: gives the memory.
    """

    def __init__(self, tensor: Tensor, allocate: Allocate) -> None:
        self.allocate, self.length = allocate, tensor.shape[-2]
        self._memory, self._release = allocate(tuple(tensor.shape), tensor.dtype)
        self._memory.copy_(tensor)

    @classmethod
    def of(cls, tensor: Tensor) -> "_Growing":
        """One that does not grow."""
        growing = cls.__new__(cls)
        growing._memory, growing.length = tensor, tensor.shape[-2]
        return growing

    @property
    def tensor(self) -> Tensor:
        return self._memory[..., : self.length, :]

    def append(self, new: Tensor) -> None:
        """Adds positions; of more samples than before, or of fewer."""
        end, shape = self.length + new.shape[-2], list(self._memory.shape)
        batched = new.dim() > 3
        if end > shape[-2] or (batched and len(new) > shape[0]):
            before, release = self.tensor, self._release
            if end > shape[-2]:
                shape[-2] = max(end, self.length + self.length // 8 + 16)
            if batched:
                shape[0] = max(shape[0], len(new))
            self._memory, self._release = self.allocate(tuple(shape), before.dtype)
            self._fill(before, 0)
            release()
        self._fill(new, self.length)
        self.length = end

    def _fill(self, positions: Tensor, start: int) -> None:
        """Puts positions where they belong; samples that have none there have zeros."""
        part = self._memory[..., start : start + positions.shape[-2], :]
        if positions.dim() > 3:
            part[len(positions) :] = 0
            part = part[: len(positions)]
        part.copy_(positions)


def _alike(options: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the arguments of a call are of the same types as those of the call before, and its numbers the same."""
    return all(
        type(value) is type(before.get(name)) and (not isinstance(value, float) or value == before[name])
        for name, value in options.items()
    )


def _fits(tensor: Tensor, before: Tensor) -> bool:
    """Whether type, heads and width are equal, and all other axes but the samples."""
    skipped = 1 if before.dim() > 3 else 0
    return (
        tensor.dtype == before.dtype
        and tensor.dim() == before.dim()
        and tensor.shape[skipped:-2] == before.shape[skipped:-2]
        and tensor.shape[-1] == before.shape[-1]
    )


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors on the CPU have the same bits."""
    return bool((_bits(a).numpy() == _bits(b).numpy()).all())


def _bits(tensor: Tensor) -> Tensor:
    """The numbers as integers, as few as there may be."""
    width = tensor.shape[-1] * tensor.element_size()
    if tensor.stride(-1) != 1:
        tensor = tensor.contiguous()
    for dtype in (torch.int64, torch.int32, torch.int16):
        size = dtype.itemsize
        aligned = (
            stride * tensor.element_size() % size == 0 for stride in (*tensor.stride()[:-1], tensor.storage_offset())
        )
        if width % size == 0 and size >= tensor.element_size() and all(aligned):
            return tensor.view(dtype)
    return tensor.view(torch.uint8)
