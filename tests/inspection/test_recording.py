"""The table, the ranking and the rollout of what was seen."""

from dataclasses import replace

import pytest
import torch

import heedful
from heedful import nn, ops
from heedful.inspection import AttentionCall, RankedHead, Recording, Unseen, rollout, watch


def encoder():
    torch.manual_seed(0)
    return nn.TransformerEncoder(8, 2, 3).double()


@pytest.fixture(scope="module")
def seen():
    with watch(model := encoder()) as seen:
        model(torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    return seen


def draw(n, m, pattern):
    return ops.AttentionMatrix(torch.randn(2, 3, n, 4), torch.randn(2, 3, m, 4), pattern=pattern)


def made():
    torch.manual_seed(0)
    return Recording(
        [
            AttentionCall("a.0", "self", draw(7, 7, ops.Causal() & ops.Local(2, 0)), "eager", ("beware",), True, 3),
            AttentionCall("a.1", "cross", draw(1, 1200, ops.Global()), "sdpa", ("beware", "too")),
            AttentionCall("", "self", ops.AttentionMatrix(torch.zeros(5, 4), torch.zeros(5, 4)), "flash"),
        ],
        [Unseen("b", "no reason"), Unseen("", "nor here")],
    )


def test_the_table():
    lines = [line.rstrip() for line in str(made()).splitlines()]
    entropies = [f"{m.min():.2f} .. {m.max():.2f}" for m in (c.matrix.entropy().mean((0, 2)) for c in made()[:2])]
    assert lines == [
        "module     layer  kind                    heads  N x M      engine  entropy of a head, nat",
        f"a.0            0  self, causal, window 3      3  7 x 7      eager   {entropies[0]} [1]",
        f"a.1            1  cross                       3  1 x 1,200  sdpa    {entropies[1]} [1] [2]",
        "(outside)         self                        1  5 x 5      flash   1.61 .. 1.61",
        "[1] beware (2 calls)",
        "[2] too (1 calls)",
        "NOT SEEN, though expected: 2",
        "  b: no reason",
        "  (the model): nor here",
    ]


def test_an_empty_table():
    assert len(str(Recording()).splitlines()) == 1


def test_a_matrix_without_entropy_has_a_table_too():
    matrix = ops.AttentionMatrix(torch.zeros(5, 4), torch.zeros(5, 4), normalize=heedful.sigmoid)
    assert str(Recording([AttentionCall("a", "self", matrix, "e")])).splitlines()[1].endswith("-")


def test_getting_calls(seen):
    assert seen[-1].module == "layers.2.attention"
    assert len(seen[:2]) == 2
    assert seen["layers.1.attention"] is seen[1].matrix
    assert seen.calls("layers.1.attention") == [seen[1]]
    with pytest.raises(
        KeyError, match="no attention was seen in 'layers.7'; seen: layers.0.attention, layers.1.attention"
    ):
        seen["layers.7"]
    with pytest.raises(KeyError, match="Expected, but not seen: no reason"):
        made()["b"]


def test_summaries_are_computed_once(seen):
    assert all(a is b for a, b in zip(seen.summaries(), seen.summaries(), strict=True))


def by_hand(matrix, by):
    """A number for each head, from the dense matrix."""
    A = matrix.dense()
    N = A.shape[-2]
    away = (torch.arange(N)[:, None] - torch.arange(N)).abs()
    rows = {
        "entropy": -(A * A.log()).sum(-1),
        "max": A.amax(-1),
        "effective_keys": 1 / A.square().sum(-1),
        "distance": (A * away).sum(-1),
        "first": A[..., 0],
    }
    return A.mean((0, 2)).amax(-1) if by == "received" else rows[by].mean((0, 2))


@pytest.mark.parametrize("by", ["entropy", "max", "effective_keys", "received", "distance", "first"])
def test_rank(seen, by):
    expected = sorted(
        (
            RankedHead(call.module, head, value)
            for call in seen
            for head, value in enumerate(by_hand(call.matrix, by).tolist())
        ),
        key=lambda one: -one.value,
    )
    found = seen.rank(by)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    torch.testing.assert_close([one.value for one in found], [one.value for one in expected], atol=1e-6, rtol=1e-5)
    assert seen.rank(by, largest=False) == found[::-1]
    with pytest.raises(ValueError, match="`by` must be one of entropy, max, .*: got 'size'"):
        seen.rank("size")


def test_heads_without_the_number_are_left_out():
    assert {one.module for one in made().rank("distance")} == {"a.0", ""}


def test_rollout(seen):
    whole = torch.eye(5, dtype=torch.float64)
    for call in seen:
        whole = (0.3 * torch.eye(5, dtype=torch.float64) + 0.7 * call.matrix.dense().mean(1)) @ whole
    torch.testing.assert_close(seen.rollout(residual=0.3).rows(range(5)), whole)
    first = [call.matrix for call in seen[:2]]
    torch.testing.assert_close(
        seen.rollout(modules=["layers.0.attention", "layers.1.attention"], heads=[1]).rows([2]),
        rollout(first, heads=[1]).rows([2]),
    )
    calls = [replace(call, module="layers.9.attention") for call in made()]
    with pytest.raises(
        ValueError, match=r"of one shape \[..., H, N, N\]: got \[2, 3, 7, 7\], \[5, 5\]; `modules` names"
    ):
        Recording(calls).rollout()
    with pytest.raises(ValueError, match="got none"):
        Recording().rollout()


def test_a_rollout_is_of_one_stack_in_one_pass(seen):
    def named(*modules, step=0):
        return [replace(call, module=module, step=step) for call, module in zip(seen, modules, strict=False)]

    towers = Recording(
        named("text.layers.0.attn", "text.layers.1.attn") + named("image.layers.0.attn", "image.layers.1.attn")
    )
    with pytest.raises(
        ValueError, match="leave one stack in one forward pass: got text.layers in step 0, image.layers in step 0"
    ):
        towers.rollout()
    assert len(towers.rollout(modules=["text.layers.0.attn", "text.layers.1.attn"]).matrices) == 2
    twice = Recording(named("layers.0.attn", "layers.1.attn") + named("layers.0.attn", "layers.1.attn", step=1))
    with pytest.raises(ValueError, match="got layers in step 0, layers in step 1"):
        twice.rollout()
    assert len(twice.rollout(step=1).matrices) == 2
    one_by_one = Recording(named("layers.0.attn") + named("layers.1.attn", step=1))
    assert len(one_by_one.rollout().matrices) == 2
    shared = Recording(named("layers.0.attn", "layers.0.attn"))  # one module that runs twice in a pass, as ALBERT's
    assert len(shared.rollout().matrices) == 2


def test_saved_and_loaded(tmp_path):
    before = made()
    before.save(tmp_path / "watch")
    after = heedful.load_watch(tmp_path / "watch")
    assert isinstance(after, Recording)
    assert after.unseen == before.unseen
    for ours, theirs in zip(after, before, strict=True):
        assert ours.matrix.shape == theirs.matrix.shape
        assert torch.equal(ours.matrix.query, theirs.matrix.query)
        torch.testing.assert_close(ours.matrix.dense(), theirs.matrix.dense())
        assert (ours.module, ours.kind, ours.engine, ours.notes, ours.causal, ours.window) == (
            theirs.module, theirs.kind, theirs.engine, theirs.notes, theirs.causal, theirs.window,
        )  # fmt: skip
    assert str(after) == str(before)


def test_the_kinds_of_its_heads():
    """A head that is made to look at the token before it, and one that looks at all alike."""

    class Model(torch.nn.Module):
        def forward(self, query, key):
            return heedful.attention(query, key, key, pattern=heedful.Causal())

    places = torch.eye(8)
    query = torch.stack([100 * places.roll(-1, -1), torch.zeros(8, 8)])[None]
    with heedful.watch(model := Model()) as seen:
        model(query, places.expand(1, 2, 8, 8))
    kinds = seen.heads(torch.arange(8))
    assert [head.kind for head in kinds] == ["previous", "uniform"]
    assert kinds[0].score > 0.99
