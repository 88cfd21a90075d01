"""What is done to log-mel features in training: crops, loudness, an equalizer, noise. Draws come from PyTorch's generator.

A factor of the energy is a summand of its logarithm, so that all of it is done where the features are.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from heedful.data.log_mel import SHIFT, WINDOW
from heedful.training.settings import Section

_DECIBEL = math.log(10) / 10  # of the logarithm of an energy
_FLOOR = -15.9424  # of features: silence
_KNOTS = 5  # of a curve over the bands


class SpeakerAugmentation(Section):
    """How recordings are changed in training."""

    crop: tuple[float, float] = Field(
        (0.3, 0.8), description="seconds of a recording that a step hears, from and to; longer than it: all of it"
    )
    gain: float = Field(6.0, ge=0, le=40, description="louder or softer: standard deviation in decibels")
    equalizer: float = Field(
        4.0, ge=0, le=40, description="bands louder or softer, along a curve: standard deviation in decibels"
    )
    noise: float = Field(0.5, ge=0, le=1, description="share of recordings that get noise")
    noise_ratio: tuple[float, float] = Field((10.0, 30.0), description="decibels by which noise is softer, from and to")

    @model_validator(mode="after")
    def _in_order(self) -> "SpeakerAugmentation":
        for name, (first, last) in (("crop", self.crop), ("noise_ratio", self.noise_ratio)):
            if not first <= last or (name == "crop" and first < 0.05):
                raise ValueError(
                    f"`{name}` must rise{', from 0.05 s on' if name == 'crop' else ''}: got {first:g} to {last:g}"
                )
        return self


def cropped(features: Sequence[Tensor], settings: SpeakerAugmentation) -> list[Tensor]:
    """A stretch of each of the features `[frames, bands]`, of one length where they are long enough, from a random frame on."""
    low, high = (max(round((seconds - WINDOW) / SHIFT) + 1, 1) for seconds in settings.crop)
    length = int(torch.randint(low, high + 1, ()))
    starts = [int(torch.randint(max(len(one) - length, 0) + 1, ())) for one in features]
    return [one[start : start + length] for one, start in zip(features, starts, strict=True)]


def changed(frames: Tensor, lengths: Tensor, settings: SpeakerAugmentation) -> Tensor:
    """Features `[B, N, bands]`, each louder or softer, through an equalizer, and some with noise."""
    count, _, bands = frames.shape
    gain = settings.gain * torch.randn(count, 1) + settings.equalizer * curves(count, bands)
    frames = (frames + _DECIBEL * gain[:, None]).clamp_min(_FLOOR)
    low, high = settings.noise_ratio
    ratio = low + (high - low) * torch.rand(count, 1)
    noisy = torch.rand(count, 1) < settings.noise
    there = (torch.arange(frames.shape[1]) < lengths[:, None])[..., None]
    energy = torch.where(there, frames.exp(), 0).sum((1, 2)) / (lengths.clamp_min(1) * bands)  # [B]
    level = energy.clamp_min(1e-9).log()[:, None] - _DECIBEL * (ratio - 3 * curves(count, bands))  # [B, bands]
    level = torch.where(noisy, level, torch.full_like(level, -math.inf))
    flutter = torch.distributions.Exponential(1.0).sample((3, *frames.shape)).mean(0).clamp_min(1e-4).log()
    return torch.logaddexp(frames, level[:, None] + flutter)


def curves(count: int, bands: int) -> Tensor:
    """Smooth curves over the bands, `[count, bands]`, of a deviation of about 1: straight lines between random knots."""
    knots = torch.randn(count, 1, _KNOTS)
    return F.interpolate(knots, size=bands, mode="linear", align_corners=True)[:, 0]
