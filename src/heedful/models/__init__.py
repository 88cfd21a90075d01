"""Models, one a file, each readable from top to bottom."""

from heedful.models.attention_block import attention_block
from heedful.models.cnn import ConvolutionalNetwork
from heedful.models.ensemble import Ensemble
from heedful.models.language_model import LanguageModel, language_model
from heedful.models.residual import ConvNorm, ResidualBlock
from heedful.models.sampling import FilledMasks, fill_masks, generate
from heedful.models.search import Hypothesis, beam_search, sample
from heedful.models.sequence_to_sequence import SequenceToSequence, sequence_to_sequence
from heedful.models.vit import VisionTransformer, vision_transformer

__all__ = [
    "ConvNorm",
    "ConvolutionalNetwork",
    "Ensemble",
    "FilledMasks",
    "Hypothesis",
    "LanguageModel",
    "ResidualBlock",
    "SequenceToSequence",
    "VisionTransformer",
    "attention_block",
    "beam_search",
    "fill_masks",
    "generate",
    "language_model",
    "sample",
    "sequence_to_sequence",
    "vision_transformer",
]
