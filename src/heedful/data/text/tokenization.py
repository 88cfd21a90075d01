"""How texts become tokens: words with their character n-grams, subwords, or characters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from heedful._errors import DataError
from heedful.data.batch_types import TokenBatch
from heedful.data.text.pieces import Pieces
from heedful.data.text.tokenizers import Tokenizer
from heedful.data.text.words import EncodedWords, WordVocabulary, split_words

__all__ = ["EncodedTokens", "Tokenization"]


@dataclass(frozen=True)
class Tokenization:
    """Splits texts into tokens and numbers them.

    Attributes:
        by: the vocabulary of words, the tokenizer, or that of a pretrained model.
        max_positions: the most tokens of a text, where a model has positions for no more; None: any number.
    """

    by: WordVocabulary | Tokenizer | Pieces
    max_positions: int | None = None

    def encode(self, texts: Sequence[str], locations: Sequence[str] | None = None) -> "EncodedWords | EncodedTokens":
        """Texts, none of them blank, as numbers.

        Args:
            texts: the texts.
            locations: where each stood, for errors.

        Raises:
            DataError: a text has more tokens than the model has positions.
        """
        encoded: EncodedWords | EncodedTokens
        if isinstance(self.by, WordVocabulary):
            encoded = EncodedWords(self.by, [split_words(text) for text in texts])
        else:
            encoded = EncodedTokens(self.by, texts)
        for i, length in enumerate(encoded.lengths):
            if self.max_positions is not None and length > self.max_positions:
                location = f"{locations[i]}: " if locations is not None else ""
                raise DataError(
                    f"{location}a text must have at most {self.max_positions:,} tokens "
                    f"(model.max_positions): got {length:,}, {texts[i][:40]!r} ..."
                )
        return encoded

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text as strings."""
        return list(split_words(text)) if isinstance(self.by, WordVocabulary) else self.by.tokenize(text)


class EncodedTokens:
    """Texts as numbers of subwords or characters, from which batches are taken.

    Args:
        tokenizer: of the texts; a pretrained model's takes the beginning of long ones.
        texts: none of them empty.
    """

    def __init__(self, tokenizer: Tokenizer | Pieces, texts: Sequence[str]) -> None:
        self._tokens = [torch.from_numpy(np.ascontiguousarray(tokens)) for tokens in tokenizer.encode_batch(texts)]
        self.lengths = [len(tokens) for tokens in self._tokens]

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int]) -> TokenBatch:
        """The texts with these numbers, padded to the longest of them."""
        tokens = nn.utils.rnn.pad_sequence([self._tokens[i] for i in indices], batch_first=True)
        return TokenBatch(tokens, torch.tensor([self.lengths[i] for i in indices]))
