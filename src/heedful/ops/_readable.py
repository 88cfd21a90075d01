"""Whether numbers may be looked at by Python while a function runs."""

import torch
from torch import Tensor


def readable(*tensors: Tensor) -> bool:
    """Whether Python may branch on these numbers: not while `torch.func` or `torch.compile` looks on, and not on an accelerator."""
    if torch.compiler.is_compiling():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return all(tensor.device.type == "cpu" and not wrapped(tensor) for tensor in tensors)


def transformed() -> bool:
    """Whether a transform of `torch.func` is at work (one inside of `torch.compile` is not seen)."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def under_vmap() -> bool:
    """Whether `torch.func.vmap` is at work: no number can be read."""
    return _levels(torch._C._functorch.TransformType.Vmap) > 0


def nested_forward_mode() -> bool:
    """Whether forward mode runs within forward mode."""
    return _levels(torch._C._functorch.TransformType.Jvp) > 1


def _levels(kind: object) -> int:
    if not transformed():
        return 0
    return sum(level.key() == kind for level in torch._C._functorch.get_interpreter_stack() or ())
