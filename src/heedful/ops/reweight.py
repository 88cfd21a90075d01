"""Attention with nothing learned: vectors that look at vectors."""

from heedful._checks import check_vectors
from heedful._types import Float, Tensor
from heedful.ops.attention import attention
from heedful.ops.normalizers import Normalizer, proportional
from heedful.ops.scores import Dot

_DOT = Dot()


def reweight(
    x: Float[Tensor, "... N D"],
    other: Float[Tensor, "... M D"] | None = None,
    *,
    normalize: Normalizer = proportional,
) -> Float[Tensor, "... N D"]:
    """Each vector becomes a mean of the vectors that it is similar to: `y_i = sum_j a_ij z_j`, with `a_i = normalize(x_i z^T)`.

    How similar two vectors are is their dot product. `proportional` gives each vector its share of the positive ones, and those
    shares add up to 1. A vector that is similar to none becomes 0.

    Args:
        x: `[..., N, D]`, N vectors of D numbers.
        other: `[..., M, D]`, the vectors z that are looked at; by default `x` itself.
        normalize: what makes weights of the dot products: `proportional`, `softmax` or another normalizer.

    Returns:
        `[..., N, D]`. The weights themselves: `attention_weights(x, z, score=Dot(), normalize=normalize)`.

    Raises:
        ValueError: the sizes do not fit.
        TypeError: the dtypes do not fit, or `normalize` is not a normalizer.

    Example:
        >>> sky, is_, clear, today = [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]
        >>> sentence = torch.tensor([sky, is_, clear, today])  # (weather, grammar, time)
        >>> attention_weights(sentence[:1], sentence, score=Dot(), normalize=proportional)
        tensor([[0.5000, 0.0000, 0.2500, 0.2500]])
        >>> reweight(sentence)[0]
        tensor([1.5000, 0.2500, 0.2500])

    Source: Vaswani et al. 2017, equation 1, with Q = K = V = x, without the scale; the shares: Shen et al. 2023, with a sum
    in place of the count.
    """
    z = x if other is None else other
    check_vectors(x, z)
    return attention(x, z, z, score=_DOT, normalize=normalize)
