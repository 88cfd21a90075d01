import pytest
import torch
from torch import nn as torch_nn

from heedful import nn, ops


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorchs_layer(norm):
    torch.manual_seed(0)
    theirs = torch_nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu",
        batch_first=True, norm_first=norm == "pre", dtype=torch.float64,
    )  # fmt: skip
    ours = nn.TransformerEncoderLayer(12, 3, ffn_width=20, norm=norm).double()
    names = {
        "self_attn": "attention",
        "linear1": "network.0",
        "linear2": "network.2",
        "norm1": "attention_norm",
        "norm2": "network_norm",
    }
    state = {names[name.split(".")[0]] + name[name.index(".") :]: p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_dropped_paths_leave_the_sample_and_keep_the_mean():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, drop_path=0.5).train()
    x = torch.randn(1, 3, 8).expand(4000, 3, 8)
    out = layer(x)
    kept = (out != x).flatten(1).any(1).float().mean()
    assert kept == pytest.approx(0.75, abs=0.03)  # both sublayers are skipped by a quarter
    assert torch.equal(layer.eval()(x[:1]), layer(x[:1]))


def test_drop_path_grows_with_the_depth():
    encoder = nn.TransformerEncoder(8, 2, 5, drop_path=0.2)
    assert [layer.drop_path for layer in encoder.layers] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_every_layer_sees_pattern_and_bias():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(8, 2, 3).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    bias = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf)
    torch.testing.assert_close(encoder(x, bias=bias), encoder(x, pattern=ops.Causal()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "`layers` must be positive: got 0"),
        ({"norm": "middle"}, "`norm` must be 'pre' or 'post': got 'middle'"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and less than 1: got 1.0"),
        ({"drop_path": -0.1}, "`drop_path` must be at least 0 and less than 1: got -0.1"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.TransformerEncoder(**{"width": 8, "heads": 2, "layers": 3} | arguments)


def test_positions_may_be_a_value_or_a_layer():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    alibi = nn.TransformerEncoder(8, 2, 2, positions=ops.ALiBi(2))
    plain = nn.TransformerEncoder(8, 2, 2)
    plain.load_state_dict({name: t for name, t in alibi.state_dict().items() if not name.startswith("bias")})
    torch.testing.assert_close(alibi(x), plain(x, bias=ops.ALiBi(2)))
    added = torch.randn(2, 5, 5)
    torch.testing.assert_close(alibi(x, bias=added), plain(x, bias=ops.ALiBi(2) + added))
    learned = nn.TransformerEncoder(8, 2, 2, positions=nn.LearnedRelativeBias(2, 4))
    learned(x).sum().backward()
    assert learned.positions.table.grad.any(), "one table for all layers"
    assert sum("table" in name for name, _ in learned.named_parameters()) == 1


def test_caches_are_one_for_each_layer():
    encoder = nn.TransformerEncoder(8, 2, 3)
    with pytest.raises(ValueError, match="`caches` must be one for each of 3 layers: got 2"):
        encoder(torch.randn(1, 2, 8), caches=encoder.caches()[:2])
    with pytest.raises(ValueError, match="`positions` must turn the 4 features of a head: got 6"):
        nn.TransformerEncoder(8, 2, 3, positions=nn.RotaryPositions(6))


def test_pooling_is_its_formula():
    torch.manual_seed(0)
    pool = nn.AttentionPooling(6, 2)
    torch_nn.init.normal_(pool.query)
    x = torch.randn(3, 5, 6)
    parts = []
    for head, part in enumerate(x.split(3, -1)):
        weights = (part @ pool.query[head, 0] / 3**0.5).softmax(1)
        parts.append((weights[..., None] * part).sum(1))
    torch.testing.assert_close(pool(x), torch.cat(parts, -1))
    assert not pool(x, pattern=ops.Lengths(torch.tensor([5, 0, 2])))[1].any()
