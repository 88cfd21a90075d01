import pytest

from heedful.report.labels import plain, token_texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("word", "word"), (" word", " word"), ("  ", "\u2423\u2423"), ("", ""), ("a\nb", "a\u21b5b"), ("x" * 17, "x" * 15 + "\u2026"),
        ("x" * 16, "x" * 16), ("\0" * 6, "\\x00\\x00\\x00\\x0" + "\u2026"), ("\u200bz", "\\u200bz"),
    ],
)  # fmt: skip
def test_plain_text(text, shown):
    assert plain(text) == shown[:16]


def test_marks_of_tokenizers_are_no_text():
    assert token_texts(["\u0120the", "\u0120caf\u00c3\u00a9", "s", "\u010a", "\u0120"]) == [
        "the",
        "caf\u00e9",
        "s",
        "\n",
        "\u0120",
    ]
    assert token_texts(["\u2581the", "s"]) == ["the", "s"]
    assert token_texts(["the", "##s", "##"]) == ["the", "s", "##"]
