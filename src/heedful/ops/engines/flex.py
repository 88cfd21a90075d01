"""PyTorch's FlexAttention, for the patterns and biases that it can express. Experimental: it has not been run on a GPU.

FlexAttention asks what is visible, and what is added, for one pair at a time; each pattern and bias says it here in those words.
"""

import functools
import math
import warnings
from typing import Any

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._pairs import PairRule, Unsupported
from heedful.ops._tree import tensors
from heedful.ops.engines.base import Call, Engine, Result
from heedful.ops.engines.features import operands
from heedful.ops.engines.reference import all_heads
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax
from heedful.ops.selection import Soft


class Flex(Engine):
    """PyTorch's FlexAttention, where it is asked for."""

    name = "flex"
    reason = "asked for"

    def obstacle(self, call: Call) -> str | None:
        mechanism, shape = call.mechanism, call.shape
        inputs = (call.query, call.key, call.value, *tensors(mechanism))
        if len(shape) != 4:
            return "it needs four axes"
        softmax = isinstance(mechanism.normalize, Softmax) and isinstance(mechanism.select, Soft)
        if not (mechanism.score.inner and softmax):
            return "it is softmax of inner products only"
        if mechanism.dropout:
            return "it has no dropout"
        if call.query.device.type == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
            return "on a CPU it has no gradient"
        try:
            _rules(mechanism, shape, call.query.device)
        except Unsupported as error:
            return str(error)
        return None

    def run(self, call: Call) -> Result:
        if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]):
            return call.value.new_zeros(*call.shape[:-1], call.value.shape[-1]), None
        q, k, v, mechanism = operands(call.query, call.key, call.value, call.mechanism, call.shape)
        if not torch.is_grad_enabled():  # on a CPU it refuses what could have a gradient
            q, k, v = q.detach(), k.detach(), v.detach()
        return attention(q, k, v, mechanism, float(mechanism.factor(0)), call.shape), None

    def pairs(self, call: Call) -> int:
        return math.prod(call.shape)

    def scratch_bytes(self, call: Call, passes: int) -> int:
        return 0

    def linear_memory(self, call: Call) -> bool:
        return call.query.device.type != "cpu"


def attention(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, scale: float, shape: Shape) -> Tensor:
    """`A V`; queries and keys are features, of which the scores are inner products."""
    from torch.nn.attention.flex_attention import AuxRequest, create_block_mask

    pattern, bias, cap = *_rules(mechanism, shape, query.device), mechanism.softcap
    capped = (lambda s: s) if cap is None else (lambda s: cap * torch.tanh(s / cap))
    more = (lambda b, h, i, j: 0.0) if bias is None else bias
    # a lambda: FlexAttention compiles it, and cannot where the types of a function are checked
    scores = lambda s, b, h, i, j: capped(s) + more(b, h, i, j)  # noqa: E731

    mask = None
    if mechanism.pattern.masks_any(shape):
        batch, heads, queries, keys = shape
        mask = create_block_mask(pattern, batch, heads, queries, keys, device=str(query.device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        out, aux = _flex(query.device.type)(
            query, all_heads(key, query), all_heads(value, query), scale=scale, block_mask=mask, return_aux=AuxRequest(lse=True),
            score_mod=None if cap is None and bias is None else scores,
        )  # fmt: skip
    if mechanism.sinks is not None:
        lse: Tensor = aux.lse
        sinks = mechanism.sinks.expand(shape[:-2])[..., None].to(lse.dtype)
        out = out * (lse - torch.logaddexp(lse, sinks)).exp()[..., None].to(out.dtype)
    return out  # type: ignore[no-any-return]


def _rules(mechanism: Mechanism, shape: Shape, device: torch.device) -> tuple[PairRule, PairRule | None]:
    bias = mechanism.bias
    return mechanism.pattern.pair_rule(shape), None if bias is None else bias.pair_rule(shape, device)


@functools.cache
def _flex(device: str) -> Any:
    """FlexAttention: compiled where there is a compiler for it, plain on a CPU (in N x M memory there)."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device == "cpu" else torch.compile(flex_attention)
