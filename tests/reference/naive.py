"""Attention by loops over numbers, in float64. Imports nothing of heedful: this is what heedful is compared with."""

import itertools
import math
from typing import NamedTuple

import torch


def dot(q, k):
    return sum(a * b for a, b in zip(q, k, strict=True))


def scaled_dot(q, k):
    return dot(q, k) / math.sqrt(len(q))


def bilinear(q, k, weight):
    return sum(q[a] * weight[a, b] * k[b] for a in range(len(q)) for b in range(len(k)))


def additive(q, k, weight):
    return sum(w * torch.tanh(a + b) for w, a, b in zip(weight, q, k, strict=True))


def cosine(q, k):
    size = dot(q, q) * dot(k, k)
    return dot(q, k) / size.sqrt() if size > 0 else 0 * size


def gaussian(q, k, bandwidth):
    return -sum((a - b) ** 2 for a, b in zip(q, k, strict=True)) / (2 * bandwidth**2)


# Normalizers: from the scores of the visible keys of one row to their weights, lists of numbers (of tensors without axes).


def softmax(s):
    s = _numbers(s)
    highest = max(x.item() for x in s)
    powers = [(x - highest).exp() for x in s]
    total = sum(powers)
    return [p / total for p in powers]


def softmax1(s):
    return softmax([*_numbers(s), torch.zeros((), dtype=torch.float64)])[:-1]


def relu(s):
    return [_positive(x) / len(s) for x in _numbers(s)]


def proportional(s):
    parts = [_positive(x) for x in _numbers(s)]
    total = sum(parts)
    return [p / total if total > 0 else 0 * p for p in parts]


def sigmoid(s, offset=None):
    offset = -math.log(len(s)) if offset is None else offset
    return [1 / (1 + (-(x + offset)).exp()) for x in _numbers(s)]


def linear(s):
    return [x / len(s) for x in _numbers(s)]


def entmax(s, alpha):
    """By bisection on the threshold of Peters et al. 2019, equation 10; one step of Newton's makes its first gradient right."""
    if alpha == 1:
        return softmax(s)
    s = _numbers(s)
    z = [(alpha - 1) * x for x in s]
    power = 1 / (alpha - 1)

    def weights(z, tau, power):
        return [max(x - tau, 0.0) ** power for x in z]

    plain = [x.item() for x in z]
    fixed = power.item() if isinstance(power, torch.Tensor) else power
    low, high = max(plain) - 1, max(plain)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(plain, middle, fixed)) > 1 else (low, middle)
    support = [x > low for x in plain]
    slope = sum(fixed * (x - low) ** (fixed - 1) for x, inside in zip(plain, support, strict=True) if inside)
    total = sum((x - low) ** power for x, inside in zip(z, support, strict=True) if inside)
    tau = low + (total - 1) / slope
    return [(x - tau) ** power if inside else 0 * x for x, inside in zip(z, support, strict=True)]


def sparsemax(s):
    return entmax(s, 2.0)


def entmax15(s):
    return entmax(s, 1.5)


def _numbers(s):
    return [torch.as_tensor(x, dtype=torch.float64) for x in s]


def _positive(x):
    return x if x > 0 else 0 * x


# What is taken of the weights of one row: lists of numbers that are multiplied with the values.


def soft(weights, uniform):
    return weights


def hard(weights, uniform):
    """The first of the largest; its gradient is that of the weights."""
    best = max(range(len(weights)), key=lambda j: weights[j].item())
    return [(j == best and w.item() > 0) + (w - w.item()) for j, w in enumerate(weights)]


def drawn(weights, uniform):
    """The place of the key whose share of the row holds the number `uniform`; None where that is the share of nothing."""
    total = sum(w.item() for w in weights)
    mark, height = uniform * total if total > 1 - 1e-12 else uniform, 0.0
    for j, w in enumerate(weights):
        height += w.item()
        if mark < height:
            return j
    return None


def straight_through(weights, uniform):
    chosen = drawn(weights, uniform)
    return [(j == chosen) + (w - w.item()) for j, w in enumerate(weights)]


def score_function(weights, uniform):
    chosen = drawn(weights, uniform)
    return [torch.tensor(float(j == chosen), dtype=torch.float64) for j in range(len(weights))]


def log_probability(weights, uniform):
    """Of what is drawn."""
    chosen, total = drawn(weights, uniform), sum(weights)
    if chosen is None:
        return (1 - total).log()
    return weights[chosen].log() - (total.log() if total > 1 else 0)


class Found(NamedTuple):
    """Output [B, H, N, E]; weights [B, H, N, M] before selection and dropout; the log-probability of a draw [B, H, N]."""

    output: torch.Tensor
    weights: torch.Tensor
    log_probability: torch.Tensor


