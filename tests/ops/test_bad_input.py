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
        ({"pattern": ops.Local(2)}, ValueError, r"`Local\(\)` needs as many queries as keys unless .*: got 5 and 11."),
        ({"pattern": ops.Dilated(2)}, ValueError, r"`Dilated\(\)` needs as many queries as keys unless .*: got 5 and 11."),
        ({"pattern": ops.Prefix(2)}, ValueError, r"`Prefix\(\)` needs as many queries as keys unless .*: got 5 and 11."),
        ({"pattern": ops.Prefix(12, "end")}, ValueError, "`n` must be from 0 to the number of keys, 11: got values from 12 to 12."),
        ({"pattern": ops.Prefix(torch.ones(2, 3).long(), "end")}, ValueError, r"`n` must have at most 1 axes .*: got \[2, 3\]."),
        ({"pattern": ops.Documents(torch.ones(5).long())}, ValueError, r"`Documents\(ids\)` needs as many queries as keys unless `key_ids` are given: got 5 and 11."),
        ({"pattern": ops.Documents(torch.ones(4).long(), torch.ones(11).long())}, ValueError, "`ids` must have one number for each query, 5: got 4."),
        ({"pattern": ops.Documents(torch.ones(5).long(), torch.ones(2, 12).long())}, ValueError, "`key_ids` must have one number for each key, 11: got 12."),
        ({"pattern": ops.Documents(torch.ones(3, 5).long(), torch.ones(11).long())}, ValueError, r"`ids`, one for each of the first axes, must broadcast to .*: got \[3, 1, 1, 1\]."),
        ({"pattern": ops.Documents(torch.ones(1, 1, 5).long(), torch.ones(11).long())}, ValueError, r"`ids` must have at most 2 axes .*: got \[1, 1, 5\]."),
        ({"pattern": ops.Tokens([0])}, ValueError, r"`Tokens\(\)` needs as many queries as keys unless `align` is 'keys': got 5 and 11."),
        ({"pattern": ops.Tokens([3, 11], align="keys")}, ValueError, "`index` must be from 0 to less than 11, the number of positions: got values from 3 to 11."),
        ({"pattern": ops.Tokens([-1], align="keys")}, ValueError, "got values from -1 to -1."),
        ({"pattern": ops.Axial((1, 5))}, ValueError, r"`grid` must have one place for each query and for each key: got 1 x 5 = 5 places for a matrix of shape \[2, 3, 5, 11\]."),
        ({"pattern": ops.Neighborhood2d(3, (11, 1))}, ValueError, r"`grid` must have one place .*: got 11 x 1 = 11 places for a matrix of shape \[2, 3, 5, 11\]."),
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
        (lambda: ops.Lengths(2.0), TypeError, "`lengths` must be integers: got float."),
        (lambda: ops.Local(-1), ValueError, "`before` must be a non-negative integer: got -1."),
        (lambda: ops.Local(1.5), ValueError, "`before` must be a non-negative integer: got 1.5."),
        (lambda: ops.Local(1, -2), ValueError, "`after` must be a non-negative integer: got -2."),
        (lambda: ops.Local(1, align="top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Dilated(-1), ValueError, "`before` must be a non-negative integer: got -1."),
        (lambda: ops.Dilated(1, True), ValueError, "`after` must be a non-negative integer: got True."),
        (lambda: ops.Dilated(1, dilation=0), ValueError, "`dilation` must be a positive integer: got 0."),
        (lambda: ops.Dilated(1, align="top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Prefix(torch.ones(2)), TypeError, "`n` must be integers: got torch.float32."),
        (lambda: ops.Prefix(True), TypeError, "`n` must be integers: got bool."),
        (lambda: ops.Prefix(1, "top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Documents([0, 1]), TypeError, "`ids` must be a tensor of integers .*: got list."),
        (
            lambda: ops.Documents(torch.tensor(1)),
            TypeError,
            r"`ids` must be a tensor .* with at least one axis: got \[\].",
        ),
        (lambda: ops.Documents(torch.ones(2)), TypeError, "`ids` must be integers: got torch.float32."),
        (
            lambda: ops.Documents(torch.ones(2).long(), torch.ones(2).bool()),
            TypeError,
            "`key_ids` must be integers: got torch.bool.",
        ),
        (
            lambda: ops.Documents.from_offsets(torch.ones(2)),
            TypeError,
            "`cu_seqlens` must be integers: got torch.float32.",
        ),
        (
            lambda: ops.Documents.from_offsets(torch.tensor([1, 2])),
            ValueError,
            r"`cu_seqlens` must begin with 0 and never fall: got \[1, 2\].",
        ),
        (
            lambda: ops.Documents.from_offsets(torch.tensor([0, 3, 2])),
            ValueError,
            r"`cu_seqlens` must begin with 0 and never fall: got \[0, 3, 2\].",
        ),
        (
            lambda: ops.Documents.from_offsets(torch.zeros(1, 2).long()),
            ValueError,
            r"`cu_seqlens` must have one axis and at least one number: got \[1, 2\].",
        ),
        (lambda: ops.Tokens([1.5]), TypeError, "`index` must be integers: got float."),
        (lambda: ops.Tokens(torch.ones(2)), TypeError, "`index` must be integers: got torch.float32."),
        (lambda: ops.Tokens(torch.ones(2, 2).long()), ValueError, r"`index` must have one axis: got \[2, 2\]."),
        (lambda: ops.Tokens([0], align="end"), ValueError, "`align` must be None or 'keys': got 'end'."),
        (
            lambda: ops.Neighborhood2d(4, (2, 3)),
            ValueError,
            "`size` must be an odd positive integer or two of them: got 4.",
        ),
        (lambda: ops.Neighborhood2d((3, 2), (2, 3)), ValueError, r"`size` must be an odd .*: got \(3, 2\)."),
        (
            lambda: ops.Neighborhood2d(3, (2,)),
            ValueError,
            r"`grid` must be two positive integers, \(rows, columns\): got \(2,\).",
        ),
        (lambda: ops.Axial((0, 3)), ValueError, r"`grid\[0\]` must be a positive integer: got 0."),
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
