"""Training pictures are changed together with what is said of them: mirrored, their parts in another order, colors swapped."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from heedful.training.settings import Section

_NEAR = 64.0  # how far, of 255 a channel, a pixel may be from a color that it is taken for
_SIDES = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
_Color = Annotated[str, Field(pattern=r"^\w+ #[0-9a-fA-F]{6}$")]


class CaptionAugmentation(Section):
    """How training pictures are changed, and what is said of them."""

    flip: bool = Field(False, description="mirror half of the pictures, and swap `left` and `right` in their captions")
    parts: int = Field(
        1,
        ge=1,
        le=100,
        description="a picture is so many parts beside each other, whose order means nothing: it is drawn",
    )
    gap: float = Field(0.0, ge=0, le=10, description="between two of the parts, in widths of a part")
    colors: tuple[_Color, ...] = Field(
        (),
        description='colors that are swapped with each other, in pictures and captions: a word and a value each, "yellow #ffff00"',
    )

    @field_validator("colors")
    @classmethod
    def _several(cls, colors: tuple[str, ...]) -> tuple[str, ...]:
        if len(colors) == 1 or len({color.split()[0].lower() for color in colors}) < len(colors):
            raise ValueError(f"must be none, or several with different words: got {', '.join(colors)}")
        return colors

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return self.flip or self.parts > 1 or bool(self.colors)


def augmented(
    picture: NDArray[np.uint8], captions: Sequence[str], settings: CaptionAugmentation, random: np.random.Generator
) -> tuple[NDArray[np.uint8], list[str]]:
    """A picture, uint8 `[3, H, W]`, changed at random, with its captions.

    Example:
        >>> settings = CaptionAugmentation(flip=True)
        >>> picture = np.arange(3, dtype=np.uint8).reshape(1, 1, 3).repeat(3, 0)
        >>> pixels, captions = augmented(picture, ["on the left"], settings, np.random.default_rng(2))
        >>> pixels[0].tolist(), captions
        ([[0, 1, 2]], ['on the left'])
        >>> pixels, captions = augmented(picture, ["on the left"], settings, np.random.default_rng(0))
        >>> pixels[0].tolist(), captions
        ([[2, 1, 0]], ['on the right'])
    """
    words: dict[str, str] = {}
    if settings.parts > 1:
        picture = _reordered(picture, settings.parts, settings.gap, random)
    if settings.flip and random.random() >= 0.5:
        picture, words = picture[..., ::-1], words | _SIDES
    if settings.colors:
        names, values = zip(*(color.split() for color in settings.colors), strict=True)
        order = random.permutation(len(names))
        picture = _recolored(picture, np.array([[*bytes.fromhex(value[1:])] for value in values], np.float32), order)
        words |= {name.lower(): names[new] for name, new in zip(names, order, strict=True)}
    return picture, [_replaced(caption, words) for caption in captions]


def _reordered(picture: NDArray[np.uint8], parts: int, gap: float, random: np.random.Generator) -> NDArray[np.uint8]:
    width = picture.shape[2] / (parts + (parts - 1) * gap)
    starts, whole = [round(part * width * (1 + gap)) for part in range(parts)], int(width)
    changed = picture.copy()
    for start, origin in zip(starts, random.permutation(starts), strict=True):
        changed[..., start : start + whole] = picture[..., origin : origin + whole]
    return changed


def _recolored(picture: NDArray[np.uint8], values: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pixels near the i-th color get the color `order[i]`, as far from it as before."""
    pixels = picture.reshape(3, -1).T.astype(np.float32)  # [pixels, 3]
    far = np.abs(pixels[:, None] - values).max(-1)  # [pixels, colors]
    nearest = far.argmin(1)
    moved = pixels + np.where(far.min(1) < _NEAR, 1, 0)[:, None] * (values[order] - values)[nearest]
    changed: NDArray[np.uint8] = moved.clip(0, 255).astype(np.uint8).T.reshape(picture.shape)
    return changed


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """A text in which some words are others; those that begin with a capital still do."""
    if not words:
        return text

    def other(found: re.Match[str]) -> str:
        new = words[found[0].lower()]
        return new.capitalize() if found[0][0].isupper() else new

    return re.sub(rf"\b({'|'.join(words)})\b", other, text, flags=re.IGNORECASE)
