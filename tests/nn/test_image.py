"""Attention on feature maps, against the same with stored matrices: outputs, gradients, and gradients of gradients."""

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import heedful
from heedful import nn, ops
from heedful.report.axes import Picture
from heedful.report.build import attention_section

C = 8
SIZES = [(5, 3), (1, 1), (1, 4)]


def projected(x, conv):
    """`[B, N, D]` of a 1 x 1 convolution."""
    offset = 0 if conv.bias is None else conv.bias
    return torch.einsum("bchw,dc->bhwd", x, conv.weight[:, :, 0, 0]).flatten(1, 2) + offset


def naive_spatial(layer, x, seen=None, heads=1):
    q, k, v = (projected(x, conv) for conv in (layer.query_conv, layer.key_conv, layer.value_conv))
    return layer.gamma * stored(q, k, v, heads, seen).mT.reshape(x.shape)


def stored(q, k, v, heads, seen=None):
    outs = []
    for qh, kh, vh in zip(*(t.chunk(heads, -1) for t in (q, k, v)), strict=True):
        scores = torch.einsum("bnd,bmd->bnm", qh, kh)
        if seen is not None:
            scores = scores.masked_fill(~seen, -torch.inf)
        outs.append(scores.softmax(-1) @ vh)
    return torch.cat(outs, -1)


def naive_channel(layer, x):
    rows = x.flatten(2)
    energy = rows @ rows.mT
    energy = energy.amax(-1, keepdim=True) - energy  # as in the authors' code
    return layer.gamma * (energy.softmax(-1) @ rows).reshape(x.shape)


def naive_sagan(layer, x):
    q = projected(x, layer.query)
    k, v = (F.conv2d(x, conv.weight) for conv in (layer.key, layer.value))
    if layer.pool > 1:
        k, v = (F.max_pool2d(F.pad(t, (0, -t.shape[3] % 2, 0, -t.shape[2] % 2), value=-torch.inf), 2) for t in (k, v))
    out = stored(q, k.flatten(2).mT, v.flatten(2).mT, 1).mT.unflatten(-1, x.shape[-2:])
    return layer.gamma * F.conv2d(out, layer.output.weight)


def axial(x):
    y, column = (t.flatten() for t in torch.meshgrid(*map(torch.arange, x.shape[-2:]), indexing="ij"))
    return (y[:, None] == y) | (column[:, None] == column)


def near(x):
    y, column = (t.flatten() for t in torch.meshgrid(*map(torch.arange, x.shape[-2:]), indexing="ij"))
    return ((y[:, None] - y).abs() <= 1) & ((column[:, None] - column).abs() <= 1)


def naive_dual(layer, x):
    spatial, channel = functools.partial(naive_spatial, layer.spatial), functools.partial(naive_channel, layer.channel)
    if layer.order == "parallel":
        s, c = spatial(x), channel(x)
    elif layer.order == "spatial-first":
        s = spatial(x)
        c = channel(x + s)
    else:
        c = channel(x)
        s = spatial(x + c)
    return s + c if layer.merge is None else F.conv2d(torch.cat([s, c], 1), layer.merge.weight)


LAYERS = {
    "spatial": (lambda: nn.SpatialAttention(C), naive_spatial),
    "spatial, heads": (
        lambda: nn.SpatialAttention(C, heads=2, qk_channels=6),
        functools.partial(naive_spatial, heads=2),
    ),
    "axial": (
        lambda: nn.SpatialAttention(C, pattern=heedful.Axial),
        lambda layer, x: naive_spatial(layer, x, seen=axial(x)),
    ),
    "neighborhood": (
        lambda: nn.SpatialAttention(C, pattern=functools.partial(heedful.Neighborhood2d, 3)),
        lambda layer, x: naive_spatial(layer, x, seen=near(x)),
    ),
    "channel": (lambda: nn.ChannelAttention(C), naive_channel),
    "dual": (lambda: nn.DualAttention(C), naive_dual),
    "spatial first": (lambda: nn.DualAttention(C, order="spatial-first"), naive_dual),
    "channel first, concatenation": (
        lambda: nn.DualAttention(C, order="channel-first", merge="concatenation"),
        naive_dual,
    ),
    "dual, concatenation": (lambda: nn.DualAttention(C, merge="concatenation"), naive_dual),
    "sagan": (lambda: nn.SelfAttention2d(C), naive_sagan),
    "sagan, pooled": (lambda: nn.SelfAttention2d(C, pool=2, spectral_norm=False), naive_sagan),
}
layers = pytest.mark.parametrize("name", LAYERS)


