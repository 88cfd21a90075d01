"""The samples of PyTorch's own tests: its attention is the truth, and where its tests are skipped, ours are not."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import heedful
from heedful import nn, ops

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's forward mode, once

# in a process of its own: PyTorch's test modules change global settings, also those of hypothesis
SCRIPT = """
import sys, torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

torch.manual_seed(0)
(info,) = (op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")
samples = [((s.input, *s.args), s.kwargs) for s in info.sample_inputs("cpu", torch.float64)]
(info,) = (m for m in module_db if m.name == "nn.MultiheadAttention")
modules = [
    ((m.constructor_input.args, m.constructor_input.kwargs), (m.forward_input.args, m.forward_input.kwargs))
    for m in info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
]
torch.save((samples, modules), sys.argv[1])
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    path = tmp_path_factory.mktemp("pytorch") / "samples.pt"
    subprocess.run([sys.executable, "-c", SCRIPT, path], check=True, capture_output=True)
    return torch.load(path)


@pytest.fixture(scope="module")
def samples(collected):
    """(query, key, value) and the options of PyTorch's call, without dropout, whose random numbers are others.

    Beside PyTorch's samples: each of four axes also with what they leave out.
    """
    found = [(operands, {**options, "dropout_p": 0.0}) for operands, options in collected[0]]
    assert len(found) >= 25
    generator = torch.Generator().manual_seed(1)

    def numbers(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for (query, key, value), options in found[:]:
        if query.dim() == 4 and not options["is_causal"]:
            visible = numbers(4, 1, 3, 6) > 0
            visible[..., 2] = True  # where a row sees nothing PyTorch's engines differ
            wide = torch.cat([value, value.flip(-1).sin()], dim=-1)
            found.append(((query, key, wide), options))
            found.append(((query, key, value), {**options, "attn_mask": visible}))
            found.append(
                ((query, key, wide), {**options, "attn_mask": numbers(3, 6).masked_fill(~visible, -torch.inf)})
            )
            found.append(((query, key, value), {**options, "attn_mask": numbers(4, 1, 1, 6), "scale": -0.7}))
            found.append(((query, key[:, :2], value[:, :2]), {**options, "enable_gqa": True}))
            found.append(
                ((query, key[:, :1], value[:, :1]), {**options, "enable_gqa": True, "attn_mask": numbers(3, 1)})
            )
    return found


@pytest.fixture(scope="module")
def kinds(samples):
    """One sample of each kind, for what takes long."""
    found = {}
    for operands, options in samples:
        mask = options.get("attn_mask")
        words = {**options, "attn_mask": None if mask is None else (mask.shape, mask.dtype)}
        found.setdefault((tuple(t.shape for t in operands), tuple(sorted(words.items()))), (operands, options))
    assert 10 < len(found) < 25
    return list(found.values())


def ours(query, key, value, attn_mask=None, is_causal=False, scale=None, dropout_p=0.0, enable_gqa=False, engine=None):
    """PyTorch's arguments as ours; an axis that PyTorch adds in front is written down."""
    query, key, value = (t.reshape((1,) * (value.dim() - t.dim()) + t.shape) for t in (query, key, value))
    pattern, bias = ops.Causal("start") if is_causal else ops.Global(), None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        pattern = ops.Mask(attn_mask)
    elif attn_mask is not None:
        bias = attn_mask
    return heedful.attention(query, key, value, pattern=pattern, bias=bias, scale=scale, engine=engine)


def plain(query, key, value, attn_mask=None, is_causal=False, scale=None, dropout_p=0.0, enable_gqa=False):
    """The formula, in operations that have every derivative."""
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], dim=-3) for t in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:]).tril().bool(), -torch.inf)
    return scores.softmax(-1) @ value


def split(operands, options, dtype=torch.float64):
    """Query, key, value and a bias as what a derivative is asked of, and the other options."""
    options, learned = dict(options), [t.to(dtype).clone() for t in operands]
    mask = options.pop("attn_mask", None)
    if mask is not None and mask.dtype != torch.bool:
        learned.append(mask.to(dtype).clone())
    elif mask is not None:
        options["attn_mask"] = mask
    return tuple(t.requires_grad_() for t in learned), options


