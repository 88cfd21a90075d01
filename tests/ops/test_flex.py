"""FlexAttention computes what the definition says; on a CPU it does so in N x M memory and without a gradient."""

import pytest
import torch

import heedful
from heedful import ops

B, H, G, N, D = 2, 4, 2, 12, 16
PATTERNS = {
    "global": ops.Global(),
    "causal": ops.Causal(),
    "local": ops.Local(2, 1),
    "dilated": ops.Dilated(1, 1, 3),
    "prefix": ops.Prefix(3),
    "prefix of each": ops.Prefix(torch.tensor([2, 5])),
    "lengths": ops.Lengths(torch.tensor([4, 0])),
    "documents": ops.Documents(torch.tensor([0] * 5 + [1] * 6 + [-1])),
    "documents of each": ops.Documents(torch.stack([torch.arange(N) // 4, torch.arange(N) // 3])),
    "tokens": ops.Local(1) | ops.GlobalTokens([0, 5]),
    "tokens among keys": ops.GlobalTokens([1], align="keys"),
    "mask": ops.Mask(torch.rand(B, H, N, N, generator=torch.Generator().manual_seed(0)) > 0.4),
    "neighborhood": ops.Neighborhood2d(3, (3, 4)),
    "axial, not causal": ops.Axial((3, 4)) & ~ops.Causal(),
}
BIASES = {
    "tensor": torch.randn(H, N, N),
    "per key": ops.PerKey(torch.randn(N)),
    "alibi + per query": ops.ALiBi(H) + ops.PerQuery(torch.randn(H, N)),
}


def operands():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(B, heads, N, D, generator=generator) for heads in (H, G, G)]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_patterns(pattern):
    out, expected = (heedful.attention(*operands(), pattern=pattern, engine=e) for e in ("flex", "reference"))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_biases_caps_and_sinks(bias):
    options = {"bias": bias, "softcap": 3.0, "sinks": torch.arange(4.0), "score": ops.Cosine(), "scale": 5.0}
    out, expected = (heedful.attention(*operands(), **options, engine=e) for e in ("flex", "reference"))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"normalize": ops.relu}, "it is softmax of inner products only"),
        ({"dropout": 0.5}, "it has no dropout"),
        ({"bias": ops.RelativeBias(torch.zeros(H, 3))}, "it cannot express RelativeBias"),
        ({"strict": True}, "`strict` allows linear memory only: got engine 'flex'"),
    ],
)
def test_what_it_cannot_do_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        heedful.attention(*operands(), engine="flex", **options)


def test_what_could_learn_is_taken_where_no_gradient_is_asked_for():
    learned = [t.requires_grad_() for t in operands()]
    with torch.no_grad():
        out, expected = (heedful.attention(*learned, engine=e) for e in ("flex", "reference"))
    torch.testing.assert_close(out, expected)


def test_a_gradient_on_a_cpu_is_refused():
    query, key, value = operands()
    with pytest.raises(ValueError, match="on a CPU it has no gradient"):
        heedful.attention(query.requires_grad_(), key, value, engine="flex")
