"""Figures for papers, drawn by matplotlib from the same sections as the page, in PNG, SVG or PDF."""

import io
import math
import operator
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.report.attention import AttentionSection, Cells, Layer, Links, Vectors
from heedful.report.blocks import Blocks
from heedful.report.sides import Picture, Positions, Series, Side, Sound, Text
from heedful.report.whole import target_of, write_whole

VIEWS = ("overview", "map", "picture", "sound", "series")
SUFFIXES = (".png", ".svg", ".pdf")
SINGLE, DOUBLE = 3.3, 6.9  # inches: one and two columns of a paper
_TALLEST = 9.0  # inches
_SMALL, _LARGE = 7.0, 8.0  # points, of what stands along the axes and of their names
_MOST_TOKENS = 40  # along an axis that names each
_TOKEN = 0.11  # inches that a token needs along its axis
_MOST_LETTERS = 16  # of a token
_MOST_NAME = 40  # letters of any other name
_MOST_ROWS = 2048  # of which pairs are computed from queries and keys
_FINEST = 512  # cells of a drawn matrix along each axis
_THUMB = 64  # cells of a thumbnail along each axis
_GAP = 0.06  # inches, between a drawing and what stands beside it
_BAR = 0.09  # inches, the width of the bar of colours
_STRIP = 0.45  # inches, the height of a sound or a series below the keys
_EDGE = 0.03  # inches, around everything
_WIDEST = 0.3  # inches, of a cell between two tokens
_LOWEST = 0.8  # inches, of a map
_BETWEEN = 0.1  # of a thumbnail, to the next one
_THUMB_INCHES, _LARGEST_THUMB = 0.4, 0.9  # what a thumbnail should have at least, and has at most
_LONGEST_BAR = 1.8  # inches, beside an overview
_OVERLAY = 0.65  # how much the colours cover of a picture
_LINE_LETTERS = 54  # of a line that is as wide as a column
_WAVE_POINTS = 2048  # of a waveform, each with its lowest and highest sample
_INK, _LINE = "#222222", "#888888"
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)  # of Okabe and Ito: told apart by everyone
_STYLE: dict[str, Any] = {
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "svg.hashsalt": "heedful",  # with no date, the same section gives the same file
    "font.size": _LARGE,
    "axes.titlesize": _LARGE,
    "axes.labelsize": _LARGE,
    "xtick.labelsize": _SMALL,
    "ytick.labelsize": _SMALL,
    "axes.linewidth": 0.5,
    "axes.edgecolor": _LINE,
    "axes.titlelocation": "left",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "image.cmap": "viridis",
    "lines.linewidth": 0.6,
}
_FONTS = ("font.family", "font.sans-serif", "font.serif", "font.monospace")


def draw_figure(
    section: AttentionSection,
    path: str | os.PathLike[str],
    *,
    layer: int | str | None = None,
    heads: Sequence[int] | None = None,
    view: str | None = None,
) -> None:
    """Draws a section into one file, of the width of one or two columns (3.3 or 6.9 inches), whichever what is drawn needs.

    The type is that of matplotlib's `font.family`; a letter that it lacks is drawn as an empty box.

    Args:
        section: what is drawn.
        path: the file; its folder must exist, and its suffix, .png, .svg or .pdf, says what is written.
        layer: its place in the section, or its name (the last of that name). None: all layers, or the only one.
        heads: which heads; their mean is drawn, in the overview each. None: all.
        view: "overview" (a thumbnail of each head, its colours from 0 to its own largest cell), "map" (queries x keys),
            "picture" (what the class token, or an average query, gives to each patch), "sound" or "series" (the map, above
            what the keys stand for). None: the overview without a layer and heads, otherwise what fits the keys.

    Raises:
        ValueError: the section does not have what was asked for; nothing is written.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is missing.

    Example:
        >>> import tempfile
        >>> weights = np.full((2, 3, 3), 1 / 3, np.float32)
        >>> layer = Layer("encoder.0", "layer 0", "self", weights, Cells(weights), 3, 3, rows=0, columns=0)
        >>> section = AttentionSection("A model", "", [layer], [Text(["I", "can", "see"])])
        >>> draw_figure(section, tempfile.mkdtemp() + "/head.pdf", layer="encoder.0", heads=[1])
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"`path` must end in one of {', '.join(SUFFIXES)}: got {str(path)!r}.")
    target = target_of(path)
    asked = _asked(section, layer, heads, view)
    dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    drawn = io.BytesIO()
    with _style():
        _figure_of(asked).savefig(drawn, format=suffix[1:], metadata=dates[suffix])
    write_whole(target, [drawn.getvalue()])


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is drawn: heads of layers of a section, and how; only the overview has more than one layer."""

    section: AttentionSection
    layers: Sequence[Layer]
    heads: Sequence[int] | None
    view: str

    @property
    def layer(self) -> Layer:
        return self.layers[0]

    @property
    def chosen(self) -> Sequence[int]:
        return range(len(self.layer.map)) if self.heads is None else self.heads

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.section.sides[self.layer.rows], self.section.sides[self.layer.columns]

    @property
    def title(self) -> str:
        label = plain(self.layer.label, _MOST_NAME)
        if len(self.layer.map) == 1:
            return label
        if len(self.chosen) == 1:
            return f"{label}, head {self.chosen[0]}"
        which = "all heads" if self.heads is None else f"heads {', '.join(map(str, self.heads))}"
        return f"{label}, mean of {which}" if len(which) <= _MOST_NAME else f"{label}, mean of {len(self.chosen)} heads"


