"""What the engines have in common whose rows are the softmax of inner products: what they cannot do, and sinks."""

import abc
from collections.abc import Sequence

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._concrete import transformed
from heedful.ops.engines import kernel
from heedful.ops.engines.base import Call, Gradients, Kernel
from heedful.ops.engines.features import as_columns, requires_grad
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1
from heedful.ops.selection import Soft


def obstacle(query: Tensor, mechanism: Mechanism) -> str | None:
    """Why a kernel for the softmax of inner products cannot compute it, whatever the sizes; None where it can."""
    if not mechanism.score.inner:
        return "the score is no inner product"
    if not isinstance(mechanism.normalize, (Softmax, Softmax1)):
        return "the normalizer is not softmax"
    if not isinstance(mechanism.select, Soft):
        return "keys are selected"
    if mechanism.softcap is not None:
        return "scores are capped"
    if mechanism.dropout:
        return "weights are dropped"
    if transformed():
        return "a transform of torch.func is at work"
    if has_sinks(mechanism) and (not kernel.is_available(query) or torch.compiler.is_compiling()):
        return "sinks need the log-sum-exp, which PyTorch's public kernel does not give"
    return None


def obstacle_of_call(call: Call) -> str | None:
    """The same, with what is only known with the shape of the matrix."""
    if reason := obstacle(call.query, call.mechanism):
        return reason
    bias = call.mechanism.bias
    if bias is not None and requires_grad(bias) and not as_columns(bias, call.shape, call.query):
        return "the bias learns"
    return "there are no pairs" if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]) else None


def has_sinks(mechanism: Mechanism) -> bool:
    """Whether a part of the weights goes to nothing."""
    return mechanism.sinks is not None or isinstance(mechanism.normalize, Softmax1)


def padding_bytes(call: Call, passes: int, *, all_heads: bool) -> int:
    """Bytes of operands that are made as wide as each other, and of key heads that are repeated."""
    query, key, value = call.query, call.key, call.value
    size, (n, m), heads = query.element_size(), call.shape[-2:], query.shape[:-2].numel()
    widest, copied = max(query.shape[-1], value.shape[-1]), 0
    if query.shape[-1] != value.shape[-1]:
        narrow = [t for t in (query, key, value) if t.shape[-1] != widest]
        copied += sum(t.numel() // t.shape[-1] for t in narrow) * widest * size
        copied += heads * n * widest * size * passes  # the output with as many columns
    if key.dim() > 3 and key.shape[-3] != query.shape[-3] and (all_heads or passes == 2):
        copied += 2 * passes * heads * m * widest * size
    return copied


class SoftmaxKernel(Kernel):
    """A kernel that gives the output and the log-sum-exp of each row; with both, sinks only take a share of the weights."""

    def __init__(self, mechanism: Mechanism, shape: Shape) -> None:
        self.mechanism, self.shape, self.scale = mechanism, shape, float(mechanism.factor(0))

    @abc.abstractmethod
    def rows(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`A V` and the log-sum-exp of each row's scores; its value counts for nothing where a row sees nothing."""

    @abc.abstractmethod
    def gradients(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v of the weights `exp(score - lse)`, given the output of these weights."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """The output, and the log-sum-exp with that of the sinks."""
        out, lse = self.rows(q, k, v)
        if not has_sinks(self.mechanism):
            return out, lse
        total_lse = lse
        if self.mechanism.sinks is not None:
            total_lse = torch.logaddexp(total_lse, self._sinks(lse))
        if isinstance(self.mechanism.normalize, Softmax1):  # a sink whose score is 0
            total_lse = torch.logaddexp(total_lse, torch.zeros_like(total_lse))
        return out * (lse - total_lse).exp()[..., None].to(out.dtype), total_lse

    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, saved: Sequence[Tensor]) -> Gradients | None:
        """The gradients, from the output and the log-sum-exp that `forward` gave."""
        if not saved:
            return None
        out, lse = saved
        sink_gradient = {}
        if self.mechanism.sinks is not None:
            sink_weight = (self._sinks(lse) - lse).exp()
            delta = (dout.to(lse.dtype) * out.to(lse.dtype)).sum(-1)
            sinks = self.mechanism.sinks
            sink_gradient[id(sinks)] = -(sink_weight * delta).sum(-1).sum_to_size(sinks.shape).to(sinks.dtype)
        return *self.gradients(dout, q, k, v, out, lse), sink_gradient

    def _sinks(self, lse: Tensor) -> Tensor:
        assert self.mechanism.sinks is not None
        return self.mechanism.sinks.detach().to(lse.dtype)[..., None]
