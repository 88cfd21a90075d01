"""Examples as bytes, from which a checksum of them is taken."""

from collections.abc import Iterable

__all__ = ["framed"]


def framed(*values: str | int | Iterable[str | int] | None) -> bytes:
    """Values as bytes that no other values give: each stands behind its kind and its length.

    Texts may hold half characters; lists of texts and numbers are told from their items, and None from an empty text.

    Examples:
        >>> framed("ab", None, ["a", "b"])
        b'2:ab-[2:1:a1:b'
        >>> framed("a", "b") == framed("ab", "")
        False
    """
    parts = []
    for value in values:
        if value is None:
            parts.append(b"-")
        elif isinstance(value, str):
            raw = value.encode("utf-8", "backslashreplace")
            parts.append(b"%d:%b" % (len(raw), raw))
        elif isinstance(value, int):
            parts.append(b"#%d;" % value)
        else:
            items = list(value)
            parts.append(b"[%d:%b" % (len(items), framed(*items)))
    return b"".join(parts)
