"""Where the elements of a tensor come from, through all that only moves them: views, slices, chunks, gathers, padding.

A model may compute its attention in blocks: of queries, keys and scores only some stand in a product, in an order of its
own. What is followed here says of each score between which tokens and of which head it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from heedful._types import Int, Tensor

NOWHERE = -1  # the origin of padding and of numbers that were written
_AS_SHAPED = frozenset("view view_as reshape reshape_as flatten unflatten squeeze unsqueeze".split())  # noqa: SIM905
_MOVES = frozenset(
    "transpose swapaxes swapdims permute movedim t expand expand_as __get__ __getitem__ as_strided roll flip gather "  # noqa: SIM905
    "index_select take_along_dim narrow select repeat repeat_interleave tile unfold diagonal chunk split unbind tensor_split".split()
)
_GATHERS = frozenset({"gather", "index_select", "take_along_dim"})
_JOINS = frozenset({"cat", "concat", "concatenate", "stack"})
# Each element of the result stands where it stood in the first operand that is followed.
_EACH = frozenset(
    "to type type_as float double half bfloat16 contiguous clone detach dropout dropout_ mul __mul__ __rmul__ __imul__ mul_ "  # noqa: SIM905
    "div __truediv__ __itruediv__ div_ add __add__ __radd__ __iadd__ add_ sub __sub__ __isub__ sub_ neg masked_fill "
    "masked_fill_ where nan_to_num clamp clamp_ clip maximum max softmax log_softmax exp tanh normalize".split()
)


class Root(NamedTuple):
    """A tensor whose elements are told apart: each has the number `base` + its index.

    Attributes:
        base: the number of the first element.
        shape: of the tensor.
        parents: of the tokens `[..., N, E]` of a linear layer: the node of its input; of scores: the nodes of both factors.
        equation: of scores: how einsum multiplies them; "": as matmul does.
        features: of a linear layer or a convolution, how many it gives; 0: it is none.
        sampled: whether it holds values between those of another tensor.
    """

    base: int
    shape: tuple[int, ...]
    parents: tuple["Node", ...] = ()
    equation: str = ""
    features: int = 0
    sampled: bool = False


class Node(NamedTuple):
    """How a tensor was made of others that are followed.

    Attributes:
        root: the root of its first element, as far as can be told without computing.
        function: of the numbers of elements; None: it is a root.
        parents: whose numbers the function takes.
        gathered: whether elements stand in an order that depends on numbers.
    """

    root: Root
    function: Callable[..., Any] | None = None
    parents: tuple["Node | Blank", ...] = ()
    gathered: bool = False


class Blank(NamedTuple):
    """A tensor whose elements come from nowhere."""

    shape: tuple[int, ...]


class Origins:
    """Follows tensors; nothing is computed before it is asked for."""

    def __init__(self) -> None:
        self.nodes: Any = WeakTensorKeyDictionary()
        self._next = 0

    def of(self, tensor: Any) -> Node | None:
        """What is known of a tensor."""
        return self.nodes.get(tensor) if isinstance(tensor, Tensor) else None

    def begin(self, tensor: Tensor) -> Node:
        """What is known of a tensor; if nothing, it is a root from here on."""
        node = self.nodes.get(tensor)
        if node is None:
            node = self.nodes[tensor] = self._root(tuple(tensor.shape))
        return node  # type: ignore[no-any-return]

    def linear(self, given: Tensor, output: Tensor, axis: int = -1) -> None:
        """A linear layer has run: tokens stay where they are, features are new. Of a convolution only these are known."""
        parents = (self.begin(given),) if axis == -1 else ()
        self.nodes[output] = self._root(tuple(output.shape), parents, features=output.shape[axis])

    def sample(self, output: Tensor) -> None:
        """Values were taken from between the positions of a tensor."""
        self.nodes[output] = Node(self._root(tuple(output.shape)).root._replace(sampled=True))

    def product(self, equation: str, operands: tuple[Tensor, ...], output: Tensor) -> None:
        """Two tensors that are followed were multiplied: these may be scores."""
        nodes = tuple(self.nodes.get(one) for one in operands)
        if all(nodes) and isinstance(output, Tensor):
            node = self._root(tuple(output.shape), nodes, equation)
            self.nodes[output] = node._replace(gathered=any(one.gathered for one in nodes))

    def follow(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """A function that may only move elements has run."""
        if not args or not self.nodes:
            return
        if name == "__setitem__":
            self._write(*args[:3])
        elif name in _JOINS:
            self._join(func, args, kwargs, output)
        elif name in _EACH:
            for one in args[:3]:
                node = self.of(one)
                if node is not None and isinstance(output, Tensor) and output.shape == one.shape:
                    self.nodes[output] = node
                    return
        elif (node := self.of(args[0])) is not None:
            self._move(node, name, func, args, kwargs, output)

    def _move(
        self, node: Node, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        if name in _AS_SHAPED and isinstance(output, Tensor):
            shape = tuple(output.shape)
            self.nodes[output] = Node(node.root, lambda numbers: numbers.reshape(shape), (node,), node.gathered)
        elif name == "pad" and kwargs.get("mode", "constant") == "constant":
            widths = kwargs.get("pad", args[1] if len(args) > 1 else None)
            self.nodes[output] = Node(
                node.root, lambda numbers: F.pad(numbers, widths, value=NOWHERE), (node,), node.gathered
            )
        elif name in _MOVES:
            rest, named, gathered = args[1:], dict(kwargs), node.gathered or name in _GATHERS
            if name == "expand_as":
                func, rest = Tensor.expand, tuple(output.shape)
            if isinstance(output, Tensor):
                self.nodes[output] = Node(node.root, lambda numbers: func(numbers, *rest, **named), (node,), gathered)
                return
            for index, part in enumerate(output if isinstance(output, (list, tuple)) else ()):
                if not isinstance(part, Tensor):
                    return
                moved = lambda numbers, index=index: func(numbers, *rest, **named)[index]  # noqa: E731
                self.nodes[part] = Node(node.root, moved, (node,), gathered)

    def _join(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
        parts, rest, named = tuple(args[0]), args[1:], dict(kwargs)
        nodes = [self.of(one) for one in parts]
        first = next((node for node in nodes if node is not None), None)
        if first is None:
            return
        parents = tuple(
            Blank(tuple(part.shape)) if node is None else node for part, node in zip(parts, nodes, strict=True)
        )
        self.nodes[output] = Node(first.root, lambda *numbers: func(numbers, *rest, **named), parents)

    def _write(self, target: Tensor, index: Any, value: Any) -> None:
        before, written = self.of(target), self.of(value)
        if before is None and written is None:
            return

        def function(numbers: Tensor, values: Tensor) -> Tensor:
            numbers = numbers.clone()
            numbers[index] = values
            return numbers

        parents = (before or Blank(tuple(target.shape)), written or Blank(()))
        self.nodes[target] = Node((before or written).root, function, parents)  # type: ignore[union-attr]

    def _root(
        self, shape: tuple[int, ...], parents: tuple[Node, ...] = (), equation: str = "", features: int = 0
    ) -> Node:
        root = Root(self._next, shape, parents, equation, features)
        self._next += max(torch.Size(shape).numel(), 1)
        return Node(root)


def numbers_of(node: Node | Blank, known: dict[int, Tensor]) -> Int[Tensor, "..."]:
    """The number of the element that each element comes from, or `NOWHERE`."""
    if isinstance(node, Blank):
        return torch.full(node.shape, NOWHERE)
    if id(node) not in known:
        if node.function is None:
            known[id(node)] = torch.arange(node.root.base, node.root.base + torch.Size(node.root.shape).numel()).view(
                node.root.shape
            )
        else:
            known[id(node)] = node.function(*(numbers_of(one, known) for one in node.parents))
    return known[id(node)]


def roots_of(node: Node | Blank) -> list[Root]:
    """All roots that elements may come from."""
    found: dict[int, Root] = {}
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Blank) or id(one) in seen:
            continue
        seen.add(id(one))
        if one.function is None:
            found[one.root.base] = one.root
        waiting += one.parents
    return list(found.values())
