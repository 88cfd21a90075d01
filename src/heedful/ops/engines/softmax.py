"""What the engines have in common whose rows are the softmax of inner products: what they cannot do, and sinks."""

import abc
from collections.abc import Sequence

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._readable import transformed
from heedful.ops.engines import kernel
from heedful.ops.engines.base import Call, Gradients, Kernel
from heedful.ops.engines.features import as_columns, learns
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1
from heedful.ops.selection import Soft


def obstacle(query: Tensor, mechanism: Mechanism) -> str | None:
    """Why a kernel for the softmax of inner products cannot compute it, whatever the sizes; None where it can."""
    if not mechanism.score.inner:
        return "the score is no inner product"
    if not isinstance(mechanism.normalize, (Softmax, Softmax1)):
        return "the normaliser is not softmax"
    if not isinstance(mechanism.select, Soft):
        return "keys are selected"
    if mechanism.softcap is not None:
        return "scores are capped"
    if mechanism.dropout:
        return "weights are dropped"
    if transformed():
        return "a transform of torch.func is at work"
    if has_sinks(mechanism) and (not kernel.is_there(query) or torch.compiler.is_compiling()):
        return "sinks need the log-sum-exp, which PyTorch's public kernel does not give"
    return None


def obstacle_of_call(call: Call) -> str | None:
    """The same, with what is only known with the shape of the matrix."""
    if found := obstacle(call.query, call.mechanism):
        return found
    bias = call.mechanism.bias
    if bias is not None and learns(bias) and not as_columns(bias, call.shape, call.query):
        return "the bias learns"
    return "there are no pairs" if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]) else None


def has_sinks(mechanism: Mechanism) -> bool:
    """Whether a part of the weights goes to nothing."""
    return mechanism.sinks is not None or isinstance(mechanism.normalize, Softmax1)


def padding(call: Call, passes: int, *, all_heads: bool) -> int:
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
        whole = lse
        if self.mechanism.sinks is not None:
            whole = torch.logaddexp(whole, self._sinks(lse))
        if isinstance(self.mechanism.normalize, Softmax1):  # a sink whose score is 0
            whole = torch.logaddexp(whole, torch.zeros_like(whole))
        return out * (lse - whole).exp()[..., None].to(out.dtype), whole

    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: Sequence[Tensor]) -> Gradients | None:
        """The gradients, from the output and the log-sum-exp that `forward` gave."""
        if not kept:
            return None
        out, lse = kept
        learned = {}
        if self.mechanism.sinks is not None:
            share = (self._sinks(lse) - lse).exp()
            delta = (dout.to(lse.dtype) * out.to(lse.dtype)).sum(-1)
            sinks = self.mechanism.sinks
            learned[id(sinks)] = -(share * delta).sum(-1).sum_to_size(sinks.shape).to(sinks.dtype)
        return *self.gradients(dout, q, k, v, out, lse), learned

    def _sinks(self, lse: Tensor) -> Tensor:
        assert self.mechanism.sinks is not None
        return self.mechanism.sinks.detach().to(lse.dtype)[..., None]
