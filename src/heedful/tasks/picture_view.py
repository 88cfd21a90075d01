"""How a picture and the attention of a Vision Transformer become a section of a report."""

from typing import Any

import torch

from heedful._types import Float, Tensor
from heedful.data import Pictures
from heedful.inspection import rollout, watch
from heedful.inspection.report import LayerHeads, PictureSection
from heedful.ops import AttentionMatrix


def picture_section(classifier: Any, pictures: Pictures, index: int) -> PictureSection:
    """Watches the model on one picture; all that is shown comes from its attention matrices, which are never stored."""
    model, image = classifier.model, pictures.images[index : index + 1]
    with torch.inference_mode(), watch(model) as seen:
        probabilities = model(image).softmax(-1)[0]
    layers = [call.matrix for call in seen if call.module.startswith("encoder.")]
    pooling = None if model.class_tokens else seen["pooling"]
    best = probabilities.topk(min(5, len(probabilities)))
    pixels = image[0].permute(1, 2, 0).numpy()
    truth = None if pictures.labels is None else pictures.classes[int(pictures.labels[index])]
    return PictureSection(
        title=f"{pictures.names[index]}: {classifier.classes[int(best.indices[0])]}",
        picture=pixels[..., 0] if pixels.shape[-1] == 1 else pixels,
        caption=pictures.names[index],
        grid=(image.shape[-2] // model.tokenizer.stride, image.shape[-1] // model.tokenizer.stride),
        class_tokens=model.class_tokens,
        layers=[_heads(f"layer {i + 1}", matrix) for i, matrix in enumerate(layers)],
        pooling=None if pooling is None else _heads("pooling", pooling),
        rollout=(rollout(layers).T @ _decision(layers[-1], pooling)[..., None])[0, :, 0].numpy(),
        predictions=[
            (classifier.classes[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
        truth=truth,
    )


def _decision(last: AttentionMatrix, pooling: AttentionMatrix | None) -> Float[Tensor, "1 N"]:
    """What the answer is made of after the last layer: the class token, or what the pooling weighs."""
    if pooling is not None:
        return pooling.received().mean(1)
    start = torch.zeros(1, last.shape[-1])
    start[:, 0] = 1
    return start


def _heads(name: str, matrix: AttentionMatrix) -> LayerHeads:
    query, key, factor = matrix.inner_product()
    return LayerHeads(name, query[0].numpy(), key[0].numpy(), factor, matrix.received()[0].numpy())
