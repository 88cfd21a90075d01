"""classify-image: a label for an image, several labels, or a number.

data         heedful/data/images.py: folders, archives, IDX, CSV, digits
model        heedful/models/vit.py, heedful/models/cnn.py
target       heedful/tasks/targets.py: one label, several labels or a number, each with its loss and its metrics
loss         that of the target, with label smoothing, on augmented images
view         heedful/tasks/views/image.py: the attention of every layer and head over the image, and over channels
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from heedful._errors import SettingsError
from heedful.data import LabeledImages, read_images, read_unlabeled
from heedful.data.batches import SequentialBatches, ShuffledBatches
from heedful.data.images import mean_and_std
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.stored_images import Images, workers_of
from heedful.models import ConvolutionalNetwork, VisionTransformer, vision_transformer
from heedful.models.pretrained import PretrainedImageClassifier
from heedful.tasks.augmentation import Augmentation, augmentation
from heedful.tasks.baselines import image_features
from heedful.tasks.classification import ClassificationOptions
from heedful.tasks.classify_image_settings import (
    ClassifyImageSettings,
    Convolutional,
    ImageVocabulary,
    PretrainedImageModel,
)
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.forward_pass import ForwardPass, images, of_target
from heedful.tasks.image_settings import channels_of, size_of
from heedful.tasks.pretrained import (
    PretrainedModel,
    begin,
    learned_image,
    pooling_of,
    rates_of,
)
from heedful.tasks.pretrained import encoder_of as pretrained_encoder
from heedful.tasks.target_kinds import learn_target, target_of
from heedful.tasks.vocabularies import label_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_DIGITS = ("data.size=16", "model.pooling=class-token")  # settings that suit images of 8 x 8 pixels
_SHAPES = ("training.epochs=12",)
_TOGETHER = 256  # images that are computed together
_MAX_TRIAL = 4096  # tokens of an image by which a new model is tried
_LEAST_PATCH = 8  # pixels of a side of a pretrained model's patch

Network = VisionTransformer | ConvolutionalNetwork | PretrainedImageClassifier


class ClassifyImage(Task[LabeledImages]):
    """A label for an image, several labels, or a number."""

    name = "classify-image"
    example, unit, input = "image", "images", InputKind.IMAGE
    Settings, Options, Vocabulary = ClassifyImageSettings, ClassificationOptions, ImageVocabulary
    split = EveryTenth(lambda images: images.labels.tolist() if images.format.kind == "label" else ())
    embedded = {
        "digits": Embedded(("train", "test"), _DIGITS),
        "shapes": Embedded(("train", "valid", "test"), _SHAPES),
    }

    def __init__(self, settings: ClassifyImageSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.target = target_of(settings, vocabulary)
        self.prediction, self.classes = self.target.prediction, list(self.target.classes)
        self.size, self.channels, self.monitor = tuple(vocabulary["size"]), vocabulary["channels"], self.target.monitor

    @cached_property
    def augment(self) -> Augmentation:
        """What is done to images in training."""
        return augmentation(self.settings.augmentation, self.size, self.channels)

    @classmethod
    def read(cls, source: Any, settings: ClassifyImageSettings, reading: Reading = TRAINING) -> LabeledImages:
        size, channels = size_of(settings.data.size), channels_of(settings.data.color)
        known = reading.vocabulary or {"size": size, "channels": channels, "classes": None}
        if reading.vocabulary is None and isinstance(settings.model, PretrainedModel):
            wanted = learned_image(settings.model)
            known = {**known, "size": known["size"] or wanted["size"], "channels": channels or wanted["channels"]}
        shape: Any = {"size": known["size"] and tuple(known["size"]), "channels": known["channels"]}
        if not reading.labeled:
            return read_unlabeled(source, **shape)
        return read_images(
            source, split=reading.part,
            classes=known["classes"] if settings.data.target == "label" else None, skip=settings.data.skip,
            format=settings.data.format, **settings.data.kept, **shape,
        )  # fmt: skip

    @classmethod
    def adapt(cls, training: LabeledImages, settings: ClassifyImageSettings) -> Mapping[str, Any]:
        usual, steps = (10, 200) if isinstance(settings.model, PretrainedModel) else (50, 600)
        return {"training.epochs": epochs_for(len(training), settings.training, usual=usual, steps=steps)}

    @classmethod
    def learn(cls, training: LabeledImages, settings: ClassifyImageSettings) -> dict[str, Any]:
        _, channels, height, width = training.images.shape
        mean, std = mean_and_std(training.select(range(0, len(training), max(len(training) // 10_000, 1))))
        own = {"channels": channels, "mean": mean, "std": std}
        if isinstance(settings.model, PretrainedModel):
            own = learned_image(settings.model)
        return learn_target(training.cells, settings, training.classes) | own | {"size": [height, width]}

    @classmethod
    def extend(cls, training: LabeledImages, settings: ClassifyImageSettings, base: Self) -> dict[str, Any]:
        learned, known = cls.learn(training, settings), base.vocabulary
        same = learned["channels"] == known["channels"]  # then the weights are for images of that brightness
        return learned | ({name: known[name] for name in ("mean", "std")} if same else {})

    def describe(self) -> str:
        return self.target.describe()

    def check(self, examples: LabeledImages) -> None:
        """Images are read as the model takes them."""
        self.target.check((cell, "the data") for cell in dict.fromkeys(examples.cells))

    def build(self) -> Network:
        height, width = self.size
        try:
            model = self._network()
            model.mean.copy_(torch.tensor(self.vocabulary["mean"]))
            model.std.copy_(torch.tensor(self.vocabulary["std"]))
            stride = _LEAST_PATCH if isinstance(model, PretrainedImageClassifier) else model.stride
            if height * width <= _MAX_TRIAL * stride**2:  # some parts check what they get only then
                with torch.no_grad():
                    model.eval()(torch.zeros(1, self.channels, *self.size, dtype=torch.uint8))
        except ValueError as error:
            raise SettingsError(f"[model] does not fit images of {height} x {width} pixels: {error}") from None
        return model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def rows(self) -> Mapping[str, Rows]:
        return label_rows(self.classes or ["number"])

    def _network(self) -> Network:
        s, common = self.settings.model, {"channels": self.channels, "classes": self.target.outputs}
        if isinstance(s, Convolutional):
            return ConvolutionalNetwork(**common, **s.model_dump())
        if not isinstance(s, PretrainedImageModel):
            return vision_transformer(size=self.size, **common, **s.model_dump())
        encoder = pretrained_encoder(s, self.vocabulary)
        pooling = pooling_of(s.pooling, encoder, any("cls_token" in name for name, _ in encoder.named_parameters()))
        return PretrainedImageClassifier(encoder, pooling=pooling, dropout=s.output_dropout, **common)

    def begin(self, model: Network, base: Self | None = None) -> list[str]:
        return begin(self.settings.model, model, "image", base and base.settings.model)

    def rates(self, model: Network) -> Mapping[str, float]:
        return rates_of(self.settings.model, model)

    def batches(self, examples: LabeledImages, *, training: bool) -> Batches:
        settings, count = self.settings.training, len(examples)
        order = (
            ShuffledBatches(count, int(settings.batch_size), settings.seed) if training
            else SequentialBatches(count, 4 * int(settings.batch_size))
        )  # fmt: skip
        images, targets = examples.images, self.target.encode(examples.cells)
        return Batches(lambda rows: (images[rows], targets[rows]), order, workers=workers_of(images))

    def loss(self, model: Network, batch: Any, optimizer: str) -> Tensor:
        images, targets = batch
        images, mixed = self.augment(images / 255, torch.arange(len(images)))
        first, second, share = mixed.unbind(1)
        outputs, smoothing = model(images), self.settings.loss.label_smoothing
        losses = [self.target.loss(outputs, targets[rows.long()], smoothing) for rows in (first, second)]
        return torch.lerp(losses[1], losses[0], share.to(losses[0].dtype)).mean()  # mixed precision has several dtypes

    def validate(self, model: Network, batch: Any) -> Mapping[str, Mean]:
        images, targets = batch
        return self.target.means(model(images), targets, self.settings.loss.label_smoothing)

    def predict(
        self, model: Network, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Any]:
        images = self.images(inputs)
        return self.target.predictions(images.names, self.outputs(model, images.images), options, named=True)

    @torch.inference_mode()
    def outputs(self, model: Network, images: Images) -> Tensor:
        """Of uint8 images `[count, C, h, w]`: `[count, outputs]`."""
        return torch.cat([model(part).float() for part in images.split(_TOGETHER)])

    def calibrate(self, model: Network, examples: LabeledImages) -> dict[str, Any]:
        return self.target.calibrate(self.outputs(model, examples.images), examples.cells)

    def forward_pass(self) -> ForwardPass:
        return of_target(self.target, images(self.channels, *self.size))

    def inputs(self, examples: LabeledImages) -> Sequence[LabeledImages]:
        return [examples]

    def score(self, predictions: Sequence[Any], examples: LabeledImages) -> Scores:
        return self.target.score(predictions, examples.cells)

    def baselines(self, training: LabeledImages, examples: LabeledImages) -> Mapping[str, list[Any]]:
        features = image_features(training, examples)
        return self.target.baselines(examples.names, training.cells, features)

    def expected(self, example: LabeledImages) -> str:
        return self.target.shown(example.cells[0])

    def inspect(self, model: Network, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.image import image_section

        images = self.images(inputs)
        return [image_section(self, model, images, i) for i in range(len(images))]

    def images(self, inputs: Sequence[Any]) -> LabeledImages:
        """LabeledImages that were read already, or what paths, streams and arrays hold."""
        if len(inputs) == 1 and isinstance(inputs[0], LabeledImages):
            return inputs[0]
        if inputs and all(hasattr(one, "shape") or hasattr(one, "convert") for one in inputs):
            return LabeledImages.of(inputs, size=self.size, channels=self.channels)
        return read_unlabeled(inputs, size=self.size, channels=self.channels)
