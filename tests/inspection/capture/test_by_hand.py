"""A softmax over keys whose result is multiplied by values is a call, of the weights that the model stores."""

import tempfile

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import heedful
from heedful.inspection import watch
from heedful.inspection.capture import by_hand

N, H, D = 5, 2, 4


class Written(nn.Module):
    """Attention from a function of query, key and value `[B, H, N, D]`, which also says what its weights are."""

    def __init__(self, function):
        super().__init__()
        self.function, self.num_heads, self.qkv = function, H, nn.Linear(H * D, 3 * H * D)
        self.mix, self.drop = nn.Linear(H, H), nn.Dropout(0.5)
        self.weights = None

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4).unbind(0)
        out, self.weights = self.function(self, q, k, v)
        return out


def scores(q, k):
    return q @ k.mT / 2


def causal(s):
    return s.masked_fill(~torch.ones(s.shape[-2:], dtype=torch.bool).tril(), torch.finfo(s.dtype).min)


def plain(m, q, k, v):
    A = scores(q, k).softmax(-1)
    return A @ v, A


def masked(m, q, k, v):
    A = F.softmax(causal(scores(q, k)), dim=-1, dtype=torch.float32).type_as(q)
    return torch.matmul(A, v), A


def masked_softmax(m, q, k, v):
    keep = torch.tensor([1.0, 1, 1, 0, 1])
    A = torch.softmax(scores(q, k), -1) * keep
    A = A / A.sum(-1, keepdim=True)
    return A @ v, A


def some_heads(m, q, k, v):
    A = m.drop(scores(q, k).softmax(-1)) * torch.tensor([1.0, 0.0])[:, None, None]
    return A @ v, A


def folded(m, q, k, v):
    A = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).softmax(dim=-1)
    return torch.bmm(A, v.flatten(0, 1)).unflatten(0, (-1, H)), A.unflatten(0, (-1, H))


def by_einsum(m, q, k, v):
    A = torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1)
    return torch.einsum("b h i j, b h j d -> b i h d", A, v), A


def turned(m, q, k, v):
    A = torch.einsum("bhid,bhjd->ijbh", q, k).permute(2, 3, 0, 1).softmax(-1)
    return torch.einsum("ijbh,bhjd->ibhd", A.permute(2, 3, 0, 1), v), A


def shared_values(m, q, k, v):
    A = scores(q, k).softmax(-1)
    return torch.einsum("...hij,...jd->...hid", A, v[:, 0]), A


def values_first(m, q, k, v):
    A = scores(q, k).softmax(-1)
    return v.mT @ A.transpose(-1, -2), A


def with_a_sink(m, q, k, v):
    A = torch.cat([scores(q, k), torch.ones(*q.shape[:-1], 1)], -1).softmax(-1)[..., :-1]
    return A @ v, A


