"""What a training needs of a task: batches, losses, and the metrics that are averaged over an epoch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from heedful._loader import loader


@dataclass(frozen=True)
class Mean:
    """A metric of a batch that is averaged over an epoch.

    Its value is the sum of totals over the sum of counts; of vectors, such as one element a class, the mean of these ratios
    over the elements that were counted at all.
    """

    total: Tensor
    count: Tensor | int


@dataclass(frozen=True)
class Pooled:
    """A metric of a whole epoch that is no mean: what the batches give is put together, and one function measures it.

    Attributes:
        parts: of a batch.
        measure: gives the value, from the parts of all batches.
    """

    parts: Sequence[Any]
    measure: Callable[[Sequence[Any]], float]


class Batches(NamedTuple):
    """Examples as batches.

    Attributes:
        make: gives the batch of some examples, from their indices.
        order: lists of indices: a sampler such as `ShuffledBatches` or `LengthBatches`, or the lists themselves.
        size: how many of the unit in which speed is told a batch holds.
        note: what a reader should know of them, such as how many examples were left out; or empty.
        workers: how many processes make batches in advance; 0: they are made when they are asked for.
    """

    make: Callable[[list[int]], Any]
    order: Sampler[list[int]] | Sequence[list[int]]
    size: Callable[[Any], int] = lambda batch: len(batch[0])
    note: str = ""
    workers: int = 0

    def loader(self) -> DataLoader[Any]:
        """What the training library iterates."""
        return loader(self.make, self.order, self.workers)


class Objective(Protocol):
    """What a training needs of a task; `heedful.tasks.contract.Task` describes each of them."""

    @property
    def monitor(self) -> str: ...
    @property
    def optimizers(self) -> Mapping[str, float]: ...

    def loss(self, model: Any, batch: Any, optimizer: str) -> Tensor: ...
    def validate(self, model: Any, batch: Any) -> Mapping[str, Mean | Pooled]: ...
    def epoch_files(self, model: Any, epoch: int) -> Mapping[str, bytes]: ...
    def warning(self, before: Mapping[str, float], now: Mapping[str, float]) -> str: ...
