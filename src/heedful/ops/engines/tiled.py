"""The tiled engine: the same rows as the definition, in buffers that are used again, without autograd.

A tile's scores become its weights in place; in the backward pass, the gradient of the weights becomes that of the scores.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Bool, Float, Queries, Tensor, Values
from heedful.ops import _random
from heedful.ops._concrete import nested_forward_mode
from heedful.ops._tree import tensors
from heedful.ops.biases import Bias, Sum, TensorBias
from heedful.ops.engines import assemble
from heedful.ops.engines.base import Call, Engine, Gradients, Kernel, Result
from heedful.ops.engines.derivatives import Tile, put, take
from heedful.ops.engines.features import operands
from heedful.ops.engines.reference import at_least_float32
from heedful.ops.engines.tiled_scores import CACHED_TERMS, AdditiveScores, InnerScores, add_product, product, scores_of
from heedful.ops.engines.tiles import positions_of, tile_size, tiles
from heedful.ops.mechanism import Mechanism
from heedful.ops.scores import Additive
from heedful.ops.selection import Sampled, Soft

CACHED = 2**20  # scores that are held at a time: 4 MB, so that they stay in the processor's cache


class Tiled(Engine):
    """Anything, tile by tile; what its fast version does not know, by the definition."""

    name = "tiled"
    reason = "asked for"

    def obstacle(self, call: Call) -> str | None:
        return None

    def run(self, call: Call) -> Result:
        inputs = operands(call.query, call.key, call.value, call.mechanism, call.shape)

        def kernel(mechanism: Mechanism) -> TiledKernel | None:
            width = inputs.query.shape[-1]
            return TiledKernel(mechanism, call.shape, width) if in_buffers(mechanism, width) else None

        return assemble.run(inputs, call.shape, self.name, kernel)

    def pairs(self, call: Call) -> int:
        return math.prod(call.shape[:-2]) * sum(math.prod(tile_size(tile)) for tile in self._tiles(call))

    def scratch_bytes(self, call: Call, passes: int) -> int:
        operands, mechanism = (call.query, call.key, call.value), call.mechanism
        raised_bytes = sum(t.numel() for t in operands) * 4 * passes if call.query.element_size() == 2 else 0
        additive = isinstance(mechanism.score, Additive)
        buffers = [0 if additive else cached(mechanism)]
        numbers = 2 * max(buffers + [n * (m + 1) for n, m in map(tile_size, self._tiles(call))])
        if additive:  # exponentials, and a number for each pair and feature of a tile
            numbers += call.query.numel() + call.key.numel() + 2 * CACHED_TERMS
        return raised_bytes + passes * 4 * numbers

    def linear_memory(self, call: Call) -> bool:
        return not nested_forward_mode()

    def _tiles(self, call: Call) -> Sequence[Tile]:
        pairs = pairs_of_tile(call.mechanism, call.shape, call.query.shape[-1])
        return tiles(call.mechanism.pattern, call.shape, pairs)


class TiledKernel(Kernel):
    """The rows of a mechanism that is known to the buffers, in at least float32."""

    def __init__(self, mechanism: Mechanism, shape: Shape, width: int) -> None:
        self.mechanism, self.shape, self.width = mechanism, shape, width

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """`A V`, and the thresholds of rows that have one."""
        out, thresholds = self._rows().forward(*(at_least_float32(t) for t in (q, k, v)))
        return (out.to(v.dtype),) if thresholds is None else (out.to(v.dtype), thresholds)

    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, saved: Sequence[Tensor]) -> Gradients:
        """The gradients of q, k and v, and of what the mechanism learns."""
        q32, k32, v32, g = (at_least_float32(t) for t in (q, k, v, dout))
        dq, dk, dv, learned = self._rows(gradient=True).backward(q32, k32, v32, g, saved[1] if saved else None)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), learned

    def _rows(self, *, gradient: bool = False) -> "TiledRows":
        pairs = pairs_of_tile(self.mechanism, self.shape, self.width, gradient=gradient)
        return TiledRows(self.mechanism, self.shape, tiles(self.mechanism.pattern, self.shape, pairs))


def in_buffers(mechanism: Mechanism, width: int) -> bool:
    """Whether the fast version knows the mechanism; what has parameters of its own that learn goes through the definition."""
    known = mechanism.score.inner or isinstance(mechanism.score, Additive)
    parametric = (
        mechanism.normalize.requires_grad or mechanism.normalize.per_row or torch.is_tensor(mechanism.factor(width))
    )
    return known and not parametric and not isinstance(mechanism.select, Sampled)


def pairs_of_tile(mechanism: Mechanism, shape: Shape, width: int, *, gradient: bool = False) -> int:
    """Pairs of a tile, of the function itself or of its gradient, which needs the terms of additive scores once more."""
    if in_buffers(mechanism, width):
        keeps_terms = gradient and isinstance(mechanism.score, Additive)
        return max(2 * CACHED_TERMS // max(width, 1), 1) if keeps_terms else cached(mechanism)
    return assemble.pairs_of_definition(mechanism, shape, width)


def cached(mechanism: Mechanism) -> int:
    """Scores that are held at a time: fewer where one buffer of them is not enough."""
    if mechanism.bias is not None:  # its gradient is held for all heads
        return CACHED // 8
    in_place = isinstance(mechanism.select, Soft) and not mechanism.dropout and mechanism.softcap is None
    return CACHED if in_place else CACHED // 4


class TiledRows:
    """A mechanism over whole tensors, tile by tile, forwards and backwards.

    Args:
        mechanism: its score is `Dot` or `Additive`; neither normalizer nor scale learn.
        shape: of the matrix.
        tiles: the rows and the columns of each tile.
    """

    def __init__(self, mechanism: Mechanism, shape: Shape, tiles: Sequence[Tile]) -> None:
        self.mechanism, self.shape, self.tiles = mechanism, shape, tiles
        self.heads = math.prod(shape[:-2])
        sizes = [tile_size(tile) for tile in tiles]
        several_heads = (
            0 if isinstance(mechanism.score, Additive) else cached(mechanism)
        )  # heads at a time, where they are small
        self.buffer = max([several_heads, *(n * (m + 1) for n, m in sizes)])

    def weights_by_tile(
        self, query: Queries, key: Float[Tensor, "... M D"], with_max_score: bool
    ) -> Iterator[tuple[Tile, Iterator[tuple[slice, Tensor, Tensor | None]]]]:
        """Tile by tile, which heads, their weights `[x, n, m]`, and if asked for the largest score of each row `[x, n]`.

        What comes next overwrites the weights.
        """
        q, k = _three_axes(query), _three_axes(key)
        scores, buffer = scores_of(self.mechanism, q, k), q.new_empty(self.buffer)

        def of_heads(tile: Tile) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
            bias, masked, m = self._bias(tile), self._masked_pairs(tile, q), tile_size(tile)[1]
            for heads, keys in self._head_groups(tile, k):
                masked_scores, _ = self._masked_scores(buffer, scores, heads, keys, tile, bias, masked)
                max_score = masked_scores[..., :m].amax(-1) if with_max_score else None
                yield heads, self.mechanism.normalize.forward_(masked_scores)[0][..., :m], max_score

        return ((tile, of_heads(tile)) for tile in self.tiles)

    def forward(
        self, query: Queries, key: Float[Tensor, "... M D"], value: Values
    ) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "X N 1"] | None]:
        """`A V`, and the thresholds of rows that have one."""
        q, k, v = (_three_axes(t) for t in (query, key, value))
        scores, buffer = scores_of(self.mechanism, q, k), q.new_empty(self.buffer)
        out = q.new_zeros(self.heads, self.shape[-2], v.shape[-1])
        thresholds = q.new_zeros(self.heads, self.shape[-2], 1) if self.mechanism.normalize.has_threshold else None
        for tile in self.tiles:
            bias, masked = self._bias(tile), self._masked_pairs(tile, q)
            for heads, keys in self._head_groups(tile, k):
                weights, row, _ = self._weights(buffer, scores, heads, keys, tile, bias, masked, None)
                if thresholds is not None and row is not None:
                    put(thresholds[heads], row, "row", tile)
                selected, _ = self._selected(weights, heads, tile)
                put(out[heads], selected @ take(v[keys], "column", tile), "row", tile)
        return out.view(*self.shape[:-1], v.shape[-1]), thresholds

    def backward(
        self,
        query: Queries,
        key: Float[Tensor, "... M D"],
        value: Values,
        dout: Float[Tensor, "... N E"],
        thresholds: Float[Tensor, "X N 1"] | None,
    ) -> tuple[Tensor, Tensor, Tensor, dict[int, Tensor]]:
        """The gradients of query, key and value, and of the tensors of the mechanism that learn, by their `id`."""
        q, k, v, g = (_three_axes(t) for t in (query, key, value, dout))
        scores = scores_of(self.mechanism, q, k)
        buffer, gradient_buffer = q.new_empty(self.buffer), q.new_empty(self.buffer)
        scores.begin_gradient()
        dv = torch.zeros_like(v)
        bias_gradients = {id(t): torch.zeros_like(t) for t in tensors(self.mechanism.bias) if t.requires_grad}
        sinks = None if self.mechanism.sinks is None else q.new_zeros(self.heads)
        for tile in self.tiles:
            bias, masked = self._bias(tile), self._masked_pairs(tile, q)
            dbias = torch.zeros_like(bias) if bias is not None and bias_gradients else None
            for heads, keys in self._head_groups(tile, k):
                weights, row, capped = self._weights(buffer, scores, heads, keys, tile, bias, masked, thresholds)
                selected, keep_mask = self._selected(weights, heads, tile)
                gradients = take(g[heads], "row", tile)
                add_product(dv, keys, tile, selected.mT, gradients)
                ds = gradient_buffer[: weights.numel()].view(weights.shape)
                dp = ds if sinks is None else ds[..., :-1]
                product(dp, gradients, take(v[keys], "column", tile).mT)
                if keep_mask is not None:
                    dp.mul_(keep_mask).div_(1 - self.mechanism.dropout)
                if sinks is not None:
                    ds[..., -1] = 0
                ds = self.mechanism.normalize.backward_(weights, ds, row)
                if sinks is not None:
                    sinks[heads] += ds[..., -1].sum(-1)
                    ds = ds[..., :-1]
                if masked is not None:
                    masked.write_(ds, heads, 0.0)
                if dbias is not None:
                    target = _select_heads(dbias, heads)
                    target.add_(ds.sum_to_size(target.shape))
                if capped is not None:
                    ds.mul_(capped.square_().neg_().add_(1))
                scores.backward(ds, heads, keys, tile)
            if dbias is not None and self.mechanism.bias is not None:
                self._bias_backward(dbias, self.mechanism.bias, bias_gradients, tile)
        dq, dk, score_gradients = scores.gradients()
        if sinks is not None and self.mechanism.sinks is not None:
            score_gradients[id(self.mechanism.sinks)] = sinks.view(self.shape[:-2]).sum_to_size(
                self.mechanism.sinks.shape
            )
        return dq.view(query.shape), dk.view(key.shape), dv.view(value.shape), bias_gradients | score_gradients

    def _weights(
        self,
        buffer: Tensor,
        scores: InnerScores | AdditiveScores,
        heads: slice,
        keys: slice,
        tile: Tile,
        bias: Tensor | None,
        masked: "_MaskedPairs | None",
        thresholds: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The weights of a tile (the sink's in a last column), what their gradient needs, and the capped scores."""
        weights, capped = self._masked_scores(buffer, scores, heads, keys, tile, bias, masked)
        if thresholds is None:
            return (*self.mechanism.normalize.forward_(weights), capped)
        row = take(thresholds[heads], "row", tile)
        return self.mechanism.normalize.recompute_(weights, row), row, capped

    def _masked_scores(
        self,
        buffer: Tensor,
        scores: InnerScores | AdditiveScores,
        heads: slice,
        keys: slice,
        tile: Tile,
        bias: Tensor | None,
        masked: "_MaskedPairs | None",
    ) -> tuple[Tensor, Tensor | None]:
        """What is normalized, -inf where masked (the sink in a last column), and the capped scores."""
        count, (n, m) = heads.stop - heads.start, tile_size(tile)
        wide = m if self.mechanism.sinks is None else m + 1
        weights = buffer[: count * n * wide].view(count, n, wide)
        s, capped = weights[..., :m], None
        scores.fill(s, heads, keys, tile)
        if self.mechanism.softcap is not None:
            s.div_(self.mechanism.softcap).tanh_()
            capped = s.clone()
            s.mul_(self.mechanism.softcap)
        if bias is not None:
            s.add_(_select_heads(bias, heads))
        if masked is not None:
            masked.write_(s, heads, -math.inf)
        if self.mechanism.sinks is not None:
            sinks = self.mechanism.sinks.detach().expand(self.shape[:-2]).reshape(-1)[heads].to(s.dtype)
            visible_rows = (s != -math.inf).any(-1)  # a NaN is seen
            weights[..., -1] = torch.where(visible_rows, sinks[:, None], -math.inf)
        return weights, capped

    def _selected(self, weights: Tensor, heads: slice, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """What multiplies the values, and which of it dropout keeps."""
        mechanism, lead = self.mechanism, self.shape[:-2]
        weights = weights if mechanism.sinks is None else weights[..., :-1]
        rows, columns = (positions_of(p, weights.device) for p in tile)
        if not isinstance(mechanism.select, Soft):
            uniform = None
            if isinstance(mechanism.select, Sampled):
                uniform = _random.uniform(mechanism.seed, lead, rows).flatten(0, -3)[heads]
            weights = mechanism.select.apply(weights, uniform)
        if not mechanism.dropout:
            return weights, None
        keep_mask = _random.keep_mask(mechanism.seed, lead, rows, columns, mechanism.dropout, heads=heads)
        return (weights * keep_mask).div_(1 - mechanism.dropout), keep_mask

    def _masked_pairs(self, tile: Tile, like: Tensor) -> "_MaskedPairs | None":
        """Which pairs of a tile are masked; None where all are visible."""
        if not self.mechanism.pattern.masks_any(self.shape):
            return None
        rows, columns = (positions_of(p, like.device) for p in tile)
        masked = ~self.mechanism.pattern.allowed(rows[:, None], columns[None], self.shape)
        if masked.is_meta:
            return _MaskedPairs(_flat(masked, self.shape), slice(None))
        masked_columns = masked.flatten(0, -2).any(0).nonzero()[:, 0]
        if not len(masked_columns):
            return None
        masked = _flat(masked, self.shape)
        columns_with_masked = (
            slice(int(masked_columns[0]), int(masked_columns[-1]) + 1) if masked.shape[-1] > 1 else slice(None)
        )
        return _MaskedPairs(masked[..., columns_with_masked] if masked.shape[-1] > 1 else masked, columns_with_masked)

    def _bias(self, tile: Tile) -> Tensor | None:
        """The numbers to add in a tile `[X or 1, n or 1, m or 1]`."""
        bias = self.mechanism.bias
        if bias is None:
            return None
        tensor = next(iter(tensors(bias)), None)
        rows, columns = (positions_of(p, None if tensor is None else tensor.device) for p in tile)
        return _flat(at_least_float32(bias.at(rows[:, None], columns[None], self.shape).detach()), self.shape)

    def _bias_backward(self, dbias: Tensor, bias: Bias, gradients: dict[int, Tensor], tile: Tile) -> None:
        """Hands the gradient of a tile's numbers on to the tensors that they come from."""
        for term in bias.terms if isinstance(bias, Sum) else (bias,):
            learned = [t for t in tensors(term) if id(t) in gradients]
            if isinstance(term, TensorBias) and learned:
                total = gradients[id(term.tensor)]
                piece = take(total, "pair", tile)
                put(total, _unflat(dbias, self.shape).sum_to_size(piece.shape).to(total.dtype), "pair", tile)
            elif learned:
                rows, columns = (positions_of(p, dbias.device) for p in tile)
                with torch.enable_grad():
                    numbers = term.at(rows[:, None], columns[None], self.shape)
                gradient = _unflat(dbias, self.shape)
                gradient = gradient.expand(torch.broadcast_shapes(gradient.shape, numbers.shape)).sum_to_size(
                    numbers.shape
                )
                for t, gradient_of_t in zip(
                    learned, torch.autograd.grad(numbers, learned, gradient.to(numbers.dtype)), strict=True
                ):
                    gradients[id(t)] += gradient_of_t

    def _head_groups(self, tile: Tile, k: Tensor) -> Iterator[tuple[slice, slice]]:
        """As many heads at a time as fit, and the key heads that serve them."""
        n, m = tile_size(tile)
        group = self.heads // max(len(k), 1)
        step = max(self.buffer // max(n * (m + 1), 1), 1) if group == 1 else 1
        for start in range(0, self.heads, step):
            heads = slice(start, min(start + step, self.heads))
            yield heads, heads if group == 1 else slice(start // group, start // group + 1)


class _MaskedPairs(NamedTuple):
    """Hidden pairs of a tile `[X or 1, n or 1, m or 1]`, and the columns among which all of them are."""

    pairs: Bool[Tensor, "x n m"]
    columns: slice

    def write_(self, numbers: Float[Tensor, "x n m"], heads: slice, value: float) -> None:
        """Writes a value in the place of what is masked."""
        numbers[..., self.columns].masked_fill_(_select_heads(self.pairs, heads), value)


def _three_axes(tensor: Tensor) -> Tensor:
    return tensor.reshape(math.prod(tensor.shape[:-2]), *tensor.shape[-2:])


def _flat(tensor: Tensor, shape: Shape) -> Tensor:
    """What broadcasts to `(..., H, n, m)`, as `[X or 1, n or 1, m or 1]` with X the product of the leading axes."""
    tensor = tensor.reshape((1,) * (2 - tensor.dim()) + tensor.shape)
    if math.prod(tensor.shape[:-2]) == 1:
        return tensor.reshape(1, *tensor.shape[-2:])
    return tensor.expand(*shape[:-2], *tensor.shape[-2:]).reshape(-1, *tensor.shape[-2:])


def _unflat(tensor: Tensor, shape: Shape) -> Tensor:
    lead = (1,) * len(shape[:-2]) if len(tensor) == 1 else shape[:-2]
    return tensor.view(*lead, *tensor.shape[-2:])


def _select_heads(tensor: Tensor, heads: slice) -> Tensor:
    return tensor if len(tensor) == 1 else tensor[heads]
