"""Two-stage smoothing by self-similarity in loops and float64; imports nothing of heedful."""

import math

import numpy as np


def window(values, row, length, online):
    """The values around a row, or up to it; beyond the ends they are mirrored, or the first one is repeated."""
    found = []
    for offset in range(length):
        at = row + offset - (length - 1 if online else length // 2)
        if online:
            at = max(at, 0)
        while not 0 <= at < len(values):
            at = -at if at < 0 else 2 * (len(values) - 1) - at
        found.append(values[at])
    return np.array(found)


def smoothed_pass(compared, values, missing, length, bandwidth, reach, decay, online):
    """`[N, N]` weights, and the means of the values."""
    count = len(values)
    weights = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            near = reach is None or abs(i - j) <= reach
            if not near or missing[j] or (online and j > i):
                continue
            difference = window(compared, i, length, online) - window(compared, j, length, online)
            exponent = -(difference**2).mean() / (2 * bandwidth**2)
            exponent -= 0 if decay is None else (i - j) ** 2 / (2 * decay**2)
            weights[i, j] = math.exp(exponent)
    weights /= weights.sum(1, keepdims=True)
    return weights, weights @ values


def smoothed(values, missing, first, last, online):
    """Both stages."""
    pilot = smoothed_pass(values, values, missing, *first, online)[1]
    return smoothed_pass(pilot, values, missing, *last, online)
