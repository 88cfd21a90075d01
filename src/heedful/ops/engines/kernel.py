"""PyTorch's private kernel on a CPU, which also gives the log-sum-exp of each row: the only way to it.

It reads memory where it is told to, so sizes and strides are checked here before each call, and its faults are mended here:
with the causal flag it multiplies -inf by the scale; over few keys it takes a row of nothing but NaN for one that sees nothing,
unless there is a mask; and its gradient over few keys is slow in half precision.
"""

import torch

from heedful._types import Float, Tensor

_SHORT = 256  # of fewer keys, the gradient in half precision takes up to five times as long as in float32
FEW = 64  # of as many keys, all kinds of processors take some at a time, and NaN is seen

_IS_THERE = hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward")


def is_there(query: Tensor) -> bool:
    """Whether the kernel is there for this tensor."""
    return query.device.type == "cpu" and _IS_THERE


def forward(
    q: Float[Tensor, "B H n D"],
    k: Float[Tensor, "B G m D"],
    v: Float[Tensor, "B G m D"],
    *,
    scale: float,
    causal: bool = False,
    mask: Float[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B H n D"], Float[Tensor, "B H n"]]:
    """`softmax(scale * q k^T + mask) v` and the log-sum-exp of each row, 0 where it sees nothing."""
    _check(q, k, v, mask)
    if scale <= 0:
        q, scale = _signed(q, scale)
    if mask is None and (min(q.shape[-2], k.shape[-2]) if causal else k.shape[-2]) < FEW:
        mask = q.new_zeros(1, 1, 1, 1)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # type: ignore[no-any-return]
        q, k, v, 0.0, causal, attn_mask=mask, scale=scale
    )


def backward(
    dout: Float[Tensor, "B H n D"],
    q: Float[Tensor, "B H n D"],
    k: Float[Tensor, "B H m D"],
    v: Float[Tensor, "B H m D"],
    out: Float[Tensor, "B H n D"],
    lse: Float[Tensor, "B H n"],
    *,
    scale: float,
    causal: bool = False,
    mask: Float[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B H n D"], Float[Tensor, "B H m D"], Float[Tensor, "B H m D"]]:
    """The gradients of q, k and v; q, k and v have equally many heads."""
    _check(q, k, v, mask)
    if not q.shape == dout.shape == out.shape or lse.shape != q.shape[:-1] or k.shape[1] != q.shape[1]:
        raise RuntimeError(f"gradients of {_sizes(q, k)} from {_sizes(dout, out, lse)} would be read out of bounds.")
    if not dout.stride(-1) == out.stride(-1) == 1:
        dout, out = dout.contiguous(), out.contiguous()
    given, factor, dtype = scale, 1.0, q.dtype
    if scale <= 0:
        q, scale = _signed(q, scale)
        factor = -1.0 if given < 0 else 0.0
    if dtype.itemsize < 4 and k.shape[-2] < _SHORT:
        dout, q, k, v, out = (t.float() for t in (dout, q, k, v, out))
        mask = None if mask is None else mask.float()
    dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        dout, q, k, v, out, lse.contiguous(), 0.0, causal, attn_mask=mask, scale=scale
    )
    dq = dq if factor == 1 else dq * factor
    return (dq, dk, dv) if dq.dtype == dtype else (dq.to(dtype), dk.to(dtype), dv.to(dtype))


def _signed(q: Tensor, scale: float) -> tuple[Tensor, float]:
    """The sign of a scale in the query: -inf times a scale of 0 is NaN, and times a negative one inf."""
    return (q.neg(), -scale) if scale < 0 else (q * 0, 1.0)


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
    batch, heads, n, width = q.shape
    groups, m = k.shape[1:3]
    if (
        k.shape != v.shape
        or k.shape[0] != batch
        or k.shape[3] != width
        or not batch * n * m * width * groups
        or heads % groups
        or not q.dtype == k.dtype == v.dtype
    ):
        raise RuntimeError(f"operands of {_sizes(q, k, v)} would be read out of bounds.")
    if not q.stride(-1) == k.stride(-1) == v.stride(-1) == 1:
        raise RuntimeError(
            f"the numbers of a row must lie side by side: got strides {[t.stride() for t in (q, k, v)]}."
        )
    if mask is not None and not (
        mask.dim() == 4
        and mask.is_floating_point()
        and all(size in (1, whole) for size, whole in zip(mask.shape, (batch, heads, n, m), strict=True))
    ):
        raise RuntimeError(f"a mask of {_sizes(mask)} would be read out of bounds for {_sizes(q, k)}.")


def _sizes(*tensors: Tensor) -> str:
    return ", ".join(str(list(t.shape)) for t in tensors)
