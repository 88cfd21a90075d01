"""Figures for papers, drawn by matplotlib from the same sections as the page, in PNG, SVG or PDF."""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heedful._errors import needing
from heedful._files import checked_target, write_atomic
from heedful.report.attention import AttentionSection
from heedful.report.drawing import DOUBLE, INK, LARGE, LINE, SMALL, draw_map, draw_overview, draw_picture
from heedful.report.figure_request import figure_request

SUFFIXES = (".png", ".svg", ".pdf")
_STYLE: dict[str, Any] = {
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "svg.hashsalt": "heedful",  # with no date, the same section gives the same file
    "font.size": LARGE,
    "axes.titlesize": LARGE,
    "axes.labelsize": LARGE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.linewidth": 0.5,
    "axes.edgecolor": LINE,
    "axes.titlelocation": "left",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
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
        layer: its index in the section, or its name (the last of that name). None: all layers, or the only one.
        heads: which heads; their mean is drawn, in the overview each. None: all.
        view: "overview" (a thumbnail of each head, its colors from 0 to its own largest cell), "map" (queries x keys),
            "picture" (what the class token, or an average query, gives to each patch), "sound" or "series" (the map, above
            what the keys stand for). None: the overview without a layer and heads, otherwise what fits the keys.

    Raises:
        ValueError: the section does not have what was asked for; nothing is written.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is missing.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from heedful.report import Dense, Layer, Text
        >>> weights = np.full((2, 3, 3), 1 / 3, np.float32)
        >>> layer = Layer("encoder.0", "layer 0", "self", weights, Dense(weights), 3, 3, rows=0, columns=0)
        >>> section = AttentionSection("A model", "", [layer], [Text(["I", "can", "see"])])
        >>> draw_figure(section, tempfile.mkdtemp() + "/head.pdf", layer="encoder.0", heads=[1])
    """
    request = figure_request(section, layer, heads, view)
    draw = {"overview": draw_overview, "picture": draw_picture}.get(request.view, draw_map)
    write_figure(path, lambda figure: draw(figure, request))


def write_figure(path: str | os.PathLike[str], draw: Callable[[Any], None]) -> None:
    """Writes what `draw` draws into a figure of matplotlib.

    Raises:
        ValueError: the path ends in none of `SUFFIXES`; nothing is written.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"`path` must end in one of {', '.join(SUFFIXES)}: got {str(path)!r}.")
    target = checked_target(path)
    dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(DOUBLE, DOUBLE), dpi=300)
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(buffer, format=suffix[1:], metadata=dates[suffix])
    write_atomic(target, buffer.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own style with the sizes of a paper, whatever was set before, but in the type that was set."""
    with needing("figures", "`draw_figure`"):
        import matplotlib
        from matplotlib import style
    known: Any = matplotlib.rcParams
    fonts = {name: known[name] for name in _FONTS}
    with style.context(["default", fonts | _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # then a box is drawn
        yield