def made(name, dtype=torch.float64):
    torch.manual_seed(0)
    layer = LAYERS[name][0]().to(dtype).eval()
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.7)
    return layer


def draw(*sizes, dtype=torch.float64):
    return torch.randn(2, C, *sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def everything(layer, x, function):
    """The output, the gradients of a loss, and those of a loss with a penalty on the gradient of the input."""
    x, learned = x.clone().requires_grad_(), list(layer.parameters())
    out = function(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    loss = (weights * out).sum() + out.square().sum()
    first = torch.autograd.grad(loss, [x, *learned], create_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss + first[0].square().sum(), [x, *learned])
    return [out, *first, *second]


@layers
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outputs_and_derivatives_are_those_of_stored_matrices(name, size):
    layer, x = made(name), draw(*size)
    naive = LAYERS[name][1]
    results, expected = everything(layer, x, layer), everything(layer, x, lambda x: x + naive(layer, x))
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-9, atol=1e-10)


@layers
def test_a_new_layer_is_the_identity_and_gamma_learns_first(name):
    layer, x = LAYERS[name][0](), draw(3, 5, dtype=torch.float32)
    out = layer(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    gammas = [p for parameter_name, p in layer.named_parameters() if parameter_name.endswith("gamma")]
    assert gammas
    assert all(gamma.grad.abs() > 0 for gamma in gammas)


@layers
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_memory_format_is_kept_and_changes_nothing(name, memory_format):
    layer, x = made(name), draw(4, 3)
    given = x.contiguous(memory_format=memory_format).requires_grad_()
    out = layer(given)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, layer(x))


@layers
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dtype_is_kept(name, dtype):
    out = made(name, dtype)(draw(4, 3, dtype=dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), made(name)(draw(4, 3)), rtol=0.05, atol=0.1)


@layers
def test_autocast(name):
    layer, x = made(name, torch.float32), draw(4, 3, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    out.float().sum().backward()
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.1)


def test_the_published_position_attention_loads_unchanged():
    names = {"query_conv.weight", "query_conv.bias", "key_conv.weight", "key_conv.bias", "value_conv.weight"}
    assert {*nn.SpatialAttention(C).state_dict()} == names | {"value_conv.bias", "gamma"}


def test_spectral_norm_keeps_the_largest_singular_value_at_1():
    layer = nn.SelfAttention2d(C).train()
    for _ in range(30):
        layer(draw(3, 3, dtype=torch.float32))
    for conv in (layer.query, layer.key, layer.value, layer.output):
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", ["spatial", "channel", "sagan"])
def test_memory_is_linear(kind):
    """64 x 64 places: a stored matrix would take 67 MB, and its gradients as much each."""
    layer, x = made(kind, torch.float32), torch.randn(1, C, 64, 64, requires_grad=True)
    with Largest() as largest:
        gradient = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
        gradient.square().sum().backward()
    assert 4096 * C <= largest.numel <= 2**21 < 4096**2


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor holds that is made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = out if isinstance(out, (tuple, list)) else (out,)
        self.numel = max([self.numel, *(t.numel() for t in tensors if isinstance(t, torch.Tensor))])
        return out


def test_a_pattern_of_one_size_and_of_any():
    fixed = nn.SpatialAttention(C, pattern=heedful.Axial(grid=(3, 4)))
    fixed(draw(3, 4, dtype=torch.float32))
    with pytest.raises(
        ValueError, match=r"^`grid` must have one place for each query and for each key: got 3 x 4 = 12"
    ):
        fixed(draw(4, 4, dtype=torch.float32))


def test_what_does_not_fit():
    with pytest.raises(
        ValueError, match=r"^`x` must be \[batch, channels, height, width\] with 8 channels: got \[2, 7, 3, 3\]\.$"
    ):
        nn.DualAttention(C)(torch.randn(2, 7, 3, 3))
    with pytest.raises(ValueError, match=r"^`heads` must be a positive divisor of `channels`: got 3 and 8\.$"):
        nn.SpatialAttention(C, heads=3)
    with pytest.raises(ValueError, match=r"^`qk_channels` must be a positive multiple of 2: got 3\.$"):
        nn.SpatialAttention(C, heads=2, qk_channels=3)
    with pytest.raises(
        ValueError, match=r"^`order` must be 'parallel', 'spatial-first' or 'channel-first': got 'both'\.$"
    ):
        nn.DualAttention(C, order="both")
    with pytest.raises(ValueError, match=r"^`merge` must be 'sum' or 'concatenation': got 'mean'\.$"):
        nn.DualAttention(C, merge="mean")
    with pytest.raises(
        TypeError, match=r"^`pattern` must be a pattern, a function that makes one of `grid`, or None: got str\.$"
    ):
        nn.SpatialAttention(C, pattern="axial")
    with pytest.raises(
        ValueError, match=r"^`pattern` must be None where keys are pooled: got a pattern and `pool` 2\.$"
    ):
        nn.SelfAttention2d(C, pool=2, pattern=heedful.Axial)


def test_attention_is_watched():
    layer, x = nn.DualAttention(C), draw(3, 4, dtype=torch.float32)
    with heedful.watch(layer) as recording:
        layer(x)
    assert [(call.module, call.shape) for call in recording] == [("spatial", (2, 1, 12, 12)), ("channel", (2, 1, 8, 8))]
    rows = x.flatten(2)
    torch.testing.assert_close(recording["channel"][:, 0], (-rows @ rows.mT).softmax(-1))
    assert isinstance(recording["spatial"], ops.AttentionMatrix)
    assert not recording.unseen


def test_a_report_shows_places_as_a_picture_and_channels_as_such(tmp_path):
    model = torch.nn.Sequential(nn.DualAttention(C), torch.nn.MaxPool2d(2), nn.SelfAttention2d(C, pool=2))
    with heedful.watch(model) as recording:
        model(draw(6, 4, dtype=torch.float32)[:1])
    assert [(call.kind, call.grid) for call in recording] == [("self", (6, 4)), ("channel", None), ("self", (3, 2))]
    assert "self, picture of 6 x 4" in str(recording)
    assert "self, pooled, picture of 3 x 2" in str(recording)
    recording.save(tmp_path / "watch")
    assert [call.grid for call in heedful.load_watch(tmp_path / "watch")] == [(6, 4), None, (3, 2)]
    pixels = torch.arange(12 * 8).reshape(12, 8).to(torch.uint8).numpy()
    section = attention_section(recording, title="two sizes", axes=Picture(pixels, grid=(6, 4)))
    rows = [section.axes[layer.rows] for layer in section.layers]
    assert [getattr(axis, "grid", axis.name) for axis in rows] == [(6, 4), "channels", (3, 2)]
    assert all((axis.pixels == pixels).all() for axis in rows[::2])
    gray = attention_section(recording, title="without a picture")
    assert [gray.axes[gray.layers[2].rows].grid, gray.axes[gray.layers[2].columns].grid] == [(3, 2), (2, 1)]


def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    names = ("dual", "sagan, pooled")
    model, x = torch.nn.Sequential(*(made(name, torch.float32) for name in names)), draw(6, 4, dtype=torch.float32)
    axes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=(axes,), verbose=False, opset_version=20)
    program.save(str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for given in (x, x[:1, :, :, :3]):
        (result,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        torch.testing.assert_close(torch.from_numpy(result), model(given).detach(), rtol=1e-4, atol=1e-5)
