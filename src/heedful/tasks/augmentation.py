"""Augmentation of small images, a whole batch at a time, by kornia."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from heedful._errors import needing
from heedful.training.settings import Section

Augmentation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class AugmentationSettings(Section):
    """How training images are augmented; what is 0 is not applied."""

    rotate: float = Field(10.0, ge=0, le=180, description="rotate by up to this many degrees")
    shift: float = Field(0.1, ge=0, le=1, description="shift by up to this fraction of the size")
    scale: float = Field(0.1, ge=0, lt=1, description="scale up or down by up to this fraction")
    shear: float = Field(5.0, ge=0, le=60, description="shear by up to this many degrees")
    crop: int = Field(0, ge=0, description="random crop after padding by this many mirrored pixels")
    flip: Literal["auto", "yes", "no"] = Field("auto", description="mirror left and right; auto: color images only")
    color: float = Field(
        0.0,
        ge=0,
        le=1,
        description="jitter of brightness, contrast and saturation by up to this fraction, of half of the images",
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability that a rectangle is erased")
    cutmix: float = Field(
        0.0, ge=0, le=1, description="probability of CutMix: the images of a batch get rectangles of each other"
    )


def augmentation(settings: AugmentationSettings, size: tuple[int, int], channels: int) -> Augmentation:
    """The augmentation of a batch: images `[B, C, h, w]` from 0 to 1, and labels `[B]`.

    The labels become `[B, 3]`: a label, the label of what was mixed in, and the share of the first.
    """
    with needing("augmentation", "training on images"):
        import kornia.augmentation as K

    steps: list[Callable[[Tensor], Tensor]] = []
    if settings.rotate or settings.shift or settings.scale or settings.shear:
        bounds = (1 - settings.scale, 1 + settings.scale)
        shift = (settings.shift, settings.shift)
        steps.append(
            K.RandomAffine(degrees=settings.rotate, translate=shift, scale=bounds, shear=settings.shear, p=1.0)
        )
    if settings.crop:
        steps.append(K.RandomCrop(size, padding=settings.crop, padding_mode="reflect", cropping_mode="slice"))
    if settings.flip == "yes" or (settings.flip == "auto" and channels == 3):
        steps.append(K.RandomHorizontalFlip(p=0.5))
    if settings.color:
        strength = settings.color
        steps.append(K.ColorJiggle(strength, strength, strength if channels == 3 else 0.0, 0.0, p=0.5))
    if settings.erase:
        steps.append(K.RandomErasing(scale=(0.02, 0.25), ratio=(0.3, 3.3), p=settings.erase))
    mix = (
        K.RandomCutMixV2(p=settings.cutmix, data_keys=["input", "class"], use_correct_lambda=True)
        if settings.cutmix
        else None
    )

    @torch.no_grad()
    def augment(pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        for step in steps:
            pictures = step(pictures)
        if mix is None:
            return pictures, torch.stack([labels, labels, torch.ones_like(labels)], dim=1)
        pictures, mixed = mix(pictures, labels)
        return pictures, mixed[0]

    return augment
