"""What a sequence-to-sequence model writes: the best that a beam search finds, or what is drawn.

Several targets of a source are so many rows that share it; a step computes one position of all of them, from what the model's
state keeps. A target that has ended takes no more part.

Source: the length penalty: Wu et al. 2016, section 7; no repeated n-grams: Paulus et al. 2018, section 2.5.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.models.sampling import check_drawing, draw, evaluating
from heedful.models.sequence_to_sequence import SequenceToSequence
from heedful.models.text_classifier import Pieces
from heedful.ops._random import uniform


class Hypothesis(NamedTuple):
    """Something that was written.

    Attributes:
        tokens: without the end.
        score: by which it is ranked: its log probability, for its length.
        log_probability: the sum over its tokens, and its end where it has one, nat.
        complete: whether it ended by itself; otherwise the limit cut it off.
    """

    tokens: list[int]
    score: float
    log_probability: float
    complete: bool


def beam_search(
    model: SequenceToSequence,
    source: Pieces,
    longest: int | Sequence[int],
    *,
    beams: int = 5,
    length_penalty: float = 1.0,
    no_repeat: int = 0,
    never: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The best targets of each source, the best first, as many as there are beams.

    Each step keeps the most probable beginnings. What has ended is ranked by `log p / ((5 + length) / 6) ** length_penalty`,
    the end counted as a token; a source is done when no beginning is ahead of its worst kept target any more. At the limit
    a beginning that would rather go on than end is ranked with the others as a target that is not complete.

    Args:
        model: any.
        source: texts.
        longest: the most tokens of a target, of all or of each; its end is none of them.
        beams: how many beginnings are kept; 1: greedy search.
        length_penalty: 0: by the sum of the log probabilities, which prefers short ones; 1: nearly by their mean.
        no_repeat: no sequence of so many tokens stands twice in a target; 0: all may.
        never: tokens that are not written.

    Raises:
        ValueError: a number is not what it must be.

    Example:
        >>> from heedful.models import sequence_to_sequence
        >>> model = sequence_to_sequence(vocabulary=30, end=3, width=8, heads=2, layers=1, hidden=16)
        >>> source = Pieces(torch.tensor([[5, 6, 7, 3]]), torch.tensor([4]))
        >>> [len(targets) for targets in beam_search(model, source, longest=6, beams=3)]
        [3]
    """
    limits = _limits(longest, len(source.tokens))
    if beams < 1:
        raise ValueError(f"`beams` must be positive: got {beams}.")
    if no_repeat < 0:
        raise ValueError(f"`no_repeat` must be at least 0: got {no_repeat}.")
    if not math.isfinite(length_penalty) or length_penalty < 0:
        raise ValueError(f"`length_penalty` must be a number from 0: got {length_penalty}.")
    found: list[list[Hypothesis]] = [[] for _ in limits]
    alive = list(range(len(limits)))  # the numbers of the sources that are not done
    device = source.tokens.device
    banned = torch.tensor([*never], dtype=torch.long, device=device)
    with evaluating(model):
        read = model.encode(source)
        state = model.begin(read)
        history = torch.full((len(alive), 1), model.end, device=device)  # [rows, tokens], rows of a source together
        scores = torch.zeros(len(alive), 1, device=device)  # [sources, beams]
        length = 0
        while alive:
            length += 1
            before, held = history, scores
            logits = _allowed(model.step(history[:, -1], state), history, no_repeat, banned)
            goes_on = logits.argmax(-1) != model.end
            width = scores.shape[1]
            # The best of all continuations are among the best of each beginning; at most one of each ends.
            values, tokens = logits.topk(min(2 * beams, logits.shape[1]))
            values = (values.view(len(alive), width, -1) + scores[..., None]).flatten(1)
            values, places = values.topk(min(2 * beams, values.shape[1]))  # [sources, 2 beams]
            origins = places.div(tokens.shape[1], rounding_mode="floor")
            rows = origins + width * torch.arange(len(alive), device=device)[:, None]
            tokens = tokens.view(len(alive), -1).gather(1, places)
            shorter, penalty = (((4 + n) / 6) ** length_penalty for n in (length, length + 1))
            ends = tokens == model.end
            _keep_ended(found, alive, history, rows, values, ends[:, :beams], penalty, beams)
            going = values.masked_fill(ends, -math.inf)
            scores, chosen = going.topk(min(beams, going.shape[1]))  # [sources, beams]
            rows, tokens = rows.gather(1, chosen), tokens.gather(1, chosen)
            kept = _going_on(found, alive, scores, penalty, beams, limits, length)
            history = torch.cat([history[rows.flatten()], tokens.view(-1, 1)], 1)
            for place in sorted(set(range(len(alive))) - set(kept)):
                number = alive[place]
                if length > limits[number]:
                    begun, more = before.view(len(alive), width, -1)[place], goes_on.view(len(alive), width)[place]
                    found[number] = _cut_off(found[number], begun[more], held[place, more], shorter)[:beams]
            if len(kept) < len(alive):
                sources = torch.tensor(kept, dtype=torch.long, device=device)
                rows, scores = rows[sources], scores[sources]
                history = history.view(len(alive), -1, length + 1)[sources].flatten(0, 1)
                alive = [alive[place] for place in kept]
                if alive:
                    state.select(rows.flatten(), sources)
            elif width > 1 or scores.shape[1] > 1:
                state.reorder(rows.flatten())
    return found


