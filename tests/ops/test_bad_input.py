"""What does not fit is said in one grammar: name, rule, received."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

import heedful
from heedful import _checks, ops
from heedful.ops.biases import alibi_slopes, log_buckets


def operands(q=(2, 3, 5, 7), k=(2, 3, 11, 7), v=(2, 3, 11, 13)):
    return torch.randn(q), torch.randn(k), torch.randn(v)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"k": (2, 3, 11, 8)}, "`query` and `key` must be equally wide for ScaledDot: got 7 and 8."),
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
        ({"pattern": ops.GlobalTokens([0])}, ValueError, r"`GlobalTokens\(\)` needs as many queries as keys unless `align` is 'keys': got 5 and 11."),
        ({"pattern": ops.GlobalTokens([3, 11], align="keys")}, ValueError, "`index` must be from 0 to less than 11, the number of positions: got values from 3 to 11."),
        ({"pattern": ops.GlobalTokens([-1], align="keys")}, ValueError, "got values from -1 to -1."),
        ({"pattern": ops.Axial((1, 5))}, ValueError, r"`grid` must have one place for each query and for each key: got 1 x 5 = 5 places for a matrix of shape \[2, 3, 5, 11\]."),
        ({"pattern": ops.Neighborhood2d(3, (11, 1))}, ValueError, r"`grid` must have one place .*: got 11 x 1 = 11 places for a matrix of shape \[2, 3, 5, 11\]."),
    ],
)  # fmt: skip
def test_options(options, error, message):
    with pytest.raises(error, match=message):
        heedful.attention(*operands(), **options)
    with pytest.raises(error, match=message):
        heedful.attention_weights(*operands()[:2], **options)
    with pytest.raises(error, match=message):
        heedful.AttentionMatrix(*operands()[:2], **options)


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


META = {"device": "meta"}
MECHANISMS = [
    ({"score": ops.Dot}, TypeError, "`score` must be a score such as `ScaledDot()`: got <class"),
    ({"normalize": torch.softmax}, TypeError, "`normalize` must be a normalizer such as `heedful.softmax`: got <built-in"),
    ({"normalize": ops.Sigmoid}, TypeError, "`normalize` must be a normalizer such as `heedful.softmax`: got <class"),
    ({"select": "hard"}, TypeError, "`select` must be a selection such as `Hard()`: got 'hard'."),
    ({"select": ops.Sampled(), "normalize": ops.linear}, ValueError, "`Sampled` needs weights that are not negative: got `normalize` Linear()."),
    ({"bias": "alibi"}, TypeError, "`bias` must be a tensor or a bias such as `ALiBi(8)`: got str."),
    ({"bias": 1.0}, TypeError, "`bias` must be a tensor or a bias such as `ALiBi(8)`: got float."),
    ({"bias": torch.ones(5, 11).long()}, TypeError, "`bias` must be floating point: got torch.int64."),
    ({"scale": "big"}, TypeError, "`scale` must be a number or a tensor: got 'big'."),
    ({"scale": True}, TypeError, "`scale` must be a number or a tensor: got True."),
    ({"scale": [1.0]}, TypeError, "`scale` must be a number or a tensor: got [1.0]."),
    ({"scale": math.nan}, ValueError, "`scale` must be finite: got nan."),
    ({"scale": math.inf}, ValueError, "`scale` must be finite: got inf."),
    ({"scale": torch.tensor(2)}, TypeError, "`scale` must be floating point: got torch.int64."),
    ({"scale": torch.ones(5, 11)}, ValueError, "`scale` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [5, 11]."),
    ({"scale": torch.ones(3)}, ValueError, "`scale` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [3]."),
    ({"scale": torch.ones(1, **META)}, ValueError, "`scale` must be on the device of `query`, cpu: got meta."),
    ({"softcap": 0.0}, ValueError, "`softcap` must be positive: got 0.0."),
    ({"softcap": -1.0}, ValueError, "`softcap` must be positive: got -1.0."),
    ({"softcap": math.nan}, ValueError, "`softcap` must be positive: got nan."),
    ({"softcap": math.inf}, ValueError, "`softcap` must be positive and finite: got inf."),
    ({"softcap": "30"}, TypeError, "`softcap` must be a number: got '30'."),
    ({"softcap": torch.tensor(2.0)}, TypeError, "`softcap` must be a number: got tensor(2.)."),
    ({"sinks": 1.0}, TypeError, "`sinks` must be a tensor: got float."),
    ({"sinks": torch.zeros(3).long()}, TypeError, "`sinks` must be floating point: got torch.int64."),
    ({"sinks": torch.zeros(5)}, ValueError, "`sinks`, one for each head, must broadcast to [..., H] = [2, 3]: got [5]."),
    ({"sinks": torch.zeros(3, **META)}, ValueError, "`sinks` must be on the device of `query`, cpu: got meta."),
    ({"sinks": torch.zeros(3), "normalize": ops.relu}, ValueError, "`sinks` need a normalizer whose rows add up to 1: got Relu()."),
    ({"sinks": torch.zeros(3), "normalize": ops.sigmoid}, ValueError, "`sinks` need a normalizer whose rows add up to 1: got Sigmoid"),
    ({"dropout": 1.0}, ValueError, "`dropout` must be at least 0 and less than 1: got 1.0."),
    ({"dropout": -0.1}, ValueError, "`dropout` must be at least 0 and less than 1: got -0.1."),
    ({"dropout": math.nan}, ValueError, "`dropout` must be at least 0 and less than 1: got nan."),
    ({"dropout": "0.1"}, TypeError, "`dropout` must be a number: got '0.1'."),
    ({"dropout": torch.tensor(0.5)}, TypeError, "`dropout` must be a number: got tensor(0.5000)."),
    ({"dropout": 0.5, "seed": 1.5}, TypeError, "`seed` must be an integer or None: got 1.5."),
    ({"dropout": 0.5, "seed": "x"}, TypeError, "`seed` must be an integer or None: got 'x'."),
    ({"engine": "fast"}, ValueError, "`engine` must be one of 'reference', 'fused', 'banded', 'tiled', 'flex' or None: got 'fast'."),
    ({"engine": 3}, ValueError, "or None: got 3."),
    ({"engine": "reference", "strict": True}, ValueError, "`strict` allows linear memory only: got engine 'reference' (asked for)."),
    ({"engine": "fused", "normalize": ops.entmax15}, ValueError, "`engine` 'fused' cannot compute this: the normalizer is not softmax."),
    ({"engine": "fused", "score": ops.Additive(torch.ones(7))}, ValueError, "`engine` 'fused' cannot compute this: the score is no inner product."),
    ({"engine": "fused", "softcap": 1.0}, ValueError, "`engine` 'fused' cannot compute this: scores are capped."),
    ({"engine": "fused", "dropout": 0.1}, ValueError, "`engine` 'fused' cannot compute this: weights are dropped."),
    ({"engine": "banded", "select": ops.Hard()}, ValueError, "`engine` 'banded' cannot compute this: keys are selected."),
    ({"engine": "fused", "bias": torch.ones(5, 11, requires_grad=True)}, ValueError, "`engine` 'fused' cannot compute this: the bias learns."),
    ({"normalize": ops.entmax(torch.full((4, 1, 1), 1.3))}, ValueError, "`alpha` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [4, 1, 1]."),
    ({"normalize": ops.entmax(torch.full((11,), 1.3))}, ValueError, "`alpha` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [11]."),
    (lambda: {"normalize": ops.entmax(torch.tensor(2))}, TypeError, "`alpha` must be floating point: got torch.int64."),
    ({"normalize": ops.entmax(torch.full((1,), 1.3, **META))}, ValueError, "`alpha` must be on the device of `query`, cpu: got meta."),
    ({"normalize": ops.Sigmoid(torch.zeros(11))}, ValueError, "`offset` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [11]."),
    ({"normalize": ops.Sigmoid(torch.zeros(4, 2, 3, 1, 1))}, ValueError, "`offset` must broadcast to [..., H, N, 1] = [2, 3, 5, 1]: got [4, 2, 3, 1, 1]."),
    ({"normalize": ops.Sigmoid(torch.zeros(1, **META))}, ValueError, "`offset` must be on the device of `query`, cpu: got meta."),
    ({"score": ops.Bilinear(torch.ones(7, 8))}, ValueError, "`weight` of Bilinear must be [..., 7, 7], the widths of `query` and `key`: got [7, 8]."),
    ({"score": ops.Bilinear(torch.ones(2, 7, 7))}, ValueError, "`weight` of Bilinear must have as many heads as `query`, in [H, D, K]: got 2 and 3."),
    (lambda: {"score": ops.Bilinear(torch.eye(7).long())}, TypeError, "`weight` of Bilinear must be floating point: got torch.int64."),
    ({"score": ops.Bilinear(torch.ones(7, 7, **META))}, ValueError, "`weight` of Bilinear must be on the device of `query`, cpu: got meta."),
    ({"score": ops.Additive(torch.ones(8))}, ValueError, "`weight` of Additive must be as wide as `query`: got 8 and 7."),
    ({"score": ops.Additive(torch.ones(2, 7))}, ValueError, "`weight` of Additive must have as many heads as `query`, in [H, D]: got 2 and 3."),
    (lambda: {"score": ops.Additive(torch.ones(7).long())}, TypeError, "`weight` of Additive must be floating point: got torch.int64."),
    ({"score": ops.Gaussian(torch.ones(2))}, ValueError, "`bandwidth` of Gaussian must have as many heads as `query`, in [H]: got 2 and 3."),
    (lambda: {"score": ops.Gaussian(torch.tensor(2))}, TypeError, "`bandwidth` of Gaussian must be floating point: got torch.int64."),
    ({"score": ops.Gaussian(torch.ones(3, **META))}, ValueError, "`bandwidth` of Gaussian must be on the device of `query`, cpu: got meta."),
    ({"bias": ops.ALiBi(4, "end")}, ValueError, "`slopes` must broadcast to [..., H] = [2, 3]: got [4]."),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), MECHANISMS)
def test_mechanisms(options, error, message):
    options = options() if callable(options) else options  # made where types are not checked
    with pytest.raises(error, match=re.escape(message)):
        heedful.attention(*operands(), **options)
    if not {"engine", "dropout", "seed", "select"} & set(options):
        with pytest.raises(error, match=re.escape(message)):
            heedful.attention_weights(*operands()[:2], **options)
    if not {"engine", "dropout", "select"} & set(options):
        with pytest.raises(error, match=re.escape(message)):
            ops.sample(*operands(), **options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ops.entmax(0.5), ValueError, "`alpha` must be at least 1: got 0.5."),
        (lambda: ops.entmax(math.nan), ValueError, "`alpha` must be at least 1 and finite: got nan."),
        (lambda: ops.entmax(math.inf), ValueError, "`alpha` must be at least 1 and finite: got inf."),
        (lambda: ops.entmax(torch.tensor([1.5, 0.5])), ValueError, "`alpha` must be at least 1: got 0.5."),
        (lambda: ops.entmax("1.5"), TypeError, "`alpha` must be a number or a tensor: got '1.5'."),
        (lambda: ops.entmax(True), TypeError, "`alpha` must be a number or a tensor: got True."),
        (lambda: ops.Sigmoid(math.nan), ValueError, "`offset` must be finite: got nan."),
        (lambda: ops.Sigmoid("x"), TypeError, "`offset` must be a number or a tensor: got 'x'."),
        (lambda: ops.Bilinear("x"), TypeError, "`weight` of Bilinear must be a tensor: got str."),
        (lambda: ops.Bilinear(torch.ones(3)), ValueError, "`weight` of Bilinear must be [D, K] or [H, D, K]: got [3]."),
        (lambda: ops.Additive([1.0]), TypeError, "`weight` of Additive must be a tensor: got list."),
        (lambda: ops.Additive(torch.ones(1, 2, 3)), ValueError, "`weight` of Additive must be [D] or [H, D]: got [1, 2, 3]."),
        (lambda: ops.Gaussian(0.0), ValueError, "`bandwidth` must be positive: got 0.0."),
        (lambda: ops.Gaussian(math.inf), ValueError, "`bandwidth` must be positive: got inf."),
        (lambda: ops.Gaussian(math.nan), ValueError, "`bandwidth` must be positive: got nan."),
        (lambda: ops.Gaussian("x"), TypeError, "`bandwidth` must be a number or a tensor: got 'x'."),
        (lambda: ops.Gaussian(torch.tensor([1.0, 0.0])), ValueError, "`bandwidth` must be positive: got 0."),
        (lambda: ops.Gaussian(torch.ones(1, 3)), ValueError, "`bandwidth` must be a number or [H]: got [1, 3]."),
        (lambda: ops.Sampled("x"), ValueError, "`gradient` must be 'straight-through' or 'score-function': got 'x'."),
        (lambda: ops.ALiBi(0), ValueError, "`slopes` must be a tensor, or a positive number of heads: got 0."),
        (lambda: ops.ALiBi("8"), TypeError, "`slopes` must be a tensor, or a positive number of heads: got '8'."),
        (lambda: ops.Sum(()), TypeError, "`terms` must be biases, at least one: got ()."),
        (lambda: ops.Sum(("x",)), TypeError, "`terms` must be biases, at least one: got ('x',)."),
        (lambda: ops.Causal() & 3, TypeError, "unsupported operand type(s) for &: 'Causal' and 'int'"),
        (lambda: ops.ALiBi(3) + 1, TypeError, "unsupported operand type(s) for +: 'ALiBi' and 'int'"),
        (lambda: ops.Local(np.float64(2)), TypeError, "`before` must be a non-negative integer: got "),
        (lambda: ops.Local(np.bool_(True)), TypeError, "`before` must be a non-negative integer: got "),
        (lambda: ops.Local(torch.tensor(True)), TypeError, "`before` must be a non-negative integer: got tensor(True)"),
        (lambda: ops.Local(torch.tensor([2])), TypeError, "`before` must be a non-negative integer: got tensor([2])"),
        (lambda: ops.Local("2"), TypeError, "`before` must be a non-negative integer: got '2'."),
        (lambda: ops.Lengths([3, True]), TypeError, "`lengths` must be integers: got bool."),
        (lambda: ops.Lengths("34"), TypeError, "`lengths` must be integers: got str."),
        (lambda: ops.Lengths(np.array([1.0])), TypeError, "`lengths` must be integers: got torch.float64."),
        (lambda: ops.Lengths([[1, 2], [3]]), ValueError, "`lengths` must be lists of equally many integers: got [[1, 2], [3]]."),
        (lambda: ops.GlobalTokens(3), ValueError, "`index` must have one axis: got 3."),
        (lambda: ops.Mask(np.ones(3)), TypeError, "`mask` must be a bool tensor (True = may attend; numbers to add are a `bias`): got torch.float64."),
        (lambda: ops.entmax(np.bool_(True)), TypeError, "`alpha` must be a number or a tensor: got "),
        (lambda: ops.Gaussian(np.float32("nan")), ValueError, "`bandwidth` must be positive: got nan."),
        (lambda: ops.Axial("23"), ValueError, "`grid` must be two positive integers, (rows, columns): got '23'."),
        (lambda: log_buckets(torch.tensor([1.0]), 8), TypeError, "`distance` must be integers: got torch.float32."),
        (lambda: _checks.as_integer("seed", 1.5, rule="an integer or None"), TypeError, "`seed` must be an integer or None: got 1.5."),
        (lambda: _checks.as_integer("n", 2, least=3), ValueError, "`n` must be at least 3: got 2."),
        (lambda: ops.Causal("middle"), ValueError, "`align` must be None, 'start' or 'end': got 'middle'."),
        (lambda: ops.Lengths(torch.ones(2)), TypeError, "`lengths` must be integers: got torch.float32."),
        (lambda: ops.Mask(torch.ones(2)), TypeError, "`mask` must be a bool tensor (True = may attend; numbers to add are a `bias`): got torch.float32."),
        (lambda: ops.Mask([True]), TypeError, "`mask` must be a bool tensor (True = may attend; numbers to add are a `bias`): got list."),
        (lambda: ops.Lengths(2.0), TypeError, "`lengths` must be integers: got float."),
        (lambda: ops.Local(-1), ValueError, "`before` must be a non-negative integer: got -1."),
        (lambda: ops.Local(1.5), TypeError, "`before` must be a non-negative integer: got 1.5."),
        (lambda: ops.Local(1, -2), ValueError, "`after` must be a non-negative integer: got -2."),
        (lambda: ops.Local(1, align="top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Dilated(-1), ValueError, "`before` must be a non-negative integer: got -1."),
        (lambda: ops.Dilated(1, True), TypeError, "`after` must be a non-negative integer: got True."),
        (lambda: ops.Dilated(1, dilation=0), ValueError, "`dilation` must be a positive integer: got 0."),
        (lambda: ops.Dilated(1, align="top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Prefix(torch.ones(2)), TypeError, "`n` must be integers: got torch.float32."),
        (lambda: ops.Prefix(True), TypeError, "`n` must be integers: got bool."),
        (lambda: ops.Prefix(1, "top"), ValueError, "`align` must be None, 'start' or 'end': got 'top'."),
        (lambda: ops.Documents([0, 1.5]), TypeError, "`ids` must be integers: got float."),
        (lambda: ops.Documents([[0, 1], [2]]), ValueError, "`ids` must be lists of equally many integers: got [[0, 1], [2]]."),
        (lambda: ops.Documents(3), TypeError, "`ids` must be integers with at least one axis: got 3."),
        (lambda: ops.Documents(torch.tensor(1)), TypeError, "`ids` must be integers with at least one axis: got []."),
        (lambda: ops.Documents(torch.ones(2)), TypeError, "`ids` must be integers: got torch.float32."),
        (lambda: ops.Documents(torch.ones(2).long(), torch.ones(2).bool()), TypeError, "`key_ids` must be integers: got torch.bool."),
        (lambda: ops.Documents.from_offsets(torch.ones(2)), TypeError, "`cu_seqlens` must be integers: got torch.float32."),
        (lambda: ops.Documents.from_offsets(torch.tensor([1, 2])), ValueError, "`cu_seqlens` must begin with 0 and never fall: got [1, 2]."),
        (lambda: ops.Documents.from_offsets(torch.tensor([0, 3, 2])), ValueError, "`cu_seqlens` must begin with 0 and never fall: got [0, 3, 2]."),
        (lambda: ops.Documents.from_offsets(torch.zeros(1, 2).long()), ValueError, "`cu_seqlens` must have one axis and at least one number: got [1, 2]."),
        (lambda: ops.GlobalTokens([1.5]), TypeError, "`index` must be integers: got float."),
        (lambda: ops.GlobalTokens(torch.ones(2)), TypeError, "`index` must be integers: got torch.float32."),
        (lambda: ops.GlobalTokens(torch.ones(2, 2).long()), ValueError, "`index` must have one axis: got [2, 2]."),
        (lambda: ops.GlobalTokens([0], align="end"), ValueError, "`align` must be None or 'keys': got 'end'."),
        (lambda: ops.Neighborhood2d(4, (2, 3)), ValueError, "`size` must be an odd positive integer or two of them: got 4."),
        (lambda: ops.Neighborhood2d((3, 2), (2, 3)), ValueError, "`size` must be an odd positive integer or two of them: got (3, 2)."),
        (lambda: ops.Neighborhood2d(3, (2,)), ValueError, "`grid` must be two positive integers, (rows, columns): got (2,)."),
        (lambda: ops.Axial((0, 3)), ValueError, "`grid` must be two positive integers, (rows, columns): got (0, 3)."),
        (lambda: ops.PerKey(torch.ones(3).long()), TypeError, "`tensor` must be a floating point tensor: got torch.int64."),
        (lambda: ops.PerKey([1.0]), TypeError, "`tensor` must be a floating point tensor: got list."),
        (lambda: ops.PerQuery(torch.tensor(1.0)), ValueError, "`tensor` must be [..., N], with at least 1 axes: got []."),
        (lambda: ops.LowRank(torch.ones(5, 2), torch.ones(5, 3)), ValueError, "`u` and `v` must have equally many features: got 2 and 3."),
        (lambda: ops.LowRank(torch.ones(5, 2), torch.ones(5, 2).double()), TypeError, "`u` and `v` must have the same dtype: got torch.float32 and torch.float64."),
        (lambda: ops.LowRank(torch.ones(5), torch.ones(5, 2)), ValueError, "`u` must be [..., N, R], with at least 2 axes: got [5]."),
        (lambda: ops.ALiBi(torch.ones(3).long()), TypeError, "`slopes` must be a floating point tensor: got torch.int64."),
        (lambda: ops.ALiBi(3, "middle"), ValueError, "`align` must be None, 'start' or 'end': got 'middle'."),
        (lambda: ops.ALiBi2d(3, (3, 0)), ValueError, "`grid` must be two positive integers, (rows, columns): got (3, 0)."),
        (lambda: ops.RelativeBias(torch.ones(3, 6)), ValueError, "`table` must have an odd number of buckets, 2 reach + 1: got 6."),
        (lambda: ops.RelativeBias(torch.ones(3, 0), bidirectional=False), ValueError, "`table` must have at least one bucket: got 0."),
        (lambda: ops.RelativeBias(torch.ones(7)), ValueError, "`table` must be [..., H, buckets], with at least 2 axes: got [7]."),
        (lambda: ops.RelativeBias(torch.ones(3, 7), "linear"), ValueError, "`buckets` must be 'clip' or 'log': got 'linear'."),
        (lambda: ops.RelativeBias(torch.ones(3, 7), "log"), ValueError, "the number of buckets must be even and at least 4: got 7."),
        (lambda: ops.RelativeBias(torch.ones(3, 1), "log", bidirectional=False), ValueError, "the number of buckets must be at least 2: got 1."),
        (lambda: ops.RelativeBias(torch.ones(3, 32), "log", max_distance=8), ValueError, "`max_distance` must be more than 8, the short distances of 32 buckets: got 8."),
        (lambda: ops.RelativeBias2d(torch.ones(3, 5, 9), (5, 3)), ValueError, "`table` must end with the axes [9, 5] for a grid of (5, 3): got [5, 9]."),
        (lambda: alibi_slopes(0), ValueError, "`heads` must be positive: got 0."),
    ],
)  # fmt: skip
def test_values(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_numbers_in_another_dtype_are_no_error(engine):
    """Parameters may be wider than the operands: the result keeps the dtype of the operands."""
    query, key, value = operands()
    wide = torch.linspace(0.5, 1, 3, dtype=torch.float64)
    for options in (
        {"scale": wide[:, None, None]},
        {"sinks": wide},
        {"bias": wide[:, None, None]},
        {"normalize": ops.entmax(1 + wide[:, None, None])},
        {"normalize": ops.Sigmoid(wide[:, None, None])},
        {"score": ops.Gaussian(wide)},
        {"bias": ops.ALiBi(wide, "end")},
    ):
        out = heedful.attention(query, key, value, **options, engine=engine)
        assert out.dtype == torch.float32
        exact = heedful.attention(query.double(), key.double(), value.double(), **options, engine="reference")
        torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_the_meta_device_gives_shapes(engine):
    """Nothing is read where there is nothing to read."""
    for options in (
        {},
        {"pattern": ops.Local(2, align="end")},
        {"pattern": ops.Lengths(torch.tensor([3, 4]))},
        {"normalize": ops.entmax15, "pattern": ops.Causal("end")},
        {"select": ops.Hard()},
        {"bias": ops.ALiBi(3, "end"), "dropout": 0.1, "seed": 1},
    ):
        given = [t.to("meta").requires_grad_() for t in operands()]
        out = heedful.attention(*given, **options, engine=engine)
        assert out.device.type == "meta"
        assert out.shape == (2, 3, 5, 13)
        out.sum().backward()
        assert [t.grad.shape for t in given] == [t.shape for t in given]


def test_what_cannot_be_seen_passes_through():
    """NaN in unmasked input is no error: every row sees it."""
    query, key, value = operands()
    value[..., 2, 4] = torch.nan
    out = heedful.attention(query, key, value)
    assert out[..., 4].isnan().all()
    assert out[..., :4].isfinite().all()


INDEX = torch.arange(12)


def visible(pattern):
    return pattern.allowed(INDEX[:, None], INDEX[None], (2, 1, 12, 12))


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8, np.array, torch.tensor])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: ops.Local(n(2), n(1)),
        lambda n: ops.Dilated(n(2), n(1), n(3)),
        lambda n: ops.Neighborhood2d(n(3), [n(3), n(4)]),
        lambda n: ops.Neighborhood2d([n(3), n(1)], (n(3), n(4))),
        lambda n: ops.Axial([n(3), n(4)]),
        lambda n: ops.GlobalTokens([n(2), n(5)]),
        lambda n: ops.Lengths(n(3)) if n is not torch.tensor else ops.Lengths(3),
        lambda n: ops.Prefix(n(3)) if n is not torch.tensor else ops.Prefix(3),
    ],
)
def test_integers_of_any_kind_become_plain_ones(make, whole):
    got, plain = make(whole), make(int)
    assert torch.equal(visible(got), visible(plain))
    for field in dataclasses.fields(got):
        values = getattr(got, field.name), getattr(plain, field.name)
        if not torch.is_tensor(values[1]):
            assert repr(values[0]) == repr(values[1])
    if type(got).__eq__ is not object.__eq__:  # what is kept by its pattern is found again
        assert got == plain
        assert hash(got) == hash(plain)


@pytest.mark.parametrize(
    "given", [list, tuple, np.array, lambda n: np.array(n, dtype=np.uint16), lambda n: [np.int32(i) for i in n]]
)
def test_rows_of_integers_of_any_kind(given):
    for kind in (ops.Lengths, ops.Prefix):
        assert torch.equal(visible(kind(given([3, 4]))), visible(kind(torch.tensor([3, 4]))))
    assert torch.equal(visible(ops.GlobalTokens(given([3, 4]))), visible(ops.GlobalTokens(torch.tensor([3, 4]))))
    ids = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3]
    assert torch.equal(visible(ops.Documents(given(ids))), visible(ops.Documents(torch.tensor(ids))))
    offsets = ops.Documents.from_offsets(given([0, 3, 7, 9, 12]))
    assert torch.equal(visible(offsets), visible(ops.Documents(torch.tensor(ids))))


def test_empty_rows_of_integers_and_nested_ones():
    assert not visible(ops.GlobalTokens([])).any()
    assert not visible(ops.GlobalTokens(np.array([]))).any()
    ids = [[0] * 12, [0] * 6 + [1] * 6]
    assert torch.equal(visible(ops.Documents(ids)), visible(ops.Documents(torch.tensor(ids))))
    mask = np.random.default_rng(0).random((12, 12)) > 0.5
    assert torch.equal(visible(ops.Mask(mask)), torch.from_numpy(mask))


def test_what_is_given_as_an_array_may_change_afterwards():
    lengths = np.array([3, 4])
    pattern = ops.Lengths(lengths)
    lengths[:] = 0
    assert pattern.lengths.tolist() == [3, 4]


@pytest.mark.parametrize("real", [np.float32, np.float64, np.array, float])
def test_real_numbers_of_any_kind_become_plain_ones(real):
    assert type(ops.entmax(real(1.25)).alpha) is float
    assert ops.entmax(real(1.5)) is ops.entmax15
    assert type(ops.Sigmoid(real(0.5)).offset) is float
    assert type(ops.Gaussian(real(0.5)).bandwidth) is float
    assert ops.LinearScaling(real(2.0)) == ops.LinearScaling(2.0)
    assert type(ops.YarnScaling(real(2.0), np.int64(64)).original) is int
    x = torch.randn(5, 4)
    assert torch.equal(ops.rotary(x, base=real(100.0), width=np.int64(2)), ops.rotary(x, base=100.0, width=2))
    assert torch.equal(ops.rotary2d(torch.ones(6, 4), np.array([2, 3])), ops.rotary2d(torch.ones(6, 4), (2, 3)))
    for check in (_checks.check_fraction, _checks.check_positive_finite, _checks.check_finite):
        assert type(check("it", real(0.5))) is float


def test_biases_of_numbers_of_any_kind():
    assert ops.ALiBi(np.int64(4)).slopes == 4
    assert ops.ALiBi2d(np.int64(4), [np.int32(2), 3]).grid == (2, 3)
    table = torch.zeros(2, 8)
    assert type(ops.RelativeBias(table, "log", max_distance=np.int64(20)).max_distance) is int
    assert ops.RelativeBias2d(torch.zeros(2, 3, 5), np.array([2, 3])).grid == (2, 3)


def test_buckets_of_narrow_integers():
    distance = torch.arange(-100, 101)
    want = log_buckets(distance, 300, max_distance=500)
    assert torch.equal(log_buckets(distance.to(torch.int8), 300, max_distance=500), want)
    assert torch.equal(log_buckets(distance[101:].to(torch.uint8), 300, max_distance=500), want[101:])
