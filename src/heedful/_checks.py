"""The only place that words errors about shapes, types and devices: what is expected, and what was received."""

import math

import torch
from torch import Tensor

Shape = tuple[int, ...]


def check_operands(query: Tensor, key: Tensor, value: Tensor | None = None) -> Shape:
    """Checks query `[..., H, N, D]`, key `[..., G, M, D]`, value `[..., G, M, E]`; gives the shape `(..., H, N, M)` of their matrix."""
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor | None)):
        names = " and ".join(type(operand).__name__ for operand in (query, key, value) if operand is not None)
        raise TypeError(f"`query`, `key` and `value` must be tensors: got {names}.")
    q, k = query.shape, key.shape
    v = k if value is None else value.shape
    if len(q) != len(k) or len(q) != len(v):
        _raise_dimensions(q, k, None if value is None else v)
    if len(q) < 2:
        raise ValueError(
            f"`query`, `key` and `value` must have at least two axes (positions and features): got {_sizes(q, k, v)}."
        )
    if k[-2] != v[-2]:
        raise ValueError(f"`key` must have as many positions as `value`: got {k[-2]} and {v[-2]}.")
    _check_dtype(query, key, value)
    if q[:-2] == k[:-2] == v[:-2]:
        return (*q[:-1], k[-2])
    if len(q) == 3:
        raise ValueError(
            f"three-dimensional `query`, `key` and `value` must have equal leading sizes: got {_sizes(q[:1], k[:1], v[:1])}; "
            "give four dimensions [batch, heads, positions, width] for grouped heads or broadcasting."
        )
    if k[-3] != v[-3]:
        raise ValueError(f"`key` and `value` must have the same number of heads: got {k[-3]} and {v[-3]}.")
    if q[-3] != k[-3] and (k[-3] == 0 or q[-3] % k[-3]):
        raise ValueError(
            f"the number of heads of `query` must be a multiple of that of `key`: got {q[-3]} and {k[-3]}."
        )
    try:
        lead = q[:-3] if q[:-3] == k[:-3] == v[:-3] else torch.broadcast_shapes(q[:-3], k[:-3], v[:-3])
    except RuntimeError:
        raise ValueError(
            f"the leading axes of `query`, `key` and `value` must broadcast: got {_sizes(q[:-3], k[:-3], v[:-3])}."
        ) from None
    return (*lead, q[-3], q[-2], k[-2])


def autocasts(tensor: Tensor) -> bool:
    """Whether autocast is on for the tensor's device; some devices, such as "meta", have none."""
    return torch.amp.is_autocast_available(tensor.device.type) and torch.is_autocast_enabled(tensor.device.type)


def check_broadcasts(name: str, tensor: Tensor, shape: Shape, axes: str = "[..., H, N, M]") -> None:
    """Checks that `tensor` broadcasts to `shape` without making it larger."""
    pairs = zip(reversed(tensor.shape), reversed(shape), strict=False)
    # Not by `torch.broadcast_shapes`, whose first call imports sympy: half a second.
    if tensor.dim() > len(shape) or not all(n in (1, m) for n, m in pairs):
        raise ValueError(f"{name} must broadcast to {axes} = {list(shape)}: got {list(tensor.shape)}.")


def check_bias(bias: Tensor, query: Tensor, shape: Shape) -> None:
    """Checks an additive bias: floating point, on the query's device, broadcastable to `shape`."""
    if not bias.is_floating_point():
        hint = "; a pattern `Mask(tensor)` says which pairs may attend" if bias.dtype == torch.bool else ""
        raise TypeError(f"`bias` must be floating point: got {bias.dtype}{hint}.")
    if bias.device != query.device:
        raise ValueError(f"`bias` must be on the device of `query`, {query.device}: got {bias.device}.")
    check_broadcasts("`bias`", bias, shape)


def check_scale(scale: Tensor | float | None, query: Tensor, shape: Shape) -> None:
    """Checks a factor of the scores: a number, or a tensor that broadcasts to `[..., H, N, 1]`."""
    if scale is None:
        return
    if not torch.is_tensor(scale):
        check_finite("scale", scale, "a number or a tensor")
        return
    check_of_rows("scale", scale, query, shape)


def check_of_rows(name: str, tensor: Tensor, query: Tensor, shape: Shape) -> None:
    """Checks numbers for each row: floating point, on the query's device, broadcastable to `[..., H, N, 1]`."""
    _check_numbers(name, tensor, query)
    check_broadcasts(f"`{name}`", tensor, (*shape[:-1], 1), "[..., H, N, 1]")


