import pytest

from heedful.report.labels import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("word", "word"), (" word", " word"), ("  ", "\u2423\u2423"), ("", ""), ("a\nb", "a\\nb"), ("x" * 17, "x" * 15 + "\u2026"),
        ("x" * 16, "x" * 16), ("\0" * 6, "\\x00\\x00\\x00\\x0" + "\u2026"), ("\u200bz", "\\u200bz"),
    ],
)  # fmt: skip
def test_plain_text(text, shown):
    assert plain(text) == shown[:16]