def attention(
    query, key, value, *, score, visible, normalize=lambda s, h, i: softmax(s), bias=None, scale=None, softcap=None,
    sinks=None, select=soft, uniform=None, dropout=0.0, keep=None,
):  # fmt: skip
    """query [B, H, N, D], key [B, G, M, K], value [B, G, M, E]; gradients flow through all that is found.

    score(q, k, h), visible(b, h, i, j), normalize(scores, h, i), bias(b, h, i, j), scale(h, i) and sinks(h) say how; `uniform`
    [B, H, N] and `keep` [B, H, N, M] are what was drawn.
    """
    B, H, N, _ = query.shape
    G, M, E = value.shape[1:]
    nothing = torch.zeros((), dtype=torch.float64)
    outs, rows, logs = [], [], []
    for b, h, i in itertools.product(range(B), range(H), range(N)):
        g = h // (H // G)
        seen = [j for j in range(M) if visible(b, h, i, j)]
        scores = [score(query[b, h, i], key[b, g, j], h) for j in seen]
        if scale is not None:
            scores = [s * scale(h, i) for s in scores]
        if softcap is not None:
            scores = [softcap * (s / softcap).tanh() for s in scores]
        if bias is not None:
            scores = [s + bias(b, h, i, j) for s, j in zip(scores, seen, strict=True)]
            seen = [j for s, j in zip(scores, seen, strict=True) if s > -math.inf]
            scores = [s for s in scores if s > -math.inf]
        if not seen:
            outs.append(torch.zeros(E, dtype=torch.float64))
            rows.append(torch.zeros(M, dtype=torch.float64))
            logs.append(nothing)
            continue
        weights = normalize(scores if sinks is None else [*scores, sinks(h)], h, i)[: len(seen)]
        draw = None if uniform is None else uniform[b, h, i].item()
        selected = select(weights, draw)
        if dropout:
            selected = [w * keep[b, h, i, j] / (1 - dropout) for w, j in zip(selected, seen, strict=True)]
        outs.append(sum(w * value[b, g, j] for w, j in zip(selected, seen, strict=True)))
        row = [nothing] * M
        for w, j in zip(weights, seen, strict=True):
            row[j] = w
        rows.append(torch.stack(row))
        logs.append(nothing if draw is None else log_probability(weights, draw))
    return Found(
        torch.stack(outs).view(B, H, N, E), torch.stack(rows).view(B, H, N, M), torch.stack(logs).view(B, H, N)
    )


# Numbers to add, one pair at a time. `offset` is the position of query 0 among the keys.


def alibi(slopes, offset=0):
    return lambda b, h, i, j: -slopes[h] * abs(j - i - offset)


def alibi2d(slopes, columns):
    def number(b, h, i, j):
        (y, x), (v, u) = divmod(i, columns), divmod(j, columns)
        return -slopes[h] * math.hypot(y - v, x - u)

    return number


def clipped(table, bidirectional=True, offset=0):
    """The table of one head has a number for each distance from -reach to reach, or from 0 backwards."""

    def number(b, h, i, j):
        distance, count = j - i - offset, table.shape[-1]
        if bidirectional:
            return table[h, max(-(count // 2), min(distance, count // 2)) + count // 2]
        return table[h, min(max(-distance, 0), count - 1)]

    return number


def logarithmic(table, max_distance):
    """The two-sided buckets of Raffel et al. 2020."""

    def number(b, h, i, j):
        side = table.shape[-1] // 2
        short, distance = side // 2, abs(j - i)
        bucket = distance
        if distance >= short:
            bucket = short + int(math.log(distance / short) / math.log(max_distance / short) * (side - short))
        return table[h, min(bucket, side - 1) + side * (j > i)]

    return number


def relative2d(table, grid):
    def number(b, h, i, j):
        (y, x), (v, u) = divmod(i, grid[1]), divmod(j, grid[1])
        return table[h, v - y + grid[0] - 1, u - x + grid[1] - 1]

    return number


# Who may see whom, one pair at a time: each gives visible(b, h, i, j). `offset` is the position of query 0 among the keys.


def causal(offset=0):
    return lambda b, h, i, j: j <= i + offset


def local(before, after, offset=0):
    return lambda b, h, i, j: i + offset - before <= j <= i + offset + after


def dilated(before, after, step, offset=0):
    return lambda b, h, i, j: any(j == i + offset + t * step for t in range(-before, after + 1))


def prefix(counts, offset=0):
    """`counts` holds one number for each sample."""
    return lambda b, h, i, j: j < counts[b] or j <= i + offset


def lengths(counts):
    return lambda b, h, i, j: j < counts[b]


def documents(ids, key_ids):
    """`ids` and `key_ids` hold one list for each sample."""
    return lambda b, h, i, j: ids[b][i] >= 0 and ids[b][i] == key_ids[b][j]


def tokens(index):
    return lambda b, h, i, j: i in index or j in index


def token_keys(index):
    return lambda b, h, i, j: j in index


def neighborhood2d(height, width, columns):
    def visible(b, h, i, j):
        (y, x), (v, u) = divmod(i, columns), divmod(j, columns)
        return abs(y - v) <= height // 2 and abs(x - u) <= width // 2

    return visible


def axial(columns):
    def visible(b, h, i, j):
        (y, x), (v, u) = divmod(i, columns), divmod(j, columns)
        return y == v or x == u

    return visible
