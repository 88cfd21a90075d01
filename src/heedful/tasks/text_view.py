"""How texts and the attention of models of text become sections of a report."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from heedful.data.text.sentences import Sentence
from heedful.inspection import watch
from heedful.inspection.report import AttentionSection, Text, attention_section

if TYPE_CHECKING:
    from heedful.tasks.tag import SequenceTagger


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


def _shortened(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