def mixed_heads(m, q, k, v):
    A = m.mix(scores(q, k).softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return A @ v, A


def of_logarithms(m, q, k, v):
    A = scores(q, k).log_softmax(-1).exp()
    return A @ v, A


def twice(m, q, k, v):
    A = scores(q, k).softmax(-1)
    return A @ v + torch.einsum("bhij,ijd->bhid", A, torch.ones(N, N, D)), A


def pooled(m, q, k, v):
    A = m.mix(q.transpose(1, 2)[..., 0]).transpose(1, 2).softmax(-1)
    return torch.einsum("bhj,bhjd->bhd", A, v), A[..., None, :]


FORMS = [
    plain, masked, masked_softmax, some_heads, folded, by_einsum, turned, shared_values, values_first, with_a_sink, mixed_heads,
    of_logarithms, twice, pooled,
]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_matrix_is_what_the_model_stores(form, training, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(Written(form)).train(training)
    x = torch.randn(3, N, H * D)
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    with watch(model) as seen:
        out = model(x)
    assert torch.equal(out, expected)
    [call] = seen
    assert not seen.unseen
    weights = model[0].weights
    assert (call.module, call.kind, call.engine) == ("0", "self", "softmax by hand")
    assert call.matrix.shape == weights.shape
    torch.testing.assert_close(call.matrix.dense(), weights.detach())
    assert call.notes == (f"stored {weights.shape[-2]} x 5 by the model",)
    assert call.causal == (form is masked)
    torch.testing.assert_close(call.matrix.received(), weights.detach().sum(-2))
    assert "softmax by hand" in str(seen)
    seen.report(tmp_path / "report.html")


def features_of_queries(m, q, k, v):
    """Linear attention: the softmax goes over features, and what it is multiplied by is no value."""
    return q.softmax(-1) @ (k.softmax(-2).mT @ v), None


def in_parts(m, q, k, v):
    A = scores(q, k).softmax(-1)
    return A[..., :2] @ v[..., :2, :] + A[..., 2:] @ v[..., 2:, :], A


def another_way(m, q, k, v):
    return scores(q, k).softmax(-1).cumsum(-1) @ v, None


def test_parts_are_put_together():
    with watch(model := Written(in_parts)) as seen:
        model(torch.randn(3, N, H * D))
    torch.testing.assert_close(seen[0].matrix.dense(), model.weights.detach())


def test_what_cannot_be_followed_is_named():
    with watch(model := Written(another_way)) as seen:
        model(torch.randn(3, N, H * D))
    assert not len(seen)
    assert [one.why for one in seen.unseen] == ["softmax of [3, 2, 5, 5] by hand: it was not seen to multiply values"]


def test_features_are_no_keys():
    with watch(model := Written(features_of_queries)) as seen:
        model(torch.randn(3, N, H * D))
    assert not len(seen)


def test_gates_are_no_attention():
    gate = nn.Sequential(nn.Linear(8, 3), nn.Softmax(dim=-1))
    with watch(gate) as seen:
        gate(torch.randn(2, 7, 8)) @ torch.randn(2, 3, 8)
    assert not len(seen)
    assert not seen.unseen


def test_half_precision_and_float64():
    for dtype, off in ((torch.bfloat16, 2**-8), (torch.float64, 1e-6)):  # the softmax runs in float32
        with watch(model := Written(masked).to(dtype)) as seen:
            model(torch.randn(3, N, H * D, dtype=dtype))
        torch.testing.assert_close(seen[0].matrix.dense().double(), model.weights.detach().double(), atol=off, rtol=off)


def test_a_matrix_that_is_too_large_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(by_hand, "LARGEST", 100)
    with watch(model := Written(plain)) as seen:
        model(torch.randn(3, N, H * D))
    assert not len(seen)
    assert "the matrix [3, 2, 5, 5] that the model stores is larger than 100 bytes" in seen.unseen[0].why


def test_beyond_the_budget_it_is_in_a_file_and_it_can_be_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = Written(plain)
    with watch(model, budget=0) as seen:
        model(torch.randn(3, N, H * D))
    assert max(file.stat().st_size for file in tmp_path.rglob("*.bin")) == 3 * H * N * N * 4
    seen.save(tmp_path / "watch")
    torch.testing.assert_close(heedful.load_watch(tmp_path / "watch")[0].matrix.dense(), model.weights.detach())


def test_five_axes_are_kept():
    """Windows behind the heads, `[B, H, W, N, M]`."""

    def windows(m, q, k, v):
        q, k, v = (x[:, :, None].expand(-1, -1, 7, -1, -1) for x in (q, k, v))
        A = (scores(q, k)[..., :3, :]).softmax(-1)
        return A @ v, A

    with watch(model := Written(windows)) as seen:
        model(torch.randn(3, N, H * D))
    torch.testing.assert_close(seen[0].matrix.dense(), model.weights.detach().transpose(1, 2))


def test_gradients_are_those_without_a_watch():
    model, x = Written(plain), torch.randn(3, N, H * D)
    model(x).sum().backward()
    expected = model.qkv.weight.grad.clone()
    model.zero_grad()
    with watch(model):
        model(x).sum().backward()
    assert torch.equal(model.qkv.weight.grad, expected)
