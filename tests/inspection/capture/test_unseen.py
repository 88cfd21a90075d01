"""What cannot be seen is named."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heedful.inspection import watch


class Attention(nn.Module):
    """As vision libraries write it: the kernel, or softmax by hand."""

    def __init__(self, fused, softmax=None):
        super().__init__()
        self.fused, self.qkv = fused, nn.Linear(8, 24)
        self.softmax = softmax

    def forward(self, x):
        B, N, _ = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q * 0.5 @ k.transpose(-2, -1)
            x = (self.softmax(scores) if self.softmax else scores.softmax(dim=-1)).cumsum(-1) @ v  # not followed
        return x.transpose(1, 2).reshape(B, N, 8)


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attn, self.mlp = attention, nn.Linear(8, 8)

    def forward(self, x):
        return x + self.mlp(self.attn(x))


class Mixer(nn.Module):
    """Attention that is not called so."""

    def forward(self, x):
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return torch.softmax(q @ q.mT, -1).sum((1, 3))[..., None] * x


x = torch.randn(2, 5, 8)


def test_fused_and_not_fused():
    model = nn.Sequential(Block(Attention(True)), Block(Attention(False)))
    with watch(model) as seen:
        model(x)
    assert [call.module for call in seen] == ["0.attn"]
    [missed] = seen.unseen
    assert missed.module == "1.attn"
    assert missed.why == "Attention computes softmax of [2, 2, 5, 5] by hand: it was not seen to multiply values"
    table = str(seen)
    assert "NOT SEEN, though expected: 1" in table
    assert f"1.attn: {missed.why}" in table


def test_softmax_as_a_module_counts_with_the_attention_around_it():
    model = Block(Attention(False, nn.Softmax(dim=-1)))
    with watch(model) as seen:
        model(x)
    assert [m.module for m in seen.unseen] == ["attn"]


def test_softmax_in_a_module_of_another_name():
    model = nn.Sequential(Mixer(), nn.Linear(8, 8))
    with watch(model) as seen:
        model(x)
    assert [(m.module, "softmax of [2, 2, 5, 5]" in m.why) for m in seen.unseen] == [("0", True)]


def test_probabilities_of_classes_are_no_attention():
    model = nn.Sequential(Block(Attention(True)), nn.Linear(8, 8), nn.Softmax(dim=-1))
    with watch(model) as seen:
        model(x)
        model(x).softmax(-1)
    assert not seen.unseen


def test_a_module_that_did_not_run_is_not_expected():
    model = nn.ModuleList([Block(Attention(True)), Block(Attention(False))])
    with watch(model) as seen:
        model[0](x)
    assert not seen.unseen


def test_what_was_not_wanted_is_not_missed():
    model = nn.Sequential(Block(Attention(False)), Block(Attention(False)))
    with watch(model, keep=["0"]) as seen:
        model(x)
    assert [m.module for m in seen.unseen] == ["0.attn"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_named():
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), Block(Attention(True)))
    plain = model(x)
    with watch(model) as seen:
        out = model(x)
    assert torch.equal(out, plain)
    assert [(m.module, m.why) for m in seen.unseen] == [("0", "TorchScript: what runs inside cannot be seen")]
    assert len(seen) == 1


def test_another_thread_is_named():
    model = nn.Sequential(Block(Attention(True)))
    with watch(model) as seen:
        thread = threading.Thread(target=model, args=(x,))
        thread.start()
        thread.join()
    assert [(m.module, "ran in another thread" in m.why) for m in seen.unseen] == [("0.attn", True)]


def test_a_failing_capture_does_not_stop_the_model(monkeypatch):
    def fails(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("heedful.inspection.capture.recorder.Recorder._add", fails)
    model = Block(Attention(True))
    plain = model(x)
    with watch(model) as seen:
        out = model(x)
    assert torch.equal(out, plain)
    assert seen.unseen == [("attn", "on purpose")]


class Scores(nn.Module):
    """A softmax over keys, of one head, whose result multiplies nothing."""

    def forward(self, x):
        return (x @ x.mT).softmax(-1).cumsum(-1)


def test_a_softmax_of_three_axes_is_named_where_nothing_else_was_seen():
    scores, both = Scores(), nn.Sequential(Block(Attention(True)), Scores())
    with watch(scores) as seen:
        scores(x)
    assert [one.why for one in seen.unseen] == ["softmax of [2, 5, 5] by hand: it was not seen to multiply values"]
    with watch(both) as seen:
        both(x)
    assert not seen.unseen  # a gate, most likely
    with watch(classifier := nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1))) as seen:
        classifier(x[0])
    assert not seen.unseen  # probabilities of classes
