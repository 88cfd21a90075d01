"""Any mechanism, tile by tile: what is N x M lives for one tile at a time, in every derivative too.

A tiled function is a function of whole tensors that is put together from the same function of their tiles: rows of the
query side by side, sums over what all tiles share. Its derivatives, forwards and backwards, are tiled functions again, with
the same tiles; so all orders take linear memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch

from heedful._checks import Shape, autocasts
from heedful._types import Tensor
from heedful.ops._concrete import nested_forward_mode, transformed
from heedful.ops.patterns.orders import Index

Kind = Literal["row", "column", "pair", "whole"]  # which axes of a tensor a tile takes a part of
Body = Callable[..., tuple[Tensor, ...]]


class Tile(NamedTuple):
    """Some rows of the matrix, and columns among which are all that they may see."""

    rows: Index
    columns: Index


@dataclasses.dataclass(frozen=True, eq=False)
class TiledFunction:
    """A function of whole tensors, computed tile by tile.

    Attributes:
        body: gives the outputs of one tile: `body(tile, *inputs of the tile)`; pure, of PyTorch's operations.
        tiles: gives the tiles; each row of the matrix is in at most one of them.
        inputs: the kind of each input.
        outputs: the kind and the whole shape of each output.
        fast: the same function of the whole tensors, without any derivative: gives the outputs, and what else to keep for
            `fast_vjp`. None, or where it gives None: tile by tile through `body`.
        fast_vjp: the same for the gradient: of which inputs are wanted, what was kept, the inputs and their output's gradient.
        fast_second: the same for the gradient of the gradient: of which inputs it was wanted and what was kept, twice.
    """

    body: Body
    tiles: Callable[[], Sequence[Tile]]
    inputs: tuple[Kind, ...]
    outputs: tuple[tuple[Kind, Shape], ...]
    fast: Callable[..., tuple[Tensor, ...] | None] | None = None
    fast_vjp: Callable[..., tuple[Tensor, ...] | None] | None = None
    fast_second: Callable[..., tuple[Tensor, ...] | None] | None = None

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, differentiable to any order; only the inputs are saved for it."""
        if autocasts(tensors[0]):  # in a backward pass: what is recomputed has to be what it was
            with torch.autocast(tensors[0].device.type, enabled=False):
                return self(*tensors)
        if nested_forward_mode():  # PyTorch gives zeros there through any `autograd.Function`
            return self.run(*tensors)
        apply = _Apply.apply if transformed() else _ApplyEager.apply
        return apply(self, *tensors)[: len(self.outputs)]  # type: ignore[no-any-return]

    def evaluate(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, by the fast version where it may be used, with what that keeps behind them."""
        outputs = None if self.fast is None or traced(tensors) else self.fast(*tensors)
        return self.run(*tensors) if outputs is None else outputs

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, by plain operations."""
        totals: list[Tensor] = []
        for tile in self.tiles():
            tile_outputs = self.body(tile, *(take(t, kind, tile) for t, kind in zip(tensors, self.inputs, strict=True)))
            if not totals:
                totals = [
                    tile_output.new_zeros(shape)
                    for tile_output, (_, shape) in zip(tile_outputs, self.outputs, strict=True)
                ]
            for total, tile_output, (kind, _) in zip(totals, tile_outputs, self.outputs, strict=True):
                put(total, tile_output, kind, tile)
        return tuple(totals) or tuple(tensors[0].new_zeros(shape) for _, shape in self.outputs)  # there may be no tile

    def vjp(
        self, needs_grad: tuple[bool, ...], shapes: Sequence[Shape], saved: tuple[Tensor, ...] = ()
    ) -> "TiledFunction":
        """The gradient of the wanted inputs, a function of the inputs (of these shapes) and of the gradients of the outputs."""
        indices = [i for i, needed in enumerate(needs_grad) if needed]
        count = len(self.inputs)

        def body(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
            inputs, gradients = tensors[:count], tensors[count:]
            vjp_function = torch.func.vjp(
                lambda *x: self.body(tile, *_replaced(inputs, indices, x)), *(inputs[i] for i in indices)
            )[1]
            return tuple(vjp_function(tuple(gradients)))

        return dataclasses.replace(
            self,
            body=body,
            inputs=self.inputs + tuple(kind for kind, _ in self.outputs),
            outputs=tuple((self.inputs[i], tuple(shapes[i])) for i in indices),
            fast=functools.partial(self.fast_vjp, needs_grad, saved) if self.fast_vjp else None,
            fast_vjp=functools.partial(self.fast_second, needs_grad, saved) if self.fast_second else None,
            fast_second=None,
        )

    def jvp(self, has_tangent: tuple[bool, ...]) -> "TiledFunction":
        """The derivative along a direction, a function of the inputs and of the directions of those that move."""
        indices = [i for i, has in enumerate(has_tangent) if has]
        count = len(self.inputs)

        def body(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
            # The gradient is linear in what it is given: the derivative along a direction is its own gradient. (`func.jvp`
            # would be nested forward mode here.)
            inputs, directions = tensors[:count], tensors[count:]
            primals = tuple(inputs[i] for i in indices)
            out, vjp_function, *_ = torch.func.vjp(lambda *x: self.body(tile, *_replaced(inputs, indices, x)), *primals)
            transpose = torch.func.vjp(vjp_function, tuple(torch.zeros_like(o) for o in out))[1]
            return tuple(transpose(tuple(directions))[0])

        return dataclasses.replace(
            self,
            body=body,
            inputs=self.inputs + tuple(self.inputs[i] for i in indices),
            fast=None,
            fast_vjp=None,
            fast_second=None,
        )


class _Apply(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(function: TiledFunction, *tensors: Tensor) -> tuple[Tensor, ...]:
        return function.evaluate(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function = inputs[0]
        count = len(inputs[0].outputs)
        saved = output if len(output) > count else ()
        ctx.extras = len(output) - count
        ctx.mark_non_differentiable(*output[count:])
        ctx.save_for_backward(*inputs[1:], *saved)
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        function, needs_grad = ctx.function, ctx.needs_input_grad[1:]
        inputs, saved = ctx.saved_tensors[: len(needs_grad)], ctx.saved_tensors[len(needs_grad) :]
        gradient_function = function.vjp(needs_grad, [t.shape for t in inputs], tuple(t.detach() for t in saved))
        results = iter(gradient_function(*inputs, *gradients[: len(function.outputs)]))
        return (None, *(next(results) if needed else None for needed in needs_grad))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        has_tangent = tuple(t is not None for t in tangents)
        inputs = ctx.saved_tensors[: len(tangents)]
        output_tangents = ctx.function.jvp(has_tangent)(*inputs, *(t for t in tangents if t is not None))
        return (*output_tangents, *(None,) * ctx.extras)


class _ApplyEager(torch.autograd.Function):
    """The same outside of transforms: PyTorch takes half as long to call a function that sets up its context by itself."""

    @staticmethod
    def forward(ctx: Any, function: TiledFunction, *tensors: Tensor) -> tuple[Tensor, ...]:
        output = function.evaluate(*tensors)
        _Apply.setup_context(ctx, (function, *tensors), output)
        return output

    backward = _Apply.backward
    jvp = _Apply.jvp


def traced(tensors: Sequence[Tensor]) -> bool:
    """Whether only plain operations may be used: in a transform of `torch.func`, in forward mode, for batched gradients."""
    if transformed() or torch.autograd.forward_ad._current_level >= 0:
        return True
    return any(torch._C._functorch.is_legacy_batchedtensor(t) for t in tensors)


def take(tensor: Tensor, kind: Kind, tile: Tile) -> Tensor:
    """The part of an input that a tile needs."""
    if kind == "row":
        return _select(tensor, -2, tile.rows)
    if kind == "column":
        return _select(tensor, -2, tile.columns)
    if kind == "pair":
        if tensor.dim() > 1 and tensor.shape[-2] > 1:
            tensor = _select(tensor, -2, tile.rows)
        return _select(tensor, -1, tile.columns) if tensor.dim() and tensor.shape[-1] > 1 else tensor
    return tensor


def put(total: Tensor, part: Tensor, kind: Kind, tile: Tile) -> None:
    """Adds the part of an output to the whole, in place."""
    if kind == "row":
        _add(total, part, [(-2, tile.rows)])
    elif kind == "column":
        _add(total, part, [(-2, tile.columns)])
    elif kind == "pair":
        by_row, by_column = total.dim() > 1 and total.shape[-2] > 1, total.dim() > 0 and total.shape[-1] > 1
        _add(total, part, [(-2, tile.rows)] * by_row + [(-1, tile.columns)] * by_column)
    else:
        total.add_(part)


def _add(total: Tensor, part: Tensor, indices: list[tuple[int, slice | Tensor]]) -> None:
    for axis, index in indices:
        if isinstance(index, slice):
            total = total.narrow(axis, index.start, index.stop - index.start)
    gathered = [(axis, index) for axis, index in indices if torch.is_tensor(index)]
    if len(gathered) == 2:
        total[..., gathered[0][1][:, None], gathered[1][1]] += part
    elif gathered:
        total.index_add_(*gathered[0], part)
    else:
        total.add_(part)


def _select(tensor: Tensor, axis: int, index: slice | Tensor) -> Tensor:
    if isinstance(index, slice):
        return tensor.narrow(axis, index.start, index.stop - index.start)
    return tensor.index_select(axis, index)


def _replaced(inputs: Sequence[Tensor], indices: Sequence[int], new: Sequence[Tensor]) -> list[Tensor]:
    inputs = list(inputs)
    for i, tensor in zip(indices, new, strict=True):
        inputs[i] = tensor
    return inputs
