import itertools

import pytest
import torch

from heedful.models.encoders import (
    NORMALIZERS,
    SCORES,
    PositionName,
    add_positions,
    attention_pattern,
    build_encoder,
    padding,
)
from heedful.ops import Causal, Global, Lengths, Local


@pytest.mark.parametrize(
    ("score", "normalize", "positions"),
    [
        *((score, "softmax", "rotary") for score in SCORES),
        *(("scaled-dot", normalize, "rotary") for normalize in NORMALIZERS),
        *(("scaled-dot", "softmax", positions) for positions in PositionName.__args__),
        ("additive", "entmax15", "relative"),
    ],
)
def test_every_name_trains_and_goes_on_with_a_cache(score, normalize, positions):
    torch.manual_seed(0)
    absolute, encoder = build_encoder(
        width=12,
        heads=3,
        layers=2,
        ffn_width=7,
        score=score,
        normalize=normalize,
        positions=positions,
        max_positions=11,
        align="end",
    )
    x = torch.randn(2, 11, 12)
    for causal in (False, True):
        out = encoder(add_positions(x, absolute), pattern=attention_pattern(3, causal=causal))
        out.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() or "key" in name or "bias" in name, name
    if normalize in ("relu", "sigmoid"):
        return  # their weights depend on how many keys there are
    encoder.eval()
    caches = encoder.caches()
    with torch.no_grad():
        whole = encoder(add_positions(x, absolute), pattern=Causal())
        steps = [
            encoder(add_positions(x[:, i:j], absolute, start=i), pattern=Causal("end"), caches=caches)
            for i, j in itertools.pairwise((0, 5, 6, 7, 11))
        ]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=2e-5, rtol=2e-5)


def test_each_layer_learns_a_score_of_its_own():
    _, encoder = build_encoder(width=12, heads=3, layers=2, ffn_width=7, score="additive")
    weights = [p for name, p in encoder.named_parameters() if name.endswith("score_weight")]
    assert len(weights) == 2
    assert weights[0] is not weights[1]


def test_who_sees_whom():
    assert attention_pattern(0) == Global()
    assert attention_pattern(0, causal=True) == Causal("end")
    assert attention_pattern(5) == Local(5, 5, "end")
    assert attention_pattern(5, causal=True) == Local(5, 0, "end")


def test_padding_is_masked_where_there_is_any():
    assert padding(torch.tensor([3, 3]), 3) == Global()
    assert isinstance(padding(torch.tensor([3, 2]), 3), Lengths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 5}, "`heads` must be a positive divisor of `width`: got 5 and 12"),
        ({"width": 9}, "`width` must be .*2.*: got 3"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(**{"width": 12, "heads": 3, "layers": 1, "ffn_width": 7} | arguments)
