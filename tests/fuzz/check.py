"""One case: what heedful gives beside what the formulas give."""

import math
from typing import Any, NamedTuple

import torch

import heedful
from heedful import ops
from heedful.ops import _random
from heedful.ops.biases import TensorBias
from tests.fuzz.cases import DTYPES, Case, Leaves, drawn, numbers_of, parts_of
from tests.reference import dense

# How far we may be from the twin, as a share of its largest number: outputs, gradients, second derivatives.
ROOM = {torch.float64: (1e-10, 1e-8, 1e-6), torch.float32: (2e-5, 2e-4, 1e-2)}
NEAR = {torch.float64: 1e-7, torch.float32: 2e-3, torch.bfloat16: 0.5, torch.float16: 0.1}  # what is too near to a jump

_PLAIN = {
    "scaled dot": ops.ScaledDot, "dot": ops.Dot, "bilinear": ops.Bilinear, "additive": ops.Additive,
    "cosine": ops.Cosine, "gaussian": ops.Gaussian,
    "softmax": lambda: ops.softmax, "softmax1": lambda: ops.softmax1, "relu": lambda: ops.relu,
    "proportional": lambda: ops.proportional, "sigmoid": ops.Sigmoid, "linear": lambda: ops.linear,
    "sparsemax": lambda: ops.sparsemax, "entmax15": lambda: ops.entmax15, "entmax": ops.entmax,
    "soft": ops.Soft, "hard": ops.Hard, "sampled": ops.Sampled,
    "tensor": lambda t: t, "per key": ops.PerKey, "per query": ops.PerQuery, "low rank": ops.LowRank,
    "alibi": ops.ALiBi, "alibi2d": ops.ALiBi2d, "relative": ops.RelativeBias, "relative2d": ops.RelativeBias2d,
    "global": ops.Global, "causal": ops.Causal, "local": ops.Local, "dilated": ops.Dilated, "tokens": ops.GlobalTokens,
    "axial": ops.Axial, "mask": ops.Mask, "neighborhood": ops.Neighborhood2d,
    "prefix": lambda n, align: ops.Prefix(_integers(n), align),
    "lengths": lambda n: ops.Lengths(_integers(n)),
    "documents": lambda ids, keys: ops.Documents(_integers(ids), _integers(keys)),
}  # fmt: skip


def _integers(nested: Any) -> Any:
    return torch.tensor(nested, dtype=torch.long) if isinstance(nested, list) else nested


