import math

import torch

from heedful.data.batch_types import TokenBatch
from heedful.models.word_loss import word_loss


def test_a_word_is_on_a_picture_where_any_place_tells_it():
    torch.manual_seed(0)
    places, embedding = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    captions = TokenBatch(torch.tensor([[4, 2], [4, 0], [6, 2], [1, 0]]), torch.tensor([2, 1, 2, 1]))
    said, losses = [{2, 4}, {1, 2, 6}], []
    for picture in range(2):
        for word in (1, 2, 4, 6):
            score = math.log(sum(math.exp(place @ embedding[word]) for place in places[picture]) / 3)
            losses.append(math.log1p(math.exp(-score if word in said[picture] else score)))
    assert math.isclose(word_loss(places, embedding, captions).item(), sum(losses) / 8, rel_tol=1e-12)
