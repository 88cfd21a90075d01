"""The operator: pure functions of tensors. `attention.py` is the file to read first."""

from heedful.ops.attention import attention, attention_weights
from heedful.ops.matrix import AttentionMatrix
from heedful.ops.normalizers import softmax
from heedful.ops.patterns import And, Causal, Global, Lengths, Mask, Not, Or, Pattern
from heedful.ops.scores import Dot, ScaledDot, Score

__all__ = [
    "And",
    "AttentionMatrix",
    "Causal",
    "Dot",
    "Global",
    "Lengths",
    "Mask",
    "Not",
    "Or",
    "Pattern",
    "ScaledDot",
    "Score",
    "attention",
    "attention_weights",
    "softmax",
]
