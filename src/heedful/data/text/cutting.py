"""What texts are cut into: words with what they are spelt with, or the tokens of a tokeniser."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from heedful.data.text.tokenizers import Tokenizer
from heedful.data.text.words import Corpus, WordVocabulary, split_words
from heedful.models.text_classifier import Pieces


@dataclass(frozen=True)
class Cutting:
    """How texts become tokens: words with what they are spelt with, or the tokens of a tokeniser."""

    by: WordVocabulary | Tokenizer

    def corpus(self, texts: Sequence[str]) -> "Corpus | PieceCorpus":
        """Texts, none of them blank, as numbers."""
        if isinstance(self.by, WordVocabulary):
            return Corpus(self.by, [split_words(text) for text in texts])
        return PieceCorpus(self.by, texts)

    def shown(self, text: str) -> list[str]:
        """The tokens of a text, as they are shown."""
        return list(split_words(text)) if isinstance(self.by, WordVocabulary) else self.by.pieces(text)


class PieceCorpus:
    """Texts as numbers of subwords or characters, from which batches are taken."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        self._tokens = [torch.from_numpy(np.ascontiguousarray(tokens)) for tokens in tokenizer.encode_batch(texts)]
        self.lengths = [len(tokens) for tokens in self._tokens]

    def batch(self, indices: Sequence[int]) -> Pieces:
        """Some texts, padded to the longest of them."""
        tokens = nn.utils.rnn.pad_sequence([self._tokens[i] for i in indices], batch_first=True)
        return Pieces(tokens, torch.tensor([self.lengths[i] for i in indices]))
