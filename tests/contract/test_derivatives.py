"""Every derivative, backwards, forwards, of a batch and nested, is that of the definition; and `torch.compile`."""

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

import heedful
from heedful import ops
from tests.contract.mechanisms import CASES, B, H, M, N

NAMES = [
    "softmax(scaled dot)", "two heads a key", "causal, end", "local, end", "local, two heads a key", "dilated",
    "lengths", "documents, of keys", "tokens", "neighborhood", "axial", "mask", "causal & lengths", "documents & causal",
    "longformer", "local & mask", "~global",
    "bilinear", "bilinear, heads", "additive", "additive, heads", "cosine", "gaussian, learned", "gaussian, heads",
    "softmax1", "relu", "proportional", "sigmoid", "sigmoid, learned, heads", "sparsemax", "entmax15", "entmax",
    "entmax, learned", "entmax, learned, heads", "entmax, learned, rows", "linear", "entmax15, local",
    "sparsemax(additive), longformer",
    "bias", "bias of heads, dot, causal & mask", "bias, local, entmax15", "per query, relu", "low rank", "low rank, local",
    "alibi, learned, causal, entmax15", "relative, log", "relative on a grid, axial", "a sum", "a sum of low rank",
    "scale of heads", "scale of rows, additive", "scale, low rank", "softcap, bias, causal", "sinks, causal & lengths",
    "sinks, local, two heads a key", "sinks, softmax1", "sinks, sparsemax, softcap",
    "hard, relu, causal", "sampled, softmax1, causal", "dropout, causal, entmax15", "dropout, longformer",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # PyTorch's own call
each = pytest.mark.parametrize("name", NAMES)
with_engine = pytest.mark.parametrize(
    ("name", "engine"), [(name, engine) for name in NAMES for engine in CASES[name].engines if engine != "reference"]
)
KINKED = {name for name in NAMES if "finite differences" in CASES[name].breaks}  # what is chosen jumps


def test_half_of_the_table():
    assert len(NAMES) >= len(CASES) / 2


def directions(operands, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in operands)


def attending(case, engine=None):
    return lambda *operands: case.attention(*operands, engine=engine)


def loss(attend):
    return lambda *operands: attend(*operands).sin().sum()


def of_all(operands):
    return tuple(range(len(operands)))


def assert_equal(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def learning(case, engine):
    learns = case.engines[engine]
    return tuple(t.requires_grad_(learns or at < 3) for at, t in enumerate(case.operands()))


@with_engine
def test_double_and_triple_backward(name, engine):
    case, found = CASES[name], []
    for one in (engine, "reference"):
        operands = learning(case, engine)
        chosen = [t for t in operands if t.requires_grad]
        out = loss(attending(case, one))(*operands)
        results = []
        for _ in range(3):
            if not out.requires_grad:
                break
            slopes = torch.autograd.grad(out, chosen, create_graph=True, allow_unused=True, materialize_grads=True)
            results += slopes
            out = sum((s * d).sum() for s, d in zip(slopes, directions(chosen), strict=True)).sin()
        found.append(results)
    for mine, his in zip(*found, strict=True):
        assert_equal(mine, his, 1e-8)


@with_engine
def test_forward_mode(name, engine):
    from torch.autograd import forward_ad

    case, found = CASES[name], []
    for one in (engine, "reference"):
        operands = tuple(t.detach() for t in learning(case, engine))
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(t, d) for t, d in zip(operands, directions(operands), strict=True)]
            duals = duals[:3] + ([] if not case.engines[engine] else duals[3:]) + (
                list(operands[3:]) if not case.engines[engine] else []
            )  # fmt: skip
            tangent = forward_ad.unpack_dual(case.attention(*duals, engine=one)).tangent
        found.append(torch.zeros(()) if tangent is None else tangent)
    assert_equal(*found)


@each
def test_transforms_equal_those_of_the_definition(name):
    """grad, jvp, vjp, jvp(grad), grad(jvp), jvp(jvp), hessian."""
    case = CASES[name]
    operands = case.operands()
    along, across, places = directions(operands), directions(operands, 6), of_all(operands)
    found = []
    for engine in (None, "reference"):
        attend = attending(case, engine)
        gradient = grad(loss(attend), places)

        def moved(*steps, attend=attend):
            """The loss at a step along the direction of each operand."""
            return loss(attend)(*(t + s * d for t, s, d in zip(operands, steps, along, strict=True)))

        pulled, pull = vjp(attend, *operands)
        nothing = [torch.zeros((), dtype=torch.float64) for _ in operands]
        found.append(
            {
                "grad": gradient(*operands),
                "jvp": jvp(attend, operands, along),
                "vjp": (pulled, pull(pulled.cos())),
                "jvp(grad)": jvp(gradient, operands, along)[1],
                "grad(jvp)": grad(lambda *x, attend=attend: jvp(attend, x, along)[1].sin().sum(), places)(*operands),
                "jvp(jvp)": jvp(lambda *x, attend=attend: jvp(attend, x, along)[1], operands, across)[1],
            }
        )
        if name in NAMES[::3]:  # the same steps, of a batch
            found[-1] |= {f.__name__: f(moved, places)(*nothing) for f in (hessian, jacfwd, jacrev)}
    ours, theirs = found
    for what in ours:
        torch.testing.assert_close(
            ours[what], theirs[what], rtol=1e-8, atol=1e-8, msg=lambda m, what=what: f"{what}: {m}"
        )


@each
def test_a_batch_of_derivatives(name):
    """vmap, vmap(grad), vmap(jvp), against one after the other."""
    case = CASES[name]
    operands = case.operands()
    batch = tuple(torch.stack([t, t + 0.05]) for t in operands)
    along, places = directions(operands), of_all(operands)
    attend, definition = attending(case), attending(case, "reference")
    each_one = list(zip(*batch, strict=True))
    assert_equal(vmap(attend)(*batch), torch.stack([definition(*one) for one in each_one]))
    found = vmap(grad(loss(attend), places))(*batch)
    expected = [grad(loss(definition), places)(*one) for one in each_one]
    for mine, his in zip(found, zip(*expected, strict=True), strict=True):
        assert_equal(mine, torch.stack(his))
    found = vmap(lambda *x: jvp(attend, x, along)[1])(*batch)
    assert_equal(found, torch.stack([jvp(definition, one, along)[1] for one in each_one]))
    only_one = vmap(lambda value: attend(*operands[:2], value, *operands[3:]))(batch[2])
    assert_equal(only_one, torch.stack([definition(*operands[:2], v, *operands[3:]) for v in batch[2]]))


@pytest.mark.parametrize(
    ("name", "engine"), [(n, e) for n in NAMES[::6] if n not in KINKED for e in CASES[n].engines if e != "reference"]
)
def test_gradcheck_in_all_modes(name, engine):
    case = CASES[name]
    assert torch.autograd.gradcheck(
        attending(case, engine), learning(case, engine), fast_mode=True, check_forward_ad=True, check_batched_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip


VALUES = {
    "lengths": (lambda t: {"pattern": ops.Lengths(t)}, torch.tensor([[4, 0], [7, 3], [1, 6]])),
    "prefix": (lambda t: {"pattern": ops.Prefix(t, "start")}, torch.tensor([[4, 0], [7, 3], [1, 6]])),
    "documents": (lambda t: {"pattern": ops.Documents(t[..., :N], t)}, torch.randint(-1, 3, (3, B, M))),
    "tokens": (
        lambda t: {"pattern": ops.Local(1, align="end") | ops.GlobalTokens(t, "keys")},
        torch.tensor([[1], [5], [0]]),
    ),
    "mask": (lambda t: {"pattern": ops.Mask(t)}, torch.rand(3, 1, H, N, M) > 0.4),
    "local & mask": (lambda t: {"pattern": ops.Local(2, align="start") & ops.Mask(t)}, torch.rand(3, N, M) > 0.2),
    "tensor": (lambda t: {"bias": ops.TensorBias(t)}, torch.randn(3, H, N, M, dtype=torch.float64)),
    "per key": (lambda t: {"bias": ops.PerKey(t)}, torch.randn(3, M, dtype=torch.float64)),
    "alibi": (lambda t: {"bias": ops.ALiBi(t, "end")}, torch.rand(3, H, dtype=torch.float64)),
    "sum": (lambda t: {"bias": ops.ALiBi(H, "end") + ops.PerKey(t)}, torch.randn(3, M, dtype=torch.float64)),
    "bilinear": (lambda t: {"score": ops.Bilinear(t)}, torch.randn(3, 11, 11, dtype=torch.float64)),
    "gaussian": (lambda t: {"score": ops.Gaussian(t)}, 1 + torch.rand(3, H, dtype=torch.float64)),
    "entmax": (lambda t: {"normalize": ops.entmax(t)}, 1.1 + torch.rand(3, dtype=torch.float64)),
    "sigmoid": (lambda t: {"normalize": ops.Sigmoid(t)}, torch.randn(3, H, 1, 1, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_arguments_of_transforms(name):
    """A pattern, a bias, a score or a normalizer as what is batched, and what is differentiated."""
    make, numbers = VALUES[name]
    operands = CASES["softmax(scaled dot)"].operands()

    def attend(options, *operands):
        return heedful.attention(*operands, **options)

    together = [make(t) for t in numbers]
    (key, value), *_ = make(numbers[0]).items()
    _, spec = tree_flatten(value)
    leaves = zip(*(tree_leaves(options[key]) for options in together), strict=True)
    batch = tree_unflatten([torch.stack(t) for t in leaves], spec)
    found = vmap(lambda value: attend({key: value}, *operands))(batch)
    expected = torch.stack([heedful.attention(*operands, **options, engine="reference") for options in together])
    assert_equal(found, expected)
    slopes = vmap(lambda value: grad(lambda *x: attend({key: value}, *x).sin().sum(), (0, 1, 2))(*operands))(batch)
    for options, *mine in zip(together, *slopes, strict=True):
        given = [t.clone().requires_grad_() for t in operands]
        out = heedful.attention(*given, **options, engine="reference").sin().sum()
        for one, his in zip(mine, torch.autograd.grad(out, given), strict=True):
            assert_equal(one, his)
    if numbers.is_floating_point():
        slope = grad(lambda value: attend({key: value}, *operands).sin().sum())(value)
        assert type(slope) is type(value)
        tensor = numbers[0].clone().requires_grad_()
        out = heedful.attention(*operands, **make(tensor), engine="reference").sin().sum()
        (his,) = torch.autograd.grad(out, [tensor])
        learned = [t for t in tree_leaves(slope) if t.shape == his.shape]
        assert any(torch.allclose(t, his, atol=1e-9) for t in learned)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ops.Local(1) | ops.GlobalTokens([0]),
        lambda: ops.GlobalTokens(torch.tensor([3])) & ops.Causal(),
        lambda: ops.Documents(torch.arange(M) // 3),
        lambda: ops.Lengths(torch.tensor([4, 0])),
        lambda: ops.Mask(torch.ones(M, M).tril() > 0),
    ],
    ids=["longformer", "tokens & causal", "documents", "lengths", "mask"],
)
def test_a_pattern_may_be_made_inside(make):
    operands = CASES["causal"].operands()
    batch = tuple(torch.stack([t, t + 1]) for t in operands)

    def ours(*operands):
        return heedful.attention(*operands, pattern=make()).sin().sum()

    def theirs(*operands):
        return heedful.attention(*operands, pattern=make(), engine="reference").sin().sum()

    assert_equal(vmap(grad(ours))(*batch), vmap(grad(theirs))(*batch))
    query, *others = operands
    found, expected = (hessian(lambda x, f=f: f(query + x, *others))(torch.zeros(1).double()) for f in (ours, theirs))
    assert_equal(found, expected)


def test_a_layer_in_a_transform():
    layer = heedful.nn.MultiHeadAttention(12, 3, key_heads=1).double()
    x = torch.randn(4, 2, 5, 12, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def of_sample(parameters, x):
        return functional_call(layer, parameters, (x,), {"pattern": ops.Causal()}).square().sum()

    slopes = vmap(grad(of_sample), (None, 0))(parameters, x)
    for at, sample in enumerate(x):
        layer.zero_grad()
        layer(sample, pattern=ops.Causal()).square().sum().backward()
        for parameter_name, p in layer.named_parameters():
            assert_equal(slopes[parameter_name][at], p.grad)


def test_a_seed_has_to_be_given_where_many_are_drawn_together():
    operands = [torch.stack([t, t]) for t in CASES["dropout"].operands()]
    with pytest.raises(ValueError, match="`seed` must be given under `torch.func.vmap`: got None."):
        vmap(lambda *x: heedful.attention(*x, dropout=0.5))(*operands)


GENERATOR = torch.Generator().manual_seed(0)
WHOLE = {  # in one graph
    "causal & lengths": {"pattern": ops.Causal() & ops.Lengths(torch.tensor([4, 0, 9]))},
    "mask": {"pattern": ops.Mask(torch.rand(3, 1, 9, 9, generator=GENERATOR) > 0.3)},
    "bias": {"bias": torch.randn(2, 9, 9, generator=GENERATOR)},
    "alibi": {"bias": ops.ALiBi(2), "pattern": ops.Causal()},
    "cosine": {"score": ops.Cosine(), "scale": 4.0},
}
BROKEN = {  # one break at the most
    "entmax15": {"normalize": ops.entmax15},
    "local": {"pattern": ops.Local(2)},
    "additive": {"score": ops.Additive(torch.randn(5, generator=GENERATOR))},
    "sinks": {"sinks": torch.randn(2, generator=GENERATOR)},
    "softcap": {"softcap": 2.0, "bias": torch.randn(9, generator=GENERATOR)},
    "dropout": {"dropout": 0.3, "seed": 1},
    "hard": {"select": ops.Hard()},
    "learned": {"bias": ops.ALiBi(torch.rand(2, generator=GENERATOR, requires_grad=True))},
}

DIFFERENTIATED = ("causal & lengths", "alibi", "cosine", "entmax15", "softcap", "dropout", "learned")  # by the compiler


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # of the compiler
@pytest.mark.parametrize("name", [*WHOLE, *BROKEN])
def test_compiled(name):
    made = torch.randn(3, 3, 2, 9, 5, generator=torch.Generator().manual_seed(1))
    options, graphs = (WHOLE | BROKEN)[name], []

    def attend(query, key, value):  # something before and behind, which has to stay in the graph
        return heedful.attention(query * 1.5, key, value.tanh(), **options).exp()

    def counting(graph, inputs):
        graphs.append(graph)
        return aot_eager(graph, inputs) if name in DIFFERENTIATED else graph.forward

    def tried(attend):
        operands = [t.clone().requires_grad_() for t in made]
        out = attend(*operands)
        return [out, *torch.autograd.grad(out, operands, torch.ones_like(out).cumsum(-1))]

    torch.compiler.reset()
    compiled = torch.compile(attend, backend=counting, fullgraph=name in WHOLE)
    torch.testing.assert_close(tried(compiled), tried(attend))
    assert 1 <= len(graphs) <= (1 if name in WHOLE else 2)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*made), attend(*made))
