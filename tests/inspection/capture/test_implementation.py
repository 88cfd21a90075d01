"""heedful as an attention implementation: logits against the model's own eager attention."""

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import and_masks, causal_mask_function, sliding_window_causal_mask_function

from heedful import ops
from heedful.inspection import watch
from heedful.inspection.capture.implementation import forward, mask, register
from heedful.inspection.masks import CallablePattern
from tests.inspection.capture.models import MODELS, build, inputs


@pytest.fixture(autouse=True)
def _registered():
    kept = dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping)
    register()
    yield
    for interface, before in zip((AttentionInterface, AttentionMaskInterface), kept, strict=True):
        interface._global_mapping.clear()
        interface._global_mapping.update(before)


def real(name, x, out):
    """Positions that are no padding."""
    if MODELS[name].takes == "text":
        return out[x["attention_mask"].bool()]
    return out


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_logits_equal_those_of_eager_attention(name, padding):
    model, x = build(name, "eager"), inputs(name, padding)
    with torch.no_grad():
        expected = model(**x)[0]
        model.set_attn_implementation("heedful")
        out = model(**x)[0]
        with watch(model) as seen:
            watched = model(**x)[0]
    torch.testing.assert_close(real(name, x, out), real(name, x, expected), atol=2e-5, rtol=1e-5)
    assert torch.equal(out, watched)
    assert {call.engine for call in seen} == {"heedful"}
    assert not seen.unseen


def test_gradients_equal_those_of_eager_attention():
    found = []
    for attention in ("eager", "heedful"):
        model, x = build("gemma2", "eager"), inputs("gemma2", "right")
        model.set_attn_implementation(attention)
        real("gemma2", x, model(**x)[0]).square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(found[0]) > 10
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "t5"])
def test_generation_gives_the_same_words(name):
    model = build(name, "eager")
    x = {k: v for k, v in inputs(name, "left").items() if k != "decoder_input_ids"}
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    expected = model.generate(**x, **options)
    model.set_attn_implementation("heedful")
    assert torch.equal(model.generate(**x, **options), expected)


def test_patterns_are_structured():
    model = build("gemma2", "eager")
    model.set_attn_implementation("heedful")
    with torch.no_grad(), watch(model) as seen:
        model(**inputs("gemma2", "right"))
    window, whole = (call.matrix.pattern for call in seen)
    assert window.first == ops.Causal() & ops.Local(2, 0)
    assert whole.first == ops.Causal()
    assert isinstance(whole.second, ops.Lengths)


def test_masks_of_long_inputs_take_no_memory():
    pattern = mask(1, 2048, 2048, mask_function=sliding_window_causal_mask_function(100))
    assert pattern == ops.Causal() & ops.Local(99, 0)
    assert mask(2, 3, 2048, q_offset=2045) == ops.Causal("end")


def test_any_other_mask_function_stays_a_function():
    def odd(b, h, i, j):
        return (i * 7 + j * 5) % 3 > 0

    pattern = mask(2, 6, 6, mask_function=and_masks(odd, causal_mask_function))
    assert isinstance(pattern, CallablePattern)
    query, key, value = torch.randn(3, 2, 4, 6, 8, dtype=torch.float64)
    i, j = torch.arange(6)[:, None], torch.arange(6)
    seen = (j <= i) & odd(0, 0, i, j)
    expected = (query @ key.mT / 8**0.5).masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0) @ value
    out, weights = forward(torch.nn.Identity(), query, key, value, pattern)
    torch.testing.assert_close(out.transpose(1, 2), expected)
    assert weights is None


def test_a_mask_of_the_users_own():
    query, key, value = torch.randn(3, 2, 4, 6, 8, dtype=torch.float64)
    given = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    bias = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    out, _ = forward(torch.nn.Identity(), query, key, value, given, scaling=0.3, position_bias=bias)
    expected = (query @ key.mT * 0.3 + given + bias).softmax(-1) @ value
    torch.testing.assert_close(out.transpose(1, 2), expected)


def test_what_is_not_honoured_is_refused():
    tensors = torch.randn(3, 2, 4, 6, 8)
    with pytest.raises(ValueError, match="`cache` must be None for the attention implementation of heedful"):
        forward(torch.nn.Identity(), *tensors, None, cache=object())
