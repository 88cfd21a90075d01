"""Decoding of connectionist temporal classification (CTC): the most probable texts of frames, as they come, and where tokens lie.

A path has a token or blank at each frame; its text is what is left when repeated tokens are merged and blanks are left out. The
probability of a text is the sum over its paths.

Source: Graves et al. 2006; prefix beam search: Hannun et al. 2014.
"""

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

LogProbabilities = NDArray[np.floating]
BLANK = 0
_NEVER = -math.inf


class TimedToken(NamedTuple):
    """A token of a text, and the frame at which it is most probable."""

    token: int
    frame: int


class TokenPath(NamedTuple):
    """A text that was found.

    Attributes:
        tokens: with their frames; those that were settled before are left out.
        log_probability: of the text, over all paths that were followed, in nats.
    """

    tokens: list[TimedToken]
    log_probability: float


class _TextPrefix:
    """A text so far, as its last token and the text before it."""

    __slots__ = ("__weakref__", "_longer", "before", "frame", "peak", "token")

    def __init__(self, before: "_TextPrefix | None", token: int, frame: int = -1) -> None:
        self.before, self.token, self.frame, self.peak = before, token, frame, _NEVER
        self._longer: WeakValueDictionary[int, _TextPrefix] | None = None

    def longer(self, token: int, frame: int) -> "_TextPrefix":
        """This text and a token more: the same object as long as anything is built on it."""
        if self._longer is None:
            self._longer = WeakValueDictionary()
        found = self._longer.get(token)
        if found is None:
            found = self._longer[token] = _TextPrefix(self, token, frame)
        return found


class PrefixBeamSearch:
    """The most probable texts of frames that come one after the other.

    With one beam, each token is settled when it is found. With several, a token is settled when all beams have it; or, where `settle`
    is given, so many frames after it: then beams without it are dropped, so that memory is bounded however long the stream is.

    Args:
        beams: how many texts are followed.
        settle: after how many frames a token of the best text is settled; None: when all beams have it.

    Example:
        >>> search = PrefixBeamSearch(beams=4)
        >>> settled = search.push(np.log([[0.4, 0.5, 0.1], [0.7, 0.1, 0.2], [0.2, 0.1, 0.7]]))
        >>> [([one.token for one in path.tokens], round(path.log_probability, 2)) for path in search.best(2)]
        [([1, 2], -0.92), ([2], -1.2)]
    """

    def __init__(self, beams: int = 1, settle: int | None = None) -> None:
        if beams < 1:
            raise ValueError(f"`beams` must be positive: got {beams}.")
        self.beams, self.settle, self.frame = beams, settle, 0
        self._root = _TextPrefix(None, BLANK)
        self._scores: dict[_TextPrefix, tuple[float, float]] = {
            self._root: (0.0, _NEVER)
        }  # ends with blank; with its token

    def push(self, log_probabilities: LogProbabilities) -> list[TimedToken]:
        """Follows the texts over the next frames, `[n, tokens]`, and gives the tokens that are settled now."""
        settled = []
        for row in np.asarray(log_probabilities, np.float64):
            self._step(row)
            self.frame += 1
            settled += self._settle()
        return settled

    def best(self, count: int) -> list[TokenPath]:
        """The most probable texts, the best first; what was settled is left out."""
        ranked = sorted(self._scores, key=lambda prefix: -_sum(*self._scores[prefix]))[:count]
        return [TokenPath(self._tokens(prefix), _sum(*self._scores[prefix])) for prefix in ranked]

    def finish(self) -> list[TimedToken]:
        """The tokens of the best text that were not settled yet."""
        return self.best(1)[0].tokens

    def _step(self, frame: LogProbabilities) -> None:
        scores: dict[_TextPrefix, tuple[float, float]] = {}
        # No text that goes on with a token outside of these can be among the best.
        likely = np.argpartition(-frame, min(self.beams + 1, len(frame) - 1))[: self.beams + 2]
        row: list[float] = frame.tolist()
        tokens = {*likely.tolist(), *(prefix.token for prefix in self._scores)} - {BLANK}
        for prefix, (blank, repeated) in self._scores.items():
            whole = _sum(blank, repeated)
            last = _NEVER if prefix.token == BLANK else row[prefix.token]
            old = scores.get(prefix, (_NEVER, _NEVER))
            scores[prefix] = _sum(old[0], whole + row[BLANK]), _sum(old[1], repeated + last)
            for token in tokens:
                before = blank if token == prefix.token else whole  # a token comes again only behind a blank
                if before + row[token] == _NEVER:
                    continue
                longer = prefix.longer(token, self.frame)
                old = scores.get(longer, (_NEVER, _NEVER))
                scores[longer] = old[0], _sum(old[1], before + row[token])
        best = sorted(scores, key=lambda prefix: -_sum(*scores[prefix]))[: self.beams]
        self._scores = {prefix: scores[prefix] for prefix in best}
        for prefix in best:
            blank, repeated = scores[prefix]
            if repeated > blank and row[prefix.token] > prefix.peak and prefix is not self._root:
                prefix.peak, prefix.frame = row[prefix.token], self.frame

    def _settle(self) -> list[TimedToken]:
        best, *others = self._scores
        chain = self._chain(best)
        common = len(chain)
        for other in others:
            same = {id(prefix) for prefix in self._chain(other)}
            common = min(common, sum(id(prefix) in same for prefix in chain))
        if (settle := self.settle) is not None:
            late = sum(1 for _ in takewhile(lambda prefix: prefix.frame < self.frame - settle, chain))
            if late > common:
                common, needed = late, chain[late - 1]
                self._scores = {one: score for one, score in self._scores.items() if needed in self._chain(one)}
        if not common:
            return []
        root = chain[common - 1]
        tokens = [TimedToken(prefix.token, prefix.frame) for prefix in chain[:common]]
        root.before, self._root = None, root
        return tokens

    def _chain(self, prefix: _TextPrefix) -> list[_TextPrefix]:
        """The prefixes behind the root that lead to this one, itself included."""
        chain = []
        while prefix is not self._root:
            chain.append(prefix)
            assert prefix.before is not None
            prefix = prefix.before
        return chain[::-1]

    def _tokens(self, prefix: _TextPrefix) -> list[TimedToken]:
        return [TimedToken(one.token, one.frame) for one in self._chain(prefix)]


