"""Which examples make a batch: an order is a sampler of lists of indices, new in each epoch and the same for the same seed."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler


class InOrder(Sampler[list[int]]):
    """All examples in their order, `size` at a time.

    Example:
        >>> list(InOrder(5, 2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count, self.size):
            yield list(range(start, min(start + self.size, self.count)))

    def __len__(self) -> int:
        return -(-self.count // self.size)


class Shuffled(Sampler[list[int]]):
    """Batches of `size` examples in a new order each epoch; what is left over waits for the next epoch.

    Example:
        >>> order = Shuffled(7, 3, seed=1)
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


class Bucketed(Sampler[list[int]]):
    """Batches of `size` examples in a new order each epoch, those of a batch of similar length.

    The examples are shuffled, taken `pool` batches at a time, and within those cut by length: more mixed than `ByLength`, with
    a little more padding, and as many examples in each batch.

    Args:
        lengths: of the examples, in tokens.
        size: examples of a batch; the last one of an epoch may have fewer.
        seed: of the order.
        pool: how many batches are sorted together.

    Example:
        >>> order = Bucketed([5, 2, 9, 2, 5], 2, seed=1)
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
            some = shuffled[start : start + self.size * self.pool]
            some = some[np.argsort(self.lengths[some], kind="stable")]
            batches += [some[i : i + self.size].tolist() for i in range(0, len(some), self.size)]
        for batch in torch.randperm(len(batches), generator=random).tolist():
            yield batches[batch]

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def real(self) -> float:
        """Which share of the tokens that are computed is no padding."""
        computed = sum(len(batch) * int(self.lengths[batch].max()) for batch in self)
        return float(self.lengths.sum() / max(computed, 1))


class ByLength(Sampler[list[int]]):
    """Batches of examples of nearly one length, so that hardly any padding is computed.

    The examples stand in the order of their lengths, those of one length in a random one, and are cut where a batch, padded
    to its longest, would hold more than `room` tokens. The cuts are the same in each epoch; the batches come in a random order.

    Args:
        lengths: of the examples, in tokens.
        room: the most tokens of a batch; an example that is longer is a batch of its own.
        seed: None: the same order each time, from the shortest to the longest.

    Example:
        >>> list(ByLength([5, 2, 9, 2, 5], room=10))
        [[1, 3], [0, 4], [2]]
    """

    def __init__(self, lengths: Sequence[int], room: int, seed: int | None = None) -> None:
        self.lengths, self.seed, self.epoch = np.asarray(lengths), seed, 0
        self.cuts, begin = [0], 0
        for end, length in enumerate(np.sort(self.lengths).tolist()):
            if end > begin and (end - begin + 1) * length > room:
                self.cuts.append(end)
                begin = end
        self.cuts.append(len(self.lengths))

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        batches = np.arange(len(self))
        if self.seed is None:
            order = np.argsort(self.lengths, kind="stable")
        else:
            random = _random(self.seed, self.epoch)
            order = np.lexsort([torch.randperm(len(self.lengths), generator=random).numpy(), self.lengths])
            batches = torch.randperm(len(self), generator=random).numpy()
        for batch in batches.tolist():
            yield order[self.cuts[batch] : self.cuts[batch + 1]].tolist()

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def real(self) -> float:
        """Which share of the tokens that are computed is no padding."""
        lengths: NDArray[np.integer] = np.sort(self.lengths)
        computed = sum(int(lengths[b - 1]) * (b - a) for a, b in zip(self.cuts, self.cuts[1:], strict=False))
        return float(lengths.sum() / max(computed, 1))


def _random(seed: int, epoch: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, epoch, 1]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))
