"""How a recording and the attention of a transcriber become a section of a report: the spectrogram, its words, and who attends to whom."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from heedful._errors import DataError
from heedful.data.log_mel import SHIFT
from heedful.data.recordings import SoundClip
from heedful.inspection import watch
from heedful.models.conformer import FrameWindow
from heedful.models.ctc import best_alignment
from heedful.models.transcriber import Transcriber
from heedful.report import AttentionSection, Axis, Dense, Layer, Positions, Sound, attention_section
from heedful.report.cells import cell_starts
from heedful.tasks.transcribe_settings import TranscribeOptions
from heedful.tasks.views._common import shortened

if TYPE_CHECKING:
    from heedful.tasks.transcribe import Transcribe

_MOST_SECONDS = 60.0  # of a recording that are shown
_CELLS = 512  # of a map, at most
_MOST_DRAWN = 600  # frames whose window is drawn


def transcribed_section(task: "Transcribe", model: Transcriber, recording: SoundClip) -> AttentionSection:
    """The layers of the encoder over the recording's frames; the alignment of the tokens; what the decoder attended to.

    Raises:
        DataError: the recording is shorter than a frame.
    """
    rate = task.features.rate
    samples = recording.read(rate)
    whole, samples = len(samples) / rate, samples[: round(_MOST_SECONDS * rate)]
    frames = task.features(samples)
    if len(frames) < model.factor:
        raise DataError(f"{recording.location}: must last at least 45 ms to be inspected: got {1000 * whole:.0f} ms")
    one = replace(recording, end=recording.start + min(whole, _MOST_SECONDS))
    (found,) = task.predict(model, [one], TranscribeOptions())
    window = task.window()
    with torch.inference_mode(), watch(model) as recorded:
        encoded = model.encode(frames[None], torch.tensor([len(frames)]), window)
        tokens = task.encode(found.output)
        if model.decoder is not None:
            model.decoder(encoded, torch.tensor([[model.end, *tokens]]))
        rows = model.log_probabilities(encoded.features)[0].double().numpy()
    count, seconds = len(rows), len(rows) * model.factor * SHIFT
    sound = Sound(
        samples, rate, spectrogram=frames.T.numpy(), seconds=max(seconds, len(samples) / rate), count=count, name="sound",
        words=[(word, start, min(end, seconds)) for word, start, end in found.words if start < seconds],
    )  # fmt: skip
    names = [task.tokenizer.decode([token]) for token in tokens]
    axes: list[Axis] = [sound]
    if model.decoder is not None:
        axes.append(Positions(len(tokens) + 1, [*names, "[END]"], "what comes next"))
    text = (
        f"A frame attends to {_told(window.before)} before its own and "
        f"{f'to the end of its chunk of {window.chunk}' if window.chunk else f'{_told(window.after)} after it'}, in each layer; "
        f"a frame is {1000 * SHIFT * model.factor:.0f} ms. Words stand where they were heard."
        f"{f' The first {_MOST_SECONDS:g} s are shown.' if whole > _MOST_SECONDS else ''}"
    )
    section = attention_section(
        recorded, title=f"{shortened(recording.name, 40)}: {found.output}", text=text, axes=axes
    )
    at, layers = section.axes.index(sound), list[Layer]()
    if tokens:
        layers.append(replace(_alignment(rows, tokens), rows=len(section.axes), columns=at))
        section = replace(
            section, axes=[*section.axes, Positions(len(names), names, "what was said")], opens={"view": "input"}
        )
    if count <= _MOST_DRAWN:
        layers.append(replace(_visible(window, count), rows=at, columns=at))
    return replace(section, layers=[*layers, *section.layers], output=found.output)


def _told(frames: int | None) -> str:
    return "all frames" if frames is None else f"{frames} frames"


def _alignment(rows: Any, tokens: list[int]) -> Layer:
    """For each token its share of the probability that it has over all frames near those that CTC gives it."""
    shares = np.exp(rows[:, tokens]).T  # [tokens, frames]
    try:
        path = np.array(best_alignment(np.maximum(rows, -1e4), tokens))
    except ValueError:
        path = np.full(len(rows), -1)
    starts = [int(np.flatnonzero(path == i)[0]) if (path == i).any() else 0 for i in range(len(tokens))]
    limits = [0, *((a + b + 1) // 2 for a, b in pairwise(starts)), len(rows)]
    for i in range(len(tokens)):
        shares[i, : limits[i]] = shares[i, limits[i + 1] :] = 0
    return _layer("alignment", shares)


def _visible(window: FrameWindow, count: int) -> Layer:
    """Which frames a frame may attend to."""
    index = torch.arange(count)
    allowed = (
        window.pattern(count).allowed(index[:, None], index[None], (1, 1, count, count)).expand(1, 1, count, count)
    )
    return _layer("window", allowed[0, 0].float().numpy())


def _layer(name: str, weights: Any) -> Layer:
    """Weights `[rows, columns]` as a layer; each row adds up to 1."""
    shares = (weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)).astype(np.float32)[None]
    height, width = shares.shape[1:]
    rows, columns = (cell_starts(size, min(_CELLS, size)).numpy() for size in (height, width))
    grid = np.add.reduceat(shares, columns[:-1], axis=2)
    grid = np.add.reduceat(grid, rows[:-1], axis=1) / np.diff(rows)[:, None]
    return Layer(
        name=name, label=name, kind="cross" if name == "alignment" else "self", map=grid, pairs=Dense(shares),
        queries=height, keys=width, rows=0, columns=0,
    )  # fmt: skip
