"""The pointer-generator: the next token is generated from the vocabulary, or copied from the source."""

import torch
from torch import nn

from heedful._types import Float, Int, Tensor
from heedful.ops import Pattern, attention_weights


class PointerGenerator(nn.Module):
    """Where a token would be copied from, and how probable it is that it is generated instead.

        weights = softmax((W_q h) . (W_k s) / sqrt(D)), over the tokens of the source
        g       = sigmoid(w . h + b)
        p       = g p_generated + (1 - g) sum of the weights of each token

    Args:
        width: the features of source and target, D.

    Source: See et al. 2017, section 2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)
        nn.init.constant_(self.gate.bias, 2.0)  # a new model generates nearly everything

    def forward(
        self, features: Float[Tensor, "B N D"], source: Float[Tensor, "S M D"], pattern: Pattern
    ) -> tuple[Float[Tensor, "B N M"], Float[Tensor, "B N 1"]]:
        """The weights of the source's tokens, and the probability that a token is generated.

        Args:
            features: of the targets; B is a multiple of S, and those of one source stand together.
            source: features of the sources.
            pattern: which tokens of the sources are no padding.
        """
        query = self.query(features).view(len(source), 1, -1, features.shape[-1])
        weights = attention_weights(query, self.key(source)[:, None], pattern=pattern)
        gate = self.gate(features)
        gate = gate.float() if gate.itemsize < 4 else gate  # in half precision it would reach 0 or 1, and learn no more
        return weights.view(*features.shape[:2], -1), gate.sigmoid()


def mixed(
    generated: Float[Tensor, "B N V"],
    weights: Float[Tensor, "B N M"],
    gate: Float[Tensor, "B N 1"],
    source: Int[Tensor, "S M"],
) -> Float[Tensor, "B N V"]:
    """The logarithms of all tokens' probabilities, from those of generation, the weights, and the gate.

    Args:
        generated: logarithms of the probabilities with which tokens are generated.
        weights: of the source's tokens.
        gate: the probability that a token is generated.
        source: the tokens of the sources.
    """
    tokens = source.repeat_interleave(len(weights) // len(source), 0)[:, None].expand_as(weights)
    copied = torch.zeros_like(generated).scatter_add(-1, tokens, (1 - gate) * weights)
    probabilities: Tensor = gate * generated.exp() + copied
    return probabilities.log()
