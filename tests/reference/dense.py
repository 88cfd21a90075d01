"""Attention on whole tensors, from the formulas; gradients by autograd. Imports nothing of heedful, which is compared with it.

It is the twin of `naive.py` for many cases: a matrix of 400 x 400 takes milliseconds. Each part is said in plain words:

    scores       ("scaled dot",), ("dot",), ("bilinear", W), ("additive", w), ("cosine",), ("gaussian", b)
    normalizers  ("softmax",), ("softmax1",), ("relu",), ("proportional",), ("sigmoid", b), ("linear",), ("sparsemax",),
                 ("entmax15",), ("entmax", alpha)
    patterns     ("global",), ("causal", align), ("local", before, after, align), ("dilated", before, after, step, align),
                 ("prefix", n, align), ("lengths", n), ("documents", ids, key_ids), ("tokens", places, align),
                 ("neighborhood", (height, width), grid), ("axial", grid), ("mask", allowed),
                 ("and", a, b), ("or", a, b), ("not", a)
    biases       ("tensor", t), ("per key", t), ("per query", t), ("low rank", u, v), ("alibi", slopes, align),
                 ("alibi2d", slopes, grid), ("relative", table, buckets, max_distance, bidirectional, align),
                 ("relative2d", table, grid), ("sum", a, b, ...)
    selections   ("soft",), ("hard",), ("sampled", gradient)
"""

import math
from typing import NamedTuple

import torch


class Found(NamedTuple):
    """What there is to know of one attention.

    `choice` and `kink` `[..., H, N]` say how far a row is from where its output jumps (another key is chosen) and from where
    its gradient does (a score at a threshold): nearer than rounding reaches, nothing can be compared.
    """

    output: torch.Tensor  # [..., H, N, E]
    weights: torch.Tensor  # [..., H, N, M], before selection and dropout
    scores: torch.Tensor  # [..., H, N, M], 0 where hidden
    seen: torch.Tensor  # [..., H, N, M]
    choice: torch.Tensor
    kink: torch.Tensor


def attention(
    query, key, value, *, score=("scaled dot",), normalize=("softmax",), pattern=("global",), bias=None, scale=None,
    softcap=None, sinks=None, select=("soft",), uniform=None, dropout=0.0, keep=None, half=None,
):  # fmt: skip
    """query [..., H, N, D], key [..., G, M, K], value [..., G, M, E]; `uniform` [..., H, N, 1] and `keep` [..., H, N, M] were drawn.

    `half`: inner products, weights and the output are rounded to this dtype, as plain PyTorch does; all else stays wide.
    """

    def rounded(x):
        return x if half is None else x.to(half).to(x.dtype)

    shape = shape_of(query, key, value)
    if query.dim() > 3:
        key, value = (t.repeat_interleave(query.shape[-3] // max(t.shape[-3], 1), -3) for t in (key, value))
    s, factor = relevance(query, key, score)
    s = (rounded(s) if score[0] in ("scaled dot", "dot") else s) * (factor if scale is None else scale)
    if softcap is not None:
        s = softcap * torch.tanh(s / softcap)
    seen = visible(pattern, shape).expand(shape)
    if bias is not None:
        added = added_by(bias, shape)
        hiding = added == -math.inf
        s, seen = s + added.masked_fill(hiding, 0), seen & ~hiding
    s = s.expand(shape).masked_fill(~seen, 0).to(query.dtype)
    weights, kink = shares(s, ~seen, sinks, normalize)
    selected, choice = selection(weights, select, uniform)
    if dropout:
        selected = selected * keep / (1 - dropout)
    return Found(rounded(rounded(selected) @ value), weights, s, seen, choice, kink)


def shape_of(query, key, value):
    """(..., H, N, M); the axes before the heads broadcast."""
    lead = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])
    return (*lead, *query.shape[-3:-1], key.shape[-2]) if query.dim() > 2 else (query.shape[0], key.shape[0])


