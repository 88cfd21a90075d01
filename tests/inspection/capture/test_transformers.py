"""Hugging Face's models: against the weights that they give, and against themselves without a watch."""

import copy
import subprocess
import sys
import threading

import pytest
import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heedful import ops
from heedful.inspection import watch
from heedful.inspection.capture import transformers_
from tests.inspection.capture.models import MODELS, build, inputs, own_weights

transformers.logging.set_verbosity_error()
CASES = [
    (name, attention) for name, tiny in MODELS.items() for attention in (["eager", "sdpa"] if tiny.sdpa else ["eager"])
]
PADDED = [
    (name, padding)
    for name, tiny in MODELS.items()
    for padding in ("none", "left", "right")
    if tiny.takes in ("text", "both") or padding == "none"
]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_outputs_do_not_change_by_a_bit(name, attention):
    model, x = build(name, attention), inputs(name, "left")
    with torch.no_grad():
        plain = model(**x)[0]
        with watch(model) as seen:
            out = model(**x)[0]
        again = model(**x)[0]
    assert torch.equal(plain, out)
    assert torch.equal(plain, again)
    assert not seen.unseen
    assert len(seen) == (6 if MODELS[name].takes in ("both", "sound") else 2)
    assert {call.engine for call in seen} == {attention}


@pytest.mark.parametrize(("name", "padding"), PADDED)
def test_every_matrix_equals_the_weights_that_the_model_gives(name, padding):
    model, x = build(name, "eager"), inputs(name, padding)
    with torch.no_grad(), watch(model) as seen:
        expected = own_weights(model(**x, output_attentions=True))
    assert len(seen) == len(expected)
    for call, weights in zip(seen, expected, strict=True):
        dense = call.matrix.dense()
        rows = dense.sum(-1) > 0
        assert dense.shape == weights.shape
        torch.testing.assert_close(dense[rows], weights[rows], atol=1e-5, rtol=0)
        hidden = (
            padding == "left" and call.causal and MODELS[name].takes == "text"
        )  # causal, and padding on the left: rows of padding see nothing
        assert (int((~rows).sum()) > 0) == hidden
        assert any("uniform in the model, and 0 here" in note for note in call.notes) == hidden


@pytest.mark.parametrize(("name", "padding"), [c for c in PADDED if MODELS[c[0]].sdpa])
def test_the_kernel_of_pytorch_has_the_same_matrices(name, padding):
    x = inputs(name, padding)
    found = []
    for attention in ("eager", "sdpa"):
        model = build(name, attention)
        with torch.no_grad(), watch(model) as seen:
            model(**x)
        found.append(seen)
    for eager, sdpa in zip(*found, strict=True):
        assert (eager.module, eager.kind, eager.causal) == (sdpa.module, sdpa.kind, sdpa.causal)
        rows = eager.matrix.dense().sum(-1) > 0
        if padding == "none" or not eager.causal:
            assert torch.allclose(eager.matrix.dense()[rows], sdpa.matrix.dense()[rows], atol=1e-4)


def test_kinds_and_patterns():
    with torch.no_grad(), watch(model := build("gemma2", "eager")) as seen:
        model(**inputs("gemma2"))
    assert [(call.kind, call.causal, call.window) for call in seen] == [("self", True, 3), ("self", True, None)]
    assert seen[0].matrix.pattern == ops.Causal() & ops.Local(2, 0)
    assert seen[0].matrix.mechanism.softcap == 0.7
    with torch.no_grad(), watch(model := build("t5", "sdpa")) as seen:
        model(**inputs("t5", "right"))
    assert [call.kind for call in seen] == ["self", "self", "self", "cross", "self", "cross"]
    assert [call.causal for call in seen] == [False, False, True, False, True, False]
    assert isinstance(seen[0].matrix.pattern, ops.Lengths)
    assert seen[0].matrix.bias is not None


