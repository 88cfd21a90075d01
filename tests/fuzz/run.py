"""Many cases in processes of their own, so that one that dies is a bad case and not the end of the run.

python -m tests.fuzz --cases 100000 --jobs 2          # ten minutes or more
python -m tests.fuzz --cases 2000 --sizes 400         # long sequences
python -m tests.fuzz --seed 1234 --cases 1            # one of them again
"""

import argparse
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

PATIENCE = 120.0  # seconds that a case may take


class Bad(NamedTuple):
    """A case that went wrong: its number, what it is, what is wrong."""

    seed: int
    case: str
    what: list[str]


def one(seed: int, sizes: int) -> Bad | None:
    """The problems of one case, in this process; None if there are none."""
    from tests.fuzz.cases import case_of
    from tests.fuzz.check import problems_of

    case = case_of(seed, sizes)
    try:
        problems = [f"{p.where}: {p.what}" for p in problems_of(case)]
    except Exception:
        problems = [f"the twin: {traceback.format_exc(limit=-3)}"]
    return Bad(seed, str(case), problems) if problems else None


Task = Callable[[int, int], Bad | None]


def _work(task: Task, seeds: range, sizes: int, now: Any, answers: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    for seed in seeds:
        now.value = seed
        if (bad := task(seed, sizes)) is not None:
            answers.send(bad)
    answers.send(None)


class _Worker:
    """A process with a share of the seeds; where it dies, another one goes on behind the case that killed it."""

    def __init__(self, task: Task, seeds: range, sizes: int) -> None:
        self.task, self.seeds, self.sizes, self.done = task, seeds, sizes, False
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.now = context.Value("q", self.seeds.start - self.seeds.step, lock=False)
        self.answers, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_work, args=(self.task, self.seeds, self.sizes, self.now, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.last, self.since = self.now.value, time.monotonic()

    def hear(self) -> Bad | None:
        """What has been sent; a process that ended without a word is a bad case."""
        try:
            answer = self.answers.recv()
        except EOFError:
            self.process.join()
            return self.gone(f"the process died with status {self.process.exitcode}")
        self.done = answer is None
        return answer

    def late(self) -> bool:
        if self.now.value != self.last:
            self.last, self.since = self.now.value, time.monotonic()
        return time.monotonic() - self.since > PATIENCE and self.now.value in self.seeds

    def gone(self, why: str) -> Bad:
        from tests.fuzz.cases import case_of

        seed = self.now.value
        self.stop()
        if seed not in self.seeds:
            raise RuntimeError(f"a worker cannot start: {why}")
        self.seeds = range(seed + self.seeds.step, self.seeds.stop, self.seeds.step)
        if self.seeds:
            self.start()
        else:
            self.done = True
        return Bad(seed, str(case_of(seed, self.sizes)), [why])

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.terminate()
        self.process.join()
        self.answers.close()


def run(
    seed: int,
    cases: int,
    sizes: int,
    jobs: int,
    minutes: float,
    most: int | None,
    quiet: bool = False,
    task: Task = one,
) -> tuple[int, list[Bad]]:
    """Runs the cases from `seed` on; gives how many were run and the bad ones. `most`: so many bad ones are enough."""
    end, bad, begun = time.monotonic() + 60 * minutes, [], time.monotonic()
    workers = [_Worker(task, range(seed + i, seed + cases, jobs), sizes) for i in range(min(jobs, cases))]
    said = begun
    while busy := [w for w in workers if not w.done]:
        ready = wait([w.answers for w in busy], timeout=1.0)
        for worker in busy:
            if worker.answers in ready:
                answer = worker.hear()
            elif worker.late():
                answer = worker.gone(f"not done after {PATIENCE:.0f} s")
            else:
                continue
            if answer is not None:
                bad.append(answer)
                if not quiet:
                    print(f"\nseed {answer.seed}", *answer.what, answer.case, sep="\n    ", flush=True)
        if time.monotonic() > end or (most is not None and len(bad) >= most):
            break
        if not quiet and time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{said - begun:.0f} s: at {[w.now.value for w in workers]}, {len(bad)} bad", flush=True)
    ran = sum(len(range(seed + i, (seed + cases) if w.done else w.now.value, jobs)) for i, w in enumerate(workers))
    for worker in workers:
        worker.stop() if not worker.done else worker.process.join()
    return ran, bad


def main() -> int:
    """The command line; the exit status is 1 if a case is bad."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random attentions beside a dense twin.")
    parser.add_argument("--cases", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first one")
    parser.add_argument("--sizes", type=int, default=40, help="the most queries and keys")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--minutes", type=float, default=60.0, help="to stop after")
    parser.add_argument("--most", type=int, default=None, help="to stop after so many bad ones")
    parser.add_argument(
        "--verify", action="store_true", help="heedful compares each fast result with its own definition, too"
    )
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.verify:
        os.environ["HEEDFUL_VERIFY"] = "1"
    begun = time.monotonic()
    ran, bad = run(given.seed, given.cases, given.sizes, given.jobs, given.minutes, given.most)
    took = time.monotonic() - begun
    print(f"\n{ran} cases, {len(bad)} bad, {took:.0f} s, {ran / max(took, 1e-9):.0f} a second")
    if bad:
        print("bad:", *sorted(b.seed for b in bad))
        print(f"again: python -m tests.fuzz --sizes {given.sizes} --cases 1 --seed {bad[0].seed}")
    return bool(bad)
