"""The only place that words errors about shapes, types and devices: what is expected, and what was received."""

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

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
    check_per_row("scale", scale, query, shape)


def check_per_row(name: str, tensor: Tensor, query: Tensor, shape: Shape) -> None:
    """Checks numbers for each row: floating point, on the query's device, broadcastable to `[..., H, N, 1]`."""
    _check_numbers(name, tensor, query)
    check_broadcasts(f"`{name}`", tensor, (*shape[:-1], 1), "[..., H, N, 1]")


def as_integer(name: str, value: object, least: int | None = None, rule: str | None = None) -> int:
    """An integer of any kind (Python's, NumPy's, an array or a tensor without axes) as a plain one.

    Raises:
        TypeError: it is no integer; a bool is none.
        ValueError: it is less than `least`.
    """
    number = _integer(value)
    if rule is None:
        rule = {None: "an integer", 0: "a non-negative integer", 1: "a positive integer"}.get(
            least, f"at least {least}"
        )
    if number is None:
        raise TypeError(f"`{name}` must be {rule}: got {value!r}.")
    if least is not None and number < least:
        raise ValueError(f"`{name}` must be {rule}: got {number}.")
    return number


def as_number(name: str, value: object, rule: str = "a number") -> int | float:
    """An integer or a real number of any kind as a plain one; a tensor is none, as it may learn.

    Raises:
        TypeError: it is no number.
    """
    if type(value) is float:
        return value
    number: int | float | None = None if isinstance(value, Tensor) else _integer(value)
    if number is None and not isinstance(value, (Tensor, bool)):
        scalar = value.item() if _has_no_axes(value) else value  # type: ignore[attr-defined]
        number = float(scalar) if isinstance(scalar, numbers.Real) and not isinstance(scalar, bool) else None
    if number is None:
        raise TypeError(f"`{name}` must be {rule}: got {value!r}.")
    return number


def as_integers(name: str, value: object) -> Tensor | int:
    """Integers as a tensor, whether they come as one, as an array or as (nested) lists; one alone as a plain number.

    Raises:
        TypeError: they are no integers.
        ValueError: the lists are not equally long.
    """
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"`{name}` must be integers: got {value.dtype}.")
        return value
    number = _integer(value)
    if number is not None:
        return number
    array = as_tensor(value)
    if isinstance(array, Tensor):
        return torch.as_tensor(as_integers(name, array) if array.numel() else array).long()
    rows = _plain_integers(name, value)
    try:
        return torch.tensor(rows, dtype=torch.long)
    except ValueError:
        raise ValueError(f"`{name}` must be lists of equally many integers: got {value!r}.") from None


def as_tensor(value: object) -> object:
    """A copy of a NumPy array as a tensor; what is none, or holds no numbers, as it is."""
    if isinstance(value, Tensor) or not hasattr(value, "__array__"):
        return value
    try:
        return torch.tensor(value.__array__())
    except TypeError:  # texts or objects
        return value


def as_grid(name: str, value: Any) -> tuple[int, int]:
    """The (rows, columns) of a grid: any two positive integers as a tuple of plain ones."""
    sizes = [_integer(size) for size in value] if _is_row(value) else []
    rows, columns = sizes if len(sizes) == 2 else (None, None)
    if rows is None or columns is None or rows < 1 or columns < 1:
        raise ValueError(f"`{name}` must be two positive integers, (rows, columns): got {value!r}.")
    return rows, columns


def as_odd_sizes(name: str, value: Any) -> int | tuple[int, int]:
    """One odd positive integer, or two as a tuple: (height, width)."""
    sizes = [_integer(size) for size in (value if _is_row(value) else (value, value))]
    height, width = sizes if len(sizes) == 2 else (None, None)
    if height is None or width is None or min(height, width) < 1 or not height % 2 == width % 2 == 1:
        raise ValueError(f"`{name}` must be an odd positive integer or two of them: got {value!r}.")
    return (height, width) if _is_row(value) else height


