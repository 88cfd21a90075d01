"""The settings and the vocabulary of segment."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from heedful.data._mask_values import MaskTable
from heedful.data.masks import DEFAULT_VOID
from heedful.tasks.geometric_augmentation import PlacementSettings
from heedful.tasks.image_settings import KeptImages, Size, SizedVocabulary
from heedful.training.schema import Classes
from heedful.training.settings import (
    RowSettings,
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    follows_data,
)

_Byte = Annotated[int, Field(ge=0, le=255)]
_Value = Annotated[int, Field(ge=0, lt=2**32)]


class SegmentData(KeptImages, RowSettings):
    """What pictures and masks become before the model sees them."""

    size: Size = Field(
        0, description="resize pictures and masks to so many pixels, or to [height, width]; 0: as they are"
    )
    masks: Literal["auto", "index", "color"] = Field(
        "auto",
        description="what masks hold: numbers of classes, or colors of a table; auto: colors where not all are gray",
    )
    classes: str | tuple[str, ...] = Field(
        (),
        description="names of the classes in the order of their numbers, or a file that names them, with colors or without",
    )
    void: tuple[int | str, ...] = Field(
        DEFAULT_VOID, description="what has no class and is left out: numbers, names of classes, or colors (#rrggbb)"
    )


class SegmentModel(Section):
    """A residual network with attention where its features are coarsest."""

    width: int = Field(32, ge=1, description="channels of the first stage; the next have twice and four times as many")
    attention: Literal["none", "control", "spatial", "channel", "dual"] = Field(
        "dual", description="at an eighth of the size; control: 1 x 1 convolutions with as many parameters as dual"
    )
    heads: int = Field(1, ge=1, description="heads of the spatial attention")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of channels before the last layer")


@defaults(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)
class SegmentAugmentation(PlacementSettings):
    """How training pictures are augmented, their masks along with them."""

    crop: Size = Field(
        0,
        description="what training sees of a picture: so many pixels, or [height, width]; 0: data.size, or what suits the pictures",
    )


class SegmentLoss(Section):
    """What is minimized: a cross entropy over the pixels."""

    class_weights: Literal["none", "log"] = Field(
        "log", description="log: a class of the share p of all pixels weighs 1 / log(1.02 + p)"
    )
    auxiliary: float = Field(0.4, ge=0, description="weight of the loss of the head before the attention")
    lovasz: float = Field(
        0.0, ge=0, description="weight of the Lovasz loss, which is nearer to the intersection over union"
    )


@defaults(batch_size=8, weight_decay=1e-4, warmup_ratio=0.05, ema_decay=0.999)
class SegmentTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 100, or more where these are fewer than 2,000 steps"
    )


class SegmentSettings(TaskSettings):
    """All settings of segment."""

    data: SegmentData = SegmentData()
    model: SegmentModel = SegmentModel()
    augmentation: SegmentAugmentation = SegmentAugmentation()
    loss: SegmentLoss = SegmentLoss()
    training: SegmentTraining = SegmentTraining()


class SegmentOptions(Section):
    """How pictures are seen, and what --out writes of them."""

    style: Literal["index", "color", "overlay"] = Field(
        "index", description="with --out: masks as numbers with a palette, as colors, or as colors over the picture"
    )
    scale: float = Field(
        0.0,
        ge=0,
        le=16,
        description="resize a picture by this factor before the model sees it, in tiles; 0: as in training",
    )


class SegmentVocabulary(SizedVocabulary):
    """What the weights know by number, and the pictures that they take."""

    most_pixels = 2**24  # that training sees of a picture

    classes: Classes
    kind: Literal["index", "color"]
    values: list[_Value]
    void: list[_Value]
    colors: list[Annotated[list[_Byte], Field(min_length=3, max_length=3)]]
    shares: list[Annotated[float, Field(ge=0, le=1)]]
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=3, max_length=3)

    @model_validator(mode="after")
    def _one_of_each(self) -> "SegmentVocabulary":
        if not len(self.classes) == len(self.values) == len(self.colors) == len(self.shares):
            raise ValueError("must have a value, a color and a share for each class")
        return self


def table_of(vocabulary: Mapping[str, Any]) -> MaskTable:
    """The table of masks that a vocabulary holds."""
    classes, values, void = (tuple(vocabulary[name]) for name in ("classes", "values", "void"))
    return MaskTable(vocabulary["kind"], classes, values, void, tuple((r, g, b) for r, g, b in vocabulary["colors"]))