def _asked(section: AttentionSection, layer: int | str | None, heads: Sequence[int] | None, view: str | None) -> _Asked:
    """Checks the section and what is asked of it."""
    section.encode(Blocks())
    if view is not None and view not in VIEWS:
        raise ValueError(f"`view` must be one of {', '.join(VIEWS)}: got {view!r}.")
    if view is None and layer is None and heads is None:
        view = "overview"
    if view == "overview":
        layers = [call for call in section.layers if call.kind != "rollout"] or list(section.layers)
        if heads is not None:  # a mean of heads has none to choose from
            layers = [call for call in layers if len(call.map) > 1] or layers
        layers = layers if layer is None else [_layer_of(section, layer)]
    elif layer is None and len(section.layers) > 1:
        raise ValueError(f"`layer` must be given where there are {len(section.layers)} layers: got None.")
    else:
        layers = [_layer_of(section, 0 if layer is None else layer)]
    heads = None if heads is None else [operator.index(head) for head in heads]
    least = min(len(call.map) for call in layers)
    if heads is not None and (not heads or len(set(heads)) < len(heads) or min(heads) < 0 or max(heads) >= least):
        raise ValueError(f"`heads` must be one or more different numbers from 0 to {least - 1}: got {list(heads)}.")
    keys = section.sides[layers[0].columns]
    fitting = "picture" if isinstance(keys, Picture) else _strip_of(keys) or "map"
    if view in ("picture", "sound", "series") and view != fitting:
        raise ValueError(f"`view` {view!r} needs keys that are a {view}: got {type(keys).__name__.lower()}.")
    if view is None and fitting == "picture" and _patches(layers[0], keys, heads or [0]) is None:
        view = "map"
    return _Asked(section, layers, heads, view or fitting)


def _layer_of(section: AttentionSection, layer: int | str) -> Layer:
    if isinstance(layer, str):
        named = [call for call in section.layers if call.name == layer]
        if not named:
            names = ", ".join(dict.fromkeys(call.name for call in section.layers))
            raise ValueError(f"`layer` must be one of {plain(names, 400)}: got {layer[:60]!r}.")
        return named[-1]
    if not 0 <= layer < len(section.layers):
        raise ValueError(f"`layer` must be from 0 to {len(section.layers) - 1}, or a name: got {layer}.")
    return section.layers[layer]


def _strip_of(side: Side) -> str | None:
    return "sound" if isinstance(side, Sound) else "series" if isinstance(side, Series) else None


def plain(text: str, most: int = _MOST_LETTERS) -> str:
    r"""Returns text on one line, with nothing unseen in it, and of so many characters at most.

    Example:
        >>> plain("two\nlines"), plain("Donaudampfschifffahrt", 8) == "Donauda" + chr(0x2026)
        ('two\\nlines', True)
    """
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    seen = chr(0x2423) * len(seen) if seen.strip(" ") == "" else seen  # blanks as open boxes
    return seen if len(text) <= most and len(seen) <= most else seen[: most - 1] + chr(0x2026)


# What is drawn, as numbers.


def weights_of(layer: Layer, heads: Sequence[int]) -> NDArray[np.float32] | None:
    """The mean over heads of all weights `[N, M]`; None where the section does not hold them, or there are too many."""
    pairs = layer.pairs
    if isinstance(pairs, Links) and pairs.weights.shape[-1] < layer.keys:
        return None
    if pairs is None or (isinstance(pairs, Vectors) and max(layer.queries, layer.keys) > _MOST_ROWS):
        return None
    rows = np.arange(layer.queries)
    return np.asarray(sum(_rows(layer, head, rows) for head in heads) / len(heads), np.float32)