def results(function, operands, options, dtype):
    """The output and all gradients, in float64."""
    learned, options = split(operands, options, dtype)
    out = function(*learned, **options)
    weights = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).sin().view(out.shape)
    return [t.double() for t in (out.detach(), *torch.autograd.grad(out, learned, weights.to(dtype)))]


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_output_and_gradients_in_float64(samples, engine):
    for operands, options in samples:
        mine = results(lambda *a, **k: ours(*a, **k, engine=engine), operands, options, torch.float64)
        for a, b in zip(mine, results(F.scaled_dot_product_attention, operands, options, torch.float64), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # sums of six numbers: a few hundred roundings


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_errors_in_float32_are_those_of_pytorch(samples, engine):
    """House rule: at most 2x (output) and 3x (gradients) PyTorch's error against float64, over all samples."""
    worst = {}
    for operands, options in samples:
        exact = results(plain, operands, options, torch.float64)
        mine = results(lambda *a, **k: ours(*a, **k, engine=engine), operands, options, torch.float32)
        theirs = results(F.scaled_dot_product_attention, operands, options, torch.float32)
        for i, (a, b, c) in enumerate(zip(mine, theirs, exact, strict=True)):
            was = worst.get(i, (0.0, 0.0))
            worst[i] = max(was[0], (a - c).abs().max().item()), max(was[1], (b - c).abs().max().item())
    assert len(worst) == 5
    for i, (mine, theirs) in worst.items():
        assert 0 < mine <= theirs * (3 if i else 2)


def test_second_order_which_pytorch_skips(kinds):
    """`TestBwdGradients.test_fn_gradgrad` is skipped for PyTorch's kernel. Random directions, both ways round."""
    for operands, options in kinds:
        learned, options = split(operands, options)
        function = lambda *a, options=options: ours(*a, **options)  # noqa: E731
        finite = all(t.isfinite().all() for t in learned)
        if finite:  # a step from -inf stays there, 0 / 0 in the numerical derivative
            assert gradcheck(function, learned, fast_mode=True, check_batched_grad=True)
            assert gradgradcheck(function, learned, fast_mode=True, check_fwd_over_rev=True)


def test_forward_mode_which_pytorch_does_not_have(samples):
    """`TestFwdGradients` is skipped: the kernel has no forward mode. The formula has."""
    for operands, options in samples:
        learned, options = split(operands, options)
        primals = tuple(t.detach() for t in learned)
        directions = tuple(torch.linspace(0, 5, t.numel(), dtype=t.dtype).cos().view(t.shape) for t in primals)
        mine = torch.func.jvp(lambda *a, options=options: ours(*a, **options), primals, directions)
        theirs = torch.func.jvp(lambda *a, options=options: plain(*a, **options), primals, directions)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def over_reverse(loss, primals, directions):
    return torch.func.jvp(torch.func.grad(loss, argnums=tuple(range(len(primals)))), primals, directions)[1]


def over_forward(loss, primals, directions):
    def along(*given):
        return torch.func.jvp(loss, given, directions)[1]

    return torch.func.grad(along, argnums=tuple(range(len(primals))))(*primals)


def test_hessian_vector_products(kinds):
    """Forward over reverse and reverse over forward, against the formula."""
    for operands, options in kinds:
        learned, options = split(operands, options)
        primals = tuple(t.detach() for t in learned)
        directions = tuple(torch.linspace(0, 5, t.numel(), dtype=t.dtype).cos().view(t.shape) for t in primals)
        mine, formula = (lambda *given, f=f, options=options: f(*given, **options).sin().sum() for f in (ours, plain))
        expected = over_reverse(formula, primals, directions)
        for product in (over_reverse, over_forward):
            for a, b in zip(product(mine, primals, directions), expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.fixture(scope="module")
def modules(collected):
    """Layers with drawn weights, and what PyTorch's test calls them with."""
    torch.manual_seed(0)
    found = []
    for (args, options), call in collected[1]:
        layer = torch.nn.MultiheadAttention(*args, **options, dtype=torch.float64)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        found.append((layer, *call))
    assert len(found) >= 64
    return found


# PyTorch draws inputs from -9 to 9 and weights are normal: scores of some hundreds, whose rounding is 1e-13, are factors of
# gradients of some hundreds
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def learned_by(layer, out):
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, list(layer.parameters()), weights)]


@pytest.mark.parametrize("training", [True, False])
def test_layers_from_torch(modules, training):
    for layer, args, options in modules:
        layer.train(training)
        mine = nn.from_torch(layer, copy=True)
        (out, weights), (expected, shares) = mine(*args, **options), layer(*args, **options)
        torch.testing.assert_close(weights, shares, **CLOSE)
        for a, b in zip(learned_by(mine, out), learned_by(layer, expected), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_our_layer_with_their_weights(modules):
    """All samples without added keys, which our layer does not have."""
    tried = 0
    for layer, args, options in modules:
        if layer.bias_k is not None or layer.add_zero_attn:
            continue
        mine = nn.MultiHeadAttention(layer.embed_dim, layer.num_heads, bias=layer.in_proj_bias is not None).double()
        mine.load_state_dict(layer.state_dict())
        pattern = ops.Global()
        if options["key_padding_mask"] is not None:
            pattern = pattern & ops.Mask(~options["key_padding_mask"])
        if options["attn_mask"] is not None:
            pattern = pattern & ops.Mask(~options["attn_mask"])
        out = mine(*(t[None] for t in args), pattern=pattern)[0]
        expected = copy.deepcopy(layer).eval()(*args, **options)[0]
        for a, b in zip(learned_by(mine, out), learned_by(layer, layer(*args, **options)[0]), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
        torch.testing.assert_close(out, expected, **CLOSE)
        tried += 1
    assert tried >= 16
