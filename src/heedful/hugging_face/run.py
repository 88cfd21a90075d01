"""One run of a model, and its attention as a section of a report."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from heedful._errors import HeedfulError
from heedful._types import Tensor
from heedful.hugging_face.inputs import Feed, feed_of, separators_of, writes_on
from heedful.hugging_face.loading import HuggingFaceModel, quiet
from heedful.inspection.given import Given, one_line, shortened
from heedful.inspection.seen import Seen
from heedful.inspection.watch import watch
from heedful.report import AttentionSection, attention_section


class Portrait(NamedTuple):
    """What came of one run of a model.

    Attributes:
        section: of a report.
        notes: what one should know, such as what was not seen; it stands in the section's text, too.
        seen: the calls of which the section's first layers are.
    """

    section: AttentionSection
    notes: list[str]
    seen: Seen


def portrait(loaded: HuggingFaceModel, given: Sequence[Given], *, layers: str | None = None) -> Portrait:
    """Runs a model once, and gives its attention as a section.

    Args:
        loaded: the model.
        given: what it takes: one or two texts, a picture, a sound; to a model that writes also what it is to have written.
        layers: which calls are wanted: their numbers ("0,3-5") or parts of their modules' names; None: all.

    Raises:
        HeedfulError: the model does not take this, or no attention was seen.
    """
    model = loaded.model
    with quiet(), torch.no_grad():
        feed = feed_of(loaded, given)
        options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        try:
            with watch(model) as seen:
                output = model(**feed.numbers, **options)
        except MemoryError:
            raise
        except Exception as error:  # whatever inputs that do not fit make of a model
            raise HeedfulError(f"{loaded.where}: cannot run on these inputs: {one_line(error)}.") from None
        missed = _missed(seen)
        if not len(seen):
            raise HeedfulError(f"{loaded.where}: no attention was seen. {missed}".rstrip())
        kept = chosen([call.module for call in seen], layers)
        wanted = Seen([seen[i] for i in kept], seen.missed)
        predictions, asked = _predictions(loaded, feed, output)
        notes = [*loaded.notes, *feed.notes, *([missed] if missed else [])]
        section = attention_section(
            wanted,
            title=shortened([one.name for one in given]),
            text=" ".join([_sentence(loaded, seen, wanted), *notes, *([asked] if asked else [])]),
            sides=[side for side in (make(seen) for make in feed.sides) if side is not None],
            tokens=feed.tokens,
            separators=separators_of(loaded) if feed.tokens is not None else None,
        )
    calls = section.layers
    if len(kept) < len(seen):
        calls = [layer for layer in calls if layer.kind != "rollout"]  # it would go through some layers only
    section = dataclasses.replace(section, layers=calls, predictions=predictions, output=feed.output)
    return Portrait(section, notes, wanted)


def chosen(names: Sequence[str], words: str | None) -> list[int]:
    """The places of those calls that are named by number, range or a part of their module's name; None: all.

    Raises:
        HeedfulError: a word names none.
    """
    if words is None:
        return list(range(len(names)))
    kept: set[int] = set()
    for word in (word.strip() for word in words.split(",")):
        numbers = number_range(word)
        if numbers is None:
            found = {i for i, name in enumerate(names) if word and word in name}
        else:
            found = set(numbers) if numbers[-1] < len(names) else set()
        if not found:
            known = list(dict.fromkeys(names))
            listed = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
            raise HeedfulError(
                f"--layers must be numbers from 0 to {len(names) - 1}, ranges of them, or parts of {listed}: got {word!r}."
            )
        kept |= found
    return sorted(kept)


def number_range(word: str) -> range | None:
    """The numbers of "3" or "3-5"; None of anything else, also of "5-3"."""
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word)
    if match is None:
        return None
    low, high = int(match[1]), int(match[2] or match[1])
    return range(low, high + 1) if low <= high else None


def _sentence(loaded: HuggingFaceModel, seen: Seen, wanted: Seen) -> str:
    some = "" if len(wanted) == len(seen) else f" of {len(seen)}"
    return f"{loaded.name} ({type(loaded.model).__name__}): {len(wanted)}{some} calls of attention."


def _missed(seen: Seen) -> str:
    """What was not seen, in a sentence; of many the first three."""
    if not seen.missed:
        return ""
    listed = "; ".join(f"{one.module or 'the model'}: {one.why}" for one in seen.missed[:3])
    more = f"; and {len(seen.missed) - 3} more" if len(seen.missed) > 3 else ""
    return f"NOT SEEN, though expected ({len(seen.missed)}): {listed}{more}."


def _predictions(loaded: HuggingFaceModel, feed: Feed, output: Any) -> tuple[list[tuple[str, float]], str | None]:
    """The five most probable answers, and what was asked where it is not the model's label for all."""
    logits = getattr(output, "logits", None)
    kind = type(loaded.model).__name__
    if not torch.is_tensor(logits) or loaded.writes:
        return [], None
    if "Classification" in kind and logits.dim() == 2 and 1 < logits.shape[-1] == len(loaded.config.id2label or ()):
        several = getattr(loaded.config, "problem_type", None) == "multi_label_classification"
        shares = logits[0].float().sigmoid() if several else logits[0].float().softmax(-1)
        names, words = [str(loaded.config.id2label[i]) for i in range(len(shares))], None
        return _best(shares, lambda i: names[i]), words
    if logits.dim() != 3 or feed.tokens is None or logits.shape[1] != len(feed.tokens):
        return [], None
    if writes_on(loaded):
        row, asked = logits[0, -1], "The shares are of the next token."
    elif kind.endswith("ForMaskedLM"):
        masks = (feed.tokens == loaded.tokenizer.mask_token_id).nonzero()
        if loaded.tokenizer.mask_token_id is None or not len(masks):
            return [], None
        row, asked = logits[0, int(masks[0])], f"The shares are of the first {loaded.tokenizer.mask_token}."
    else:
        return [], None
    return _best(row.float().softmax(-1), lambda i: _label(loaded.tokenizer, i)), asked


def _label(tokenizer: Any, token: int) -> str:
    """A token as text; as the tokenizer has it where its text is nothing but space."""
    return str(tokenizer.decode([token])).strip() or str(tokenizer.convert_ids_to_tokens(token))


def _best(shares: Tensor, name: Callable[[int], str]) -> list[tuple[str, float]]:
    if not bool(torch.isfinite(shares).all()):
        return []
    best = shares.topk(min(5, len(shares)))
    return [(name(i), share) for i, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
