"""How a figure is drawn. Places and sizes are inches from the lower left corner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.report.attention import Layer
from heedful.report.axes import Axis, Picture, Positions, Series, Sound, Text
from heedful.report.figure_request import FigureRequest
from heedful.report.labels import MOST_NAME, plain, token_texts
from heedful.report.weights import map_of, patch_weights, pool

SINGLE, DOUBLE = 3.3, 6.9  # inches: one and two columns of a paper
_TALLEST = 9.0  # inches
SMALL, LARGE = 7.0, 8.0  # points, of what stands along the axes and of their names
_MOST_TOKENS = 40  # along an axis that names each
_TOKEN = 0.11  # inches that a token needs along its axis
_THUMB = 64  # cells of a thumbnail along each axis
_GAP = 0.06  # inches, between a drawing and what stands beside it
_BAR = 0.09  # inches, the width of the bar of colors
_STRIP = 0.45  # inches, the height of a sound or a series below the keys
_EDGE = 0.03  # inches, around everything
_WIDEST = 0.3  # inches, of a cell between two tokens
_LOWEST = 0.8  # inches, of a map
_BETWEEN = 0.1  # of a thumbnail, to the next one
_THUMB_INCHES, _LARGEST_THUMB = 0.4, 0.9  # what a thumbnail should have at least, and has at most
_LONGEST_BAR = 1.8  # inches, beside an overview
_OVERLAY = 0.65  # how much the colors cover of a picture
_LINE_LETTERS = 54  # of a line that is as wide as a column
_WAVE_POINTS = 2048  # of a waveform, each with its lowest and highest sample
INK, LINE = "#222222", "#888888"
COLORS = (  # of Okabe and Ito: told apart by everyone
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
)  # fmt: skip


def draw_map(figure: Any, request: FigureRequest) -> None:
    """Queries x keys; below the keys what they stand for, where the view is named after that."""
    grid, exact = map_of(request.layer, request.chosen)
    queries = _AxisLabels.of(request.query_axis, request.layer.queries, request.view)
    keys = _AxisLabels.of(request.key_axis, request.layer.keys, request.view)
    axes = figure.add_axes((0.25, 0.25, 0.5, 0.5))
    image = axes.imshow(grid, vmin=0, vmax=float(grid.max()) or 1.0, aspect="auto", interpolation="nearest")
    image.set_extent((keys.low, keys.high, queries.high, queries.low))
    axes.set_title(request.title)
    queries.label(axes.yaxis, "queries")
    strip = figure.add_axes((0.25, 0.1, 0.5, 0.1), sharex=axes) if request.view in ("sound", "series") else None
    keys.label(axes.xaxis if strip is None else strip.xaxis, "keys")
    if strip is not None:
        axes.tick_params(bottom=False, labelbottom=False)
        _draw_strip(strip, request.key_axis)
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
        cell = min(_WIDEST, width / request.layer.keys, highest / request.layer.queries)
        width, height = cell * request.layer.keys, cell * request.layer.queries
    elif queries.names is not None:
        height = min(max(_TOKEN * len(queries.names), _LOWEST), highest)
    else:
        height = min(max(width * request.layer.queries / request.layer.keys, _LOWEST), 1.2 * width, highest)
    total_height = under + height + above + 2 * _EDGE
    start = (total - left - width - max(beside, right)) / 2 + left
    figure.set_size_inches(total, total_height)
    _place(figure, axes, start, under + _EDGE, width, height)
    _place(figure, bar, start + width + _GAP, under + _EDGE, _BAR, height)
    if strip is not None:
        _place(figure, strip, start, under + _EDGE - _GAP - _STRIP, width, _STRIP)


@dataclass(frozen=True)
class _AxisLabels:
    """One axis of a map: from where to where, in which unit, and a name for each position where there is room."""

    low: float
    high: float
    words: str
    names: Sequence[str] | None = None

    @staticmethod
    def of(axis: Axis, count: int, view: str) -> "_AxisLabels":
        words = plain(axis.name, MOST_NAME)
        if view == "sound" and isinstance(axis, Sound):
            return _AxisLabels(0.0, _seconds(axis), f"{words} (s)")
        if view == "series" and isinstance(axis, Series):
            return _AxisLabels(0.0, float(len(axis.values)), f"{words} (steps)")
        names = (
            token_texts(axis.tokens) if isinstance(axis, Text) else axis.names if isinstance(axis, Positions) else None
        )
        if names is None or len(names) != count or count > _MOST_TOKENS:
            return _AxisLabels(-0.5, count - 0.5, words)
        return _AxisLabels(-0.5, count - 0.5, words, [plain(name) for name in names])

    def label(self, plot_axis: Any, role: str) -> None:
        """Puts the names, or else numbers, beside an axis of matplotlib's."""
        from matplotlib.ticker import MaxNLocator

        plot_axis.set_label_text(f"{role}: {self.words}")
        if self.names is None:
            plot_axis.set_major_locator(MaxNLocator(5, integer=self.low < 0))
            return
        plot_axis.set_ticks(range(len(self.names)), self.names)
        plot_axis.set_tick_params(length=0)
        if plot_axis.axis_name == "x":
            plot_axis.tick_top()
            plot_axis.set_label_position("top")
            plot_axis.set_tick_params(length=0, labelrotation=90)


