"""The encoder of frames: windows, padding, and streams that give what the whole gives."""

import pytest
import torch

from heedful.models.conformer import Conformer, ConformerLayer, FrameWindow
from heedful.ops import attention

WINDOWS = [
    FrameWindow(5, 2),
    FrameWindow(3, 0),
    FrameWindow(0, 3),
    FrameWindow(7, 0, 4),
    FrameWindow(0, 0, 3),
    FrameWindow(4, None, 5),
]


def seen(window, row, column):
    """The definition, pair by pair."""
    if window.chunk:
        own = row // window.chunk == column // window.chunk
        return own or (column <= row and (window.before is None or row - column <= window.before))
    return (window.before is None or row - column <= window.before) and (
        window.after is None or column - row <= window.after
    )


@pytest.mark.parametrize(
    "window", [*WINDOWS, FrameWindow(), FrameWindow(None, 2), FrameWindow(2, None), FrameWindow(None, None, 4)]
)
def test_a_window_shows_what_its_definition_says(window):
    count = 13
    index = torch.arange(count)
    wanted = torch.tensor([[seen(window, row, column) for column in range(count)] for row in range(count)])
    allowed = (
        window.pattern(count).allowed(index[:, None], index[None], (1, 1, count, count)).expand(1, 1, count, count)
    )
    assert torch.equal(allowed[0, 0], wanted)


def encoder(**settings):
    torch.manual_seed(0)
    return Conformer(12, 2, 3, **{"ffn_width": 20, "kernel": 5} | settings).eval()


@pytest.mark.parametrize(
    ("window", "sizes"), [*((window, [5, 0, 11, 7]) for window in WINDOWS), (WINDOWS[0], [1] * 23), (WINDOWS[3], [23])]
)
def test_a_stream_gives_what_the_whole_gives(window, sizes):
    model = encoder().double()
    x = torch.randn(1, 23, 12, dtype=torch.float64)
    whole = model(x, torch.tensor([23]), window)
    states, parts, start = model.states(), [], 0
    with torch.no_grad():
        for number, size in enumerate(sizes):
            parts.append(model.step(x[:, start : start + size], states, window, last=number == len(sizes) - 1))
            start += size
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)
    assert max(state.keys.shape[2] for state in states) <= (window.before or 0)


def test_the_delay_is_what_the_window_says():
    model, x = encoder(), torch.randn(1, 16, 12)
    for window in WINDOWS[::2]:
        states, told, worst = model.states(), 0, 0
        for frame in range(16):
            with torch.no_grad():
                told += model.step(x[:, frame : frame + 1], states, window).shape[1]
            worst = max(worst, frame + 1 - told)
        assert worst == window.delay(3)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [FrameWindow(5, 2), FrameWindow(), FrameWindow(4, 0, 4)])
def test_padding_changes_nothing(window, causal):
    model = encoder(causal=causal)
    x = torch.randn(3, 17, 12)
    lengths = torch.tensor([17, 6, 1])
    together = model(x, lengths, window)
    for row, length in enumerate(lengths.tolist()):
        alone = model(x[row : row + 1, :length], torch.tensor([length]), window)
        torch.testing.assert_close(together[row : row + 1, :length], alone, rtol=1e-4, atol=1e-5)


def test_a_layer_beside_its_definition():
    torch.manual_seed(0)
    layer, x = ConformerLayer(8, 2, ffn_width=12, kernel=3).double().eval(), torch.randn(1, 6, 8, dtype=torch.float64)
    first, second = layer.networks
    y = x + first(x) / 2
    inner = layer.attention_norm(y)
    q, k, v = (inner @ w.T + b for w, b in map(layer.attention._projection, range(3)))
    heads = [t.view(1, 6, 2, 4).transpose(1, 2) for t in (q, k, v)]
    turned = layer.attention.rotary(*heads[:2])
    pattern = FrameWindow(2, 1).pattern(6)
    y = y + layer.attention.out_proj(attention(*turned, heads[2], pattern=pattern).transpose(1, 2).flatten(2))
    convolution = layer.convolution
    a, b = convolution.expand(layer.convolution_norm(y)).chunk(2, -1)
    gated = a * b.sigmoid()
    weight, offset = convolution.depthwise.weight[:, 0], convolution.depthwise.bias
    rows = [
        offset + sum(weight[:, 2 - back] * gated[0, frame - back] for back in range(3) if frame >= back)
        for frame in range(6)
    ]
    inner = convolution.norm(torch.stack(rows)[None])
    y = y + convolution.out(inner * inner.sigmoid())
    y = layer.norm(y + second(y) / 2)
    torch.testing.assert_close(layer(x, pattern=pattern), y, rtol=1e-10, atol=1e-10)


def test_memory_does_not_grow_over_a_long_stream():
    model, window = encoder(), FrameWindow(8, 2)
    states, x, held = model.states(), torch.randn(1, 50, 12), set()
    with torch.inference_mode():
        for _ in range(30):
            model.step(x, states, window)
            held.add(tuple(state.keys.numel() + state.waiting.numel() + state.inputs.numel() for state in states))
    assert len(held) == 1
    assert states[0].start == 30 * 50 - 2


def test_what_cannot_stream():
    model, x = encoder(causal=False), torch.randn(1, 4, 12)
    message = "a stream needs a window that ends and causal convolutions: got "
    with pytest.raises(ValueError, match=message):
        model.step(x, model.states(), FrameWindow(3, 1))
    model = encoder()
    with pytest.raises(ValueError, match=message):
        model.step(x, model.states(), FrameWindow(None, 1))
    with pytest.raises(ValueError, match="`kernel` must be odd: got 4."):
        ConformerLayer(8, 2, ffn_width=8, kernel=4)