def best_alignment(log_probabilities: LogProbabilities, tokens: Sequence[int]) -> list[int]:
    """The most probable path of a text: for each frame the index of its token in the text, or -1 for blank (Viterbi).

    Args:
        log_probabilities: `[frames, tokens]`.
        tokens: of the text.

    Raises:
        ValueError: the text does not fit into the frames.

    Example:
        >>> best_alignment(np.log([[0.4, 0.5, 0.1], [0.7, 0.1, 0.2], [0.2, 0.1, 0.7]]), [1, 2])
        [0, -1, 1]
    """
    rows = np.asarray(log_probabilities, np.float64)
    states = [BLANK, *(one for token in tokens for one in (token, BLANK))]
    skips = np.array([i > 1 and i % 2 == 1 and states[i] != states[i - 2] for i in range(len(states))])
    score = np.full(len(states), _NEVER)
    score[:2] = 0.0
    steps = np.zeros((len(rows), len(states)), np.int64)
    for frame, row in enumerate(rows):
        moves = np.stack([score, np.full_like(score, _NEVER), np.full_like(score, _NEVER)])
        if frame:
            moves[1, 1:] = score[:-1]
            moves[2, 2:] = np.where(skips[2:], score[:-2], _NEVER)
        steps[frame] = moves.argmax(0)
        score = moves.max(0) + row[states]
    state = len(states) - 1 - int(len(states) > 1 and score[-2] > score[-1])
    if not len(rows) or score[state] == _NEVER:
        raise ValueError(f"`tokens` must fit into the frames: got {len(tokens)} tokens and {len(rows)} frames.")
    path = []
    for frame in range(len(rows) - 1, -1, -1):
        path.append((state - 1) // 2 if state % 2 else -1)
        state -= int(steps[frame, state])
    return path[::-1]


def _sum(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))
