"""What does not fit is said in one grammar: name, rule, received."""

import pytest
import torch

import heedful
from heedful import ops

pytestmark = pytest.mark.usefixtures("unchecked")


def operands(q=(2, 3, 5, 7), k=(2, 3, 11, 7), v=(2, 3, 11, 13)):
    return torch.randn(q), torch.randn(k), torch.randn(v)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"k": (2, 3, 11, 8)}, "`query` and `key` must have the same width: got 7 and 8."),
        ({"v": (2, 3, 12, 13)}, "`key` must have as many positions as `value`: got 11 and 12."),
        (
            {"k": (2, 2, 11, 7), "v": (2, 2, 11, 13)},
            "heads of `query` must be a multiple of that of `key`: got 3 and 2.",
        ),
        ({"k": (2, 1, 11, 7)}, "`key` and `value` must have the same number of heads: got 1 and 3."),
        ({"k": (5, 3, 11, 7), "v": (5, 3, 11, 13)}, r"leading axes .* must broadcast: got \[2\], \[5\] and \[5\]."),
        (
            {"q": (2, 5, 7), "k": (3, 11, 7), "v": (3, 11, 13)},
            r"three-dimensional .* equal leading sizes: got \[2\], \[3\] and \[3\];",
        ),
        ({"q": (3, 5, 7)}, "`query`, `key` and `value` must have the same number of axes: got 3, 4 and 4."),
        (
            {"q": (7,), "k": (7,), "v": (7,)},
            r"at least two axes \(positions and features\): got \[7\], \[7\] and \[7\].",
        ),
    ],
)
def test_sizes(shapes, message):
    with pytest.raises(ValueError, match=message):
        heedful.attention(*operands(**shapes))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pattern": torch.ones(5, 11).bool()}, TypeError, r"`pattern` must be a pattern .*; wrap a tensor as `Mask\(tensor\)`: got Tensor."),
        ({"pattern": "causal"}, TypeError, r"`pattern` must be a pattern such as `Causal\(\)`: got str."),
        ({"score": "dot"}, TypeError, r"`score` must be a score such as `ScaledDot\(\)`: got 'dot'."),
        ({"normalize": torch.softmax}, ValueError, "`normalize` must be `heedful.softmax`: got"),
        ({"engine": "fast"}, ValueError, "`engine` must be 'fused' or 'reference': got 'fast'."),
        ({"bias": torch.ones(5, 11).bool()}, TypeError, r"`bias` must be floating point: got torch.bool; a pattern `Mask\(tensor\)`"),
        ({"bias": torch.ones(5, 12)}, ValueError, r"`bias` must broadcast to \[..., H, N, M\] = \[2, 3, 5, 11\]: got \[5, 12\]."),
        ({"bias": torch.ones(4, 2, 3, 5, 11)}, ValueError, r"`bias` must broadcast to .*: got \[4, 2, 3, 5, 11\]."),
        ({"bias": torch.ones(5, 11, device="meta")}, ValueError, "`bias` must be on the device of `query`, cpu: got meta."),
        ({"pattern": ops.Causal()}, ValueError, r"`Causal\(\)` needs as many queries as keys .*: got 5 and 11."),
        ({"pattern": ops.Causal() | ops.Global()}, ValueError, "as many queries as keys"),
        ({"pattern": ~ops.Causal()}, ValueError, "as many queries as keys"),
        ({"pattern": ops.Lengths(12)}, ValueError, "`lengths` must be from 0 to the number of keys, 11: got values from 12 to 12."),
        ({"pattern": ops.Lengths(torch.tensor([3, -1]))}, ValueError, "got values from -1 to 3."),
        ({"pattern": ops.Lengths(torch.tensor([3, 4, 5]))}, ValueError, r"`lengths`, one for each .*: got \[3, 1, 1, 1\]."),
        ({"pattern": ops.Lengths(torch.ones(2, 3).long())}, ValueError, r"`lengths` must have at most 1 axes .*: got \[2, 3\]."),
        ({"pattern": ops.Mask(torch.ones(11, 5).bool())}, ValueError, r"`mask` must broadcast to .*: got \[11, 5\]."),
    ],
)  # fmt: skip
def test_options(options, error, message):
    with pytest.raises(error, match=message):
        heedful.attention(*operands(), **options)
    if "engine" not in options:
        with pytest.raises(error, match=message):
            heedful.attention_weights(*operands()[:2], **options)
        with pytest.raises(error, match=message):
            heedful.AttentionMatrix(*operands()[:2], **options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ops.Causal("middle"), ValueError, "`align` must be None, 'start' or 'end': got 'middle'."),
        (lambda: ops.Lengths(torch.ones(2)), TypeError, "`lengths` must be integers: got torch.float32."),
        (
            lambda: ops.Mask(torch.ones(2)),
            TypeError,
            r"`mask` must be a bool tensor \(True = may attend; .*\): got torch.float32.",
        ),
        (lambda: ops.Mask([True]), TypeError, "`mask` must be a bool tensor .*: got list."),
    ],
)
def test_patterns(make, error, message):
    with pytest.raises(error, match=message):
        make()
    with pytest.raises(TypeError, match="unsupported operand"):
        ops.Causal() & 3


def test_dtypes_and_devices():
    query, key, value = operands()
    with pytest.raises(
        TypeError, match="`query`, `key` and `value` must be tensors: got ndarray and Tensor and Tensor."
    ):
        heedful.attention(query.numpy(), key, value)
    with pytest.raises(TypeError, match="must be tensors: got Tensor and list."):
        heedful.AttentionMatrix(query, [1])
    with pytest.raises(
        TypeError, match="`query` and `value` must have the same dtype: got torch.float32 and torch.float64."
    ):
        heedful.attention(query, key, value.double())
    with pytest.raises(TypeError, match="`query` must be floating point: got torch.int64."):
        heedful.attention(query.long(), key.long(), value.long())
    with pytest.raises(ValueError, match="`query` and `key` must be on the same device: got cpu and meta."):
        heedful.attention(query, key.to("meta"), value)


def test_what_cannot_be_seen_passes_through():
    """NaN in unmasked input is no error: every row sees it."""
    query, key, value = operands()
    value[..., 2, 4] = torch.nan
    out = heedful.attention(query, key, value)
    assert out[..., 4].isnan().all()
    assert out[..., :4].isfinite().all()
