"""How a text becomes the batches of a language model: cut at other places each epoch to learn from, whole to be measured."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from heedful.data.batches import Shuffled
from heedful.data.text import Characters, Subwords

SPECIAL = 4  # the tokens before those of the text
NOT_ASKED = -100
_HIDDEN = 0.15


class Pieces(Dataset[Tensor]):
    """Pieces of a text that is a circle, `[B, length]`, by where they begin."""

    def __init__(self, text: Tensor, length: int) -> None:
        self.text, self.length = text, length

    def __getitem__(self, starts: list[int]) -> Tensor:
        index = torch.tensor(starts)[:, None] + torch.arange(self.length)
        return self.text[index % len(self.text)].long()


class Cuts(Sampler[list[int]]):
    """Where pieces begin: one pass over a text a epoch, cut at other places each time, the pieces in a new order."""

    def __init__(self, tokens: int, context: int, size: int, seed: int) -> None:
        self.tokens, self.context, self.order = tokens, context, Shuffled(max(tokens // context, 1), size, seed)

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.order.seed, self.order.epoch])
        shift = int(random.integers(self.tokens))
        for batch in self.order:
            yield [(shift + piece * self.context) % self.tokens for piece in batch]

    def __len__(self) -> int:
        return len(self.order)


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Stretches of a text `[B, length]`, and what is asked at each place of them, each token of the text at most once."""

    def __init__(self, given: Tensor, asked: Tensor, spans: Sequence[tuple[int, int, int]], length: int) -> None:
        self.given, self.asked, self.spans, self.length = given, asked, spans, length

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, which: list[int]) -> tuple[Tensor, Tensor]:
        start, first, end = torch.tensor([self.spans[i] for i in which]).unbind(1)
        places = start[:, None] + torch.arange(self.length)
        outside = (places < first[:, None]) | (places >= end[:, None])
        return self.given[places].long(), self.asked[places].long().masked_fill(outside, NOT_ASKED)


def next_tokens(text: Tensor, context: int, stride: int) -> Windows:
    """Every token but the first of a text, asked from what is before it."""
    length = min(context, len(text) - 1)
    return Windows(text[:-1], text[1:], list(spans(len(text) - 1, length, stride, 0)), length)


def gaps_of(text: Tensor, hidden: Tensor, context: int, mask: int) -> Windows:
    """The hidden tokens of a text, each asked where at least a quarter of a context stands on both sides."""
    given, asked = text.clone(), torch.full_like(text, NOT_ASKED)
    given[hidden], asked[hidden] = mask, text[hidden]
    length = min(context, len(text))
    stride = max(length // 2, 1)
    return Windows(given, asked, list(spans(len(text), length, stride, (length - stride) // 2)), length)


def spans(count: int, length: int, stride: int, after: int) -> Iterator[tuple[int, int, int]]:
    """(where a stretch begins, its first place that is asked, the end of these); the places are asked once each."""
    start = first = 0
    while first < count:
        last = start + length >= count
        end = count if last else start + length - after
        yield min(start, count - length), first, end
        start, first = start + stride, end


def hidden_places(count: int) -> Tensor:
    """The places of a held-out text that are hidden: the same each time, and at least one."""
    random = torch.rand(count, generator=torch.Generator().manual_seed(0))
    chosen = random < _HIDDEN
    chosen[random.argmin()] = True
    return chosen.nonzero()[:, 0]


def hide(tokens: Tensor, mask: int, size: int) -> tuple[Tensor, Tensor]:
    """Tokens of which some are hidden, and which: eight of ten behind the mask, one behind another token, one as it was.

    Source: Devlin et al. 2019, section 3.1.
    """
    asked = torch.rand(tokens.shape, device=tokens.device) < _HIDDEN
    asked.view(-1)[0] |= ~asked.any()  # a loss over nothing is none
    kind = torch.rand(tokens.shape, device=tokens.device)
    others = torch.randint(SPECIAL, size, tokens.shape, device=tokens.device)
    given = torch.where(asked & (kind < 0.8), mask, tokens)
    return torch.where(asked & (kind >= 0.9), others, given), asked


def encoded(tokenizer: Characters | Subwords, text: str) -> Any:
    """The tokens of a whole text."""
    return np.concatenate(tokenizer.encode_batch(blocks(text)))


def blocks(text: str, most: int = 500) -> list[str]:
    """The text, some lines at a time: subwords of a whole book at once would take much memory."""
    whole = text.splitlines(keepends=True)
    return ["".join(whole[start : start + most]) for start in range(0, len(whole), most)]


def begun(ids: Any, tokenizer: Characters | Subwords) -> Tensor:
    """A text behind the token that ends the one before it, so that its first token, too, follows on something."""
    return torch.from_numpy(np.concatenate([[tokenizer.end], ids]))
