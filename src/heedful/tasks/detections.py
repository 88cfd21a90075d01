"""The boxes that were found on a picture, and how good they are: average precision as COCO measures it, by faster-coco-eval."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from heedful._errors import needing
from heedful._terminal import json_line, visible
from heedful.data._decode import decode_picture
from heedful.data.boxes import BoxedImages
from heedful.tasks.contract import Metric, Scores

if TYPE_CHECKING:
    from PIL import Image

SIZES = ("small", "medium", "large")  # boxes of less than 32 x 32, less than 96 x 96, and more pixels
_THRESHOLDS = 10  # overlaps from .5 to .95
_MOST = 100  # boxes of a picture that count
_MAX_CLASSES = 300  # of which metrics.json has the scores, the most frequent first
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#f032e6", "#000075")


@dataclass(frozen=True)
class Detections:
    """The boxes that were found on a picture, the best first.

    Attributes:
        input: where the picture came from.
        labels: of each box.
        scores: from 0 to 1.
        boxes: x0, y0, x1, y1 in pixels of the picture, the right way up.
        image_id: what COCO's results call the picture.
        category_ids: what they call the labels.
        source: the picture, as an `ImageFile`.
    """

    separator: ClassVar[str] = ", "
    document: ClassVar[tuple[str, str, str]] = ("[", ",", "]")  # around and between what `to_format` gives

    input: str
    labels: list[str]
    scores: list[float]
    boxes: list[list[float]]
    image_id: int | str = field(default=0, metadata={"json": False})
    category_ids: list[int] = field(default_factory=list, metadata={"json": False})
    source: Any = field(default=None, repr=False, compare=False, metadata={"json": False})

    def to_format(self) -> str:
        """COCO's results: an object for each box, with commas between them."""
        found = zip(self.category_ids, self.boxes, self.scores, strict=True)
        return ",".join(
            json_line(
                {
                    "image_id": self.image_id,
                    "category_id": category,
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "score": score,
                }
            )
            for category, (x0, y0, x1, y1), score in found
        )

    def __str__(self) -> str:
        """One line to read."""
        found = zip(self.labels, self.scores, self.boxes, strict=True)
        words = [
            f"{visible(label)} {100 * score:.0f} % at {x0:.0f},{y0:.0f},{x1:.0f},{y1:.0f}"
            for label, score, (x0, y0, x1, y1) in found
        ]
        return f"{visible(self.input)}: {', '.join(words) or 'nothing'}"

    def picture(self) -> "Image.Image":
        """The picture with its boxes, a color for each class."""
        from PIL import Image, ImageDraw, ImageOps

        assert self.source is not None
        raw = self.source.load()
        if isinstance(raw, bytes):
            picture = decode_picture(raw, self.source.location).convert("RGB")
        else:
            picture = (Image.fromarray(raw) if isinstance(raw, np.ndarray) else ImageOps.exif_transpose(raw)).convert(
                "RGB"
            )
        draw, line = ImageDraw.Draw(picture), max(min(picture.size) // 200, 1)
        for label, score, box, number in reversed(
            [*zip(self.labels, self.scores, self.boxes, self.category_ids, strict=True)]
        ):
            color = _COLORS[number % len(_COLORS)]
            draw.rectangle(box, outline=color, width=line)
            words = f"{label} {100 * score:.0f}"
            place = (box[0], max(box[1] - 11, 0))
            draw.rectangle(draw.textbbox(place, words), fill=color)
            draw.text(place, words, fill="white")
        return picture


class AveragePrecision(NamedTuple):
    """Precision where a share of the objects is found, by COCO's rules.

    Attributes:
        precision: [thresholds, recalls, classes, sizes]; -1 where there is no object.
        objects: how many there are of each class.
    """

    precision: Any
    objects: list[int]

    def mean(self, threshold: slice | int = slice(None), label: Any = slice(None), size: int = 0) -> float | None:
        """The mean over what there is; None where there is nothing."""
        values = self.precision[threshold, :, label, size]
        values = values[values > -1]
        return float(values.mean()) if values.size else None


class Truth(NamedTuple):
    """The objects of a picture: boxes as x0, y0, x1, y1 in its pixels, positions of classes, and which are ignored."""

    corners: Any
    labels: Any
    ignored: Any


class Guess(NamedTuple):
    """The boxes that were found on a picture, likewise, and their scores."""

    corners: Any
    labels: Any
    scores: Any


def check_metrics() -> None:
    """Raises where boxes cannot be measured, so that a training says so at once."""
    with needing("detection", "measuring boxes"):
        import faster_coco_eval  # noqa: F401


def average_precision(truths: Sequence[Truth], guesses: Sequence[Guess], classes: int) -> AveragePrecision:
    """How good boxes are; pictures follow each other in both.

    Needs the extra `detection`.
    """
    with needing("detection", "measuring boxes"):
        from faster_coco_eval import COCO, COCOeval_faster

    objects = [
        {"image_id": picture, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": int(ignored),
         "area": (x1 - x0) * (y1 - y0)}
        for picture, truth in enumerate(truths)
        for (x0, y0, x1, y1), label, ignored in zip(*(np.asarray(part).tolist() for part in truth), strict=True)
    ]  # fmt: skip
    counts = np.bincount([one["category_id"] for one in objects if not one["iscrowd"]], minlength=classes).tolist()
    for number, one in enumerate(objects, start=1):
        one["id"] = number
    images = [{"id": picture} for picture in range(len(truths))]
    categories = [{"id": number, "name": str(number)} for number in range(classes)]
    known = COCO({"images": images, "annotations": objects, "categories": categories})
    found = [
        {"image_id": picture, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for picture, guess in enumerate(guesses)
        for (x0, y0, x1, y1), label, score in zip(*(np.asarray(part).tolist() for part in guess), strict=True)
    ]
    measured = COCOeval_faster(known, known.loadRes(found), "bbox", print_function=lambda *words: None)
    measured.evaluate()
    measured.accumulate()
    precision = np.asarray(measured.eval["precision"]).reshape(_THRESHOLDS, -1, classes, 4, 3)
    return AveragePrecision(precision[..., -1], counts)


def scores_of(predictions: Sequence[Detections], examples: BoxedImages) -> Scores:
    """Mean average precision: at an overlap of .5, and over those from .5 to .95; by class and by size in the details."""
    assert examples.boxes is not None
    names = list(dict.fromkeys([*examples.classes, *(label for one in predictions for label in one.labels)]))
    number = {name: index for index, name in enumerate(names)}
    truths = [Truth(one.corners.double(), one.labels, one.ignored) for one in examples.boxes]
    guesses = [
        Guess(np.array(one.boxes).reshape(-1, 4), [number[label] for label in one.labels], one.scores)
        for one in predictions
    ]
    found = average_precision(truths, guesses, len(names))
    nothing = 0.0 if any(one.labels for one in predictions) else 1.0  # where there is no object at all

    def metric(threshold: slice | int) -> Metric:
        value = found.mean(threshold)
        return Metric(nothing if value is None else value)

    order = sorted((row for row in range(len(names)) if found.objects[row]), key=lambda row: -found.objects[row])
    by_class = {
        names[row]: {"examples": found.objects[row], "ap50": found.mean(0, row), "ap": found.mean(label=row)}
        for row in order[:_MAX_CLASSES]
    }
    by_size = {
        name: {"ap50": found.mean(0, size=row), "ap": found.mean(size=row)}
        for row, name in enumerate(SIZES, start=1)
        if found.mean(size=row) is not None
    }
    metrics = {"map50": metric(0), "map": metric(slice(None)), "map75": metric(5)}
    return Scores(metrics, {"by_class": by_class, "by_size": by_size})
