"""Tasks that are learned in no time, and in ways that the real ones are not: without parameters, without inputs, by two optimizers."""

import struct
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from heedful.data.batches import SequentialBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import Split
from heedful.tasks.contract import TRAINING, Batches, Mean, Metric, Scores, Task
from heedful.training.settings import Section, TaskSettings, TrainingSettings, defaults


@dataclass(frozen=True)
class Numbers:
    """Examples that are numbers."""

    values: list[float]

    def __len__(self):
        return len(self.values)

    def select(self, rows):
        return Numbers([self.values[row] for row in rows])

    def content(self):
        yield struct.pack(f"{len(self)}d", *self.values)


@dataclass(frozen=True)
class Number:
    """A prediction."""

    input: str
    value: float

    def __str__(self):
        return f"{self.value:.4f}"

    def to_format(self):
        return str(self.value)


def thirds(examples, noun):
    """Two of three to learn from; of the rest every other one to choose by, the others to measure on."""
    rows = range(len(examples))
    training, rest = [row for row in rows if row % 3 != 2], [row for row in rows if row % 3 == 2]
    return Split(
        examples.select(training), examples.select(rest[::2]), f"every sixth {noun}", examples.select(rest[1::2])
    )


class AverageSettings(TaskSettings):
    """Nothing of its own."""


class Average(Task[Numbers]):
    """Says the average of the training data, whatever it is asked; its model has no parameters."""

    name, example, unit, input, Settings = "average", "number", "numbers", InputKind.TEXT, AverageSettings
    split = staticmethod(thirds)

    @classmethod
    def read(cls, source, settings, reading=TRAINING):
        return Numbers([float(word) for word in (open(source).read().split() if isinstance(source, str) else source)])

    @classmethod
    def learn(cls, training, settings):
        return {"average": sum(training.values) / len(training)}

    def describe(self):
        return "one average"

    def check(self, examples):
        pass

    def build(self):
        return nn.Identity()

    def batches(self, examples, *, training):
        raise AssertionError("nothing is trained")

    def loss(self, model, batch, optimizer):
        raise AssertionError("nothing is trained")

    def validate(self, model, batch):
        raise AssertionError("nothing is trained")

    def predict(self, model, inputs, options, numbers=None):
        return [Number(text, self.vocabulary["average"]) for text in inputs]

    def inputs(self, examples):
        return [str(value) for value in examples.values]

    def score(self, predictions, examples):
        errors = [abs(one.value - value) for one, value in zip(predictions, examples.values, strict=True)]
        return Scores({"error": Metric(sum(errors) / len(errors), "units")})

    def baselines(self, training, examples):
        return {"zero": [Number(text, 0.0) for text in self.inputs(examples)]}

    def inspect(self, model, inputs):
        return []


@defaults(epochs=3, batch_size=5, learning_rate=0.05, ema_decay=0.0)
class AdversaryTraining(TrainingSettings):
    """How both are trained."""


class AdversarySettings(TaskSettings):
    """Nothing of its own."""

    training: AdversaryTraining = AdversaryTraining()


class Count(Section):
    """How many."""

    num_samples: int = Field(2, ge=1, description="draw so many numbers")
    seed: int = Field(1, ge=0, description="of the draws")


class Adversaries(Task[Numbers]):
    """A generator draws numbers that a critic takes for those of the data; there is nothing to ask it but how many."""

    name = "adversaries"
    example, unit, input, Settings, Options = "number", "numbers", InputKind.NONE, AdversarySettings, Count
    split = staticmethod(thirds)
    optimizers = {"generator.": 1.0, "critic.": 0.5}  # noqa: RUF012

    read = Average.read

    @classmethod
    def learn(cls, training, settings):
        return {}

    def describe(self):
        return "two adversaries"

    def check(self, examples):
        pass

    def build(self):
        critic = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
        return nn.ModuleDict({"generator": nn.Linear(1, 1), "critic": critic})

    def batches(self, examples, *, training):
        values = torch.tensor(examples.values)[:, None]
        order = list(SequentialBatches(len(examples), self.settings.training.batch_size if training else 99))
        return Batches(values.__getitem__, order)

    def loss(self, model, batch, optimizer):
        """The same noise for both, so that a test can do the same by hand."""
        drawn = model["generator"](torch.linspace(-1, 1, len(batch))[:, None])
        if optimizer == "generator.":
            return -model["critic"](drawn).mean()
        return F.softplus(model["critic"](drawn.detach())).mean() + F.softplus(-model["critic"](batch)).mean()

    def validate(self, model, batch):
        return {
            "loss": Mean((model["generator"](torch.zeros(1, 1)) - batch.mean()).abs().sum() * len(batch), len(batch))
        }

    @torch.inference_mode()
    def predict(self, model, inputs, options, numbers=None):
        assert list(inputs) == []
        noise = torch.randn(options.num_samples, 1, generator=torch.Generator().manual_seed(options.seed))
        return [Number("", value) for value in model["generator"](noise)[:, 0].tolist()]

    def inputs(self, examples):
        return []

    def score(self, predictions, examples):
        means = [sum(values) / len(values) for values in ([one.value for one in predictions], examples.values)]
        return Scores({"distance": Metric(abs(means[0] - means[1]), "units")})

    def baselines(self, training, examples):
        return {"zero": [Number("", 0.0)]}

    def inspect(self, model, inputs):
        return []
