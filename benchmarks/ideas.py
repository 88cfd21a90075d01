"""The longer experiments of docs/ideas.md: recall over a distance, lengths that were not trained, time against an LSTM.

`python -m benchmarks ideas` trains (about ten minutes on one core; each training that is done is kept in runs/ideas/, and is not
done again), `python -m benchmarks ideas-time` times, `python -m benchmarks ideas-pictures` runs the page for its pictures. All of
them write the tables into the page.
"""

import doctest
import json
import math
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import heedful
from benchmarks import pictures
from benchmarks._measure import keep, kept, paired
from heedful.nn import (
    LearnedPositions,
    LearnedRelativeBias,
    MultiHeadAttention,
    RotaryPositions,
    SelfAttention,
    SinusoidalPositions,
)

PAGE = Path(__file__).parents[1] / "docs" / "ideas.md"
RUNS = Path("runs/ideas")
SEEDS = (1, 2, 3)

# --- recall over a distance -------------------------------------------------------------------------------------------------------

WIDTH = 32
DISTANCES = (30, 100, 300, 1_000, 3_000, 10_000)
READERS = {"attention": 8, "window of 128": 8, "LSTM": 8, "LSTM, 4 names": 4}  # how many names, and as many colors


def notes(batch: int, distance: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """`count` names with a color each, `distance` other names with colors, then one of the first names without a color.

    Returns:
        names and colors `[batch, count + distance + 1]`, and the color that is the answer `[batch]`.
    """
    order = torch.rand(batch, count, generator=generator).argsort(-1)
    others = torch.randint(count, 2 * count, (batch, distance), generator=generator)
    colors = torch.randint(count, (batch, count + distance), generator=generator)
    query = torch.randint(count, (batch, 1), generator=generator)
    names = torch.cat([order, others, order.gather(1, query)], dim=1)
    unknown = torch.full((batch, 1), count)
    return names, torch.cat([colors, unknown], dim=1), colors.gather(1, query)[:, 0]


class Reader(nn.Module):
    """Reads names with colors, and says the color of the name at the end. Positions are not marked."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.count = READERS[kind]
        self.pattern = heedful.Local(127, 0, align="end") if "window" in kind else heedful.Global()
        self.name, self.color = nn.Embedding(2 * self.count, WIDTH), nn.Embedding(self.count + 1, WIDTH)
        self.layer = nn.LSTM(WIDTH, WIDTH, batch_first=True) if "LSTM" in kind else MultiHeadAttention(WIDTH, heads=1)
        self.answer = nn.Linear(WIDTH, self.count)
        if "LSTM" in kind:  # it begins by remembering: Jozefowicz et al. 2015
            nn.init.constant_(self.layer.bias_ih_l0[WIDTH : 2 * WIDTH], 1.0)

    def forward(self, names: Tensor, colors: Tensor) -> Tensor:
        """A score for each color, `[batch, count]`."""
        x = self.name(names) + self.color(colors)
        if isinstance(self.layer, nn.LSTM):
            return self.answer(self.layer(x)[0][:, -1])
        # only the last position's output is read, so only its row of the matrix is computed
        return self.answer(self.layer(x[:, -1:], x, pattern=self.pattern)[:, 0])


def train_reader(
    kind: str, seed: int, *, steps: int = 1_500, longest: int = 1_000, distances: tuple[int, ...] = DISTANCES
) -> dict[str, Any]:
    """Trains at distances from 1 to `longest`, short and long ones equally often on a logarithmic scale; measures at `distances`."""
    torch.manual_seed(seed)
    reader, generator = Reader(kind), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(reader.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 5e-3, total_steps=steps)
    start = time.perf_counter()
    for _ in range(steps):
        distance = round(longest ** torch.rand((), generator=generator).item())
        names, colors, answer = notes(64, distance, reader.count, generator)
        loss = F.cross_entropy(reader(names, colors), answer)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        adam.step()
        schedule.step()
    seconds = time.perf_counter() - start
    generator.manual_seed(1_000)  # the same questions for all
    right = {}
    with torch.no_grad():
        for distance in distances:
            found = []
            for _ in range(8):
                names, colors, answer = notes(64, distance, reader.count, generator)
                found.append(reader(names, colors).argmax(-1) == answer)
            right[str(distance)] = torch.cat(found).float().mean().item()
    return {"kind": kind, "seed": seed, "seconds": seconds, "loss": loss.item(), "accuracy": right}


# --- lengths that were not trained ------------------------------------------------------------------------------------------------

TOKENS, TRAINED, TESTED = 16, 128, 512
KINDS = ("none", "sinusoidal", "learned", "rotary", "ALiBi", "relative")
TASKS = ("three back", "last marked")


def sentences(task: str, batch: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random tokens, one in eight of them marked, and the answer at each position.

    "three back": the token three positions earlier. "last marked": the last token that was marked, up to here.

    Returns:
        tokens, marks (0 or 1) and answers, each `[batch, length]`; an answer of -100 where there is none.
    """
    tokens = torch.randint(TOKENS, (batch, length), generator=generator)
    marks = (torch.rand(batch, length, generator=generator) < 1 / 8).long()
    place = torch.arange(length).expand(batch, length)
    source = place - 3 if task == "three back" else torch.where(marks > 0, place, -1).cummax(-1).values
    answers = tokens.gather(1, source.clamp(min=0)).masked_fill(source < 0, -100)
    return tokens, marks, answers


class Follower(nn.Module):
    """One causal attention layer of four heads, with one kind of positions."""

    def __init__(self, kind: str, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.token, self.mark = nn.Embedding(TOKENS, width), nn.Embedding(2, width)
        for table in (self.token, self.mark):
            nn.init.normal_(table.weight, std=0.1)  # small beside the positions, which have to be learned from too
        added = {"sinusoidal": lambda: SinusoidalPositions(width), "learned": lambda: LearnedPositions(TESTED, width)}
        self.positions = added.get(kind, nn.Identity)()
        rotary = RotaryPositions(width // heads) if kind == "rotary" else None
        self.attention = MultiHeadAttention(width, heads, rotary=rotary)
        biases: dict[str, Callable[[], Any]] = {
            "relative": lambda: LearnedRelativeBias(heads, 32, buckets="log", bidirectional=False),
            "ALiBi": lambda: _Fixed(heedful.ALiBi(heads)),
        }
        self.bias = biases.get(kind, lambda: _Fixed(None))()
        self.answer = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, TOKENS))

    def forward(self, tokens: Tensor, marks: Tensor) -> Tensor:
        """A score for each token at each position, `[batch, length, TOKENS]`."""
        x = self.positions(self.token(tokens) + self.mark(marks))
        return self.answer(x + self.attention(x, pattern=heedful.Causal(), bias=self.bias()))


class _Fixed(nn.Module):
    """Gives what it was given."""

    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing = thing

    def forward(self) -> Any:
        return self.thing


def train_follower(task: str, kind: str, seed: int, *, steps: int = 800) -> dict[str, Any]:
    """Trains on lengths from 32 to 128; measures at positions up to 128 and from 129 to 512, of sequences of 512."""
    torch.manual_seed(seed)
    follower, generator = Follower(kind), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(follower.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=steps)
    start = time.perf_counter()
    for _ in range(steps):
        length = int(torch.randint(32, TRAINED + 1, (), generator=generator))
        tokens, marks, answers = sentences(task, 16, length, generator)
        loss = F.cross_entropy(follower(tokens, marks).flatten(0, 1), answers.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    seconds = time.perf_counter() - start
    tokens, marks, answers = sentences(task, 32, TESTED, generator.manual_seed(1_000))
    with torch.no_grad():
        right = (follower(tokens, marks).argmax(-1) == answers).double().masked_fill(answers == -100, math.nan)
    share = lambda part: part.nanmean().item()  # noqa: E731
    return {
        "task": task, "kind": kind, "seed": seed, "seconds": seconds, "loss": loss.item(),
        "known": share(right[:, :TRAINED]), "new": share(right[:, TRAINED:]),
    }  # fmt: skip


# --- time against an LSTM ---------------------------------------------------------------------------------------------------------

SIZES, WIDTHS = (128, 256, 512, 1_024, 2_048, 4_096), (128, 512)


def times(sizes: tuple[int, ...] = SIZES, seconds: float = 6.0) -> list[dict[str, float]]:
    """Forward and backward of one attention layer and of one LSTM layer, one sequence, the same width."""
    rows = []
    for width in WIDTHS:
        for n in sizes:
            torch.manual_seed(0)
            x, weights = torch.randn(1, n, width), torch.randn(1, n, width)
            attention, lstm = SelfAttention(width), nn.LSTM(width, width, batch_first=True)
            pair = paired(
                _step(attention, x, weights), _step(lambda x, lstm=lstm: lstm(x)[0], x, weights), seconds=seconds
            )
            rows.append({"width": width, "n": n, "attention": pair.ours, "lstm": pair.theirs, "ratio": pair.ratio})
            line = (
                f"  width {width}  N = {n:<6,} attention {1e3 * pair.ours:8.1f} ms   LSTM {1e3 * pair.theirs:8.1f} ms"
            )
            print(line, flush=True)
    return rows


def _step(layer: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> Callable[[], None]:
    x = x.clone().requires_grad_()
    return lambda: (layer(x) * weights).sum().backward()


# --- results, tables and pictures -------------------------------------------------------------------------------------------------


def main() -> None:
    """Trains what is not yet trained, keeps results/ideas.json, and brings the page up to date."""
    print("recall: the share of right answers, by distance")
    recall = []
    for kind in READERS:
        for seed in SEEDS:
            run = _once(f"recall-{kind}-{seed}", lambda: train_reader(kind, seed))  # noqa: B023
            recall.append(run)
            print(
                f"  {kind:<14} seed {seed}  {run['seconds']:5.0f} s ",
                *(f"{v:.3f}" for v in run["accuracy"].values()),
                flush=True,
            )
    print(f"lengths: the share of right answers at positions up to {TRAINED}, and from there to {TESTED}")
    lengths = []
    for task in TASKS:
        for kind in KINDS:
            for seed in SEEDS:
                run = _once(f"lengths-{task}-{kind}-{seed}", lambda: train_follower(task, kind, seed))  # noqa: B023
                lengths.append(run)
                print(
                    f"  {task:<12} {kind:<11} seed {seed}  {run['seconds']:5.0f} s  {run['known']:.3f} {run['new']:.3f}",
                    flush=True,
                )
    keep("ideas", {"recall": recall, "lengths": lengths})
    show()


def time_main() -> None:
    """Times attention against an LSTM, keeps results/ideas-time.json, and brings the page up to date."""
    print("one layer, one sequence, forward + backward")
    keep("ideas-time", {"time": times()})
    show()


def show() -> None:
    """Runs the page, which draws its pictures, and writes the tables of the results into it."""
    pictures.FOLDER = PAGE.parent / "ideas"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=options)
    print(f"{PAGE.name}: {tried} examples, {failed} not as printed")
    found = read()
    pictures.recall(found["recall"], DISTANCES)
    pictures.lengths(found["lengths"], KINDS, TASKS)
    pictures.times(found["time"])
    PAGE.write_text(with_tables(PAGE.read_text(), tables(found)))


def read() -> dict[str, Any]:
    """What was kept: recall, lengths and time."""
    return kept("ideas") | kept("ideas-time")


def tables(found: dict[str, Any]) -> dict[str, str]:
    """The tables of the page, by name, as Markdown."""
    percent = lambda shares: f"{100 * statistics.mean(shares):.1f} %"  # noqa: E731
    recall = [["one layer, width 32", *(f"{d:,}" for d in DISTANCES)]]
    for kind in READERS:
        runs = [run["accuracy"] for run in found["recall"] if run["kind"] == kind]
        recall.append([kind, *(percent([run[str(d)] for run in runs]) for d in DISTANCES)])
    lengths = [["positions", *(f"{task}, {part}" for task in TASKS for part in ("up to 128", "129 to 512"))]]
    for kind in KINDS:
        row = [kind]
        for task in TASKS:
            runs = [run for run in found["lengths"] if run["kind"] == kind and run["task"] == task]
            row += [percent([run[part] for run in runs]) for part in ("known", "new")]
        lengths.append(row)
    time = [["N", *(f"{layer}, width {width}" for width in WIDTHS for layer in ("attention", "LSTM"))]]
    for n in dict.fromkeys(row["n"] for row in found["time"]):
        cells = {row["width"]: row for row in found["time"] if row["n"] == n}
        both = [cells[width][layer] for width in WIDTHS for layer in ("attention", "lstm")]
        time.append([f"{n:,}", *(f"{1e3 * seconds:,.1f} ms" for seconds in both)])
    return {name: _markdown(rows) for name, rows in (("recall", recall), ("lengths", lengths), ("time", time))}


def with_tables(page: str, tables: dict[str, str]) -> str:
    """The page with these tables between `<!-- table NAME -->` and `<!-- end -->`."""
    for name, table in tables.items():
        page, times = re.subn(
            rf"(<!-- table {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{table}{m[2]}", page, flags=re.DOTALL  # noqa: B023
        )  # fmt: skip
        if times != 1:
            raise ValueError(f"`page` must have one table `{name}`: got {times}.")
    return page


def _markdown(rows: list[list[str]]) -> str:
    lines = [" | ".join(row) for row in rows]
    lines.insert(1, "|".join(["---"] + ["---:"] * (len(rows[0]) - 1)))
    return "".join(f"| {line} |\n" if "---" not in line else f"|{line}|\n" for line in lines)


def _once(name: str, train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a training gave, from runs/ideas/ if it was done before."""
    file = RUNS / (re.sub(r"\W+", "-", name) + ".json")
    if not file.exists():
        found = train()
        RUNS.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())
