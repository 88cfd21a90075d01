"""Which past days, and which channels, a forecast looked at: the attention of a forecaster over one window."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from heedful._errors import HeedfulError
from heedful.data.series import as_texts
from heedful.data.windows import SeriesWindows
from heedful.inspection import watch
from heedful.models.forecaster import Forecaster
from heedful.report import AttentionSection, Axis, Positions, Series, attention_section

if TYPE_CHECKING:
    from heedful.tasks.forecast import ForecastTask

_MOST_CHANNELS = 16  # that are shown one by one
_TOLD = 3  # patches that received most


def forecast_section(task: "ForecastTask", model: Forecaster, window: SeriesWindows, name: str) -> AttentionSection:
    """Watches the model on one window; all that is shown comes from its attention matrices, which are never stored.

    Raises:
        HeedfulError: the model has no attention.
    """
    if model.attend is None:
        raise HeedfulError("there is nothing to inspect: model.attention=none attends to nothing.")
    batch = task.batches(window, training=False).make([0])
    with torch.inference_mode(), watch(model) as recording:
        linear, from_attention = model.paths(*batch.inputs)
    times = [call for call in recording if ".layers." in f".{call.module}"]
    across = [call for call in recording if ".channel_layers." in f".{call.module}"]
    grid, origin = window.grid, int(window.origins[0])
    patches = _patches(task, model, window)
    assert from_attention is not None
    forecast = linear + from_attention
    varies = (forecast - forecast.mean(1, keepdim=True)).square().mean().sqrt()
    added = from_attention.square().mean().sqrt() / varies.clamp_min(1e-9)
    sections = []
    for channel, column in enumerate(grid.columns[:_MOST_CHANNELS]):
        seen = grid.values[origin - task.length : origin, channel : channel + 1]
        axis = Series(seen, [column], column, len(patches))
        received = times[-1].matrix.received()[channel].mean(0)  # of all heads, [P]
        best = received.topk(min(_TOLD, len(received)))
        told = "; ".join(
            f"{patches[i]} ({100 * share / len(patches):.1f} %)"
            for i, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
        text = (
            f"{column}: the last layer looked most at {told}. Attention adds {100 * float(added):.1f} % of what the forecast varies by; "
            "the rest is its linear path."
        )
        axes: list[Axis] = [axis, Positions(len(patches), patches, "patches")]
        sections.append(attention_section(times, title=f"{name}: {column}", text=text, axes=axes, sample=channel))
    first = replace(sections[0], samples=sections[1:])
    return _with_channels(first, across, list(grid.columns)) if across else first


def _patches(task: "ForecastTask", model: Forecaster, window: SeriesWindows) -> list[str]:
    """What each patch covers, by its first and its last time."""
    attend, origin = model.attend, int(window.origins[0])
    assert attend is not None
    starts = np.arange(attend.count) * attend.stride - attend.padding
    first, last = (
        np.clip(rows, 0, task.length - 1) + origin - task.length for rows in (starts, starts + attend.patch - 1)
    )
    texts = (as_texts(window.grid.times_of(rows)) for rows in (first, last))
    return [f"{begin} to {end}" for begin, end in zip(*texts, strict=True)]


def _with_channels(section: AttentionSection, calls: list[Any], columns: list[str]) -> AttentionSection:
    """The attention over channels beside that over time, of the last patch."""
    axis = Positions(len(columns), columns, "channels")
    last = calls[0].shape[0] - 1
    other = attention_section(calls, title=section.title, text="", axes=[axis], sample=last)
    moved = [
        replace(
            layer,
            label=f"{layer.label}, channels",
            rows=layer.rows + len(section.axes),
            columns=layer.columns + len(section.axes),
        )
        for layer in other.layers
    ]
    return replace(section, layers=[*section.layers, *moved], axes=[*section.axes, *other.axes])
