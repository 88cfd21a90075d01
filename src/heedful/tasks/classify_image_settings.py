"""The settings and the vocabulary of classify-image."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from heedful.tasks.augmentation import AugmentationSettings
from heedful.tasks.image_settings import COLOR, Color, KeptImages, Size, SizedVocabulary
from heedful.tasks.pretrained import PretrainedClassifierModel, PretrainedModel, PretrainedVocabulary
from heedful.tasks.targets import TargetLoss, TargetSettings, TargetVocabulary
from heedful.training.settings import Section, TaskSettings, TrainingSettings, defaults, follows_data


class ImageData(KeptImages, TargetSettings):
    """What images become before the model sees them."""

    size: Size = Field(
        0,
        description="resize to so many pixels, or to [height, width]; 0: as they are, or as a pretrained model takes them",
    )
    color: Color = Field("auto", description=COLOR)


class EncoderOfPatches(Section):
    """What all Vision Transformers have."""

    positions: Literal["learned", "sinusoidal"] = Field(
        "learned", description="how the positions of tokens are encoded"
    )
    width: int = Field(64, ge=1, description="features of a token")
    heads: int = Field(4, ge=1, description="attention heads of a layer")
    layers: int = Field(2, ge=1, description="layers of the encoder")
    ffn_width: int = Field(128, ge=1, description="width of each layer's feed-forward network")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of each sublayer's output")
    drop_path: float = Field(0.1, ge=0, lt=1, description="probability that a sample skips the last layer in training")
    pooling: Literal["attention", "class-token"] = Field("attention", description="how the tokens become one vector")


class ConvolutionalTransformer(EncoderOfPatches):
    """A Compact Convolutional Transformer: convolutions make the tokens (Hassani et al. 2021)."""

    architecture: Literal["cct"] = Field("cct", description="convolutions (cct) or patches (vit) make the tokens")
    stages: tuple[PositiveInt, ...] = Field((32, 64), description="channels of each stage; a stage halves the image")
    convolutions: tuple[PositiveInt, ...] = Field((1, 1), description="how many convolutions each stage has")


class PatchTransformer(EncoderOfPatches):
    """A Vision Transformer: patches are the tokens (Dosovitskiy et al. 2021)."""

    architecture: Literal["vit"] = Field("vit", description="convolutions (cct) or patches (vit) make the tokens")
    patch_size: int = Field(4, ge=1, description="side of a patch in pixels")


class Convolutional(Section):
    """A residual network, with or without attention on its feature maps (He et al. 2016, Fu et al. 2019)."""

    architecture: Literal["cnn", "cnn_spatial", "cnn_channel", "cnn_dual", "cnn_sagan"] = Field(
        "cnn", description="convolutions alone (cnn), or with attention over positions, channels or both; of equal size"
    )
    stages: tuple[PositiveInt, ...] = Field(
        (32, 64, 128), description="channels of each stage; a stage halves the image"
    )
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 1), description="how many residual blocks each stage has")
    attention_after: tuple[PositiveInt, ...] = Field(
        (2,), description="the stages behind which attention stands, from 1"
    )
    heads: int = Field(1, ge=1, description="attention heads over positions")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the last layer")


class PretrainedImageModel(PretrainedClassifierModel):
    """A pretrained encoder of images."""

    suits: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {**PretrainedModel.suits["training"], "batch_size": 32},
        "loss": {"label_smoothing": 0.1},
    }


@defaults(label_smoothing=0.1)
class ImageLoss(TargetLoss):
    """What is minimized."""


class ImageTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 50, or more where these are fewer than 600 steps"
    )


class ClassifyImageSettings(TaskSettings):
    """All settings of classify-image."""

    data: ImageData = ImageData()
    model: Annotated[
        ConvolutionalTransformer | PatchTransformer | Convolutional | PretrainedImageModel,
        Field(discriminator="architecture"),
    ] = ConvolutionalTransformer()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: ImageLoss = ImageLoss()
    training: ImageTraining = ImageTraining()


class ImageVocabulary(SizedVocabulary, TargetVocabulary):
    """What the weights know by number, and the images that they take."""

    channels: Literal[1, 3]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    pretrained: PretrainedVocabulary | None = None
