"""What each box looked at: the attention of a detector over its picture."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import HeedfulError
from heedful.data.boxes import BoxedImages
from heedful.inspection import watch
from heedful.models.detector import STRIDE
from heedful.report import AttentionSection, Axis, Picture, Positions, attention_section
from heedful.report.read_axes import fitting
from heedful.tasks.detect_settings import DetectOptions

if TYPE_CHECKING:
    from heedful.tasks.detect import Detect

_SHOWN = 10  # boxes that are told beside the picture


def detect_section(task: "Detect", model: Any, pictures: BoxedImages, row: int) -> AttentionSection:
    """Watches the model on one picture; all that is shown comes from its attention matrices, which are never stored."""
    if task.settings.model.head == "dense" and task.settings.model.attention in ("none", "control"):
        raise HeedfulError("there is nothing to inspect: this detector has no attention (model.attention).")
    one = pictures.select([row])
    with torch.inference_mode(), watch(model) as recording:
        found = model(one.images[:1])
    (detections,) = task.predict(model, [one], DetectOptions())
    pixels = one.images[:1][0].permute(1, 2, 0).numpy()
    height, width = one.sizes[0].tolist()
    scale = np.array([pixels.shape[1] / width, pixels.shape[0] / height] * 2)
    marked = _marked(pixels, np.array(detections.boxes).reshape(-1, 4) * scale)
    names = _queries(task, found) if found.layers else []
    text = "Boxes are drawn in white. A place or a query has its features from where the colors are."
    section = attention_section(
        recording, title=str(pictures.names[row]), text=text, axes=fitting(_axes(marked, names), recording)
    )
    best = list(zip(detections.labels, detections.scores, strict=True))[:_SHOWN]
    return replace(section, predictions=best, truth=task.expected(one) if one.boxes else None)


def _axes(pixels: NDArray[np.uint8], names: list[str]) -> list[Axis]:
    """What stands along the axes: places of the features that attend, and of those that are looked at; queries, by their boxes."""
    picture = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    h, w = pixels.shape[:2]
    grids = [tuple(-(-side // stride) for side in (h, w)) for stride in (STRIDE, 2 * STRIDE)]
    axes: list[Axis] = [Picture(pixels=picture, grid=grid, name=f"{grid[0]} x {grid[1]}") for grid in grids]
    return [*axes, Positions(len(names), names, "boxes")] if names else axes


def _queries(task: "Detect", found: Any) -> list[str]:
    """Each query by what it found."""
    scores = found.layers[-1].scores[0].sigmoid()
    best = scores.max(1)
    return [
        f"{task.classes[label]} {100 * score:.0f} %"
        for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _marked(pixels: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture with its boxes drawn in white."""
    from PIL import Image, ImageDraw

    gray = pixels.shape[-1] == 1
    picture = Image.fromarray(pixels[..., 0] if gray else pixels)
    draw = ImageDraw.Draw(picture)
    for box in boxes.tolist():
        draw.rectangle(box, outline=255 if gray else "white")
    return np.atleast_3d(np.asarray(picture))
