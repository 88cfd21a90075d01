"""Models, one a file, each readable from top to bottom."""

from heedful.models.language_model import LanguageModel, language_model
from heedful.models.sampling import Filled, fill, generate
from heedful.models.vit import VisionTransformer, vision_transformer

__all__ = [
    "Filled",
    "LanguageModel",
    "VisionTransformer",
    "fill",
    "generate",
    "language_model",
    "vision_transformer",
]