def check_number(name: str, value: object, rule: str = "a number") -> None:
    """Checks that it is an integer or a real number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be {rule}: got {value!r}.")


def check_finite(name: str, value: float, rule: str = "a number") -> None:
    """Checks a number that is neither infinite nor NaN."""
    check_number(name, value, rule)
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be finite: got {value}.")


def check_cap(name: str, value: float) -> None:
    """Checks a number that is positive and finite."""
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be positive{' and finite' if value == math.inf else ''}: got {value}.")


def check_sinks(sinks: Tensor, query: Tensor, shape: Shape) -> None:
    """Checks sinks: floating point, on the query's device, broadcastable to the axes before the positions."""
    if not torch.is_tensor(sinks):
        raise TypeError(f"`sinks` must be a tensor: got {type(sinks).__name__}.")
    _check_numbers("sinks", sinks, query)
    check_broadcasts("`sinks`, one for each head,", sinks, shape[:-2], "[..., H]")


def _check_numbers(name: str, tensor: Tensor, query: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"`{name}` must be floating point: got {tensor.dtype}.")
    if tensor.device != query.device:
        raise ValueError(f"`{name}` must be on the device of `query`, {query.device}: got {tensor.device}.")


def check_divides(name: str, part: int, of: str, whole: int) -> None:
    """Checks that `part` is positive and divides `whole`."""
    if part < 1 or whole % part:
        raise ValueError(f"`{name}` must be a positive divisor of `{of}`: got {part} and {whole}.")


def check_multiple(name: str, value: int, of: int) -> None:
    """Checks that a size is positive and divisible by `of`."""
    if value < 1 or value % of:
        raise ValueError(f"`{name}` must be a positive multiple of {of}: got {value}.")


def check_positive(name: str, value: int) -> None:
    """Checks a size."""
    if value < 1:
        raise ValueError(f"`{name}` must be positive: got {value}.")


def check_fraction(name: str, value: float) -> None:
    """Checks a probability that may be 0 but not 1."""
    check_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0 and less than 1: got {value}.")


def check_features(name: str, tensor: Tensor, width: int, axes: str) -> None:
    """Checks the number of axes and the last size of a layer's input, `axes` such as "[batch, positions, width]"."""
    if tensor.dim() != axes.count(",") + 1 or tensor.shape[-1] != width:
        raise ValueError(f"`{name}` must be {axes} with width {width}: got {list(tensor.shape)}.")


def check_vectors(x: Tensor, other: Tensor) -> None:
    """Checks two rows of vectors, `[..., N, D]` and `[..., M, D]`, before they become queries and keys."""
    for name, vectors in (("x", x), ("other", other)):
        if not torch.is_tensor(vectors):
            raise TypeError(f"`{name}` must be a tensor: got {type(vectors).__name__}.")
        if vectors.dim() < 2:
            raise ValueError(f"`{name}` must be [..., vectors, width]: got {list(vectors.shape)}.")
        if not vectors.is_floating_point():
            raise TypeError(f"`{name}` must be floating point: got {vectors.dtype}.")
    if x.shape[-1] != other.shape[-1]:
        raise ValueError(f"`x` and `other` must have the same width: got {x.shape[-1]} and {other.shape[-1]}.")
    if x.shape[:-2] != other.shape[:-2]:
        raise ValueError(
            f"`x` and `other` must have the same leading sizes: got {_sizes(x.shape[:-2], other.shape[:-2])}."
        )
    if x.dtype != other.dtype:
        raise TypeError(f"`x` and `other` must have the same dtype: got {x.dtype} and {other.dtype}.")


def _check_dtype(query: Tensor, key: Tensor, value: Tensor | None) -> None:
    others = {"key": key} if value is None else {"key": key, "value": value}
    for name, tensor in others.items():
        if tensor.dtype != query.dtype and not autocasts(query):
            raise TypeError(f"`query` and `{name}` must have the same dtype: got {query.dtype} and {tensor.dtype}.")
        if tensor.device != query.device:
            raise ValueError(
                f"`query` and `{name}` must be on the same device: got {query.device} and {tensor.device}."
            )
    if not query.is_floating_point():
        raise TypeError(f"`query` must be floating point: got {query.dtype}.")


def _raise_dimensions(q: Shape, k: Shape, v: Shape | None) -> None:
    sizes = [len(s) for s in (q, k, v) if s is not None]
    names = "`query` and `key`" if v is None else "`query`, `key` and `value`"
    raise ValueError(f"{names} must have the same number of axes: got {_words(sizes)}.")


def _sizes(*shapes: Shape) -> str:
    return _words([list(s) for s in shapes])


def _words(items: list[object] | list[int] | list[list[int]]) -> str:
    return ", ".join(map(str, items[:-1])) + f" and {items[-1]}"
