import pytest
import torch

from heedful import ops
from heedful.inspection import recognize
from heedful.inspection.masks import CallablePattern, read, read_function

N, M, B = 7, 11, 3


def index(n=N, m=M):
    return torch.arange(n)[:, None], torch.arange(m)[None]


def shown(pattern, shape):
    """What a pattern shows, as a dense mask."""
    i, j = index(*shape[-2:])
    return pattern.allowed(i, j, shape).expand(shape)


def classes(pattern):
    return (
        classes(pattern.first) + classes(pattern.second) if isinstance(pattern, ops.And) else [type(pattern).__name__]
    )


def padding(side, lengths, size=N):
    j = torch.arange(size)
    lengths = torch.tensor(lengths)[:, None]
    return (j < lengths if side == "right" else j >= size - lengths)[:, None, None]


i, j = index()
si, sj = index(N, N)
documents = torch.tensor([0, 0, 0, 1, 1, 2, 2])
CASES = {
    "all": (torch.ones(N, M, dtype=torch.bool), ["Global"]),
    "causal": ((sj <= si), ["Causal"]),
    "causal from the start": (j <= i, ["Causal"]),
    "causal to the end": (j <= i + M - N, ["Causal"]),
    "window": ((sj <= si) & (sj > si - 3), ["Causal", "Local"]),
    "window to the end": ((j <= i + M - N) & (j > i + M - N - 3), ["Causal", "Local"]),
    "window to both sides": ((sj - si).abs() <= 2, ["Local"]),
    "padding right": (padding("right", [7, 4, 1]), ["Lengths"]),
    "padding left": (padding("left", [7, 4, 1]), ["Mask"]),
    "a sample of nothing": (padding("right", [7, 0, 1]), ["Lengths"]),
    "padding right, expanded": (padding("right", [7, 4, 1]).expand(B, 1, N, N), ["Lengths"]),
    "padding right, stored": (padding("right", [7, 4, 1]).expand(B, 1, N, N).clone(), ["Lengths"]),
    "causal and padding right": ((sj <= si) & padding("right", [7, 4, 1]), ["Causal", "Lengths"]),
    "causal and padding left": ((sj <= si) & padding("left", [7, 4, 1]), ["Causal", "Mask"]),
    "all samples padded left": ((sj <= si) & padding("left", [6, 4, 1]), ["Causal", "Mask"]),
    "window and padding": (
        (sj <= si) & (sj > si - 3) & padding("left", [7, 4, 1]),
        ["Causal", "Local", "Mask"],
    ),
    "documents": (documents[:, None] == documents[None], ["Documents"]),
    "documents, causal": ((documents[:, None] == documents[None]) & (sj <= si), ["Causal", "Documents"]),
    "documents of a batch": (
        torch.stack([documents[:, None] == documents[None], torch.ones(N, N, dtype=torch.bool)])[:, None],
        ["Documents"],
    ),
    "one query": (torch.arange(M)[None] > 3, ["Mask"]),
    "one query of a batch": (padding("right", [11, 4, 1], M), ["Lengths"]),
    "a mask a head": (torch.rand(B, 5, N, M, generator=torch.Generator().manual_seed(0)) > 0.3, ["Mask"]),
    "almost causal": ((sj <= si) & ~((si == 5) & (sj == 2)), ["Mask"]),
    "three axes, causal and padding": ((sj <= si) & padding("left", [7, 4, 1])[:, 0], ["Causal", "Mask"]),
    "nothing": (torch.zeros(N, M, dtype=torch.bool), ["Lengths"]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at_once", [2**22, 30])
def test_a_mask_of_structure_becomes_a_pattern_that_shows_the_same(name, at_once, monkeypatch):
    monkeypatch.setattr("heedful.inspection.masks._AT_ONCE", at_once)
    mask, expected = CASES[name]
    pattern = recognize(mask)
    rows = N if mask.shape[-2] == 1 else mask.shape[-2]
    lead = mask.shape[:-2] if mask.dim() == 3 else (*(mask.shape[:1] if mask.dim() == 4 else (1,)), 5)
    shape = (*lead, rows, mask.shape[-1])
    pattern.check(shape)
    assert torch.equal(shown(pattern, shape), mask.expand(shape))
    assert classes(pattern) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("hidden", ["-inf", "lowest"])
def test_floating_point_masks_hide_and_add(dtype, hidden):
    low = -torch.inf if hidden == "-inf" else torch.finfo(dtype).min
    numbers = torch.randn(N, N, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain = torch.zeros(N, N, dtype=dtype).masked_fill(sj > si, low)
    reading = read(plain)
    assert reading == (ops.Causal(), None, 0)
    reading = read(numbers.masked_fill(sj > si, low))
    assert reading.pattern == ops.Causal()
    assert torch.equal(reading.bias, numbers.masked_fill(sj > si, 0))


def test_rows_that_are_hidden_whole_are_counted():
    assert read((sj <= si) & padding("left", [7, 4, 1])).empty == 0 + 3 + 6
    assert read(padding("right", [7, 0, 1])).empty == 1


def test_what_was_expanded_is_not_stored():
    mask = (torch.rand(N, M, generator=torch.Generator().manual_seed(0)) > 0.5).expand(B, 5, N, M)
    pattern = recognize(mask)
    assert pattern.mask.shape == (1, 1, N, M)
    assert pattern.mask.data_ptr() != mask.data_ptr()


def test_a_function_stays_one_where_it_has_no_structure():
    mask = torch.rand(B, 1, N, M, generator=torch.Generator().manual_seed(0)) > 0.5
    pattern, empty = read_function(lambda rows: mask[..., rows, :], mask.shape, torch.device("cpu"))
    assert isinstance(pattern, CallablePattern)
    assert empty == int((~mask.any(-1)).sum())
    query, key = torch.randn(B, 5, N, 4, dtype=torch.float64), torch.randn(B, 5, M, 4, dtype=torch.float64)
    dense = (query @ key.mT / 2).masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num(0)
    torch.testing.assert_close(ops.AttentionMatrix(query, key, pattern=pattern).dense(), dense)
    torch.testing.assert_close(ops.attention(query, key, key, pattern=pattern, engine="tiled"), dense @ key)
    torch.testing.assert_close(ops.attention(query, key, key, pattern=pattern), dense @ key)
    assert read_function(lambda rows: rows[:, None] >= torch.arange(N), (N, N), torch.device("cpu")) == (
        ops.Causal(),
        0,
    )


def test_what_is_no_mask_is_refused():
    with pytest.raises(TypeError, match=r"`mask` must be a bool tensor \(True = may attend\): got torch.float32"):
        recognize(torch.zeros(3, 3))
    with pytest.raises(TypeError, match="`mask` must be bool or floating point: got torch.int64"):
        read(torch.zeros(3, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`mask` must be \[..., N, M\]: got \[3\]"):
        read(torch.zeros(3))
