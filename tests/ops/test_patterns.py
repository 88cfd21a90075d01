"""Patterns combine as sets do, on every path."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import heedful
from heedful import ops
from heedful.ops.engines.reference import visible

N, M = 5, 7
SHAPE = (2, 3, N, M)
ROWS, COLUMNS = torch.arange(N)[:, None], torch.arange(M)[None]


def drawn_mask(seed):
    mask = torch.rand(2, 1, N, M, generator=torch.Generator().manual_seed(seed)) > 0.4
    return ops.Mask(mask), mask


def drawn_lengths(pair):
    lengths = torch.tensor(pair)
    return ops.Lengths(lengths), lengths[:, None, None, None] > COLUMNS


LEAVES = st.one_of(
    st.just((ops.Global(), torch.ones(1, 1).bool())),
    st.just((ops.Causal("start"), COLUMNS <= ROWS)),
    st.just((ops.Causal("end"), COLUMNS <= ROWS + M - N)),
    st.tuples(st.integers(0, M), st.integers(0, M)).map(drawn_lengths),
    st.integers(0, 99).map(drawn_mask),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda ab: (ab[0][0] & ab[1][0], ab[0][1] & ab[1][1])),
        st.tuples(inner, inner).map(lambda ab: (ab[0][0] | ab[1][0], ab[0][1] | ab[1][1])),
        inner.map(lambda a: (~a[0], ~a[1])),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(TREES, st.integers(0, 99))
def test_any_combination_is_its_mask(tree, seed):
    pattern, mask = tree
    mask = mask.expand(SHAPE)
    assert torch.equal(visible(pattern, SHAPE, torch.device("cpu")).expand(SHAPE), mask)
    assert pattern.hides(SHAPE) or mask.all()
    assert pattern.empties(SHAPE) or mask.any(-1).all()
    by_row, by_column = pattern.depends(SHAPE)
    assert by_row or torch.equal(mask, mask[..., :1, :].expand(SHAPE))
    assert by_column or torch.equal(mask, mask[..., :1].expand(SHAPE))
    back = visible(pattern.transposed(), (2, 3, M, N), torch.device("cpu")).expand(2, 3, M, N)
    assert torch.equal(back, mask.mT.flip(-1, -2))
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, 3, n, 11, generator=generator, dtype=torch.float64) for n in (N, M, M))
    expected = heedful.attention_weights(query, key, pattern=ops.Mask(mask))
    A = heedful.AttentionMatrix(query, key, pattern=pattern)
    torch.testing.assert_close(heedful.attention(query, key, value, pattern=pattern), expected @ value)
    torch.testing.assert_close(A @ value, expected @ value)
    torch.testing.assert_close(A.T @ query, expected.mT @ query)
    torch.testing.assert_close(A[..., 1:, [6, 0]], expected[..., 1:, :][..., [6, 0]])


@pytest.mark.parametrize("engine", ["fused", "reference"])
@pytest.mark.parametrize(("width", "value_width"), [(1, 1), (1, 65), (65, 1), (3, 2), (130, 129)])
def test_any_width(width, value_width, engine):
    query, key = (torch.randn(2, 3, n, width, dtype=torch.float64) for n in (5, 7))
    value = torch.randn(2, 3, 7, value_width, dtype=torch.float64)
    expected = (query @ key.mT / width**0.5).softmax(-1) @ value
    torch.testing.assert_close(heedful.attention(query, key, value, engine=engine), expected)
    torch.testing.assert_close(heedful.AttentionMatrix(query, key) @ value, expected)
