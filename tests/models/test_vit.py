import pytest
import torch

from heedful.inspection import watch
from heedful.models import vision_transformer


@pytest.mark.parametrize("architecture", ["cct", "vit"])
@pytest.mark.parametrize("pooling", ["attention", "class-token"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize(("size", "channels"), [((8, 12), 3), ((16, 8), 1)])
def test_any_picture_and_any_parts(architecture, pooling, positions, size, channels):
    torch.manual_seed(0)
    model = vision_transformer(
        size=size,
        channels=channels,
        classes=7,
        architecture=architecture,
        pooling=pooling,
        positions=positions,
        width=8,
        heads=2,
    ).eval()
    pictures = torch.randint(0, 256, (5, channels, *size), dtype=torch.uint8)
    model.mean.fill_(0.4)
    model.std.fill_(0.3)
    with watch(model) as seen:
        logits = model(pictures)
    assert logits.shape == (5, 7)
    torch.testing.assert_close(model(pictures / 255), logits)
    tokens = size[0] * size[1] // 16 + model.class_tokens
    assert [call.matrix.shape for call in seen][:2] == [(5, 2, tokens, tokens)] * 2
    assert ("pooling" in [call.module for call in seen]) == (pooling == "attention")
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_pictures_are_normalized_by_two_buffers():
    torch.manual_seed(0)
    model = vision_transformer(size=(8, 8), channels=3, classes=2).eval()
    pictures = torch.rand(5, 3, 8, 8)
    mean, std = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.7, 0.1, 2.0])
    expected = model((pictures - mean[:, None, None]) / std[:, None, None])
    assert not torch.allclose(model(pictures), expected)
    model.mean.copy_(mean)
    model.std.copy_(std)
    torch.testing.assert_close(model(pictures), expected)
    assert {"mean", "std"} <= set(model.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"architecture": "vit", "patch_size": 3},
            "`patch_size` must be a positive divisor of `picture height`: got 3 and 8",
        ),
        ({"stages": (8, 8, 8, 8), "convolutions": (1, 1, 1, 1)}, "at least 16 x 16 pixels for 4 stages: got 8 x 8"),
        ({"stages": (8, 8), "convolutions": (1,)}, r"one number a stage each: got \[8, 8\] and \[1\]"),
        ({"width": 9}, "`heads` must be a positive divisor of `width`: got 4 and 9"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        vision_transformer(size=(8, 8), channels=1, classes=2, **arguments)
