import io

import pytest
import torch
from rich.console import Console

from heedful.tasks.classify_image import ImageClassifier, Settings, prepare
from heedful.tasks.picture_view import picture_section
from heedful.training.settings import read_settings
from tests.tiny import TINY


@pytest.mark.parametrize("pooling", ["attention", "class-token"])
@pytest.mark.parametrize("colour", ["grey", "colour"])
def test_a_section_shows_what_the_model_computed(shades, pooling, colour):
    settings = read_settings(
        Settings, None, [*TINY, f"model.pooling={pooling}", f"data.colour={colour}", "data.size=[8, 12]"]
    )
    ready = prepare(settings, {"data": str(shades)}, Console(file=io.StringIO()))
    channels = ready.training.images.shape[1]
    classifier = ImageClassifier(ready.model, ready.training.classes, (8, 12), channels)
    section = picture_section(classifier, ready.validation, 2)
    tokens = 6 + (pooling == "class-token")
    picture = section.sides[0]
    assert (picture.grid, list(picture.extra)) == ((2, 3), ["class token"] * (pooling == "class-token"))
    assert picture.pixels.shape == ((8, 12) if channels == 1 else (8, 12, 3))
    shapes = [(layer.label, layer.kind, layer.queries, layer.keys) for layer in section.layers]
    own = [("layer 0", "self", tokens, tokens), ("layer 1", "self", tokens, tokens)]
    decision = [] if pooling == "class-token" else [("pooling", "cross", 1, tokens)]
    assert shapes == [*own, *decision, ("rollout", "rollout", tokens, tokens)]
    for layer in section.layers:
        assert layer.pairs.weights.sum(-1) == pytest.approx(1, abs=1e-5)
        assert section.sides[layer.columns] is picture
    assert section.truth == "light"
    probabilities = classifier.logits(ready.validation.images[2:3]).softmax(-1)[0]
    assert dict(section.predictions) == pytest.approx(
        dict(zip(classifier.classes, probabilities.tolist(), strict=True))
    )
    assert section.title == f"{ready.validation.names[2]}: {classifier.classes[int(probabilities.argmax())]}"
    assert not torch.is_inference_mode_enabled()
