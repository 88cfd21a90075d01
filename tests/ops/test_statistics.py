import pytest
import torch

from heedful.ops import AttentionMatrix, Causal, Local
from heedful.ops import statistics as asked


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


def test_a_summary_takes_further_questions_with_it():
    torch.manual_seed(0)
    A = AttentionMatrix(torch.randn(2, 13, 5), torch.randn(2, 13, 5), pattern=Causal())
    plain, summary = A.summary(3, 2), A.summary(3, 2, top=4, also=[asked.share(A.shape, 2), asked.squares(A.shape)])
    for name in plain._fields[:-2]:
        torch.testing.assert_close(getattr(summary, name), getattr(plain, name))
    assert plain.top is None
    assert plain.also == ()
    torch.testing.assert_close(summary.top.values, A.topk(4).values)
    share, squares = summary.also
    torch.testing.assert_close(share[..., 0], A.dense()[..., 2])
    torch.testing.assert_close(squares[..., 0], A.dense().square().sum(-1))


def test_more_are_asked_for_than_there_are_keys():
    A = AttentionMatrix(torch.zeros(3, 4), torch.zeros(2, 4))
    assert A.summary(top=5).top.values.shape == (3, 2)
