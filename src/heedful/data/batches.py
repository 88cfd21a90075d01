"""Which examples make a batch: an order is a sampler of lists of indices, new in each epoch and the same for the same seed."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from heedful.data.batch_types import TokenBatch


class SequentialBatches(Sampler[list[int]]):
    """All examples in their order, `size` at a time.

    Example:
        >>> list(SequentialBatches(5, 2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count, self.size):
            yield list(range(start, min(start + self.size, self.count)))

    def __len__(self) -> int:
        return -(-self.count // self.size)


class ShuffledBatches(Sampler[list[int]]):
    """Batches of `size` examples in a new order each epoch; what is left over waits for the next epoch.

    Example:
        >>> order = ShuffledBatches(7, 3, seed=1)
        >>> [len(batch) for batch in order], len(order)
        ([3, 3], 2)
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed, self.epoch = count, min(size, count), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        indices = torch.randperm(self.count, generator=_random(self.seed, self.epoch)).tolist()
        for batch in range(len(self)):
            yield indices[batch * self.size : (batch + 1) * self.size]

    def __len__(self) -> int:
        return self.count // self.size


class BucketBatches(Sampler[list[int]]):
    """Batches of `size` examples in a new order each epoch, those of a batch of similar length.

    The examples are shuffled, taken `pool` batches at a time, and within those cut by length: more mixed than `LengthBatches`, with
    a little more padding, and as many examples in each batch.

    Args:
        lengths: of the examples, in tokens.
        size: examples of a batch; the last one of an epoch may have fewer.
        seed: of the order.
        pool: how many batches are sorted together.

    Example:
        >>> order = BucketBatches([5, 2, 9, 2, 5], 2, seed=1)
        >>> sorted(map(sorted, order)), len(order)
        ([[0, 4], [1, 3], [2]], 3)
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, pool: int = 20) -> None:
        self.lengths, self.size, self.seed, self.pool, self.epoch = np.asarray(lengths), size, seed, pool, 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        random = _random(self.seed, self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=random).numpy()
        batches = []
        for start in range(0, len(shuffled), self.size * self.pool):
            pool = shuffled[start : start + self.size * self.pool]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.size].tolist() for i in range(0, len(pool), self.size)]
        for batch in torch.randperm(len(batches), generator=random).tolist():
            yield batches[batch]

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def non_padding_fraction(self) -> float:
        """The fraction of the computed tokens that are not padding."""
        computed = sum(len(batch) * int(self.lengths[batch].max()) for batch in self)
        return float(self.lengths.sum() / max(computed, 1))


class LengthBatches(Sampler[list[int]]):
    """Batches of examples of nearly one length, so that hardly any padding is computed.

    The examples stand in the order of their lengths, those of one length in a random one, and are cut where a batch, padded
    to its longest, would hold more than `max_tokens` tokens. The cuts are the same in each epoch; the batches come in a random order.

    Args:
        lengths: of the examples, in tokens: one of each, or one of each of its sides, the longest of which counts.
        max_tokens: the most tokens of a batch; an example that is longer is a batch of its own.
        seed: None: the same order each time, from the shortest to the longest.

    Example:
        >>> list(LengthBatches([5, 2, 9, 2, 5], max_tokens=10))
        [[1, 3], [0, 4], [2]]
        >>> list(LengthBatches([(5, 3), (2, 4), (2, 1)], max_tokens=8))
        [[2, 1], [0]]
    """

    def __init__(
        self, lengths: Sequence[int] | Sequence[Sequence[int]], max_tokens: int, seed: int | None = None
    ) -> None:
        self.lengths: NDArray[np.integer] = np.asarray(lengths).reshape(len(lengths), -1)  # [examples, sides]
        self.seed, self.epoch, self.cuts, begin, longest = seed, 0, [0], 0, 0
        for end, own in enumerate(self.lengths[self._order(None)].max(1, initial=0).tolist()):
            longest = max(longest, own)
            if end > begin and (end - begin + 1) * longest > max_tokens:
                self.cuts.append(end)
                begin, longest = end, own
        self.cuts.append(len(self.lengths))

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        random = None if self.seed is None else _random(self.seed, self.epoch)
        order = self._order(random)
        batches = np.arange(len(self)) if random is None else torch.randperm(len(self), generator=random).numpy()
        for batch in batches.tolist():
            yield order[self.cuts[batch] : self.cuts[batch + 1]].tolist()

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def non_padding_fraction(self) -> float:
        """The fraction of the computed tokens that are not padding."""
        ordered = self.lengths[self._order(None)]
        computed = sum(int(ordered[a:b].max(0).sum()) * (b - a) for a, b in zip(self.cuts, self.cuts[1:], strict=False))
        return float(self.lengths.sum() / max(computed, 1))

    def _order(self, random: torch.Generator | None) -> NDArray[np.integer]:
        """By the lengths of the first side, then by those of the next; equal ones in a random order, or in their own."""
        ties = np.arange(len(self.lengths))
        if random is not None:
            ties = torch.randperm(len(self.lengths), generator=random).numpy()
        return np.lexsort([ties, *self.lengths.T[::-1]])


def padded_tokens(texts: Sequence[Sequence[int]]) -> TokenBatch:
    """A batch of texts as numbers of tokens, padded with 0 at their ends.

    Example:
        >>> padded_tokens([[5, 6], [7]]).tokens.tolist()
        [[5, 6], [7, 0]]
    """
    lengths = torch.tensor([len(text) for text in texts])
    tokens = np.zeros((len(texts), int(lengths.max())), np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    return TokenBatch(torch.from_numpy(tokens), lengths)


def _random(seed: int, epoch: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, epoch, 1]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))