def test_grouped_heads_and_sinks_are_kept_as_they_are():
    with torch.no_grad(), watch(model := build("gpt_oss", "eager")) as seen:
        model(**inputs("gpt_oss"))
    assert seen[0].matrix.key.shape[1] == 2
    assert torch.equal(seen[1].matrix.mechanism.sinks, model.model.layers[1].self_attn.sinks)
    assert (seen[0].matrix.dense().sum(-1) < 0.999).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "gemma2"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_generation_is_seen_step_by_step(name, attention):
    if attention == "sdpa" and not MODELS[name].sdpa:
        pytest.skip("the model has no such attention")
    model = build(name, attention)
    x = {k: v for k, v in inputs(name, "left").items() if k != "decoder_input_ids"}
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    if attention == "eager":
        options |= {"output_attentions": True, "return_dict_in_generate": True}
    plain = model.generate(**x, **options)
    with watch(model) as seen:
        out = model.generate(**x, **options)
    assert not seen.unseen
    first = "decoder.block.1.layer.0.SelfAttention" if name == "t5" else seen[1].module
    calls = seen.calls(first)
    assert len(calls) == 4
    start = 1 if name == "t5" else 7
    assert [call.matrix.shape[-2:] for call in calls] == [(start, start), *((1, start + step) for step in (1, 2, 3))]
    assert all(call.causal and call.kind == "self" for call in calls[1:])
    if attention == "sdpa":
        assert torch.equal(plain, out)
        return
    assert torch.equal(plain.sequences, out.sequences)
    steps = out.decoder_attentions if name == "t5" else out.attentions
    for call, weights in zip(calls, steps, strict=True):
        dense = call.matrix.dense()
        rows = dense.sum(-1) > 0
        torch.testing.assert_close(dense[rows], weights[1][rows], atol=1e-5, rtol=0)


def test_steps_with_a_cache_that_is_written_in_place():
    model = build("llama", "eager")
    ids = inputs("llama")["input_ids"]
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "output_attentions": True}
    with watch(model) as seen:
        out = model.generate(
            ids, **options, return_dict_in_generate=True, cache_implementation="static", disable_compile=True
        )
    assert not seen.unseen
    for call, weights in zip(seen.calls("model.layers.0.self_attn"), out.attentions, strict=True):
        keys = call.shape[-1]  # places that nothing was written to yet are left out
        torch.testing.assert_close(call.matrix.dense(), weights[0][..., :keys], atol=1e-5, rtol=0)
        assert not weights[0][..., keys:].any()
    assert [call.shape[-1] for call in seen.calls("model.layers.0.self_attn")] == [7, 8, 9]


def test_half_precision():
    model = build("llama", "eager").bfloat16()
    with torch.no_grad(), watch(model) as seen:
        expected = own_weights(model(**inputs("llama", "right"), output_attentions=True))
    assert not seen.unseen
    for call, weights in zip(seen, expected, strict=True):
        assert call.matrix.query.dtype == torch.bfloat16
        torch.testing.assert_close(call.matrix.dense(), weights.float(), atol=0.05, rtol=0)


