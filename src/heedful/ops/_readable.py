"""Whether numbers may be looked at by Python while a function runs."""

import torch
from torch import Tensor
from torch._subclasses import FakeTensor


def readable(*tensors: Tensor) -> bool:
    """Whether Python may branch on these numbers: not while `torch.func` or `torch.compile` looks on, nor where there are none."""
    if torch.compiler.is_compiling():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return not any(wrapped(t) or t.device.type == "meta" or isinstance(t, FakeTensor) for t in tensors)


def at_hand(*tensors: Tensor) -> bool:
    """Whether the numbers are readable at once, without waiting for an accelerator."""
    return all(tensor.device.type == "cpu" for tensor in tensors) and readable(*tensors)


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
