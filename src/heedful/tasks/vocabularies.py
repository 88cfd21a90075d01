"""What a training that goes on from a run knows: the words, n-grams and tokens of the run, and those of its own data."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from heedful.data.text.tokenizers import Characters, Subwords, load
from heedful.data.text.words import WordVocabulary
from heedful.tasks.contract import Rows, Task


def extended(learned: Mapping[str, Any], settings: Any, base: Task[Any]) -> dict[str, Any]:
    """A vocabulary that was learned, with the words or the tokenizer that a run knows.

    Args:
        learned: may have "words", "forms" and "char_ngrams", "pairs" of words and the number of "texts", or "tokenizer".
        settings: of the training; where the run's weights are frozen, its words are all that are known.
        base: the task of the run.
    """
    known, frozen = base.vocabulary, settings.transfer.frozen
    if "tokenizer" in learned and "tokenizer" in known and "pretrained" not in {*learned, *known}:
        return {**learned, "tokenizer": _tokenizer(learned["tokenizer"], settings, base)}
    if "words" not in learned or "words" not in known:
        return dict(learned)
    mine, theirs = (
        WordVocabulary(one["words"], one.get("forms", {}), tuple(one["char_ngrams"])) for one in (learned, known)
    )
    both = theirs if frozen else theirs.joined(mine)
    words: dict[str, Any] = {"words": both.words, "forms": both.forms, "char_ngrams": list(both.char_ngrams)}
    if "pairs" in learned:
        counted = [one for one in ((known,) if frozen and "pairs" in known else (known, learned)) if "pairs" in one]
        pairs = sum((Counter(one["pairs"]) for one in counted), Counter())
        words["pairs"] = {pair: count for pair, count in pairs.items() if all(word in both for word in pair.split(" "))}
        words["texts"] = sum(one["texts"] for one in counted)
    return {name: words.get(name, value) for name, value in learned.items()}


def _tokenizer(learned: str, settings: Any, base: Task[Any]) -> str:
    """Characters of both; subwords are the run's, so that each keeps its meaning, unless another number of them is asked for."""
    known: str = base.vocabulary["tokenizer"]
    ours, theirs = settings.data, base.settings.data
    if ours.tokenizer != theirs.tokenizer:
        return learned
    if settings.transfer.frozen:
        return known
    if ours.tokenizer == "characters":
        return Characters(text for one in (known, learned) for text in load(one).tokens if len(text) == 1).save()
    return known if ours.vocabulary_size == theirs.vocabulary_size else learned


def token_rows(by: Characters | Subwords | WordVocabulary) -> dict[str, Rows]:
    """The rows of embeddings by words, by their n-grams, or by tokens."""
    if isinstance(by, WordVocabulary):
        ngrams = {"ngram.weight": Rows("char_ngrams", by.char_ngrams)}
        words, forms = Rows("words", list(by.words)), Rows("forms", list(by.forms))
        return {"word.weight": words, "word.embedding.weight": words, "form.embedding.weight": forms} | ngrams
    return {"token.weight": Rows("tokens", by.tokens), "embedding.weight": Rows("tokens", by.tokens)}


def label_rows(labels: list[str], layer: str = "head") -> dict[str, Rows]:
    """The rows of the layer that gives the logits of labels."""
    return {f"{layer}.{part}": Rows("labels", labels) for part in ("weight", "bias")}
