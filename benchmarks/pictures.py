"""The pictures of docs/ideas.md, in one style: blue for how much, and six colors that stay apart for color-blind readers.

They go to `FOLDER`; without one (the page's examples as tests) they are drawn and thrown away.
"""

import io
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

FOLDER: Path | None = None

INK, QUIET = "#1f2933", "#6b7680"
FAINT = 0.12  # the lightest shade that is not white
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]  # Okabe and Ito 2008
MARKERS = ["o", "s", "^", "D", "v", "P"]
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid.axis": "y",
    "grid.color": "#e4e8ec",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "savefig.facecolor": "white",
}


@contextmanager
def _figure(name: str, rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes `[rows][columns]`, saved when the block ends."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(wspace=0.06, hspace=0.08)
        yield figure, figure.subplots(rows, columns, squeeze=False)
        if FOLDER is not None:
            FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(io.BytesIO() if FOLDER is None else FOLDER / f"{name}.png", dpi=144, metadata={"Software": None})


def weights(
    name: str, maps: dict[str, Tensor], queries: Sequence[str], keys: Sequence[str], *, size: float = 0.62
) -> None:
    """Maps of weights side by side, with their numbers; a row for each query, a column for each key."""
    width, height = size * len(keys) + 1.1, size * len(queries) + 1.2
    with _figure(name, 1, len(maps), width * len(maps), height) as (_, [axes]):
        for place, (ax, (title, map_)) in enumerate(zip(axes, maps.items(), strict=True)):
            ax.imshow(map_.numpy(), cmap="Blues", vmin=0, vmax=1)
            for i, row in enumerate(map_.tolist()):
                for j, weight in enumerate(row):
                    color = "white" if weight > 0.55 else INK if weight >= 0.005 else QUIET
                    ax.text(j, i, f"{weight:.2f}", ha="center", va="center", color=color, fontsize=9)
            ax.set_title(title)
            ax.set_xticks(range(len(keys)), keys)
            ax.set_yticks(range(len(queries)), queries)
            ax.set_xlabel("key")
            ax.set_ylabel("query" if place == 0 else "")
            _frameless(ax)


def maps(
    name: str, maps: dict[str, Tensor], *, columns: int, x: str, y: str, decades: int | None = None, side: float = 2.3
) -> None:
    """Maps without numbers, each in shades of its own largest entry; by its logarithm down to `10^-decades`, 0 stays white."""
    rows = -(-len(maps) // columns)
    with _figure(name, rows, columns, side * columns + 1.1, (side + 0.45) * rows + 0.2) as (figure, axes):
        for place, (title, map_) in enumerate(maps.items()):
            ax, share = axes[place // columns][place % columns], map_ / map_.max()
            if decades is not None:
                depth = (1 + share.clamp(min=1e-30).log10() / decades).clamp(0, 1)
                share = (FAINT + (1 - FAINT) * depth).masked_fill(map_ == 0, 0)
            image = ax.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
            ax.set_title(title)
            ax.set_xlabel(x if place // columns == rows - 1 else "")
            ax.set_ylabel(y if place % columns == 0 else "")
            last = map_.shape[-1] - 1
            ax.set_xticks([0, last // 2, last])
            ax.set_yticks([0, last // 2, last], ["0", str(last // 2), str(last)] if place % columns == 0 else [""] * 3)
            for spine in ax.spines.values():
                spine.set_visible(True)
                spine.set_color("#cdd4da")
        bar = figure.colorbar(image, ax=axes, shrink=0.85, aspect=22, pad=0.015)
        if decades is None:
            bar.set_ticks([0, 0.5, 1])
            bar.set_label("share of the largest weight")
        else:
            bar.set_ticks(
                [0, FAINT, (1 + FAINT) / 2, 1],
                labels=["none", f"$10^{{-{decades}}}$", f"$10^{{-{decades // 2}}}$", "1"],
            )
            bar.set_label("share of the largest")
        bar.outline.set_visible(False)


def bars(name: str, weights: Tensor, *, x: str, y: str) -> None:
    """One row of weights."""
    with _figure(name, 1, 1, 7.2, 2.4) as (_, [[ax]]):
        best = int(weights.argmax())
        colors = [COLORS[1] if i == best else COLORS[0] for i in range(len(weights))]
        ax.bar(range(len(weights)), weights.tolist(), width=0.8, color=colors)
        ax.annotate(
            f"key {best}", (best, float(weights[best])), (6, -4), textcoords="offset points", color=COLORS[1], va="top"
        )
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.set_xlim(-1, len(weights))
        ax.grid(True)
        ax.set_axisbelow(True)


def recall(runs: list[dict[str, Any]], distances: Sequence[int]) -> None:
    """Right answers by distance, each seed as a thin line."""
    with _figure("recall", 1, 1, 7.2, 3.8) as (_, [[ax]]):
        ax.axhline(12.5, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        ax.text(distances[0], 10.5, "guessing among 8", color=QUIET, va="top", fontsize=9)
        for place, kind in enumerate(dict.fromkeys(run["kind"] for run in runs)):
            lines = [[100 * run["accuracy"][str(d)] for d in distances] for run in runs if run["kind"] == kind]
            for line in lines:
                ax.plot(distances, line, color=COLORS[place], linewidth=0.8, alpha=0.5)
            mean = [statistics.mean(column) for column in zip(*lines, strict=True)]
            ax.plot(distances, mean, color=COLORS[place], marker=MARKERS[place], label=kind)
        ax.axvspan(distances[0] / 1.3, 1_000, color="#eef2f6", zorder=0, linewidth=0)
        ax.text(distances[0] / 1.22, 103, "distances of the training", fontsize=9, color=QUIET, va="bottom")
        ax.set(xscale="log", xlim=(distances[0] / 1.3, distances[-1] * 1.15), ylim=(0, 112))
        ax.set(xlabel="positions between the note and the question", ylabel="right answers, %")
        ax.set_xticks(distances, [f"{d:,}" for d in distances])
        ax.set_yticks(range(0, 101, 25))
        ax.minorticks_off()
        ax.grid(True)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def lengths(runs: list[dict[str, Any]], kinds: Sequence[str], tasks: Sequence[str]) -> None:
    """For each task and kind of position: a hollow mark where trained, a full one beyond; each seed is a small dot."""
    titles = {"three back": "the token three back", "last marked": "the last marked token"}
    with _figure("lengths", 1, len(tasks), 8.4, 3.4) as (figure, [axes]):
        for ax, task in zip(axes, tasks, strict=True):
            for place, kind in enumerate(reversed(kinds)):
                mine = [run for run in runs if run["kind"] == kind and run["task"] == task]
                known, new = (100 * statistics.mean(run[part] for run in mine) for part in ("known", "new"))
                ax.plot([known, new], [place, place], color="#b9c3cc", linewidth=2, zorder=1)
                ax.plot(
                    [100 * run["new"] for run in mine], [place + 0.22] * len(mine), ".", color=COLORS[1], markersize=3
                )
                ax.plot(
                    known,
                    place,
                    "o",
                    color=COLORS[0],
                    markerfacecolor="white",
                    markeredgewidth=2,
                    markersize=9,
                    zorder=2,
                )
                ax.plot(new, place, "s", color=COLORS[1], markersize=6, zorder=3)
            ax.axvline(100 / 16, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
            ax.set_title(titles[task])
            ax.set(xlim=(0, 104), xlabel="right answers, %")
            ax.set_xticks(range(0, 101, 25))
            ax.set_yticks(range(len(kinds)), reversed(kinds) if ax is axes[0] else [""] * len(kinds))
            ax.set_ylim(-0.6, len(kinds) - 0.4)
            ax.grid(True, axis="x")
            ax.set_axisbelow(True)
            ax.spines["left"].set_visible(False)
        from matplotlib.lines import Line2D

        ring = {"marker": "o", "markerfacecolor": "white", "markeredgewidth": 2, "markersize": 9, "color": COLORS[0]}
        marks = [
            Line2D([], [], linestyle="", label="up to 128, as trained", **ring),
            Line2D(
                [],
                [],
                linestyle="",
                marker="s",
                markersize=6,
                color=COLORS[1],
                label="129 to 512, never trained",
            ),
            Line2D([], [], linestyle="", marker=".", markersize=4, color=COLORS[1], label="its three seeds"),
            Line2D([], [], linestyle=(0, (4, 3)), linewidth=1, color=QUIET, label="guessing"),
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=9)


def times(rows: list[dict[str, float]]) -> None:
    """Milliseconds of a forward and a backward pass, by length, a panel for each width."""
    widths = list(dict.fromkeys(row["width"] for row in rows))
    with _figure("time", 1, len(widths), 8.4, 3.6) as (_, [axes]):
        for ax, width in zip(axes, widths, strict=True):
            mine = [row for row in rows if row["width"] == width]
            n = [row["n"] for row in mine]
            for place, (key, label) in enumerate((("attention", "attention"), ("lstm", "LSTM"))):
                line = [1e3 * row[key] for row in mine]
                ax.plot(n, line, color=COLORS[place], marker=MARKERS[place])
                ax.annotate(
                    label, (n[-1], line[-1]), (9, 0), textcoords="offset points", color=COLORS[place], va="center"
                )
            ax.set_title(f"width {width}")
            ax.set(xscale="log", yscale="log", xlabel="positions")
            ax.set_xticks(n, [f"{d:,}" for d in n], fontsize=9)
            ax.set_xlim(n[0] / 1.2, n[-1] * 2.6)
            ax.grid(True)
        low, high = (f(1e3 * row[key] for row in rows for key in ("attention", "lstm")) for f in (min, max))
        ticks = [t for t in (0.1, 1, 10, 100, 1_000, 10_000) if low / 10 < t < 10 * high]
        for ax in axes:
            ax.set_ylim(low / 1.6, 1.6 * high)
            ax.set_yticks([t for t in ticks if low / 1.6 <= t <= 1.6 * high])
            ax.set_yticklabels([f"{t:,}" for t in ticks if low / 1.6 <= t <= 1.6 * high])
            ax.minorticks_off()
        axes[0].set_ylabel("forward + backward, ms")


def _frameless(ax: Any) -> None:
    """White lines between cells in the place of a frame."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    rows, columns = ax.images[0].get_array().shape
    for edge in range(1, columns):
        ax.axvline(edge - 0.5, color="white", linewidth=2)
    for edge in range(1, rows):
        ax.axhline(edge - 0.5, color="white", linewidth=2)