def built(part: Any) -> Any:
    """Our value for a part in words."""
    if not isinstance(part, tuple):
        return part
    kind, *given = part
    if kind == "not":
        return ~built(given[0])
    if kind == "and":
        return built(given[0]) & built(given[1])
    if kind == "or":
        return built(given[0]) | built(given[1])
    if kind == "sum":
        first, *others = map(built, given)
        for other in others:
            first = (
                first + other
                if isinstance(first, ops.Bias) or isinstance(other, ops.Bias)
                else TensorBias(first) + other
            )
        return first
    return _PLAIN[kind](*given)


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers with other strides; views and copies that gradients go through."""
    if layout == "transposed":
        return tensor.mT.contiguous().mT
    if layout == "sliced":
        return torch.cat([tensor, tensor[..., :1]], -1)[..., : tensor.shape[-1]] if tensor.shape[-1] else tensor
    if layout == "stepped":
        return tensor.repeat_interleave(2, -2)[..., ::2, :]
    if layout == "heads last" and tensor.dim() > 3:
        return tensor.transpose(-2, -3).contiguous().transpose(-2, -3)
    if layout == "expanded" and tensor.dim() > 3:
        return tensor[:1].expand_as(tensor)
    return tensor


class Given(NamedTuple):
    """The leaves of a case, its operands and its options."""

    leaves: list[torch.Tensor]
    operands: list[torch.Tensor]
    options: dict[str, Any]


NAMES = ("query", "key", "value", "score", "normalize", "bias", "scale", "sinks")


def given(case: Case, tensors: list[torch.Tensor], *, ours: bool, half: bool = False) -> Given:
    """For heedful in the dtypes of the case, for the twin in float64 (or, where `half`, in float32)."""
    wanted = numbers_of(parts_of(case))
    wide = torch.float32 if half else torch.float64
    leaves = [
        t.to(DTYPES[n.dtype] if ours else wide).requires_grad_(n.learned) for t, n in zip(tensors, wanted, strict=True)
    ]
    filler = Leaves(leaves)
    parts = dict(zip(NAMES, (filler.fill(part) for part in parts_of(case)), strict=True))
    operands = [laid_out(parts.pop(name), layout) for name, layout in zip(NAMES[:3], case.layouts, strict=True)]
    options = parts | {"pattern": Leaves([]).fill(case.pattern), "select": case.select}
    if ours:
        options = {name: built(part) for name, part in options.items()}
    return Given(leaves, operands, options | {"softcap": case.softcap, "dropout": case.dropout})


class Problem(NamedTuple):
    """Something that is wrong with a case."""

    where: str
    what: str


def problems_of(case: Case) -> list[Problem]:
    """All that is wrong; nothing where all is well."""
    return _Check(case).problems()


class _Check:
    def __init__(self, case: Case) -> None:
        self.case, self.found = case, []
        self.dtype = DTYPES[case.dtype]
        self.half = self.dtype in (torch.bfloat16, torch.float16)
        self.tensors = drawn(case)
        self.bad = self.dropped = None
        if case.bad:
            self.dropped = [~t.isfinite() for t in self.tensors[:3]]
            self.given_tensors = self.tensors
            self.tensors = [t.nan_to_num(0, 0, 0) for t in self.tensors[:3]] + self.tensors[3:]

    def twin(self, tensors: list[torch.Tensor], half: bool = False) -> tuple[Given, dense.Found]:
        mine = given(self.case, tensors, ours=False, half=half)
        q, k, v = mine.operands
        shape = self.shape = dense.shape_of(q, k, v)
        draws: dict[str, Any] = {}
        rows = torch.arange(shape[-2])
        if self.case.select[0] == "sampled":
            draws["uniform"] = _random.uniform(self.case.seed, shape[:-2], rows)
        if self.case.dropout:
            draws["keep"] = _random.keep_mask(
                self.case.seed, shape[:-2], rows, torch.arange(shape[-1]), self.case.dropout
            )
        return mine, dense.attention(q, k, v, **mine.options, **draws, half=self.dtype if half else None)

    def ours(self, tensors: list[torch.Tensor], engine: str | None) -> tuple[Given, torch.Tensor] | None:
        mine = given(self.case, tensors, ours=True)
        try:
            return mine, heedful.attention(*mine.operands, **mine.options, seed=self.case.seed, engine=engine)
        except ValueError as error:
            if engine is not None and str(error).startswith(f"`engine` {engine!r} cannot compute this: "):
                return None
            raise

    def problems(self) -> list[Problem]:
        self.g64, self.right = self.twin(self.tensors)
        near = NEAR[self.dtype]
        kind = self.case.normalize[0]
        if kind == "entmax":  # the gradient near a threshold is steep
            near = max(near, 1e-3) * 3
        known = self.right.choice > near
        smooth = known & (self.right.kink > near)
        if kind == "proportional" or (kind == "relu" and self.case.select[0] != "soft"):  # a row may be nearly empty
            known = known & (self.right.kink > near)
        if self.case.values == "opposite" and self.case.score[0] == "additive":
            known = torch.ones_like(known)  # exact zeros
        self.known, self.smooth = known[..., None], smooth[..., None]
        if self.case.bad:
            self.mark_bad()
        generator = torch.Generator().manual_seed(self.case.seed)
        out = self.right.output
        self.pull = torch.randn(out.shape, generator=generator, dtype=torch.float64) * self.smooth
        if self.bad is not None:
            self.pull = self.pull * ~self.bad.any(-1, keepdim=True)
        self.right_grads = _grads(out, self.g64.leaves, self.pull)
        self.height = self.rough()
        q, k, v = (_largest(t) if t.numel() else 0.0 for t in self.g64.operands)
        self.high = v * max(q, k, 1.0)
        self.steepest = max(
            (g.abs().max().item() for g in self.right_grads if g is not None and g.numel()), default=0.0
        )
        for engine in self.case.engines:
            self.attempt(str(engine), self.engine, engine)
        if self.case.again:
            self.attempt("again", self.again)
        if self.case.second:
            self.attempt("second", self.second)
        if self.case.steps:
            self.attempt("steps", self.steps)
        if self.case.matrix:
            self.attempt("matrix", self.matrix)
        return self.found

    def attempt(self, where: str, check: Any, *arguments: Any) -> None:
        try:
            check(*arguments)
        except Exception as error:
            self.found.append(Problem(where, f"{type(error).__name__}: {error}"[:300]))

    def wrong(self, where: str, what: str) -> None:
        self.found.append(Problem(where, what))

    def engine(self, engine: str | None) -> None:
        made = self.ours(self.given_tensors if self.case.bad else self.tensors, engine)
        if made is None:
            return
        mine, out = made
        where = str(engine)
        if out.dtype != self.dtype or out.shape != self.right.output.shape:
            self.wrong(where, f"{out.dtype} {list(out.shape)}, not {self.dtype} {list(self.right.output.shape)}")
            return
        if self.bad is not None:
            if not bool((~out.isfinite())[self.bad].all()):
                self.wrong(where, "a NaN has vanished")
            if not bool(out[~self.bad].isfinite().all()):
                self.wrong(where, "a NaN has gone where it may not be seen")
            out = out.masked_fill(self.bad, 0)
        self.near(
            where, "output", out, self.right.output, self.known if self.bad is None else self.known & ~self.bad, 0
        )
        grads = _grads(out, mine.leaves, self.pull)
        self.gradients(where, grads, 1)

    def gradients(self, where: str, grads: list[torch.Tensor | None], level: int) -> None:
        for i, (mine, right) in enumerate(zip(grads, self.right_grads, strict=True)):
            if mine is None or right is None:
                continue
            if self.bad is not None:
                if i != 0 or not self.bad.numel():
                    continue  # of those, parts belong to rows that are NaN
                rows = self.dropped[0].any(-1, keepdim=True) | ~self.good_rows
                mine, right = mine.masked_fill(rows, 0), right.masked_fill(rows, 0)
            self.near(where, f"gradient of {self.name(i)}", mine, right, None, level)

    def name(self, i: int) -> str:
        names = [name for name, part in zip(NAMES, parts_of(self.case), strict=True) for _ in numbers_of(part)]
        return names[i]

    def near(
        self, where: str, name: str, mine: torch.Tensor, right: torch.Tensor, rows: torch.Tensor | None, level: int
    ) -> None:
        if mine.numel() == 0:
            return
        apart = (mine.double() - right).abs()
        if rows is not None:
            apart = apart.masked_fill(~rows, 0)
        largest = right.detach().abs().max().item()
        # a sum that cancels is as rough as what it is a sum of
        largest = max(largest, 0.1 * self.steepest, 1.0, 0.1 * self.high) if level else max(largest, 0.1)
        error = apart.nan_to_num(math.inf).max().item()
        if not largest <= torch.finfo(self.dtype).max:
            return
        if self.half:
            room = self.half_room(name, level, largest)
        else:
            room = max(ROOM[self.dtype][level], 16 * torch.finfo(self.dtype).eps * self.height) * largest
            if error > room and self.dtype == torch.float32 and math.isfinite(error):
                room = max(room, self.half_room(name, level, largest))
        if not error <= room:
            self.wrong(where, f"{name} is off by {error:.2g} where {room:.2g} is allowed; the largest is {largest:.3g}")

    def half_room(self, name: str, level: int, largest: float) -> float:
        """What plain PyTorch in the same dtype is off by, twice or three times, and a few units in the last place."""
        if not hasattr(self, "errors"):
            mine, found = self.twin(self.tensors, half=True)
            self.errors = {}
            apart = (found.output.double() - self.right.output).abs() * self.known
            self.errors["output"] = apart.max().item() if apart.numel() else 0.0
            for i, (a, b) in enumerate(
                zip(_grads(found.output, mine.leaves, self.pull), self.right_grads, strict=True)
            ):
                if a is not None and b is not None and a.numel():
                    name_i = f"gradient of {self.name(i)}"
                    apart = (a.double() - b).abs().nan_to_num(0, 0)  # where PyTorch has no number, we get no room
                    self.errors[name_i] = max(apart.max().item(), self.errors.get(name_i, 0.0))
        eps = torch.finfo(self.dtype).eps
        return (2, 3, 3)[level] * self.errors.get(name, 0.0) + (4, 8, 8)[level] * eps * largest

    def rough(self) -> float:
        """How large the numbers are of which scores are differences: what rounding is relative to."""
        s = self.right.scores.detach().abs()
        height = s.max().item() if s.numel() else 0.0
        if self.case.score[0] == "gaussian" and 0 not in self.shape:
            q, k = (t.detach().square().sum(-1).max().item() for t in self.g64.operands[:2])
            b, scale = (
                _largest(t) for t in (1 / torch.as_tensor(self.g64.options["score"][1]), self.g64.options["scale"])
            )
            height = max(height, (q + k) * b**2 * scale)
        return height

    def mark_bad(self) -> None:
        """Where a NaN has to be and where it must not be."""
        bad_query, bad_key, bad_value = (
            laid_out(t.double(), layout) > 0 for t, layout in zip(self.dropped, self.case.layouts, strict=True)
        )
        if bad_query.dim() > 3:
            times = bad_query.shape[-3] // max(bad_key.shape[-3], 1)
            bad_key, bad_value = (t.repeat_interleave(times, -3) for t in (bad_key, bad_value))
        seen = self.right.seen
        pairs = seen & (bad_query.any(-1, keepdim=True) | bad_key.any(-1)[..., None, :])
        whole = pairs.any(-1, keepdim=True)
        features = (seen.double() @ bad_value.double()) > 0
        self.bad = (features | whole).expand(self.right.output.shape)
        rows = ~self.bad.any(-1, keepdim=True)
        lead = self.g64.operands[0].shape[:-2]
        while rows.dim() > len(lead) + 2:
            rows = rows.all(0)
        for axis, size in enumerate(lead):
            rows = rows.all(axis, keepdim=True) if size == 1 else rows
        self.good_rows = rows if self.case.layouts[0] == "plain" else torch.zeros_like(rows)

    def again(self) -> None:
        for engine in (None,):
            other = drawn(self.case, again=1)
            mine = self.ours(other, engine)
            assert mine is not None
            _grads(mine[1], mine[0].leaves, torch.ones_like(mine[1]))
            self.engine(engine)

    def second(self) -> None:
        """The gradient of a random sum of the gradients."""
        learned = [i for i, t in enumerate(self.g64.leaves) if t.requires_grad]
        if not learned or not self.right.output.requires_grad or not self.right.output.numel():
            return
        pulls = [
            torch.randn(self.tensors[i].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
            for i in learned
        ]

        def twice(out: torch.Tensor, leaves: list[torch.Tensor]) -> tuple:
            some = [leaves[i] for i in learned]
            first = torch.autograd.grad(
                out, some, self.pull, create_graph=True, allow_unused=True, materialize_grads=True
            )
            total = sum((g * p).sum() for g, p in zip(first, pulls, strict=True))
            if not total.requires_grad:
                return tuple(torch.zeros_like(t) for t in some)
            return torch.autograd.grad(total, some, allow_unused=True, materialize_grads=True)

        g64, right = self.twin(self.tensors)
        expected = twice(right.output, g64.leaves)
        made = self.ours(self.tensors, None)
        assert made is not None
        mine, out = made
        largest = max((e.abs().max().item() for e in expected if e.numel()), default=0.0)
        for i, a, b in zip(learned, twice(out, mine.leaves), expected, strict=True):
            error = (a - b).abs().nan_to_num(math.inf).max().item() if a.numel() else 0.0
            if error > ROOM[torch.float64][2] * max(largest, 1.0):
                self.wrong(
                    "second", f"second derivative by {self.name(i)} is off by {error:.2g}; the largest is {largest:.3g}"
                )

    def steps(self) -> None:
        """A row with the keys up to its own, as from a cache, is that row of the whole."""
        mine = given(self.case, self.tensors, ours=True)
        q, k, v = mine.operands
        N, M = self.shape[-2:]
        with torch.no_grad():
            for i in range(max(N - 4, 0), N):
                keys = i + M - N + 1
                if keys < 1:
                    continue
                out = heedful.attention(q[..., i : i + 1, :], k[..., :keys, :], v[..., :keys, :], **mine.options)
                known = self.known[..., i : i + 1, :]
                self.near(f"step {i}", "output", out, self.right.output[..., i : i + 1, :].detach(), known, 0)

    def matrix(self) -> None:
        """What an `AttentionMatrix` says of its rows and columns."""
        if self.right.weights.shape != dense.shape_of(self.g64.operands[0], self.g64.operands[1], self.g64.operands[1]):
            return  # leading axes that only the value has are none of the matrix
        mine = given(self.case, self.tensors, ours=True)
        options = {name: part for name, part in mine.options.items() if name not in ("select", "dropout")}
        A = heedful.AttentionMatrix(*mine.operands[:2], **options)
        W, s, seen = self.right.weights, self.right.scores, self.right.seen
        N, M = A.shape[-2:]
        kind = self.case.normalize[0]
        if kind == "proportional" and not bool(self.known.all()):
            return  # a row that is nearly empty goes into what is asked of columns
        generator = torch.Generator().manual_seed(self.case.seed)
        X, Y = (torch.randn(*A.shape[:-2], n, 3, generator=generator, dtype=torch.float64) for n in (M, N))
        x, y = X.to(self.dtype), Y.to(self.dtype)
        total, squares = W.sum(-1), W.square().sum(-1)
        k = min(3, M)
        rows, columns = min(3, N), min(4, M)
        target = torch.randint(-1, M, (N,), generator=generator)
        asked = {
            "window": (lambda: A[:], lambda: W),
            "part": (lambda: A[..., N // 2 :, : M // 2 + 1], lambda: W[..., N // 2 :, : M // 2 + 1]),
            "product": (lambda: A @ x, lambda: W @ X),
            "transposed product": (lambda: A.T @ y, lambda: W.mT @ Y),
            "received": (A.received, lambda: W.sum(-2)),
            "max": (A.max, lambda: W.amax(-1)),
            "topk": (lambda: A.topk(k).values, lambda: W.topk(k, -1).values),
            "at": (lambda: A.gather(target), lambda: W[..., torch.arange(N), target.clamp(min=0)] * (target >= 0)),
            "pool": (lambda: A.pool(rows, columns), lambda: _pooled(W, rows, columns)),
        }
        if kind != "linear":
            lost = total < (
                1e-140 if self.dtype == torch.float64 else 1e-30
            )  # to a sink: what is left of the row has lost its digits, here but not there
            lost = lost | ~self.smooth[..., 0]
            asked["effective keys"] = (
                lambda: A.effective_keys().masked_fill(lost, 0),
                lambda: (total.square() / squares.masked_fill(squares == 0, 1)).masked_fill(lost, 0),
            )
        else:
            asked.pop("topk")
            asked.pop("max")
        if kind in _ADD_UP:
            asked["entropy"] = A.entropy, lambda: -torch.special.xlogy(W, W).sum(-1)
        if kind in ("softmax", "softmax1"):
            asked["lse"] = A.lse, lambda: self.lse(s, seen, kind)
        names = torch.randperm(len(asked), generator=generator)[:4].tolist()
        for name in (list(asked)[i] for i in names):
            got, right = (f() for f in asked[name])
            got, want = got.detach(), right.detach()
            hidden = want == -math.inf
            if name == "lse" and not bool(((got == -math.inf) == hidden).all()):
                self.wrong("matrix", "lse is -inf where it should not be, or is not where it should be")
                continue
            self.near("matrix", name, got.masked_fill(hidden, 0), want.masked_fill(hidden, 0), None, 0)
        name = ("entropy", "received", "lse", "product", "transposed product")[self.case.seed % 5]
        if name not in asked or not bool(self.smooth.all()):
            return
        g64, again = self.twin(self.tensors)
        self.right, kept = again, self.right
        W, s = again.weights, again.scores
        got, right = (f() for f in asked[name])
        self.right = kept
        pull = torch.randn(right.shape, generator=generator, dtype=torch.float64) * (right.detach() > -math.inf)
        mine_grads, right_grads = (
            _grads(got, mine.leaves, pull),
            _grads(right.masked_fill(right == -math.inf, 0), g64.leaves, pull),
        )
        for i, (a, b) in enumerate(zip(mine_grads, right_grads, strict=True)):
            if a is not None and b is not None and bool(b.isfinite().all()):
                self.near("matrix", f"gradient of {name} by {self.name(i)}", a, b, None, 1)

    def lse(self, s: torch.Tensor, seen: torch.Tensor, kind: str) -> torch.Tensor:
        empty = ~seen.any(-1, keepdim=True)
        parts = [s.masked_fill(~seen & ~empty, -math.inf)]
        if self.g64.options["sinks"] is not None:
            parts.append(self.g64.options["sinks"][..., None, None].expand(*s.shape[:-1], 1))
        if kind == "softmax1":
            parts.append(torch.zeros_like(s[..., :1]))
        return torch.cat(parts, -1).logsumexp(-1).masked_fill(empty[..., 0], -math.inf)


_ADD_UP = ("softmax", "softmax1", "proportional", "sparsemax", "entmax15", "entmax")


def _pooled(W: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    row, column = (torch.arange(n) * cells // n for n, cells in zip(W.shape[-2:], (rows, columns), strict=True))
    by_row = torch.nn.functional.one_hot(row, rows).to(W.dtype)
    return (by_row / by_row.sum(0)).mT @ W @ torch.nn.functional.one_hot(column, columns).to(W.dtype)


def _largest(number: torch.Tensor | float | None) -> float:
    return 1.0 if number is None else torch.as_tensor(number).detach().abs().max().item()


def _grads(out: torch.Tensor, leaves: list[torch.Tensor], pull: torch.Tensor) -> list[torch.Tensor | None]:
    learned = [t for t in leaves if t.requires_grad]
    if not learned:
        return [None] * len(leaves)
    if not out.requires_grad:
        found = iter([torch.zeros_like(t) for t in learned])
    else:
        found = iter(
            torch.autograd.grad(
                out, learned, pull.to(out.dtype), allow_unused=True, materialize_grads=True, retain_graph=True
            )
        )
    return [next(found) if t.requires_grad else None for t in leaves]
