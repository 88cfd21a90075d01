"""Models, one a file, each readable from top to bottom."""

from heedful.models.vit import VisionTransformer, vision_transformer

__all__ = ["VisionTransformer", "vision_transformer"]
