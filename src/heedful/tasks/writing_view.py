"""How a text, what was written for it, and the attention between them become a section of a report."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from heedful.inspection import watch
from heedful.models.sequence_to_sequence import Recurrent
from heedful.report import AttentionSection, Cells, Layer, Positions, Text, attention_section
from heedful.tasks.sentence_extraction import ExtractorOfSentences
from heedful.tasks.writer_of_texts import WriterOfTexts, pieces, shortened, words_of

_SHOWN = 200  # tokens of a target
_SOURCE, _BEFORE, _WRITTEN = range(3)  # what stands along the axes


def written_section(writer: WriterOfTexts, text: str) -> AttentionSection:
    """What each token of the best target looked at, in the source and in what was written before it.

    The first layer is the alignment: of a Transformer the mean over the heads of one layer; all its layers stand behind it.
    """
    model = writer.model
    best = writer.search([text], writer.changed({}))[0][0]
    source, target = writer.encode(text), best.tokens[:_SHOWN]
    asked = torch.tensor([[*target, model.end]])
    with torch.inference_mode(), watch(model) as seen:
        read = model.encode(pieces([source]))
        features = model.features(read, torch.tensor([[model.end, *target]]))
    with torch.inference_mode():
        copied = model.copied(features, read, asked)[0].tolist()
    shown, wrote = writer.read(text), writer.shown(asked[0].tolist())
    unknown = [place for place, token in enumerate(source) if token == writer.tokenizer.unknown]
    sides = [
        Text(shown, words=words_of(shown), special=[*unknown, len(source) - 1], name="source"),
        Text(["[BEGIN]", *wrote[:-1]], words=[-1, *words_of(wrote[:-1])], special=[0], name="written before"),
        Text(
            [f"{piece} ⧉" if copy else piece for piece, copy in zip(wrote, copied, strict=True)],
            words=words_of(wrote),
            special=[len(target)],
            name="written",
        ),
    ]
    layers: list[Layer] = []
    weights = writer.looked_at(source, target)
    if weights is not None:
        layers.append(_alignment(weights))
    if not isinstance(model, Recurrent):
        section = attention_section(seen, title="", sides=sides[:2])
        layers += [
            replace(layer, rows=_WRITTEN) if layer.name.startswith("decoder") else layer
            for layer in section.layers
            if layer.kind != "rollout"
        ]
    if not layers:
        # A model without attention takes as much of every token.
        layers.append(_alignment(torch.full((len(target) + 1, len(source)), 1 / len(source))))
    notes = ["Each row is a token that was written, the columns are what the model looked at to write it."]
    if any(copied):
        notes.append("⧉ marks what was copied from the source.")
    if unknown:
        notes.append(f"The model does not know {writer.unknown(text)!r}.")
    if not best.complete or len(target) < len(best.tokens):
        notes.append("The text is cut off.")
    return AttentionSection(
        title=shortened(text), text=" ".join(notes), layers=layers, sides=sides, output=writer.tokenizer.decode(target)
    )


def chosen_section(extractor: ExtractorOfSentences, text: str) -> AttentionSection:
    """How probable each sentence is to be the one that is chosen."""
    sentences = extractor.sentences(text)
    chances = extractor.probabilities([sentences])[0]
    (found,) = extractor.predict([sentences])
    return AttentionSection(
        title=shortened(text),
        text="How much each sentence was looked at, to choose from: the mean of the models that were asked.",
        layers=[replace(_alignment(chances[None]), name="choice", label="choice", rows=1, columns=0)],
        sides=[Text(sentences, name="sentences"), Positions(1, ["the choice"], "the choice")],
        output=found.output,
    )


def _alignment(weights: Tensor) -> Layer:
    shares = weights[None].float().numpy()  # [1, N, M]
    rows, columns = (min(128, size) for size in shares.shape[1:])
    height, width = shares.shape[1:]
    grid = np.add.reduceat(shares, np.arange(columns) * width // columns, axis=2)
    starts = np.arange(rows) * height // rows
    grid = np.add.reduceat(grid, starts, axis=1) / np.diff([*starts, height])[:, None]
    return Layer(
        name="alignment", label="alignment", kind="cross", map=grid, pairs=Cells(shares), queries=height, keys=width,
        rows=_WRITTEN, columns=_SOURCE,
    )  # fmt: skip