def _seconds(sound: Sound) -> float:
    return float(len(sound.samples) / sound.rate if sound.seconds is None else sound.seconds)


def _draw_strip(axes: Any, key_axis: Axis) -> None:
    """The waveform of a sound, or the lines of a series, each between its lowest and its highest value."""
    if isinstance(key_axis, Sound):
        samples = np.asarray(key_axis.samples, np.float32)
        starts = np.arange(min(_WAVE_POINTS, len(samples))) * len(samples) // min(_WAVE_POINTS, len(samples))
        low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
        axes.fill_between(starts / key_axis.rate, low, high, color=INK, linewidth=0.2)
        largest = float(np.abs(samples).max()) or 1.0
        axes.set_ylim(-1.05 * largest, 1.05 * largest)
    elif isinstance(key_axis, Series):
        values = np.asarray(key_axis.values, np.float32).reshape(len(key_axis.values), -1)
        low, high = values.min(0), values.max(0)
        scaled = (values - low) / np.where(high > low, high - low, 1)
        many = scaled.shape[1] > len(COLORS)
        for channel, line in enumerate(scaled.T):
            color = INK if scaled.shape[1] == 1 else LINE if many else COLORS[channel]
            axes.plot(np.arange(len(line)) + 0.5, line, color=color, alpha=0.4 if many else 1.0)
        if key_axis.channels is not None and 1 < len(key_axis.channels) <= len(COLORS):
            names = [plain(name) for name in key_axis.channels]
            axes.legend(
                axes.lines, names, loc="upper left", bbox_to_anchor=(1.0, 1.1), fontsize=SMALL, frameon=False,
                handlelength=0.8, handletextpad=0.4, borderpad=0, borderaxespad=0.3, labelspacing=0.1,
            )  # fmt: skip
        axes.set_ylim(-0.05, 1.05)
    axes.set_yticks([])
    for edge in ("top", "left", "right"):
        axes.spines[edge].set_visible(False)


