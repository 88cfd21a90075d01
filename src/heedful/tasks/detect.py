"""detect: boxes around the objects of a picture.

data         heedful/data/boxes.py: Pascal VOC, COCO, shapes
model        heedful/models/detector.py: a dense head, or a set-prediction head beside it, on one trunk with attention
loss         heedful/models/detector_losses.py, on pictures whose boxes follow augmentation
metrics      heedful/tasks/detections.py: average precision, by faster-coco-eval
view         heedful/tasks/views/detect.py: what each box looked at
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful.data.batches import SequentialBatches, ShuffledBatches
from heedful.data.boxes import BoxedImages, read_boxes, read_without_boxes
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.stored_images import workers_of
from heedful.models.boxes import IGNORED, suppress
from heedful.models.detector import STRIDE, Detected, Detector
from heedful.models.detector_losses import LossWeights, detection_loss
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.detect_augmentation import augmented, padded
from heedful.tasks.detect_baselines import rough_boxes
from heedful.tasks.detect_settings import DetectOptions, DetectSettings, DetectVocabulary
from heedful.tasks.detections import Detections, Guess, Truth, average_precision, check_metrics, scores_of
from heedful.tasks.forward_pass import ForwardPass, Operand, images
from heedful.tasks.image_settings import channels_of, size_of
from heedful.training.objective import Batches, Mean, Pooled
from heedful.training.settings import epochs_for

_SHAPES = (
    "data.size=96", "model.stages=[16, 32, 48, 64]", "model.blocks=[1, 1, 1, 1]", "model.width=48", "training.batch_size=8",
    "training.learning_rate=3e-3", "training.epochs=2", "augmentation.scale=[0.8, 1.25]",
    "augmentation.quarter_turns=false", "augmentation.mosaic=0",
)  # fmt: skip
_LEAST = 0.01  # score of a box that counts in a metric
_CANDIDATES = 300  # cells of the dense head, of which boxes are made
_OVERLAP = 0.6  # of two boxes of a class, from the dense head
_TOGETHER = 16  # pictures that are computed together
_SHARING = 3  # queries that share objects in training, for two of predicting


class Detect(Task[BoxedImages]):
    """Boxes around the objects of a picture."""

    name = "detect"
    example, unit, input = "picture", "pictures", InputKind.IMAGE
    Settings, Options, Vocabulary = DetectSettings, DetectOptions, DetectVocabulary
    split = EveryTenth()
    monitor = "map50"
    scored_with = {"score_threshold": _LEAST}
    embedded = {"shapes": Embedded(("train", "valid", "test"), _SHAPES)}

    def __init__(self, settings: DetectSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.classes, self.size = list(vocabulary["classes"]), tuple(vocabulary["size"])
        self.channels = vocabulary["channels"]

    @classmethod
    def read(cls, source: Any, settings: DetectSettings, reading: Reading = TRAINING) -> BoxedImages:
        known = reading.vocabulary
        shape: Any = {
            "size": tuple(known["size"]) if known else size_of(settings.data.size),
            "channels": known["channels"] if known else channels_of(settings.data.color),
        }
        if not reading.labeled:
            return read_without_boxes(source, **shape)
        return read_boxes(
            source, split=reading.part, classes=known["classes"] if known else None, strict=settings.data.strict,
            skip=settings.data.skip, **settings.data.kept, **shape,
        )  # fmt: skip

    @classmethod
    def adapt(cls, training: BoxedImages, settings: DetectSettings) -> Mapping[str, Any]:
        return {"training.epochs": epochs_for(len(training), settings.training, usual=60, steps=3000)}

    @classmethod
    def learn(cls, training: BoxedImages, settings: DetectSettings) -> dict[str, Any]:
        check_metrics()
        if not any(len(boxes) for boxes in training.boxes or ()):
            raise DataError("must have at least one box: got none")
        _, channels, height, width = training.images.shape
        some = training.images[:: max(len(training) // 1000, 1)].float() / 255
        return {
            "classes": list(training.classes), "categories": list(training.categories), "size": [height, width],
            "channels": channels, "mean": some.mean((0, 2, 3)).tolist(), "std": some.std((0, 2, 3)).clamp_min(1e-3).tolist(),
        }  # fmt: skip

    @classmethod
    def extend(cls, training: BoxedImages, settings: DetectSettings, base: Self) -> dict[str, Any]:
        learned, known = cls.learn(training, settings), base.vocabulary
        same = learned["channels"] == known["channels"]  # then the weights are for pictures of that brightness
        return learned | ({name: known[name] for name in ("mean", "std")} if same else {})

    def describe(self) -> str:
        return f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''}"

    def check(self, examples: BoxedImages) -> None:
        """Pictures are read as the model takes them; classes that it does not know count as not found."""

    def build(self) -> Detector:
        if min(self.size) < STRIDE:
            raise SettingsError(f"`data.size`: must be at least {STRIDE}: got {list(self.size)}.")
        settings, loss = self.settings.model, self.settings.loss
        model = Detector(
            channels=self.channels, classes=len(self.classes), denoised=loss.denoising,
            repeated=_SHARING * settings.queries // 2 if loss.repeats else 0, **settings.model_dump(),
        )  # fmt: skip
        model.mean.copy_(torch.tensor(self.vocabulary["mean"]))
        model.std.copy_(torch.tensor(self.vocabulary["std"]))
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def rows(self) -> Mapping[str, Rows]:
        classes = Rows("labels", self.classes)
        return {f"classify.{end}": classes for end in ("weight", "bias")} | {"set.labels.weight": classes}

    def batches(self, examples: BoxedImages, *, training: bool) -> Batches:
        settings, count = self.settings.training, len(examples)
        order = (
            ShuffledBatches(count, int(settings.batch_size), settings.seed) if training
            else SequentialBatches(count, 2 * int(settings.batch_size))
        )  # fmt: skip
        boxes = [
            (examples.scaled(row), torch.where(own.ignored, IGNORED, self._numbers(examples, own.labels)))
            for row, own in enumerate(examples.boxes or ())
        ]
        last = settings.epochs - self.settings.augmentation.mosaic_off

        def make(rows: list[int]) -> Any:
            mosaics = isinstance(order, ShuffledBatches) and order.epoch < last
            return examples.images[rows], [boxes[row] for row in rows], mosaics

        return Batches(make, order, workers=workers_of(examples.images))

    def _numbers(self, examples: BoxedImages, labels: Tensor) -> Tensor:
        """Positions of labels in the model's classes; those that it does not know do not count."""
        known = {name: number for number, name in enumerate(self.classes)}
        numbers = torch.tensor([known.get(name, IGNORED) for name in examples.classes])
        return numbers[labels] if len(labels) else labels

    def loss(self, model: Detector, batch: Any, optimizer: str) -> Tensor:
        pictures, boxes, mosaics = batch
        on_cpu = [(corners.cpu(), labels.cpu()) for corners, labels in boxes]
        pixels, targets = augmented(pictures.cpu(), on_cpu, self.settings.augmentation, mosaics=mosaics)
        targets, loss = targets.to(pictures.device), self.settings.loss
        return detection_loss(
            model(pixels.to(pictures.device), targets), targets, LossWeights(loss.boxes, loss.set), loss.repeats
        )

    def validate(self, model: Detector, batch: Any) -> Mapping[str, Mean | Pooled]:
        pictures, boxes, _ = batch
        boxes = [(corners.cpu(), labels.cpu()) for corners, labels in boxes]
        found, targets = model(pictures), padded(boxes, self.size).to(pictures.device)
        loss, weights = self.settings.loss, LossWeights(self.settings.loss.boxes, self.settings.loss.set)
        total = detection_loss(found, targets, weights, loss.repeats) * len(pictures)
        guesses = self._guesses(found, DetectOptions(score_threshold=_LEAST))
        truths = [Truth(corners, labels.clamp_min(0), labels < 0) for corners, labels in boxes]
        scale = torch.tensor([self.size[1], self.size[0]] * 2)
        pairs = [
            (truth, guess._replace(corners=guess.corners * scale)) for truth, guess in zip(truths, guesses, strict=True)
        ]
        return {"loss": Mean(total, len(pictures)), "map50": Pooled(pairs, self._map50)}

    def _map50(self, pairs: Sequence[tuple[Truth, Guess]]) -> float:
        truths, guesses = zip(*pairs, strict=True)
        return average_precision(truths, guesses, len(self.classes)).mean(0) or 0.0

    def _guesses(self, found: Detected, options: DetectOptions) -> list[Guess]:
        """The boxes of each picture of a batch in shares of its sides, the best first."""
        overlap = options.nms_iou
        if found.layers:
            scores, corners = found.layers[-1].scores, found.layers[-1].corners
        else:
            scores, corners = found.heat.flatten(2).mT, found.corners.flatten(1, 2)
            overlap = _OVERLAP if overlap is None else overlap
        return [
            self._chosen(*one, options, overlap)
            for one in zip(scores.float().sigmoid().cpu(), corners.float().cpu(), strict=True)
        ]

    def _chosen(self, scores: Tensor, corners: Tensor, options: DetectOptions, overlap: float | None) -> Guess:
        """Of one picture's scores `[n, C]` and boxes `[n, 4]`."""
        best = scores.flatten().topk(min(max(_CANDIDATES, options.max_boxes), scores.numel()))
        rows, labels = best.indices // scores.shape[1], best.indices % scores.shape[1]
        there = best.values >= options.score_threshold
        boxes, labels, values = corners[rows][there].clamp(0, 1), labels[there], best.values[there]
        kept = torch.arange(len(labels)) if overlap is None else suppress(boxes, values, labels, overlap)
        kept = kept[: options.max_boxes]
        return Guess(boxes[kept], labels[kept], values[kept])

    def predict(
        self, model: Detector, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Detections]:
        pictures = self.pictures(inputs)
        guesses: list[Guess] = []
        with torch.inference_mode():
            for part in pictures.images.split(_TOGETHER):
                guesses += self._guesses(model(part), options)
        return [self._detections(pictures, row, guess) for row, guess in enumerate(guesses)]

    def _detections(self, pictures: BoxedImages, row: int, guess: Any) -> Detections:
        """Boxes in shares of a picture's sides, in its own pixels; the names of their labels."""
        height, width = pictures.sizes[row].tolist()
        corners = torch.as_tensor(guess.corners).double() * torch.tensor([width, height] * 2)
        labels = [int(number) for number in guess.labels]
        return Detections(
            pictures.names[row],
            [self.classes[number] for number in labels],
            [round(float(score), 5) for score in guess.scores],
            [[round(value, 2) for value in box] for box in corners.tolist()],
            pictures.ids[row],
            [self.vocabulary["categories"][number] for number in labels],
            pictures.files[row] if pictures.files else None,
        )

    def file(self, prediction: Detections, options: Any) -> tuple[str, bytes]:
        """The picture with its boxes, as a PNG."""
        file = io.BytesIO()
        prediction.picture().save(file, "PNG")
        return ".png", file.getvalue()

    def forward_pass(self) -> ForwardPass:
        """Boxes in pixels and scores of every cell, or of every query: they are sorted out behind it."""

        def compute(model: Any, pictures: Tensor) -> Tensor:
            found = model(pictures)
            scores, corners = found.heat.flatten(2).mT, found.corners.flatten(1, 2)
            if found.layers:
                scores, corners = found.layers[-1]
            return torch.cat([corners * corners.new_tensor([self.size[1], self.size[0]] * 2), scores.sigmoid()], 2)

        h, w = (-(-side // STRIDE) for side in self.size)
        rows = min(self.settings.model.queries, h * w) if self.settings.model.head == "set" else h * w
        words = "Of two boxes of one class that overlap by more than 0.6, the one with the lower score is still to be left out."
        if self.settings.model.head == "set":
            words = "A query is one object, or none where its scores are low."
        return ForwardPass(
            images(self.channels, *self.size), compute, "boxes",
            Operand(("batch", rows, 4 + len(self.classes)), "x0, y0, x1, y1 in pixels, and the score of each label of labels.json"),
            lambda one, other: torch.isclose(one, other, rtol=1e-3, atol=1e-2).all(-1),
            {"labels.json": self.classes},
            (words,),
        )  # fmt: skip

    def inputs(self, examples: BoxedImages) -> Sequence[BoxedImages]:
        return [examples]

    def score(self, predictions: Sequence[Any], examples: BoxedImages) -> Scores:
        return scores_of(predictions, examples)

    def baselines(self, training: BoxedImages, examples: BoxedImages) -> Mapping[str, list[Any]]:
        found = rough_boxes(training, examples)
        return {
            name: [self._detections(examples, row, guess) for row, guess in enumerate(ones)]
            for name, ones in found.items()
        }

    def expected(self, example: BoxedImages) -> str:
        labels = example.boxes[0].labels.tolist() if example.boxes else []
        counts = {name: labels.count(number) for number, name in enumerate(example.classes)}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"

    def inspect(self, model: Detector, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.detect import detect_section

        pictures = self.pictures(inputs)
        return [detect_section(self, model, pictures, row) for row in range(len(pictures))]

    def pictures(self, inputs: Sequence[Any]) -> BoxedImages:
        """Pictures that were read already, or what paths, streams and arrays hold."""
        if len(inputs) == 1 and isinstance(inputs[0], BoxedImages):
            return inputs[0]
        return read_without_boxes(inputs, size=self.size, channels=self.channels)
