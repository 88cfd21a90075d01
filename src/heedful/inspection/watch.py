"""Capture: every call of `heedful.attention` within a model, as the matrix that it used."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from heedful._types import Tensor
from heedful.inspection.summary import summarize
from heedful.ops import AttentionMatrix, attention


@dataclass(frozen=True)
class SeenAttention:
    """One call: the name of the module in which it happened ("" outside of all), and its matrix."""

    module: str
    matrix: AttentionMatrix


@dataclass
class Seen(Sequence[SeenAttention]):
    """The calls that were seen, in their order; a name finds the call of one module."""

    calls: list[SeenAttention] = field(default_factory=list)

    def __getitem__(self, key: Any) -> Any:
        """The call at a position, or the matrix of the module of that name (its last call)."""
        if not isinstance(key, str):
            return self.calls[key]
        for call in reversed(self.calls):
            if call.module == key:
                return call.matrix
        raise KeyError(
            f"no attention was seen in {key!r}; seen: {', '.join(dict.fromkeys(c.module for c in self.calls)) or 'none'}."
        )

    def __len__(self) -> int:
        return len(self.calls)

    def __str__(self) -> str:
        """A table: module, shape of the matrix, and each head's mean entropy in nats."""
        rows = [("module", "shape", "entropy of each head (nat)")]
        for call in self.calls:
            entropy = " ".join(f"{head.entropy:.2f}" for head in summarize(call.matrix))
            rows.append((call.module, " x ".join(map(str, call.matrix.shape)), entropy))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)


@contextmanager
def watch(model: nn.Module) -> Iterator[Seen]:
    """Sees the attention of a model while it runs; its outputs do not change.

    Only queries and keys are kept, no matrix. Calls of `heedful.attention` are seen, in this thread.

    Example:
        >>> model = heedful.nn.TransformerEncoder(width=8, heads=2, layers=3)
        >>> with watch(model) as seen:
        ...     _ = model(torch.randn(1, 5, 8))
        >>> [call.module for call in seen]
        ['layers.0.attention', 'layers.1.attention', 'layers.2.attention']
        >>> seen["layers.0.attention"].shape
        (1, 2, 5, 5)
    """
    seen, inside = Seen(), [""]
    with ExitStack() as stack:
        for name, module in model.named_modules():
            hooks = (
                module.register_forward_pre_hook(partial(_enter, inside, name)),
                module.register_forward_hook(partial(_leave, inside), always_call=True),
            )
            for hook in hooks:
                stack.callback(hook.remove)
        stack.enter_context(_Capture(seen, inside))
        yield seen


def _enter(inside: list[str], name: str, *_: Any) -> None:
    inside.append(name)


def _leave(inside: list[str], *_: Any) -> None:
    inside.pop()


# what a matrix is asked for; selection and dropout act on what becomes of it
_OF_MATRIX = ("score", "normalize", "pattern", "bias", "scale", "softcap", "sinks")


class _Capture(TorchFunctionMode):
    """Stands between the caller and `heedful.attention`."""

    def __init__(self, seen: Seen, inside: list[str]) -> None:
        super().__init__()
        self.seen, self.inside = seen, inside

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is attention:
            query, key, _ = args
            options = {name: _detached(value) for name, value in kwargs.items() if name in _OF_MATRIX}
            self.seen.calls.append(
                SeenAttention(self.inside[-1], AttentionMatrix(query.detach(), key.detach(), **options))
            )
        return func(*args, **kwargs)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
