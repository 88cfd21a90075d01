"""How good transcripts are: errors of words and of characters, by jiwer; and transcripts without a network."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool1d

from heedful._errors import needing
from heedful.data.recordings import Recordings
from heedful.tasks.contract import Metric, Scores

ERRORS = "errors per 100"  # the unit of error rates: lower is better
_SEGMENTS = 4  # of a recording, whose means are compared
_MAX_TEXTS = 200  # different ones that a regression tells apart
_WORST = 10  # transcripts whose alignment metrics.json has


def errors_of(outputs: Sequence[str], texts: Sequence[str]) -> tuple[int, int, int, int]:
    """Deletions, insertions and substitutions of words, and how many words the texts have.

    Example:
        >>> errors_of(["one three", "two"], ["one two", "two two"])
        (1, 0, 1, 4)
    """
    with needing("sound", "the word error rate"):
        import jiwer

    empty = sum(len(output.split()) for output, text in zip(outputs, texts, strict=True) if not text.split())
    pairs = [(output, text) for output, text in zip(outputs, texts, strict=True) if text.split()]
    if not pairs:
        return 0, empty, 0, 0
    found = jiwer.process_words([text for _, text in pairs], [output for output, _ in pairs])
    return found.deletions, found.insertions + empty, found.substitutions, sum(len(text.split()) for _, text in pairs)


def scores_of(outputs: Sequence[str], texts: Sequence[str], lowercase: bool) -> Scores:
    """The word and the character error rate, and the share of texts without an error; the kinds of errors in the details."""
    with needing("sound", "the word error rate"):
        import jiwer

    outputs, texts = (
        [" ".join((one.lower() if lowercase else one).split()) for one in side] for side in (outputs, texts)
    )
    deletions, insertions, substitutions, words = errors_of(outputs, texts)
    spelled = [[" ".join(one.replace(" ", "_")) for one in side] for side in (outputs, texts)]
    *wrong, characters = errors_of(*spelled)
    wer = (deletions + insertions + substitutions) / max(words, 1)
    metrics = {
        "wer": Metric(100 * wer, f"{ERRORS} words"),
        "cer": Metric(100 * sum(wrong) / max(characters, 1), f"{ERRORS} characters"),
        "exact_match": Metric(sum(a == b for a, b in zip(outputs, texts, strict=True)) / len(texts)),
    }
    bad = [
        (row, sum(errors_of([outputs[row]], [texts[row]])[:3]))
        for row in range(len(texts))
        if outputs[row] != texts[row]
    ]
    worst = [row for row, _ in sorted(bad, key=lambda one: -one[1]) if texts[row]][:_WORST]
    confused: Counter[tuple[str, str]] = Counter()
    for row, _ in bad:
        if texts[row]:
            found = jiwer.process_words([texts[row]], [outputs[row]])
            for part in found.alignments[0]:
                if part.type == "substitute":
                    said = found.references[0][part.ref_start_idx : part.ref_end_idx]
                    heard = found.hypotheses[0][part.hyp_start_idx : part.hyp_end_idx]
                    confused.update(zip(said, heard, strict=True))
    details: dict[str, Any] = {
        "errors": {
            "words": words, "deletions": deletions, "insertions": insertions, "substitutions": substitutions,
        },
        "confusions": [[said, heard, count] for (said, heard), count in confused.most_common(_WORST)],
        "worst": [{"row": row, "alignment": _alignment(outputs[row], texts[row])} for row in worst],
    }  # fmt: skip
    note = f"{words:,} words: {deletions:,} deletions, {insertions:,} insertions, {substitutions:,} substitutions."
    return Scores(metrics, details, note)


def _alignment(output: str, text: str) -> list[str]:
    """What was said, what was heard, and the errors, one below the other."""
    import jiwer

    shown = jiwer.visualize_alignment(jiwer.process_words([text], [output]), show_measures=False)
    return [line.rstrip() for line in shown.splitlines() if line.strip() and not line.startswith(("sentence", "==="))]


def baseline_texts(training: Recordings, examples: Recordings) -> dict[str, list[str]]:
    """The most frequent text; the text of the most similar recording; and where there are few texts, those of a regression.

    Recordings are compared by the means of their features over four segments of equal length.
    """
    assert training.answers is not None
    counts = Counter(training.answers)
    known, others = _segments(training), _segments(examples)
    mean, std = known.mean(0), known.std(0) + 1e-3
    known, others = (known - mean) / std, (others - mean) / std
    found = {
        "most frequent text": [counts.most_common(1)[0][0]] * len(examples),
        "nearest neighbor": [training.answers[row] for row in _nearest(known, others)],
    }
    if 2 <= len(counts) <= min(_MAX_TEXTS, len(training) // 2):
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000).fit(known, training.answers)
        found["logistic regression"] = [str(text) for text in model.predict(others)]
    return found


def _segments(recordings: Recordings) -> NDArray[np.float32]:
    rows = [adaptive_avg_pool1d(recordings.features(row).mT, _SEGMENTS).flatten() for row in range(len(recordings))]
    together: NDArray[np.float32] = torch.stack(rows).numpy()
    return together


def _nearest(known: NDArray[np.float32], others: NDArray[np.float32]) -> list[int]:
    distances = torch.cdist(torch.from_numpy(others), torch.from_numpy(known))
    return distances.argmin(1).tolist()
