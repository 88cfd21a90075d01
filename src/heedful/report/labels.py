"""Names as a figure shows them: tokens as text, on one line, and not too long."""

from collections.abc import Sequence

_MOST_LETTERS = 16  # of a token
MOST_NAME = 40  # letters of any other name


def plain(text: str, most: int = _MOST_LETTERS) -> str:
    r"""Returns text on one line, with nothing unseen in it, and of so many characters at most.

    Example:
        >>> plain("two\nlines"), plain("Donaudampfschifffahrt", 8) == "Donauda" + chr(0x2026)
        ('two\u21b5lines', True)
    """
    visible = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most].replace("\n", chr(0x21B5))
    )
    visible = chr(0x2423) * len(visible) if visible.strip(" ") == "" else visible  # blanks as open boxes
    return visible if len(text) <= most and len(visible) <= most else visible[: most - 1] + chr(0x2026)


def token_texts(tokens: Sequence[str]) -> list[str]:
    """Tokens as text, without the marks of their tokenizer: bytes as letters (GPT-2), "\u2581" (SentencePiece), "##" (WordPiece).

    Example:
        >>> token_texts(["\u0120the", "\u0120caf\u00c3\u00a9"]), token_texts(["un", "##seen"])
        (['the', 'caf\u00e9'], ['un', 'seen'])
    """
    if any("\u0120" in token or "\u010a" in token for token in tokens):
        return [_of_bytes(token).removeprefix(" ") or token for token in tokens]
    if any("\u2581" in token for token in tokens):
        return [token.replace("\u2581", " ").removeprefix(" ") or token for token in tokens]
    return [token.removeprefix("##") or token for token in tokens]


def _of_bytes(token: str) -> str:
    """A token whose letters are bytes; unchanged where they are no text."""
    try:
        return bytes(_BYTES[letter] for letter in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return token


_SEEN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_UNSEEN = [byte for byte in range(256) if byte not in _SEEN]
_BYTES = {chr(byte): byte for byte in _SEEN} | {chr(256 + at): byte for at, byte in enumerate(_UNSEEN)}
