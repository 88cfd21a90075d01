from typing import get_args

import pytest
import torch

from heedful.inspection import watch
from heedful.models import ConvolutionalNetwork
from heedful.models.cnn import Architecture

ARCHITECTURES = get_args(Architecture)


def _made(architecture, **settings):
    torch.manual_seed(0)
    return ConvolutionalNetwork(architecture=architecture, channels=3, classes=7, **settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"stages": (64, 128, 256), "blocks": (1, 2, 1), "attention_after": (1, 2, 3)}],
    ids=["default", "large"],
)
def test_all_are_of_equal_size_within_a_percent(settings):
    counts = {name: sum(p.numel() for p in _made(name, **settings).parameters()) for name in ARCHITECTURES}
    assert max(counts.values()) < 1.01 * min(counts.values()), counts
    expected = (
        (1_634_722, 1_634_554, 1_634_725, 1_634_557, 1_633_994)
        if settings
        else (314_576, 314_552, 314_577, 314_553, 314_472)
    )
    assert counts == dict(zip(ARCHITECTURES, expected, strict=True))


def test_all_begin_as_the_same_function():
    x = torch.randint(0, 256, (2, 3, 9, 16), dtype=torch.uint8)
    first, *others = (
        _made(name, stages=(8, 16), blocks=(2, 1), attention_after=(1, 2)).eval()(x) for name in ARCHITECTURES
    )
    for other in others:
        assert torch.equal(other, first)


@pytest.mark.parametrize(
    ("architecture", "seen"),
    [("cnn", []), ("cnn_spatial", ["self"]), ("cnn_channel", ["channel"]), ("cnn_dual", ["self", "channel"]),
     ("cnn_sagan", ["self"])],
)  # fmt: skip
def test_what_attends(architecture, seen):
    model = _made(architecture, stages=(8, 16), blocks=(1, 1), attention_after=(1, 2)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.ones_(parameter)
    with watch(model) as recording:
        model(torch.rand(2, 3, 9, 16)).sum().backward()
    assert [call.kind for call in recording] == seen * 2
    assert {call.grid for call in recording if call.kind == "self"} <= {(5, 8), (3, 4)}
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": (1,)}, r"`stages` and `blocks` must have one number a stage each: got \[32, 64, 128\] and \[1\]\."),
        ({"attention_after": (2, 4)}, r"`attention_after` must name stages from 1 to 3: got \[2, 4\]\."),
        ({"heads": 3}, r"`heads` must be a positive divisor of `channels`: got 3 and 64\."),
    ],
)
def test_impossible_parts(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        _made("cnn_dual", **arguments)
