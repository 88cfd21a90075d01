"""Augmentation of small pictures, a whole batch at a time, by kornia."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor

from heedful.training.settings import Section

Augmentation = Callable[[Tensor], Tensor]


class AugmentationSettings(Section):
    """How training pictures are varied; what is 0 is left out."""

    rotate: float = Field(10.0, ge=0, le=180, description="turn by up to so many degrees")
    shift: float = Field(0.1, ge=0, le=1, description="move by up to this share of the size")
    scale: float = Field(0.1, ge=0, lt=1, description="make larger or smaller by up to this share")
    shear: float = Field(5.0, ge=0, le=60, description="shear by up to so many degrees")
    flip: Literal["auto", "yes", "no"] = Field("auto", description="mirror left and right; auto: colour pictures only")
    erase: float = Field(0.0, ge=0, le=1, description="probability that a rectangle is blotted out")
    colour: float = Field(0.0, ge=0, le=1, description="vary brightness, contrast and saturation by up to this share")


def augmentation(settings: AugmentationSettings, channels: int) -> Augmentation:
    """What is done to a batch of pictures `[B, C, h, w]` from 0 to 1, each in its own way."""
    import kornia.augmentation as K

    steps = []
    if settings.rotate or settings.shift or settings.scale or settings.shear:
        steps.append(
            K.RandomAffine(
                degrees=settings.rotate,
                translate=(settings.shift, settings.shift),
                scale=(1 - settings.scale, 1 + settings.scale),
                shear=settings.shear,
                p=1.0,
            )
        )
    if settings.flip == "yes" or (settings.flip == "auto" and channels == 3):
        steps.append(K.RandomHorizontalFlip(p=0.5))
    if settings.colour:
        strength = settings.colour
        steps.append(K.ColorJiggle(strength, strength, strength if channels == 3 else 0.0, 0.0, p=0.8))
    if settings.erase:
        steps.append(K.RandomErasing(scale=(0.02, 0.25), ratio=(0.3, 3.3), p=settings.erase))
    return K.AugmentationSequential(*steps, data_keys=["input"]) if steps else _unchanged


def _unchanged(pictures: Tensor) -> Tensor:
    return pictures
