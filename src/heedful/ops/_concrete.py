"""Whether Python can read the numbers of a tensor while a function runs."""

import torch
from torch import Tensor
from torch._subclasses import FakeTensor


def concrete(*tensors: Tensor) -> bool:
    """Whether Python can read these numbers and branch on them: not under `torch.func` or `torch.compile`, nor on "meta"."""
    if torch.compiler.is_compiling():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return not any(wrapped(t) or t.device.type == "meta" or isinstance(t, FakeTensor) for t in tensors)


def concrete_on_cpu(*tensors: Tensor) -> bool:
    """Whether the numbers are concrete and on the CPU, so that reading them waits for no accelerator."""
    return all(tensor.device.type == "cpu" for tensor in tensors) and concrete(*tensors)


def transformed() -> bool:
    """Whether a transform of `torch.func` is active (one inside of `torch.compile` is not noticed)."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def under_vmap() -> bool:
    """Whether `torch.func.vmap` is active: then no number can be read."""
    return _levels(torch._C._functorch.TransformType.Vmap) > 0


def nested_forward_mode() -> bool:
    """Whether forward mode runs within forward mode."""
    return _levels(torch._C._functorch.TransformType.Jvp) > 1


def _levels(kind: object) -> int:
    if not transformed():
        return 0
    return sum(level.key() == kind for level in torch._C._functorch.get_interpreter_stack() or ())
