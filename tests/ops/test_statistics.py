import pytest
import torch

from heedful import ops
from heedful.ops import AttentionMatrix, Causal, Lengths, Local, Statistic, statistics


@pytest.mark.parametrize("pattern", [None, Causal(), Local(5)])
@pytest.mark.parametrize(("keys", "k"), [(17, 3), (389, 1), (389, 2), (1031, 7)])
def test_the_largest_weights_of_short_and_long_rows(keys, k, pattern):
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, keys, 5), torch.randn(2, 3, keys, 5)
    A = AttentionMatrix(3 * query, key, **({} if pattern is None else {"pattern": pattern}))
    dense = A.dense()
    found, true = A.topk(k), dense.topk(k, -1)
    torch.testing.assert_close(found.values, true.values)
    torch.testing.assert_close(dense.gather(-1, found.indices.clamp(min=0)) * (found.indices >= 0), found.values)
    torch.testing.assert_close(found.mass, true.values.sum(-1))
    assert ((found.indices == -1) == (found.values == 0)).all()


def squares(tile):
    return tile.weights.square().sum(-1, keepdim=True)


def of_keys(tile):
    return tile.weights.square().sum(-2)[..., None]


def whole(tile):
    return tile.weights.pow(3).sum((-2, -1))[..., None, None]


@pytest.mark.parametrize("normalize", [ops.softmax, ops.softmax1, ops.entmax15, ops.relu])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_statistic_of_a_user(normalize, gradient):
    """Of rows, of columns and of the whole, beside one of the library, and its gradient."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 300, 400)
    query, key = (torch.randn(2, 3, n, 5, dtype=torch.float64, generator=generator) for n in shape[-2:])
    query.requires_grad_(gradient)
    A = AttentionMatrix(query, key, normalize=normalize, pattern=Causal("end") & Lengths(torch.tensor([400, 150])))
    dense = A.dense(limit=None)
    asked = [
        Statistic("row", (300, 1), squares),
        Statistic("column", (400, 1), of_keys),
        Statistic("whole", (1, 1), whole),
    ]
    rows, columns, total, largest = A.reduce(*asked, statistics.max(shape))
    torch.testing.assert_close(rows[..., 0], dense.square().sum(-1))
    torch.testing.assert_close(columns[..., 0], dense.square().sum(-2))
    torch.testing.assert_close(total[..., 0, 0], dense.pow(3).sum((-2, -1)))
    torch.testing.assert_close(largest[..., 0], dense.amax(-1))
    assert A.reduce() == ()
    if gradient:
        loss, true = rows.sum() + 2 * columns.sum() + 3 * total.sum(), 3 * dense.square().sum() + 3 * dense.pow(3).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, query), torch.autograd.grad(true, query))


def test_what_a_tile_says_of_itself():
    """Of sinks, too: `weights` add up to `mass`, and `relative_weights` are in proportion to them."""
    A = AttentionMatrix(torch.randn(9, 4), torch.randn(9, 4), sinks=torch.tensor(2.0), pattern=Causal())
    dense, seen = A.dense(), []

    def look(tile):
        assert tile.buffer().shape == tile.weights.shape
        weights, shares, mass = tile.weights[0], tile.relative_weights[0], tile.mass[0]
        torch.testing.assert_close(weights.sum(-1, keepdim=True), mass)
        torch.testing.assert_close(weights * tile.relative_sum[0], shares * mass)
        torch.testing.assert_close(tile.max[0, :, 0], dense[tile.rows].amax(-1))
        torch.testing.assert_close(tile.lse[0, :, 0], A.lse()[tile.rows])
        seen.append(tile)
        return tile.mass

    (mass,) = A.reduce(Statistic("row", (9, 1), look, lse=True))
    torch.testing.assert_close(mass[:, 0], dense.sum(-1))
    assert seen


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            statistics.entropy((3, 2)),
            r"of each row of a matrix of shape \[2, 3\] must have `sizes` \(2, c\): got \(3, 1\)",
        ),
        (statistics.received((3, 2)), r"of each column of a matrix .* must have `sizes` \(3, c\): got \(2, 1\)"),
    ],
)
def test_a_statistic_of_another_shape_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        AttentionMatrix(torch.zeros(2, 4), torch.zeros(3, 4)).reduce(asked)


def test_lse_has_to_be_asked_for():
    A = AttentionMatrix(torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(
        ValueError, match=r"`lse` must be asked for by `Statistic\(..., lse=True\)`, of a matrix of softmax"
    ):
        A.reduce(Statistic("row", (2, 1), lambda tile: tile.lse))
