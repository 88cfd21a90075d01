import math

import pytest
import torch

from heedful import ops
from heedful.inspection.heads import THRESHOLDS, head_kinds

SELF = ("previous", "current", "next", "first", "same", "induction", "separator", "local", "uniform")


def weights_of(query, key, visible):
    """Dense weights of softmax by PyTorch, 0 in a row that sees nothing."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0.0)


def is_target(kind, tokens, separators, i, p, j, near):
    """Whether query i, which stands at position p, gives key j what the kind is about."""
    return {
        "previous": j == p - 1,
        "current": j == p,
        "next": j == p + 1,
        "first": j == 0,
        "same": tokens[j] == tokens[p] and j != p,
        "induction": 0 < j <= p and tokens[j] >= 0 and tokens[j - 1] == tokens[p],
        "separator": tokens[j] in separators,
        "local": abs(p - j) <= near,
    }[kind]


def naive(weights, visible, tokens, separators=(), near=2, counted=None):
    """The score of each kind for one head `[B, N, M]`, pair by pair."""
    B, N, M = weights.shape
    found = {kind: [] for kind in SELF}
    for b in range(B):
        for i in range(N):
            p, seen = i + M - N, [j for j in range(M) if visible[b, i, j]]
            if len(seen) < 2 or tokens[b][p] < 0 or (counted is not None and not counted[b][i]):
                continue
            row = [weights[b, i, j].item() for j in range(M)]
            found["uniform"].append(-sum(row[j] * math.log(row[j]) for j in seen if row[j]) / math.log(len(seen)))
            for kind in SELF[:-1]:
                targets = [j for j in seen if is_target(kind, tokens[b], separators, i, p, j, near)]
                if not targets or (kind == "local" and len(targets) == len(seen)):
                    continue
                mass = sum(row[j] for j in targets)
                found[kind].append(mass - (len(targets) / len(seen) if kind == "local" else 0))
    return {kind: sum(v) / len(v) if v else None for kind, v in found.items()}


def assert_scores(rows, expected):
    """Compares the heads of one matrix with those of the naive twin."""
    assert len(rows) == len(expected)
    for row, scores in zip(rows, expected, strict=True):
        assert row.scores["alignment"] is None
        for kind in SELF:
            theirs = scores[kind]
            assert row.scores[kind] == (None if theirs is None else pytest.approx(theirs, rel=1e-9, abs=1e-12)), kind


def naive_heads(weights, visible, *given, **more):
    visible = visible.expand(weights.shape)
    return [naive(weights[:, h], visible[:, h], *given, **more) for h in range(weights.shape[1])]


def at(n, m):
    return torch.arange(n)[:, None], torch.arange(m)[None]


N, M = 11, 11
ROW, COLUMN = at(N, N)
LENGTHS = torch.tensor([11, 7, 0])
BLOCKS = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
VISIBLE = {
    "global": (ops.Global(), torch.ones(1, 1, N, N, dtype=torch.bool)),
    "causal": (ops.Causal(), (COLUMN <= ROW)[None, None]),
    "lengths": (ops.Lengths(LENGTHS), (LENGTHS[:, None, None] > COLUMN)[:, None]),
    "causal & lengths": (
        ops.Causal() & ops.Lengths(LENGTHS),
        (LENGTHS[:, None, None] > COLUMN)[:, None] & (COLUMN <= ROW),
    ),
    "window": (ops.Local(3, 0), ((COLUMN <= ROW) & (COLUMN >= ROW - 3))[None, None]),
    "documents": (ops.Documents(BLOCKS), (BLOCKS[:, None] == BLOCKS)[None, None]),
    "mask of heads": (
        ops.Mask(mask := torch.rand(3, 5, N, N, generator=torch.Generator().manual_seed(1)) < 0.4),
        mask,
    ),
}


@pytest.fixture
def qk():
    torch.manual_seed(0)
    return torch.randn(3, 5, N, 7, dtype=torch.float64) * 2, torch.randn(3, 5, M, 7, dtype=torch.float64)


@pytest.fixture
def tokens():
    return torch.randint(0, 4, (3, N), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", VISIBLE)
def test_scores_equal_those_of_a_loop_over_dense_weights(name, qk, tokens):
    pattern, visible = VISIBLE[name]
    tokens[1, 7:] = tokens[0, [2, 5]] = -1
    found = head_kinds([(name, ops.AttentionMatrix(*qk, pattern=pattern))], tokens, [1, 3])
    assert_scores(found, naive_heads(weights_of(*qk, visible), visible, tokens.tolist(), (1, 3)))
    assert [(row.module, row.head) for row in found] == [(name, h) for h in range(5)]


def test_grouped_heads_one_sequence_of_tokens_another_window_and_chosen_queries(qk, tokens):
    query = torch.randn(3, 10, N, 7, dtype=torch.float64)
    visible = (COLUMN <= ROW)[None, None].expand(3, 10, N, N)
    counted = torch.rand(3, N, generator=torch.Generator().manual_seed(3)) < 0.6
    found = head_kinds(
        [("m", ops.AttentionMatrix(query, qk[1], pattern=ops.Causal()))], tokens[0], [2], queries=counted, near=1
    )
    weights = weights_of(query, qk[1].repeat_interleave(2, 1), visible)
    expected = naive_heads(weights, visible, [tokens[0].tolist()] * 3, (2,), near=1, counted=counted.tolist())
    assert_scores(found, expected)


def test_without_tokens_their_kinds_are_not_defined(qk):
    [row, *_] = head_kinds([("m", ops.AttentionMatrix(*qk))])
    assert [k for k, s in row.scores.items() if s is None] == ["same", "induction", "separator", "alignment"]
    assert set(row.scores) == set(THRESHOLDS)


def test_a_bias_that_hides_counts_as_a_pattern_that_hides(qk, tokens):
    visible = (COLUMN <= ROW)[None, None] & (torch.arange(3) < 2)[:, None, None, None]
    for lowest in (-torch.inf, torch.finfo(torch.float64).min):
        bias = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, lowest)
        found = head_kinds([("m", ops.AttentionMatrix(*qk, bias=bias))], tokens)
        assert_scores(found, naive_heads(weights_of(*qk, visible), visible, tokens.tolist()))


def test_a_cache_of_earlier_keys(qk, tokens):
    query, key = qk[0][:, :, :4], qk[1]
    visible = (ROW[:4] + 7 >= COLUMN)[None, None]
    A = ops.AttentionMatrix(query, key, pattern=ops.Causal("end"))
    assert_scores(
        head_kinds([("m", A)], tokens, [1]),
        naive_heads(weights_of(query, key, visible), visible, tokens.tolist(), (1,)),
    )
    for other in (ops.AttentionMatrix(query, key), ops.AttentionMatrix(key, query, pattern=ops.Causal("end"))):
        assert {k for k, s in head_kinds([("m", other)])[0].scores.items() if s is not None} == {
            "first",
            "alignment",
            "uniform",
        }


def test_other_normalizers_give_what_their_dense_weights_give(qk, tokens):
    visible = (COLUMN <= ROW)[None, None]
    for options in (
        {"normalize": ops.softmax1},
        {"sinks": torch.ones(5, dtype=torch.float64)},
        {"normalize": ops.relu},
    ):
        A = ops.AttentionMatrix(*qk, pattern=ops.Causal(), **options)
        scores = (qk[0] @ qk[1].mT / math.sqrt(7)).masked_fill(~visible, -torch.inf)
        rest = math.exp(0) if "normalize" in options else math.exp(1)
        weights = scores.exp() / (rest + scores.exp().sum(-1, keepdim=True))
        if options.get("normalize") is ops.relu:
            weights = scores.clamp(min=0) / visible.sum(-1, keepdim=True)
        expected = naive_heads(weights, visible, tokens.tolist(), (1,))
        if not A.mechanism.normalize.normalized:
            expected = [e | {"uniform": None} for e in expected]
        assert_scores(head_kinds([("m", A)], tokens, [1]), expected)


def test_weights_that_may_be_negative_have_no_scores(qk, tokens):
    found = head_kinds([("m", ops.AttentionMatrix(*qk, normalize=ops.linear))], tokens)
    assert all(score is None for row in found for score in row.scores.values())
    assert {row.kind for row in found} == {"other"}


def test_fewer_axes(qk, tokens):
    query, key = qk[0][0], qk[1][0]
    visible = torch.ones(1, 1, N, N, dtype=torch.bool)
    expected = naive_heads(weights_of(query, key, visible), visible, tokens[:1].tolist(), (1,))
    assert_scores(head_kinds([("m", ops.AttentionMatrix(query, key))], tokens[0], [1]), expected)
    assert_scores(head_kinds([("m", ops.AttentionMatrix(query[3], key[3]))], tokens[0], [1]), expected[3:4])
    assert len(head_kinds([("m", ops.AttentionMatrix(query[:, :0], key[:, :0]))])) == 5
    more, more_tokens = (query.expand(2, 3, *query.shape), key.expand(2, 3, *key.shape)), tokens[0].expand(2, 3, N)
    assert_scores(head_kinds([("m", ops.AttentionMatrix(*more))], more_tokens, [1]), expected)


def naive_alignment(weights, visible, counted):
    """One head `[B, N, M]`, by loops and moments about 0."""
    scores = []
    for b in range(len(weights)):
        places, expected, sharp = [], [], []
        for i in range(weights.shape[1]):
            seen = [j for j in range(weights.shape[2]) if visible[b, i, j]]
            if len(seen) < 2 or not counted[b][i]:
                continue
            row = [w / weights[b, i].sum().item() for w in weights[b, i].tolist()]
            mean = sum(w * j for j, w in enumerate(row))
            spread = math.sqrt(max(sum(w * j * j for j, w in enumerate(row)) - mean**2, 0))
            middle = sum(seen) / len(seen)
            even = math.sqrt(sum(j * j for j in seen) / len(seen) - middle**2)
            places.append(i)
            expected.append(mean)
            sharp.append(max(1 - spread / even, 0))
        if len(places) >= 3:
            r = torch.corrcoef(torch.tensor([places, expected], dtype=torch.float64))[0, 1].item()
            scores.append(max(r, 0) * sum(sharp) / len(sharp))
    return sum(scores) / len(scores) if scores else None


def test_alignment_equals_the_naive_one():
    torch.manual_seed(4)
    query, key = torch.randn(3, 5, 13, 7, dtype=torch.float64), torch.randn(3, 5, 17, 7, dtype=torch.float64) * 3
    key[:, 0] = key[:, 0] * 0 + torch.linspace(-1, 1, 17, dtype=torch.float64)[:, None]
    query[:, 0] = torch.linspace(-9, 9, 13, dtype=torch.float64)[:, None]
    lengths = torch.tensor([17, 9, 1])
    visible = (torch.arange(17) < lengths[:, None])[:, None, None].expand(3, 5, 13, 17)
    counted = torch.arange(13)[None] < torch.tensor([13, 6, 6])[:, None]
    A = ops.AttentionMatrix(query, key, pattern=ops.Lengths(lengths))
    weights = weights_of(query, key, visible)
    found = head_kinds([("m", A)], queries=counted)
    for h, row in enumerate(found):
        expected = naive_alignment(weights[:, h], visible[:, h], counted)
        assert row.scores["alignment"] == pytest.approx(expected, rel=1e-9)
        sinks = [weights[b, h, i, 0].item() for b in range(2) for i in range(13) if counted[b, i]]
        assert row.scores["first"] == pytest.approx(sum(sinks) / len(sinks))
        assert [k for k, s in row.scores.items() if s is not None] == ["first", "alignment", "uniform"]
    assert found[0].scores["alignment"] > max(row.scores["alignment"] for row in found[1:])
    assert head_kinds([("m", A)], queries=torch.arange(13) < 2)[0].scores["alignment"] is None


def test_alignment_is_1_for_a_walk_and_0_for_a_halt_and_for_a_walk_back():
    walk = torch.arange(12) * 2
    heads = torch.stack([40 * torch.eye(24)[w] for w in (walk, walk.flip(0), torch.full((12,), 7))])
    found = head_kinds([("m", ops.AttentionMatrix(heads[None], 40 * torch.eye(24).expand(1, 3, 24, 24)))])
    assert [row.scores["alignment"] for row in found] == pytest.approx([1, 0, 0], abs=1e-3)
    assert [row.kind for row in found] == ["alignment", "other", "other"]


def made(targets, n=24):
    """A head that looks at one key (or at all alike, for None)."""
    eye = 60 * torch.eye(n, dtype=torch.float64)
    query = torch.stack([torch.zeros(n, dtype=torch.float64) if t is None else eye[t] for t in targets])
    return query, torch.eye(n, dtype=torch.float64)


def test_heads_that_are_made_so_are_recognised():
    n, half = 24, 12
    tokens = torch.arange(n) % half  # twice the same
    tokens[5] = tokens[17] = 100
    near = [[i - 2, i + 2][i % 2] if 2 <= i < n - 2 else i for i in range(n)]
    heads = {
        "previous": [max(i - 1, 0) for i in range(n)],
        "current": list(range(n)),
        "next": [min(i + 1, n - 1) for i in range(n)],
        "first": [0] * n,
        "same": [(i + half) % n for i in range(n)],
        "induction": [i - half + 1 if i >= half else None for i in range(n)],
        "separator": [5 + half * (i % 2) for i in range(n)],
        "local": near,
        "uniform": [None] * n,
        "other": [(7 * i + 3) % n for i in range(n)],
    }
    queries, keys = zip(*(made(targets) for targets in heads.values()), strict=True)
    A = ops.AttentionMatrix(torch.stack(queries)[None], torch.stack(keys)[None])
    found = head_kinds([("m", A)], tokens, [100])
    assert [row.kind for row in found] == list(heads)
    for kind, row in zip(heads, found, strict=True):
        assert row.score is None if kind == "other" else row.score == row.scores[kind] >= 0.7
    assert found.of("induction") == [found[5]]
    assert str(found).splitlines()[6].split()[:3] == ["m", "5", "induction"]
    assert found.of("other")[0].head == 9


def test_the_highest_reached_score_decides_and_the_broad_kinds_come_last():
    A = ops.AttentionMatrix(*(x[None, None] for x in made([max(i - 1, 0) for i in range(24)])))
    assert head_kinds([("m", A)], threshold=0.1)[0].kind == "previous"
    assert head_kinds([("m", A)], threshold={"previous": 1.1})[0].kind == "local"
    assert head_kinds([("m", A)], threshold=1.1)[0].kind == "other"
    eye = torch.eye(24, dtype=torch.float64)
    both = 24**0.5 * ((20 + math.log(1.5)) * eye[[0, *range(23)]] + 20 * eye)  # 0.6 to the one before, 0.4 to its own
    [row] = head_kinds([("m", ops.AttentionMatrix(both[None, None], eye[None, None]))])
    assert row.scores["local"] > row.scores["previous"] > row.scores["current"]
    assert row.kind == "previous"
    sorted_by_score = head_kinds(
        [("m", A), ("n", ops.AttentionMatrix(torch.zeros(1, 1, 24, 3), torch.zeros(1, 1, 24, 3)))]
    )
    assert [row.kind for row in sorted_by_score] == ["previous", "uniform"]


def test_matrices_of_both_kinds_and_lengths_in_one_call(qk, tokens):
    own, other = ops.AttentionMatrix(*qk), ops.AttentionMatrix(qk[0][:, :, :6], qk[1][:, :, :6])
    crossing = ops.AttentionMatrix(qk[0][:, :, :6], qk[1])
    found = head_kinds([("a", own), ("b", other), ("c", crossing), ("d", own)], tokens, cross=["c", "d"])
    defined = {row.module: {k for k, s in row.scores.items() if s is not None} for row in found}
    assert defined["a"] == set(SELF) - {"separator"}
    assert defined["b"] == set(SELF) - {"same", "induction", "separator"}
    assert defined["c"] == defined["d"] == {"first", "uniform", "alignment"}


def test_a_matrix_that_learns(qk):
    A = ops.AttentionMatrix(qk[0].requires_grad_(), qk[1], pattern=ops.Causal())
    assert head_kinds([("m", A)])[0].scores["previous"] > 0


def test_what_does_not_fit_is_refused(qk, tokens):
    A = [("m", ops.AttentionMatrix(*qk))]
    with pytest.raises(ValueError, match=r"`tokens` must be \[M\] or \[B, M\], one for each key .*: got \[3, 5\] for"):
        head_kinds(A, tokens[:, :5])
    with pytest.raises(ValueError, match=r"`tokens` must be .*: got \[2, 11\] for matrices of shape \[3, 5, 11, 11\]"):
        head_kinds(A, tokens[:2])
    with pytest.raises(
        TypeError,
        match="`tokens` must be strings or integer ids, .*: got torch.float32",
    ):
        head_kinds(A, tokens.float())
    with pytest.raises(TypeError, match="`queries` must be booleans: got torch.int64"):
        head_kinds(A, queries=tokens)
    with pytest.raises(ValueError, match="`queries` must be"):
        head_kinds(A, queries=tokens[:, :5] > 0)
    with pytest.raises(ValueError, match="`separators` need `tokens`: got none"):
        head_kinds(A, separators=[1])
    with pytest.raises(ValueError, match="`near` must be 0 or more: got -1"):
        head_kinds(A, near=-1)
    with pytest.raises(ValueError, match="a kind of head must be one of previous, .*: got 'sink'"):
        head_kinds(A, threshold={"sink": 1})
    with pytest.raises(ValueError, match="a kind of head must be one of .*, other: got 'sink'"):
        head_kinds(A).of("sink")
