import pytest
import torch

from heedful.models.attention_block import KINDS, attention_block


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_begins_as_the_identity_and_learns(kind):
    torch.manual_seed(0)
    block, x = attention_block(kind, 16, heads=2, like="dual"), torch.randn(2, 16, 5, 3)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    gammas = [parameter for name, parameter in block.named_parameters() if name.endswith("gamma")]
    assert gammas
    for gamma in gammas:
        torch.nn.init.constant_(gamma, 0.5)
    y = block(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in block.parameters() if parameter.ndim
    )


@pytest.mark.parametrize("channels", [32, 128])
def test_what_is_compared_has_as_many_parameters(channels):
    dual = _count(attention_block("dual", channels))
    for kind in KINDS:
        assert abs(_count(attention_block(kind, channels, like="dual")) - dual) <= 2 * channels
    assert _count(attention_block("control", channels)) == _count(attention_block("control", channels, like="dual"))
    assert _count(attention_block("channel", channels)) == 1


def test_a_position_of_the_control_does_not_see_others():
    block, x = attention_block("control", 8), torch.randn(1, 8, 3, 3)
    torch.nn.init.ones_(block.gamma)
    changed = x.clone()
    changed[..., 1, 1] += 1
    difference = (block(changed) - block(x)).abs().sum(1)[0]
    assert difference[1, 1] > 0.5
    assert difference.sum() == difference[1, 1]


@pytest.mark.parametrize("name", ["kind", "like"])
def test_an_unknown_kind(name):
    with pytest.raises(ValueError, match=rf"^`{name}` must be .*'spectral'"):
        attention_block(**{"kind": "dual", "channels": 8, name: "spectral"})
