import numpy as np
import pytest
import torch

from heedful.nn import AttentiveStatistics
from heedful.ops import Lengths


def naive_statistics(x, weight, hidden, offset, heads, lengths):
    """Okabe et al. 2018, equations 2 to 5, in float64: one head, one position at a time."""
    count, _, width = x.shape
    part, size = width // heads, weight.shape[1]
    means, deviations = np.zeros((2, count, width))
    for b in range(count):
        for h in range(heads):
            scores = []
            for n in range(lengths[b]):
                inside = hidden[h * size : (h + 1) * size] @ x[b, n] + offset[h * size : (h + 1) * size]
                scores.append(float(weight[h] @ np.tanh(inside)))
            shares = np.exp(np.array(scores) - max(scores))
            shares /= shares.sum()
            for d in range(h * part, (h + 1) * part):
                values = x[b, : lengths[b], d]
                mean = sum(shares[n] * values[n] for n in range(lengths[b]))
                means[b, d] = mean
                deviations[b, d] = np.sqrt(sum(shares[n] * (values[n] - mean) ** 2 for n in range(lengths[b])))
    return np.concatenate([means, deviations], 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_statistics_are_those_of_the_naive_twin(dtype, tolerance):
    torch.manual_seed(0)
    pool = AttentiveStatistics(6, heads=2, hidden=5).to(dtype)
    torch.nn.init.normal_(pool.weight, std=2)
    x, lengths = torch.randn(3, 7, 6, dtype=dtype), torch.tensor([7, 4, 2])
    found = pool(x, pattern=Lengths(lengths)).detach().double().numpy()
    weight, hidden, offset = (
        one.detach().double().numpy() for one in (pool.weight, pool.hidden.weight, pool.hidden.bias)
    )
    np.testing.assert_allclose(
        found, naive_statistics(x.double().numpy(), weight, hidden, offset, 2, lengths), atol=tolerance
    )


def test_statistics_have_gradients_and_padding_none():
    pool = AttentiveStatistics(4, heads=2, hidden=3).double()
    torch.nn.init.normal_(pool.weight)
    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    pattern = Lengths(torch.tensor([5, 3]))
    assert torch.autograd.gradcheck(lambda x: pool(x, pattern=pattern), x)
    pool(x, pattern=pattern).sum().backward()
    assert not x.grad[1, 3:].any()
    alone = pool(x[:, :1])
    torch.testing.assert_close(alone, torch.cat([x[:, 0], torch.full_like(x[:, 0], 1e-3)], 1))
    with pytest.raises(ValueError, match=r"^`heads` must be a positive divisor of `width`: got 2 and 5\.$"):
        AttentiveStatistics(5, heads=2)
