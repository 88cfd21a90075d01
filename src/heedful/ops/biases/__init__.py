"""Numbers to add to the scores: given ones (`base.py`), and those by distance (`distance.py`)."""

from heedful.ops.biases.base import Bias, LowRank, PerKey, PerQuery, Sum, TensorBias, as_bias
from heedful.ops.biases.distance import ALiBi, ALiBi2d, RelativeBias, RelativeBias2d, alibi_slopes, log_buckets

__all__ = [
    "ALiBi",
    "ALiBi2d",
    "Bias",
    "LowRank",
    "PerKey",
    "PerQuery",
    "RelativeBias",
    "RelativeBias2d",
    "Sum",
    "TensorBias",
    "alibi_slopes",
    "as_bias",
    "log_buckets",
]
