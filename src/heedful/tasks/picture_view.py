"""How a picture and the attention of a Vision Transformer become a section of a report."""

from dataclasses import replace
from typing import Any

import torch

from heedful.data import Pictures
from heedful.inspection import watch
from heedful.report import AttentionSection, Picture, Positions, attention_section


def picture_section(classifier: Any, pictures: Pictures, index: int) -> AttentionSection:
    """Watches the model on one picture; all that is shown comes from its attention matrices, which are never stored."""
    model, image = classifier.model, pictures.images[index : index + 1]
    with torch.inference_mode(), watch(model) as seen:
        probabilities = model(image).softmax(-1)[0]
    best = probabilities.topk(min(5, len(probabilities)))
    labels = [classifier.classes[i] for i in best.indices.tolist()]
    pixels = image[0].permute(1, 2, 0).numpy()
    patches = Picture(
        pixels=pixels[..., 0] if pixels.shape[-1] == 1 else pixels,
        grid=(image.shape[-2] // model.tokenizer.stride, image.shape[-1] // model.tokenizer.stride),
        extra=["class token"] * model.class_tokens,
        name=pictures.names[index],
    )
    section = attention_section(
        seen, title=f"{pictures.names[index]}: {labels[0]}", sides=[patches, Positions(1, ["the decision"], "decision")]
    )
    return replace(
        section,
        predictions=list(zip(labels, best.values.tolist(), strict=True)),
        truth=None if pictures.labels is None else pictures.classes[int(pictures.labels[index])],
    )