def test_training_with_dropout_draws_the_same():
    torch.manual_seed(0)
    model = build("bert", "eager").train()
    found = []
    for watching in (False, True):
        model.zero_grad()
        torch.manual_seed(2)
        if watching:
            with watch(model) as seen:
                out = model(**inputs("bert", "left"))[0]
        else:
            out = model(**inputs("bert", "left"))[0]
        out.square().sum().backward()
        found.append([out, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert len(seen) == 2


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_is_seen_once(reentrant):
    model = build("llama", "eager").train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    found = []
    for watching in (False, True):
        model.zero_grad()
        if watching:
            with watch(model) as seen:
                model(**inputs("llama"), use_cache=False)[0].square().sum().backward()
        else:
            model(**inputs("llama"), use_cache=False)[0].square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert [call.module for call in seen] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]


def test_the_library_is_as_before_also_after_an_exception():
    before = dict(vars(AttentionInterface)), ALL_ATTENTION_FUNCTIONS["sdpa"]
    model = build("bert", "sdpa")
    with watch(model):
        with watch(model):
            pass
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not sdpa_attention_forward
    with pytest.raises(IndexError, match="index out of range"), watch(model) as seen:
        model(torch.full((1, 3), 99))
    assert len(seen) == 0
    assert (dict(vars(AttentionInterface)), ALL_ATTENTION_FUNCTIONS["sdpa"]) == before
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward
    assert not transformers_.PATCH.recorders


def test_two_watches_see_the_same_calls():
    model = build("bert", "eager")
    with watch(model) as outer, watch(model.encoder) as inner:
        model(**inputs("bert"))
    assert [call.module for call in outer] == [f"encoder.{call.module}" for call in inner]
    assert len(inner) == 2


def test_another_thread_is_seen_through_the_interface():
    model = build("bert", "eager")
    with watch(model) as seen:
        thread = threading.Thread(target=lambda: model(**inputs("bert")))
        thread.start()
        thread.join()
    assert [call.module for call in seen] == ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    assert not seen.unseen


def test_another_model_in_another_thread_is_not_seen():
    model, other = build("bert", "eager"), build("bert", "sdpa")
    with watch(model) as seen:
        thread = threading.Thread(target=lambda: other(**inputs("bert")))
        thread.start()
        thread.join()
    assert len(seen) == 0


def test_the_library_is_not_needed():
    code = (
        "import sys, torch, heedful\n"
        "with heedful.watch(torch.nn.Identity()) as seen: heedful.attention(*torch.zeros(3, 5, 4))\n"
        "print(len(seen), 'transformers' in sys.modules, 'flash_attn' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["1", "False", "False"]


B, N, H, D = 2, 6, 2, 4


class Layer(torch.nn.Module):
    """A layer that asks the interface as Hugging Face's do."""

    is_causal = True

    def __init__(self, attention, **options):
        super().__init__()
        self.attention, self.options = attention, options

    def forward(self, query, key, value, mask):
        function = ALL_ATTENTION_FUNCTIONS.get_interface(self.attention, None)
        return function(self, query, key, value, mask, scaling=0.4, **self.options)[0]


@pytest.fixture
def registered(monkeypatch):
    """Registers functions for one test."""
    kept = dict(AttentionInterface._global_mapping)
    yield AttentionInterface.register
    AttentionInterface._global_mapping.clear()
    AttentionInterface._global_mapping.update(kept)


def flash_stand_in(
    module, query, key, value, mask, scaling=None, sliding_window=None, softcap=None, s_aux=None, **kwargs
):
    """What the kernel computes of unpadded samples, one by one; causal to the end, zeros at padded queries."""
    out = torch.zeros_like(query)
    lengths = torch.ones(len(query), key.shape[2], dtype=torch.bool) if mask is None else mask.bool()
    cuts = kwargs.get("cu_seq_lens_q")
    for sample in range(len(query)):
        keys = lengths[sample].nonzero()[:, 0]
        queries = keys if query.shape[2] == key.shape[2] else torch.arange(query.shape[2])
        scores = query[sample][:, queries] @ key[sample][:, keys].mT * scaling
        scores = softcap * (scores / softcap).tanh() if softcap else scores
        i = torch.arange(len(queries))[:, None] + len(keys) - len(queries)
        j = torch.arange(len(keys))
        seen = j <= i
        if sliding_window:
            seen = seen & (j > i - sliding_window)
        if cuts is not None:
            document = torch.bucketize(torch.arange(len(keys)), cuts[1:], right=True)
            seen = seen & (document[:, None] == document)
        scores = scores.masked_fill(~seen, -torch.inf)
        if s_aux is not None:
            scores = torch.cat([scores, s_aux[:, None, None].expand(-1, len(queries), 1)], -1)
        out[sample, :, queries] = scores.softmax(-1)[..., : len(keys)] @ value[sample][:, keys]
    return out.transpose(1, 2), None


def weights_by_hand(layer, query, key, mask):
    """The matrix, from the output for unit vectors as values."""
    units = torch.eye(key.shape[2], dtype=query.dtype).expand(*key.shape[:2], -1, -1)
    columns = [
        flash_stand_in(
            layer, query, key, units[..., j : j + 1].expand(*key.shape[:3], D), mask, scaling=0.4, **layer.options
        )[0]
        for j in range(key.shape[2])
    ]
    return torch.stack([column.transpose(1, 2)[..., 0] for column in columns], -1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sliding_window": 3},
        {"softcap": 0.5},
        {"s_aux": torch.tensor([0.5, -1.0], dtype=torch.float64)},
        {"sliding_window": 2, "softcap": 2.0, "s_aux": torch.zeros(2, dtype=torch.float64)},
    ],
)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_flash_attention_by_its_arguments(registered, options, padding):
    registered("flash_attention_2", flash_stand_in)
    layer = Layer("flash_attention_2", **options)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, B, H, N, D, dtype=torch.float64)
    mask = None
    if padding != "none":
        mask = torch.ones(B, N, dtype=torch.long)
        mask[1, slice(0, 2) if padding == "left" else slice(4, 6)] = 0
    with watch(layer) as seen:
        layer(query, key, value, mask)
    assert not seen.unseen
    torch.testing.assert_close(seen[0].matrix.dense(), weights_by_hand(layer, query, key, mask))
    assert seen[0].engine == "flash_attention_2"
    assert seen[0].causal


