"""Attention between the channels of a feature map is told from that between positions, also where both have one size."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heedful.inspection import watch

WIDTH, HEADS = 8, 2
D = WIDTH // HEADS


class Mixer(nn.Module):
    """Queries, keys and values of a linear layer or a convolution, mixed by a function that gives its weights."""

    def __init__(self, function, convolution=False):
        super().__init__()
        self.function, self.num_heads = function, HEADS
        self.qkv = nn.Conv2d(WIDTH, 3 * WIDTH, 1) if convolution else nn.Linear(WIDTH, 3 * WIDTH)
        self.weights = None

    def forward(self, x):
        out, self.weights = self.function(self.qkv(x))
        return out


def parted(qkv):
    """`[B, N, 3 * H * D]` as query, key and value `[B, H, N, D]`."""
    return qkv.unflatten(-1, (3, HEADS, D)).permute(2, 0, 3, 1, 4).unbind(0)


def cross_covariance(qkv):
    """XCiT (El-Nouby et al. 2021)."""
    q, k, v = (t.mT for t in parted(qkv))
    A = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(dim=-1)
    return A @ v, A


def groups(qkv):
    """DaViT (Ding et al. 2022)."""
    q, k, v = parted(qkv)
    A = ((q * q.shape[-2] ** -0.5).transpose(-1, -2) @ k).softmax(dim=-1)
    return (A @ v.transpose(-1, -2)).transpose(-1, -2), A


def by_einsum(qkv):
    q, k, v = parted(qkv)
    A = torch.einsum("bhnd,bhne->bhde", q, k).softmax(-1)
    return torch.einsum("bhde,bhne->bhnd", A, v), A


def transposed(qkv):
    """Restormer (Zamir et al. 2022), of a convolution `[B, 3 * C, h, w]`."""
    q, k, v = (t.reshape(t.shape[0], HEADS, D, -1) for t in qkv.chunk(3, dim=1))
    A = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(dim=-1)
    return A @ v, A


def between_positions(qkv):
    q, k, v = parted(qkv)
    A = (q @ k.mT).softmax(-1)
    return A @ v, A


def of_a_map(qkv):
    """Positions of a convolution."""
    q, k, v = (t.reshape(t.shape[0], HEADS, D, -1).mT for t in qkv.chunk(3, dim=1))
    A = (q @ k.mT).softmax(-1)
    return A @ v, A


@pytest.mark.parametrize("positions", [D, 9])
@pytest.mark.parametrize(
    ("function", "convolution", "kind"),
    [
        (cross_covariance, False, "channel"), (groups, False, "channel"), (by_einsum, False, "channel"),
        (transposed, True, "channel"), (between_positions, False, "self"), (of_a_map, True, "self"),
    ],
)  # fmt: skip
def test_the_kind(function, convolution, kind, positions):
    model = Mixer(function, convolution)
    x = torch.randn(3, WIDTH, 1, positions) if convolution else torch.randn(3, positions, WIDTH)
    with torch.no_grad(), watch(model) as seen:
        model(x)
    [call] = seen
    assert call.kind == kind
    torch.testing.assert_close(call.matrix.dense().float(), model.weights)
