"""How a text becomes the batches of a language model: random windows to learn from, windows that cover it for evaluation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from heedful.data.batches import ShuffledBatches
from heedful.data.text import Characters, Subwords

SPECIAL = 4  # the tokens before those of the text
IGNORED = -100
_MASKED = 0.15


class TextWindows:
    """Windows of a text, `[B, length]`, by their starts; after its end the text begins again."""

    def __init__(self, text: Tensor, length: int) -> None:
        self.text, self.length = text, length

    def __getitem__(self, starts: list[int]) -> Tensor:
        index = torch.tensor(starts)[:, None] + torch.arange(self.length)
        return self.text[index % len(self.text)].long()


class RandomWindows(Sampler[list[int]]):
    """Where the windows of an epoch begin: they cover the text once, from another offset each time, in a new order."""

    def __init__(self, tokens: int, context: int, size: int, seed: int) -> None:
        self.tokens, self.context, self.order = tokens, context, ShuffledBatches(max(tokens // context, 1), size, seed)

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.order.seed, self.order.epoch])
        shift = int(random.integers(self.tokens))
        for batch in self.order:
            yield [(shift + window * self.context) % self.tokens for window in batch]

    def __len__(self) -> int:
        return len(self.order)


class EvalWindows:
    """Windows of a text `[B, length]`, and the targets at each position of them, each token of the text at most once."""

    def __init__(self, tokens: Tensor, targets: Tensor, spans: Sequence[tuple[int, int, int]], length: int) -> None:
        self.tokens, self.targets, self.spans, self.length = tokens, targets, spans, length

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, which: list[int]) -> tuple[Tensor, Tensor]:
        start, first, end = torch.tensor([self.spans[i] for i in which]).unbind(1)
        positions = start[:, None] + torch.arange(self.length)
        outside = (positions < first[:, None]) | (positions >= end[:, None])
        return self.tokens[positions].long(), self.targets[positions].long().masked_fill(outside, IGNORED)


def next_tokens(text: Tensor, context: int, stride: int) -> EvalWindows:
    """Every token of a text but the first is the target of those before it."""
    length = min(context, len(text) - 1)
    return EvalWindows(text[:-1], text[1:], list(spans(len(text) - 1, length, stride, 0)), length)


def masked_tokens(text: Tensor, positions: Tensor, context: int, mask: int) -> EvalWindows:
    """The masked tokens of a text are targets, each with at least a quarter of a context on both sides."""
    tokens, targets = text.clone(), torch.full_like(text, IGNORED)
    tokens[positions], targets[positions] = mask, text[positions]
    length = min(context, len(text))
    stride = max(length // 2, 1)
    return EvalWindows(tokens, targets, list(spans(len(text), length, stride, (length - stride) // 2)), length)


def spans(count: int, length: int, stride: int, after: int) -> Iterator[tuple[int, int, int]]:
    """(where a window begins, its first target, the end of its targets); each position is a target once."""
    start = first = 0
    while first < count:
        last = start + length >= count
        end = count if last else start + length - after
        yield min(start, count - length), first, end
        start, first = start + stride, end


def masked_positions(count: int) -> Tensor:
    """The positions of a validation text that are masked: the same each time, and at least one."""
    random = torch.rand(count, generator=torch.Generator().manual_seed(0))
    chosen = random < _MASKED
    chosen[random.argmin()] = True
    return chosen.nonzero()[:, 0]


def mask_tokens(tokens: Tensor, mask: int, size: int) -> tuple[Tensor, Tensor]:
    """Tokens of which 15 % are targets, and which: of these 80 % are replaced by the mask, 10 % by a random token.

    Source: Devlin et al. 2019, section 3.1.
    """
    targets = torch.rand(tokens.shape, device=tokens.device) < _MASKED
    targets.view(-1)[0] |= ~targets.any()  # a loss over nothing is none
    kind = torch.rand(tokens.shape, device=tokens.device)
    others = torch.randint(SPECIAL, size, tokens.shape, device=tokens.device)
    replaced = torch.where(targets & (kind < 0.8), mask, tokens)
    return torch.where(targets & (kind >= 0.9), others, replaced), targets


def encode(tokenizer: Characters | Subwords, text: str) -> Any:
    """The tokens of a whole text."""
    return np.concatenate(tokenizer.encode_batch(blocks(text)))


def blocks(text: str, most: int = 500) -> list[str]:
    """The text, some lines at a time: subwords of a whole book at once would take much memory."""
    whole = text.splitlines(keepends=True)
    return ["".join(whole[start : start + most]) for start in range(0, len(whole), most)]


def with_bos(ids: Any, tokenizer: Characters | Subwords) -> Tensor:
    """A text after the token that ends a text, so that its first token, too, has a token before it."""
    return torch.from_numpy(np.concatenate([[tokenizer.end], ids]))
