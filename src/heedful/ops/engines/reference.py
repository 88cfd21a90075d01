"""The definition, in N x M memory: for tests, for short inputs, for reading, and for the tiles of the tiled engine."""

import math

import torch

from heedful._checks import Shape
from heedful._types import Bool, Float, Int, Keys, Queries, Tensor, Values
from heedful.ops import _random
from heedful.ops.engines.base import Call, Engine, Result
from heedful.ops.mechanism import Mechanism
from heedful.ops.selection import Sampled


class Reference(Engine):
    """The definition over the whole matrix."""

    name = "reference"
    reason = "it can be traced"

    def obstacle(self, call: Call) -> str | None:
        return None

    def run(self, call: Call) -> Result:
        return attention(call.query, call.key, call.value, call.mechanism, call.shape)

    def pairs(self, call: Call) -> int:
        return math.prod(call.shape)

    def scratch_bytes(self, call: Call, passes: int) -> int:
        return 2 * math.prod(call.shape) * 4

    def linear_memory(self, call: Call) -> bool:
        return False


def scores(
    query: Queries, key: Keys, mechanism: Mechanism, shape: Shape, rows: Int[Tensor, "N"], columns: Int[Tensor, "M"]
) -> Float[Tensor, "... N M"]:
    """What is normalized: `softcap(scale * score(Q, K)) + bias`, of the queries at `rows` and the keys at `columns`."""
    factor = mechanism.factor(query.shape[-1])
    s = mechanism.score.pairs(query, key) * select_rows(factor, rows)
    if mechanism.softcap is not None:
        s = mechanism.softcap * (s / mechanism.softcap).tanh()
    if mechanism.bias is not None:
        s = s + mechanism.bias.at(rows[:, None], columns[None], shape)
    return s


def weights(
    query: Queries, key: Keys, mechanism: Mechanism, shape: Shape, rows: Int[Tensor, "N"], columns: Int[Tensor, "M"]
) -> Float[Tensor, "... N M"]:
    """The weights before one of them is selected: `normalize(scores, where the pattern allows)`."""
    s = scores(query, key, mechanism, shape, rows, columns)
    pattern = mechanism.pattern
    allowed = pattern.allowed(rows[:, None], columns[None], shape) if pattern.masks_any(shape) else None
    if mechanism.sinks is None:
        return mechanism.normalize(s, allowed)
    sinks = mechanism.sinks[..., None, None].to(s.dtype)
    visible_pairs = s != -torch.inf  # a NaN is seen
    allowed = visible_pairs if allowed is None else allowed & visible_pairs
    allowed = torch.cat([allowed, allowed.any(-1, keepdim=True)], dim=-1)  # an empty row stays empty
    return mechanism.normalize(torch.cat([s, sinks.expand(*s.shape[:-1], 1)], dim=-1), allowed)[..., :-1]


def rows_of(
    query: Queries,
    key: Keys,
    value: Values,
    mechanism: Mechanism,
    shape: Shape,
    rows: Int[Tensor, "N"],
    columns: Int[Tensor, "M"],
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"] | None]:
    """`A V` of the queries at `rows`, of which all visible keys stand at `columns`; where a key is drawn, also its log-probability."""
    A, log_probability = weights(query, key, mechanism, shape, rows, columns), None
    uniform = None
    if isinstance(mechanism.select, Sampled):
        uniform = _random.uniform(mechanism.seed, tuple(shape[:-2]), rows)
    selected = mechanism.select.apply(A, uniform)
    if isinstance(mechanism.select, Sampled):
        log_probability = mechanism.select.log_probability(A, selected)
    if mechanism.dropout:
        keep_mask = _random.keep_mask(mechanism.seed, tuple(shape[:-2]), rows, columns, mechanism.dropout)
        selected = (selected * keep_mask).div(1 - mechanism.dropout) if mechanism.dropout < 1 else selected * 0
    return selected @ value.to(selected.dtype), log_probability


def attention(
    query: Queries, key: Keys, value: Values, mechanism: Mechanism, shape: Shape
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"] | None]:
    """`A V`, in at least float32, given back in the dtype of `query`."""
    if query.dim() > 3:
        query, key, value = (t.expand(*shape[:-3], *t.shape[-3:]) for t in (query, key, value))
    rows, columns = positions(shape, query.device)
    q, k, v = at_least_float32(query), *(at_least_float32(all_heads(t, query)) for t in (key, value))
    out, log_probability = rows_of(q, k, v, mechanism, shape, rows, columns)
    return out.to(query.dtype), log_probability


def positions(shape: Shape, device: torch.device) -> tuple[Int[Tensor, "N"], Int[Tensor, "M"]]:
    """All rows and all columns."""
    return torch.arange(shape[-2], device=device), torch.arange(shape[-1], device=device)


def visible(
    mechanism: Mechanism, shape: Shape, rows: Int[Tensor, "N"], columns: Int[Tensor, "M"]
) -> Bool[Tensor, "..."]:
    """What neither the pattern nor a bias of -inf masks, as a tensor that broadcasts to `shape`."""
    allowed = mechanism.pattern.allowed(rows[:, None], columns[None], shape)
    if mechanism.bias is None:
        return allowed
    return allowed & (mechanism.bias.at(rows[:, None], columns[None], shape) != -math.inf)


def at_least_float32(tensor: Float[Tensor, "*sizes"]) -> Float[Tensor, "*sizes"]:
    """Half precision is raised to float32, the rest stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def all_heads(tensor: Float[Tensor, "... M F"], query: Queries) -> Float[Tensor, "... M F"]:
    """Each of G key/value heads serves H / G heads of the query."""
    if tensor.dim() < 4 or tensor.shape[-3] == query.shape[-3]:
        return tensor
    return tensor.repeat_interleave(query.shape[-3] // tensor.shape[-3], dim=-3)


def select_rows(factor: Float[Tensor, "..."] | float, rows: Int[Tensor, "n"]) -> Float[Tensor, "..."] | float:
    """A number for each row `[..., N, 1]` (or for all) at some rows."""
    if not torch.is_tensor(factor) or factor.dim() < 2 or factor.shape[-2] == 1:
        return factor
    return factor.index_select(-2, rows)
