"""How an image and the attention of its model become a section of a report."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import HeedfulError
from heedful.data import LabeledImages
from heedful.inspection import Recording, watch
from heedful.models import ConvolutionalNetwork
from heedful.models.pretrained import PretrainedImageClassifier
from heedful.report import AttentionSection, Axis, Picture, Positions, attention_section
from heedful.report.read_axes import fitting

if TYPE_CHECKING:
    from heedful.tasks.classify_image import ClassifyImage


def _axes(model: Any, recording: Recording, pixels: NDArray[np.uint8], name: str) -> list[Axis]:
    """What stands along the axes: patches, behind tokens that are none; places of feature maps; channels are numbers."""
    if isinstance(model, PretrainedImageClassifier):
        from heedful.hugging_face.inputs import picture_axes

        made = (make(recording) for make in picture_axes(model.encoder.network.config.to_dict(), pixels.shape, pixels))
        return fitting([replace(axis, name=name) for axis in made if isinstance(axis, Picture)], recording)
    if isinstance(model, ConvolutionalNetwork):
        grids = dict.fromkeys(call.grid for call in recording if call.grid is not None)
        return [Picture(pixels=pixels, grid=grid, name=name) for grid in grids]
    grid = (pixels.shape[0] // model.tokenizer.stride, pixels.shape[1] // model.tokenizer.stride)
    patches = Picture(pixels=pixels, grid=grid, extra=["class token"] * model.class_tokens, name=name)
    return [patches] if model.class_tokens else [patches, Positions(1, ["the decision"], "decision")]


def image_section(task: "ClassifyImage", model: Any, images: LabeledImages, index: int) -> AttentionSection:
    """Watches the model on one image; all that is shown comes from its attention matrices, which are never stored.

    Raises:
        HeedfulError: the model has no attention.
    """
    image, name = images.images[index : index + 1], images.names[index]
    with torch.inference_mode(), watch(model) as recording:
        outputs = model(image).float()
    if not len(recording):
        architecture = task.settings.model.architecture
        raise HeedfulError(f"there is no attention to look at in a model with model.architecture={architecture}.")
    predictions = task.target.ranked(outputs[0])
    (found,) = task.target.predictions([name], outputs, None)
    pixels = image[0].permute(1, 2, 0).numpy()
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    section = attention_section(
        recording,
        title=f"{name}: {predictions[0][0] if predictions else found}",
        axes=_axes(model, recording, pixels, name),
    )
    truth = None if images.labels is None else images.classes[int(images.labels[index])]
    output = None if predictions else str(found)
    return replace(section, predictions=predictions, truth=truth, output=output)
