"""segment: a class for each pixel of a picture.

data         heedful/data/masks.py: folders of pictures and masks, lists, Pascal VOC, COCO, shapes
model        heedful/models/segmenter.py
loss         tasks/segment_losses.py: cross entropy over the pixels, on pictures that are augmented together with their masks
score        tasks/segment_scores.py: intersection over union, by one confusion matrix
predict      tasks/tiles.py: pictures of any size
view         heedful/tasks/views/segment.py: where the features of each place and of each channel come from
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful._errors import DataError
from heedful.data._mask_values import VOID
from heedful.data.batches import ShuffledBatches
from heedful.data.inputs import InputKind
from heedful.data.masks import EMPTY_TABLE, SegmentedImages, read_masks, read_unmasked, resized_image
from heedful.data.splits import EveryTenth
from heedful.models.segmenter import SegmentationNetwork
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.forward_pass import ForwardPass, Operand, pictures
from heedful.tasks.geometric_augmentation import draw_placements, jitter_colors, place_images, place_masks
from heedful.tasks.image_settings import size_of
from heedful.tasks.segment_losses import pixel_loss
from heedful.tasks.segment_predictions import Segmentation, draw
from heedful.tasks.segment_scores import baseline_maps, confusion, overlaps, scores_of
from heedful.tasks.segment_settings import SegmentOptions, SegmentSettings, SegmentVocabulary, table_of
from heedful.tasks.tiles import label_map
from heedful.tasks.vocabularies import label_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_LARGEST_CROP = 320  # a side of what training sees of a picture, where nothing else is said
_LARGEST_PIECE = 1024  # a side of what validation sees at once

_SHAPES = (  # settings that suit them: about a minute
    "data.size=48", "model.width=16", "training.epochs=4", "training.batch_size=16", "training.learning_rate=0.004",
    "training.ema_decay=0.98", "augmentation.scale=[0.8, 1.25]",
)  # fmt: skip

Batch = tuple[list[Tensor], list[Tensor]]  # pictures, masks


class Segment(Task[SegmentedImages]):
    """A class for each pixel of a picture."""

    name = "segment"
    example, unit, input = "picture", "pictures", InputKind.IMAGE
    Settings, Options, Vocabulary = SegmentSettings, SegmentOptions, SegmentVocabulary
    split = EveryTenth()
    monitor = "mean_iou"
    embedded = {"shapes": Embedded(("train", "valid", "test"), _SHAPES)}

    def __init__(self, settings: SegmentSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.table, self.classes = table_of(vocabulary), list(vocabulary["classes"])
        self.size: tuple[int, int] = tuple(vocabulary["size"])
        self.fill = torch.tensor(vocabulary["mean"])
        shares = torch.tensor(vocabulary["shares"])
        self.weights = 1 / torch.log(1.02 + shares) if settings.loss.class_weights == "log" else None

    @classmethod
    def read(cls, source: Any, settings: SegmentSettings, reading: Reading = TRAINING) -> SegmentedImages:
        data, size = settings.data, size_of(settings.data.size)
        table = None if reading.vocabulary is None else table_of(reading.vocabulary)
        if not reading.labeled:
            found = list(read_unmasked([source]))
            images = tuple(image if size is None else resized_image(image, size) for _, image in found)
            return SegmentedImages(images, None, table or EMPTY_TABLE, tuple(name for name, _ in found))
        return read_masks(
            source,
            part=reading.part,
            size=size,
            table=table,
            classes=data.classes,
            void=data.void,
            kind=data.masks,
            skip=data.skip,
            **data.kept,
        )

    @classmethod
    def adapt(cls, training: SegmentedImages, settings: SegmentSettings) -> Mapping[str, Any]:
        return {"training.epochs": epochs_for(len(training), settings.training, usual=100, steps=2000)}

    @classmethod
    def learn(cls, training: SegmentedImages, settings: SegmentSettings) -> dict[str, Any]:
        assert training.masks is not None
        table, sizes = training.table, torch.tensor(training.sizes)
        if len(table.classes) < 2:
            raise DataError(f"masks must have at least two classes: got {', '.join(table.classes) or 'none'}")
        some, counts = [], torch.zeros(VOID + 1, dtype=torch.long)
        for image, mask in zip(training.images, training.masks, strict=True):
            some.append(image.flatten(1)[:, :: max(image[0].numel() // 4096, 1)])
            counts += torch.bincount(mask.flatten().int(), minlength=VOID + 1)
        sample, counts = torch.cat(some, dim=1).float() / 255, counts[: len(table.classes)].double()
        crop = size_of(settings.augmentation.crop) or size_of(settings.data.size)
        usual = [min(int(side), _LARGEST_CROP) for side in sizes.median(0).values]
        return {
            "classes": list(table.classes), "kind": table.kind, "values": list(table.values), "void": list(table.void),
            "colors": [list(color) for color in table.colors], "shares": (counts / counts.sum().clamp_min(1)).tolist(),
            "size": list(crop or usual), "mean": sample.mean(1).tolist(), "std": sample.std(1).clamp_min(1e-3).tolist(),
        }  # fmt: skip

    @classmethod
    def extend(cls, training: SegmentedImages, settings: SegmentSettings, base: "Segment") -> dict[str, Any]:
        return cls.learn(training, settings) | {name: base.vocabulary[name] for name in ("mean", "std")}

    def describe(self) -> str:
        return f"{len(self.classes)} classes"

    def check(self, examples: SegmentedImages) -> None:
        """Masks are read by the classes that the model knows."""

    def build(self) -> SegmentationNetwork:
        s = self.settings.model
        model = SegmentationNetwork(
            classes=len(self.classes), width=s.width, attention=s.attention, heads=s.heads, dropout=s.dropout
        )
        model.mean.copy_(torch.tensor(self.vocabulary["mean"]))
        model.std.copy_(torch.tensor(self.vocabulary["std"]))
        return model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def rows(self) -> Mapping[str, Rows]:
        return label_rows(self.classes) | label_rows(self.classes, "auxiliary")

    def batches(self, examples: SegmentedImages, *, training: bool) -> Batches:
        settings, images, masks = self.settings.training, examples.images, examples.masks
        assert masks is not None

        def make(rows: list[int]) -> Batch:
            pairs = [(images[row], masks[row]) for row in rows]
            return [image for image, _ in pairs], [mask for _, mask in pairs]

        size = int(settings.batch_size)
        if training:
            return Batches(make, ShuffledBatches(len(examples), size, settings.seed), workers=examples.workers)
        return Batches(make, _of_one_size(examples.sizes, size), workers=examples.workers)

    def loss(self, model: SegmentationNetwork, batch: Any, optimizer: str) -> Tensor:
        images, masks = batch
        augmentation, sizes = self.settings.augmentation, [(image.shape[1], image.shape[2]) for image in images]
        placements = draw_placements(sizes, self.size, augmentation)
        seen = jitter_colors(place_images(images, placements, self.size, 255 * self.fill) / 255, augmentation)
        targets = place_masks(masks, placements, self.size, VOID)
        logits, auxiliary = model.with_auxiliary(seen)
        settings = self.settings.loss
        loss = pixel_loss(logits, targets, self.weights, VOID, settings.lovasz)
        return torch.add(loss, pixel_loss(auxiliary, targets, self.weights, VOID), alpha=settings.auxiliary)

    def validate(self, model: SegmentationNetwork, batch: Any) -> Mapping[str, Mean]:
        images, masks = (torch.stack(one) for one in batch)
        counts, total, pixels = torch.zeros(len(self.classes), len(self.classes), dtype=torch.long), torch.zeros(()), 0
        for picture, mask in zip(_pieces(images), _pieces(masks), strict=True):
            logits = model(picture).float()
            known = int((mask != VOID).sum())
            total, pixels = total + known * pixel_loss(logits, mask.long(), self.weights, VOID).cpu(), pixels + known
            counts += torch.from_numpy(
                confusion(logits.argmax(1).byte().cpu().numpy(), mask.cpu().numpy(), len(self.classes))
            )
        right, union = map(torch.from_numpy, overlaps(counts.numpy()))
        return {
            "loss": Mean(total, pixels),
            "mean_iou": Mean(right, union),
            "pixel_accuracy": Mean(right.sum(), int(counts.sum())),
        }

    def predict(
        self, model: SegmentationNetwork, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Segmentation]:
        return [self._predicted(model, name, image, options) for name, image in self._pictures(inputs)]

    def _pictures(self, inputs: Sequence[Any]) -> Iterable[tuple[str, Tensor]]:
        """Of pictures that were read already, or of paths, streams and arrays: the name and the pixels of each."""
        if len(inputs) == 1 and isinstance(inputs[0], SegmentedImages):
            return zip(inputs[0].names, inputs[0].images, strict=True)
        return read_unmasked(inputs)

    def seen(self, image: Tensor, scale: float = 0.0) -> Tensor:
        """A picture as the model sees it: as those of the training, or resized by a factor."""
        size = size_of(self.settings.data.size)
        if scale:
            size = max(round(scale * image.shape[1]), 1), max(round(scale * image.shape[2]), 1)
        return image if size is None else resized_image(image, size)

    def _predicted(self, model: SegmentationNetwork, name: str, image: Tensor, options: Any) -> Segmentation:
        picture = image.permute(1, 2, 0).numpy().tobytes() if options.style == "overlay" else b""
        with torch.inference_mode():
            labels = label_map(model, self.seen(image, options.scale), self.size, (image.shape[1], image.shape[2]))
        return Segmentation.of(name, labels, self.classes, picture)

    def forward_pass(self) -> ForwardPass:
        def compute(model: SegmentationNetwork, images: Any) -> Tensor:
            logits: Tensor = model(torch.stack(images) if isinstance(images, list) else images)
            return logits.permute(0, 2, 3, 1)

        output = Operand(
            ("batch", "height", "width", len(self.classes)), "the logit of each class of labels.json, for each pixel"
        )
        return ForwardPass(pictures(), compute, "logits", output, files={"labels.json": self.classes})

    def inputs(self, examples: SegmentedImages) -> Sequence[SegmentedImages]:
        return [examples]

    def score(self, predictions: Sequence[Segmentation], examples: SegmentedImages) -> Scores:
        return scores_of(self.confusions(predictions, examples).sum(0), self.classes)

    def confusions(
        self, predictions: Sequence[Segmentation], examples: SegmentedImages
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The confusion matrix of each picture, `[pictures, classes, classes]`: truth, prediction."""
        assert examples.masks is not None
        pairs = zip(predictions, examples.masks, strict=True)
        return np.stack([confusion(found.map(), mask.numpy(), len(self.classes)) for found, mask in pairs])

    def baselines(self, training: SegmentedImages, examples: SegmentedImages) -> Mapping[str, list[Segmentation]]:
        return {
            name: [Segmentation.of(one, found, self.classes) for one, found in zip(examples.names, maps, strict=True)]
            for name, maps in baseline_maps(training, examples).items()
        }

    def expected(self, example: SegmentedImages) -> str:
        assert example.masks is not None
        return str(Segmentation.of("", example.masks[0].numpy(), self.classes)).removeprefix(": ")

    def inspect(self, model: SegmentationNetwork, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.segment import segment_section

        return [segment_section(self, model, name, image) for name, image in self._pictures(inputs)]

    def file(self, prediction: Segmentation, options: Any) -> tuple[str, bytes]:
        return ".png", draw(prediction, self.table.colors, options.style)


def _of_one_size(sizes: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Rows in batches of at most so many pictures of one size."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, size in enumerate(sizes):
        groups.setdefault(size, []).append(row)
    return [rows[i : i + most] for rows in groups.values() for i in range(0, len(rows), most)]


def _pieces(maps: Tensor) -> Iterator[Tensor]:
    """Large pictures or masks `[..., H, W]` in pieces that do not overlap."""
    for rows in maps.split(_LARGEST_PIECE, dim=-2):
        yield from rows.split(_LARGEST_PIECE, dim=-1)
