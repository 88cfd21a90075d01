"""A token for each word, for texts of few words such as commands and digits."""

import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from heedful.data.text.tokenizers import Characters, IntArray, Subwords, load

__all__ = ["Tokens", "WholeWords", "joined_tokens", "load_tokens"]

_SPECIAL = ("[PAD]", "[UNKNOWN]", "[MASK]", "[END]")
_FORMAT = "heedful words 1"
_UNKNOWN = "\ufffd"


class WholeWords:
    """A token for each word between blanks; a word that is not known becomes `unknown`, which `decode` shows as U+FFFD.

    Args:
        words: the known ones, in any order.

    Example:
        >>> words = WholeWords.fit(["one two", "two three"])
        >>> words.size, words.encode("two four"), words.decode([6, 4])
        (7, array([6, 1]), 'two one')
    """

    pad: ClassVar[int] = 0
    unknown: ClassVar[int] = 1
    mask: ClassVar[int] = 2
    end: ClassVar[int] = 3

    def __init__(self, words: Iterable[str]) -> None:
        self.words = sorted(set(words))
        self._numbers = {word: number for number, word in enumerate(self.words, start=len(_SPECIAL))}

    @classmethod
    def fit(cls, texts: Iterable[str]) -> "WholeWords":
        """The tokenizer for the words of texts."""
        return cls(word for text in texts for word in text.split())

    @property
    def size(self) -> int:
        """How many tokens there are, special ones included."""
        return len(_SPECIAL) + len(self.words)

    @property
    def tokens(self) -> list[str]:
        """The name of each token, by its number."""
        return [*_SPECIAL, *self.words]

    def encode(self, text: str) -> IntArray:
        """The token of each word."""
        return np.array([self._numbers.get(word, self.unknown) for word in text.split()], np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """`encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """The words of tokens, between blanks; special ones are left out but for the unknown."""
        names = {self.unknown: _UNKNOWN, **dict(enumerate(self.words, start=len(_SPECIAL)))}
        return " ".join(names[number] for number in np.asarray(ids).tolist() if number in names)

    def save(self) -> str:
        """All there is to know, as JSON; `load_tokens` reads it."""
        return json.dumps({"format": _FORMAT, "words": self.words})


Tokens = WholeWords | Characters | Subwords


def load_tokens(text: str) -> "Tokens":
    """The tokenizer whose `save` gave this JSON.

    Raises:
        ValueError: the text is no tokenizer that was saved here.
    """
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError):
        saved = None
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        return load(text)
    words = saved.get("words")
    if (
        set(saved) != {"format", "words"}
        or not isinstance(words, list)
        or not all(isinstance(word, str) and word.split() == [word] for word in words)
        or words != sorted(set(words))
    ):
        raise ValueError(f"`words` must be words in their order, each once: got {str(words)[:40]}")
    return WholeWords(words)


def joined_tokens(known: str, learned: str, *, frozen: bool = False) -> str:
    """The words or characters of a saved tokenizer together with those of another; subwords stay the known ones.

    Where they are of different kinds, those that were learned.

    Args:
        known: as `save` gave it.
        learned: likewise.
        frozen: whether only the known ones are to be known.
    """
    ours, theirs = load_tokens(known), load_tokens(learned)
    if type(ours) is not type(theirs):
        return learned
    if not frozen and isinstance(ours, WholeWords) and isinstance(theirs, WholeWords):
        return WholeWords([*ours.words, *theirs.words]).save()
    if not frozen and isinstance(ours, Characters) and isinstance(theirs, Characters):
        return Characters([ours.alphabet, theirs.alphabet]).save()
    return known