def draw_overview(figure: Any, request: FigureRequest) -> None:
    """All heads of all layers: one row of thumbnails a layer, each from 0 to its largest cell."""
    from matplotlib.colors import PowerNorm

    thumbs = [[call.map[head] for head in request.heads or range(len(call.map))] for call in request.layers]
    rows, columns = len(thumbs), max(len(row) for row in thumbs)
    size = min(
        _THUMB if rows <= 16 and columns <= 16 else _THUMB // 2,
        max(max(thumb.shape) for row in thumbs for thumb in row),
    )
    step_cells = size + max(round(size * _BETWEEN), 1)
    sheet = np.full((rows * step_cells, columns * step_cells), np.nan, np.float32)
    for i, row in enumerate(thumbs):
        for j, thumb in enumerate(row):
            sheet[i * step_cells : i * step_cells + size, j * step_cells : j * step_cells + size] = _thumbnail(
                thumb, size
            )
    axes = figure.add_axes((0.25, 0.25, 0.5, 0.5))
    sheet = np.ma.masked_invalid(
        sheet[: rows * step_cells - (step_cells - size), : columns * step_cells - (step_cells - size)]
    )
    norm = PowerNorm(0.5, 0, 1)
    image = axes.imshow(sheet, norm=norm, aspect="auto", interpolation="nearest")
    step = step_cells / size  # from one thumbnail, which is 1 wide, to the next
    image.set_extent((0, sheet.shape[1] / size, sheet.shape[0] / size, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("head")
    labels = [plain(label) for label in _row_labels(request.layers)]
    axes.set_yticks([i * step + 0.5 for i in range(rows)], labels)
    bar = _draw_bar(figure, image, "of its largest")
    bar.set_yticks([0, 0.1, 0.5, 1], ["0", "0.1", "0.5", "1"])
    left, _, _, above = _around(axes)
    beside = 2 * _GAP + _BAR + _around(bar)[2]
    most = _TALLEST - above
    total = SINGLE if columns * _THUMB_INCHES <= SINGLE - left - beside else DOUBLE
    unit = min((total - left - beside) / (columns * step), most / (rows * step), _LARGEST_THUMB)
    width, height = unit * sheet.shape[1] / size, unit * sheet.shape[0] / size
    numbers = request.heads or range(columns)
    each, every = (math.ceil(width_of_one / (unit * step)) for width_of_one in (1.6 * _TOKEN, _TOKEN))
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


def _thumbnail(cells: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """A map as a square of cells, in parts of its largest one."""
    cells = pool(np.asarray(cells, np.float32), min(size, cells.shape[0]), min(size, cells.shape[1]))
    rows, columns = (np.arange(size) * count // size for count in cells.shape)
    return np.asarray(cells[rows[:, None], columns] / (cells.max() or 1), np.float32)


def _row_labels(layers: Sequence[Layer]) -> list[str]:
    """What the reader calls each layer; with its kind where several are called the same."""
    labels = [call.label for call in layers]
    return [f"{call.label} {call.kind}" if labels.count(call.label) > 1 else call.label for call in layers]


def draw_picture(figure: Any, request: FigureRequest) -> None:
    """The picture, and beside it what each patch gets, over the picture in gray."""
    picture = request.key_axis
    assert isinstance(picture, Picture)
    row_and_origin = patch_weights(request.layer, picture, request.chosen)
    if row_and_origin is None:
        raise ValueError(
            f"`view` 'picture' needs the weights of single patches, which the section does not hold for "
            f"{request.layer.name[:60]!r}: use `view='map'`, or give `attention_section` more `budget`."
        )
    row, origin = row_and_origin
    patches, extra = row[len(picture.extra) :].reshape(picture.grid), row[: len(picture.extra)]
    pixels = np.asarray(picture.pixels)
    gray = pixels if pixels.ndim == 2 else np.round(pixels @ [0.299, 0.587, 0.114])
    height, width = gray.shape
    plain_axes, axes = (figure.add_axes((0.1 + 0.4 * i, 0.25, 0.3, 0.5), label=str(i)) for i in range(2))
    extent = (0, width, height, 0)
    plain_axes.imshow(pixels, extent=extent, aspect="auto", cmap="gray", vmin=0, vmax=255)
    axes.imshow(gray, extent=extent, aspect="auto", cmap="gray", vmin=0, vmax=255)
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
    line = 1.5 * LARGE / 72
    below = line if len(extra) else _around(bar)[1]
    total = tall + line + below + 2 * _EDGE
    figure.set_size_inches(SINGLE, total)
    _place(figure, plain_axes, start, below + _EDGE, panel, tall)
    _place(figure, axes, start + panel + _GAP, below + _EDGE, panel, tall)
    _place(figure, bar, start + 2 * panel + 2 * _GAP, below + _EDGE, _BAR, tall)
    figure.text(start / SINGLE, 1 - _EDGE / total, plain(f"{request.title}, {origin}", _LINE_LETTERS), va="top")
    if len(extra):
        names = picture.extra[0] if len(picture.extra) == 1 else f"{picture.extra[0]} and {len(picture.extra) - 1} more"
        words = f"{extra.sum():.2g} of it goes to {names}"
        figure.text(start / SINGLE, _EDGE / total, plain(words, _LINE_LETTERS), va="bottom", fontsize=SMALL)


def _draw_bar(figure: Any, image: Any, words: str) -> Any:
    """A bar of the colors, yet to be placed."""
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_axes((0.8, 0.25, 0.02, 0.5), label="colors")
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