# Scores: one number a pair, and what it is multiplied by where no other scale is given.


def relevance(q, k, score):
    kind, *parameters = score
    if kind == "scaled dot":
        return q @ k.mT, max(q.shape[-1], 1) ** -0.5
    if kind == "dot":
        return q @ k.mT, 1.0
    if kind == "bilinear":
        return q @ parameters[0] @ k.mT, 1.0
    if kind == "additive":
        (w,) = parameters
        w = w[:, None, None] if w.dim() == 2 else w
        return (torch.tanh(q[..., :, None, :] + k[..., None, :, :]) * w).sum(-1), 1.0
    if kind == "cosine":
        return _unit(q) @ _unit(k).mT, 1.0
    assert kind == "gaussian"
    (b,) = parameters
    b = b[:, None, None] if isinstance(b, torch.Tensor) and b.dim() else b
    return (q[..., :, None, :] - k[..., None, :, :]).square().sum(-1) / (-2 * b**2), 1.0


def _unit(x):
    squares = x.square().sum(-1, keepdim=True)
    zero = squares == 0
    return (x / squares.masked_fill(zero, 1).sqrt()).masked_fill(zero, 0)


# Patterns: who may see whom, as a tensor that broadcasts to the matrix.


def visible(pattern, shape):
    kind, *given = pattern
    N, M = shape[-2:]
    i, j = torch.arange(N)[:, None], torch.arange(M)[None]
    if kind == "and":
        return visible(given[0], shape) & visible(given[1], shape)
    if kind == "or":
        return visible(given[0], shape) | visible(given[1], shape)
    if kind == "not":
        return ~visible(given[0], shape)
    if kind == "global":
        return torch.ones(N, M, dtype=torch.bool)
    if kind == "mask":
        return given[0].expand(shape)
    if kind == "causal":
        return j <= i + _ahead(given[0], shape)
    if kind == "local":
        before, after, align = given
        step = j - i - _ahead(align, shape)
        return (-before <= step) & (step <= (before if after is None else after))
    if kind == "dilated":
        before, after, dilation, align = given
        step = j - i - _ahead(align, shape)
        times = torch.div(step, dilation, rounding_mode="floor")
        near = (-before <= times) & (times <= (before if after is None else after))
        return near & (times * dilation == step)
    if kind == "prefix":
        return (j < _first_axes(given[0], 0, shape)[..., None, None]) | (j <= i + _ahead(given[1], shape))
    if kind == "lengths":
        return j < _first_axes(given[0], 0, shape)[..., None, None]
    if kind == "documents":
        ids, key_ids = (None if t is None else _first_axes(t, 1, shape) for t in given)
        key_ids = ids if key_ids is None else key_ids
        return (ids[..., :, None] == key_ids[..., None, :]) & (ids[..., :, None] >= 0)
    if kind == "tokens":
        chosen = torch.zeros(max(N, M), dtype=torch.bool)
        chosen[torch.as_tensor(given[0], dtype=torch.long)] = True
        return chosen[j] if given[1] == "keys" else chosen[i] | chosen[j]
    y, x, v, u = *_cells(i, given[-1]), *_cells(j, given[-1])
    if kind == "axial":
        return (y == v) | (x == u)
    assert kind == "neighborhood"
    height, width = given[0]
    return ((y - v).abs() <= height // 2) & ((x - u).abs() <= width // 2)


def _ahead(align, shape):
    """The position of query 0 among the keys."""
    return shape[-1] - shape[-2] if align == "end" else 0


def _first_axes(given, own, shape):
    """Numbers whose axes, but their own last ones, are the first of the matrix."""
    given = torch.as_tensor(given, dtype=torch.long)
    lead = given.dim() - own
    return given.reshape((*given.shape[:lead], *[1] * (len(shape) - 2 - lead), *given.shape[lead:]))


def _cells(places, grid):
    return places // grid[1], places % grid[1]


# Biases: numbers to add, as a tensor that broadcasts to the matrix.


def added_by(bias, shape):
    kind, *given = bias
    i, j = torch.arange(shape[-2])[:, None], torch.arange(shape[-1])[None]
    if kind == "sum":
        first, *others = (added_by(part, shape) for part in given)
        for other in others:
            first = first + other
        return first
    if kind == "tensor":
        return given[0]
    if kind == "per key":
        return given[0][..., None, :]
    if kind == "per query":
        return given[0][..., None]
    if kind == "low rank":
        return given[0] @ given[1].mT
    if kind == "alibi":
        slopes, align = given
        return _fall(slopes, (j - i - _ahead(align, shape)).square())
    if kind == "relative":
        return given[0][..., _buckets(j - i - _ahead(given[-1], shape), given[0].shape[-1], *given[1:4])]
    y, x, v, u = *_cells(i, given[-1]), *_cells(j, given[-1])
    if kind == "alibi2d":
        return _fall(given[0], (v - y).square() + (u - x).square())
    assert kind == "relative2d"
    height, width = given[-1]
    return given[0][..., v - y + height - 1, u - x + width - 1]


def _fall(slopes, squares):
    """Minus slope times distance. A number of heads stands for the slopes of Press et al. 2022, all in float32."""
    if isinstance(slopes, torch.Tensor):
        return -slopes[..., None, None] * squares.to(slopes.dtype).sqrt()
    power = 2 ** int(math.log2(slopes))
    between = [2.0 ** (-4 * h / power) for h in range(1, 2 * power, 2)]  # every other one of twice as many
    found = [2.0 ** (-8 * h / power) for h in range(1, power + 1)] + between[: slopes - power]
    return (-torch.tensor(found, dtype=torch.float32)[:, None, None] * squares.float().sqrt()).double()


def _buckets(distance, count, kind, max_distance, bidirectional):
    if kind == "clip":
        reach = count // 2
        return distance.clamp(-reach, reach) + reach if bidirectional else (-distance).clamp(0, count - 1)
    side = count // 2 if bidirectional else count
    short = side // 2
    far = distance.abs() if bidirectional else (-distance).clamp(min=0)
    logs = torch.log(far.clamp(min=short).double() / short) / math.log(max_distance / short)
    bucket = torch.where(far < short, far, (short + (logs * (side - short)).long()).clamp(max=side - 1))
    return bucket + side * (distance > 0) if bidirectional else bucket


# Normalizers: the weights of each row, and how near a score is to where the gradient jumps.


def shares(s, hidden, sinks, normalize):
    """A sink is one more key, of which nothing is taken; a row that sees nothing stays empty."""
    far = torch.full(s.shape[:-1], math.inf, dtype=torch.float64)
    if s.shape[-1] == 0:
        return s, far
    empty = hidden.all(-1, keepdim=True)
    if sinks is not None:
        s = torch.cat([s, sinks[..., None, None].expand(*s.shape[:-1], 1).to(s.dtype)], -1)
        hidden = torch.cat([hidden, empty], -1)
        s = s.masked_fill(hidden, 0)
    weights, distance = normalized(s, hidden, normalize)
    if distance is not None:
        far = distance.detach().abs().masked_fill(hidden, math.inf).amin(-1).double()
    weights = weights.masked_fill(hidden | empty, 0)
    return (weights if sinks is None else weights[..., :-1]), far


def normalized(s, hidden, normalize):
    kind, *given = normalize
    count = (~hidden).sum(-1, keepdim=True).clamp(min=1)
    if kind in ("softmax", "softmax1"):
        top = s.detach().masked_fill(hidden, -math.inf).amax(-1, keepdim=True).clamp(min=-1e30)
        top = top.clamp(min=0) if kind == "softmax1" else top
        powers = torch.exp(s - top).masked_fill(hidden, 0)
        total = powers.sum(-1, keepdim=True) + (torch.exp(-top) if kind == "softmax1" else 0)
        return powers / total.masked_fill(total == 0, 1), None
    if kind == "linear":
        return s / count, None
    if kind == "relu":
        return s.relu() / count, s
    if kind == "proportional":
        parts = s.relu().masked_fill(hidden, 0)
        total = parts.sum(-1, keepdim=True)
        return parts / total.masked_fill(total == 0, 1), torch.minimum(s.abs(), total)
    if kind == "sigmoid":
        (offset,) = given
        return torch.sigmoid(s + (-count.to(s.dtype).log() if offset is None else offset)), None
    z, power = {"sparsemax": (s, 1.0), "entmax15": (s / 2, 2.0)}.get(kind, (None, None))
    if z is None:
        if not isinstance(given[0], torch.Tensor) and given[0] == 1:
            return normalized(s, hidden, ("softmax",))
        z, power = (given[0] - 1) * s, 1 / (given[0] - 1)
    return thresholded(z, hidden, power)


def thresholded(z, hidden, power):
    """`max(z - tau, 0)^power` with tau such that a row adds up to 1.

    Bisection gives tau; two steps of Newton's, which are differentiated, make its first three derivatives right.
    """
    with torch.no_grad():
        high = z.masked_fill(hidden, -math.inf).amax(-1, keepdim=True).clamp(min=-1e30)
        low = high - 1
        fixed = power.detach() if isinstance(power, torch.Tensor) else power
        visible_z = z.masked_fill(hidden, -math.inf)
        for _ in range(52):
            middle = (low + high) / 2
            more = (visible_z - middle).clamp(min=0).pow(fixed).sum(-1, keepdim=True) > 1
            low, high = torch.where(more, middle, low), torch.where(more, high, middle)
        support = visible_z > low
    tau = low
    for _ in range(2):
        rest = (z - tau).masked_fill(~support, 1)
        total = rest.pow(power).masked_fill(~support, 0).sum(-1, keepdim=True)
        slope = (power * rest.pow(power - 1)).masked_fill(~support, 0).sum(-1, keepdim=True)
        tau = tau + (total - 1) / slope.masked_fill(slope == 0, 1)
    rest = (z - tau).masked_fill(~support, 1).clamp(min=0)
    return rest.pow(power).masked_fill(~support, 0), z - tau


# Selections: what the values are multiplied with, and how near a row is to another choice.


def selection(weights, select, uniform):
    far = torch.full(weights.shape[:-1], math.inf, dtype=torch.float64)
    if select[0] == "soft" or weights.shape[-1] == 0:
        return weights, far
    p = weights.detach()
    if select[0] == "hard":
        best, place = p.max(-1, keepdim=True)
        hot = torch.zeros_like(p).scatter(-1, place, 1.0) * (best > 0)
        two = p.topk(min(2, p.shape[-1]), -1).values
        gap = (two[..., 0] - two[..., 1]) if p.shape[-1] > 1 else far
        none = torch.where((p != 0).any(-1), -best[..., 0], far.to(p.dtype))  # how far a row is from taking a key
        return hot + (weights - p), torch.where(best[..., 0] > 0, torch.minimum(gap, best[..., 0]), none).double()
    heights = p.double().cumsum(-1)
    total = heights[..., -1:]
    full = total > 1 - 1e-5
    mark = torch.where(full, uniform * total, uniform)
    hot = ((heights > mark) & (heights - p <= mark) & (p > 0)).to(p.dtype)
    near = (heights - mark).abs().amin(-1).masked_fill(total[..., 0] == 0, math.inf)
    nearly = (total > 1 - 1e-5) & (total < 1 - 1e-12)  # whether the rest is rounding depends on the dtype
    near = near.masked_fill(nearly[..., 0], 0)
    return (hot if select[1] == "score-function" else hot + (weights - p)), near
