"""How an image and the attention of a Vision Transformer become a section of a report."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from heedful.data import LabeledImages
from heedful.inspection import watch
from heedful.report import AttentionSection, Picture, Positions, attention_section

if TYPE_CHECKING:
    from heedful.tasks.classify_image import ClassifyImage


def image_section(task: "ClassifyImage", model: Any, images: LabeledImages, index: int) -> AttentionSection:
    """Watches the model on one image; all that is shown comes from its attention matrices, which are never stored."""
    image, name = images.images[index : index + 1], images.names[index]
    with torch.inference_mode(), watch(model) as recording:
        outputs = model(image).float()
    predictions = task.target.ranked(outputs[0])
    (found,) = task.target.predictions([name], outputs, None)
    pixels = image[0].permute(1, 2, 0).numpy()
    patches = Picture(
        pixels=pixels[..., 0] if pixels.shape[-1] == 1 else pixels,
        grid=(image.shape[-2] // model.tokenizer.stride, image.shape[-1] // model.tokenizer.stride),
        extra=["class token"] * model.class_tokens,
        name=name,
    )
    axes = [patches] if model.class_tokens else [patches, Positions(1, ["the decision"], "decision")]
    section = attention_section(recording, title=f"{name}: {predictions[0][0] if predictions else found}", axes=axes)
    truth = None if images.labels is None else images.classes[int(images.labels[index])]
    output = None if predictions else str(found)
    return replace(section, predictions=predictions, truth=truth, output=output)
