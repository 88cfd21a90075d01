"""Tokenizers that are made from the text to be learned: characters, and subwords by byte-pair encoding.

Both number their tokens from 0, the special ones first: 0 padding, 1 unknown, 2 mask, 3 end.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from heedful._errors import caught_panics, needing

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Characters", "IntArray", "Subwords", "Tokenizer", "load"]

IntArray = NDArray[np.int64]

_SPECIAL = ("[PAD]", "[UNKNOWN]", "[MASK]", "[END]")
_FORMAT = "heedful characters 1"


class Characters:
    """A token for each character.

    A character that is not in the alphabet becomes `unknown`, which `decode` shows as U+FFFD; the other special tokens
    it leaves out.

    Args:
        alphabet: the known characters, in any order; their tokens are in the order of their code points.

    Examples:
        >>> characters = Characters.fit("to be or not to be")
        >>> characters.size, characters.encode("robot?"), characters.decode(characters.encode("robot?"))
        (11, array([ 9,  8,  5,  8, 10,  1]), 'robot�')
    """

    pad: ClassVar[int] = 0
    unknown: ClassVar[int] = 1
    mask: ClassVar[int] = 2
    end: ClassVar[int] = 3

    def __init__(self, alphabet: Iterable[str]) -> None:
        self.alphabet = "".join(sorted(set("".join(alphabet))))
        codes = _codes(self.alphabet)
        # A row for every code point up to the last known one, and one more for all that are beyond it.
        self._ids: IntArray = np.full(int(codes[-1]) + 2 if len(codes) else 1, self.unknown)
        self._ids[codes] = np.arange(len(codes)) + len(_SPECIAL)
        self._letters = np.array([0, 0xFFFD, 0, 0, *codes], np.uint32)

    @classmethod
    def fit(cls, texts: str | Iterable[str]) -> "Characters":
        """The tokenizer for the characters of a text or of several."""
        return cls(texts)

    @property
    def size(self) -> int:
        """How many tokens there are, special ones included."""
        return len(_SPECIAL) + len(self.alphabet)

    @property
    def tokens(self) -> list[str]:
        """The name of each token, by its number."""
        return [*_SPECIAL, *self.alphabet]

    def encode(self, text: str) -> IntArray:
        """The token of each character."""
        encoded: IntArray = self._ids[np.minimum(_codes(text), len(self._ids) - 1)]
        return encoded

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """`encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """The text of tokens.

        Raises:
            ValueError: there is no such token.
        """
        checked = _checked(ids, self.size)
        letters = self._letters[checked[(checked >= len(_SPECIAL)) | (checked == self.unknown)]]
        content: bytes = letters.astype("<u4").tobytes()
        return content.decode("utf-32-le", "surrogatepass")

    def tokenize(self, text: str) -> list[str]:
        """What each token of a text shows as: the characters."""
        return list(text)

    def save(self) -> str:
        """All there is to know, as JSON; `load` reads it."""
        return json.dumps({"format": _FORMAT, "alphabet": self.alphabet})


class Subwords:
    """Tokens of one or more bytes, by byte-pair encoding: the more frequent a piece of text, the sooner it is a token.

    Every text can be encoded, and `decode` gives exactly it back; what reads as a special token in a text is text.

    Args:
        tokenizer: one of the library `tokenizers` that `fit` made.

    Raises:
        ValueError: it is of another kind.

    Source: Sennrich, Haddow and Birch 2016, Neural Machine Translation of Rare Words with Subword Units; on bytes:
    Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.2.

    Examples:
        >>> subwords = Subwords.fit(["the cat, the hat, the bat"] * 9, 264)
        >>> subwords.tokenize("that hat"), subwords.decode(subwords.encode("naïve 🙂"))
        (['t', 'h', 'at', ' ', 'h', 'at'], 'naïve 🙂')
    """

    pad: ClassVar[int] = 0
    unknown: ClassVar[int] = 1
    mask: ClassVar[int] = 2
    end: ClassVar[int] = 3

    def __init__(self, tokenizer: "tokenizers.Tokenizer") -> None:
        got = [tokenizer.id_to_token(number) for number in range(len(_SPECIAL))]
        kinds = type(tokenizer.model).__name__, type(tokenizer.pre_tokenizer).__name__
        if kinds != ("BPE", "ByteLevel") or got != list(_SPECIAL):
            raise ValueError(
                f"`tokenizer` must be a byte-level BPE whose first tokens are {', '.join(_SPECIAL)}: "
                f"got {kinds[0]} on {kinds[1]} with {', '.join(map(str, got))}"
            )
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # a text that holds "[MASK]" means these six characters
        self._bytes = {letter: byte for byte, letter in enumerate(_letters_of_bytes())}

    @classmethod
    def fit(cls, texts: Iterable[str], size: int) -> "Subwords":
        """Learns `size` tokens from texts, or fewer where these have no more pieces that occur twice.

        Raises:
            ValueError: `size` leaves no room for the 256 bytes and the 4 special tokens.
        """
        if size < 256 + len(_SPECIAL):
            raise ValueError(f"`size` must be at least {256 + len(_SPECIAL)}: got {size}")
        if isinstance(texts, str):
            raise ValueError("`texts` must be several texts: got one")
        with needing("text", "subwords"):
            from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=list(_SPECIAL),
            initial_alphabet=sorted(_letters_of_bytes()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> "Subwords":
        """Reads what `to_json` wrote, and nothing else: texts would be cut, changed or padded by what a stranger may add.

        Raises:
            ValueError: the text is no such file.
        """
        with needing("text", "subwords"):
            from tokenizers import Tokenizer

        _check_subwords(text, cls.fit([""], 256 + len(_SPECIAL)).to_json())
        try:
            with caught_panics():
                tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"`text` must be a tokenizer.json: got the error '{error}'") from error
        return cls(tokenizer)

    def to_json(self) -> str:
        """The tokenizer as the library's own tokenizer.json, which other programs read too."""
        return self._tokenizer.to_str()

    @property
    def size(self) -> int:
        """How many tokens there are, special ones included."""
        return self._tokenizer.get_vocab_size()

    @property
    def tokens(self) -> list[str]:
        """The name of each token, by its number: as tokenizer.json writes it."""
        numbers = self._tokenizer.get_vocab()
        return sorted(numbers, key=numbers.__getitem__)

    def encode(self, text: str) -> IntArray:
        """The tokens of a text."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """`encode` of each text, several at a time."""
        return [np.array(encoded.ids, np.int64) for encoded in self._tokenizer.encode_batch_fast(texts)]

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """The text of tokens, without special ones; U+FFFD for bytes that are no UTF-8.

        Raises:
            ValueError: there is no such token.
        """
        checked = _checked(ids, self.size)
        return b"".join(self._raw(number) for number in checked[checked >= len(_SPECIAL)].tolist()).decode(
            errors="replace"
        )

    def tokenize(self, text: str) -> list[str]:
        r"""What each token of a text shows as: its text, with bytes that are no character by themselves as \xf0."""
        return [self._raw(number).decode(errors="backslashreplace") for number in self._tokenizer.encode(text).ids]

    def save(self) -> str:
        """All there is to know, as JSON; `load` reads it."""
        return self.to_json()

    def _raw(self, number: int) -> bytes:
        return bytes([self._bytes[letter] for letter in self._tokenizer.id_to_token(number) or ""])


Tokenizer = Characters | Subwords


def load(text: str) -> Characters | Subwords:
    """The tokenizer whose `save` gave this JSON.

    Raises:
        ValueError: the text is no tokenizer that was saved here.
    """
    saved = _json_of(text)
    if isinstance(saved, dict) and set(saved) == {"format", "alphabet"} and saved["format"] == _FORMAT:
        alphabet = saved["alphabet"]
        if not isinstance(alphabet, str) or "".join(sorted(set(alphabet))) != alphabet:
            raise ValueError(f"`alphabet` must be characters in their order: got {str(alphabet)[:40]!r}")
        return Characters(alphabet)
    if isinstance(saved, dict) and "model" in saved:
        return Subwords.from_json(text)
    got = (
        f"an object with {', '.join(map(repr, list(saved)[:5])) or 'nothing'}" if isinstance(saved, dict) else text[:40]
    )
    raise ValueError(f"`text` must be a saved tokenizer, a tokenizer.json or a '{_FORMAT}': got {got}")


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`text` must be a saved tokenizer: got no JSON, '{error}'") from error


def _check_subwords(text: str, fitted: str) -> None:
    """Raises ValueError where a tokenizer.json differs from one of `fit` in more than its tokens and how they are merged."""
    saved, ours = _json_of(text), json.loads(fitted)
    for name, parts, expected in (("", saved, ours), ("model.", saved.get("model"), ours["model"])):
        if not isinstance(parts, dict):
            raise ValueError(f"`model` must be an object: got {str(parts)[:40]!r}")
        for key, value in (dict.fromkeys(expected) | parts).items():  # another version may write settings that are off
            wanted = expected.get(key)
            if key not in ("model", "vocab", "merges") and value != wanted and (value or wanted):
                raise ValueError(
                    f"`{name}{key[:40]}` of a tokenizer.json must be as training makes it, {wanted}: got {str(value)[:80]}"
                )
    vocab, merges = saved["model"].get("vocab"), saved["model"].get("merges")
    letters = set(_letters_of_bytes())
    if (
        not isinstance(vocab, dict)
        or not {*_SPECIAL, *letters} <= set(vocab)
        or any(type(number) is not int for number in vocab.values())
        or sorted(vocab.values()) != list(range(len(vocab)))
        or not all(set(token) <= letters for token in set(vocab) - set(_SPECIAL))
    ):
        raise ValueError(
            "`model.vocab` of a tokenizer.json must number its tokens from 0, each once, those of all bytes among them"
        )
    made = set()
    for pair in merges if isinstance(merges, list) else [None]:
        halves = pair.split(" ") if isinstance(pair, str) else pair
        if (
            not isinstance(halves, list)
            or len(halves) != 2
            or not all(isinstance(half, str) and half in vocab for half in halves)
        ):
            raise ValueError(f"`model.merges` of a tokenizer.json must be pairs of its tokens: got {str(pair)[:80]}")
        made.add("".join(halves))
    if made - set(_SPECIAL) != set(vocab) - letters - set(_SPECIAL):
        raise ValueError(
            "`model.merges` of a tokenizer.json must make each of its tokens of more than a byte, and no others"
        )


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _checked(ids: Sequence[int] | IntArray, size: int) -> IntArray:
    checked = np.asarray(ids, np.int64).reshape(-1)
    if checked.size and not 0 <= checked.min() <= checked.max() < size:
        raise ValueError(f"`ids` must be tokens, 0 to {size - 1}: got {checked.min()} to {checked.max()}")
    return checked


def _letters_of_bytes() -> list[str]:
    """The letter by which byte-level BPE writes each byte: itself where it can be seen, otherwise one from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte if byte in seen else 0x100 + hidden.index(byte)) for byte in range(256)]
