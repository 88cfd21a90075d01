import math

import pytest
import torch
import torch.nn.functional as F

from heedful.models.speaker import SpeakerNetwork, angular_margin


def naive_margin(cosine, right, margin):
    """Deng et al. 2019, equation 3, of one cosine, by its angle."""
    if not right:
        return cosine
    angle = math.acos(cosine)
    return math.cos(angle + margin) if angle + margin <= math.pi else cosine - margin * math.sin(margin)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_the_margin_is_that_of_the_naive_twin(margin):
    cosines = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64)
    found = angular_margin(cosines[:, None].expand(-1, 3), torch.tensor([1] * 41), margin)
    for row, cosine in enumerate(cosines.tolist()):
        for column in range(3):
            assert found[row, column].item() == pytest.approx(naive_margin(cosine, column == 1, margin), abs=1e-9)


def test_the_margin_makes_the_right_class_harder_everywhere_and_spares_the_unknown():
    cosines = torch.linspace(-0.99, 0.99, 99, dtype=torch.float64, requires_grad=True)
    harder = angular_margin(cosines[:, None], torch.zeros(99).long(), 0.3)[:, 0]
    assert (harder < cosines).all()
    assert (harder.diff() > 0).all()
    (gradient,) = torch.autograd.grad(harder.sum(), cosines)
    assert gradient.isfinite().all()
    assert torch.equal(angular_margin(cosines[:1, None], torch.tensor([-1]), 0.3), cosines[:1, None])
    for edge in (-1.0, 1.0):
        one = torch.tensor([[edge]], requires_grad=True)
        angular_margin(one, torch.tensor([0]), 0.3).sum().backward()
        assert one.grad.isfinite().all()


@pytest.mark.parametrize("window", [0, 3])
def test_a_recording_alone_is_what_it_is_in_a_batch(window):
    torch.manual_seed(0)
    model = (
        SpeakerNetwork(classes=3, bands=5, width=8, heads=2, pooling_heads=2, embedding=4, window=window)
        .double()
        .eval()
    )
    torch.nn.init.normal_(model.pool.weight)
    x, lengths = torch.randn(3, 13, 5, dtype=torch.float64), torch.tensor([13, 6, 1])
    logits = model(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(x[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(logits[row], alone[0])
    vectors = model.embed(x, lengths)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3).double())
    torch.testing.assert_close(logits, 30 * vectors @ F.normalize(model.head.weight, dim=1).T)
    x[1, 6:] = float("nan")
    assert model(x, lengths)[[0, 2]].isfinite().all()
    with pytest.raises(ValueError, match=r"^`kernel` must be odd: got 4\.$"):
        SpeakerNetwork(classes=2, kernel=4)
