import math

import numpy as np
import pytest
import torch

from heedful import nn, ops
from heedful.ops.biases import alibi_slopes
from heedful.ops.rotary import rotary_frequencies


def test_the_formula():
    table = nn.sinusoidal(torch.arange(7.0), 10)
    for position in range(7):
        for i in range(5):
            angle = position / 10_000 ** (2 * i / 10)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_far_positions_keep_their_precision():
    far = nn.sinusoidal(torch.tensor([100_000.0]), 4)[0]
    assert far[0].item() == pytest.approx(math.sin(100_000), abs=1e-6)


def test_a_grid_has_its_row_in_the_first_half_and_its_column_in_the_second():
    table = nn.SinusoidalPositions(8)(torch.zeros(1, 3, 5, 8))[0]
    assert torch.equal(table[1, 2, :4], nn.sinusoidal(torch.tensor(1.0), 4))
    assert torch.equal(table[1, 2, 4:], nn.sinusoidal(torch.tensor(2.0), 4))


def test_learned_positions_on_smaller_inputs():
    layer = nn.LearnedPositions((3, 5), 4)
    assert torch.equal(layer(torch.zeros(2, 2, 4, 4))[1], layer.table[:2, :4])
    line = nn.LearnedPositions(5, 4)
    assert torch.equal(line(torch.zeros(2, 3, 4))[0], line.table[:3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.SinusoidalPositions(7), "`width` must be a positive multiple of 2: got 7"),
        (
            lambda: nn.SinusoidalPositions(6)(torch.zeros(1, 3, 5, 6)),
            "`width` must be a positive multiple of 4: got 6",
        ),
        (lambda: nn.LearnedPositions(5, 4)(torch.zeros(1, 6, 4)), r"at most \[5\] positions, .*: got \[6\]"),
        (lambda: nn.LearnedPositions((3, 5), 4)(torch.zeros(1, 3, 4)), r"at most \[3, 5\] positions, .*: got \[3\]"),
        (lambda: nn.LearnedPositions(0, 4), "must be positive: got 0"),
        (lambda: nn.LearnedPositions(3, 4)(torch.zeros(3, 4)), r"`x` must be \[batch, positions, width\] or"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
@pytest.mark.parametrize("width", [None, 6])
def test_rotary_turns_each_pair(pairing, width):
    x, turned = draw(2, 5, 10), width or 10
    got = ops.rotary(x, base=100.0, width=width, pairing=pairing)
    for position in range(5):
        for t in range(turned // 2):
            a, b = (t, t + turned // 2) if pairing == "halves" else (2 * t, 2 * t + 1)
            angle = position * 100 ** (-2 * t / turned)
            here = x[1, position]
            first = here[a] * math.cos(angle) - here[b] * math.sin(angle)
            second = here[b] * math.cos(angle) + here[a] * math.sin(angle)
            assert got[1, position, a].item() == pytest.approx(first.item(), abs=1e-12)
            assert got[1, position, b].item() == pytest.approx(second.item(), abs=1e-12)
    assert torch.equal(got[..., turned:], x[..., turned:])


SCALINGS = {
    "linear": ops.LinearScaling(4.0),
    "ntk": ops.NTKScaling(4.0),
    "yarn": ops.YarnScaling(4.0, original=64, fast=8.0, slow=1.0),
    "llama3": ops.Llama3Scaling(8.0, original=64),
}


def scaled(name, width, base):
    """Pair by pair, as the models that are published with these frequencies compute them."""
    out = []
    for t in range(width // 2):
        f = base ** (-2 * t / width)
        if name == "linear":
            f /= 4
        elif name == "ntk":
            f = (base * 4 ** (width / (width - 2))) ** (-2 * t / width)
        elif name == "yarn":
            low, high = (width * math.log(64 / (r * 2 * math.pi)) / (2 * math.log(base)) for r in (8, 1))
            low, high = max(math.floor(low), 0), min(math.ceil(high), width - 1)
            ramp = min(max((t - low) / (high - low), 0), 1)
            f = f / 4 * ramp + f * (1 - ramp)
        else:
            wavelength = 2 * math.pi / f
            if wavelength > 64 / 1.0:
                f /= 8
            elif wavelength >= 64 / 4.0:
                smooth = (64 / wavelength - 1) / (4 - 1)
                f = (1 - smooth) * f / 8 + smooth * f
        out.append(f)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize(("width", "base"), [(16, 100.0), (64, 10_000.0), (2, 10.0)])
def test_scaled_frequencies(name, width, base):
    if (name, width) == ("ntk", 2):
        assert SCALINGS[name].scaled(rotary_frequencies(2, base=base), base).tolist() == [1.0]
        return
    got = SCALINGS[name].scaled(rotary_frequencies(width, base=base), base)
    torch.testing.assert_close(got, scaled(name, width, base), rtol=1e-12, atol=0)
    if width > 2:
        assert (got.diff() < 0).all()
        assert (got > rotary_frequencies(width, base=base) / 8.001).all()


def test_the_temperature_of_yarn_is_felt_twice_in_the_scores():
    x, plain = draw(5, 8), ops.rotary(draw(5, 8), scaling=ops.YarnScaling(4.0, original=10**9))
    assert ops.LinearScaling(4.0).temperature() == 1
    factor = 0.1 * math.log(4) + 1
    torch.testing.assert_close(plain.norm(dim=-1), factor * x.norm(dim=-1))


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
@pytest.mark.parametrize("scaling", [None, *SCALINGS.values()], ids=["none", *SCALINGS])
def test_only_the_distance_is_felt(pairing, scaling):
    q, k = draw(1, 8), draw(1, 8, seed=1)

    def score(i, j):
        options = {"scaling": scaling, "pairing": pairing}
        return (ops.rotary(q, torch.tensor([i]), **options) @ ops.rotary(k, torch.tensor([j]), **options).T).item()

    for i, j in ((5, 3), (3, 5), (7, 7)):
        assert score(i, j) == pytest.approx(score(i + 100_000, j + 100_000), abs=1e-9)
    assert abs(score(5, 3) - score(3, 5)) > 1e-3


def test_rotary_on_a_grid_feels_the_step():
    grid, q, k = (4, 5), draw(8).expand(20, 8), draw(8, seed=1).expand(20, 8)
    scores = ops.rotary2d(q, grid) @ ops.rotary2d(k, grid).T
    seen = {}
    for i in range(20):
        for j in range(20):
            seen.setdefault((j // 5 - i // 5, j % 5 - i % 5), []).append(scores[i, j].item())
    assert all(max(same) - min(same) < 1e-12 for same in seen.values())
    assert len({round(same[0], 9) for same in seen.values()}) == len(seen) == 7 * 9
    row = ops.rotary(q[:, :4], torch.arange(20) // 5, base=100.0)
    torch.testing.assert_close(ops.rotary2d(q, grid)[:, :4], row)


def test_positions_of_each_sample():
    x, starts = draw(2, 3, 4, 8), torch.tensor([0, 7])
    positions = starts[:, None, None] + torch.arange(4)
    got = ops.rotary(x, positions)
    torch.testing.assert_close(got[1], ops.rotary(x[1], torch.arange(7, 11)))
    torch.testing.assert_close(ops.rotary(x, torch.arange(4) / 2), ops.rotary(x, scaling=ops.LinearScaling(2.0)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rotary_keeps_the_dtype_and_the_precision_of_far_positions(dtype):
    x = draw(3, 8).to(dtype)
    far = torch.arange(3) + 1_000_000
    for got, expected in (
        (ops.rotary(x, far), ops.rotary(x.double(), far)),
        (ops.rotary2d(x, (1, 3)), ops.rotary2d(x.double(), (1, 3))),
        (nn.RotaryPositions(8)(x, x)[1], ops.rotary(x.double())),
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_derivatives_of_rotary():
    x, positions = draw(2, 3, 8).requires_grad_(), draw(3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(ops.rotary, (x, positions))
    assert torch.autograd.gradgradcheck(ops.rotary, (x, positions))
    torch.testing.assert_close(torch.func.vmap(ops.rotary)(x), ops.rotary(x))
    assert torch.autograd.gradcheck(lambda x: ops.rotary2d(x, (1, 3)), (x,))


def test_rotary_layer_is_the_function():
    q, k = draw(2, 4, 6, 8), draw(2, 2, 6, 8, seed=1)
    options = {"base": 50.0, "scaling": SCALINGS["yarn"], "pairing": "interleaved"}
    for ours, x in zip(nn.RotaryPositions(8, rotary_width=6, **options)(q, k), (q, k), strict=True):
        assert torch.equal(ours, ops.rotary(x, width=6, **options))
    for ours, x in zip(nn.RotaryPositions(8, grid=(2, 3))(q, k), (q, k), strict=True):
        assert torch.equal(ours, ops.rotary2d(x, (2, 3)))
    here = torch.tensor([6])
    query, key = nn.RotaryPositions(8)(q[..., :1, :], k, here, torch.arange(1, 7))
    assert torch.equal(query, ops.rotary(q[..., :1, :], here))
    assert torch.equal(key, ops.rotary(k, torch.arange(1, 7)))
    assert not nn.RotaryPositions(8).state_dict()


def numbers(bias, n, m, heads=3):
    shape = (2, heads, n, m)
    bias.check(torch.empty(2, heads, n, 4), shape)
    return bias.at(torch.arange(n)[:, None], torch.arange(m)[None], shape)


@pytest.mark.parametrize(
    ("make", "size", "n"),
    [
        (lambda: nn.LearnedRelativeBias(3, 4), (3, 9), 50),  # beyond the reach
        (lambda: nn.LearnedRelativeBias(3, 4, bidirectional=False), (3, 5), 50),
        (lambda: nn.LearnedRelativeBias(3, 8, buckets="log", max_distance=20), (3, 8), 50),
        (lambda: nn.LearnedRelativeBias(3, (2, 5)), (3, 3, 9), 10),
        (lambda: nn.LearnedALiBi(3), (3,), 50),
        (lambda: nn.LearnedALiBi(3, grid=(2, 5)), (3,), 10),
    ],
)
def test_learned_biases_hold_one_parameter_that_learns(make, size, n):
    layer = make()
    [parameter] = layer.parameters()
    assert parameter.shape == size
    bias = numbers(layer(), n, n)
    assert bias.shape == (3, n, n)
    bias.sum().backward()
    assert parameter.grad.shape == size
    assert parameter.grad.abs().sum() > 0
    other = make()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(numbers(other(), n, n), bias)
    assert layer.double()().at(torch.tensor([[1]]), torch.tensor([[2]]), (1, 3, n, n)).dtype == torch.float64


def test_learned_slopes_begin_with_those_of_the_paper():
    assert nn.LearnedALiBi(6)().slopes.tolist() == pytest.approx(alibi_slopes(6))
    assert numbers(nn.LearnedALiBi(3, align="end")(), 1, 5).argmax(-1).eq(4).all()
    assert numbers(nn.LearnedRelativeBias(3, 2, align="start")(), 1, 5).shape == (3, 1, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.rotary(draw(3, 7)), ValueError, "`width` must be a positive multiple of 2: got 7."),
        (lambda: ops.rotary(draw(3, 8), width=10), ValueError, "`width` must be at most .* of `x`, 8: got 10."),
        (lambda: ops.rotary(draw(3, 8), base=1.0), ValueError, "`base` must be more than 1: got 1.0."),
        (lambda: ops.rotary(draw(3, 8), pairing="pairs"), ValueError, "`pairing` must be 'halves' or .*: got 'pairs'."),
        (
            lambda: ops.rotary(draw(3, 8), torch.arange(4)),
            ValueError,
            r"`positions` must broadcast to .* = \[3\]: got \[4\].",
        ),
        (
            lambda: ops.rotary(draw(3, 8), [0, 1, 2]),
            TypeError,
            "`positions` must be a tensor of real numbers: got list.",
        ),
        (lambda: ops.rotary(draw(3, 8), torch.ones(3).bool()), TypeError, "real numbers: got torch.bool."),
        (
            lambda: ops.rotary(draw(3, 8), torch.ones(3, device="meta")),
            ValueError,
            "on the device of `x`, cpu: got meta.",
        ),
        (
            lambda: ops.rotary2d(draw(6, 6), (2, 3)),
            ValueError,
            "`width` of `x` must be a positive multiple of 4: got 6.",
        ),
        (lambda: ops.rotary2d(draw(6, 8), (2, 4)), ValueError, r"as many cells as `x` has positions, 6: got \(2, 4\)."),
        (lambda: ops.LinearScaling(0.5), ValueError, "`factor` must be at least 1: got 0.5."),
        (lambda: ops.NTKScaling(math.nan), ValueError, "`factor` must be at least 1: got nan."),
        (
            lambda: ops.YarnScaling(2, 64, fast=1, slow=2),
            ValueError,
            "`slow` must be positive and less than `fast`: got 2 and 1.",
        ),
        (lambda: ops.YarnScaling(2, 0), ValueError, "`original` must be positive: got 0."),
        (lambda: ops.Llama3Scaling(low=4), ValueError, "`low` must be positive and less than `high`: got 4 and 4.0."),
        (lambda: nn.RotaryPositions(6, grid=(2, 3)), ValueError, "`width` must be a positive multiple of 4: got 6."),
        (
            lambda: nn.RotaryPositions(8, rotary_width=3),
            ValueError,
            "`rotary_width` must be a positive multiple of 2: got 3.",
        ),
        (
            lambda: nn.RotaryPositions(8, rotary_width=10),
            ValueError,
            "`rotary_width` must be at most `width`, 8: got 10.",
        ),
        (
            lambda: nn.RotaryPositions(8, rotary_width=4, grid=(1, 2)),
            ValueError,
            "`rotary_width` must be None on a grid: got None and 4.",
        ),
        (
            lambda: nn.RotaryPositions(8)(draw(3, 8), draw(3, 6)),
            ValueError,
            r"`key` must be .* with width 8: got \[3, 6\].",
        ),
        (
            lambda: nn.RotaryPositions(8, grid=(1, 3))(draw(3, 8), draw(3, 8), torch.arange(3)),
            ValueError,
            "`positions` must be None on a grid",
        ),
        (lambda: nn.LearnedRelativeBias(0, 4), ValueError, "must be positive: got 0."),
        (
            lambda: nn.LearnedRelativeBias(3, 7, buckets="log"),
            ValueError,
            "the number of buckets must be even and at least 4: got 7.",
        ),
        (
            lambda: nn.LearnedRelativeBias(3, 4, buckets="fine"),
            ValueError,
            "`buckets` must be 'clip' or 'log': got 'fine'.",
        ),
        (lambda: nn.LearnedALiBi(0), ValueError, "`heads` must be positive: got 0."),
        (
            lambda: nn.LearnedALiBi(3, align="middle"),
            ValueError,
            "`align` must be None, 'start' or 'end': got 'middle'.",
        ),
    ],
)
def test_what_positions_cannot_be(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("layer", [nn.SinusoidalPositions(8), nn.LearnedPositions(11, 8)])
def test_a_sequence_may_begin_later(layer):
    whole = layer(torch.zeros(1, 11, 8))
    torch.testing.assert_close(layer(torch.zeros(1, 4, 8), start=7), whole[:, 7:])


def test_where_a_sequence_cannot_begin():
    with pytest.raises(ValueError, match="at most .*11.* positions.*got .*12"):
        nn.LearnedPositions(11, 8)(torch.zeros(1, 5, 8), start=7)
    for x, start in ((torch.zeros(1, 5, 8), -1), (torch.zeros(1, 3, 3, 8), 1)):
        with pytest.raises(ValueError, match=f"`start` must be 0 on a grid, and at least 0 in a sequence: got {start}"):
            nn.SinusoidalPositions(8)(x, start=start)


def test_kept_tables_serve_training_after_inference():
    layer, x = nn.RotaryPositions(8), torch.randn(1, 2, 13, 8)
    with torch.inference_mode():
        layer(x, x)
    query = x.clone().requires_grad_()
    layer(query, query)[0].sum().backward()
    assert query.grad.any()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_sines_of_integers_are_floats(dtype):
    got = nn.sinusoidal(torch.arange(7).to(dtype), 4)
    assert got.dtype == torch.float32
    assert torch.equal(got, nn.sinusoidal(torch.arange(7.0), 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sines_have_the_dtype_of_real_positions(dtype):
    positions = torch.arange(40).to(dtype)
    got = nn.sinusoidal(positions, 4)
    assert got.dtype == dtype
    torch.testing.assert_close(got, nn.sinusoidal(positions.double(), 4).to(dtype), rtol=0, atol=0)


def test_far_starts_and_double_inputs_keep_their_precision():
    start = 2**24 + 1  # no float32
    got = nn.SinusoidalPositions(4)(torch.zeros(1, 1, 4, dtype=torch.float64), start=start)[0, 0]
    assert got[0].item() == pytest.approx(math.sin(start), abs=1e-12)
    grid = nn.SinusoidalPositions(8)(torch.zeros(1, 3, 5, 8, dtype=torch.float64))[0, 2, 3]
    assert grid[0].item() == pytest.approx(math.sin(2), abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("x", nn.SinusoidalPositions(8)),
        ("x", nn.LearnedPositions(9, 8)),
        ("x", nn.SelfAttention(8)),
        ("query", nn.MultiHeadAttention(8, 2)),
        ("x", nn.AttentionPooling(8)),
        ("x", nn.TransformerEncoder(8, 2, 1)),
        ("x", lambda x: nn.TransformerDecoder(8, 2, 1)(x, x)),
        ("x", lambda x: nn.CrossAttention(8)(x, x)),
        ("source", lambda x: nn.CrossAttention(8)(x.float(), x)),
        ("key", lambda x: nn.MultiHeadAttention(8, 2)(x.float(), x)),
        ("query", lambda x: nn.RotaryPositions(8)(x, x)),
        ("x", ops.rotary),
        ("x", lambda x: ops.rotary2d(x, (2, 2))),
    ],
)
def test_integers_are_not_cut_off(name, layer, dtype):
    with pytest.raises(TypeError, match=f"`{name}` must be floating point: got {dtype}"):
        layer(torch.ones(1, 4, 8).to(dtype))


@pytest.mark.parametrize("positions", [torch.ones(3).bool(), torch.ones(3).to(torch.complex64), [0, 1, 2]])
def test_positions_are_real_numbers(positions):
    with pytest.raises(TypeError, match="`positions` must be a tensor of real numbers: got"):
        nn.sinusoidal(positions, 4)


def test_numbers_of_any_kind():
    assert nn.LearnedPositions([np.int64(3), 5], np.int64(4)).table.shape == (3, 5, 4)
    assert nn.LearnedPositions(np.int32(5), 4).table.shape == (5, 4)
    assert nn.LearnedRelativeBias(np.int64(2), np.int64(3))().table.shape == (2, 7)
    assert nn.LearnedRelativeBias(2, [np.int64(3), 4])().grid == (3, 4)
    assert nn.LearnedALiBi(np.int64(4), grid=np.array([2, 3]))().grid == (2, 3)
    assert nn.RotaryPositions(np.int64(8), grid=[2, 2], base=np.float32(50.0)).grid == (2, 2)
    assert type(nn.SinusoidalPositions(np.int64(8), max_wavelength=np.float32(100.0)).max_wavelength) is float
    for layer in (
        nn.SelfAttention(np.int64(8), key_width=np.int32(4), dropout=np.float32(0.0)),
        nn.MultiHeadAttention(np.int64(8), np.int64(4), key_heads=np.int64(2)),
        nn.TransformerEncoder(np.int64(8), np.int64(2), np.int64(2), ffn_width=np.int64(16), dropout=np.float64(0.0)),
        nn.AttentionPooling(np.int64(8), np.int64(2)),
    ):
        assert layer(torch.ones(1, 3, 8)).shape[-1] == 8
        assert not any(isinstance(value, np.generic) for value in vars(layer).values())
    x = torch.ones(1, 3, 8)
    assert nn.CrossAttention(np.int64(8), np.int64(8))(x, x).shape == x.shape
    assert nn.TransformerDecoder(np.int64(8), np.int64(2), np.int64(1), dropout=np.float32(0.0))(x, x).shape == x.shape
