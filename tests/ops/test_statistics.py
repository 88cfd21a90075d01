import pytest
import torch

from heedful.ops import AttentionMatrix, Causal, Local


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
