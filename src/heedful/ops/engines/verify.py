"""The debug switch: with the environment variable `HEEDFUL_VERIFY=1`, a kernel's results are compared with the definition.

Each output and each first gradient of the fused and of the banded engine, of up to `LARGEST` pairs; what differs raises.
"""

import os

import torch

from heedful._types import Float, Tensor

LARGEST = 2**22  # pairs of all heads; the definition stores several numbers for each
_ROUNDING = {
    torch.float64: 1e-8,
    torch.float32: 4e-3,
    torch.bfloat16: 0.2,
    torch.float16: 0.05,
}  # of the largest number

on = os.environ.get("HEEDFUL_VERIFY") == "1"


def compare(what: str, result: Float[Tensor, "..."], expected: Float[Tensor, "..."], height: float = 1.0) -> None:
    """Raises RuntimeError where a result is not what the definition gives; `height` is what its terms may reach."""
    same = torch.isclose(
        result.double(),
        expected.double(),
        rtol=0,
        atol=_ROUNDING[result.dtype] * (height + max_abs(expected)),
        equal_nan=True,
    )
    if not bool(same.all()):
        index = (~same).nonzero()[0].tolist()
        got, wanted = result[tuple(index)].item(), expected[tuple(index)].item()
        raise RuntimeError(
            f"{what} must be what the definition gives: got {got:.6g} instead of {wanted:.6g} at {index}, "
            f"and {int((~same).sum())} of {same.numel()} numbers differ."
        )


def all_finite(*tensors: Float[Tensor, "..."]) -> bool:
    """Whether all numbers are: what gradients of others are is not promised."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def max_abs(tensor: Float[Tensor, "..."]) -> float:
    """The largest finite number, without its sign."""
    return float(tensor.detach().double().abs().nan_to_num(0.0, 0.0, 0.0).amax()) if tensor.numel() else 0.0
