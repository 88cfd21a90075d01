"""How texts and the attention of taggers and text classifiers become sections of a report."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from heedful.data.text.pieces import Pieces
from heedful.data.text.sentences import Sentence
from heedful.data.text.tokenization import Tokenization
from heedful.inspection import watch
from heedful.report import AttentionSection, Layer, Positions, Text, attention_section
from heedful.report.read_axes import fitting
from heedful.tasks.views._common import occlusion_layer, shortened, with_rows

if TYPE_CHECKING:
    from heedful.tasks.classify import Classify
    from heedful.tasks.tag import Tag


def tagged_section(task: "Tag", model: Any, sentence: Sentence) -> AttentionSection:
    """The words of a sentence with their labels, and what each attends to."""
    with torch.inference_mode(), watch(model) as recording:
        (prediction,) = task.predict(model, [sentence], task.Options())
    labels = [f"{word} · {label}" for word, label in zip(prediction.words, prediction.labels, strict=True)]
    text, axis = (
        "Each word of a row, with its label, attends to the words of its columns.",
        Text(prediction.words, name="words"),
    )
    if task.pieces is not None:
        shown = task.pieces.show(sentence.words)
        new = [word >= 0 and word not in shown.words[:i] for i, word in enumerate(shown.words)]
        labels = [
            f"{token} · {prediction.labels[word]}" if first else token
            for token, word, first in zip(shown.tokens, shown.words, new, strict=True)
        ]
        text = "Each token of a row, with the label of the word that it begins, attends to the tokens of its columns."
        axis = Text(*shown, name="text")
    section = attention_section(recording, title=shortened(prediction.input), axes=[axis])
    return replace(with_rows(section, labels, "labels"), text=text, output=str(prediction))


def classified_section(task: "Classify", model: Any, text: str) -> AttentionSection:
    """What each token contributes to the decision, and what each attends to."""
    shown = _shown(task.tokenization, text)
    tokens = shown.tokens
    batch = task.tokenization.encode([text]).batch([0])
    with torch.inference_mode(), watch(model) as recording:
        outputs = task.merged(model, batch)
    predictions, drops = task.target.ranked(outputs[0]), task.occlusion(model, text)
    (found,) = task.target.predictions([text], outputs, None)
    decision = Positions(1, ["the decision"], "decision")
    axes = fitting([shown, decision], recording)
    section = attention_section(recording, title=shortened(text), axes=axes)
    # Models of an ensemble stand side by side; a rollout would chain them.
    layers = [layer for layer in section.layers if layer.kind != "rollout" or len(model.members) == 1]
    return replace(
        section,
        axes=[*section.axes, decision][:2],
        text=f"{predictions[0][0] if predictions else found}: {_strongest(tokens, drops)}.",
        layers=[
            occlusion_layer(drops, "supports", "class"),
            occlusion_layer(drops, "opposes", "class"),
            *map(_of_member, layers),
        ],
        predictions=predictions,
        output=None if predictions else str(found),
    )


def _shown(tokenization: Tokenization, text: str) -> Text:
    """The tokens of a text."""
    if isinstance(tokenization.by, Pieces):
        return Text(*tokenization.by.show(text), name="text")
    return Text(tokenization.tokenize(text), name="text")


def _strongest(tokens: Sequence[str], drops: Tensor, most: int = 6) -> str:
    """The tokens that matter most, with by how much the log-odds fall without them."""
    order = drops.abs().argsort(descending=True)[:most].tolist()
    words = [
        ", ".join(f"{tokens[i]} {drops[i]:+.2f}" for i in order if (drops[i] > 0) == sign) for sign in (True, False)
    ]
    parts = [f"{named} {verb}" for named, verb in zip(words, ("support it", "oppose it"), strict=True) if named]
    return "; ".join(parts) or "no token supports it"


def _of_member(layer: Layer) -> Layer:
    """A layer with the number of its model in its label."""
    member = re.match(r"members\.(\d+)\.", layer.name)
    pooled = "pooling" if layer.name.endswith("pooling") else layer.label.removesuffix(f" {layer.kind}")
    return layer if member is None else replace(layer, label=f"model {member[1]}, {pooled}")