def sample(
    model: SequenceToSequence,
    source: Pieces,
    longest: int | Sequence[int],
    *,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    no_repeat: int = 0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    never: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """Targets of each source that are drawn token by token, in the order in which they were drawn.

    Args:
        model: any.
        source: texts.
        longest: the most tokens of a target, of all or of each; its end is none of them.
        samples: how many targets of each source.
        temperature: the log probabilities are divided by it; 0 takes the most probable token.
        top_k: draw among so many of the most probable tokens; 0: all.
        top_p: draw among the fewest most probable tokens that have so much probability together.
        no_repeat: no sequence of so many tokens stands twice in a target; 0: all may.
        seed: of what is drawn.
        numbers: of the sources, by default 0, 1, 2 and so on: with them, some of many sources draw what all together would.
        never: tokens that are not written.

    Raises:
        ValueError: a number is not what it must be.
    """
    limits = _limits(longest, len(source.tokens))
    check_drawing(temperature, top_k, top_p)
    if samples < 1:
        raise ValueError(f"`samples` must be positive: got {samples}.")
    device = source.tokens.device
    places = torch.as_tensor(range(len(limits)) if numbers is None else numbers)
    rows = (places[:, None] * samples + torch.arange(samples)).flatten()
    draws = uniform(seed, (max(limits, default=0) + 1,), rows)[..., 0].to(device)  # [tokens, rows]
    banned = torch.tensor([*never], dtype=torch.long, device=device)
    found: list[Hypothesis | None] = [None] * (len(limits) * samples)
    with evaluating(model):
        state = model.begin(model.encode(source))
        state.reorder(torch.arange(len(limits), device=device).repeat_interleave(samples))
        history = torch.full((len(found), 1), model.end, device=device)
        totals = torch.zeros(len(found), device=device)
        length = 0
        while any(one is None for one in found):
            logits = model.step(history[:, -1], state)
            new = draw(
                _allowed(logits, history, no_repeat, banned),
                draws[length],
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            )
            before, totals = totals.tolist(), totals + logits.gather(1, new[:, None])[:, 0]
            history = torch.cat([history, new[:, None]], 1)
            length += 1
            for row, (token, total) in enumerate(zip(new.tolist(), totals.tolist(), strict=True)):
                ended = token == model.end
                if found[row] is None and (ended or length > limits[row // samples]):
                    sum_ = total if ended else before[row]  # what is cut off was drawn without this token
                    found[row] = Hypothesis(history[row, 1:-1].tolist(), sum_, sum_, ended)
    written = [one for one in found if one is not None]
    return [written[start : start + samples] for start in range(0, len(written), samples)]


def _limits(longest: int | Sequence[int], count: int) -> list[int]:
    limits = [longest] * count if isinstance(longest, int) else [*longest]
    if len(limits) != count:
        raise ValueError(f"`longest` must be a number, or one for each of {count} sources: got {len(limits)}.")
    if min(limits, default=1) < 1:
        raise ValueError(f"`longest` must be positive: got {min(limits)}.")
    return limits


def _allowed(
    logits: Float[Tensor, "R V"], history: Int[Tensor, "R N"], no_repeat: int, banned: Int[Tensor, "b"]
) -> Float[Tensor, "R V"]:
    """The log probabilities with those that may not be written at minus infinity."""
    if len(banned):
        logits = logits.index_fill(1, banned, -math.inf)
    written = history[:, 1:]
    if no_repeat and written.shape[1] >= no_repeat:
        # Wherever the last n - 1 tokens stood before, what came behind them must not come again.
        windows = written.unfold(1, no_repeat, 1)  # [rows, windows, n]
        last = written[:, written.shape[1] - no_repeat + 1 :]
        row, window = (windows[..., :-1] == last[:, None]).all(-1).nonzero(as_tuple=True)
        logits = logits.index_put((row, windows[row, window, -1]), logits.new_tensor(-math.inf))
    return logits


def _keep_ended(
    found: list[list[Hypothesis]], alive: list[int], history: Tensor, rows: Tensor, values: Tensor, ends: Tensor,
    penalty: float, beams: int,
) -> None:  # fmt: skip
    """Takes up what has ended; of each source no more than the best are kept."""
    for place, column in ends.nonzero().tolist():
        total = values[place, column].item()
        if total == -math.inf:
            continue
        kept = found[alive[place]]
        kept.append(Hypothesis(history[rows[place, column], 1:].tolist(), total / penalty, total, True))
        kept.sort(key=lambda one: -one.score)
        del kept[beams:]


def _going_on(
    found: list[list[Hypothesis]], alive: list[int], scores: Tensor, penalty: float, beams: int, limits: list[int],
    length: int,
) -> list[int]:  # fmt: skip
    """The places of the sources that are not done."""
    best = (scores[:, 0] / penalty).tolist()

    def done(place: int) -> bool:
        kept = found[alive[place]]
        full = len(kept) == beams and kept[-1].score >= best[place]
        return full or best[place] == -math.inf or length > limits[alive[place]]

    return [place for place in range(len(alive)) if not done(place)]


def _cut_off(
    ended: list[Hypothesis], begun: Int[Tensor, "K N"], scores: Float[Tensor, "K"], penalty: float
) -> list[Hypothesis]:
    """Those that ended and those that are cut off, the best first; what would rather go on has not ended."""
    cut = [
        Hypothesis(tokens[1:], score / penalty, score, False)
        for tokens, score in zip(begun.tolist(), scores.tolist(), strict=True)
        if score > -math.inf
    ]
    texts = [one.tokens for one in cut]
    return sorted([*(one for one in ended if one.tokens not in texts), *cut], key=lambda one: -one.score)
