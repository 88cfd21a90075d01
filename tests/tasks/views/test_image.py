import pytest
import torch

from heedful.tasks.classify_image import ClassifyImage
from heedful.tasks.sources import prepare
from heedful.tasks.views.image import image_section
from heedful.training.settings import settings_of
from tests.tiny import TINY


@pytest.mark.parametrize("pooling", ["attention", "class-token"])
@pytest.mark.parametrize("color", ["gray", "color"])
def test_a_section_shows_what_the_model_computed(shades, pooling, color):
    words = [*TINY, f"model.pooling={pooling}", f"data.color={color}", "data.size=[8, 12]"]
    parts, task = prepare(ClassifyImage, settings_of(ClassifyImage.Settings, words), {"data": str(shades)})
    model, images = task.build().eval(), parts.validation
    section = image_section(task, model, images, 2)
    tokens = 6 + (pooling == "class-token")
    image = section.axes[0]
    assert (image.grid, list(image.extra)) == ((2, 3), ["class token"] * (pooling == "class-token"))
    assert image.pixels.shape == ((8, 12) if color == "gray" else (8, 12, 3))
    shapes = [(layer.label, layer.kind, layer.queries, layer.keys) for layer in section.layers]
    own = [("layer 0", "self", tokens, tokens), ("layer 1", "self", tokens, tokens)]
    decision = [] if pooling == "class-token" else [("pooling", "cross", 1, tokens)]
    assert shapes == [*own, *decision, ("rollout", "rollout", tokens, tokens)]
    for layer in section.layers:
        assert layer.pairs.weights.sum(-1) == pytest.approx(1, abs=1e-5)
        assert section.axes[layer.columns] is image
    assert section.truth == "light"
    probabilities = task.target.values(task.outputs(model, images.images[2:3]))[0]
    assert dict(section.predictions) == pytest.approx(
        dict(zip(task.target.classes, probabilities.tolist(), strict=True))
    )
    assert section.title == f"{images.names[2]}: {task.target.classes[int(probabilities.argmax())]}"
    assert not torch.is_inference_mode_enabled()