def test_flash_attention_with_a_cache_and_with_packed_documents(registered):
    registered("flash_attention_2", flash_stand_in)
    torch.manual_seed(0)
    key, value = torch.randn(2, 1, H, N, D, dtype=torch.float64)
    for layer, queries in (
        (Layer("flash_attention_2", sliding_window=4), 2),
        (Layer("flash_attention_2", cu_seq_lens_q=torch.tensor([0, 2, 6]), cu_seq_lens_k=torch.tensor([0, 2, 6])), N),
    ):
        query = torch.randn(1, H, queries, D, dtype=torch.float64)
        with watch(layer) as seen:
            layer(query, key, value, None)
        assert not seen.unseen
        torch.testing.assert_close(seen[0].matrix.dense(), weights_by_hand(layer, query, key, None))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"cache": object()}, "`cache`"),
        ({"sinks": torch.zeros(B, H, N, 1)}, "`sinks`"),
        ({"position_bias": "relative"}, "`position_bias`"),
        ({"cu_seq_lens_q": torch.tensor([0, 6])}, "`cu_seq_lens_q` and `cu_seq_lens_k` must come together"),
    ],
)
def test_an_argument_that_is_not_honoured_is_named(registered, options, named):
    registered("flash_attention_2", lambda module, query, key, value, mask, **kwargs: (value.transpose(1, 2), None))
    layer = Layer("flash_attention_2", **options)
    with watch(layer) as seen:
        layer(*torch.randn(3, B, H, N, D), None)
    assert len(seen) == 0
    assert named in seen.unseen[0].why


def test_what_a_function_does_in_secret_is_noticed(registered):
    """A function that honours an argument in its own way gives another output than the matrix, which is then not shown."""

    def secret(module, query, key, value, mask, scaling=None, indices=None, **kwargs):
        scores = (query @ key.mT * scaling).masked_fill(torch.arange(key.shape[2]) == indices, -torch.inf)
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    registered("secret", secret)
    layer = Layer("secret", indices=1)
    layer.is_causal = False
    with watch(layer) as seen:
        layer(*torch.randn(3, B, H, N, D), None)
    assert len(seen) == 0
    assert "secret: what was read of its query, key and mask does not give its output" in seen.unseen[0].why
    assert "arguments that may be why: indices" in seen.unseen[0].why


