"""How a text and the attention of a language model become a section of a report."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from heedful._errors import DataError
from heedful.inspection import watch
from heedful.report import AttentionSection, Text, attention_section
from heedful.tasks.text_generation import words_of
from heedful.tasks.views._common import most_probable, shortened, with_rows

if TYPE_CHECKING:
    from heedful.tasks.language_model import ModelLanguage

_NEW_TOKENS = 40  # of a continuation, at most half of the context


def language_section(task: "ModelLanguage", model: Any, text: str) -> AttentionSection:
    """What each token of a prompt and of its continuation attends to; of a masked model, what each gap attends to."""
    if not text:
        raise DataError("a text to inspect must have at least one token: got an empty one.")
    return _filled(task, model, text) if task.masked else _continued(task, model, text)


def _continued(task: "ModelLanguage", model: Any, text: str) -> AttentionSection:
    """One causal pass over prompt and continuation sees what every single step saw."""
    count = max(min(_NEW_TOKENS, task.context // 2), 1)
    prompt = task.encode(text)[0][-(task.context + 1 - count) :]
    (written,) = task.generate(model, [prompt], task.Options(max_new_tokens=count), [0])
    whole = [*prompt, *written]
    with torch.inference_mode(), watch(model) as recording:
        probabilities = model(torch.tensor([whole[:-1]]))[0, len(prompt) - 1].softmax(-1)
    tokens = [_shown(task, token) for token in whole]
    words = words_of([task.tokenizer.decode([token]) for token in whole[:-1]])
    section = attention_section(recording, title=shortened(text), axes=[Text(tokens[:-1], words=words, name="text")])
    section = with_rows(section, [f"{token} → {following}" for token, following in pairwise(tokens)], "rows")
    return replace(
        section,
        text=f"Each row is a token and the one that follows it: the columns are what the model attends to, to predict that. "
        f"The first {len(prompt)} tokens are the prompt, the others it wrote. Below: what may follow the prompt.",
        predictions=most_probable([_shown(task, token) for token in range(task.tokenizer.size)], probabilities),
        output=task.tokenizer.decode(whole),
    )


def _filled(task: "ModelLanguage", model: Any, text: str) -> AttentionSection:
    """One pass in which all gaps are open; the text around the first one, where it is longer than the context."""
    (filling,) = task.predict(model, [text], task.Options())
    ids, gaps = task.encode(text)
    context = task.context
    start = min(max((gaps[0] if gaps else 0) - context // 2, 0), max(len(ids) - context, 0))
    window = ids[start : start + context]
    with torch.inference_mode(), watch(model) as recording:
        logits = model(torch.tensor([window]))[0]
    inside = [gap - start for gap in gaps if start <= gap < start + context]
    fills = dict(zip(gaps, filling.fills, strict=True))
    tokens = [task.GAP if token == task.tokenizer.mask else _shown(task, token) for token in window]
    axis = Text(tokens, words=words_of(tokens), special=inside, name="text")
    section = attention_section(recording, title=shortened(text), axes=[axis])
    rows = [f"{token} → {fills[i + start]}" if i in inside else token for i, token in enumerate(tokens)]
    names = [_shown(task, token) for token in range(task.tokenizer.size)]
    return replace(
        with_rows(section, rows, "rows"),
        text="Each token of a row attends to the tokens of its columns; a gap stands with what was put into it. "
        "Below: what may stand in the first gap, while all are open.",
        predictions=most_probable(names, logits[inside[0]].softmax(-1)) if inside else [],
        output=str(filling),
    )


def _shown(task: "ModelLanguage", token: int) -> str:
    """What a token shows as; line ends can be seen."""
    return task.tokenizer.decode([token]).replace("\n", "⏎") or "[END]"
