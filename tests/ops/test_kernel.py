"""The one way to PyTorch's private kernel: what does not fit is refused before it could be read out of bounds."""

import math
import re
from pathlib import Path

import pytest
import torch

import heedful
from heedful.ops.engines import kernel


def operands(groups=2, m=7, width=4, value_width=4, batch=2):
    shapes = ((2, 4, 5, width), (batch, groups, m, width), (batch, groups, m, value_width))
    return [torch.randn(shape) for shape in shapes]


WRONG = {
    "more positions of keys than of values": lambda q, k, v: (q, k, v[:, :, :-1]),
    "more heads of keys than of values": lambda q, k, v: (q, k.repeat_interleave(2, 1), v),
    "another batch": lambda q, k, v: (q, k[:1], v[:1]),
    "another width": lambda q, k, v: (q, k[..., :3], v[..., :3]),
    "heads that do not divide": lambda q, k, v: (q[:, :3], k, v),
    "three axes": lambda q, k, v: (q[0], k[0], v[0]),
    "no keys": lambda q, k, v: (q, k[:, :, :0], v[:, :, :0]),
    "another dtype": lambda q, k, v: (q, k.double(), v.double()),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_operands_that_do_not_fit_are_refused(spoil):
    with pytest.raises(RuntimeError, match="would be read out of bounds"):
        kernel.forward(*spoil(*operands()), scale=1.0)


def test_rows_that_lie_apart_are_refused():
    q, k, v = operands()
    with pytest.raises(RuntimeError, match="the numbers of a row must lie side by side"):
        kernel.forward(q.mT.contiguous().mT, k, v, scale=1.0)


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (3, 1, 5, 7), (5, 7), (1, 2, 1, 1)])
def test_masks_that_do_not_fit_are_refused(shape):
    with pytest.raises(RuntimeError, match=re.escape(f"with a mask of {list(shape)} would be read out of bounds")):
        kernel.forward(*operands(), scale=1.0, mask=torch.zeros(shape))


def test_gradients_of_other_sizes_are_refused():
    q, k, v = operands(groups=4)
    out, lse = kernel.forward(q, k, v, scale=1.0)
    for dout, row in ((out[:, :, :-1], lse), (out, lse[..., :-1])):
        with pytest.raises(RuntimeError, match="gradients of .* would be read out of bounds"):
            kernel.backward(dout, q, k, v, out, row, scale=1.0)
    with pytest.raises(RuntimeError, match="would be read out of bounds"):
        kernel.backward(out, q, k[:, :2], v[:, :2], out, lse, scale=1.0)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [-0.7, 0.0, 0.7])
def test_any_scale(scale, causal):
    q, k, v = (torch.randn(1, 2, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    scores = scale * q @ k.mT
    scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf) if causal else scores
    right = scores.softmax(-1) @ v
    out, lse = kernel.forward(q.detach(), k.detach(), v.detach(), scale=scale, causal=causal)
    torch.testing.assert_close(out, right.detach())
    torch.testing.assert_close(lse, scores.logsumexp(-1).detach())
    dout = torch.randn_like(out)
    found = kernel.backward(dout, q.detach(), k.detach(), v.detach(), out, lse, scale=scale, causal=causal)
    for mine, his in zip(found, torch.autograd.grad(right, (q, k, v), dout), strict=True):
        torch.testing.assert_close(mine, his)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("keys", [1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65])
def test_a_row_of_nothing_but_nan_is_nan(keys, dtype):
    """The kernel by itself takes it for one that sees nothing, where there are few keys."""
    q, k, v = (torch.randn(1, 2, n, 4).to(dtype) for n in (5, keys, keys))
    q[:, :, 2] = math.nan
    for out in (
        kernel.forward(q, k, v, scale=1.0)[0],
        heedful.attention(q, k, v),
        heedful.attention(q.clone().requires_grad_(), k, v).detach(),
        heedful.attention(q, k, v, pattern=heedful.Causal("start")),
        heedful.attention(q, k, v, scale=-0.5),
    ):
        assert out[:, :, 2].isnan().all()
        assert out[:, :, [0, 1, 3, 4]].isfinite().all()


def test_there_is_no_other_way_to_it():
    """Each file but one leaves PyTorch's private operators alone."""
    source = Path(heedful.__file__).parent
    files = [path for path in source.rglob("*.py") if "_scaled_dot_product_flash_attention_for_cpu" in path.read_text()]
    assert [str(path.relative_to(source)) for path in files] == ["ops/engines/kernel.py"]
