"""A trained language model with all that it needs to take texts as they are, and what it writes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._errors import HeedfulError
from heedful.data.batches import InOrder
from heedful.data.text import Characters, Subwords
from heedful.models import LanguageModel, fill, generate
from heedful.models.sampling import check_drawing
from heedful.tasks.language_pieces import (
    NOT_ASKED,
    SPECIAL,
    Windows,
    begun,
    encoded,
    gaps_of,
    hidden_places,
    next_tokens,
)

GAP = "[MASK]"  # how a gap is written
TOGETHER = 16_384  # tokens that are judged at once
_ROUNDS = 8  # in which gaps are filled, the surest first


@dataclass(frozen=True)
class Continuation:
    """What a causal model wrote.

    Attributes:
        prompt: what it went on with.
        text: what it wrote.
        sample: which of several continuations of the prompt, from 0.
        unknown: the characters of the prompt that the model does not know, each once; it takes all of them for the same.
    """

    prompt: str
    text: str
    sample: int = 0
    unknown: str = ""

    def as_data(self) -> str:
        """The whole text."""
        return self.prompt + self.text

    def __str__(self) -> str:
        return self.as_data()


@dataclass(frozen=True)
class Filling:
    """What a masked model put into the gaps of a text.

    Attributes:
        input: the text with its gaps.
        text: the whole text.
        gaps: what was put into each gap.
        probabilities: of each.
        unknown: as of a `Continuation`.
    """

    input: str
    text: str
    gaps: list[str]
    probabilities: list[float]
    unknown: str = ""

    def as_data(self) -> str:
        """The whole text."""
        return self.text

    def __str__(self) -> str:
        return self.text


class Writer:
    """A trained model with all that it needs to take texts as they are.

    Args:
        model: the network.
        tokenizer: what its tokens are.
    """

    def __init__(self, model: LanguageModel, tokenizer: Characters | Subwords) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def predict(
        self,
        inputs: str | Sequence[str],
        *,
        tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        samples: int | None = None,
        seed: int | None = None,
        first: int = 0,
    ) -> list[Continuation] | list[Filling]:
        """Continuations of prompts; or, of a masked model, texts whose gaps, written `[MASK]`, are filled.

        An empty text gives an empty result. The options are for continuations.

        Args:
            inputs: a text, or several.
            tokens: how many to write; by default 200.
            temperature: below 1 bolder, above 1 wilder, 0 always the most probable token; by default 0.8.
            top_k: draw among so many of the most probable tokens; by default among all.
            top_p: draw among the most probable tokens that have so much probability together; by default among all.
            samples: how many continuations of each prompt; by default 1.
            seed: of what is drawn; by default 1.
            first: how many inputs there were before these: with it, parts of many inputs draw what all of them together would.

        Raises:
            HeedfulError: an option is impossible, or is none of this model.
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        given: dict[str, Any] = {"tokens": tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        given |= {"samples": samples, "seed": seed}
        if self.model.masked:
            for name, value in given.items():
                if value is not None:
                    raise HeedfulError(
                        f"`{name}` is for a model that goes on with a text: got {value} for a masked one."
                    )
            return [self._fill(text) for text in texts]
        given = {"tokens": 200, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "samples": 1, "seed": 1} | {
            name: value for name, value in given.items() if value is not None
        }
        return self._go_on(texts, first, **given)

    def generate(
        self,
        prompt: str = "",
        tokens: int = 200,
        *,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
    ) -> str:
        """A continuation of a prompt; of an empty one, the beginning of a text. The options are those of `predict`."""
        _check_options(tokens, temperature, top_k, top_p, 1)
        ids = self.tokenizer.encode(prompt).tolist() or [self.tokenizer.end]
        return self.tokenizer.decode(
            self.go_on(ids, tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        )

    def go_on(
        self,
        ids: Sequence[int],
        tokens: int,
        *,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
    ) -> list[int]:
        """What `generate` writes behind a prompt, as token numbers."""
        (written,) = generate(
            self.model, [ids], tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            never=range(SPECIAL),
        )  # fmt: skip
        return written

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of a text, and the places of its gaps among them; only a masked model has any."""
        parts = text.split(GAP) if self.model.masked else [text]
        ids: list[int] = []
        for place, part in enumerate(parts):
            ids += [self.tokenizer.mask] * (place > 0) + self.tokenizer.encode(part).tolist()
        return ids, [place for place, token in enumerate(ids) if token == self.tokenizer.mask]

    def unknown(self, text: str) -> str:
        """The characters that the model does not know, each once."""
        known = self.tokenizer.alphabet if isinstance(self.tokenizer, Characters) else text
        return "".join(sorted(set(text) - set(known)))

    def nats(self, ids: Tensor, *, overlap: bool = True) -> Tensor:
        """How surprising each token of a text is to a causal model, `[N]`; with `overlap`, at least half a context is before it."""
        context = self.model.context
        windows = next_tokens(ids, context, context - context // 2 if overlap else context)
        return _nats(self.model, windows)

    def measures(self, text: str) -> dict[str, float]:
        """What `metrics.json` says of a text."""
        ids = encoded(self.tokenizer, text)
        if not self.model.masked:
            nats = self.nats(begun(ids, self.tokenizer)).sum().item()
            return _by_character(nats, len(text)) | {"perplexity": _exp(nats / len(ids))}
        hidden = hidden_places(len(ids))
        windows = gaps_of(torch.from_numpy(ids), hidden, self.model.context, self.tokenizer.mask)
        right, nats = 0, 0.0
        for logits, truth in _answers(self.model, windows):
            right += int((logits.argmax(-1) == truth).sum())
            nats += F.cross_entropy(logits, truth, reduction="sum").item()
        return _by_character(nats, len(text) * len(hidden) / len(ids)) | {"accuracy": right / len(hidden)}

    def _go_on(
        self, texts: Sequence[str], first: int, *, tokens: int, temperature: float, top_k: int, top_p: float,
        samples: int, seed: int,
    ) -> list[Continuation]:  # fmt: skip
        _check_options(tokens, temperature, top_k, top_p, samples)
        prompts = [self.tokenizer.encode(text).tolist() for text in texts]
        each = [(place, sample) for place, prompt in enumerate(prompts) for sample in range(samples) if prompt]
        written = generate(
            self.model, [prompts[place] for place, _ in each], tokens, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, numbers=[(first + place) * samples + sample for place, sample in each], never=range(SPECIAL),
        )  # fmt: skip
        found = {which: self.tokenizer.decode(ids) for which, ids in zip(each, written, strict=True)}
        return [
            Continuation(text, found.get((place, sample), ""), sample, self.unknown(text))
            for place, text in enumerate(texts)
            for sample in range(samples)
        ]

    def _fill(self, text: str) -> Filling:
        filled = fill(self.model, self.encode(text)[0], self.tokenizer.mask, rounds=_ROUNDS, never=range(SPECIAL))
        gaps = [self.tokenizer.decode([filled.ids[place]]) for place in filled.places]
        parts = text.split(GAP)
        whole = "".join(part for both in zip(parts, [*gaps, ""], strict=True) for part in both)
        return Filling(text, whole, gaps, filled.probabilities, self.unknown("".join(parts)))


@torch.inference_mode()
def _answers(model: LanguageModel, windows: Windows) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits where something is asked, and what is right, some windows at a time."""
    for which in InOrder(len(windows), max(TOGETHER // model.context, 1)):
        given, asked = windows[which]
        places = asked != NOT_ASKED
        yield model.logits(model.features(given)[places]).float(), asked[places]


def _nats(model: LanguageModel, windows: Windows) -> Tensor:
    return torch.cat([
        F.cross_entropy(logits, truth, reduction="none") for logits, truth in _answers(model, windows)
    ])  # fmt: skip


def _by_character(nats: float, characters: float) -> dict[str, float]:
    return {"nats_a_character": nats / characters, "bits_a_character": nats / characters / math.log(2)}


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))


def _check_options(tokens: int, temperature: float, top_k: int, top_p: float, samples: int) -> None:
    try:
        check_drawing(temperature, top_k, top_p)
    except ValueError as error:
        raise HeedfulError(str(error)) from None
    for name, count in (("tokens", tokens), ("samples", samples)):
        if count < 1:
            raise HeedfulError(f"`{name}` must be positive: got {count}.")
