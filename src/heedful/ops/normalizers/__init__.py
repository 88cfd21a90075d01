"""What makes weights of scores: each row becomes weights over the keys that it may see."""

from heedful.ops.normalizers.alpha import Entmax, entmax
from heedful.ops.normalizers.base import Normalizer
from heedful.ops.normalizers.exponential import Softmax, Softmax1, softmax, softmax1
from heedful.ops.normalizers.pointwise import Linear, Proportional, Relu, Sigmoid, linear, proportional, relu, sigmoid
from heedful.ops.normalizers.sparse import Entmax15, Sparsemax, entmax15, sparsemax

__all__ = [
    "Entmax",
    "Entmax15",
    "Linear",
    "Normalizer",
    "Proportional",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Softmax1",
    "Sparsemax",
    "entmax",
    "entmax15",
    "linear",
    "proportional",
    "relu",
    "sigmoid",
    "softmax",
    "softmax1",
    "sparsemax",
]
