"""What is drawn into a figure: heads of layers of a section, and how."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from heedful.report.attention import AttentionSection, Layer
from heedful.report.axes import Axis, Picture, Series, Sound
from heedful.report.blocks import ArrayBlocks
from heedful.report.labels import MOST_NAME, plain
from heedful.report.weights import patch_weights

VIEWS = ("overview", "map", "picture", "sound", "series")


@dataclass(frozen=True, eq=False)
class FigureRequest:
    """What is drawn: heads of layers of a section, and how; only the overview has more than one layer."""

    section: AttentionSection
    layers: Sequence[Layer]
    heads: Sequence[int] | None
    view: str

    @property
    def layer(self) -> Layer:
        """The first layer; of all views but the overview the only one."""
        return self.layers[0]

    @property
    def chosen(self) -> Sequence[int]:
        """The heads whose mean is drawn."""
        return range(len(self.layer.map)) if self.heads is None else self.heads

    @property
    def query_axis(self) -> Axis:
        """What stands along the queries."""
        return self.section.axes[self.layer.rows]

    @property
    def key_axis(self) -> Axis:
        """What stands along the keys."""
        return self.section.axes[self.layer.columns]

    @property
    def title(self) -> str:
        """The layer and its heads in words."""
        label = plain(self.layer.label, MOST_NAME)
        if len(self.layer.map) == 1:
            return label
        if len(self.chosen) == 1:
            return f"{label}, head {self.chosen[0]}"
        which = "all heads" if self.heads is None else f"heads {', '.join(map(str, self.heads))}"
        return f"{label}, mean of {which}" if len(which) <= MOST_NAME else f"{label}, mean of {len(self.chosen)} heads"


def figure_request(
    section: AttentionSection, layer: int | str | None, heads: Sequence[int] | None, view: str | None
) -> FigureRequest:
    """What is drawn of a section; the arguments are those of `draw_figure`.

    Raises:
        ValueError: the section does not have it.
    """
    section.encode(ArrayBlocks())
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
    keys = section.axes[layers[0].columns]
    fitting = "picture" if isinstance(keys, Picture) else strip_of(keys) or "map"
    if view in ("picture", "sound", "series") and view != fitting:
        raise ValueError(f"`view` {view!r} needs keys that are a {view}: got {type(keys).__name__.lower()}.")
    if view is None and isinstance(keys, Picture) and patch_weights(layers[0], keys, heads or [0]) is None:
        view = "map"
    return FigureRequest(section, layers, heads, view or fitting)


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


def strip_of(axis: Axis) -> str | None:
    """The view that is named after what the keys stand for, of a recording or a series."""
    return "sound" if isinstance(axis, Sound) else "series" if isinstance(axis, Series) else None
