"""A trained model that writes one text for another, with all that it needs to take texts as they are."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful._errors import HeedfulError
from heedful._types import Float
from heedful.data.batches import ByLength
from heedful.data.text import Characters, Subwords
from heedful.inspection import watch
from heedful.models.sampling import check_drawing
from heedful.models.search import Hypothesis, beam_search, sample
from heedful.models.sequence_to_sequence import SequenceToSequence
from heedful.models.text_classifier import Pieces

_ROOM = 8192  # source tokens, once for each beam, that are computed together
_CUT_OFF, _END = " [cut off]", "[END]"
_OF_SEARCH, _OF_DRAWING = ("beams", "n_best", "length_penalty"), ("temperature", "top_k", "top_p", "seed")


@dataclass(frozen=True)
class Written:
    """What a model wrote for one text; for an empty one nothing.

    Attributes:
        text: the input.
        output: what was written.
        rank: 0 is the best of several, or the first that was drawn.
        score: by which they are ranked: the log probability for its length, nat.
        complete: whether it ended by itself; otherwise the limit of tokens cut it off.
        alignment: pairs (word of the input, word of the output), counted from 0, where they were asked for.
        unknown: characters of the input that the model does not know.
        scored: whether the score is shown.
    """

    text: str
    output: str
    rank: int
    score: float
    complete: bool
    alignment: list[tuple[int, int]] | None = None
    unknown: str = ""
    scored: bool = False

    def as_data(self) -> str:
        """A line of the file of targets."""
        return one_line(self.output)

    def __str__(self) -> str:
        """One line: the text, and behind tabs the score and the alignment, where they were asked for."""
        parts = [self.as_data() + ("" if self.complete else _CUT_OFF)]
        if self.scored:
            parts.append(f"{self.score:.4f}")
        if self.alignment is not None:
            parts.append(" ".join(f"{i}-{j}" for i, j in self.alignment))
        return "\t".join(parts)


@dataclass(frozen=True)
class Manner:
    """How is written.

    Attributes:
        beams: of the beam search; 1: greedy.
        n_best: how many targets of each text.
        length_penalty: 0 prefers short ones.
        no_repeat: no sequence of so many tokens stands twice; 0: all may.
        tokens: the most of them; None: twice as many as the longest of source and training targets has.
        samples: draw so many targets in the place of searching; 0: search.
        temperature: of what is drawn.
        top_k: draw among so many; 0: all.
        top_p: draw among the most probable that have so much probability together.
        seed: of what is drawn.
    """

    beams: int = 5
    n_best: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    tokens: int | None = None
    samples: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raises where no text can be written so."""
        for name in ("beams", "n_best", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HeedfulError(f"`{name}` must be positive: got {value}.")
        for name in ("no_repeat", "samples"):
            if getattr(self, name) < 0:
                raise HeedfulError(f"`{name}` must be at least 0: got {getattr(self, name)}.")
        if not 0 <= self.length_penalty < math.inf:
            raise HeedfulError(f"`length_penalty` must be a number from 0: got {self.length_penalty}.")
        try:
            check_drawing(self.temperature, self.top_k, self.top_p)
        except ValueError as error:
            raise HeedfulError(str(error)) from None


class WriterOfTexts:
    """A trained model with all that it needs to take texts as they are.

    Args:
        model: the network.
        tokenizer: how texts become tokens, those of both sides.
        lowercase: whether texts are read in lower case.
        longest: tokens of the longest training target.
        room: the most tokens of a source that the model has positions for; None: any number.
        manner: how is written, unless somebody says otherwise.
    """

    def __init__(
        self,
        model: SequenceToSequence,
        tokenizer: Characters | Subwords,
        *,
        lowercase: bool,
        longest: int,
        room: int | None,
        manner: Manner,
    ) -> None:
        self.model, self.tokenizer, self.lowercase = model.eval(), tokenizer, lowercase
        self.longest, self.room, self.manner = longest, room, manner

    def encode(self, text: str) -> list[int]:
        """The tokens of a source; its end is one of them."""
        ids = self.tokenizer.encode(self.plain(text)).tolist()
        if self.room is not None and len(ids) >= self.room:
            raise HeedfulError(
                f"a text must have at most {self.room - 1:,} tokens, the model's positions: got {len(ids):,}, {shortened(text)!r}."
            )
        return [*ids, self.tokenizer.end]

    def plain(self, text: str) -> str:
        """A source as the model reads it."""
        return plain(text, lowercase=self.lowercase)

    def predict(
        self,
        texts: str | Sequence[str],
        *,
        scores: bool = False,
        alignment: bool = False,
        first: int = 0,
        **manner: Any,
    ) -> list[Written]:
        """What is written for a text, or for each of several; of each `n_best` or `samples`, one after the other.

        Args:
            texts: the inputs; nothing is written for an empty one.
            scores: whether a line of text shows them.
            alignment: whether words are paired.
            first: the number of the first text, on which what is drawn depends.
            **manner: attributes of `Manner` that differ from the run's own.
        """
        texts = [texts] if isinstance(texts, str) else texts
        how, found = self.changed(manner), []
        for text, hypotheses in zip(texts, self.search(texts, how, first), strict=True):
            unknown = self.unknown(text)
            for rank in range(how.samples or how.n_best):
                if rank >= len(hypotheses):  # an empty text, or fewer targets than were asked for
                    found.append(Written(text, "", rank, 0.0, True, unknown=unknown))
                    continue
                one = hypotheses[rank]
                pairs = self.alignment(text, one.tokens) if alignment else None
                output = self.tokenizer.decode(one.tokens)
                found.append(Written(text, output, rank, one.score, one.complete, pairs, unknown, scores))
        return found

    def changed(self, manner: dict[str, Any]) -> Manner:
        """The run's own manner with what differs from it; it is checked."""
        how = Manner(**{**vars(self.manner), **manner})
        how.check()
        for name in _OF_SEARCH if how.samples else _OF_DRAWING:
            if name in manner:
                where = "texts are drawn" if how.samples else "no texts are drawn (`samples`)"
                raise HeedfulError(f"`{name}` must be left out where {where}: got {manner[name]}.")
        return Manner(**{**vars(how), "beams": max(how.beams, how.n_best)})

    def search(self, texts: Sequence[str], how: Manner, first: int = 0) -> list[list[Hypothesis]]:
        """The targets of each text, none for an empty one; texts of one length are computed together."""
        found: list[list[Hypothesis]] = [[] for _ in texts]
        filled = [place for place, text in enumerate(texts) if text.strip()]
        sources = [self.encode(texts[place]) for place in filled]
        lengths = [len(source) for source in sources]
        never = [token for token in range(4) if token != self.tokenizer.end]
        for some in ByLength(lengths, max(_ROOM // (how.samples or how.beams), 1)) if filled else ():
            limits = [self._limit(lengths[i], how) for i in some]
            batch = pieces([sources[i] for i in some])
            if how.samples:
                written = sample(
                    self.model, batch, limits, samples=how.samples, temperature=how.temperature, top_k=how.top_k,
                    top_p=how.top_p, no_repeat=how.no_repeat, seed=how.seed, numbers=[first + filled[i] for i in some],
                    never=never,
                )  # fmt: skip
            else:
                written = beam_search(
                    self.model, batch, limits, beams=how.beams, length_penalty=how.length_penalty,
                    no_repeat=how.no_repeat, never=never,
                )  # fmt: skip
            for i, hypotheses in zip(some, written, strict=True):
                found[filled[i]] = hypotheses
        return found

    def _limit(self, length: int, how: Manner) -> int:
        limit = how.tokens or 2 * max(self.longest, length)
        return limit if self.room is None else min(limit, self.room - 1)

    def unknown(self, text: str) -> str:
        """The characters of a text that the model does not know, each once."""
        if not isinstance(self.tokenizer, Characters):
            return ""
        return "".join(sorted(set(self.plain(text)) - set(self.tokenizer.alphabet)))

    def alignment(self, text: str, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Pairs (word of the source, word of the target): each word of the target with the one that it looked at most.

        Words stand between blanks. Heads of one layer are averaged: of a Transformer the last but one, since the last one
        looks where the next token is made rather than where it comes from (Garg et al. 2019); a model without attention has none.
        """
        source = self.encode(text)
        weights = self.looked_at(source, tokens)
        if weights is None or not tokens:
            return []
        columns, rows = words_of(self.read(text)[:-1]), words_of(self.shown(tokens))
        row, column = torch.tensor(rows), torch.tensor(columns)
        weights = weights[: len(rows), : len(columns)][row >= 0][:, column >= 0].float()
        by_word = weights.new_zeros(max(rows) + 1, weights.shape[1]).index_add_(0, row[row >= 0], weights)
        sums = by_word.new_zeros(len(by_word), max(columns) + 1).index_add_(1, column[column >= 0], by_word)
        return [(int(best), word) for word, best in enumerate(sums.argmax(1).tolist())]

    def looked_at(self, source: Sequence[int], target: Sequence[int]) -> Float[Tensor, "N M"] | None:
        """How much each token of a target, and its end, looked at each token of the source; None without attention."""
        model = self.model
        with torch.inference_mode(), watch(model) as seen:
            model(pieces([source]), torch.tensor([[model.end, *target]]))
        crosses = [
            call.matrix for call in seen if call.module == "attention" or call.module.endswith("cross_attention")
        ]
        return crosses[max(len(crosses) - 2, 0)].dense()[0].mean(0) if crosses else None

    def read(self, text: str) -> list[str]:
        """What each token of a source shows as, also one that the model does not know."""
        return [*self.tokenizer.pieces(self.plain(text)), _END]

    def shown(self, tokens: Sequence[int]) -> list[str]:
        """What each token of a target shows as."""
        return [self.tokenizer.decode([token]) or _END for token in tokens]


def plain(text: str, *, lowercase: bool) -> str:
    """A source as a model reads it: words between single blanks."""
    text = " ".join(text.split())
    return text.lower() if lowercase else text


def one_line(text: str) -> str:
    """A text without what ends a line or a column; other blanks stay what they are, such as those that do not break."""
    return re.sub(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+", " ", text).strip(" ")


def pieces(texts: Sequence[Sequence[int]]) -> Pieces:
    """A padded batch of token numbers."""
    lengths = torch.tensor([len(text) for text in texts])
    tokens = np.zeros((len(texts), int(lengths.max())), np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    return Pieces(torch.from_numpy(tokens), lengths)


def words_of(shown: Sequence[str]) -> list[int]:
    """To which word each token belongs: a new one begins behind a blank, which belongs to none by itself."""
    words, word, between = [], -1, True
    for piece in shown:
        if not piece.strip():
            words.append(-1)
            between = True
            continue
        word += between or piece[0].isspace()
        between = piece[-1].isspace()
        words.append(word)
    return words


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= 40 else line[:39] + "…"


__all__ = ["Manner", "WriterOfTexts", "Written", "one_line", "pieces", "plain", "shortened", "words_of"]
