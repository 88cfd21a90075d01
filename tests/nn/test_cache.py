import pytest
import torch
from torch import nn as torch_nn

from heedful import nn, ops

B, HEADS, GROUPS, N, WIDTH = 3, 6, 2, 11, 24
CLOSE = {"rtol": 1e-12, "atol": 1e-12}

CACHES = {
    "growing": nn.KeyValueCache,
    "fixed": lambda: nn.StaticKeyValueCache(B, GROUPS, N + 2, WIDTH // HEADS, dtype=torch.float64),
}
caches = pytest.mark.parametrize("made", CACHES.values(), ids=CACHES)


class Turn(torch_nn.Module):
    """Turns pairs of features by the position: a rotary embedding in two lines."""

    def forward(self, query, key, positions=None):
        return self.turned(query, positions), self.turned(key, positions)

    def turned(self, x, positions):
        positions = torch.arange(x.shape[-2]) if positions is None else positions
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        angle = positions[:, None] * torch.tensor([0.7, 0.05], dtype=x.dtype)
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def layer(**options):
    torch.manual_seed(0)
    return nn.MultiHeadAttention(WIDTH, HEADS, key_heads=GROUPS, **options).double().eval()


def inputs():
    return torch.randn(B, N, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def decoded(attend, x, cache, chunks, **call):
    return torch.cat([attend(part, pattern=ops.Causal("end"), cache=cache, **call) for part in x.split(chunks, 1)], 1)


@caches
@pytest.mark.parametrize("chunks", [1, 3, [4, 1, 1, 5], 11], ids=str)
@pytest.mark.parametrize("rotary", [None, Turn(), nn.RotaryPositions(WIDTH // HEADS)], ids=["none", "own", "rotary"])
def test_step_by_step_is_the_whole(made, chunks, rotary):
    attend, x, cache = layer(rotary=rotary), inputs(), made()
    with torch.no_grad():
        out = decoded(attend, x, cache, chunks)
    assert cache.length == N
    torch.testing.assert_close(out, attend(x, pattern=ops.Causal()), **CLOSE)


@caches
def test_turned_by_position_is_not_what_it_was(made):
    """The test above could not fail on positions if they made no difference."""
    attend, x = layer(rotary=Turn()), inputs()
    wrong = torch.cat([attend(x[:, :5], pattern=ops.Causal()), attend(x[:, 5:], pattern=ops.Causal())], 1)
    with torch.no_grad():
        assert not torch.allclose(decoded(attend, x, made(), 1), wrong, atol=1e-3)


@caches
def test_patterns_and_biases_are_over_all_keys_that_are_held(made):
    attend, x, cache = layer(), inputs(), made()
    lengths, bias = torch.tensor([4, 2, 3]), torch.randn(HEADS, N, N, dtype=torch.float64)
    expected = attend(x, pattern=ops.Causal() & ~ops.Lengths(lengths), bias=bias)
    parts = []
    with torch.no_grad():
        for i in range(0, N - 3, 4):
            end = i + 4
            seen = ops.Causal("end") & ~ops.Lengths(lengths)
            parts.append(attend(x[:, i:end], pattern=seen, bias=bias[:, i:end, :end], cache=cache))
    torch.testing.assert_close(torch.cat(parts, 1), expected[:, :8], **CLOSE)


@caches
def test_beams_are_reordered(made):
    attend, x, order = layer(), inputs(), torch.tensor([2, 2, 0])
    cache = made()
    with torch.no_grad():
        decoded(attend, x[:, :5], cache, 2)
        cache.reorder(order)
        out = decoded(attend, x[:, 5:], cache, 1)
    whole = torch.cat([x[order, :5], x[:, 5:]], 1)
    torch.testing.assert_close(out, attend(whole, pattern=ops.Causal())[:, 5:], **CLOSE)


def test_a_growing_cache_takes_other_numbers_of_samples():
    attend, x, cache = layer(), inputs(), nn.KeyValueCache()
    cache.reorder(torch.tensor([0]))
    with torch.no_grad():
        decoded(attend, x[:1, :5], cache, 2)
        cache.reorder(torch.zeros(B, dtype=torch.long))
        out = decoded(attend, x[:, 5:], cache, 2)
    whole = torch.cat([x[:1, :5].expand(B, -1, -1), x[:, 5:]], 1)
    torch.testing.assert_close(out, attend(whole, pattern=ops.Causal())[:, 5:], **CLOSE)


@caches
def test_crop_and_reset(made):
    attend, x, cache = layer(), inputs(), made()
    expected = attend(x, pattern=ops.Causal())
    with torch.no_grad():
        decoded(attend, x.flip(1), cache, 4)
        cache.reset()
        assert cache.length == 0
        decoded(attend, torch.cat([x[:, :6], x[:, :3]], 1), cache, 2)
        cache.crop(6)
        torch.testing.assert_close(decoded(attend, x[:, 6:], cache, 2), expected[:, 6:], **CLOSE)
    with pytest.raises(ValueError, match="`length` must be from 0 to the 11 positions that are held: got 12."):
        cache.crop(12)


def test_growing_copies_each_position_a_few_times_at_most():
    cache, places = nn.KeyValueCache(), set()
    with torch.no_grad():
        for _ in range(1000):
            keys, _ = cache.append(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
            places.add(keys.data_ptr())
    assert keys.shape == (1, 1, 1000, 2)
    assert len(places) < 13


def test_a_fixed_cache_stays_at_its_place():
    cache = CACHES["fixed"]()
    attend, places = layer(), set()
    with torch.no_grad():
        for part in inputs().split(1, 1):
            attend(part, pattern=ops.Causal("end"), cache=cache)
            places.add(cache._key.data_ptr())
    assert len(places) == 1


def test_gradients_flow_through_a_growing_cache():
    attend, x = layer(rotary=Turn()), inputs().requires_grad_()
    found = decoded(attend, x, nn.KeyValueCache(), [4, 1, 1, 5])
    expected = attend(x, pattern=ops.Causal())
    torch.testing.assert_close(found, expected, **CLOSE)
    operands = [x, *attend.parameters()]
    weights = torch.randn_like(expected)
    for a, b in zip(*(torch.autograd.grad(out, operands, weights) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_after_steps_without_and_before_others():
    """What a graph has saved is not written to."""
    attend, x, cache = layer(), inputs(), nn.KeyValueCache()
    expected = attend(x, pattern=ops.Causal())
    with torch.no_grad():
        decoded(attend, x[:, :4], cache, 2)
    out = decoded(attend, x[:, 4:6], cache, 1)
    with torch.no_grad():
        cache.crop(5)
        cache.reorder(torch.arange(B))
        rest = decoded(attend, x[:, 5:], cache, 1)
    out.sum().backward()
    torch.testing.assert_close(out, expected[:, 4:6], **CLOSE)
    torch.testing.assert_close(rest, expected[:, 5:], **CLOSE)


def test_a_fixed_cache_refuses_gradients():
    attend, cache = layer(), CACHES["fixed"]()
    with pytest.raises(ValueError, match="`key` and `value` must not require a gradient in a cache of fixed size: got"):
        attend(inputs(), pattern=ops.Causal("end"), cache=cache)
    assert cache.length == 0


@caches
def test_inference_mode(made):
    attend, x = layer(), inputs()
    with torch.inference_mode():
        out = decoded(attend, x, made(), 2)
    torch.testing.assert_close(out, attend(x, pattern=ops.Causal()), **CLOSE)


def test_a_full_cache():
    cache = nn.StaticKeyValueCache(1, 2, max_positions=4, width=5, value_width=3)
    key, value = torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 3, 3)
    cache.append(key, value)
    with pytest.raises(
        ValueError, match="`max_positions` of the cache must be at least 6 to hold what is appended: got 4."
    ):
        cache.append(key, value)
    assert cache.length == 3
    assert repr(cache) == "StaticKeyValueCache(key=(1, 2, 3, 5))"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda k, v: (k[:2], v), ValueError, r"`key` must be \[3, 2, 2, 4\] to follow what the cache .*: got \[2, 2, 2, 4\]"),
        (lambda k, v: (k, v[..., :3]), ValueError, r"`value` must be \[3, 2, 2, 4\] .*: got \[3, 2, 2, 3\]"),
        (lambda k, v: (k.float(), v), TypeError, "`key` must be torch.float64 on cpu .*: got torch.float32 on cpu"),
    ],
)  # fmt: skip
@caches
def test_what_does_not_fit(made, change, error, message):
    cache, key = made(), torch.zeros(B, GROUPS, 2, WIDTH // HEADS, dtype=torch.float64)
    cache.append(key, key)
    with pytest.raises(error, match=message):
        cache.append(*change(key, key))


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="`max_positions` must be positive: got 0"):
        nn.StaticKeyValueCache(1, 1, 0, 4)
    with pytest.raises(ValueError, match="`index` must have one entry for each of 3 samples: got 2"):
        CACHES["fixed"]().reorder(torch.tensor([0, 1]))
    assert repr(nn.KeyValueCache()) == "KeyValueCache(empty)"


@caches
def test_compiled_steps(made):
    """The length changes at each step; after a few of them no graph is new."""
    attend, x, cache, graphs, counts, parts = layer(), inputs(), made(), [], [], []

    def backend(module, _):
        graphs.append(module)
        return module.forward

    torch._dynamo.reset()
    step = torch.compile(attend, backend=backend)
    with torch.no_grad():
        for part in x.split(1, 1):
            parts.append(step(part, pattern=ops.Causal("end"), cache=cache))
            counts.append(len(graphs))
    torch.testing.assert_close(torch.cat(parts, 1), attend(x, pattern=ops.Causal()), **CLOSE)
    assert counts[-3] == counts[-1]  # each frame that is traced learns of it at one step
