"""A task in one file: which vowel occurs most often in a text. `docs/add-a-task.md` explains it step by step."""

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from heedful.data.batches import SequentialBatches, ShuffledBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text import LabeledTexts, read_texts
from heedful.inspection import watch
from heedful.nn import AttentionPooling
from heedful.report import Positions, Text, attention_section
from heedful.tasks.contract import TRAINING, Metric, Scores, Task
from heedful.training.objective import Batches, Mean
from heedful.training.settings import TaskSettings, TrainingSettings


class Settings(TaskSettings):
    training: TrainingSettings = TrainingSettings(epochs=20, batch_size=20)


@dataclass(frozen=True)
class Vowel:
    input: str
    label: str
    __str__ = to_format = lambda self: f"{self.input}\t{self.label}"


class Model(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.embedding, self.pooling, self.head = nn.Embedding(128, 16), AttentionPooling(16), nn.Linear(16, classes)

    def forward(self, texts):
        codes = [torch.tensor([min(ord(letter), 127) for letter in text or " "]) for text in texts]
        return self.head(torch.cat([self.pooling(self.embedding(row)[None]) for row in codes]))


class MostVowel(Task[LabeledTexts]):
    """Which vowel occurs most often."""

    name = "most-vowel"
    example, unit, input, Settings, split = "text", "texts", InputKind.TEXT, Settings, EveryTenth()

    @classmethod
    def read(cls, source, settings, reading=TRAINING):
        return read_texts(source, label="label" if reading.labeled else None)

    @classmethod
    def learn(cls, training, settings):
        return {"classes": sorted(set(training.labels))}

    def describe(self):
        return f"{len(self.vocabulary['classes'])} vowels"

    def check(self, examples):
        pass

    def build(self):
        return Model(len(self.vocabulary["classes"]))

    def batches(self, examples, *, training):
        labels, s = torch.tensor([*map(self.vocabulary["classes"].index, examples.labels)]), self.settings.training
        order = ShuffledBatches(len(labels), s.batch_size, s.seed) if training else SequentialBatches(len(labels), 100)
        return Batches(lambda rows: ([examples.texts[row] for row in rows], labels[rows]), order)

    def loss(self, model, batch, optimizer):
        return F.cross_entropy(model(batch[0]), batch[1])

    def validate(self, model, batch):
        return {"loss": Mean(self.loss(model, batch, "") * len(batch[1]), len(batch[1]))}

    def predict(self, model, inputs, options, numbers=None):
        return [Vowel(text, self.vocabulary["classes"][int(model([text]).argmax())]) for text in inputs]

    def inputs(self, examples):
        return examples.texts

    def score(self, predictions, examples):
        right = [prediction.label == label for prediction, label in zip(predictions, examples.labels, strict=True)]
        return Scores({"accuracy": Metric(sum(right) / len(right))})

    def baselines(self, training, examples):
        return {"majority": [Vowel(text, Counter(training.labels).most_common(1)[0][0]) for text in examples.texts]}

    def inspect(self, model, inputs):
        sections = []
        for text in inputs:
            with torch.inference_mode(), watch(model) as recording:
                model([text])
            axes = [Text(list(text), name="text"), Positions(1, ["the decision"], "decision")]
            sections.append(attention_section(recording, title=text[:80], axes=axes))
        return sections
