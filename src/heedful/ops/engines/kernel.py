"""PyTorch's private kernel on a CPU, which also gives the log-sum-exp of each row: the only way to it.

It reads memory where it is told to, so sizes and strides are checked here before each call, and its faults are mended here:
with the causal flag it multiplies -inf by the scale; over few keys it takes a row of nothing but NaN for one that sees nothing,
unless there is a mask; and its gradient over few keys is slow in half precision.
"""

import functools
from typing import Any

import torch

from heedful._types import Float, Tensor

_SHORT = 256  # of fewer keys, the gradient in half precision takes up to five times as long as in float32
NAN_SAFE_KEYS = 64  # of as many keys, all kinds of processors take some at a time, and NaN is seen

_AVAILABLE = hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward")


def is_available(query: Tensor) -> bool:
    """Whether the kernel is there for this tensor."""
    return query.device.type == "cpu" and _AVAILABLE


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
    if mask is None and (min(q.shape[-2], k.shape[-2]) if causal else k.shape[-2]) < NAN_SAFE_KEYS:
        mask = zero_mask(q.dtype)
    return _forward(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)


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
    original_scale, factor, dtype = scale, 1.0, q.dtype
    if scale <= 0:
        q, scale = _signed(q, scale)
        factor = -1.0 if original_scale < 0 else 0.0
    if dtype.itemsize < 4 and k.shape[-2] < _SHORT:
        dout, q, k, v, out = (t.float() for t in (dout, q, k, v, out))
        mask = None if mask is None else mask.float()
    dq, dk, dv = _backward(dout, q, k, v, out, lse.contiguous(), 0.0, causal, attn_mask=mask, scale=scale)
    dq = dq if factor == 1 else dq * factor
    return (dq, dk, dv) if dq.dtype == dtype else (dq.to(dtype), dk.to(dtype), dv.to(dtype))


def _forward(*operands: Any, **options: Any) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*operands, **options)  # type: ignore[no-any-return]


def _backward(*operands: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return gradients(*operands, **options)  # type: ignore[no-any-return]


class UncheckedKernel:
    """The kernel for operands of one size whose sizes, dtypes and strides were checked, as `fast_path.py` does.

    Args:
        causal: whether the kernel's flag is set.
        needs_mask: whether there are so few keys that NaN needs a mask to be seen.
        scale: positive.
    """

    def __init__(self, causal: bool, needs_mask: bool, scale: float) -> None:
        self.causal, self.needs_mask, self.scale = causal, needs_mask, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The output and the log-sum-exp."""
        mask = zero_mask(q.dtype) if self.needs_mask else None
        return _forward(q, k, v, 0.0, self.causal, attn_mask=mask, scale=self.scale)

    def backward(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v; autograd sees to it that `dout` is as large as the output."""
        if q.dtype.itemsize < 4 or dout.stride(-1) != 1:
            return backward(dout, q, k, v, out, lse, scale=self.scale, causal=self.causal)
        return _backward(dout, q, k, v, out, lse, 0.0, self.causal, scale=self.scale)


def _signed(q: Tensor, scale: float) -> tuple[Tensor, float]:
    """The sign of a scale in the query: -inf times a scale of 0 is NaN, and times a negative one inf."""
    return (q.neg(), -scale) if scale < 0 else (q * 0, 1.0)


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
    if not _fit(q.shape, k.shape, v.shape, None if mask is None else mask.shape) or not q.dtype == k.dtype == v.dtype:
        of_mask = "" if mask is None else f" with a mask of {_sizes(mask)}"
        raise RuntimeError(f"operands of {_sizes(q, k, v)}{of_mask} would be read out of bounds.")
    if not q.stride(-1) == k.stride(-1) == v.stride(-1) == 1:
        raise RuntimeError(
            f"the numbers of a row must lie side by side: got strides {[t.stride() for t in (q, k, v)]}."
        )


@functools.lru_cache(maxsize=4096)
def _fit(q: torch.Size, k: torch.Size, v: torch.Size, mask: torch.Size | None) -> bool:
    """Whether the sizes of operands and of a mask are those that the kernel takes for granted."""
    if not len(q) == len(k) == len(v) == 4 or k != v or (q[0], q[3]) != (k[0], k[3]) or 0 in (*q, *k) or q[1] % k[1]:
        return False
    whole = (*q[:3], k[2])
    return mask is None or (len(mask) == 4 and all(n in (1, m) for n, m in zip(mask, whole, strict=True)))


@functools.cache
def zero_mask(dtype: torch.dtype) -> Tensor:
    """A mask that adds 0 to each score."""
    return torch.zeros(1, 1, 1, 1, dtype=dtype)


def _sizes(*tensors: Tensor) -> str:
    return ", ".join(str(list(t.shape)) for t in tensors)
