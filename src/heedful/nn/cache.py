"""Keys and values that were computed before: decoding computes those of the new positions alone."""

import abc

import torch

from heedful._checks import as_integer, check_positive, size_or_default
from heedful._types import Float, Int, Tensor


class Cache(abc.ABC):
    """Keys `[B, G, M, D]` and values `[B, G, M, E]` of the positions so far; each attention layer needs a cache of its own.

    Attributes:
        length: how many positions are held, M; the next one stands at `length`.
    """

    length: int
    _key: Tensor | None
    _value: Tensor | None

    @abc.abstractmethod
    def append(
        self, key: Float[Tensor, "B G n D"], value: Float[Tensor, "B G n E"]
    ) -> tuple[Float[Tensor, "B G M D"], Float[Tensor, "B G M E"]]:
        """Adds n positions and gives all that are held now."""

    @abc.abstractmethod
    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Sample i goes on with what sample `index[i]` holds, as a beam search needs it."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Forgets everything."""

    def crop(self, length: int) -> None:
        """Forgets all positions from `length` on."""
        length = as_integer("length", length)
        if not 0 <= length <= self.length:
            raise ValueError(f"`length` must be from 0 to the {self.length} positions that are held: got {length}.")
        self.length = length

    def __repr__(self) -> str:
        axes = None if self._key is None else (*self._key.shape[:2], self.length, self._key.shape[-1])
        return f"{type(self).__name__}({'empty' if axes is None else f'key={axes}'})"

    def _check(self, key: Tensor, value: Tensor) -> None:
        for name, new, stored in (("key", key, self._key), ("value", value, self._value)):
            if stored is None:
                continue
            axes = [*stored.shape[:2], key.shape[-2], stored.shape[-1]]
            if list(new.shape) != axes:
                raise ValueError(f"`{name}` must be {axes} to follow what the cache holds: got {list(new.shape)}.")
            if new.dtype != stored.dtype or new.device != stored.device:
                raise TypeError(
                    f"`{name}` must be {stored.dtype} on {stored.device} as the cache is: got {new.dtype} on {new.device}."
                )