def test_weights_that_a_function_gives_are_taken_where_its_arguments_are_not_known(registered):
    def secret(module, query, key, value, mask, scaling=None, **kwargs):
        weights = (query @ key.mT * scaling).softmax(-1) * torch.linspace(0.1, 1.0, N)[:, None]  # sinks of each row
        return (weights @ value).transpose(1, 2), weights

    registered("secret", secret)
    layer = Layer("secret", sinks=torch.zeros(B, H, N, 1))
    layer.is_causal = False
    query, key, value = torch.randn(3, B, H, N, D)
    with watch(layer) as seen:
        layer(query, key, value, None)
    assert not seen.unseen
    assert (seen[0].engine, seen[0].notes) == ("secret", ("stored 6 x 6 by the model",))
    torch.testing.assert_close(seen[0].matrix.dense(), secret(layer, query, key, value, None, scaling=0.4)[1])


def test_weights_that_do_not_give_the_output_are_not_taken(registered):
    def secret(module, query, key, value, mask, scaling=None, **kwargs):
        weights = (query @ key.mT).softmax(-1)
        return (weights.flip(-1) @ value).transpose(1, 2), weights

    registered("secret", secret)
    layer = Layer("secret")
    with watch(layer) as seen:
        layer(*torch.randn(3, B, H, N, D), None)
    assert len(seen) == 0
    assert "does not give its output" in seen.unseen[0].why


def test_the_same_arguments_arrive(registered):
    given = []

    def listens(*args, **kwargs):
        given.append((args, kwargs))
        return torch.zeros(B, N, H, D), None

    registered("listens", listens)
    layer = Layer("listens", strange=object())
    tensors = (*torch.randn(3, B, H, N, D), None)
    layer(*tensors)
    with watch(layer):
        layer(*tensors)
    (first, options), (second, others) = given
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert options == others


def test_a_block_mask_is_asked_row_by_row(registered):
    from torch.nn.attention.flex_attention import create_block_mask

    def flex(module, query, key, value, mask, scaling=None, **kwargs):
        i, j = torch.arange(N)[:, None], torch.arange(N)
        shown = mask.mask_mod(torch.arange(B)[:, None, None, None], torch.tensor(0), i, j)
        scores = (query @ key.mT * scaling).masked_fill(~shown, -torch.inf)
        return (scores.softmax(-1).nan_to_num(0) @ value).transpose(1, 2), None

    registered("flex_attention", flex)
    lengths = torch.tensor([6, 4])
    odd = torch.rand(B, N, N, generator=torch.Generator().manual_seed(0)) > 0.3
    for function, kind in (
        (lambda b, h, i, j: (j <= i) & (j < lengths[b]), ops.And),
        (lambda b, h, i, j: odd[b, i, j], None),
    ):
        mask = create_block_mask(function, B, None, N, N, device="cpu")
        layer = Layer("flex_attention")
        query, key, value = torch.randn(3, B, H, N, D)
        with watch(layer) as seen:
            layer(query, key, value, mask)
        assert not seen.unseen
        i, j = torch.arange(N)[:, None], torch.arange(N)
        shown = function(torch.arange(B)[:, None, None, None], 0, i, j)
        expected = (query @ key.mT * 0.4).masked_fill(~shown, -torch.inf).softmax(-1).nan_to_num(0)
        torch.testing.assert_close(seen[0].matrix.dense(), expected)
        assert kind is None or isinstance(seen[0].matrix.pattern, kind)


def test_weights_are_those_before(tmp_path):
    model = build("llama", "sdpa")
    before = copy.deepcopy(model.state_dict())
    with watch(model):
        model(**inputs("llama"))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert "heedful" not in AttentionMaskInterface._global_mapping
