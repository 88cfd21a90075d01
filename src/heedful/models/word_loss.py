"""The places of a picture are told directly which words are said of it: attention finds sooner what it is to look for.

Source: Fang et al. 2015, section 3 (words of captions as labels of places, of which nobody says where they are).
"""

import math

import torch
import torch.nn.functional as F

from heedful._types import Float, Tensor
from heedful.data.batch_types import TokenBatch


def word_loss(
    places: Float[Tensor, "S M D"], embedding: Float[Tensor, "V D"], captions: TokenBatch
) -> Float[Tensor, ""]:
    """How badly places tell which tokens the captions of their picture have: a binary cross entropy.

    A token v is on a picture as far as it is at any of its places: `log mean_m exp(places[m] . embedding[v])`. The mean is over pictures
    and those tokens that any caption of the batch has.

    Args:
        places: features of the places of pictures.
        embedding: of tokens.
        captions: as many of each picture, those of one picture together.

    Example:
        >>> places, embedding = torch.eye(2)[:, None] * 20 - 10, torch.eye(2)
        >>> round(word_loss(places, embedding, TokenBatch(torch.tensor([[0], [1]]), torch.tensor([1, 1]))).item(), 3)
        0.0
    """
    count, longest = len(places), captions.tokens.shape[1]
    real = torch.arange(longest, device=places.device) < captions.lengths[:, None]
    said = torch.zeros(len(captions.tokens), len(embedding), device=places.device).scatter_add(
        1, captions.tokens, real.float()
    )
    said = said.view(count, -1, len(embedding)).sum(1) > 0  # [S, V]
    some = said.any(0).nonzero()[:, 0]
    scores = (places @ embedding[some].mT).logsumexp(1) - math.log(places.shape[1])
    return F.binary_cross_entropy_with_logits(scores, said[:, some].to(scores.dtype))
