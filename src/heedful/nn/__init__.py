"""Layers: parameters and one call into `heedful.ops`."""

from heedful.nn.cache import KeyValueCache, StaticKeyValueCache
from heedful.nn.conv_as_attention import ConvAttention2d, HeadOffset, conv_as_attention
from heedful.nn.convert import from_torch
from heedful.nn.cross import CrossAttention
from heedful.nn.decoder import DecoderCache, TransformerDecoder, TransformerDecoderLayer
from heedful.nn.image import ChannelAttention, DualAttention, SelfAttention2d, SpatialAttention
from heedful.nn.insert import add_attention, remove_attention
from heedful.nn.multihead import MultiHeadAttention, SelfAttention
from heedful.nn.parameter_free import ParameterFreeAttention
from heedful.nn.pooling import AttentionPooling, AttentiveStatistics
from heedful.nn.positions import (
    LearnedALiBi,
    LearnedPositions,
    LearnedRelativeBias,
    RotaryPositions,
    SinusoidalPositions,
    sinusoidal,
)
from heedful.nn.transformer import TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "AttentionPooling",
    "AttentiveStatistics",
    "ChannelAttention",
    "ConvAttention2d",
    "CrossAttention",
    "DecoderCache",
    "DualAttention",
    "HeadOffset",
    "KeyValueCache",
    "LearnedALiBi",
    "LearnedPositions",
    "LearnedRelativeBias",
    "MultiHeadAttention",
    "ParameterFreeAttention",
    "RotaryPositions",
    "SelfAttention",
    "SelfAttention2d",
    "SinusoidalPositions",
    "SpatialAttention",
    "StaticKeyValueCache",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "add_attention",
    "conv_as_attention",
    "from_torch",
    "remove_attention",
    "sinusoidal",
]
