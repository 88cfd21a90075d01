"""Attention in networks that exist: everything else stays as it was."""

import copy
import functools
import io

import pytest
import torch
from torch import nn as torch_nn

import heedful
from heedful import nn


class Block(torch_nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv, self.bn = torch_nn.Conv2d(before, after, 3, padding=1), torch_nn.BatchNorm2d(after)
        self.short = torch_nn.Conv2d(before, after, 1)

    def forward(self, x):
        return self.bn(self.conv(x)).relu() + self.short(x)


class LikeTorchvision(torch_nn.Module):
    """`layer3` of torchvision's ResNet; the pool takes any size, the head is flat."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch_nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.bn1 = torch_nn.BatchNorm2d(8)
        self.layer1 = torch_nn.Sequential(Block(8, 8), Block(8, 8))
        self.layer2 = torch_nn.Sequential(Block(8, 16), Block(16, 16))
        self.avgpool, self.fc = torch_nn.AdaptiveAvgPool2d(1), torch_nn.Linear(16, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class Grown(torch_nn.ModuleDict):
    """A block of torchvision's DenseNet runs what it holds."""

    def forward(self, x):
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


class LikeTimm(torch_nn.Module):
    """Stages with blocks by number, as in timm, and one that grows."""

    def __init__(self):
        super().__init__()
        self.stem = torch_nn.Conv2d(3, 8, 4, stride=4)
        self.stages = torch_nn.Sequential(
            torch_nn.Sequential(Block(8, 8), Block(8, 12)), Grown({"one": Block(12, 4), "two": Block(16, 4)})
        )
        self.head = torch_nn.Linear(20, 5)

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


X = torch.randn(2, 3, 33, 20, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "torchvision": (LikeTorchvision, "layer2", "layer2_attention", 16),
    "a block": (LikeTorchvision, "layer1.0", "layer1.0.attention", 8),
    "batch norm": (LikeTorchvision, "bn1", "bn1.attention", 8),
    "timm": (LikeTimm, "stages.0", "stages_0_attention", 12),
    "a container that runs what it holds": (LikeTimm, "stages.1", "stages_1_attention", 20),
    "a sequence within a sequence": (
        lambda: torch_nn.Sequential(torch_nn.Sequential(torch_nn.Conv2d(3, 8, 3), torch_nn.ReLU()), torch_nn.Flatten()),
        "0",
        "0.1.attention",
        8,
    ),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def made(name):
    torch.manual_seed(0)
    return NETWORKS[name][0]().train()


@networks
@pytest.mark.parametrize("kind", ["spatial", "channel", "dual", "sagan"])
def test_everything_else_stays_and_it_can_be_taken_out_again(name, kind):
    _, after, where, channels = NETWORKS[name]
    network = made(name)
    calls = []
    target = network.get_submodule(after)
    target.register_forward_hook(lambda module, arguments, out: calls.append(out))
    before, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    expected = copy.deepcopy(network)(X)
    calls.clear()
    assert nn.add_attention(network, after=after, kind=kind) is network
    assert not calls  # the trial has no hooks
    state = network.state_dict()
    added = {key for key in state if key not in before}
    assert added
    assert all(key.startswith(f"{where}.") for key in added)
    assert all(torch.equal(state[key], value) for key, value in before.items())
    attention = network.get_submodule(where)
    assert (attention.channels if kind != "dual" else attention.spatial.channels) == channels
    assert [m.training for m in network.modules() if m not in set(attention.modules())] == modes
    assert torch.equal(network(X), expected)  # gamma is 0
    assert len(calls) == 1
    for parameter_name, parameter in attention.named_parameters():
        if parameter_name.endswith("gamma"):
            torch_nn.init.constant_(parameter, 2.0)
    assert not torch.allclose(network(X), expected)
    assert nn.remove_attention(network) is network
    assert list(network.state_dict()) == list(before)
    network.load_state_dict(before)
    assert torch.equal(network(X), expected)
    assert len(calls) == 3


def test_by_pattern_and_by_several_names():
    network = nn.add_attention(LikeTorchvision(), after=["layer?.1", "conv1"], kind="channel")
    found = [name for name, module in network.named_modules() if isinstance(module, nn.ChannelAttention)]
    assert found == ["conv1.attention", "layer1.1.attention", "layer2.1.attention"]
    nn.remove_attention(network, after="layer*.1")
    assert [n for n, m in network.named_modules() if isinstance(m, nn.ChannelAttention)] == ["conv1.attention"]


def test_any_layer_and_the_network_it_is_in_can_be_copied_pickled_and_watched():
    kind = functools.partial(nn.DualAttention, order="channel-first", merge="concatenation")
    network = nn.add_attention(LikeTorchvision().double().eval(), after="layer2", kind=kind)
    network.layer2_attention.spatial.gamma.data.fill_(0.5)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    for other in (copy.deepcopy(network), torch.load(file, weights_only=False)):
        torch.testing.assert_close(other(X.double()), network(X.double()))
        other.layer2_attention.spatial.gamma.data.fill_(0.0)
        assert not torch.allclose(other(X.double()), network(X.double()))
    with heedful.watch(network) as recording:
        network(X.double())
    assert [call.module for call in recording] == ["layer2_attention.channel", "layer2_attention.spatial"]


def test_a_name_that_is_taken():
    network = LikeTorchvision()
    network.layer1[0].attention = torch_nn.Identity()
    nn.add_attention(network, after="layer1.0", kind="channel")
    assert isinstance(network.layer1[0].attention_, nn.ChannelAttention)
    nn.remove_attention(network)
    assert isinstance(network.layer1[0].attention, torch_nn.Identity)
    assert not hasattr(network.layer1[0], "attention_")


def test_what_does_not_fit():
    network = LikeTorchvision()
    with pytest.raises(
        ValueError,
        match=r"^`after` must name modules of the network: got 'layr2'; the nearest names are 'layer2', 'layer2.1', 'layer2.0'\.$",
    ):
        nn.add_attention(network, after="layr2")
    with pytest.raises(
        ValueError,
        match=r"^`after` must name modules that give \[batch, channels, height, width\]: 'fc' gives \[1, 5\]\.$",
    ):
        nn.add_attention(network, after=["layer1", "fc"])
    assert not any(isinstance(module, nn.DualAttention) for module in network.modules())  # all or nothing
    nn.add_attention(network, after="layer2")
    with pytest.raises(
        ValueError, match=r"^`after` must name modules that have no attention behind them yet: got 'layer2'\.$"
    ):
        nn.add_attention(network, after="layer2")
    with pytest.raises(ValueError, match=r"^`kind` must be 'spatial', 'channel', 'dual' or 'sagan': got 'cbam'\.$"):
        nn.add_attention(network, after="layer1", kind="cbam")
    with pytest.raises(ValueError, match=r"^`network` must have attention that was added: got none after 'layer1'\.$"):
        nn.remove_attention(network, after="layer1")
    with pytest.raises(ValueError, match=r"^`example` must be an input of the network, which did not run on it: .*"):
        nn.add_attention(network, after="layer1", example=torch.zeros(1, 4, 8, 8))
    sequence = torch_nn.Sequential(Grown({"one": Block(3, 4)}))
    with pytest.raises(
        ValueError, match=r"^`after` must name modules that are not containers within containers alone: got '0'\.$"
    ):
        nn.add_attention(sequence, after="0")
