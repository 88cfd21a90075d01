"""A number becomes a case: plain data, whose text says everything, and from which tensors are drawn."""

import dataclasses
import functools
import math
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

ENGINES = ("fused", "banded", "tiled", "reference")
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Numbers(NamedTuple):
    """A tensor that is to be drawn: "normal", "positive", "alpha" (above 1), "hiding" (some -inf), "zero", "large", "huge"."""

    sizes: tuple[int, ...]
    learned: bool = False
    kind: str = "normal"
    dtype: str = "float64"


class Bits(NamedTuple):
    """A bool tensor that is to be drawn, of which a share is True."""

    sizes: tuple[int, ...]
    share: float
    seed: int


@dataclass(frozen=True)
class Case:
    """One attention. Parts are said in the words of `tests/reference/dense.py`, with `Numbers` in the place of tensors."""

    seed: int
    dtype: str
    query: Numbers
    key: Numbers
    value: Numbers
    layouts: tuple[str, str, str]  # how the operands lie in memory
    values: str  # of which kind the operands' numbers are
    pattern: tuple = ("global",)
    score: tuple = ("scaled dot",)
    normalize: tuple = ("softmax",)
    bias: tuple | None = None
    scale: Any = None
    softcap: float | None = None
    sinks: Numbers | None = None
    select: tuple = ("soft",)
    dropout: float = 0.0
    engines: tuple = (None,)
    bad: tuple = ()  # (which operand, at which of its numbers, what stands there)
    second: bool = False  # second derivatives, too
    matrix: bool = False  # questions to the matrix
    again: bool = False  # the same call after one with other numbers
    steps: bool = False  # a row alone, with the keys that a cache holds

    def __str__(self) -> str:
        """Whatever is not as usual."""
        usual = {f.name: f.default for f in dataclasses.fields(self)}
        words = [f"{name}={value!r}" for name, value in vars(self).items() if value != usual[name] or name == "engines"]
        return f"Case({', '.join(words)})"


def case_of(seed: int, sizes: int = 40) -> Case:
    """The case of a number; queries and keys are up to `sizes`, or where `sizes` is small, now and then a few times as many."""
    return _Maker(random.Random(f"{seed}/{sizes}"), seed, sizes).case()