def as_sizes(name: str, value: Any) -> tuple[int, ...]:
    """One positive integer, or several in a row, as a tuple."""
    items = value if _is_row(value) else (value,)
    return tuple(check_positive(name, size) for size in items)


def check_finite(name: str, value: object, rule: str = "a number") -> int | float:
    """A plain number that is neither infinite nor NaN."""
    number = as_number(name, value, rule)
    if not math.isfinite(number):
        raise ValueError(f"`{name}` must be finite: got {number}.")
    return number


def check_positive_finite(name: str, value: object) -> int | float:
    """A plain number that is positive and finite."""
    number = as_number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be positive{' and finite' if number == math.inf else ''}: got {number}.")
    return number


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


def check_divides(name: str, part: object, of: str, whole: int) -> int:
    """A plain integer that is positive and divides `whole`."""
    number = as_integer(name, part)
    if number < 1 or whole % number:
        raise ValueError(f"`{name}` must be a positive divisor of `{of}`: got {number} and {whole}.")
    return number


def check_multiple(name: str, value: object, of: int) -> int:
    """A plain integer, a size, that is positive and divisible by `of`."""
    number = as_integer(name, value)
    if number < 1 or number % of:
        raise ValueError(f"`{name}` must be a positive multiple of {of}: got {number}.")
    return number


def check_positive(name: str, value: object) -> int:
    """A plain integer, a size, that is positive."""
    number = as_integer(name, value)
    if number < 1:
        raise ValueError(f"`{name}` must be positive: got {number}.")
    return number


def size_or_default(name: str, value: object, default: int) -> int:
    """A size, plain and positive, or the default where there is none."""
    return default if value is None else check_positive(name, value)


def check_fraction(name: str, value: object) -> int | float:
    """A plain number, a probability that may be 0 but not 1."""
    number = as_number(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"`{name}` must be at least 0 and less than 1: got {number}.")
    return number


def check_floating(name: str, tensor: Tensor) -> None:
    """Checks a tensor whose numbers a layer changes: integers would be cut off."""
    if not tensor.is_floating_point():
        raise TypeError(f"`{name}` must be floating point: got {tensor.dtype}.")


def check_real(name: str, tensor: object) -> None:
    """Checks a tensor of integers or of real numbers, such as positions."""
    if not isinstance(tensor, Tensor) or tensor.dtype == torch.bool or tensor.is_complex():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"`{name}` must be a tensor of real numbers: got {kind}.")


def check_features(name: str, tensor: Tensor, width: int, axes: str) -> None:
    """Checks the number of axes and the last size of a layer's input, `axes` such as "[batch, positions, width]"."""
    if tensor.dim() != axes.count(",") + 1 or tensor.shape[-1] != width:
        raise ValueError(f"`{name}` must be {axes} with width {width}: got {list(tensor.shape)}.")
    check_floating(name, tensor)


def check_channels(name: str, tensor: Tensor, channels: int) -> None:
    """Checks a feature map `[batch, channels, height, width]`."""
    if tensor.dim() != 4 or tensor.shape[1] != channels:
        raise ValueError(
            f"`{name}` must be [batch, channels, height, width] with {channels} channels: got {list(tensor.shape)}."
        )
    check_floating(name, tensor)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> Any:
    """One of some words."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"`{name}` must be {', '.join(others)} or {last}: got {value!r}.")
    return value


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


def _integer(value: object) -> int | None:
    """An integer as a plain one; None where it is none."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.dim() or value.dtype == torch.bool)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_row(value: object) -> bool:
    """Whether it is a list or something like it."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes)) and not _has_no_axes(value)


def _has_no_axes(value: object) -> bool:
    return getattr(value, "shape", None) == ()


def _plain_integers(name: str, value: Any) -> Any:
    """(Nested) lists of plain integers."""
    if _is_row(value):
        return [_plain_integers(name, item) for item in value]
    number = _integer(value)
    if number is None:
        raise TypeError(f"`{name}` must be integers: got {type(value).__name__}.")
    return number