class KeyValueCache(Cache):
    """A cache that grows with what is appended.

    Without gradients the memory doubles where it is full, so that n positions cost n copies, not n squared. Where gradients
    are recorded, what is held is never written to: each step concatenates, and gradients flow through all steps.

    Example:
        >>> layer, cache, x = MultiHeadAttention(8, heads=2).eval(), KeyValueCache(), torch.randn(1, 5, 8)
        >>> with torch.no_grad():
        ...     steps = [layer(x[:, i : i + 1], pattern=Causal("end"), cache=cache) for i in range(5)]
        ...     torch.allclose(torch.cat(steps, 1), layer(x, pattern=Causal()), atol=1e-6)
        True
        >>> cache
        KeyValueCache(key=(1, 2, 5, 4))
    """

    def __init__(self) -> None:
        self.reset()

    def append(
        self, key: Float[Tensor, "B G n D"], value: Float[Tensor, "B G n E"]
    ) -> tuple[Float[Tensor, "B G M D"], Float[Tensor, "B G M E"]]:
        """Adds n positions and gives all that are held now.

        Raises:
            ValueError: batch, heads or widths are others than before.
            TypeError: dtype or device are others than before.
        """
        self._check(key, value)
        if self._key is None or self._value is None:
            self._key, self._value, self._owned = key, value, False
        elif torch.is_grad_enabled():
            self._key = torch.cat([self._key[:, :, : self.length], key], dim=2)
            self._value = torch.cat([self._value[:, :, : self.length], value], dim=2)
            self._owned = False
        else:
            end = self.length + key.shape[-2]
            if not self._owned or end > self._key.shape[-2]:
                self._key, self._value = (self._grow(t, max(end, 2 * self.length)) for t in (self._key, self._value))
                self._owned = True
            self._key[:, :, self.length : end] = key
            self._value[:, :, self.length : end] = value
        self.length += key.shape[-2]
        return self._key[:, :, : self.length], self._value[:, :, : self.length]

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Sample i goes on with what sample `index[i]` holds; there may be more or fewer samples than before."""
        if self._key is not None and self._value is not None:
            self._key, self._value = self._key.index_select(0, index), self._value.index_select(0, index)
            self._owned = self._owned and not torch.is_grad_enabled()

    def reset(self) -> None:
        """Forgets everything, sizes and dtype too."""
        self._key = self._value = None
        self._owned = False  # whether nobody else may hold the tensors, so that they can be written to
        self.length = 0

    def _grow(self, stored: Tensor, size: int) -> Tensor:
        wide = stored.new_empty(*stored.shape[:2], size, stored.shape[-1])
        wide[:, :, : self.length] = stored[:, :, : self.length]
        return wide


class StaticKeyValueCache(Cache):
    """A cache whose memory is taken once: it stays at its place, and is written to in place.

    A layer attends to the part that is filled, so that patterns and biases see as many keys as there are.

    Args:
        batch: the number of samples, B.
        heads: the number of key/value heads, G.
        max_positions: the most positions that it holds.
        width: the features of each key head, D.
        value_width: the features of each value head, E; by default `width`.
        dtype: by default PyTorch's default.
        device: by default PyTorch's default.

    Example:
        >>> cache = StaticKeyValueCache(batch=1, heads=2, max_positions=5, width=4)
        >>> keys, values = cache.append(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
        >>> keys.shape, cache.length
        (torch.Size([1, 2, 3, 4]), 3)
    """

    _key: Tensor
    _value: Tensor

    def __init__(
        self,
        batch: int,
        heads: int,
        max_positions: int,
        width: int,
        *,
        value_width: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        batch, max_positions = as_integer("batch", batch, 0), check_positive("max_positions", max_positions)
        heads, width = check_positive("heads", heads), check_positive("width", width)
        value_width = size_or_default("value_width", value_width, width)
        self._key = torch.zeros(batch, heads, max_positions, width, dtype=dtype, device=device)
        self._value = torch.zeros(batch, heads, max_positions, value_width, dtype=dtype, device=device)
        self.length = 0

    def append(
        self, key: Float[Tensor, "B G n D"], value: Float[Tensor, "B G n E"]
    ) -> tuple[Float[Tensor, "B G M D"], Float[Tensor, "B G M E"]]:
        """Adds n positions and gives all that are held now.

        Raises:
            ValueError: it is full; sizes are others than the cache's; or a gradient is wanted, which writing in place forbids.
            TypeError: dtype or device are others than the cache's.
        """
        self._check(key, value)
        if torch.is_grad_enabled() and (key.requires_grad or value.requires_grad):
            raise ValueError(
                "`key` and `value` must not require a gradient in a cache of fixed size: got some that do; "
                "decode under `torch.no_grad()`, or with a `KeyValueCache`."
            )
        end, capacity = self.length + key.shape[-2], self._key.shape[-2]
        if end > capacity:
            raise ValueError(
                f"`max_positions` of the cache must be at least {end} to hold what is appended: got {capacity}."
            )
        self._key[:, :, self.length : end] = key
        self._value[:, :, self.length : end] = value
        self.length = end
        return self._key[:, :, :end], self._value[:, :, :end]

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Sample i goes on with what sample `index[i]` holds; `index` has as many entries as there are samples."""
        if index.shape[0] != self._key.shape[0]:
            raise ValueError(f"`index` must have one entry for each of {self._key.shape[0]} samples: got {len(index)}.")
        for stored in (self._key, self._value):
            stored[:, :, : self.length] = stored[:, :, : self.length].index_select(0, index)

    def reset(self) -> None:
        """Forgets everything and keeps the memory."""
        self.length = 0