class _Maker:
    """One draw after the other."""

    def __init__(self, r: random.Random, seed: int, sizes: int) -> None:
        self.r, self.seed, self.sizes = r, seed, sizes

    def chance(self, p: float) -> bool:
        return self.r.random() < p

    def of(self, **weights: float) -> str:
        """One of some words, by weight."""
        return self.r.choices(list(weights), list(weights.values()))[0].replace("_", " ")

    def size(self, most: int) -> int:
        kind = self.of(none=1, one=3, few=16, many=80)
        if kind == "none":
            return 0
        return (
            1
            if kind == "one"
            else self.r.randint(2, max(min(9, most), 2))
            if kind == "few"
            else self.r.randint(2, most)
        )

    def case(self) -> Case:
        r = self.r
        self.grid = self.a_grid() if self.chance(0.3) else None
        most = self.sizes if self.sizes > 100 or self.chance(0.88) else 3 * self.sizes
        self.N = self.size(most) if self.grid is None else math.prod(self.grid)
        self.M = self.N if self.grid or self.chance(0.6) else self.size(most)
        big = self.N * self.M > 3000
        axes = r.choices((2, 3, 4, 5, 6), (4, 6, 70, 16, 0 if big else 4))[0]
        self.wide = axes > 3
        few = (1, 1, 2) if big else (1, 2, 2, 3)
        self.lead = tuple(r.choice(few) for _ in range(axes - 3))
        if self.lead and self.chance(0.01):
            self.lead = (0, *self.lead[1:])
        leads = [self.some(self.lead) if apart else self.lead for apart in [self.chance(0.25)] * 3]  # some broadcast
        self.lead = tuple(min(sizes) if 0 in sizes else max(sizes) for sizes in zip(*leads, strict=True))
        groups = r.choice((1, 1, 2) if big else (1, 1, 2, 2, 3))
        repeats = r.choice((1, 1, 2)) if big else r.choice((1, 1, 2, 2, 3, 4))
        self.H = {2: 0, 3: r.choice(few)}.get(axes, groups * repeats)
        heads = {2: (), 3: (self.H,)}.get(axes, (self.H,))
        self.shape = (*self.lead, *heads, self.N, self.M)
        self.dtype = self.of(float64=62, float32=26, bfloat16=6, float16=6)
        self.half = self.dtype in ("bfloat16", "float16")
        D, E = r.choice((1, 2, 3, 4, 5, 8, 24, 16)), r.choice((1, 2, 3, 4, 5, 8, 8, 16))
        E, D = D if self.chance(0.4) else E, 0 if self.chance(0.005) else D
        E = 0 if self.chance(0.005) else E
        score = self.score(D)
        self.bilinear = score[0] == "bilinear"
        K = score[1].sizes[-1] if score[0] == "bilinear" else D
        groups = heads[:0] if axes == 2 else heads if axes == 3 else (groups,)
        learn = [self.chance(0.88) for _ in range(3)] if self.chance(0.9) else [False] * 3
        operands = [
            Numbers((*lead, *own), flag, dtype=self.dtype)
            for lead, own, flag in zip(
                leads, ((*heads, self.N, D), (*groups, self.M, K), (*groups, self.M, E)), learn, strict=True
            )
        ]
        pattern = self.pattern(r.choices((0, 1, 2, 3), (32, 32, 24, 12))[0]) if self.chance(0.88) else ("global",)
        if self.chance(0.22):
            pattern = self.usual()
        if self.grid and self.N > 100 and self.chance(0.4):  # what is seen on a grid, and something else
            other = self.leaf(local=4, tokens=2, dilated=2, causal=1, axial=1) if self.chance(0.7) else self.pattern(1)
            pair = [self.leaf(neighborhood=1), other]
            r.shuffle(pair)
            pattern = (r.choice(("or", "or", "and")), *pair)
        normalize = self.normalizer()
        select = self.selection(normalize)
        case = Case(
            self.seed, self.dtype, *operands,
            layouts=tuple(self.layout() for _ in range(3)),
            values=self.values(normalize),
            pattern=pattern, score=score, normalize=normalize,
            bias=self.bias() if self.chance(0.5) else None,
            scale=self.scale(),
            softcap=r.choice((0.5, 1.5, 10.0)) if self.chance(0.1) else None,
            sinks=self.sinks() if normalize[0] in _ADD_UP and self.chance(0.2) else None,
            select=select,
            dropout=r.choice((0.1, 0.5, 0.9)) if self.chance(0.12) else 0.0,
        )  # fmt: skip
        small = math.prod(self.shape) <= 20_000
        engines = (None, r.choice((*ENGINES, "banded"))) if self.chance(0.4) else (None,)
        if self.grid and self.N > 100 and self.chance(0.4):
            engines = (None, "banded")
        if small and self.chance(0.005):  # slow
            engines = (None, "flex")
        usual = select == ("soft",) and not case.dropout and self.dtype in ("float64", "float32")
        bad = self.bad(case) if self.chance(0.06) else ()
        steps = usual and self.chance(0.05)
        if steps:
            case = dataclasses.replace(case, **self.of_a_cache())
        if self.chance(0.3) and not steps:  # the pattern alone, by the engine that knows most of it
            plain = {"normalize": ("softmax",), "bias": None, "select": ("soft",), "dropout": 0.0, "softcap": None}
            case = dataclasses.replace(case, **plain)
            engines = (None, "banded")
        return dataclasses.replace(
            case,
            engines=engines,
            bad=() if steps else bad,
            second=not bad and small and self.dtype == "float64" and self.chance(0.08),
            matrix=not bad and small and usual and 0 not in self.shape and self.chance(0.15),
            again=not bad and self.chance(0.05),
            steps=steps,
        )

    def values(self, normalize: tuple) -> str:
        kind = self.of(normal=80, whole=8, large=8, opposite=2, scattered=2)
        if normalize[0] == "proportional" and self.chance(0.15):
            kind = "opposite"
        smooth = normalize[0] in ("softmax", "softmax1", "sigmoid")
        sharp = self.half and not smooth  # thresholds that rounding passes over
        return "normal" if sharp and kind != "whole" else kind

    def a_grid(self) -> tuple[int, int]:
        """Sides that are multiples of nothing; now and then more places than `sizes`."""
        most = self.sizes if self.sizes > 225 or self.chance(0.7) else 225
        if most > self.sizes and self.chance(0.7):
            return self.r.choice(((14, 14), (15, 15), (13, 17), (7, 24), (9, 20), (11, 13), (12, 18)))
        if most > 300 and self.chance(0.4):
            return self.r.choice(((14, 14), (15, 15), (20, 17), (7, 50), (18, 21), (13, 29)))
        kind = self.of(row=1, column=1, block=8)
        if kind == "block":
            height = self.r.randint(2, max(int(1.6 * most**0.5), 2))
            return height, self.r.randint(2, max(most // height, 2))
        side = self.r.randint(1, most)
        return (1, side) if kind == "row" else (side, 1)

    def some(self, sizes: tuple[int, ...], p: float = 0.3) -> tuple[int, ...]:
        """The sizes, of which some are 1."""
        return tuple(1 if self.chance(p) else n for n in sizes)

    def fitting(self, shape: tuple[int, ...], least: int = 0) -> tuple[int, ...]:
        """The last of some sizes, at least so many, of which some are 1."""
        kept = self.r.randint(least, len(shape))
        return self.some(shape[len(shape) - kept :], 0.25)

    def first_axes(self) -> tuple[int, ...]:
        """Sizes that line up with the first axes of the matrix."""
        lead = self.lead if self.wide else self.shape[:-2]
        found = self.some(lead[: self.r.randint(0, len(lead))], 0.2)
        return () if 0 in found else found  # nested lists have no shape where they are empty

    def align(self) -> str | None:
        return self.r.choice((None, None, "start", "end") if self.N == self.M else ("start", "end"))

    def nested(self, sizes: tuple[int, ...], one: Any) -> Any:
        """Lists in lists."""
        return [self.nested(sizes[1:], one) for _ in range(sizes[0])] if sizes else one()

    def pattern(self, depth: int) -> tuple:
        if depth:
            kind = self.of(**{"and": 5, "or": 5, "not": 2})
            other = self.pattern(self.r.randint(0, depth - 1))
            if kind == "not":
                return ("not", self.pattern(depth - 1))
            pair = [self.pattern(depth - 1), other]
            pair = [("not", one) if self.chance(0.12) else one for one in pair]
            self.r.shuffle(pair)
            return (kind, *pair)
        return self.leaf()

    def usual(self) -> tuple:
        """What people put together: windows, documents and a few tokens, causal or not."""
        kinds = {
            "causal": 6,
            "local": 4,
            "documents": 4,
            "tokens": 3,
            "dilated": 1,
            "mask": 1,
            "lengths": 1,
            "prefix": 1,
        }
        if self.grid:
            kinds["neighborhood"] = 6
        if not self.M:
            kinds.pop("tokens")
        a, b, c, d = (self.leaf(**kinds) for _ in range(4))
        return self.r.choice(
            (
                ("or", ("and", a, ("not", b)), c),
                ("and", ("or", a, b), c),
                ("and", ("and", a, b), c),
                ("or", ("and", a, b), ("and", c, d)),
                ("or", ("or", a, b), c),
                ("or", ("and", a, b), c),
                ("and", self.leaf(documents=1), ("and", ("causal", "start"), ("causal", "end"))),
            )
        )

    def leaf(self, **kinds: float) -> tuple:
        """A pattern that is no combination."""
        square, most = self.N == self.M, max(self.N, self.M, 1)
        kinds = kinds or self.kinds(square)
        kind = self.of(**kinds)
        if kind == "global":
            return (kind,)
        if kind == "causal":
            return (kind, self.align())
        near = self.r.choice((0, 1, 2, 3, 5, most // 4, most // 2, most, *(self.grid or ())))
        after = self.r.choice((None, 0, 1, 2, near, most))
        if kind == "local":
            return (kind, near, after, self.align())
        if kind == "dilated":
            return (kind, min(near, 20), after, self.r.choice((1, 2, 2, 3, 4, 7)), self.align())
        if kind in ("prefix", "lengths"):
            counts = self.nested(self.first_axes() if self.chance(0.7) else (), lambda: self.r.randint(0, self.M))
            return (kind, counts, self.align()) if kind == "prefix" else (kind, counts)
        if kind == "documents":
            last = self.r.choice((0, 1, 2, 4))
            sort = self.chance(0.5)

            def ids(n: int) -> list[int]:
                found = [self.r.randint(-1, last) for _ in range(n)]
                return sorted(found) if sort else found

            own, others = (self.nested(self.first_axes(), functools.partial(ids, n)) for n in (self.N, self.M))
            return (kind, own, None if square and self.chance(0.6) else others)
        if kind == "tokens":
            keys = not square or self.chance(0.3)
            index = [self.r.randrange(self.M) for _ in range(self.r.choice((0, 1, 1, 2, 3)) if self.M else 0)]
            return (kind, index, "keys" if keys else None)
        if kind == "mask":
            return (kind, Bits(self.fitting(self.shape), self.r.choice((0.1, 0.5, 0.9)), self.r.randrange(2**20)))
        if kind == "axial":
            return (kind, self.grid)
        return (kind, (self.r.choice((1, 3, 3, 3, 5, 9)), self.r.choice((1, 3, 3, 3, 5, 9))), self.grid)

    def kinds(self, square: bool) -> dict[str, float]:
        kinds = {
            "global": 1,
            "causal": 14,
            "local": 12,
            "dilated": 7,
            "prefix": 5,
            "lengths": 8,
            "documents": 8,
            "mask": 4,
        }
        kinds["tokens"] = 8 if square or self.M else 0
        return kinds | ({"neighborhood": 30, "axial": 8} if self.grid else {})

    def of_a_cache(self) -> dict[str, Any]:
        """What can be asked for row by row, with the keys that are there."""
        near = self.r.choice((0, 1, 3, 8))
        window = (
            ("global",),
            ("local", near, 0, "end"),
            ("dilated", near, 0, 2, "end"),
            ("or", ("local", near, 0, "end"), ("tokens", [0], "keys")),
        )
        bias = ("alibi", self.per_head((), "positive"), "end") if len(self.shape) > 2 and self.chance(0.4) else None
        pattern = ("and", ("causal", "end"), self.r.choice(window))
        return {
            "pattern": pattern if self.M else ("causal", "end"),
            "bias": bias,
            "scale": None,
            "normalize": ("softmax",),
        }

    def numbers(self, sizes: tuple[int, ...], kind: str = "normal") -> Numbers:
        dtype = self.dtype
        if self.half and (kind == "huge" or self.chance(0.7)):
            dtype = "float32"
        return Numbers(sizes, self.chance(0.6), kind, dtype)

    def per_head(self, own: tuple[int, ...], kind: str = "normal") -> Numbers:
        """Numbers `[..., H, *own]`."""
        return self.numbers((*self.fitting(self.shape[:-2], 1), *own), kind)

    def bias(self, depth: int = 1) -> tuple:
        kinds = {"tensor": 10, "per key": 10, "per query": 4, "low rank": 7}
        aligned = len(self.shape) > 2
        if aligned:
            kinds |= {"alibi": 8, "relative": 6}
        if aligned and self.grid:
            kinds |= {"alibi2d": 10, "relative2d": 10}
        if depth:
            kinds["sum"] = 5
        if self.bilinear:
            kinds["low rank"] = 30
        kind = self.r.choices(list(kinds), list(kinds.values()))[0]
        lead, (N, M) = self.shape[:-2], self.shape[-2:]
        special = self.of(normal=75, hiding=20, large=5)
        if self.half and self.chance(0.1):
            special = "huge"
        if kind == "sum":
            return (kind, *(self.bias(0) for _ in range(self.r.choice((2, 2, 3)))))
        if kind == "tensor":
            return (kind, self.numbers(self.fitting(self.shape), special))
        if kind == "per key":
            return (kind, self.numbers(self.fitting((*lead, M), 1), special))
        if kind == "per query":
            return (kind, self.numbers(self.fitting((*lead, N), 1), special))
        if kind == "low rank":
            rank = self.r.choice((1, 3, 20))
            u, v = (self.numbers((*self.fitting((*lead, n), 1), rank)) for n in (N, M))
            return (kind, u, v._replace(dtype=u.dtype))
        if kind in ("alibi", "alibi2d"):
            place = self.grid if kind == "alibi2d" else self.align()
            if self.chance(0.2) and self.H:
                return (kind, self.H, place)
            return (kind, self.per_head((), "positive"), place)
        if kind == "relative2d":
            return (kind, self.per_head(tuple(2 * n - 1 for n in self.grid)), self.grid)
        sided = self.chance(0.6)
        if self.chance(0.5):
            return (
                kind,
                self.per_head((self.r.choice((4, 8, 32)),)),
                "log",
                self.r.choice((19, 37, 131)),
                sided,
                self.align(),
            )
        count = self.r.choice((1, 3, 9)) if sided else self.r.choice((1, 2, 5))
        return (kind, self.per_head((count,)), "clip", 128, sided, self.align())

    def score(self, D: int) -> tuple:
        kind = self.of(scaled=60, dot=8, bilinear=8, additive=8, cosine=8, gaussian=8)
        heads = (self.H,) if self.wide and self.chance(0.4) else ()
        if kind == "scaled":
            return ("scaled dot",)
        if kind == "bilinear":
            return (kind, self.numbers((*heads, D, self.r.choice((D, D, 3, 7)))))
        if kind == "additive":
            return (kind, self.numbers((*heads, D)))
        if kind == "gaussian":
            return (kind, self.numbers(heads, "positive") if self.chance(0.6) else self.r.choice((0.5, 1.0, 3.0)))
        return (kind,)

    def normalizer(self) -> tuple:
        kind = self.of(
            softmax=60, softmax1=6, relu=4, proportional=5, sigmoid=6, linear=4, sparsemax=5, entmax15=5, entmax=6
        )
        of_rows = (*self.shape[:-1], 1)
        if kind == "sigmoid":
            return (kind, self.r.choice((None, -1.5, self.numbers(self.fitting(of_rows)))))
        if kind == "entmax":
            return (
                kind,
                self.r.choice((1.0, 1.05, 1.25, 1.75, 2.3, *[self.numbers(self.fitting(of_rows), "alpha")] * 5)),
            )
        return (kind,)

    def selection(self, normalize: tuple) -> tuple:
        kind = self.of(soft=84, hard=8, sampled=8)
        if kind == "sampled":
            gradient = self.r.choice(("straight-through", "score-function"))
            return (kind, gradient) if normalize[0] != "linear" else ("soft",)
        return (kind,)

    def scale(self) -> Any:
        kind = self.of(none=60, number=15, tensor=25)
        if kind == "none":
            return None
        if kind == "number":
            return self.r.choice((0.7, 1.0, -0.5, 0.0, 2.0, 1))
        return self.numbers(self.fitting((*self.shape[:-1], 1)), self.of(normal=6, positive=4, zero=1))

    def sinks(self) -> Numbers:
        return self.numbers(self.fitting(self.shape[:-2]), self.of(normal=8, large=1, huge=1))

    def layout(self) -> str:
        return self.of(plain=70, transposed=6, sliced=6, heads_last=9, expanded=5, stepped=4)

    def bad(self, case: Case) -> tuple:
        found = []
        for _ in range(self.r.choice((1, 1, 2))):
            name = self.r.choice(("query", "key", "value"))
            what = self.r.choice(("nan", "nan", "inf")) if name == "value" else "nan"
            found.append((name, self.r.randrange(2**20), what))
        return tuple(found)


_ADD_UP = ("softmax", "softmax1", "proportional", "sparsemax", "entmax15", "entmax")


class Leaves:
    """The tensors of a case, in the order in which its parts name them."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.tensors, self.at = tensors, 0

    def fill(self, part: Any) -> Any:
        """A part with tensors in the place of numbers."""
        if isinstance(part, Numbers):
            self.at += 1
            return self.tensors[self.at - 1]
        if isinstance(part, Bits):
            generator = torch.Generator().manual_seed(part.seed)
            return torch.rand(part.sizes, generator=generator) < part.share
        return tuple(self.fill(p) for p in part) if isinstance(part, tuple) else part


def parts_of(case: Case) -> tuple:
    """All parts that hold tensors, in the order of `drawn`."""
    return (case.query, case.key, case.value, case.score, case.normalize, case.bias, case.scale, case.sinks)


def numbers_of(part: Any) -> list[Numbers]:
    """The numbers that are to be drawn for a part."""
    if isinstance(part, Numbers):
        return [part]
    return [n for p in part for n in numbers_of(p)] if isinstance(part, tuple) and not isinstance(part, Bits) else []


def drawn(case: Case, again: int = 0) -> list[torch.Tensor]:
    """The tensors in float64, rounded to the dtypes in which they are given; `again`: other numbers."""
    generator = torch.Generator().manual_seed(case.seed * 7 + again)
    wanted = numbers_of(parts_of(case))
    tensors = [_draw(n, generator) for n in wanted]
    for i, name in enumerate(("query", "key", "value")):
        if case.values == "whole":  # ties, zeros and scores that add up exactly
            tensors[i] = tensors[i].round()
        elif case.values == "large":
            tensors[i] = tensors[i] * (4.0 if i < 2 else 30.0)
        elif case.values == "opposite" and i < 2 and tensors[i].shape[-1]:
            tensors[i] = torch.full_like(tensors[i], (-1) ** i * 0.37)
        elif case.values == "scattered":  # far apart in size
            tensors[i] = tensors[i] * 10.0 ** torch.randint(-3, 2, tensors[i].shape[-1:], generator=generator)
        for which, place, what in case.bad:
            if which == name and tensors[i].numel():
                tensors[i].view(-1)[place % tensors[i].numel()] = float(what)
    return [t.to(DTYPES[n.dtype]).double() for t, n in zip(tensors, wanted, strict=True)]


def _draw(n: Numbers, generator: torch.Generator) -> torch.Tensor:
    numbers = torch.randn(n.sizes, generator=generator, dtype=torch.float64)
    if n.kind == "positive":
        return 0.3 + numbers.abs()
    if n.kind == "alpha":
        return 1.05 + torch.rand(n.sizes, generator=generator, dtype=torch.float64)
    if n.kind == "hiding":
        return numbers.masked_fill(torch.rand(n.sizes, generator=generator) < 0.3, -math.inf)
    if n.kind == "zero":
        return numbers * 0
    return numbers * {"large": 60, "huge": 70_000}.get(n.kind, 1)
