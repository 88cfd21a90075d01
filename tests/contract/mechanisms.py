"""The table: every mechanism that is exported, as a case that each law is tried on. A new mechanism adds rows here."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import heedful
from heedful import ops
from heedful.ops import _random
from tests.reference import naive

B, H, N, M, D, E = 2, 3, 5, 7, 11, 13  # a different prime for every axis
ENGINES = ("fused", "banded", "tiled", "reference")


def random(*sizes: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Numbers:
    """A tensor that learns.

    Attributes:
        axes: names of a case's sizes, or sizes.
        low: where the numbers begin; None: they are normal.
        high: where they end.
    """

    axes: tuple[str | int, ...]
    low: float | None = None
    high: float = 1.0


def everything(b: int, h: int, i: int, j: int) -> bool:
    return True


@dataclass(frozen=True, eq=False)
class Case:
    """One mechanism (or a combination) and its naive twin.

    Attributes:
        covers: the exported names that this case tries.
        options: keyword arguments of `heedful.attention`, made of the parameters.
        twin: those of `naive.attention`, made of the parameters.
        parameters: what learns beside query, key and value.
        breaks: laws that do not hold by nature, and why.
        queries: how many, and likewise the others.
    """

    covers: tuple[str, ...]
    options: Callable[..., dict[str, Any]] = dict
    twin: Callable[..., dict[str, Any]] = dict
    parameters: tuple[Numbers, ...] = ()
    breaks: Mapping[str, str] = field(default_factory=dict)
    queries: int = N
    keys: int = M
    heads: int = H
    groups: int = H
    key_width: int = D

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return B, self.heads, self.queries, self.keys

    def operands(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """query, key, value and the parameters."""
        generator = torch.Generator().manual_seed(seed)
        shapes = [(*self.shape[:3], D), (B, self.groups, self.keys, self.key_width), (B, self.groups, self.keys, E)]
        made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        sizes = {"B": B, "H": self.heads, "N": self.queries, "M": self.keys, "D": D, "K": self.key_width}
        for numbers in self.parameters:
            shape = [sizes[a] if isinstance(a, str) else a for a in numbers.axes]
            if numbers.low is None:
                made.append(torch.randn(shape, generator=generator, dtype=torch.float64))
            else:
                uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
                made.append(numbers.low + (numbers.high - numbers.low) * uniform)
        return tuple(t.to(dtype) for t in made)

    def attention(self, query, key, value, *parameters, **more):
        return heedful.attention(query, key, value, **self.options(*parameters), **more)

    def weights(self, query, key, value, *parameters):
        options = {k: v for k, v in self.options(*parameters).items() if k not in ("select", "dropout", "seed")}
        return heedful.attention_weights(query, key, **options)

    def matrix(self, query, key, value=None, *parameters):
        return heedful.AttentionMatrix(query, key, **self.options(*parameters))

    def naive(self, query, key, value, *parameters) -> naive.Found:
        twin = {"score": lambda q, k, h: naive.scaled_dot(q, k), "visible": everything, **self.twin(*parameters)}
        return naive.attention(query, key, value, **twin)

    @functools.cached_property
    def seen(self) -> torch.Tensor:
        """The pattern as a tensor [B, H, N, M], by the naive twin."""
        visible = self.twin(*self.operands()[3:]).get("visible", everything)
        places = torch.ones(self.shape).nonzero().tolist()
        return torch.tensor([bool(visible(*place)) for place in places]).view(self.shape)

    @functools.cached_property
    def bias(self) -> torch.Tensor | None:
        """The numbers to add [B, H, N, M], by the naive twin."""
        number = self.twin(*self.operands()[3:]).get("bias")
        if number is None:
            return None
        places = torch.ones(self.shape).nonzero().tolist()
        return torch.tensor([float(number(*place)) for place in places], dtype=torch.float64).view(self.shape)

    @functools.cached_property
    def engines(self) -> dict[str, bool]:
        """The engines that can compute it, and whether with gradients of the parameters too."""
        found: dict[str, bool] = {}
        query, key, value, *parameters = self.operands()
        for learns in (False, True):
            parameters = [p.requires_grad_(learns) for p in parameters]
            for engine in ENGINES:
                if self.refusal(engine, query, key, value, *parameters) is None:
                    found[engine] = learns
        return found

    def refusal(self, engine: str, query, key, value, *parameters) -> str | None:
        """With which words an engine refuses."""
        try:
            heedful.plan(query, key, value, **self.options(*parameters), engine=engine)
        except ValueError as error:
            return str(error)
        except Exception:  # a fault: the laws will meet it
            return None
        return None

    @property
    def positional(self) -> bool:
        """Whether where a query or a key stands plays a role."""
        return not self.seen.all() or self.bias is not None

    def grouped(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.repeat_interleave(self.heads // self.groups, dim=1)


# Patterns, each with its naive twin.

LENGTHS = torch.tensor([4, 0])
KEYS = torch.tensor([True, False, True, True, False, False, True])
MASK = random(B, H, N, M) > 0.5
SQUARE = random(B, H, M, M, seed=4) > 0.4
RANDOM = random(M, M, seed=5) > 0.8
IDS = [0, 0, 0, 1, -1, 2, 2]
BATCHED_IDS, KEY_IDS = [[0, 1, 1, -1, 2], [5, 0, 0, 3, 3]], [[1, 0, 0, 2, 2, -1, 1], [3, 3, 0, 5, 7, 0, 0]]
GRID = (3, 4)
CELLS = 12
within_lengths = naive.lengths(LENGTHS.tolist())
documents = naive.documents([IDS] * B, [IDS] * B)


def masked(b: int, h: int, i: int, j: int) -> bool:
    return bool(MASK[b, h, i, j])


def both(*rules):
    return lambda *place: all(rule(*place) for rule in rules)


def either(*rules):
    return lambda *place: any(rule(*place) for rule in rules)


def neither(rule):
    return lambda *place: not rule(*place)


def pattern_case(covers: tuple[str, ...], pattern: ops.Pattern, visible: Callable[..., bool], **sizes: int) -> Case:
    return Case(covers, lambda: {"pattern": pattern}, lambda: {"visible": visible}, **sizes)


def square(covers: tuple[str, ...], pattern: ops.Pattern, visible: Callable[..., bool], **sizes: int) -> Case:
    return pattern_case(covers, pattern, visible, queries=M, **sizes)


def on_grid(covers: tuple[str, ...], pattern: ops.Pattern, visible: Callable[..., bool]) -> Case:
    return pattern_case(covers, pattern, visible, queries=CELLS, keys=CELLS)


PATTERNS = {
    "causal": square(("Causal",), ops.Causal(), naive.causal()),
    "causal, start": pattern_case(("Causal",), ops.Causal("start"), naive.causal()),
    "causal, end": pattern_case(("Causal",), ops.Causal("end"), naive.causal(M - N)),
    "causal, end, more queries": pattern_case(("Causal",), ops.Causal("end"), naive.causal(M - 11), queries=11),
    "local": square(("Local",), ops.Local(2, 1), naive.local(2, 1)),
    "local, end": pattern_case(("Local",), ops.Local(1, align="end"), naive.local(1, 1, M - N)),
    "local, start, more queries": pattern_case(
        ("Local",), ops.Local(1, 0, "start"), naive.local(1, 0), queries=11, groups=1
    ),
    "dilated": square(("Dilated",), ops.Dilated(1, dilation=2), naive.dilated(1, 1, 2)),
    "dilated, start": pattern_case(("Dilated",), ops.Dilated(2, 0, 3, "start"), naive.dilated(2, 0, 3)),
    "prefix": square(("Prefix",), ops.Prefix(3), naive.prefix([3] * B)),
    "prefix, end, of each sample": pattern_case(
        ("Prefix",), ops.Prefix(torch.tensor([4, 0]), "end"), naive.prefix([4, 0], M - 11), queries=11
    ),
    "lengths": pattern_case(("Lengths",), ops.Lengths(LENGTHS), within_lengths),
    "lengths, one for all": pattern_case(("Lengths",), ops.Lengths(3), naive.lengths([3] * B)),
    "documents": square(("Documents",), ops.Documents(torch.tensor(IDS)), documents),
    "documents, of keys": pattern_case(
        ("Documents",), ops.Documents(torch.tensor(BATCHED_IDS), torch.tensor(KEY_IDS)),
        naive.documents(BATCHED_IDS, KEY_IDS), groups=1,
    ),
    "tokens": square(("GlobalTokens",), ops.GlobalTokens([0, 5]), naive.tokens([0, 5])),
    "tokens, keys": pattern_case(("GlobalTokens",), ops.GlobalTokens(torch.tensor([1]), "keys"), naive.token_keys([1])),
    "neighborhood": on_grid(("Neighborhood2d",), ops.Neighborhood2d(3, GRID), naive.neighborhood2d(3, 3, 4)),
    "neighborhood, wide": on_grid(("Neighborhood2d",), ops.Neighborhood2d((1, 5), GRID), naive.neighborhood2d(1, 5, 4)),
    "axial": on_grid(("Axial",), ops.Axial(GRID), naive.axial(4)),
    "mask": pattern_case(("Mask",), ops.Mask(MASK), masked, groups=1),
    "mask of rows": pattern_case(("Mask",), ops.Mask(MASK[..., :1]), lambda b, h, i, j: bool(MASK[b, h, i, 0])),
    "mask of keys": pattern_case(("Mask",), ops.Mask(KEYS), lambda b, h, i, j: bool(KEYS[j])),
    "causal & lengths": square(
        ("And",), ops.Causal() & ops.Lengths(LENGTHS), both(naive.causal(), within_lengths)
    ),
    "causal & mask": pattern_case(("And",), ops.Causal("start") & ops.Mask(MASK), both(naive.causal(), masked)),
    "global & lengths": pattern_case(("And", "Global"), ops.Global() & ops.Lengths(LENGTHS), within_lengths),
    "causal | lengths": pattern_case(
        ("Or",), ops.Causal("start") | ops.Lengths(LENGTHS), either(naive.causal(), within_lengths)
    ),
    "~causal": pattern_case(("Not",), ~ops.Causal("start"), neither(naive.causal())),
    "~local": square(("Not",), ~ops.Local(1), neither(naive.local(1, 1))),
    "~(lengths | mask)": pattern_case(
        ("Not", "Or"), ~(ops.Lengths(LENGTHS) | ops.Mask(MASK)), neither(either(within_lengths, masked))
    ),
    "~global": pattern_case(("Not", "Global"), ~ops.Global(), lambda b, h, i, j: False),
    "local & causal": square(("And",), ops.Local(2) & ops.Causal(), naive.local(2, 0)),
    "documents & causal": square(
        ("And",), ops.Documents(torch.tensor(IDS)) & ops.Causal(), both(documents, naive.causal())
    ),
    "documents & prefix": square(
        ("And",), ops.Documents(torch.tensor(IDS)) & ops.Prefix(torch.tensor([2, 0])),
        both(documents, naive.prefix([2, 0])),
    ),
    "longformer": square(("Or",), ops.Local(1) | ops.GlobalTokens([0]), either(naive.local(1, 1), naive.tokens([0]))),
    "longformer, causal": square(
        ("Or", "And"), (ops.Local(1) | ops.GlobalTokens([2])) & ops.Causal(),
        both(either(naive.local(1, 1), naive.tokens([2])), naive.causal()),
    ),
    "big bird": square(
        ("Or",), ops.Local(1) | ops.GlobalTokens([0]) | ops.Mask(RANDOM),
        either(naive.local(1, 1), naive.tokens([0]), lambda b, h, i, j: bool(RANDOM[i, j])),
    ),
    "dilated & lengths": square(
        ("And",), ops.Dilated(2, dilation=2) & ops.Lengths(LENGTHS), both(naive.dilated(2, 2, 2), within_lengths)
    ),
    "local & mask": square(
        ("And",), ops.Local(2) & ops.Mask(SQUARE),
        both(naive.local(2, 2), lambda b, h, i, j: bool(SQUARE[b, h, i, j])),
    ),
    "neighborhood & causal": on_grid(
        ("And",), ops.Neighborhood2d(3, GRID) & ops.Causal(), both(naive.neighborhood2d(3, 3, 4), naive.causal())
    ),
    "axial | tokens": on_grid(
        ("Or",), ops.Axial(GRID) | ops.GlobalTokens([5]), either(naive.axial(4), naive.tokens([5]))
    ),
    "local, two heads a key": square(("Local",), ops.Local(1), naive.local(1, 1), heads=6, groups=3),
}  # fmt: skip


# Scores, normalizers, numbers to add, and what else there is.

LEARNED = Numbers(("H",), 0.5, 1.5)
ORDER = "the draw of a pair depends on where it stands"
DRAWS = {"row alone": ORDER, "order of keys": ORDER, "order of inputs": ORDER, "batch": ORDER}
STEPS = {"finite differences": "what is chosen jumps, its gradient is another's by definition"}
CAUSAL = {"pattern": ops.Causal("start") & ops.Lengths(LENGTHS)}
CAUSAL_TWIN = {"visible": both(naive.causal(), within_lengths)}


def plain(score, *parameters):
    """The naive twin of a score that is the same for all heads."""
    return lambda q, k, h: score(q, k, *parameters)


def scored(covers: str, make: Callable[..., ops.Score], twin: Callable[..., Any], *parameters: Numbers, **more) -> Case:
    scale = more.pop("scale", None)
    options = {} if scale is None else {"scale": scale}
    theirs = {} if scale is None else {"scale": lambda h, i: scale}
    return Case(
        (covers,), lambda *p: {"score": make(*p)} | options, lambda *p: {"score": twin(*p)} | theirs, parameters, **more
    )


def normalized(
    covers: str, make: Callable[..., ops.Normalizer], twin: Callable[..., Any], *parameters: Numbers, **options: Any
) -> Case:
    """With rows that see nothing; `options` are of both sides, and `with_twin` of the twin only."""
    more = options.pop("with_twin", {})
    return Case(
        (covers,),
        lambda *p: {"normalize": make(*p)} | CAUSAL | options,
        lambda *p: {"normalize": twin(*p)} | CAUSAL_TWIN | more,
        parameters,
    )


def each_row(rule, *parameters):
    return lambda s, h, i: rule(s, *parameters)


def biased(
    covers: tuple[str, ...], make: Callable[..., Any], twin: Callable[..., Any], *parameters: Numbers, **more: Any
) -> Case:
    options, theirs = more.pop("options", {}), more.pop("theirs", {})
    return Case(
        covers, lambda *p: {"bias": make(*p)} | options, lambda *p: {"bias": twin(*p)} | theirs, parameters, **more
    )


def of_axes(tensor: torch.Tensor, shape: tuple[int, ...]):
    """The number of a pair in a tensor that broadcasts."""
    return lambda b, h, i, j: tensor.expand(shape)[b, h, i, j]


def kept(p: float, seed: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    return _random.keep_mask(seed, shape[:2], torch.arange(shape[2]), torch.arange(shape[3]), p)


def uniforms(seed: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    return _random.uniform(seed, shape[:2], torch.arange(shape[2]))[..., 0]


def dropped(p: float, seed: int, options: dict[str, Any], twin: dict[str, Any], **sizes: int) -> Case:
    shape = (B, H, sizes.get("queries", N), M)
    return Case(
        (), lambda: {"dropout": p, "seed": seed} | options,
        lambda: {"dropout": p, "keep": kept(p, seed, shape)} | twin, breaks=DRAWS, **sizes,
    )  # fmt: skip


def sampled(gradient: str, seed: int, options: dict[str, Any], twin: dict[str, Any], **sizes: int) -> Case:
    select = naive.straight_through if gradient == "straight-through" else naive.score_function
    shape = (B, H, sizes.get("queries", N), M)
    return Case(
        ("Sampled",), lambda: {"select": ops.Sampled(gradient), "seed": seed} | options,
        lambda: {"select": select, "uniform": uniforms(seed, shape)} | twin, breaks=DRAWS | STEPS, **sizes,
    )  # fmt: skip


def hard(options: dict[str, Any], twin: dict[str, Any], **sizes: int) -> Case:
    return Case(
        ("Hard",),
        lambda: {"select": ops.Hard()} | options,
        lambda: {"select": naive.hard} | twin,
        breaks=STEPS,
        **sizes,
    )


SLOPES_OF_3 = [2**-4, 2**-8, 2**-2]  # Press et al. 2022: those of two heads, then the first of four
HEADS, TABLE = Numbers(("H",)), Numbers(("H", 5))
LOCAL, LOCAL_TWIN = {"pattern": ops.Local(1)}, {"visible": naive.local(1, 1)}

CASES: dict[str, Case] = {
    "softmax(scaled dot)": Case(("ScaledDot", "softmax", "Global", "Soft")),
    "dot": scored("Dot", ops.Dot, lambda: plain(naive.dot)),
    "grouped heads": Case((), groups=1),
    "two heads a key": Case((), heads=6, groups=3),
    **PATTERNS,
    # scores
    "bilinear": scored("Bilinear", ops.Bilinear, lambda w: plain(naive.bilinear, w), Numbers(("D", "K")), key_width=3),
    "bilinear, heads": scored(
        "Bilinear", ops.Bilinear, lambda w: lambda q, k, h: naive.bilinear(q, k, w[h]), Numbers(("H", "D", "K")),
        heads=6, groups=3, scale=0.3, key_width=2,
    ),
    "additive": scored("Additive", ops.Additive, lambda w: plain(naive.additive, w), Numbers(("D",)), groups=1),
    "additive, heads": scored(
        "Additive", ops.Additive, lambda w: lambda q, k, h: naive.additive(q, k, w[h]), Numbers(("H", "D")),
        heads=6, groups=3, scale=0.5,
    ),
    "cosine": scored("Cosine", ops.Cosine, lambda: plain(naive.cosine), scale=5.0, groups=1),
    "gaussian": scored("Gaussian", lambda: ops.Gaussian(2.0), lambda: plain(naive.gaussian, 2.0)),
    "gaussian, learned": scored(
        "Gaussian", ops.Gaussian, lambda b: plain(naive.gaussian, b), Numbers((), 2.0, 3.0), groups=1
    ),
    "gaussian, heads": scored(
        "Gaussian", ops.Gaussian, lambda b: lambda q, k, h: naive.gaussian(q, k, b[h]), Numbers(("H",), 2.0, 3.0)
    ),
    # normalizers
    "softmax1": normalized("softmax1", lambda: ops.softmax1, lambda: each_row(naive.softmax1)),
    "relu": normalized("relu", lambda: ops.relu, lambda: each_row(naive.relu)),
    "proportional": normalized("proportional", lambda: ops.proportional, lambda: each_row(naive.proportional)),
    "sigmoid": normalized("sigmoid", lambda: ops.sigmoid, lambda: each_row(naive.sigmoid)),
    "sigmoid, offset": normalized("Sigmoid", lambda: ops.Sigmoid(0.3), lambda: each_row(naive.sigmoid, 0.3)),
    "sigmoid, learned": normalized("Sigmoid", ops.Sigmoid, lambda b: each_row(naive.sigmoid, b), Numbers(())),
    "sigmoid, learned, heads": normalized(
        "Sigmoid", ops.Sigmoid, lambda b: lambda s, h, i: naive.sigmoid(s, b[h, 0, 0]), Numbers(("H", 1, 1))
    ),
    "sparsemax": normalized("sparsemax", lambda: ops.sparsemax, lambda: each_row(naive.sparsemax)),
    "entmax15": normalized("entmax15", lambda: ops.entmax15, lambda: each_row(naive.entmax15)),
    "entmax": normalized("entmax", lambda: ops.entmax(1.3), lambda: each_row(naive.entmax, 1.3)),
    "entmax, learned": normalized(
        "entmax", ops.entmax, lambda a: each_row(naive.entmax, a), Numbers((), 1.2, 2.0)
    ),
    "entmax, learned, heads": normalized(
        "entmax", ops.entmax, lambda a: lambda s, h, i: naive.entmax(s, a[h, 0, 0]), Numbers(("H", 1, 1), 1.2, 2.0)
    ),
    "entmax, learned, rows": Case(
        ("entmax",), lambda a: {"normalize": ops.entmax(a)},
        lambda a: {"normalize": lambda s, h, i: naive.entmax(s, a[h, i, 0])}, (Numbers(("H", "N", 1), 1.2, 2.0),),
    ),
    "linear": normalized("linear", lambda: ops.linear, lambda: each_row(naive.linear)),
    "linear, dot": Case(
        ("linear",), lambda: {"normalize": ops.linear, "score": ops.Dot()},
        lambda: {"normalize": each_row(naive.linear), "score": plain(naive.dot)}, groups=1,
    ),
    "entmax15, local": Case(
        ("entmax15",), lambda: {"normalize": ops.entmax15, "pattern": ops.Local(2, 1)},
        lambda: {"normalize": each_row(naive.entmax15), "visible": naive.local(2, 1)}, queries=M, heads=6, groups=3,
    ),
    "relu, neighborhood": Case(
        ("relu",), lambda: {"normalize": ops.relu, "pattern": ops.Neighborhood2d(3, GRID)},
        lambda: {"normalize": each_row(naive.relu), "visible": naive.neighborhood2d(3, 3, 4)},
        queries=CELLS, keys=CELLS,
    ),
    "sparsemax(additive), longformer": Case(
        ("sparsemax", "Additive"),
        lambda w: {"normalize": ops.sparsemax, "score": ops.Additive(w), "pattern": ops.Local(1) | ops.GlobalTokens([0])},
        lambda w: {"normalize": each_row(naive.sparsemax), "score": plain(naive.additive, w),
                   "visible": either(naive.local(1, 1), naive.tokens([0]))},
        (Numbers(("D",)),), queries=M, groups=1,
    ),
    "proportional(dot), dilated": Case(
        ("proportional",), lambda: {"normalize": ops.proportional, "score": ops.Dot(), "pattern": ops.Dilated(1)},
        lambda: {"normalize": each_row(naive.proportional), "score": plain(naive.dot),
                 "visible": naive.dilated(1, 1, 2)}, queries=M,
    ),
    # numbers to add
    "bias": biased(("TensorBias",), lambda t: t, lambda t: of_axes(t, (B, H, N, M)), Numbers(("B", "H", "N", "M")),
                   groups=1),
    "bias of keys": biased(("TensorBias",), ops.TensorBias, lambda t: of_axes(t, (B, H, N, M)), Numbers(("M",))),
    "bias of heads, dot, causal & mask": biased(
        ("TensorBias",), lambda t: t, lambda t: of_axes(t, (B, H, N, M)), Numbers(("H", 1, "M")),
        options={"score": ops.Dot(), "pattern": ops.Causal("start") & ops.Mask(MASK)},
        theirs={"score": plain(naive.dot), "visible": both(naive.causal(), masked)},
    ),
    "bias, causal": biased(
        ("TensorBias",), lambda t: t, lambda t: of_axes(t, (B, H, M, M)), Numbers(("N", "M")), queries=M,
        options={"pattern": ops.Causal()}, theirs={"visible": naive.causal()},
    ),
    "bias, local, entmax15": biased(
        ("TensorBias",), lambda t: t, lambda t: of_axes(t, (B, H, M, M)), Numbers(("B", 1, "N", "M")), queries=M,
        options=LOCAL | {"normalize": ops.entmax15}, theirs=LOCAL_TWIN | {"normalize": each_row(naive.entmax15)},
    ),
    "per key": biased(("PerKey",), ops.PerKey, lambda t: lambda b, h, i, j: t[h, j], Numbers(("H", "M"))),
    "per query, relu": biased(
        ("PerQuery",), ops.PerQuery, lambda t: lambda b, h, i, j: t[i], Numbers(("N",)),
        options={"normalize": ops.relu}, theirs={"normalize": each_row(naive.relu)},
    ),
    "per query": biased(("PerQuery",), ops.PerQuery, lambda t: lambda b, h, i, j: t[b, h, i], Numbers(("B", "H", "N"))),
    "low rank": biased(
        ("LowRank",), ops.LowRank, lambda u, v: lambda b, h, i, j: naive.dot(u[h, i], v[j]),
        Numbers(("H", "N", 2)), Numbers(("M", 2)), groups=1,
    ),
    "low rank, local": biased(
        ("LowRank",), ops.LowRank, lambda u, v: lambda b, h, i, j: naive.dot(u[i], v[h, j]),
        Numbers(("N", 2)), Numbers(("H", "M", 2)), options=LOCAL, theirs=LOCAL_TWIN, queries=M,
    ),
    "alibi": biased(("ALiBi",), lambda: ops.ALiBi(H), lambda: naive.alibi(SLOPES_OF_3), queries=M),
    "alibi, learned, end": biased(
        ("ALiBi",), lambda s: ops.ALiBi(s, "end"), lambda s: naive.alibi(s, M - N), LEARNED
    ),
    "alibi, learned, causal, entmax15": biased(
        ("ALiBi",), ops.ALiBi, naive.alibi, LEARNED, queries=M,
        options={"pattern": ops.Causal(), "normalize": ops.entmax15},
        theirs={"visible": naive.causal(), "normalize": each_row(naive.entmax15)},
    ),
    "alibi on a grid": biased(
        ("ALiBi2d",), lambda s: ops.ALiBi2d(s, GRID), lambda s: naive.alibi2d(s, 4), LEARNED, queries=CELLS, keys=CELLS
    ),
    "relative": biased(("RelativeBias",), ops.RelativeBias, naive.clipped, TABLE, queries=M),
    "relative, one side, causal": biased(
        ("RelativeBias",), lambda t: ops.RelativeBias(t, bidirectional=False, align="end"),
        lambda t: naive.clipped(t, False, M - N), TABLE,
        options={"pattern": ops.Causal("end")}, theirs={"visible": naive.causal(M - N)},
    ),
    "relative, log": biased(
        ("RelativeBias",), lambda t: ops.RelativeBias(t, "log", 5), lambda t: naive.logarithmic(t, 5), Numbers(("H", 8)),
        queries=M,
    ),
    "relative on a grid": biased(
        ("RelativeBias2d",), lambda t: ops.RelativeBias2d(t, GRID), lambda t: naive.relative2d(t, GRID),
        Numbers(("H", 5, 7)), queries=CELLS, keys=CELLS,
    ),
    "relative on a grid, axial": biased(
        ("RelativeBias2d",), lambda t: ops.RelativeBias2d(t, GRID), lambda t: naive.relative2d(t, GRID),
        Numbers(("H", 5, 7)), queries=CELLS, keys=CELLS,
        options={"pattern": ops.Axial(GRID)}, theirs={"visible": naive.axial(4)},
    ),
    "a sum": biased(
        ("Sum",), lambda s, t, p: ops.ALiBi(s, "start") + t + ops.PerKey(p),
        lambda s, t, p: lambda b, h, i, j: naive.alibi(s)(b, h, i, j) + t[i, j] + p[j],
        LEARNED, Numbers(("N", "M")), Numbers(("M",)),
    ),
    "a sum of low rank": biased(
        ("Sum",), lambda u, v, p: ops.LowRank(u, v) + ops.PerKey(p),
        lambda u, v, p: lambda b, h, i, j: naive.dot(u[i], v[j]) + p[b, 0, j],
        Numbers(("N", 2)), Numbers(("M", 2)), Numbers(("B", 1, "M")),
    ),
    # the rest
    "scale": Case((), lambda: {"scale": 0.7}, lambda: {"score": plain(naive.dot), "scale": lambda h, i: 0.7}),
    "scale of heads": Case(
        (), lambda t: {"scale": t}, lambda t: {"score": plain(naive.dot), "scale": lambda h, i: t[h, 0, 0]},
        (Numbers(("H", 1, 1)),), groups=1,
    ),
    "scale of rows, additive": Case(
        ("Additive",), lambda t, w: {"scale": t, "score": ops.Additive(w)} | CAUSAL,
        lambda t, w: {"score": plain(naive.additive, w), "scale": lambda h, i: t[h, i, 0]} | CAUSAL_TWIN,
        (Numbers(("H", "N", 1)), Numbers(("D",))),
    ),
    "scale of rows, local": Case(
        (), lambda t: {"scale": t} | LOCAL,
        lambda t: {"score": plain(naive.dot), "scale": lambda h, i: t[i, 0]} | LOCAL_TWIN, (Numbers(("N", 1)),), queries=M,
    ),
    "scale, low rank": biased(
        ("LowRank",), ops.LowRank, lambda u, v: lambda b, h, i, j: naive.dot(u[i], v[j]),
        Numbers(("N", 2)), Numbers(("M", 2)), groups=1, options={"scale": 0.4},
        theirs={"score": plain(naive.dot), "scale": lambda h, i: 0.4},
    ),
    "softcap": Case((), lambda: {"softcap": 1.5}, lambda: {"softcap": 1.5}, groups=1),
    "softcap, bias, causal": biased(
        ("TensorBias",), lambda t: t, lambda t: of_axes(t, (B, H, N, M)), Numbers(("H", "N", "M")),
        options=CAUSAL | {"softcap": 0.8}, theirs=CAUSAL_TWIN | {"softcap": 0.8},
    ),
    "sinks": Case((), lambda t: {"sinks": t}, lambda t: {"sinks": lambda h: t[h]}, (HEADS,)),
    "sinks, causal & lengths": Case(
        (), lambda t: {"sinks": t} | CAUSAL, lambda t: {"sinks": lambda h: t[h]} | CAUSAL_TWIN, (HEADS,), groups=1
    ),
    "sinks, local, two heads a key": Case(
        (), lambda t: {"sinks": t} | LOCAL, lambda t: {"sinks": lambda h: t[h]} | LOCAL_TWIN, (HEADS,),
        queries=M, heads=6, groups=3,
    ),
    "sinks, softmax1": Case(
        ("softmax1",), lambda t: {"sinks": t, "normalize": ops.softmax1} | CAUSAL,
        lambda t: {"sinks": lambda h: t, "normalize": each_row(naive.softmax1)} | CAUSAL_TWIN, (Numbers(()),),
    ),
    "sinks, sparsemax, softcap": Case(
        ("sparsemax",), lambda t: {"sinks": t, "normalize": ops.sparsemax, "softcap": 2.0} | CAUSAL,
        lambda t: {"sinks": lambda h: t[h], "normalize": each_row(naive.sparsemax), "softcap": 2.0} | CAUSAL_TWIN,
        (HEADS,),
    ),
    "sinks, proportional": Case(
        ("proportional",), lambda t: {"sinks": t, "normalize": ops.proportional} | CAUSAL,
        lambda t: {"sinks": lambda h: t[h], "normalize": each_row(naive.proportional)} | CAUSAL_TWIN, (LEARNED,),
    ),
    "softmax1, local": Case(
        ("softmax1",), lambda: {"normalize": ops.softmax1} | LOCAL,
        lambda: {"normalize": each_row(naive.softmax1)} | LOCAL_TWIN, queries=M, groups=1,
    ),
    "hard": hard({}, {}, groups=1),
    "hard, relu, causal": hard(CAUSAL | {"normalize": ops.relu}, CAUSAL_TWIN | {"normalize": each_row(naive.relu)}),
    "hard, local": hard(LOCAL, LOCAL_TWIN, queries=M),
    "sampled": sampled("straight-through", 2, {}, {}, groups=1),
    "sampled, softmax1, causal": sampled(
        "straight-through", 5, CAUSAL | {"normalize": ops.softmax1}, CAUSAL_TWIN | {"normalize": each_row(naive.softmax1)}
    ),
    "sampled, sigmoid, score function": sampled(
        "score-function", 7, LOCAL | {"normalize": ops.Sigmoid(0.5)},
        LOCAL_TWIN | {"normalize": each_row(naive.sigmoid, 0.5)}, queries=M,
    ),
    "dropout": dropped(0.3, 3, {}, {}, groups=1),
    "dropout, causal, entmax15": dropped(
        0.4, -1, CAUSAL | {"normalize": ops.entmax15}, CAUSAL_TWIN | {"normalize": each_row(naive.entmax15)}
    ),
    "dropout, longformer": dropped(
        0.2, 11, {"pattern": ops.Local(1) | ops.GlobalTokens([3])},
        {"visible": either(naive.local(1, 1), naive.tokens([3]))}, queries=M,
    ),
    "dropout, hard": Case(
        ("Hard",), lambda: {"select": ops.Hard(), "dropout": 0.5, "seed": 4},
        lambda: {"select": naive.hard, "dropout": 0.5, "keep": kept(0.5, 4, (B, H, N, M))}, breaks=DRAWS | STEPS,
    ),
}  # fmt: skip
