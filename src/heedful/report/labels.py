"""Names as a figure shows them: on one line, and not too long."""

_MOST_LETTERS = 16  # of a token
MOST_NAME = 40  # letters of any other name


def plain(text: str, most: int = _MOST_LETTERS) -> str:
    r"""Returns text on one line, with nothing unseen in it, and of so many characters at most.

    Example:
        >>> plain("two\nlines"), plain("Donaudampfschifffahrt", 8) == "Donauda" + chr(0x2026)
        ('two\\nlines', True)
    """
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    visible = chr(0x2423) * len(visible) if visible.strip(" ") == "" else visible  # blanks as open boxes
    return visible if len(text) <= most and len(visible) <= most else visible[: most - 1] + chr(0x2026)