def _rows(layer: Layer, head: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Some rows of the weights of a head, with what is known of them."""
    pairs = layer.pairs
    if isinstance(pairs, Cells):
        return np.asarray(pairs.weights[head, rows], np.float32)
    if isinstance(pairs, Vectors):
        scores = pairs.scale * (pairs.query[head, rows] @ pairs.key[head].T).astype(np.float32)
        if pairs.ahead is not None:
            scores[np.arange(layer.keys) > rows[:, None] + pairs.ahead] = -math.inf
        top = scores.max(1, keepdims=True)
        weights = np.exp(scores - np.where(top == -math.inf, 0, top))
        return np.asarray(weights / np.maximum(weights.sum(1, keepdims=True), 1e-30), np.float32)
    some = np.zeros((len(rows), layer.keys), np.float32)
    assert isinstance(pairs, Links)
    for row, index, weight in zip(some, pairs.indices[head, rows], pairs.weights[head, rows], strict=True):
        row[index[weight > 0]] = weight[weight > 0]
    return some


def pool(weights: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """At most so many cells: the mean over the queries of a cell of what they give to its keys together."""
    queries, keys = weights.shape
    if columns < keys:
        weights = np.add.reduceat(weights, -(-np.arange(columns) * keys // columns), axis=1)
    if rows < queries:
        starts = -(-np.arange(rows) * queries // rows)
        means = np.add.reduceat(weights, starts, axis=0) / np.diff([*starts, queries])[:, None]
        weights = means.astype(np.float32)
    return weights


def _drawn(layer: Layer, heads: Sequence[int]) -> tuple[NDArray[np.float32], bool]:
    """What a map shows of some heads, and whether each cell is one weight."""
    weights = weights_of(layer, heads)
    if weights is None:
        grid = np.asarray(layer.map[list(heads)].astype(np.float32).mean(0), np.float32)
        return grid, grid.shape == (layer.queries, layer.keys)
    if max(weights.shape) <= _FINEST:
        return weights, True
    return pool(weights, _FINEST, _FINEST), False


def _patches(layer: Layer, side: Side, heads: Sequence[int]) -> tuple[NDArray[np.float32], str] | None:
    """What each key of a picture gets, and from whom; None where the section does not say."""
    assert isinstance(side, Picture)
    square = layer.queries == layer.keys and layer.rows == layer.columns
    if side.extra and square and layer.pairs is not None:
        first = np.zeros(1, np.int64)
        row = np.asarray(sum(_rows(layer, head, first)[0] for head in heads) / len(heads), np.float32)
        return row, f"from {plain(side.extra[0], _MOST_NAME)}"
    weights = weights_of(layer, heads)
    if weights is None and layer.map.shape[2] == layer.keys:
        cells = np.arange(layer.queries) * layer.map.shape[1] // layer.queries
        weights = np.asarray(layer.map[list(heads)].mean(0)[cells], np.float32)
    if weights is not None:
        return np.asarray(weights.mean(0), np.float32), "from an average query"
    received = layer.curves.get("received")
    if received is None or received.shape[-1] != layer.keys:
        return None
    return np.asarray(received[list(heads)].mean(0) / layer.queries, np.float32), "from an average query"


# How it is drawn. Places and sizes are inches from the lower left corner.


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own style with the sizes of a paper, whatever was set before, but in the type that was set."""
    try:
        import matplotlib
        from matplotlib import style
    except ImportError as error:
        raise ImportError("`draw_figure` needs matplotlib: `pip install 'heedful[figures]'`.") from error
    known: Any = matplotlib.rcParams
    kept = {name: known[name] for name in _FONTS}
    with style.context(["default", kept | _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # then a box is drawn
        yield


def _figure_of(asked: _Asked) -> Any:
    """Returns what is drawn, as matplotlib's figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(DOUBLE, DOUBLE), dpi=300)
    FigureCanvasAgg(figure)
    {"overview": _overview, "picture": _picture}.get(asked.view, _map)(figure, asked)
    return figure


def _map(figure: Any, asked: _Asked) -> None:
    """Queries x keys; below the keys what they stand for, where the view is named after that."""
    grid, exact = _drawn(asked.layer, asked.chosen)
    queries = _Axis.of(asked.sides[0], asked.layer.queries, asked.view)
    keys = _Axis.of(asked.sides[1], asked.layer.keys, asked.view)
    axes = figure.add_axes((0.25, 0.25, 0.5, 0.5))
    image = axes.imshow(grid, vmin=0, vmax=float(grid.max()) or 1.0, aspect="auto", interpolation="nearest")
    image.set_extent((keys.low, keys.high, queries.high, queries.low))
    axes.set_title(asked.title)
    queries.label(axes.yaxis, "queries")
    strip = figure.add_axes((0.25, 0.1, 0.5, 0.1), sharex=axes) if asked.view in ("sound", "series") else None
    keys.label(axes.xaxis if strip is None else strip.xaxis, "keys")
    if strip is not None:
        axes.tick_params(bottom=False, labelbottom=False)
        _draw_strip(strip, asked.sides[1])
        axes.set_xlim(keys.low, keys.high)
    bar = _draw_bar(figure, image, "attention" if exact else "attention per cell")

    left, below, right, above = _around(axes)
    beside = _GAP + _BAR + _around(bar)[2]
    under = max(below, _around(bar)[1]) if strip is None else _STRIP + _GAP + _around(strip)[1]
    right = right if strip is None else max(right, _around(strip)[2])
    named = [axis.names is not None for axis in (queries, keys)]
    room = SINGLE - left - max(beside, right)
    crowded = len(keys.names or ()) * _TOKEN > room or (all(named) and len(queries.names or ()) * _TOKEN > 2 * room)
    total = DOUBLE if crowded or (strip is not None and named[0]) else SINGLE
    width = total - left - max(beside, right)
    highest = _TALLEST - under - above
    if all(named):
        cell = min(_WIDEST, width / asked.layer.keys, highest / asked.layer.queries)
        width, height = cell * asked.layer.keys, cell * asked.layer.queries
    elif queries.names is not None:
        height = min(max(_TOKEN * len(queries.names), _LOWEST), highest)
    else:
        height = min(max(width * asked.layer.queries / asked.layer.keys, _LOWEST), 1.2 * width, highest)
    total_height = under + height + above + 2 * _EDGE
    start = (total - left - width - max(beside, right)) / 2 + left
    figure.set_size_inches(total, total_height)
    _place(figure, axes, start, under + _EDGE, width, height)
    _place(figure, bar, start + width + _GAP, under + _EDGE, _BAR, height)
    if strip is not None:
        _place(figure, strip, start, under + _EDGE - _GAP - _STRIP, width, _STRIP)


@dataclass(frozen=True)
class _Axis:
    """One axis of a map: from where to where, in which unit, and a name for each position where there is room."""

    low: float
    high: float
    words: str
    names: Sequence[str] | None = None

    @staticmethod
    def of(side: Side, count: int, view: str) -> "_Axis":
        words = plain(side.name, _MOST_NAME)
        if view == "sound" and isinstance(side, Sound):
            return _Axis(0.0, _seconds(side), f"{words} (s)")
        if view == "series" and isinstance(side, Series):
            return _Axis(0.0, float(len(side.values)), f"{words} (steps)")
        names = side.tokens if isinstance(side, Text) else side.names if isinstance(side, Positions) else None
        if names is None or len(names) != count or count > _MOST_TOKENS:
            return _Axis(-0.5, count - 0.5, words)
        return _Axis(-0.5, count - 0.5, words, [plain(name) for name in names])

    def label(self, axis: Any, role: str) -> None:
        """Puts the names, or else numbers, beside the axis."""
        from matplotlib.ticker import MaxNLocator

        axis.set_label_text(f"{role}: {self.words}")
        if self.names is None:
            axis.set_major_locator(MaxNLocator(5, integer=self.low < 0))
            return
        axis.set_ticks(range(len(self.names)), self.names)
        axis.set_tick_params(length=0)
        if axis.axis_name == "x":
            axis.tick_top()
            axis.set_label_position("top")
            axis.set_tick_params(length=0, labelrotation=90)


def _seconds(sound: Sound) -> float:
    return float(len(sound.samples) / sound.rate if sound.seconds is None else sound.seconds)


def _draw_strip(axes: Any, side: Side) -> None:
    """The waveform of a sound, or the lines of a series, each between its lowest and its highest value."""
    if isinstance(side, Sound):
        samples = np.asarray(side.samples, np.float32)
        starts = np.arange(min(_WAVE_POINTS, len(samples))) * len(samples) // min(_WAVE_POINTS, len(samples))
        low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
        axes.fill_between(starts / side.rate, low, high, color=_INK, linewidth=0.2)
        largest = float(np.abs(samples).max()) or 1.0
        axes.set_ylim(-1.05 * largest, 1.05 * largest)
    elif isinstance(side, Series):
        values = np.asarray(side.values, np.float32).reshape(len(side.values), -1)
        low, high = values.min(0), values.max(0)
        shown = (values - low) / np.where(high > low, high - low, 1)
        many = shown.shape[1] > len(_COLOURS)
        for channel, line in enumerate(shown.T):
            colour = _INK if shown.shape[1] == 1 else _LINE if many else _COLOURS[channel]
            axes.plot(np.arange(len(line)) + 0.5, line, color=colour, alpha=0.4 if many else 1.0)
        if side.channels is not None and 1 < len(side.channels) <= len(_COLOURS):
            names = [plain(name) for name in side.channels]
            axes.legend(
                axes.lines, names, loc="upper left", bbox_to_anchor=(1.0, 1.1), fontsize=_SMALL, frameon=False,
                handlelength=0.8, handletextpad=0.4, borderpad=0, borderaxespad=0.3, labelspacing=0.1,
            )  # fmt: skip
        axes.set_ylim(-0.05, 1.05)
    axes.set_yticks([])
    for edge in ("top", "left", "right"):
        axes.spines[edge].set_visible(False)


def _overview(figure: Any, asked: _Asked) -> None:
    """All heads of all layers: one row of thumbnails a layer, each from 0 to its largest cell."""
    from matplotlib.colors import PowerNorm

    thumbs = [[call.map[head] for head in asked.heads or range(len(call.map))] for call in asked.layers]
    rows, columns = len(thumbs), max(len(row) for row in thumbs)
    side = min(
        _THUMB if rows <= 16 and columns <= 16 else _THUMB // 2,
        max(max(thumb.shape) for row in thumbs for thumb in row),
    )
    place = side + max(round(side * _BETWEEN), 1)
    sheet = np.full((rows * place, columns * place), np.nan, np.float32)
    for i, row in enumerate(thumbs):
        for j, thumb in enumerate(row):
            sheet[i * place : i * place + side, j * place : j * place + side] = _thumbnail(thumb, side)
    axes = figure.add_axes((0.25, 0.25, 0.5, 0.5))
    sheet = np.ma.masked_invalid(sheet[: rows * place - (place - side), : columns * place - (place - side)])
    norm = PowerNorm(0.5, 0, 1)
    image = axes.imshow(sheet, norm=norm, aspect="auto", interpolation="nearest")
    step = place / side  # from one thumbnail, which is 1 wide, to the next
    image.set_extent((0, sheet.shape[1] / side, sheet.shape[0] / side, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("head")
    labels = [plain(label) for label in _row_labels(asked.layers)]
    axes.set_yticks([i * step + 0.5 for i in range(rows)], labels)
    bar = _draw_bar(figure, image, "of its largest")
    bar.set_yticks([0, 0.1, 0.5, 1], ["0", "0.1", "0.5", "1"])
    left, _, _, above = _around(axes)
    beside = 2 * _GAP + _BAR + _around(bar)[2]
    most = _TALLEST - above
    total = SINGLE if columns * _THUMB_INCHES <= SINGLE - left - beside else DOUBLE
    unit = min((total - left - beside) / (columns * step), most / (rows * step), _LARGEST_THUMB)
    width, height = unit * sheet.shape[1] / side, unit * sheet.shape[0] / side
    numbers = asked.heads or range(columns)
    each, every = (math.ceil(least / (unit * step)) for least in (1.6 * _TOKEN, _TOKEN))
    axes.set_xticks(
        [j * step + 0.5 for j in range(0, columns, each)], [str(numbers[j]) for j in range(0, columns, each)]
    )
    axes.set_yticks([i * step + 0.5 for i in range(0, rows, every)], labels[::every])
    start = (total - left - width - beside) / 2 + left
    above = _around(axes)[3]
    below = _around(bar)[1]
    top = max(height, _LOWEST) + below + _EDGE
    figure.set_size_inches(total, top + above + _EDGE)
    _place(figure, axes, start, top - height, width, height)
    tall = min(max(height, _LOWEST), _LONGEST_BAR)
    _place(figure, bar, start + width + 2 * _GAP, top - tall, _BAR, tall)


def _thumbnail(cells: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    """A map as a square of cells, in parts of its largest one."""
    cells = pool(np.asarray(cells, np.float32), min(side, cells.shape[0]), min(side, cells.shape[1]))
    rows, columns = (np.arange(side) * count // side for count in cells.shape)
    return np.asarray(cells[rows[:, None], columns] / (cells.max() or 1), np.float32)


def _row_labels(layers: Sequence[Layer]) -> list[str]:
    """What the reader calls each layer; with its kind where several are called the same."""
    labels = [call.label for call in layers]
    return [f"{call.label} {call.kind}" if labels.count(call.label) > 1 else call.label for call in layers]


def _picture(figure: Any, asked: _Asked) -> None:
    """The picture, and beside it what each patch gets, over the picture in grey."""
    side = asked.sides[1]
    assert isinstance(side, Picture)
    found = _patches(asked.layer, side, asked.chosen)
    if found is None:
        raise ValueError(
            f"`view` 'picture' needs the weights of single patches, which the section does not hold for "
            f"{asked.layer.name[:60]!r}: use `view='map'`, or give `attention_section` more `room`."
        )
    row, origin = found
    patches, extra = row[len(side.extra) :].reshape(side.grid), row[: len(side.extra)]
    pixels = np.asarray(side.pixels)
    grey = pixels if pixels.ndim == 2 else np.round(pixels @ [0.299, 0.587, 0.114])
    height, width = grey.shape
    plain_axes, axes = (figure.add_axes((0.1 + 0.4 * i, 0.25, 0.3, 0.5), label=str(i)) for i in range(2))
    extent = (0, width, height, 0)
    plain_axes.imshow(pixels, extent=extent, aspect="auto", cmap="gray", vmin=0, vmax=255)
    axes.imshow(grey, extent=extent, aspect="auto", cmap="gray", vmin=0, vmax=255)
    largest = float(patches.max()) or 1.0
    image = axes.imshow(
        patches, extent=extent, aspect="auto", vmin=0, vmax=largest, alpha=_OVERLAY, interpolation="nearest"
    )
    for each in (plain_axes, axes):
        each.set_axis_off()
    bar = _draw_bar(figure, image, "attention")
    beside = _GAP + _BAR + _around(bar)[2]
    panel = (SINGLE - beside - 3 * _GAP) / 2
    tall = min(panel * height / width, _TALLEST / 2)
    panel = tall * width / height
    start = (SINGLE - 2 * panel - beside - _GAP) / 2
    line = 1.5 * _LARGE / 72
    below = line if len(extra) else _around(bar)[1]
    total = tall + line + below + 2 * _EDGE
    figure.set_size_inches(SINGLE, total)
    _place(figure, plain_axes, start, below + _EDGE, panel, tall)
    _place(figure, axes, start + panel + _GAP, below + _EDGE, panel, tall)
    _place(figure, bar, start + 2 * panel + 2 * _GAP, below + _EDGE, _BAR, tall)
    figure.text(start / SINGLE, 1 - _EDGE / total, plain(f"{asked.title}, {origin}", _LINE_LETTERS), va="top")
    if len(extra):
        names = side.extra[0] if len(side.extra) == 1 else f"{side.extra[0]} and {len(side.extra) - 1} more"
        words = f"{extra.sum():.2g} of it goes to {names}"
        figure.text(start / SINGLE, _EDGE / total, plain(words, _LINE_LETTERS), va="bottom", fontsize=_SMALL)


def _draw_bar(figure: Any, image: Any, words: str) -> Any:
    """A bar of the colours, yet to be placed."""
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_axes((0.8, 0.25, 0.02, 0.5), label="colours")
    bar = figure.colorbar(image, cax=axes)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.set_label(words)
    return axes


def _around(axes: Any) -> tuple[float, float, float, float]:
    """How far what belongs to some axes reaches beyond them: left, below, right, above."""
    figure = axes.figure
    outer, inner = axes.get_tightbbox(figure.canvas.get_renderer()), axes.get_window_extent()
    reaches = (inner.x0 - outer.x0, inner.y0 - outer.y0, outer.x1 - inner.x1, outer.y1 - inner.y1)
    left, below, right, above = (float(max(reach, 0)) / figure.dpi + _EDGE for reach in reaches)
    return left, below, right, above


def _place(figure: Any, axes: Any, left: float, bottom: float, width: float, height: float) -> None:
    across, along = figure.get_size_inches()
    axes.set_position((left / across, bottom / along, width / across, height / along))
