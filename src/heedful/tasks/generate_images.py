"""generate-images: new pictures like those of the training, by class or without.

data         heedful/data/images.py: what classify-image reads
model        heedful/models/sagan.py: a generator and a discriminator with attention, and the classifier that judges
loss         heedful/models/adversarial.py: hinge or relativistic, with penalties on gradients, on augmented pictures
measure      heedful/tasks/feature_statistics.py: by features of heedful's own classifier, as many samples as pictures
view         heedful/tasks/views/generate.py: where generator and discriminator look, from each place of a sample
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful.data import LabeledImages, read_images, read_unlabeled
from heedful.data.batches import SequentialBatches, ShuffledBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.stored_images import Images, workers_of
from heedful.models.adversarial import discriminator_loss, generator_loss, gradient_penalty
from heedful.models.sagan import Sagan
from heedful.tasks.contract import TRAINING, Embedded, Metric, Reading, Rows, Scores, Task
from heedful.tasks.differentiable_augmentation import augmented
from heedful.tasks.feature_statistics import COLLAPSED, copying, diversity, feature_distance, kernel_distance
from heedful.tasks.forward_pass import ForwardPass, Layout, Operand
from heedful.tasks.generate_baselines import baseline_pictures
from heedful.tasks.generate_images_settings import GenerateOptions, GenerateSettings, GenerateVocabulary
from heedful.tasks.generated_images import GeneratedImage, grid, png
from heedful.tasks.image_settings import channels_of, size_of
from heedful.tasks.vocabularies import label_rows
from heedful.training.objective import Batches, Mean, Pooled
from heedful.training.settings import epochs_for

_QUICK = (  # settings by which small networks learn in a minute or two
    "training.batch_size=32", "training.learning_rate=1e-3", "training.generator_rate=1", "training.beta2=0.99",
    "training.ema_decay=0.99",
)  # fmt: skip
_TOGETHER = 256  # pictures that are computed together
_SHOWN = 64  # pictures of the grid of an epoch
_SETTLED = 10  # epochs behind which the losses tell something
_WON = 0.02  # a loss of the discriminator below which the generator learns nothing from it


class Drawn(NamedTuple):
    """What the generator makes pictures of: noise `[B, Z]`, and the class of each `[B]`."""

    noise: Tensor
    classes: Tensor


class Batch(NamedTuple):
    """Pictures as bytes, the number of the class of each, and for validation as many draws of the same classes."""

    drawn: Drawn | None
    images: Tensor
    labels: Tensor


class GenerateImages(Task[LabeledImages]):
    """New pictures, by class or without."""

    name = "generate-images"
    example, unit, input = "picture", "pictures", InputKind.NONE
    Settings, Options, Vocabulary = GenerateSettings, GenerateOptions, GenerateVocabulary
    monitor = "-feature_distance"
    split = EveryTenth(lambda images: images.labels.tolist())
    embedded = {
        "digits": Embedded(("train", "test"), (*_QUICK, "model.widths=[32, 32]", "training.epochs=40")),
        "shapes": Embedded(("train", "valid", "test"), (*_QUICK, "model.widths=[64, 32, 16]", "training.epochs=40")),
    }

    def __init__(self, settings: GenerateSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.classes, self.channels = list(vocabulary["classes"]), vocabulary["channels"]
        self.size: tuple[int, int] = (vocabulary["size"][0], vocabulary["size"][1])
        self.conditional = settings.model.conditional
        self.optimizers = {"discriminator.": 1.0, "generator.": settings.training.generator_rate}

    @classmethod
    def read(cls, source: Any, settings: GenerateSettings, reading: Reading = TRAINING) -> LabeledImages:
        size, channels = size_of(settings.data.size), channels_of(settings.data.color)
        known = reading.vocabulary or {"size": size, "channels": channels, "classes": None}
        shape: Any = {"size": known["size"] and tuple(known["size"]), "channels": known["channels"]}
        if not reading.labeled:
            return read_unlabeled(source, **shape)
        return read_images(
            source, split=reading.part, classes=known["classes"], skip=settings.data.skip, **settings.data.kept, **shape
        )

    @classmethod
    def adapt(cls, training: LabeledImages, settings: GenerateSettings) -> Mapping[str, Any]:
        return {"training.epochs": epochs_for(len(training), settings.training, usual=20, steps=5000)}

    @classmethod
    def learn(cls, training: LabeledImages, settings: GenerateSettings) -> dict[str, Any]:
        size = settings.training.batch_size
        if isinstance(size, int) and len(training) < size:
            raise DataError(
                f"must have a batch of pictures to train on, `training.batch_size`, {size:,}: got {len(training):,}"
            )
        _, channels, height, width = training.images.shape
        return {"classes": list(training.classes), "size": [height, width], "channels": channels}

    def describe(self) -> str:
        words = f"{len(self.classes)} classes" if self.conditional else "no classes"
        return f"{words}, {self.size[0]} x {self.size[1]} pixels"

    def check(self, examples: LabeledImages) -> None:
        """Raises DataError for a picture of an unknown class, or of none."""
        labels = [] if examples.labels is None else examples.labels.tolist()
        for label, name in zip(labels, examples.names, strict=False):
            if label >= len(self.classes):
                raise DataError(f"{name}: the class must be one of the training data: got '{examples.classes[label]}'")

    def build(self) -> Sagan:
        model = Sagan(
            size=self.size, channels=self.channels, classes=len(self.classes), **self.settings.model.model_dump()
        )
        self.judge = model.judge  # by which predictions and baselines are scored
        return model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def prepare(self, model: Sagan, training: LabeledImages, validation: LabeledImages) -> list[str]:
        """Trains the classifier whose features measure."""
        judge, steps, size = model.judge, self.settings.measure.steps, min(64, len(training))
        pixels = training.images[:: max(len(training) // 10_000, 1)].float() / 255
        judge.mean.copy_(pixels.mean((0, 2, 3)))
        judge.std.copy_(pixels.std((0, 2, 3)).clamp_min(1e-3))
        optimizer = torch.optim.AdamW(judge.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(training), (size,)).tolist()
            loss = F.cross_entropy(judge(training.images[rows]), training.labels[rows], label_smoothing=0.1)  # type: ignore[index]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        judge.eval()
        found = self._judged(validation.images)[1].argmax(1)
        right = sum(map(int.__eq__, found.tolist(), validation.labels.tolist())) / len(validation)  # type: ignore[union-attr]
        return [f"the classifier whose features measure is right about {100 * right:.1f} % of the validation pictures"]

    def rates(self, model: Sagan) -> Mapping[str, float]:
        return {name: 0.0 for name, _ in model.named_parameters() if name.startswith("judge.")}

    def rows(self) -> Mapping[str, Rows]:
        judged = label_rows(self.classes)
        if not self.conditional:
            return judged
        embedding = "embed.parametrizations.weight"
        names = ("gain.weight", "shift.weight", f"{embedding}.original", f"{embedding}.0._u")
        return judged | {name: Rows("labels", self.classes) for name in names}

    def batches(self, examples: LabeledImages, *, training: bool) -> Batches:
        settings, labels = self.settings.training, examples.labels
        size = int(settings.batch_size)

        def make(rows: list[int]) -> Batch:
            classes = torch.tensor(rows) % len(self.classes) if labels is None else labels[rows]
            drawn = None if training else Drawn(self._noise(1, rows), self._conditions(classes))
            return Batch(drawn, examples.images[rows], classes)

        order = (
            ShuffledBatches(len(examples), size, settings.seed) if training else SequentialBatches(len(examples), size)
        )
        images = examples.images
        return Batches(make, order, lambda batch: len(batch.images), workers=workers_of(images))

    def loss(self, model: Sagan, batch: Any, optimizer: str) -> Tensor:
        settings, real, count = self.settings.loss, batch.images / 127.5 - 1, len(batch.images)
        drawn = Drawn(torch.randn(count, model.latent, device=real.device), self._conditions(batch.labels))
        if optimizer == "generator.":
            fake, compared = augmented(model.generator(*drawn), self.settings.augmentation), None
            if settings.kind == "relativistic":
                compared = model.discriminator(augmented(real, self.settings.augmentation), drawn.classes)
            return generator_loss(settings.kind, compared, model.discriminator(fake, drawn.classes))
        with torch.no_grad():
            fake = model.generator(*drawn)
        penalized = bool(settings.r1 or settings.r2)
        pictures = torch.cat([real.requires_grad_(penalized), fake.requires_grad_(penalized)])
        scores = model.discriminator(augmented(pictures, self.settings.augmentation), drawn.classes.repeat(2))
        on_real, on_fake = scores.split(count)
        loss = discriminator_loss(settings.kind, on_real, on_fake)
        for weight, found, seen in ((settings.r1, on_real, real), (settings.r2, on_fake, fake)):
            loss = loss + weight * gradient_penalty(found, seen) if weight else loss
        return loss

    def validate(self, model: Sagan, batch: Any) -> Mapping[str, Mean | Pooled]:
        model.settle()
        fake = model.generator(*batch.drawn)
        scores = [model.discriminator(x, batch.drawn.classes).float() for x in (batch.images / 127.5 - 1, fake)]
        count = len(batch.images)
        (real_features, _), (features, logits) = (self._judged(x) for x in (batch.images, _bytes(fake)))
        both = [
            (real_features.double().cpu().numpy(), features.double().cpu().numpy(), batch.drawn.classes.cpu().numpy())
        ]
        metrics: dict[str, Mean | Pooled] = {
            "loss": Mean(discriminator_loss(self.settings.loss.kind, *scores) * count, count),
            "feature_distance": Pooled(both, lambda parts: feature_distance(*_joined(parts)[:2])),
            "diversity": Pooled(both, lambda parts: diversity(*_joined(parts))),
        }
        if self.conditional:
            metrics["class_agreement"] = Mean((logits.argmax(1) == batch.labels).sum(), count)
        return metrics

    def epoch_files(self, model: Sagan, epoch: int) -> Mapping[str, bytes]:
        pictures, _ = self._sample(model, GenerateOptions(count=_SHOWN))
        return {f"samples/epoch-{epoch:04d}.png": png(grid(pictures))}

    def warning(self, before: Mapping[str, float], now: Mapping[str, float]) -> str:
        if now["valid_diversity"] < COLLAPSED <= before.get("valid_diversity", 0.0):
            return (
                f"the generator collapses: its samples differ from each other {now['valid_diversity']:.2f} times as much as pictures do. "
                "More augmentation, a lower training.learning_rate or loss.r1=1 may help."
            )
        if now["epoch"] >= _SETTLED and now["valid_loss"] < _WON <= before.get("valid_loss", 0.0):
            return (
                f"the discriminator has won: its loss on held-out pictures is {now['valid_loss']:.3f}, and the generator learns nothing "
                "from it any more. A lower training.learning_rate with a higher training.generator_rate may help."
            )
        return ""

    def predict(
        self, model: Sagan, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[GeneratedImage]:
        """Pictures as the options say; for examples that were read, as many pictures of their classes."""
        if inputs:
            (examples,) = inputs
            options = options.model_copy(update={"count": len(examples)})
            pictures, classes = self._sample(model, options, examples.labels)
        else:
            pictures, classes = self._sample(model, options)
        if options.grid:
            return [GeneratedImage.of(f"grid of {len(pictures)}", self._named(classes, options), 1.0, grid(pictures))]
        return self._images([f"sample-{number}" for number in range(len(pictures))], pictures, classes)

    def _images(self, names: Sequence[str], pictures: NDArray[np.uint8], classes: Tensor) -> list[GeneratedImage]:
        """Pictures with their classes; without classes with those that they seem to be of."""
        shares = self._judged(torch.from_numpy(pictures))[1].softmax(1)
        classes = classes if self.conditional else shares.argmax(1)
        chosen = shares.gather(1, classes[:, None].to(shares.device)).flatten().tolist()
        return [
            GeneratedImage.of(name, self.classes[number], share, picture)
            for name, number, share, picture in zip(names, classes.tolist(), chosen, pictures, strict=True)
        ]

    def _named(self, classes: Tensor, options: Any) -> str:
        """The class of all pictures of a grid; nothing where they are of several."""
        found = set(classes.tolist())
        return self.classes[found.pop()] if self.conditional and len(found) == 1 else ""

    @torch.inference_mode()
    def _sample(self, model: Sagan, options: Any, labels: Tensor | None = None) -> tuple[NDArray[np.uint8], Tensor]:
        """Pictures `[count, C, h, w]`, and the class of each; each depends on the seed, its number and its class alone."""
        numbers = torch.arange(options.count)
        classes = numbers % len(self.classes) if labels is None else labels
        if options.class_ is not None:
            classes = torch.full((options.count,), self._number(options.class_))
        noise = self._noise(options.seed, numbers.tolist())
        if options.interpolate:
            classes = classes[:1].expand(options.count)
            noise = _between(self._noise(options.seed, [0, 1]), options.count)
        device = next(model.parameters()).device
        drawn = noise.split(_TOGETHER), self._conditions(classes).split(_TOGETHER)
        pictures = [
            _bytes(model.generator(*(one.to(device) for one in some))).cpu() for some in zip(*drawn, strict=True)
        ]
        return torch.cat(pictures).numpy(), classes

    def _number(self, name: str) -> int:
        if not self.conditional:
            raise SettingsError(
                "`class`: the model was trained without classes, model.conditional=false: leave it out."
            )
        if name not in self.classes:
            some = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
            raise SettingsError(f"`class`: must be one of {some}: got {name!r}.")
        return self.classes.index(name)

    def _noise(self, seed: int, numbers: Sequence[int]) -> Tensor:
        """The noise of pictures by their numbers."""
        latent = self.settings.model.latent
        rows = [np.random.default_rng([seed, number]).standard_normal(latent, np.float32) for number in numbers]
        return torch.from_numpy(np.stack(rows))

    def _conditions(self, classes: Tensor) -> Tensor:
        """The classes as the networks take them: all alike where they know none."""
        return classes if self.conditional else torch.zeros_like(classes)

    @torch.inference_mode()
    def _judged(self, images: Images) -> tuple[Tensor, Tensor]:
        """Of bytes `[B, C, h, w]`: the classifier's features and logits."""
        judge, device = self.judge, self.judge.mean.device
        features = torch.cat([judge.features(some.to(device)).float() for some in images.split(_TOGETHER)])
        return features, judge.head(features)

    def file(self, prediction: GeneratedImage, options: Any) -> tuple[str, bytes]:
        return ".png", prediction.png()

    def forward_pass(self) -> ForwardPass:
        operands = {"noise": Operand(("batch", self.settings.model.latent), "numbers of a normal distribution")}
        if self.conditional:
            operands["classes"] = Operand(("batch",), "the number of the class of each, in the order of labels.json")
        layout = Layout(
            operands,
            tuple if self.conditional else lambda drawn: (drawn.noise,),
            lambda noise, *classes: Drawn(noise, *(classes or (noise.new_zeros(len(noise), dtype=torch.long),))),
        )
        output = Operand(("batch", self.channels, *self.size), "pictures from 0 to 1")
        return ForwardPass(
            layout, lambda model, drawn: (model.generator(*drawn) + 1) / 2, "images", output,
            lambda one, other: torch.isclose(one, other, rtol=0, atol=1 / 255).all(-1), {"labels.json": self.classes},
        )  # fmt: skip

    def inputs(self, examples: LabeledImages) -> Sequence[LabeledImages]:
        return [examples]

    def score(self, predictions: Sequence[GeneratedImage], examples: LabeledImages) -> Scores:
        pictures = np.stack([one.pixels() for one in predictions])
        features, logits = self._judged(torch.from_numpy(pictures))
        real, fake = (one.double().cpu().numpy() for one in (self._judged(examples.images)[0], features))
        labels = torch.zeros(len(real), dtype=torch.long) if examples.labels is None else examples.labels
        metrics = {
            "feature_distance": Metric(feature_distance(real, fake), "distance"),
            "kernel_distance": Metric(kernel_distance(real, fake), "distance"),
            "diversity": Metric(diversity(real, fake, self._conditions(labels).numpy()), "of 1"),
        }
        if self.conditional:
            wanted = torch.tensor([self.classes.index(one.label) for one in predictions])
            metrics["class_agreement"] = Metric((logits.argmax(1).cpu() == wanted).double().mean().item())
        collapsed = len(pictures) > 1 and metrics["diversity"].value < COLLAPSED
        words = "The generator has collapsed: its samples differ from each other {:.2f} times as much as pictures do."
        return Scores(metrics, note=words.format(metrics["diversity"].value) if collapsed else "")

    def beside_training(
        self, predictions: Sequence[GeneratedImage], examples: LabeledImages, training: LabeledImages
    ) -> Mapping[str, Any]:
        pictures = torch.from_numpy(np.stack([one.pixels() for one in predictions]))
        return {"distance to the nearest training picture": copying(pictures, examples.images, training.images)}

    def baselines(self, training: LabeledImages, examples: LabeledImages) -> Mapping[str, list[GeneratedImage]]:
        found = {}
        for name, (pictures, classes) in baseline_pictures(training, examples).items():
            found[name] = self._images([f"{name} {row}" for row in range(len(pictures))], pictures, classes)
        return found

    def expected(self, example: LabeledImages) -> str:
        return example.cells[0]

    def inspect(self, model: Sagan, inputs: Sequence[Any]) -> list[Any]:
        """A sample of each class, of four at most; of examples that were read, one of the class of each."""
        from heedful.tasks.views.generate import generate_section

        count = min(len(self.classes), 4) if self.conditional else 1
        labels = torch.cat([one.labels for one in inputs]) if inputs else torch.arange(count)
        noise = self._noise(1, range(len(labels)))
        drawn = Drawn(noise, self._conditions(labels))
        return [generate_section(self, model, Drawn(*(one[i : i + 1] for one in drawn)), i) for i in range(len(labels))]


def _bytes(pictures: Tensor) -> Tensor:
    """Pictures from -1 to 1 as a file has them."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).byte()


def _joined(parts: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The features of pictures and of samples, and their classes, of all batches."""
    real, fake, classes = zip(*parts, strict=True)
    return np.concatenate(real), np.concatenate(fake), np.concatenate(classes)


def _between(ends: Tensor, count: int) -> Tensor:
    """Noise on the way between two `[2, Z]`, `[count, Z]`: along a circle, since noise has about one length."""
    angle = torch.acos(F.cosine_similarity(ends[0], ends[1], dim=0).clamp(-0.9999, 0.9999))
    share = torch.linspace(0, 1, count)[:, None]
    return (torch.sin((1 - share) * angle) * ends[0] + torch.sin(share * angle) * ends[1]) / torch.sin(angle)
