import pytest
import torch

from heedful.inspection import summarize
from heedful.ops import AttentionMatrix, Causal, Local, relu, softmax1, sparsemax

MECHANISMS = {
    "softmax": {},
    "empty rows": {"pattern": Causal("end") & ~Local(1, 0, "end")},
    "sinks": {"sinks": torch.tensor(0.5)},
    "softmax1": {"normalize": softmax1},
    "sparsemax": {"normalize": sparsemax},
    "capped": {"softcap": 2.0},
}


def matrix(lead=(2, 3), **options):
    torch.manual_seed(0)
    query, key = (3 * torch.randn(*lead, n, 5) for n in (7, 11))
    return AttentionMatrix(query, key, **options)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 2, 3)])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_summary_is_the_mean_of_what_the_matrix_says(lead, mechanism):
    A = matrix(lead, **MECHANISMS[mechanism])
    summaries = summarize(A)
    assert len(summaries) == (lead[-1] if lead else 1)

    def mean(values):
        return values.reshape(-1, len(summaries), 7).mean((0, 2))

    torch.testing.assert_close(torch.tensor([s.effective_keys for s in summaries]), mean(A.effective_keys()))
    torch.testing.assert_close(torch.tensor([s.entropy for s in summaries]), mean(A.entropy()))
    received = (A.received() / 7).reshape(-1, len(summaries), 11).mean(0)
    torch.testing.assert_close(torch.tensor([s.first for s in summaries]), received[:, 0])
    torch.testing.assert_close(torch.tensor([s.most_received for s in summaries]), received.amax(-1))


def test_weights_that_do_not_add_up_to_1_are_refused():
    with pytest.raises(ValueError, match="`entropy` is of weights that add up to 1: got `normalize` Relu"):
        summarize(matrix(normalize=relu))
