"""classify-image: a label for a picture, by a Vision Transformer.

data         heedful/data: folders, archives, IDX, CSV, digits
model        heedful/models/vit.py
loss         cross entropy with label smoothing, on augmented pictures
measure      accuracy, macro F1; baselines on the same pictures
prediction   label, probability, runner-up
view         the attention of every layer and head over the picture
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.utils.data import Dataset

from heedful._errors import DataError, RunFolderError, SettingsError
from heedful.data import Pictures, hold_out, read_pictures, read_unlabelled
from heedful.data.batches import InOrder, Shuffled
from heedful.models import VisionTransformer, vision_transformer
from heedful.report import AttentionSection
from heedful.tasks.augmentation import Augmentation, AugmentationSettings, augmentation
from heedful.tasks.baselines import picture_baselines
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings, read_settings

if TYPE_CHECKING:
    from heedful.training.fit import Judged


class DataSettings(Section):
    """What pictures become before the model sees them."""

    size: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        0, description="resize to so many pixels, or to [height, width]; 0: as they are"
    )
    colour: Literal["auto", "grey", "colour"] = Field("auto", description="auto: grey if every training picture is")


class ModelSettings(Section):
    """The Vision Transformer."""

    tokenizer: Literal["convolution", "patch"] = Field("convolution", description="how a picture becomes tokens")
    stages: tuple[PositiveInt, ...] = Field(
        (32, 64), description="convolution: channels of each stage; a stage halves the picture"
    )
    convolutions: tuple[PositiveInt, ...] = Field((1, 1), description="convolution: how many each stage has")
    patch: int = Field(4, ge=1, description="patch: its side in pixels")
    positions: Literal["learned", "sinusoidal"] = Field("learned", description="how a token knows its place")
    width: int = Field(64, ge=1, description="features of a token")
    heads: int = Field(4, ge=1, description="attention heads of a layer")
    layers: int = Field(2, ge=1, description="layers of the encoder")
    hidden: int = Field(128, ge=1, description="features inside each layer's network")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of each sublayer's output that is dropped in training")
    drop_path: float = Field(0.1, ge=0, lt=1, description="probability that a sample skips the last layer in training")
    pooling: Literal["attention", "class-token"] = Field("attention", description="how the tokens become one vector")


class LossSettings(Section):
    """What is minimised."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target that is spread over all classes")


class Settings(Section):
    """All settings of classify-image."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        input: where the picture came from.
        label: the most probable class.
        probability: of that class.
        runner_up: the second.
        runner_up_probability: of the second.
    """

    input: str
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float

    def as_data(self) -> str:
        """A line of a table of paths and labels."""
        return f"{self.input}\t{self.label}"

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"{self.input}: {self.label} {100 * self.probability:.1f} % "
            f"(then {self.runner_up} {100 * self.runner_up_probability:.1f} %)"
        )


