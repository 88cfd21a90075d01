"""Trainings of every task are killed at random moments, their files are torn, and they are resumed: the weights must be the same.

    python -m tests.fuzz.kills [--cases 100] [--seed 1] [--tasks tag classify]

A case is determined by its number and the seed, but for where in the program its moments fall. Each training is a process of
its own, killed by SIGKILL up to three times. After some kills a file of the checkpoints, or the log, is cut, emptied, or has
bytes changed. Then the training must go on to what a training that was left alone came to; where it refuses to go on, it must
name the checkpoint, and do so without the checkpoints. The exit status is 1 where anything else happened.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.tasks.cases import CASES
from tests.tiny import outcome

TORN = ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "checkpoints/before.ckpt", "log.csv")
LIMIT = 300  # seconds of one training


class Training(NamedTuple):
    """How a process ended: its exit status, negative where a signal ended it; what it printed; its seconds."""

    status: int
    printed: str
    seconds: float


def trained(words: list[str], kill_after: float | None = None) -> Training:
    """`heedful` with these words in a forked process, which need not import anything again."""
    from heedful.cli import run

    with tempfile.TemporaryFile() as printed:
        started = time.monotonic()
        if not (process := os.fork()):
            status = 99
            try:
                for stream in (1, 2):
                    os.dup2(printed.fileno(), stream)
                sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
                status = run(words)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        until = started + (LIMIT if kill_after is None else kill_after)
        while not (ended := os.waitpid(process, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
                ended = os.waitpid(process, 0)
                break
            time.sleep(0.002)
        printed.seek(0)
        return Training(
            os.waitstatus_to_exitcode(ended[1]), printed.read().decode(errors="replace"), time.monotonic() - started
        )


def tear(folder: Path, draw: random.Random) -> str:
    """Damages one file, and says how."""
    files = [folder / name for name in TORN if (folder / name).is_file()]
    if not files:
        return "nothing to tear"
    file = draw.choice(files)
    content = bytearray(file.read_bytes())
    how = draw.choice(("cut", "emptied", "flipped", "zeros"))
    if how in ("cut", "emptied") or not content:
        content = content[: draw.randrange(len(content) + 1) if how == "cut" else 0]
    else:
        first = draw.randrange(len(content))
        last = min(first + (1 if how == "flipped" else draw.choice((64, 4096))), len(content))
        content[first:last] = bytes(byte ^ 64 if how == "flipped" else 0 for byte in content[first:last])
    file.write_bytes(content)
    return f"{file.name} {how}"


def killed(words: list[str], folder: Path, whole: Training, draw: random.Random) -> tuple[list[str], Training]:
    """What was done to a training, and how it came to its end."""
    did = []
    for _ in range(draw.randint(1, 3)):
        moment = draw.uniform(0.1, 1) * whole.seconds
        if trained(words, moment).status == 0:
            break  # it was done before
        did.append(f"killed after {moment:.2f} s")
        if draw.random() < 0.5:
            did.append(tear(folder, draw))
    end = trained(words)
    if end.status == 2 and "must be a checkpoint of this run" in end.printed and "--resume begins again" in end.printed:
        did.append("begun again")
        shutil.rmtree(folder / "checkpoints")
        end = trained(words)
    return did, end


def main(words: list[str] | None = None) -> int:
    """Reads the command line; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args(words)
    import lightning.pytorch  # noqa: F401 # once, for all
    import torch

    import heedful.tasks.run  # noqa: F401

    torch.set_num_threads(1)  # a forked process has no other threads
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        alone: dict[str, tuple[list[str], Training, dict[str, object]]] = {}
        for number in range(options.cases):
            name = options.tasks[number % len(options.tasks)]
            home = Path(place) / name
            if name not in alone:
                home.mkdir()
                case = CASES[name]
                command = ["train", case.task, "--data", str(case.write(home, 40, 0)), *case.words, "--resume", "--out"]
                whole = trained([*command, str(home / "whole")])
                assert whole.status == 0, whole.printed
                alone[name] = command, whole, outcome(home / "whole")
            command, whole, expected = alone[name]
            folder = home / f"run-{number}"
            draw = random.Random(f"{options.seed} {number}")
            did, end = killed([*command, str(folder)], folder, whole, draw)
            same = end.status == 0 and outcome(folder) == expected
            wrong += not same
            print(
                f"{number:>4}  {name:<22} {'same' if same else 'WRONG'}  {', '.join(did) or 'done before'}", flush=True
            )
            if not same:
                print(end.printed, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.cases} trainings killed and resumed: {options.cases - wrong} came out the same")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
