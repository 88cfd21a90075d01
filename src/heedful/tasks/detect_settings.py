"""The settings and the vocabulary of detect."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from heedful.tasks.geometric_augmentation import PlacementSettings
from heedful.tasks.image_settings import COLOR, Color, KeptImages, Size, SizedVocabulary
from heedful.training.schema import Words
from heedful.training.settings import (
    RowSettings,
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    follows_data,
)


class DetectData(KeptImages, RowSettings):
    """What pictures and boxes become before the model sees them."""

    size: Size = Field(
        (240, 320), description="resize to so many pixels, or to [height, width]; 0: as they are, all of one size"
    )
    color: Color = Field("auto", description=COLOR)
    strict: bool = Field(
        False,
        description="boxes without area, duplicates and boxes that stand out of their picture: an error; or left out and cut",
    )


class DetectorModel(Section):
    """A dense head, or a set-prediction head beside it, on one trunk with attention."""

    head: Literal["dense", "set"] = Field(
        "dense", description="scores and boxes at each cell (dense); or queries, each for one object or none (set)"
    )
    attention: Literal["none", "control", "spatial", "channel", "dual"] = Field(
        "dual",
        description="after the last stage; control: 1 x 1 convolutions instead; all have as many parameters as dual",
    )
    stages: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), description="channels of each of the four stages")
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 2, 2), description="residual blocks of each stage")
    width: int = Field(64, ge=1, description="features of a cell of 8 x 8 pixels")
    queries: int = Field(100, ge=1, description="set: how many queries, each of which may find an object")
    layers: int = Field(3, ge=1, description="set: layers of the decoder")
    heads: int = Field(4, ge=1, description="set: attention heads of a layer")
    ffn_width: int = Field(128, ge=1, description="set: width of each layer's feed-forward network")


class DetectLoss(Section):
    """What is minimized."""

    boxes: float = Field(5.0, ge=0, description="weight of the dense head's boxes, beside its scores")
    set: float = Field(1.0, ge=0, description="weight of the set head, beside the dense one")
    repeats: int = Field(
        5,
        ge=0,
        le=100,
        description="set: in training, queries of their own find each object so often; 0: there are none",
    )
    denoising: int = Field(
        3,
        ge=0,
        le=100,
        description="set: in training, groups of queries that are objects with noise, to be found again",
    )


@defaults(scale=(0.6, 1.5), flip="both", quarter_turns=True, brightness=0.2, contrast=0.2, saturation=0.3, hue=0.02)
class DetectAugmentation(PlacementSettings):
    """How training pictures are augmented; boxes follow."""

    mosaic: float = Field(0.5, ge=0, le=1, description="probability that a picture is made of parts of four")
    mosaic_off: int = Field(15, ge=0, description="without mosaics in so many last epochs")


@defaults(batch_size=8, learning_rate=1e-3, ema_decay=0.998, weight_decay=0.05, warmup_ratio=0.02)
class DetectTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 60, or more where these are fewer than 3,000 steps"
    )


class DetectSettings(TaskSettings):
    """All settings of detect."""

    data: DetectData = DetectData()
    model: DetectorModel = DetectorModel()
    augmentation: DetectAugmentation = DetectAugmentation()
    loss: DetectLoss = DetectLoss()
    training: DetectTraining = DetectTraining()


class DetectOptions(Section):
    """Which boxes are told."""

    score_threshold: float = Field(0.3, ge=0, le=1, description="least score of a box that is told")
    max_boxes: int = Field(100, ge=1, le=10_000, description="most boxes of a picture")
    nms_iou: float | None = Field(
        None,
        ge=0,
        le=1,
        description="of two boxes of a class that overlap more, the better is told; of a dense head 0.6 unless given",
    )


class DetectVocabulary(SizedVocabulary):
    """What the weights know by number, and the pictures that they take."""

    classes: Words
    categories: list[int]  # COCO's numbers of the classes
    size: list[Annotated[int, Field(ge=8)]] = Field(min_length=2, max_length=2)  # height, width
    channels: Literal[1, 3]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
