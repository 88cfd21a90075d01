"""Attention by loops over numbers, in float64. Imports nothing of heedful: this is what heedful is compared with."""

import math

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


# Normalisers: from the scores of the visible keys of one row to their weights, lists of floats.


def softmax(s):
    powers = [math.exp(x - max(s)) for x in s]
    return [p / sum(powers) for p in powers]


def softmax1(s):
    return softmax([*s, 0.0])[:-1]


def relu(s):
    return [max(x, 0.0) / len(s) for x in s]


def proportional(s):
    total = sum(max(x, 0.0) for x in s)
    return [max(x, 0.0) / total if total > 0 else 0.0 for x in s]


def sigmoid(s, offset=None):
    offset = -math.log(len(s)) if offset is None else offset
    return [1 / (1 + math.exp(-(x + offset))) for x in s]


def linear(s):
    return [x / len(s) for x in s]


def entmax(s, alpha):
    """By bisection on the threshold of Peters et al. 2019, equation 10."""
    if alpha == 1:
        return softmax(s)
    z = [(alpha - 1) * x for x in s]

    def weights(tau):
        return [max(x - tau, 0.0) ** (1 / (alpha - 1)) for x in z]

    low, high = max(z) - 1, max(z)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(middle)) > 1 else (low, middle)
    return weights(low)


def attention(query, key, value, *, score, visible, bias=None):
    """query [B, H, N, D], key [B, G, M, D], value [B, G, M, E]; visible(b, h, i, j) says whether i may see j.

    Gives the output [B, H, N, E] and the weights [B, H, N, M]; gradients flow through both.
    """
    B, H, N, _ = query.shape
    G, M, E = value.shape[1:]
    out = torch.zeros(B, H, N, E, dtype=torch.float64)
    weights = torch.zeros(B, H, N, M, dtype=torch.float64)
    outs, rows = [], []
    for b in range(B):
        for h in range(H):
            g = h // (H // G)
            for i in range(N):
                seen = [j for j in range(M) if visible(b, h, i, j)]
                if not seen:
                    outs.append(torch.zeros(E, dtype=torch.float64))
                    rows.append(torch.zeros(M, dtype=torch.float64))
                    continue
                scores = [score(query[b, h, i], key[b, g, j]) for j in seen]
                if bias is not None:
                    scores = [s + bias[b, h, i, j] for s, j in zip(scores, seen, strict=True)]
                highest = max(s.item() for s in scores)
                powers = [torch.exp(s - highest) for s in scores]
                total = sum(powers)
                shares = [p / total for p in powers]
                outs.append(sum(w * value[b, g, j] for w, j in zip(shares, seen, strict=True)))
                row = [torch.zeros((), dtype=torch.float64)] * M
                for w, j in zip(shares, seen, strict=True):
                    row[j] = w
                rows.append(torch.stack(row))
    out = torch.stack(outs).view(B, H, N, E)
    weights = torch.stack(rows).view(B, H, N, M)
    return out, weights


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
