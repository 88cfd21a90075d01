"""CTC beside its definition: all paths are listed."""

import itertools
import math
import sys

import numpy as np
import pytest

from heedful.models.ctc import PrefixBeamSearch, best_alignment


def random_rows(frames, tokens, seed):
    rows = np.random.default_rng(seed).dirichlet(np.full(tokens, 0.7), frames)
    return np.log(rows)


def text_of(path):
    """Repeated tokens are merged, blanks left out."""
    return tuple(token for token, _ in itertools.groupby(path) if token)


def enumerated(rows):
    """The probability of each text, and its most probable path, from all paths."""
    texts, best = {}, {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        score = sum(row[token] for row, token in zip(rows, path, strict=True))
        text = text_of(path)
        texts[text] = texts.get(text, 0.0) + math.exp(score)
        if score > best.get(text, (-math.inf,))[0]:
            best[text] = score, path
    return texts, best


@pytest.mark.parametrize("seed", range(4))
def test_with_enough_beams_it_finds_the_most_probable_texts_with_their_probabilities(seed):
    rows = random_rows(6, 4, seed)
    texts, _ = enumerated(rows)
    wanted = sorted(texts.items(), key=lambda one: -one[1])[:5]
    search = PrefixBeamSearch(beams=300)
    search.push(rows)
    found = [(tuple(one.token for one in path.tokens), math.exp(path.log_probability)) for path in search.best(5)]
    assert [text for text, _ in found] == [text for text, _ in wanted]
    assert [p for _, p in found] == pytest.approx([p for _, p in wanted], rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_alignment_is_the_most_probable_path(seed):
    rows = random_rows(6, 3, seed)
    _, best = enumerated(rows)
    for text, (score, _) in best.items():
        found = best_alignment(rows, text)
        path = [0 if index < 0 else text[index] for index in found]
        assert text_of(path) == text
        assert sum(row[token] for row, token in zip(rows, path, strict=True)) == pytest.approx(score, rel=1e-12)
    with pytest.raises(ValueError, match="`tokens` must fit into the frames: got 4 tokens and 6 frames."):
        best_alignment(rows, [1, 1, 1, 1])


@pytest.mark.parametrize(("beams", "settle"), [(1, None), (4, None), (4, 3)])
def test_pieces_of_any_size_give_what_all_frames_give(beams, settle):
    rows = random_rows(80, 5, 1)
    whole = PrefixBeamSearch(beams, settle)
    everything = whole.push(rows) + whole.finish()
    search, parts = PrefixBeamSearch(beams, settle), []
    for start in range(0, 80, 7):
        parts += search.push(rows[start : start + 7])
    assert parts + search.finish() == everything
    assert len(everything) > 10
    assert all(0 <= one.frame < 80 for one in everything)


def test_one_beam_settles_at_once_and_several_after_a_time():
    rows = np.full((12, 3), 0.05)
    rows[:, 0] = 0.9
    rows[2] = 0.05, 0.9, 0.05
    assert [one.token for one in PrefixBeamSearch(1).push(np.log(rows)[:3])] == [1]
    slow = PrefixBeamSearch(4, settle=5)
    assert slow.push(np.log(rows)[:7]) == []
    assert slow.push(np.log(rows)[7:8]) == [(1, 2)]
    assert slow.finish() == []


def test_memory_is_bounded_and_what_was_settled_is_forgotten():
    rows = random_rows(600, 6, 2)
    search = PrefixBeamSearch(8, settle=10)
    longest = 0
    for _ in range(5):
        for row in rows:
            search.push(row[None])
        longest = max(longest, *(len(path.tokens) for path in search.best(8)))
    assert longest <= 24
    chain, prefix = 0, next(iter(search._scores))
    while prefix is not None:
        chain, prefix = chain + 1, prefix.before
    assert chain <= 25
    assert sys.getsizeof(search._scores) < 1000


def test_numbers_of_beams():
    with pytest.raises(ValueError, match="`beams` must be positive: got 0."):
        PrefixBeamSearch(0)
