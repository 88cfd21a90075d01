"""A model that calls PyTorch's `flex_attention` itself."""

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from heedful import ops
from heedful.inspection import watch

B, H, G, N, D = 2, 4, 2, 6, 8


class Flex(nn.Module):
    """Grouped heads, a causal mask, and a function of scores."""

    def __init__(self, score_mod):
        super().__init__()
        self.score_mod = score_mod
        self.mask = create_block_mask(lambda b, h, i, j: j <= i, None, None, N, N, device="cpu")

    def forward(self, query, key, value):
        return flex_attention(query, key, value, self.score_mod, self.mask, scale=0.5, enable_gqa=True)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("capped", [False, True])
def test_scores_and_mask_are_those_of_the_call(capped):
    torch.manual_seed(0)
    query, key, value = torch.randn(B, H, N, D), torch.randn(B, G, N, D), torch.randn(B, G, N, D)
    slopes = torch.tensor([0.1, 0.2, 0.3, 0.4])
    model = Flex((lambda s, b, h, i, j: 2 * torch.tanh(s / 2) + slopes[h] * (j - i)) if capped else None)
    plain = model(query, key, value)
    with watch(model) as seen:
        out = model(query, key, value)
    assert torch.equal(out, plain)
    [call] = seen
    assert not seen.unseen
    assert (call.engine, call.causal, call.matrix.pattern) == ("flex_attention", True, ops.Causal())
    i, j = torch.arange(N)[:, None], torch.arange(N)
    scores = query @ key.repeat_interleave(2, 1).mT * 0.5
    if capped:
        scores = 2 * torch.tanh(scores / 2) + slopes[:, None, None] * (j - i)
    torch.testing.assert_close(call.matrix.dense(), scores.masked_fill(j > i, -torch.inf).softmax(-1))
