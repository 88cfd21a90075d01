"""How a text and the attention of a language model become a section of a report."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from heedful._errors import HeedfulError
from heedful.inspection import watch
from heedful.report import AttentionSection, Text, attention_section

if TYPE_CHECKING:
    from heedful.tasks.language_writer import Writer

_WRITTEN = 40  # tokens of a continuation, at most half of the context
_SHOWN = 5


def written_section(writer: "Writer", text: str) -> AttentionSection:
    """What each token of a prompt and of its continuation looked at; of a masked model, what each gap looked at."""
    if not text:
        raise HeedfulError("a text to look at must have at least one token: got an empty one.")
    return _filled(writer, text) if writer.model.masked else _continued(writer, text)


def _continued(writer: "Writer", text: str) -> AttentionSection:
    """One causal pass over prompt and continuation sees what every single step saw."""
    model, tokenizer = writer.model, writer.tokenizer
    count = max(min(_WRITTEN, model.context // 2), 1)
    prompt = tokenizer.encode(text).tolist()[-(model.context + 1 - count) :]
    whole = [*prompt, *writer.go_on(prompt, count)]
    with torch.inference_mode(), watch(model) as seen:
        chances = model(torch.tensor([whole[:-1]]))[0, len(prompt) - 1].softmax(-1)
    pieces = [_piece(writer, token) for token in whole]
    section = attention_section(
        seen, title=shortened(text), sides=[Text(pieces[:-1], words=_words(pieces[:-1]), name="text")]
    )
    section = _with_rows(section, [f"{piece} → {new}" for piece, new in pairwise(pieces)])
    best = chances.topk(min(_SHOWN, len(chances)))
    return replace(
        section,
        text=f"Each token of a row, and what came behind it: the columns are what the model looked at to say that. "
        f"The first {len(prompt)} tokens are the prompt, the others it wrote. Below: what could have come behind the prompt.",
        predictions=[
            (_piece(writer, token), chance)
            for token, chance in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
        output=tokenizer.decode(whole),
    )


def _filled(writer: "Writer", text: str) -> AttentionSection:
    """One pass in which all gaps are open; the text around the first one, where it is longer than the context."""
    from heedful.tasks.language_writer import GAP

    (filling,) = writer.predict(text)
    ids, gaps = writer.encode(text)
    context = writer.model.context
    start = min(max((gaps[0] if gaps else 0) - context // 2, 0), max(len(ids) - context, 0))
    shown = ids[start : start + context]
    with torch.inference_mode(), watch(writer.model) as seen:
        logits = writer.model(torch.tensor([shown]))[0]
    inside = [gap - start for gap in gaps if start <= gap < start + context]
    pieces = [GAP if token == writer.tokenizer.mask else _piece(writer, token) for token in shown]
    found = dict(zip(gaps, getattr(filling, "gaps", []), strict=True))
    section = attention_section(
        seen, title=shortened(text), sides=[Text(pieces, words=_words(pieces), special=inside, name="text")]
    )
    rows = [f"{piece} → {found[place + start]}" if place in inside else piece for place, piece in enumerate(pieces)]
    section = _with_rows(section, rows)
    predictions = []
    if inside:
        best = logits[inside[0]].softmax(-1).topk(min(_SHOWN, logits.shape[-1]))
        predictions = [
            (_piece(writer, token), chance)
            for token, chance in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return replace(
        section,
        text="Each token of a row looked at the tokens of its columns; a gap stands with what was put into it. "
        "Below: what could have been put into the first gap, while all were open.",
        predictions=predictions,
        output=str(filling),
    )


def _with_rows(section: AttentionSection, rows: list[str]) -> AttentionSection:
    """The same attention with words of their own for the rows."""
    place = len(section.sides)
    return replace(
        section,
        sides=[*section.sides, Text(rows, name="rows")],
        layers=[replace(layer, rows=place) if layer.rows == 0 else layer for layer in section.layers],
    )


def _piece(writer: "Writer", token: int) -> str:
    """What a token shows as; line ends can be seen."""
    return writer.tokenizer.decode([token]).replace("\n", "⏎") or "[END]"


def _words(pieces: list[str]) -> list[int]:
    """To which word each token belongs: a new one begins behind a blank or a line end, which belong to none by themselves."""
    words, word, between = [], -1, True
    for piece in pieces:
        if not piece.strip(" ⏎"):
            words.append(-1)
            between = True
            continue
        word += between or piece[0] in " ⏎"
        between = piece[-1] in " ⏎"
        words.append(word)
    return words


def shortened(text: str, most: int = 80) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
