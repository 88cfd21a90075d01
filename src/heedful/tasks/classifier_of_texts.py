"""A trained classifier with all that it needs to take texts as they are, what it says, and how that is measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heedful.data.batches import ByLength
from heedful.data.text.cutting import Cutting
from heedful.data.text.texts import Texts
from heedful.models.text_classifier import Ensemble, Pieces
from heedful.models.words import Words

ROOM = 8000  # tokens that are computed together
_PASSES = 256  # in which tokens are hidden in turn


@dataclass(frozen=True)
class Prediction:
    """What a model says of one text; of an empty one nothing.

    Attributes:
        text: the input.
        label: the most probable class.
        probability: of that class.
        runner_up: the second.
        runner_up_probability: of the second.
    """

    text: str
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float

    def as_data(self) -> str:
        """A line of a table of texts and labels."""
        return f"{' '.join(self.text.split())}\t{self.label}"

    def __str__(self) -> str:
        """One line for a person."""
        if not self.label:
            return ""
        return f"{self.label} {100 * self.probability:.1f} % (then {self.runner_up} {100 * self.runner_up_probability:.1f} %)"


class ClassifierOfTexts:
    """A trained model with all that it needs to take texts as they are.

    Args:
        model: the network.
        classes: their names, in the order of the logits.
        cutting: how texts become tokens.
    """

    def __init__(self, model: Ensemble, classes: Sequence[str], cutting: Cutting) -> None:
        self.model, self.classes, self.cutting = model.eval(), tuple(classes), cutting

    def predict(self, texts: str | Sequence[str]) -> list[Prediction]:
        """The label of a text, or of each of several, with its probability and the runner-up."""
        texts = [texts] if isinstance(texts, str) else texts
        found = [Prediction(text, "", 0.0, "", 0.0) for text in texts]
        filled = [i for i, text in enumerate(texts) if text.strip()]
        if not filled:
            return found
        best = self.probabilities([texts[i] for i in filled]).topk(2)
        for i, (first, second), (p, q) in zip(filled, best.indices.tolist(), best.values.tolist(), strict=True):
            found[i] = Prediction(texts[i], self.classes[first], p, self.classes[second], q)
        return found

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str], places: Sequence[str] | None = None) -> Tensor:
        """Of each class `[texts, classes]`; texts of nearly one length are computed together, none may be blank."""
        corpus = self.cutting.corpus(texts, places)
        found = torch.empty(len(texts), len(self.classes))
        for indices in ByLength(corpus.lengths, ROOM):
            found[indices] = self.model.probabilities(corpus.batch(indices))
        return found

    @torch.inference_mode()
    def spoke(self, text: str) -> Tensor:
        """What each token of a text said for its class: by how much the log-odds fall when it is hidden.

        Of a long text neighbours are hidden together, so that at most 256 passes are made.
        """
        batch = self.cutting.corpus([text]).batch([0])
        whole = self.model.probabilities(batch)[0]
        count, best = int(batch.lengths), int(whole.argmax())
        cells = min(count, _PASSES)
        cell = torch.arange(count) * cells // count
        fallen = []
        for rows in torch.arange(cells).split(max(ROOM // count, 1)):
            many = _repeated(batch, len(rows))
            fallen.append(
                _log_odds(whole[best]) - _log_odds(self.model.probabilities(many, cell == rows[:, None])[:, best])
            )
        return torch.cat(fallen)[cell] / torch.bincount(cell)[cell]

    def measures(self, texts: Texts) -> dict[str, Any]:
        """Accuracy, macro F1, and what is taken for what."""
        assert texts.labels is not None
        truth = torch.tensor([self.classes.index(label) for label in texts.labels])
        guessed = self.probabilities(texts.texts, texts.places).argmax(-1)
        metrics = metrics_of(len(self.classes))
        metrics.update(guessed, truth)
        pairs = Counter(zip(truth.tolist(), guessed.tolist(), strict=True)).most_common()
        confusions = [[self.classes[a], self.classes[b], count] for (a, b), count in pairs if a != b]
        return {
            "measures": {name: value.item() for name, value in metrics.compute().items()},
            "confusions": confusions,
        }


def metrics_of(classes: int) -> Any:
    """Accuracy and macro F1."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    return MetricCollection({
        "accuracy": MulticlassAccuracy(classes, average="micro"), "macro_f1": MulticlassF1Score(classes, average="macro"),
    })  # fmt: skip


def _repeated(batch: Words | Pieces, times: int) -> Words | Pieces:
    """A batch of one text, so often."""
    of_texts = {name: getattr(batch, name) for name in batch._fields if name not in ("pieces", "starts")}
    return batch._replace(**{name: t.expand(times, *t.shape[1:]) for name, t in of_texts.items()})


def _log_odds(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=1e-6)
