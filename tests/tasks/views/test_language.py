from itertools import pairwise

import pytest

from heedful._errors import DataError
from heedful.tasks.views.language import language_section
from tests.tasks.test_language_model import TEXT, Untrained


def test_what_each_token_attends_to(tmp_path):
    causal = Untrained(tmp_path)
    section = language_section(causal.task, causal.model, "the cat\n")
    whole = section.output
    assert whole.startswith("the cat\n")
    assert len(whole) == 8 + 8  # half of the context is written
    tokens, rows = section.axes[0].tokens, section.axes[section.layers[0].rows].tokens
    shown = whole.replace("\n", "⏎")
    assert list(tokens) == list(shown[:-1])
    assert rows == [f"{a} → {b}" for a, b in pairwise(shown)]
    assert [layer.kind for layer in section.layers] == ["self", "self", "rollout"]
    weights = section.layers[0].pairs.weights
    assert weights.sum(-1) == pytest.approx(1, abs=1e-3)
    assert not weights[:, 0, 1:].any()
    assert 0 < sum(probability for _, probability in section.predictions) <= 1
    long = language_section(causal.task, causal.model, TEXT[:100])
    assert len(long.axes[0].tokens) == 16
    assert long.output.startswith(TEXT[91:100])


def test_what_the_gaps_attend_to(tmp_path):
    masked = Untrained(tmp_path, "model.objective=masked")
    section = language_section(masked.task, masked.model, "the [MASK]at s[MASK]t")
    (filled,) = masked.predict(["the [MASK]at s[MASK]t"])
    assert section.output == filled.output
    assert section.axes[0].special == [4, 9]
    rows = section.axes[section.layers[0].rows].tokens
    assert [rows[4], rows[9]] == [f"[MASK] → {fill}" for fill in filled.fills]
    long = language_section(masked.task, masked.model, TEXT[:100] + "[MASK]" + TEXT[:50])
    assert "[MASK]" in long.axes[0].tokens
    assert len(long.axes[0].tokens) == 16
    assert language_section(masked.task, masked.model, "no hat").predictions == []


def test_nothing_to_inspect(tmp_path):
    causal = Untrained(tmp_path)
    with pytest.raises(DataError, match="a text to inspect must have at least one token: got an empty one"):
        language_section(causal.task, causal.model, "")
