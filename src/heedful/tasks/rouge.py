"""ROUGE: which share of its words, pairs of words and longest common subsequence a summary has in common with a reference."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from heedful.data.text.documents import SummaryExamples
from heedful.data.text.words import folded_words
from heedful.tasks.contract import Metric, Scores

_KEYS = ("rouge1", "rouge2", "rougeL")  # torchmetrics' names

_Counts = Counter[tuple[str, ...]]


class Rouge(NamedTuple):
    """F-measures from 0 to 1, those of the references that are best by each.

    Attributes:
        rouge1: of words.
        rouge2: of pairs of neighboring words.
        rouge_l: of the longest common subsequence of words.
    """

    rouge1: float
    rouge2: float
    rouge_l: float


def rouge_name() -> str:
    """What exactly is measured, for a report."""
    from torchmetrics import __version__

    words = "lower case, no stemming, single characters of scripts without blanks"
    return f"ROUGE of torchmetrics {__version__}: F-measure, {words}, the best of the references"


def rouge(summaries: Sequence[str], references: Sequence[Sequence[str]]) -> list[Rouge]:
    """ROUGE of each summary, by torchmetrics.

    Words are runs of letters and digits of any alphabet, in lower case and composed (NFC); for English that is what the original
    program takes. In scripts without blanks between words, such as Chinese, Japanese and Thai, each character counts as a word.

    Args:
        summaries: the texts to measure.
        references: one or more for each of them.

    Example:
        >>> [found] = rouge(["The cat sat."], [["A dog ran.", "the cat"]])
        >>> found.rouge1, found.rouge2
        (0.8, 0.6666...)

    Source: Lin 2004.
    """
    from torchmetrics.functional.text import rouge_score

    if len(summaries) != len(references):
        raise ValueError(
            f"`references` must be as many as the summaries: got {len(references)} for {len(summaries)} summaries."
        )
    found = []
    for number, others in enumerate(references, start=1):
        if not others:
            raise ValueError(f"`references` must have one or more for each summary: got none for summary {number}.")
    for summary, others in zip(summaries, references, strict=True):
        scores = rouge_score(
            summary, list(others), accumulate="best", normalizer=str, tokenizer=_words, rouge_keys=_KEYS
        )  # fmt: skip
        # Of single precision, whose further digits mean nothing.
        found.append(Rouge(*(round(scores[f"{key}_fmeasure"].item(), 7) for key in _KEYS)))
    return found


def mean_rouge(scores: Sequence[Rouge]) -> Rouge:
    """The mean over summaries.

    Example:
        >>> mean_rouge([Rouge(0.5, 0.0, 0.5), Rouge(1.0, 1.0, 1.0)])
        Rouge(rouge1=0.75, rouge2=0.5, rouge_l=0.75)
    """
    if not scores:
        raise ValueError("`scores` must be those of at least one summary: got none.")
    return Rouge(*(sum(values) / len(scores) for values in zip(*scores, strict=True)))


def summary_scores(summaries: Sequence[str], examples: SummaryExamples) -> Scores:
    """The metrics of summaries, one of each example."""
    mean = mean_rouge(rouge(summaries, examples.references or ()))
    metrics = {"rouge_1": Metric(mean.rouge1), "rouge_2": Metric(mean.rouge2), "rouge_l": Metric(mean.rouge_l)}
    words = [len(_words(summary)) for summary in summaries]
    return Scores(metrics, {"signatures": {"rouge": rouge_name()}, "words_per_summary": sum(words) / len(words)})


def summary_baselines(examples: SummaryExamples) -> dict[str, list[str]]:
    """The first sentence of each document; and the best one, which only who has the references can choose."""
    pairs = zip(examples.sources, examples.references or (), strict=True)
    best = [" ".join(sentences[i] for i in oracle(sentences, references, 1)) for sentences, references in pairs]
    return {"lead-1": [sentences[0] for sentences in examples.sources], "oracle-1": best}


def sentence_gains(sentences: Sequence[str], references: Sequence[str]) -> list[float]:
    """What each sentence alone would be worth as the summary: the mean of ROUGE-1 and ROUGE-2, from 0 to 1.

    Example:
        >>> sentence_gains(["The cat sat.", "Why?"], ["the cat"])
        [0.7333..., 0.0]
    """
    wanted = _wanted(references)
    return [_gain(_counts(sentence), wanted) for sentence in sentences]


def oracle(sentences: Sequence[str], references: Sequence[str], most: int) -> list[int]:
    """The numbers of the sentences, in their order, that a summary from them should have: an upper bound, and labels to learn.

    Begins with none and adds what makes the mean of ROUGE-1 and ROUGE-2 largest, as long as it grows.

    Args:
        sentences: those of a document.
        references: its summaries, of which the best counts.
        most: how many sentences may be chosen.

    Example:
        >>> oracle(["It rained.", "The cat sat.", "Why?", "A dog ran."], ["The cat sat, a dog ran."], most=3)
        [1, 3]

    Source: Nallapati et al. 2017, section 2.2.
    """
    wanted = _wanted(references)
    found = [_counts(sentence) for sentence in sentences]
    chosen: list[int] = []
    so_far, best = (Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()), 0.0
    while len(chosen) < most:
        gains = {
            number: _gain((so_far[0] + words, so_far[1] + pairs), wanted)
            for number, (words, pairs) in enumerate(found)
            if number not in chosen
        }
        number = max(gains, key=gains.__getitem__, default=-1)
        if number < 0 or gains[number] <= best:
            break
        best = gains[number]
        chosen.append(number)
        so_far = (so_far[0] + found[number][0], so_far[1] + found[number][1])
    return sorted(chosen)


def _words(text: str) -> list[str]:
    return [word for word in folded_words(text) if word[0].isalnum()]


def _counts(text: str) -> tuple[_Counts, _Counts]:
    """How often each word and each pair of neighbors occurs."""
    words = _words(text)
    return Counter((word,) for word in words), Counter(pairwise(words))


def _wanted(references: Sequence[str]) -> list[tuple[_Counts, _Counts]]:
    if not references:
        raise ValueError("`references` must be at least one: got none.")
    return [_counts(reference) for reference in references]


def _gain(found: tuple[_Counts, _Counts], wanted: Sequence[tuple[_Counts, _Counts]]) -> float:
    return sum(max(_f(found[n], reference[n]) for reference in wanted) for n in (0, 1)) / 2


def _f(found: _Counts, wanted: _Counts) -> float:
    """Twice what is common over what is there: the harmonic mean of precision and recall."""
    total = found.total() + wanted.total()
    if len(found) > len(wanted):
        found, wanted = wanted, found
    common = sum(min(count, wanted[part]) for part, count in found.items())
    return 2 * common / total if common else 0.0
