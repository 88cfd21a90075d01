"""Decoding of sequence-to-sequence models: beam search and sampling.

The targets of a source are rows that share it; a step computes one position of all rows from the decoder's state. Rows that have
ended are left out of further steps.

Source: the length penalty: Wu et al. 2016, section 7; no repeated n-grams: Paulus et al. 2018, section 2.5.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.models.sampling import check_sampling, eval_mode, sample_token
from heedful.models.seq2seq_base import SequenceToSequence, Source
from heedful.ops._random import uniform


class Hypothesis(NamedTuple):
    """One decoded target.

    Attributes:
        tokens: without the end.
        score: by which it is ranked: its log probability over the length penalty.
        log_probability: the sum over its tokens, and its end where it has one, in nats.
        finished: whether it ended by itself; otherwise it was cut off at `max_length`.
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool


def beam_search(
    model: SequenceToSequence,
    source: Source,
    max_length: int | Sequence[int],
    *,
    beams: int = 5,
    length_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    suppress: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The best targets of each source, the best first, as many as there are beams.

    Each step keeps the most probable prefixes. Ended targets are ranked by `log p / ((5 + length) / 6) ** length_penalty`, the
    end counted as a token; a source is done when no prefix scores better than the worst of its best targets. At the limit, a prefix
    whose most probable continuation is not the end is ranked with the others as a target that is not finished.

    Args:
        model: any.
        source: texts, or what the model's reader takes.
        max_length: the most tokens of a target, of all or of each; its end is none of them.
        beams: how many prefixes are kept; 1: greedy search.
        length_penalty: 0: by the sum of the log probabilities, which prefers short ones; 1: nearly by their mean.
        no_repeat_ngram: no n-gram of so many tokens occurs twice in a target; 0: any may.
        suppress: tokens that are never generated.

    Raises:
        ValueError: a number is not what it must be.

    Example:
        >>> from heedful.data.batch_types import TokenBatch
        >>> from heedful.models import sequence_to_sequence
        >>> model = sequence_to_sequence(vocabulary_size=30, end=3, width=8, heads=2, layers=1, ffn_width=16)
        >>> source = TokenBatch(torch.tensor([[5, 6, 7, 3]]), torch.tensor([4]))
        >>> [len(targets) for targets in beam_search(model, source, max_length=6, beams=3)]
        [3]
    """
    if beams < 1:
        raise ValueError(f"`beams` must be positive: got {beams}.")
    if no_repeat_ngram < 0:
        raise ValueError(f"`no_repeat_ngram` must be at least 0: got {no_repeat_ngram}.")
    if not math.isfinite(length_penalty) or length_penalty < 0:
        raise ValueError(f"`length_penalty` must be a number from 0: got {length_penalty}.")
    with eval_mode(model):
        state = model.begin(model.encode(source))
        limits, device = _limits(max_length, len(state.source.lengths)), state.source.lengths.device
        best: list[list[Hypothesis]] = [[] for _ in limits]
        alive = list(range(len(limits)))  # the numbers of the sources that are not done
        suppressed = torch.tensor([*suppress], dtype=torch.long, device=device)
        history = torch.full((len(alive), 1), model.end, device=device)  # [rows, tokens], rows of a source together
        scores = torch.zeros(len(alive), 1, device=device)  # [sources, beams]
        length = 0
        while alive:
            length += 1
            prefixes, prefix_scores = history, scores
            logits = _allowed(model.step(history[:, -1], state), history, no_repeat_ngram, suppressed)
            goes_on = logits.argmax(-1) != model.end
            width = scores.shape[1]
            # The best of all continuations are among the best of each prefix; at most one of each ends.
            values, tokens = logits.topk(min(2 * beams, logits.shape[1]))
            values = (values.view(len(alive), width, -1) + scores[..., None]).flatten(1)
            values, index = values.topk(min(2 * beams, values.shape[1]))  # [sources, 2 beams]
            origins = index.div(tokens.shape[1], rounding_mode="floor")
            rows = origins + width * torch.arange(len(alive), device=device)[:, None]
            tokens = tokens.view(len(alive), -1).gather(1, index)
            shorter, penalty = (((4 + n) / 6) ** length_penalty for n in (length, length + 1))
            ends = tokens == model.end
            _add_ended(best, alive, history, rows, values, ends[:, :beams], penalty, beams)
            unfinished = values.masked_fill(ends, -math.inf)
            scores, chosen = unfinished.topk(min(beams, unfinished.shape[1]))  # [sources, beams]
            rows, tokens = rows.gather(1, chosen), tokens.gather(1, chosen)
            remaining = _remaining(best, alive, scores, penalty, beams, limits, length)
            history = torch.cat([history[rows.flatten()], tokens.view(-1, 1)], 1)
            for i in sorted(set(range(len(alive))) - set(remaining)):
                number = alive[i]
                if length > limits[number]:
                    prefix, more = prefixes.view(len(alive), width, -1)[i], goes_on.view(len(alive), width)[i]
                    best[number] = _with_cut_off(best[number], prefix[more], prefix_scores[i, more], shorter)[:beams]
            if len(remaining) < len(alive):
                sources = torch.tensor(remaining, dtype=torch.long, device=device)
                rows, scores = rows[sources], scores[sources]
                history = history.view(len(alive), -1, length + 1)[sources].flatten(0, 1)
                alive = [alive[i] for i in remaining]
                if alive:
                    state.select(rows.flatten(), sources)
            elif width > 1 or scores.shape[1] > 1:
                state.reorder(rows.flatten())
    return best


def sample(
    model: SequenceToSequence,
    source: Source,
    max_length: int | Sequence[int],
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    no_repeat_ngram: int = 0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    suppress: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """Targets of each source, sampled token by token, in the order of their numbers.

    Args:
        model: any.
        source: texts, or what the model's reader takes.
        max_length: the most tokens of a target, of all or of each; its end is none of them.
        num_samples: how many targets of each source.
        temperature: the log probabilities are divided by it; 0 takes the most probable token.
        top_k: draw among so many of the most probable tokens; 0: all.
        top_p: draw among the fewest most probable tokens that have so much probability together.
        no_repeat_ngram: no n-gram of so many tokens occurs twice in a target; 0: any may.
        seed: of what is drawn.
        numbers: of the sources, by default 0, 1, 2 and so on: with them, some of many sources draw what all together would.
        suppress: tokens that are never generated.

    Raises:
        ValueError: a number is not what it must be.
    """
    check_sampling(temperature, top_k, top_p)
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be positive: got {num_samples}.")
    with eval_mode(model):
        state = model.begin(model.encode(source))
        limits, device = _limits(max_length, len(state.source.lengths)), state.source.lengths.device
        sources = torch.as_tensor(range(len(limits)) if numbers is None else numbers)
        rows = (sources[:, None] * num_samples + torch.arange(num_samples)).flatten()
        random = uniform(seed, (max(limits, default=0) + 1,), rows)[..., 0].to(device)  # [tokens, rows]
        suppressed = torch.tensor([*suppress], dtype=torch.long, device=device)
        samples: list[Hypothesis | None] = [None] * (len(limits) * num_samples)
        state.reorder(torch.arange(len(limits), device=device).repeat_interleave(num_samples))
        history = torch.full((len(samples), 1), model.end, device=device)
        totals = torch.zeros(len(samples), device=device)
        length = 0
        while any(one is None for one in samples):
            logits = model.step(history[:, -1], state)
            new = sample_token(
                _allowed(logits, history, no_repeat_ngram, suppressed),
                random[length],
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            )
            before, totals = totals.tolist(), totals + logits.gather(1, new[:, None])[:, 0]
            history = torch.cat([history, new[:, None]], 1)
            length += 1
            for row, (token, total) in enumerate(zip(new.tolist(), totals.tolist(), strict=True)):
                ended = token == model.end
                if samples[row] is None and (ended or length > limits[row // num_samples]):
                    sum_ = total if ended else before[row]  # of a target that is cut off, this token is none
                    samples[row] = Hypothesis(history[row, 1:-1].tolist(), sum_, sum_, ended)
    complete = [one for one in samples if one is not None]
    return [complete[start : start + num_samples] for start in range(0, len(complete), num_samples)]


def _limits(max_length: int | Sequence[int], count: int) -> list[int]:
    limits = [max_length] * count if isinstance(max_length, int) else [*max_length]
    if len(limits) != count:
        raise ValueError(f"`max_length` must be a number, or one for each of {count} sources: got {len(limits)}.")
    if min(limits, default=1) < 1:
        raise ValueError(f"`max_length` must be positive: got {min(limits)}.")
    return limits


def _allowed(
    logits: Float[Tensor, "R V"], history: Int[Tensor, "R N"], no_repeat_ngram: int, suppressed: Int[Tensor, "b"]
) -> Float[Tensor, "R V"]:
    """The log probabilities, with -inf for tokens that may not follow."""
    if len(suppressed):
        logits = logits.index_fill(1, suppressed, -math.inf)
    target = history[:, 1:]
    if no_repeat_ngram and target.shape[1] >= no_repeat_ngram:
        # Wherever the last n - 1 tokens occurred before, the token that followed them must not follow again.
        windows = target.unfold(1, no_repeat_ngram, 1)  # [rows, windows, n]
        last = target[:, target.shape[1] - no_repeat_ngram + 1 :]
        row, window = (windows[..., :-1] == last[:, None]).all(-1).nonzero(as_tuple=True)
        logits = logits.index_put((row, windows[row, window, -1]), logits.new_tensor(-math.inf))
    return logits


def _add_ended(
    best: list[list[Hypothesis]], alive: list[int], history: Tensor, rows: Tensor, values: Tensor, ends: Tensor,
    penalty: float, beams: int,
) -> None:  # fmt: skip
    """Adds the targets that have ended to the best ones of their sources."""
    for i, column in ends.nonzero().tolist():
        total = values[i, column].item()
        if total == -math.inf:
            continue
        own = best[alive[i]]
        own.append(Hypothesis(history[rows[i, column], 1:].tolist(), total / penalty, total, True))
        own.sort(key=lambda one: -one.score)
        del own[beams:]


def _remaining(
    best: list[list[Hypothesis]], alive: list[int], scores: Tensor, penalty: float, beams: int, limits: list[int],
    length: int,
) -> list[int]:  # fmt: skip
    """Which of the sources `alive` are not done, by their index."""
    reachable = (scores[:, 0] / penalty).tolist()  # the best score that a prefix can still have

    def done(i: int) -> bool:
        own = best[alive[i]]
        full = len(own) == beams and own[-1].score >= reachable[i]
        return full or reachable[i] == -math.inf or length > limits[alive[i]]

    return [i for i in range(len(alive)) if not done(i)]


def _with_cut_off(
    ended: list[Hypothesis], prefixes: Int[Tensor, "K N"], scores: Float[Tensor, "K"], penalty: float
) -> list[Hypothesis]:
    """Targets that ended and prefixes that are cut off, the best first."""
    cut = [
        Hypothesis(tokens[1:], score / penalty, score, False)
        for tokens, score in zip(prefixes.tolist(), scores.tolist(), strict=True)
        if score > -math.inf
    ]
    texts = [one.tokens for one in cut]
    return sorted([*(one for one in ended if one.tokens not in texts), *cut], key=lambda one: -one.score)
