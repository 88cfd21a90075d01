"""seqeval, which scores spans as CoNLL's script does; its default mode is the one that takes every scheme."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.data.text import find_spans, score_spans

labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")

LABELS = st.sampled_from(["O", *(f"{letter}-{label}" for letter in "BIES" for label in ("PER", "LOC", "a-b"))])
PAIRS = st.lists(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200)
@given(st.lists(LABELS, max_size=12))
def test_spans(labels):
    theirs = [(start, end + 1, label) for label, start, end in labeling.get_entities(labels)]
    assert find_spans(labels) == theirs


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_scores(sentences):
    true = [[label for label, _ in sentence] for sentence in sentences]
    predicted = [[label for _, label in sentence] for sentence in sentences]
    mine = score_spans(true, predicted)
    theirs = labeling.precision_recall_fscore_support(true, predicted, average="micro", zero_division=0)
    assert mine.overall[:3] == pytest.approx(theirs[:3], abs=1e-12)
    each = labeling.precision_recall_fscore_support(true, predicted, average=None, zero_division=0)
    assert [score[:4] for score in mine.by_label.values()] == [
        pytest.approx(row, abs=1e-12) for row in zip(*each, strict=True)
    ]
