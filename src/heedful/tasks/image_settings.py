"""What tasks on images share: the settings of their size and channels, and the size that a vocabulary may hold."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from heedful.training.schema import Schema
from heedful.training.settings import Section

Size = NonNegativeInt | tuple[PositiveInt, PositiveInt]  # so many pixels, or height and width; 0: as the images are
Color = Literal["auto", "gray", "color"]
COLOR = "auto: gray if every training image is"


def size_of(size: Size) -> tuple[int, int] | None:
    """Height and width of a setting; None for 0."""
    height, width = (size, size) if isinstance(size, int) else size
    return (height, width) if height else None


def channels_of(color: Color) -> Literal[1, 3] | None:
    """The number of channels of a setting; None for auto."""
    channels: dict[Color, Literal[1, 3] | None] = {"auto": None, "gray": 1, "color": 3}
    return channels[color]


class KeptImages(Section):
    """Pictures larger than memory as a set."""

    cache_mb: PositiveInt = Field(
        2000, description="megabytes of decoded images that are kept; the others are decoded again in each epoch"
    )
    workers: NonNegativeInt = Field(2, description="processes that decode the images that are not kept")

    @property
    def kept(self) -> dict[str, Any]:
        """What readers take: bytes that are kept, and how many processes decode the others."""
        return {"cache": self.cache_mb * 10**6, "workers": self.workers}


class SizedVocabulary(Schema):
    """The size of the images that a model takes: a folder from elsewhere must not ask for more than a machine has."""

    most_pixels: ClassVar[int] = 2**22

    size: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2)  # height, width

    @field_validator("size")
    @classmethod
    def _bounded(cls, size: list[int]) -> list[int]:
        if size[0] * size[1] > cls.most_pixels:
            raise ValueError(
                f"pictures must have at most {cls.most_pixels:,} pixels (data.size makes them smaller): got {size[0]:,} x {size[1]:,}"
            )
        return size
