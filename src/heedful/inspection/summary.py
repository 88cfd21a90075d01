"""A line of numbers for each head of a matrix."""

from typing import NamedTuple

from heedful.inspection.calls import num_heads
from heedful.ops import AttentionMatrix, statistics


class HeadSummary(NamedTuple):
    """What one head does, as means over the batch and the queries.

    Attributes:
        entropy: of a row, in nats.
        effective_keys: among how many keys the attention is spread, as `AttentionMatrix.effective_keys` counts them.
        first: mass on the first position.
        most_received: the mass that the most attended key gets from an average query.
    """

    entropy: float
    effective_keys: float
    first: float
    most_received: float


def summarize(matrix: AttentionMatrix) -> list[HeadSummary]:
    """A summary of each head; one pass for the entropy and one for the rest.

    Raises:
        ValueError: the weights do not add up to 1.

    Example:
        >>> [head] = summarize(AttentionMatrix(torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8)))
        >>> round(head.entropy, 4), round(head.effective_keys, 4), head.first
        (1.3863, 4.0, 0.25)
    """
    queries, keys = matrix.shape[-2:]
    heads = num_heads(matrix)
    entropy = matrix.entropy()  # which refuses what it is not defined of
    effective, received = matrix.reduce(statistics.effective_keys(matrix.shape), statistics.received(matrix.shape))
    of_heads = (t.reshape(-1, heads, queries).mean((0, 2)) for t in (entropy, effective))
    each = (received / queries).reshape(-1, heads, keys).mean(0)
    return [
        HeadSummary(e.item(), k.item(), r[0].item(), r.max().item()) for e, k, r in zip(*of_heads, each, strict=True)
    ]
