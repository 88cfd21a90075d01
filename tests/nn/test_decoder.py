import itertools

import pytest
import torch
from torch import nn as torch_nn

from heedful import nn, ops


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorchs_layer(norm):
    torch.manual_seed(0)
    theirs = torch_nn.TransformerDecoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu",
        batch_first=True, norm_first=norm == "pre", dtype=torch.float64,
    )  # fmt: skip
    ours = nn.TransformerDecoderLayer(12, 3, ffn_width=20, norm=norm).double()
    names = {
        "self_attn": "attention", "multihead_attn": "cross_attention", "linear1": "network.0", "linear2": "network.2",
        "norm1": "attention_norm", "norm2": "cross_norm", "norm3": "network_norm",
    }  # fmt: skip
    state = {names[name.split(".")[0]] + name[name.index(".") :]: p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x, source = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 7, 12, dtype=torch.float64)
    future = torch.ones(5, 5).triu(1).bool()
    expected = theirs(x, source, tgt_mask=future, tgt_is_causal=True)
    torch.testing.assert_close(ours(x, source), expected)
    padded = torch.arange(7) >= torch.tensor([[7], [4]])
    expected = theirs(x, source, tgt_mask=future, tgt_is_causal=True, memory_key_padding_mask=padded)
    lengths = ops.Lengths(torch.tensor([7, 4]))
    torch.testing.assert_close(ours(x, source, source_pattern=lengths), expected)


@pytest.mark.parametrize("positions", [None, nn.RotaryPositions(4), ops.ALiBi(2, "end")])
def test_step_by_step_is_all_at_once(positions):
    torch.manual_seed(0)
    decoder = nn.TransformerDecoder(8, 2, 3, source_width=6, positions=positions).eval()
    x, source, caches = torch.randn(2, 11, 8), torch.randn(2, 5, 6), decoder.caches()
    lengths = ops.Lengths(torch.tensor([5, 3]))
    with torch.no_grad():
        whole = decoder(x, source, source_pattern=lengths)
        steps = [
            decoder(x[:, i:j], source if i == 0 else None, source_pattern=lengths, caches=caches)
            for i, j in itertools.pairwise((0, 4, 5, 6, 11))
        ]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-5)
    assert [cache.length for cache in caches] == [11] * 3


def test_samples_may_share_a_source():
    torch.manual_seed(0)
    decoder = nn.TransformerDecoder(8, 2, 2).eval()
    x, source = torch.randn(6, 3, 8), torch.randn(2, 5, 8)
    lengths = torch.tensor([5, 3])
    with torch.no_grad():
        shared = decoder(x, source, source_pattern=ops.Lengths(lengths))
        repeated = decoder(x, source.repeat_interleave(3, 0), source_pattern=ops.Lengths(lengths.repeat_interleave(3)))
    torch.testing.assert_close(shared, repeated, atol=1e-5, rtol=1e-5)


def test_samples_are_chosen_and_left():
    torch.manual_seed(0)
    decoder = nn.TransformerDecoder(8, 2, 2).eval()
    x, source = torch.randn(6, 3, 8), torch.randn(3, 5, 8)
    beams = torch.tensor([1, 1, 5, 4])  # of the first and of the last source
    with torch.no_grad():
        caches = decoder.caches()
        decoder(x[:, :2], source, caches=caches)
        for cache in caches:
            cache.select(beams, torch.tensor([0, 2]))
        last = decoder(x[beams, 2:], None, caches=caches)
        torch.testing.assert_close(last, decoder(x, source)[beams, 2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d: d(torch.randn(4, 2, 8), torch.randn(3, 5, 8)),
            "`sources` must be a positive divisor of `samples`: got 3 and 4",
        ),
        (lambda d: d(torch.randn(4, 2, 8), None), "`source` must be given where no cache holds it: got None"),
        (lambda d: d(torch.randn(4, 2, 8), None, caches=d.caches()[:1]), "one for each of 2 layers: got 1"),
        (lambda d: nn.TransformerDecoder(8, 2, 2, norm="middle"), "`norm` must be 'pre' or 'post': got 'middle'"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.TransformerDecoder(8, 2, 2))


@pytest.mark.parametrize("sizes", [{}, {"key_heads": 1}, {"key_width": 6, "value_width": 6}, {"bias": False}])
def test_what_is_attended_to_again_is_projected_once(sizes):
    torch.manual_seed(0)
    layer = nn.MultiHeadAttention(8, 2, **sizes)
    query, source = torch.randn(3, 4, 8), torch.randn(3, 5, sizes.get("key_width", 8))
    torch.testing.assert_close(layer(query, projected=layer.project(source)), layer(query, source))
    with pytest.raises(ValueError, match="`projected` stands in the place of `key`"):
        layer(query, source, projected=layer.project(source))
