"""Layers: parameters and one call into `heedful.ops`."""

from heedful.nn.multihead import MultiHeadAttention, SelfAttention
from heedful.nn.pooling import AttentionPooling
from heedful.nn.positions import LearnedPositions, SinusoidalPositions, sinusoidal
from heedful.nn.transformer import TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "AttentionPooling",
    "LearnedPositions",
    "MultiHeadAttention",
    "SelfAttention",
    "SinusoidalPositions",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "sinusoidal",
]
