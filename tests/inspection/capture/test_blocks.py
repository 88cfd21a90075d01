"""Attention that is computed in blocks is one matrix of all tokens, the one that a model without blocks computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heedful.inspection import watch

B, N, H, D = 2, 12, 2, 4


class InBlocks(nn.Module):
    """Attention from a function of query, key and value `[B, H, N, D]`, and the matrix that it must have."""

    def __init__(self, function, visible):
        super().__init__()
        self.function, self.visible = function, visible
        self.q, self.k, self.v = (nn.Linear(H * D, H * D) for _ in range(3))

    def project(self, x):
        return tuple(f(x).unflatten(-1, (H, D)).transpose(1, 2) for f in (self.q, self.k, self.v))

    def forward(self, x):
        return self.function(*self.project(x))

    def expected(self, x):
        q, k, _ = self.project(x)
        return (q @ k.mT / 2).masked_fill(~self.visible, -torch.inf).softmax(-1)


i, j = torch.arange(N)[:, None], torch.arange(N)
ALL = torch.ones(N, N, dtype=torch.bool)


def rows(q, k, v):
    """Some queries at a time."""
    return torch.cat([(part @ k.mT / 2).softmax(-1) @ v for part in q.split(4, 2)], 2)


def three_blocks(q, k, v):
    """Blocks of 4 queries, which see their own block and both beside it, as LongT5."""
    q, k, v = (x.unflatten(2, (3, 4)) for x in (q, k, v))
    k, v = (F.pad(x, (0, 0, 0, 0, 1, 1)) for x in (k, v))
    k, v = (torch.cat([x[:, :, n : n + 3] for n in range(3)], 3) for x in (k, v))
    scores = torch.einsum("...qd,...kd->...qk", q, k) / 2
    inside = F.pad(torch.ones(3, 4), (0, 0, 1, 1)).bool()
    inside = torch.cat([inside[n : n + 3] for n in range(3)], 1)[:, None]
    return torch.einsum("...qk,...kd->...qd", scores.masked_fill(~inside, -1e9).softmax(-1), v).flatten(2, 3)


def buckets(q, k, v):
    """Tokens in another order, in chunks, by exp and logsumexp, as Reformer."""
    order = torch.arange(N).flip(0).view(2, 6).mT.flatten()
    index = order[None, None, :, None].expand(B, H, N, D)
    q, k, v = (x.gather(2, index).view(B, H, 3, 4, D) for x in (q, k, v))
    scores = q @ k.mT / 2
    out = torch.exp(scores - torch.logsumexp(scores, -1, keepdim=True)) @ v
    return out.flatten(2, 3)[:, :, order.argsort()]


def global_and_near(q, k, v):
    """Rows of which the first key and those of the own block enter products of their own, as BigBird."""
    first, out = torch.einsum("bhid,bhjd->bhij", q, k[:, :, :1]) / 2, []
    near = (q.view(B, H, 3, 4, D) @ k.view(B, H, 3, 4, D).mT / 2).flatten(2, 3)
    weights = torch.cat([first, near.masked_fill((i < 4) & (torch.arange(4) == 0), -torch.inf)], -1).softmax(-1)
    out = weights[..., 1:].unflatten(2, (3, 4)) @ v.view(B, H, 3, 4, D)
    return out.flatten(2, 3) + weights[..., :1] @ v[:, :, :1]


def written(q, k, v):
    """Scores that are written into a tensor of their own."""
    scores = q.new_full((B, H, N, 4), -torch.inf)
    for start in range(0, N, 4):
        block = slice(start, start + 4)
        scores[:, :, block] = q[:, :, block] @ k[:, :, block].transpose(2, 3) / 2
    return (scores.softmax(-1).unflatten(2, (3, 4)) @ v.unflatten(2, (3, 4))).flatten(2, 3)


SAME_BLOCK = i // 4 == j // 4
ORDER = torch.arange(N).flip(0).view(2, 6).mT.flatten().argsort() // 4
CASES = [
    (rows, ALL),
    (three_blocks, (i // 4 - j // 4).abs() < 2),
    (buckets, ORDER[:, None] == ORDER),
    (global_and_near, SAME_BLOCK | (j == 0)),
    (written, SAME_BLOCK),
]


@pytest.mark.parametrize(("function", "visible"), CASES)
def test_blocks_are_put_together(function, visible):
    torch.manual_seed(0)
    model, x = InBlocks(function, visible).double(), torch.randn(B, N, H * D, dtype=torch.double)
    with watch(model) as seen:
        out = model(x)
    expected = model.expected(x)
    torch.testing.assert_close(out, expected @ model.project(x)[2])  # the test's own blocks
    [call] = seen
    assert not seen.unseen
    assert (call.kind, call.engine) == ("self", "softmax by hand")
    assert ("in blocks, put together here" in call.notes[0]) != ("windows" in call.notes[-1])
    torch.testing.assert_close(call.matrix.dense(), expected.detach())


def test_queries_that_are_selected_are_no_block():
    model = InBlocks(lambda q, k, v: (q[:, :, :1] @ k.mT).softmax(-1) @ v, ALL)
    with watch(model) as seen:
        model(torch.randn(B, N, H * D))
    assert [call.matrix.shape for call in seen] == [(B, H, 1, N)]
    assert not seen.unseen


def test_parts_that_miss_some_weights_are_named():
    def half(q, k, v):
        return (q @ k.mT).softmax(-1)[..., :6] @ v[:, :, :6]

    with watch(model := InBlocks(half, ALL)) as seen:
        model(torch.randn(B, N, H * D))
    assert not len(seen)
    assert [one.why for one in seen.unseen] == [
        "computed by hand, in blocks: the rows that were put together do not add up to 1"
    ]


def test_keys_of_two_tensors_stand_side_by_side():
    """As global tokens beside those of each block."""
    model, globals_ = InBlocks(None, ALL), torch.randn(B, 3, H * D)

    def with_globals(q, k, v):
        more = model.k(globals_).unflatten(-1, (H, D)).transpose(1, 2)
        beside = (q @ more.mT).unflatten(2, (3, 4))
        near = q.unflatten(2, (3, 4)) @ k.unflatten(2, (3, 4)).mT
        model.given = torch.cat([beside, near], -1).softmax(-1)
        return model.given[..., :3] @ more[:, :, None] + model.given[..., 3:] @ v.unflatten(2, (3, 4))

    model.function = with_globals
    with watch(model) as seen:
        model(torch.randn(B, N, H * D))
    weights, given = seen[0].matrix.dense(), model.given.detach().flatten(2, 3)
    assert weights.shape == (B, H, N, N + 3)
    torch.testing.assert_close(weights.sort(-1).values[..., -7:], given.sort(-1).values)
    beside, near = weights[..., -3:], weights[..., :-3]  # of the tensor that came later
    torch.testing.assert_close(beside, given[..., :3])
    torch.testing.assert_close(near[:, :, :4, :4], given[:, :, :4, 3:])


def test_points_that_are_sampled():
    """As deformable attention: a linear layer gives weights and points, between which values are taken."""

    class Deformable(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights, self.points = nn.Linear(8, 3), nn.Linear(8, 6)

        def forward(self, x, image):
            self.given = self.weights(x).softmax(-1)
            points = self.points(x).view(B, N, 3, 2).tanh()
            return (F.grid_sample(image, points, align_corners=False) * self.given[:, None]).sum(-1)

    with watch(model := Deformable()) as seen:
        model(torch.randn(B, N, 8), torch.randn(B, 4, 5, 5))
    [call] = seen
    assert (call.kind, call.notes) == ("cross", (f"stored {N} x 3 by the model: the 3 points that each query samples",))
    torch.testing.assert_close(call.matrix.dense()[:, 0], model.given.detach())


def test_a_softmax_over_queries():
    """As slots that compete for inputs."""
    model = InBlocks(lambda q, k, v: (q @ k.mT / 2).softmax(-2) @ v, ALL)
    with watch(model) as seen:
        model(x := torch.randn(B, N, H * D))
    q, k, _ = model.project(x)
    torch.testing.assert_close(seen[0].matrix.dense(), (q @ k.mT / 2).softmax(-2).detach())
