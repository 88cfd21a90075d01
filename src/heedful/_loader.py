"""Batches that are made in other processes while the model computes."""

import multiprocessing
import os
import pickle  # nosec B403: of batches, by processes that are forked from this one
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from heedful._errors import HeedfulError

_AHEAD = 2  # batches that each process is ahead
_make: list[Callable[[list[int]], Any]] = []  # in a process that makes batches: how


def loader(
    make: Callable[[list[int]], Any], order: Sampler[list[int]] | Sequence[list[int]], workers: int = 0
) -> DataLoader[Any]:
    """What iterates batches, in their order.

    Args:
        make: gives the batch of some examples, from their indices. It changes nothing and draws no random numbers.
        order: lists of indices; drawn in this process, so that workers change nothing of it.
        workers: how many processes make them; 0: this one does. No more than there are cores, and only where processes fork.

    Example:
        >>> list(loader(torch.tensor, [[3, 1], [2]], workers=2))
        [tensor([3, 1]), tensor([2])]
    """
    forks = hasattr(os, "fork") and workers > 0
    return _Loader(make, order, min(workers, os.cpu_count() or 1) if forks else 0)


class _Loader(DataLoader[Any]):
    """PyTorch's loader as the training library knows it, with processes that end wherever an iteration does."""

    def __init__(
        self, make: Callable[[list[int]], Any], order: Sampler[list[int]] | Sequence[list[int]], processes: int
    ) -> None:
        super().__init__(_Made(make), batch_size=None, sampler=order, collate_fn=_identity, generator=torch.Generator())
        self.processes = processes

    def __iter__(self) -> Any:
        if not self.processes:
            return super().__iter__()
        return _in_processes(self.dataset.__getitem__, self.sampler, self.processes)


def _in_processes(make: Callable[[list[int]], Any], order: Iterable[list[int]], processes: int) -> Iterator[Any]:
    """The batches in their order, a few of them ahead; what goes wrong with one is raised when it is its turn."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _start, (make, os.getpid()))
    try:
        waiting: deque[Future[bytes]] = deque()
        for indices in order:
            waiting.append(pool.submit(_made, indices))
            if len(waiting) > _AHEAD * processes:
                yield pickle.loads(waiting.popleft().result())  # nosec B301: made by a fork of this process
        while waiting:
            yield pickle.loads(waiting.popleft().result())  # nosec B301: made by a fork of this process
    except BrokenProcessPool:
        raise HeedfulError("a process that makes batches was ended, perhaps for want of memory.") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(make: Callable[[list[int]], Any], parent: int) -> None:
    """A process ends when it is told to, without the words of the one that it was forked from, or when that one is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _make[:] = [make]
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _made(indices: list[int]) -> bytes:
    return pickle.dumps(_make[0](indices), pickle.HIGHEST_PROTOCOL)  # by value: tensors would go through /dev/shm


class _Made(Dataset[Any]):
    """Batches as the training library asks for them."""

    def __init__(self, make: Callable[[list[int]], Any]) -> None:
        self.make = make

    def __getitem__(self, indices: list[int]) -> Any:
        return self.make(indices)


def _identity(batch: Any) -> Any:
    return batch
