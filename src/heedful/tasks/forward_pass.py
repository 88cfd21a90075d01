"""A prediction that is one forward pass: tensors in, one tensor out, as other engines take it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heedful.data.batch_types import (
    IndexedSentences,
    PaddedWords,
    PieceBatch,
    SentenceBatch,
    TokenBatch,
    WordBatch,
    sentence_rows,
)
from heedful.models.ensemble import Ensemble
from heedful.tasks.multilabel import SeveralLabels
from heedful.tasks.regression import OneNumber
from heedful.tasks.targets import Target


class Operand(NamedTuple):
    """A tensor of the exported model.

    Attributes:
        axes: the name of each axis that may have any size; the size of each other one.
        holds: what it holds, in words.
    """

    axes: tuple[str | int, ...]
    holds: str


@dataclass(frozen=True)
class Layout:
    """How a batch becomes tensors, and these a batch again.

    Attributes:
        operands: the tensors by name.
        pack: from a batch of the task to the tensors.
        unpack: from the tensors to what the model takes.
    """

    operands: Mapping[str, Operand]
    pack: Callable[[Any], tuple[Tensor, ...]]
    unpack: Callable[..., Any]


@dataclass(frozen=True)
class ForwardPass:
    """What is exported of a task.

    Attributes:
        layout: of its inputs.
        compute: from the model and a batch to the output.
        name: of the output.
        output: likewise.
        same: whether two outputs predict the same, `[...]` without their last axis: by default where the same number is the largest.
        files: beside the model, by name: labels.json, tokenizer.json, vocabulary.json.
        notes: what else a user must know, a paragraph each.
    """

    layout: Layout
    compute: Callable[[Any, Any], Tensor]
    name: str
    output: Operand
    same: Callable[[Tensor, Tensor], Tensor] = lambda one, other: one.argmax(-1) == other.argmax(-1)
    files: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def module(self, model: nn.Module) -> nn.Module:
        """The model as a function of the tensors."""
        return _OfTensors(model, lambda *tensors: self.compute(model, self.layout.unpack(*tensors)))


class _OfTensors(nn.Module):
    def __init__(self, model: nn.Module, compute: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.compute(*tensors)


_WORD = (
    "the number of each word in vocabulary.json: from 2 on, in the order of {}; 0 padding, 1 a word that is not there"
)
_NGRAMS = "the numbers of each word's character n-grams in vocabulary.json: from 1 on, in the order of `char_ngrams`; -1 padding"
_TOKENS = "the number of each token"
_REAL = "how many {} of each {} are no padding"


def words(*, forms: bool) -> Layout:
    """Words with their character n-grams; with `forms`, also as they are written."""
    rows = ("batch", "length")
    operands = {
        "words": Operand(rows, _WORD.format("`words`, in lower case")),
        **({"forms": Operand(rows, _WORD.format("`forms`, as it is written"))} if forms else {}),
        "char_ngrams": Operand((*rows, "ngrams"), _NGRAMS),
        "lengths": Operand(("batch",), _REAL.format("words", "text")),
    }

    def pack(batch: WordBatch) -> tuple[Tensor, ...]:
        padded = PaddedWords.of(batch)
        return tuple(padded) if forms else (padded.words, padded.char_ngrams, padded.lengths)

    def unpack(*tensors: Tensor) -> PaddedWords:
        return PaddedWords(*tensors) if forms else PaddedWords(tensors[0], *tensors)

    return Layout(operands, pack, unpack)


def tokens() -> Layout:
    """Subwords or characters of texts."""
    operands = {
        "tokens": Operand(("batch", "length"), f"{_TOKENS}; 0 padding"),
        "lengths": Operand(("batch",), _REAL.format("tokens", "text")),
    }
    return Layout(operands, tuple, TokenBatch)


def pieces() -> Layout:
    """Words as tokens of a pretrained model."""
    operands = {
        "tokens": Operand(("batch", "tokens"), f"{_TOKENS}; 0 padding"),
        "token_lengths": Operand(("batch",), _REAL.format("tokens", "text")),
        "first": Operand(("batch", "length"), "the position of the first token of each word; 0 padding"),
        "lengths": Operand(("batch",), _REAL.format("words", "text")),
    }
    return Layout(operands, tuple, PieceBatch)


def running_text() -> Layout:
    """Tokens without padding."""
    return Layout({"tokens": Operand(("batch", "length"), _TOKENS)}, lambda tokens: (tokens,), lambda tokens: tokens)


def images(channels: int, height: int, width: int) -> Layout:
    """Images of one size, from 0 to 255."""
    holds = f"{'gray' if channels == 1 else 'red, green, blue'}, from 0 to 255 (uint8)"
    return Layout(
        {"images": Operand(("batch", channels, height, width), holds)}, lambda images: (images,), lambda images: images
    )


def pictures() -> Layout:
    """Color images of any size, those of a batch of the same one, from 0 to 255."""
    operand = Operand(("batch", 3, "height", "width"), "red, green, blue, from 0 to 255 (uint8)")
    return Layout({"images": operand}, lambda images: (torch.stack(images),), lambda images: images)


def sentences() -> Layout:
    """Documents: the words of all their sentences, and which of these are those of each document."""
    inner = words(forms=False)
    operands = {
        name: Operand(
            tuple("sentences" if axis == "batch" else axis for axis in one.axes), one.holds.replace("text", "sentence")
        )
        for name, one in inner.operands.items()
    }
    rows = Operand(("batch", "positions"), "which sentences are those of each document, in their order; -1 padding")

    def pack(batch: SentenceBatch) -> tuple[Tensor, ...]:
        return (*inner.pack(batch.tokens), sentence_rows(batch.counts))

    def unpack(*tensors: Tensor) -> IndexedSentences:
        return IndexedSentences(inner.unpack(*tensors[:-1]), tensors[-1])

    return Layout({**operands, "documents": rows}, pack, unpack)


def of_target(target: Target, layout: Layout) -> ForwardPass:
    """What is predicted for each example: a label, labels or a number."""

    def compute(model: Any, batch: Any) -> Tensor:
        outputs = model(batch)
        return target.values(target.merge(outputs, model.shares) if isinstance(model, Ensemble) else outputs)

    axes = ("batch", target.outputs)
    if isinstance(target, OneNumber):
        return ForwardPass(
            layout, compute, "numbers", Operand(axes, "the prediction"),
            lambda one, other: torch.isclose(one, other, rtol=1e-3, atol=1e-4).all(-1),
        )  # fmt: skip
    probabilities, files = Operand(axes, "of each label of labels.json"), {"labels.json": list(target.classes)}
    if not isinstance(target, SeveralLabels):
        return ForwardPass(layout, compute, "probabilities", probabilities, files=files)
    thresholds = target.thresholds
    return ForwardPass(
        layout, compute, "probabilities", probabilities,
        lambda one, other: ((one >= thresholds) == (other >= thresholds)).all(-1),
        files | {"thresholds.json": thresholds.tolist()},
        ("The labels whose probability reaches their threshold, in thresholds.json, are those that are predicted.",),
    )  # fmt: skip


def real_positions(operands: Mapping[str, Operand], tensors: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Which rows of an output are no padding, `[...]` without its last axis: those within the lengths, where there are any."""
    given = dict(zip(operands, tensors, strict=True))
    if output.dim() == 3 and "lengths" in given:
        return torch.arange(output.shape[1]) < given["lengths"][:, None]
    return torch.ones(output.shape[:-1], dtype=torch.bool)
