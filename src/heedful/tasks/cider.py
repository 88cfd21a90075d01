"""CIDEr-D: how much of what several people say of a picture a caption says, weighted by how seldom it is said of others.

Source: Vedantam et al. 2015; the constants are those of the authors' program.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

_LONGEST = 4  # words of an n-gram
_SIGMA = 6.0  # words by which lengths differ
_WORD = re.compile(r"\w+(?:['’]\w+)*")

_Counts = list[Counter[tuple[str, ...]]]  # by n


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The mean over captions, 0 to 10; how seldom an n-gram is follows from the references.

    Words are compared in lower case, without punctuation. Of a single picture it is 0: every n-gram is in all references.

    Args:
        captions: one of each picture.
        references: of each picture one or more.

    Raises:
        ValueError: they are not as many as each other.

    Example:
        >>> round(cider_d(["a red cat", "a dog"], [["a red cat"], ["a blue dog", "my dog"]]), 3)
        4.628
    """
    counted = [[_counts(text) for text in texts] for texts in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for texts in counted:
        documents.update({ngram for counts in texts for one in counts for ngram in one})
    total = math.log(max(len(references), 1))

    def vectors(counts: _Counts) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        weighted = [
            {ngram: count * (total - math.log(max(1, documents[ngram]))) for ngram, count in one.items()}
            for one in counts
        ]
        return weighted, [math.sqrt(sum(value**2 for value in one.values())) for one in weighted], counts[1].total()

    scores = []
    for caption, texts in zip(captions, counted, strict=True):
        mine, norms, length = vectors(_counts(caption))
        score = 0.0
        for text in texts:
            theirs, others, other_length = vectors(text)
            near = math.exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
            for n in range(_LONGEST):
                shared = sum(
                    min(value, theirs[n].get(key, 0.0)) * theirs[n].get(key, 0.0) for key, value in mine[n].items()
                )
                score += near * shared / (norms[n] * others[n]) if norms[n] and others[n] else 0.0
        scores.append(10 * score / _LONGEST / len(texts))
    return sum(scores) / len(scores)


def _counts(text: str) -> _Counts:
    words = _WORD.findall(text.lower())
    return [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for n in range(1, _LONGEST + 1)]
