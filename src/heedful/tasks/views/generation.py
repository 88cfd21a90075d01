"""How a text, what was generated from it, and the attention between them become a section of a report."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from heedful._errors import DataError
from heedful.inspection import watch
from heedful.models.seq2seq_recurrent import Recurrent
from heedful.report import AttentionSection, Dense, Layer, Positions, Text, attention_section
from heedful.report.cells import cell_starts
from heedful.tasks.text_generation import GenerationOptions, TextGenerator, words_of
from heedful.tasks.views._common import shortened

if TYPE_CHECKING:
    from heedful.tasks.summarize_extractive import SummarizeExtractive

_MAX_ROWS = 200  # tokens of a target
_SOURCE, _BEFORE, _TARGET = range(3)  # the axes


def generated_section(generator: TextGenerator, model: Any, source: Any) -> AttentionSection:
    """What each token of the best target attends to, in the source (a text or a picture) and in what was generated before it.

    The first layer is the alignment: of a Transformer the mean over the heads of one layer; all its layers stand behind it.
    """
    if isinstance(source, str) and not source.strip():
        raise DataError(f"a text to inspect must have at least one word: got {source!r}.")
    best = generator.search(model, [source], GenerationOptions())[0][0]
    read, target = generator.encode(source), best.tokens[:_MAX_ROWS]
    whole = torch.tensor([[*target, model.end]])
    with torch.inference_mode(), watch(model) as recording:
        encoded = model.encode(generator.batch([read]))
        features = model.features(encoded, torch.tensor([[model.end, *target]]))
    with torch.inference_mode():
        copied = model.copied(features, encoded, whole)[0].tolist()
    targets, columns = generator.target_tokens(whole[0].tolist()), encoded.tokens.shape[1]
    unknown = generator.unknown(source)
    rows = [f"{token} ⧉" if copy else token for token, copy in zip(targets, copied, strict=True)]
    axes = [
        generator.axis(source),
        Text(["[BEGIN]", *targets[:-1]], words=[-1, *words_of(targets[:-1])], special=[0], name="generated before"),
        Text(rows, words=words_of(targets), special=[len(target)], name="generated"),
    ]
    layers: list[Layer] = []
    weights = generator.cross_attention(model, read, target)
    if weights is not None:
        layers.append(_alignment(weights))
    if not isinstance(model, Recurrent):
        layers += [
            replace(layer, rows=_TARGET) if layer.name.startswith("decoder") else layer
            for layer in attention_section(recording, title="", axes=axes[:2]).layers
            if layer.kind != "rollout"
        ]
    if not layers:
        # A model without attention takes as much of every token.
        layers.append(_alignment(torch.full((len(target) + 1, columns), 1 / columns)))
    notes = ["Each row is a token that was generated, the columns are what the model attends to, to generate it."]
    if any(copied):
        notes.append("⧉ marks what was copied from the source.")
    if unknown:
        notes.append(f"The model does not know {unknown!r}.")
    if not best.finished or len(target) < len(best.tokens):
        notes.append("The text is cut off.")
    output = generator.tokenizer.decode(target)
    return AttentionSection(
        title=shortened(generator.named(source), 40),
        text=" ".join(notes),
        layers=layers,
        axes=axes,
        output=output,
        opens={"view": "input"},
    )


def extracted_section(task: "SummarizeExtractive", model: Any, text: str) -> AttentionSection:
    """How probable each sentence is to be the one that is chosen."""
    sentences = task.sentences(text)
    if not sentences:
        raise DataError(f"a text to inspect must have at least one sentence: got {text!r}.")
    probabilities = task.probabilities(model, [sentences])[0]
    (summary,) = task.predict(model, [sentences], task.Options())
    return AttentionSection(
        title=shortened(sentences[0], 40),
        text="The attention to each sentence, to choose from: the mean of the models of the ensemble.",
        layers=[replace(_alignment(probabilities[None]), name="choice", label="choice", rows=1, columns=0)],
        axes=[Text(sentences, name="sentences"), Positions(1, ["the choice"], "the choice")],
        output=summary.output,
    )


def _alignment(weights: Tensor) -> Layer:
    shares = weights[None].float().numpy()  # [1, N, M]
    height, width = shares.shape[1:]
    rows, columns = min(128, height), min(128, width)
    grid = np.add.reduceat(shares, cell_starts(width, columns)[:-1].numpy(), axis=2)
    starts = cell_starts(height, rows).numpy()
    grid = np.add.reduceat(grid, starts[:-1], axis=1) / np.diff(starts)[:, None]
    return Layer(
        name="alignment", label="alignment", kind="cross", map=grid, pairs=Dense(shares), queries=height, keys=width,
        rows=_TARGET, columns=_SOURCE,
    )  # fmt: skip
