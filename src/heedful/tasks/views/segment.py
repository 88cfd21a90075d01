"""How a picture and the attention of a segmenter become a section of a report: where features came from, by place and by channel."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heedful._errors import HeedfulError
from heedful.data.masks import resized_image
from heedful.inspection import AttentionCall, watch
from heedful.models.segmenter import STRIDE, SegmentationNetwork
from heedful.report import AttentionSection, Axis, Picture, Positions, attention_section
from heedful.tasks.segment_predictions import Segmentation
from heedful.tasks.tiles import is_one_tile

if TYPE_CHECKING:
    from heedful.tasks.segment import Segment


def segment_section(task: "Segment", model: SegmentationNetwork, name: str, image: Tensor) -> AttentionSection:
    """Watches the model on one picture; all that is shown comes from its attention matrices, which are never stored.

    Raises:
        HeedfulError: the model has no attention.
    """
    seen, said = task.seen(image), ""
    if not is_one_tile(seen, task.size):
        seen, said = (
            resized_image(seen, task.size),
            " The picture is larger than those of the training, and shown smaller.",
        )
    with torch.inference_mode(), watch(model) as recording:
        labels = model(seen[None])[0].argmax(0).byte().numpy()
    calls = list(recording)
    if not calls:
        raise HeedfulError(
            f"there is nothing to inspect: model.attention={task.settings.model.attention} attends to nothing."
        )
    grid = (-(-seen.shape[1] // STRIDE), -(-seen.shape[2] // STRIDE))
    picture = Picture(pixels=seen.permute(1, 2, 0).numpy(), grid=grid, name="picture")
    weight = model.auxiliary.weight.detach()[:, :, 0, 0]
    speaks = [f"{i} ({task.classes[number]})" for i, number in enumerate(weight.argmax(0).tolist())]
    channels = Positions(len(speaks), speaks, "channels")
    over_channels = {name for name, module in model.named_modules() if getattr(module, "attends_to", "") == "channels"}
    gammas = ", ".join(
        f"{name} {value.item():.3f}" for name, value in model.named_parameters() if name.endswith("gamma")
    )
    text = (
        "Over places: from where in the picture the features of a place come. Over channels: from which channels those of a channel "
        f"come; beside its number, the class that a channel speaks for most. What is gathered is added times gamma: {gammas}.{said}"
    )
    found = Segmentation.of(name, labels, task.classes)
    title = f"{name}: {', '.join(found.labels[:3])}"
    parts = [
        _section(title, text, [call for call in calls if (call.module in over_channels) == channel], axis)
        for channel, axis in ((False, picture), (True, channels))
    ]
    there = [part for part in parts if part is not None]
    first, *others = there
    for other in others:
        moved = [
            replace(layer, rows=layer.rows + len(first.axes), columns=layer.columns + len(first.axes))
            for layer in other.layers
        ]
        first = replace(first, layers=[*first.layers, *moved], axes=[*first.axes, *other.axes])
    return first


def _section(title: str, text: str, calls: list[AttentionCall], axis: Axis) -> AttentionSection | None:
    """The calls of one kind; None where there are none."""
    return attention_section(calls, title=title, text=text, axes=[axis]) if calls else None
