"""What texts are cut into: words with what they are spelt with, or the tokens of a tokeniser."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from heedful._errors import DataError
from heedful.data.text.tokenizers import Tokenizer
from heedful.data.text.words import Corpus, WordVocabulary, split_words
from heedful.models.text_classifier import Pieces


@dataclass(frozen=True)
class Cutting:
    """How texts become tokens: words with what they are spelt with, or the tokens of a tokeniser.

    Attributes:
        by: knows the words, or is the tokeniser.
        room: the most tokens of a text, where a model has positions for no more; None: any number.
    """

    by: WordVocabulary | Tokenizer
    room: int | None = None

    def corpus(self, texts: Sequence[str], places: Sequence[str] | None = None) -> "Corpus | PieceCorpus":
        """Texts, none of them blank, as numbers; `places` say where each stood.

        Raises:
            DataError: a text has more tokens than there is room for.
        """
        corpus: Corpus | PieceCorpus
        if isinstance(self.by, WordVocabulary):
            corpus = Corpus(self.by, [split_words(text) for text in texts])
        else:
            corpus = PieceCorpus(self.by, texts)
        for i, length in enumerate(corpus.lengths):
            if self.room is not None and length > self.room:
                place = f"{places[i]}: " if places is not None else ""
                raise DataError(
                    f"{place}a text must have at most {self.room:,} tokens, the model's positions (model.longest): got {length:,}, "
                    f"{texts[i][:40]!r} ..."
                )
        return corpus

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
