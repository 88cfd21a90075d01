"""How texts and the attention of models of text become sections of a report."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from heedful.data.text.sentences import Sentence
from heedful.inspection import watch
from heedful.report import AttentionSection, Cells, Layer, Positions, Text, attention_section

if TYPE_CHECKING:
    from heedful.tasks.classifier_of_texts import ClassifierOfTexts
    from heedful.tasks.sequence_tagger import SequenceTagger


def tagged_section(tagger: "SequenceTagger", sentence: Sentence) -> AttentionSection:
    """The words of a sentence with their labels, and what each attended to."""
    with torch.inference_mode(), watch(tagger.model) as seen:
        (prediction,) = tagger.predict_sentences([sentence])
    sides = [Text(prediction.words, name="words")]
    section = attention_section(seen, title=_shortened(" ".join(prediction.words)), sides=sides)
    labelled: Any = [f"{word} · {label}" for word, label in zip(prediction.words, prediction.labels, strict=True)]
    place = len(section.sides)
    return replace(
        section,
        text="Each word of a row, with its label, attended to the words of its columns.",
        sides=[*section.sides, Text(labelled, name="labels")],
        layers=[replace(layer, rows=place) if layer.rows == 0 else layer for layer in section.layers],
        output=str(prediction),
    )


def classified_section(classifier: "ClassifierOfTexts", text: str) -> AttentionSection:
    """What each token said for the decision, and what each attended to."""
    tokens = classifier.cutting.shown(text)
    batch = classifier.cutting.corpus([text]).batch([0])
    with torch.inference_mode(), watch(classifier.model) as seen:
        probabilities = classifier.model.probabilities(batch)[0]
    best = probabilities.topk(min(5, len(probabilities)))
    labels = [classifier.classes[i] for i in best.indices.tolist()]
    spoke = classifier.spoke(text)
    section = attention_section(
        seen, title=_shortened(text), sides=[Text(tokens, name="text"), Positions(1, ["the decision"], "decision")]
    )
    # Members stand side by side; a rollout would chain them.
    layers = [layer for layer in section.layers if layer.kind != "rollout" or len(classifier.model.members) == 1]
    return replace(
        section,
        text=f"{labels[0]}: {_strongest(tokens, spoke)}.",
        layers=[_said_layer(spoke, "for"), _said_layer(spoke, "against"), *map(_of_member, layers)],
        predictions=list(zip(labels, best.values.tolist(), strict=True)),
    )


def _strongest(tokens: Sequence[str], spoke: Tensor, most: int = 6) -> str:
    """The tokens that said most, with by how much the log-odds fall without them."""
    order = spoke.abs().argsort(descending=True)[:most].tolist()
    said = [
        ", ".join(f"{tokens[i]} {spoke[i]:+.2f}" for i in order if (spoke[i] > 0) == sign) for sign in (True, False)
    ]
    parts = [f"{words} {verb}" for words, verb in zip(said, ("spoke for it", "against it"), strict=True) if words]
    return "; ".join(parts) or "no word spoke for it"


def _said_layer(spoke: Tensor, kind: str) -> Layer:
    """What spoke for the class, or what against it, as shares of both."""
    part = spoke.clamp_min(0) if kind == "for" else (-spoke).clamp_min(0)
    shares = (part / spoke.abs().sum().clamp_min(1e-12))[None, None].numpy()  # [1, 1, N]
    cells = min(512, len(spoke))
    grid = np.add.reduceat(shares, np.arange(cells) * len(spoke) // cells, axis=-1)
    return Layer(
        name=f"what spoke {kind} it",
        label=f"spoke {kind} it",
        kind="words",
        map=grid,
        pairs=Cells(shares),
        queries=1,
        keys=len(spoke),
        rows=1,
        columns=0,
    )


def _of_member(layer: Layer) -> Layer:
    """A layer with the number of its member in its label."""
    member = re.match(r"members\.(\d+)\.", layer.name)
    pooled = "pooling" if layer.name.endswith("pooling") else layer.label
    return layer if member is None else replace(layer, label=f"member {member[1]}, {pooled}")


def _shortened(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