class ImageClassifier:
    """A trained model with all that it needs to take pictures as they are.

    Args:
        model: the network.
        classes: their names, in the order of the logits.
        size: (height, width) to which pictures are resized.
        channels: 1 for grey, 3 for colour.
    """

    def __init__(
        self, model: VisionTransformer, classes: Sequence[str], size: tuple[int, int], channels: Literal[1, 3]
    ) -> None:
        self.model, self.classes, self.size, self.channels = model.eval(), tuple(classes), size, channels

    def read(self, inputs: str | Path | Sequence[str | Path | BinaryIO]) -> Pictures:
        """Pictures (files, folders, archives, streams) as the model takes them."""
        return read_unlabelled(inputs, size=self.size, channels=self.channels)

    def read_labelled(self, source: str) -> Pictures:
        """Labelled pictures of the known classes; of an embedded set the test part."""
        return read_pictures(source, split="test", size=self.size, channels=self.channels, classes=self.classes)

    def predict(self, inputs: str | Path | Sequence[str | Path | BinaryIO] | Pictures) -> list[Prediction]:
        """The label of each picture, with its probability and the runner-up."""
        pictures = inputs if isinstance(inputs, Pictures) else self.read(inputs)
        best = self.logits(pictures.images).softmax(-1).topk(2)
        return [
            Prediction(name, self.classes[i], p, self.classes[j], q)
            for name, (i, j), (p, q) in zip(pictures.names, best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def logits(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """The logits `[count, classes]` of uint8 pictures `[count, C, h, w]`."""
        return torch.cat([self.model(part).float() for part in images.split(batch_size)])

    def measures(self, pictures: Pictures) -> dict[str, float]:
        """Accuracy and macro F1 on labelled pictures."""
        assert pictures.labels is not None
        metrics = _metrics(len(self.classes))
        metrics.update(self.logits(pictures.images), pictures.labels)
        return {name: value.item() for name, value in metrics.compute().items()}


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: Pictures
    validation: Pictures
    held_out: str
    model: VisionTransformer
    started: float

    def checksum(self) -> str:
        """Of the pictures and their labels: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            digest.update(repr((part.classes, tuple(part.images.shape))).encode("utf-8", "backslashreplace"))
            for tensor in (part.images, part.labels):
                assert tensor is not None
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the data and builds the model.

    Args:
        settings: all of them.
        sources: "data" (a tenth of it is held out), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit the data, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(settings, sources)
    seed_everything(settings.training.seed)
    model = _build(settings.model, training).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.fit_channels(training.images)
    parameters = sum(p.numel() for p in model.parameters())
    console.out(
        f"{len(training):,} pictures of {len(training.classes)} classes to train on; held out: {held_out}\n"
        f"Vision Transformer, {parameters:,} parameters",
        highlight=False,
    )
    return Prepared(settings, training, validation, held_out, model, started)


def train(run: RunFolder, prepared: Prepared, console: Any, *, resume: bool = False) -> dict[str, Any]:
    """Trains into a begun run folder, and gives what goes into metrics.json.

    Args:
        run: the folder.
        prepared: data, model and settings; the model is trained in place.
        console: a rich console that shows the progress.
        resume: go on from the last checkpoint, if there is one.
    """
    from heedful.training.fit import fit, loader

    settings, training, validation, model = prepared.settings, prepared.training, prepared.validation, prepared.model
    _, channels, height, width = training.images.shape
    augment, size = augmentation(settings.augmentation, (height, width), channels), settings.training.batch_size
    weights = fit(
        model,
        loss=lambda model, batch: _loss(model, batch, augment, settings.loss.label_smoothing),
        judge=lambda model, batch: _judge(model, batch, settings.loss.label_smoothing),
        metrics=_metrics(len(training.classes)),
        monitor="accuracy",
        training=loader(_Batches(training), Shuffled(len(training), size, settings.training.seed)),
        validation=loader(_Batches(validation), InOrder(len(validation), 4 * size)),
        settings=settings.training,
        folder=run,
        console=console,
        unit="pictures",
        resume=resume,
    )
    model.load_state_dict(weights)
    classifier = ImageClassifier(model, training.classes, tuple(training.images.shape[-2:]), training.images.shape[1])  # type: ignore[arg-type]
    metrics = {
        "held_out": prepared.held_out,
        "pictures": {"training": len(training), "held out": len(validation)},
        "parameters": sum(p.numel() for p in model.parameters()),
        "measures": classifier.measures(validation),
        "baselines": picture_baselines(training, validation),
        "seconds": time.monotonic() - prepared.started,
    }
    vocabulary = {"classes": list(training.classes), "size": list(classifier.size), "channels": classifier.channels}
    run.finish(weights, vocabulary, metrics)
    return metrics


def load(run: RunFolder) -> ImageClassifier:
    """The trained model of a finished run folder."""
    run.verified()
    settings, known, weights = read_settings(Settings, run.config()), run.vocabulary(), run.weights()
    try:
        classes, size, channels = known["classes"], tuple(known["size"]), known["channels"]
        model = vision_transformer(size=size, channels=channels, classes=len(classes), **settings.model.model_dump())
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the classes must fit each other: {str(error).splitlines()[0]}"
        ) from None
    return ImageClassifier(model, classes, size, channels)


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on labelled pictures, beside baselines fitted on the training pictures in the same run."""
    classifier = load(run)
    pictures = classifier.read_labelled(source)
    training, *_ = _read(read_settings(Settings, run.config()), run.about()["data"])
    return {
        "on": f"{len(pictures):,} pictures",
        "pictures": len(pictures),
        "measures": classifier.measures(pictures),
        "baselines": picture_baselines(training, pictures),
    }


def predict(run: RunFolder, chunks: Iterable[Sequence[str | Path | BinaryIO]]) -> Iterator[Prediction]:
    """Predictions in the order of the inputs, a chunk of inputs at a time."""
    classifier = load(run)
    for chunk in chunks:
        yield from classifier.predict(chunk)


def read_inputs(run: RunFolder, source: str) -> list[str]:
    """The inputs that a file, a folder or an archive holds."""
    return [source]


def inspect(run: RunFolder, inputs: Sequence[str | Path | BinaryIO]) -> list[AttentionSection]:
    """Sections of a report, one a picture, that show where the model looks in it."""
    from heedful.tasks.picture_view import picture_section

    classifier = load(run)
    pictures = classifier.read(list(inputs))
    return [picture_section(classifier, pictures, i) for i in range(len(pictures))]


class _Batches(Dataset[Any]):
    """Pictures and labels, taken a whole batch at a time."""

    def __init__(self, pictures: Pictures) -> None:
        assert pictures.labels is not None
        self.images, self.labels = pictures.images, pictures.labels

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]


def _read(settings: Settings, sources: dict[str, str]) -> tuple[Pictures, Pictures, str]:
    """Training pictures, held-out pictures, and a name for the latter."""
    size = settings.data.size
    both = (size, size) if isinstance(size, int) else size
    channels: Any = {"auto": None, "grey": 1, "colour": 3}[settings.data.colour]
    first = read_pictures(sources.get("data") or sources["train"], size=both if any(both) else None, channels=channels)
    if "data" in sources:
        if len(first) < 10:
            raise DataError(
                f"{sources['data']}: must hold at least 10 pictures, to hold one out (or give --train and --valid): got {len(first)}"
            )
        training, validation = hold_out(first)
        if len(training.labels.unique()) < 2:  # type: ignore[union-attr]
            raise DataError(f"{sources['data']}: must hold at least two classes once a tenth is held out: got 1")
        return (
            training,
            validation,
            f"every tenth picture of each class of {sources['data']}, {len(validation):,} pictures",
        )
    _, found, height, width = first.images.shape
    both, channels = (height, width), 1 if found == 1 else 3
    validation = read_pictures(sources["valid"], split="test", size=both, channels=channels, classes=first.classes)
    return first, validation, f"{sources['valid']}, {len(validation):,} pictures"


def _build(settings: ModelSettings, pictures: Pictures) -> VisionTransformer:
    _, channels, height, width = pictures.images.shape
    try:
        model = vision_transformer(
            size=(height, width), channels=channels, classes=len(pictures.classes), **settings.model_dump()
        )
        with torch.no_grad():
            model.eval()(pictures.images[:1])  # some parts check what they get only then
        return model.train()
    except ValueError as error:
        raise SettingsError(f"[model] does not fit pictures of {height} x {width} pixels: {error}") from None


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor], augment: Augmentation, label_smoothing: float) -> Tensor:
    images, labels = batch
    pictures, mixed = augment(images / 255, labels)
    first, second, share = mixed.unbind(1)
    logits = model(pictures)
    losses = [
        F.cross_entropy(logits, x.long(), label_smoothing=label_smoothing, reduction="none") for x in (first, second)
    ]
    share = share.to(losses[0].dtype)  # in mixed precision not that of the logits
    return torch.lerp(losses[1], losses[0], share).mean()


def _judge(model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float) -> "Judged":
    from heedful.training.fit import Judged

    images, labels = batch
    logits = model(images)
    return Judged(F.cross_entropy(logits, labels, label_smoothing=label_smoothing), len(labels), logits, labels)


def _metrics(classes: int) -> Any:
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    return MetricCollection({
        "accuracy": MulticlassAccuracy(classes, average="micro"), "macro_f1": MulticlassF1Score(classes, average="macro"),
    })  # fmt: skip
