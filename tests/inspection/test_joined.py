import pytest
import torch
import transformers as hf

import heedful
from heedful import ops
from heedful.data.batch_types import TokenBatch
from heedful.inspection import Recording, load_watch, watch
from heedful.inspection.calls import AttentionCall
from heedful.models import beam_search, generate, language_model, sequence_to_sequence
from tests.inspection.capture.models import build, inputs

SELF = {"gpt2": "transformer.h.1.attn", "llama": "model.layers.1.self_attn", "gemma2": "model.layers.0.self_attn"}
T5 = {"self": "decoder.block.1.layer.0.SelfAttention", "cross": "decoder.block.1.layer.1.EncDecAttention"}


def generation(model, name, padding="none", **options):
    """A watched generation, and the attention that one pass over all of it gives, in float64."""
    x = {k: v for k, v in inputs(name, padding).items() if k != "decoder_input_ids"}
    options = {"max_new_tokens": 7, "min_new_tokens": 7, "do_sample": False, "eos_token_id": None} | options
    with watch(model) as seen:
        out = model.generate(**x, **options)
    assert not seen.unseen
    if name == "t5":
        count = len(out) // len(x["input_ids"])
        x = {k: v.repeat_interleave(count, 0) for k, v in x.items()}
        return seen, model(**x, decoder_input_ids=out[:, :-1], output_attentions=True)
    new = out.shape[1] - x["input_ids"].shape[1] - 1
    mask = x["attention_mask"].repeat_interleave(len(out) // len(x["input_ids"]), 0)
    mask = torch.cat([mask, mask.new_ones(len(mask), new)], 1)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return seen, model(
        out[:, :-1], attention_mask=mask, position_ids=positions, output_attentions=True, use_cache=False
    )


def double(name):
    return build(name, "eager").double()


@pytest.mark.parametrize("name", SELF)
@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_generation_is_one_matrix(name, padding, cache):
    options = {"cache_implementation": "static", "disable_compile": True} if cache == "static" else {}
    # this model's softmax in float32 makes NaN of padding in float64
    model, bound = (build(name, "eager"), 1e-5) if (name, padding) == ("llama", "left") else (double(name), 1e-6)
    with torch.no_grad():
        seen, expected = generation(model, name, padding, **options)
    A = seen.joined(SELF[name])
    own = expected.attentions[0 if name == "gemma2" else 1]
    assert A.shape == own.shape
    rows = A.dense().sum(-1) > 0
    torch.testing.assert_close(A.dense()[rows], own[rows].to(A.dense().dtype), atol=bound, rtol=0)
    if padding == "none":
        assert A.pattern == (ops.Causal() & ops.Local(2, 0) if name == "gemma2" else ops.Causal())
        assert torch.allclose(A.received(), own.sum(-2), atol=1e-5)
        assert torch.allclose(A.pool(3, 4), heedful.AttentionMatrix(A.query, A.key, **mechanism(A)).pool(3, 4))


def mechanism(A):
    m = A.mechanism
    return {"pattern": m.pattern, "bias": m.bias, "scale": m.scale, "softcap": m.softcap}


@pytest.mark.parametrize("kind", T5)
def test_a_decoder_has_its_bias_by_distance_and_the_keys_of_the_encoder(kind):
    with torch.no_grad():
        seen, expected = generation(double("t5"), "t5", "right")
    own = (expected.decoder_attentions if kind == "self" else expected.cross_attentions)[1]
    A = seen.joined(T5[kind])
    assert A.shape == own.shape
    torch.testing.assert_close(A.dense(), own, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gemma2", "t5"])
def test_beams_are_followed_to_their_parents(name):
    with torch.no_grad():
        seen, expected = generation(double(name), name, num_beams=3, num_return_sequences=3)
    assert any(span.parents is not None for call in seen for span in call.cached.calls.spans)
    if name == "t5":
        pairs = [(T5["self"], expected.decoder_attentions[1]), (T5["cross"], expected.cross_attentions[1])]
    else:
        pairs = [(SELF[name], expected.attentions[0 if name == "gemma2" else 1])]
    for module, own in pairs:
        dense = seen.joined(module).dense()
        assert dense.shape == own.shape
        for index, one in enumerate(own):  # each target's tokens but the last are those of one beam of the same text
            text = index // 3
            near = (dense[3 * text : 3 * text + 3] - one).abs().amax((1, 2, 3))
            assert near.min() < 1e-6


def test_what_is_saved_is_joined_alike(tmp_path):
    with torch.no_grad():
        seen, _ = generation(build("llama", "sdpa"), "llama", "left", num_beams=2)
    seen.save(tmp_path / "w")
    mine, theirs = (one.joined(SELF["llama"]) for one in (seen, load_watch(tmp_path / "w")))
    assert torch.equal(mine.query, theirs.query)
    assert torch.equal(mine.key, theirs.key)
    assert torch.equal(mine.pattern.second.mask, theirs.pattern.second.mask)


def test_a_model_of_heedful_is_joined_layer_by_layer():
    torch.manual_seed(0)
    model = language_model(vocabulary_size=9, context_length=30, width=8, heads=2, layers=2, ffn_width=8).double()
    prompt = [1, 2, 3, 4]
    plain = generate(model, [prompt], 9, seed=1)
    with watch(model) as seen:
        assert generate(model, [prompt], 9, seed=1) == plain
    with torch.no_grad(), watch(model) as once:
        model(torch.tensor([[*prompt, *plain[0]]])[:, :-1])
    for layer in range(2):
        name = f"encoder.layers.{layer}.attention"
        torch.testing.assert_close(seen.joined(name).dense(), once[name].dense(), atol=1e-6, rtol=0)
    assert len(seen.whole()) == 2
    rows = [11]
    torch.testing.assert_close(seen.rollout().rows(rows), once.rollout().rows(rows), atol=1e-6, rtol=0)


@pytest.mark.parametrize("beams", [1, 3])
def test_targets_of_heedful_are_joined_beam_by_beam(beams):
    torch.manual_seed(1)
    model = sequence_to_sequence(vocabulary_size=30, end=3, width=8, heads=2, layers=2, ffn_width=16).double().eval()
    model.embedding.weight.data *= 9
    source = TokenBatch(torch.tensor([[5, 6, 7, 3], [8, 9, 3, 0]]), torch.tensor([4, 3]))
    with watch(model) as seen:
        found = beam_search(model, source, max_length=6, beams=beams, suppress=[3])
    for text, targets in enumerate(found):
        for target in targets:
            with torch.no_grad(), watch(model) as once:
                one = TokenBatch(source.tokens[text : text + 1], source.lengths[text : text + 1])
                model.features(model.encode(one), torch.tensor([[3, *target.tokens]]))
            for kind in ("attention", "cross_attention"):
                name = f"decoder.layers.1.{kind}"
                own, joined = once[name].dense()[0], seen.joined(name).dense()
                assert joined.shape == (2 * beams, *own.shape)
                assert (joined - own).abs().amax((1, 2, 3)).min() < 1e-6


def test_of_several_generations_one_is_chosen():
    model = language_model(vocabulary_size=9, context_length=30, width=8, heads=2, layers=1, ffn_width=8)
    with watch(model) as seen:
        generate(model, [[1, 2, 3]], 4)
        generate(model, [[4, 5]], 3)
    name = "encoder.layers.0.attention"
    with pytest.raises(ValueError, match="`step` must be the forward pass with which one begins, of 3, 13: got None."):
        seen.joined(name)
    assert (seen.joined(name, step=3).shape, seen.joined(name, step=13).shape) == ((1, 2, 6, 6), (1, 2, 4, 4))
    with pytest.raises(KeyError, match="no attention was seen in 'x'"):
        seen.joined("x")


def test_what_cannot_be_joined_is_named_and_stays_as_it_is():
    model = language_model(vocabulary_size=9, context_length=30, width=8, heads=2, layers=1, ffn_width=8)
    with watch(model) as seen:
        generate(model, [[1, 2, 3]], 4)
    name = "encoder.layers.0.attention"
    part = Recording(seen[1:])
    with pytest.raises(ValueError, match=f"calls of '{name}' must be joined from the first to the last: got 3 of 4."):
        part.joined(name)
    assert [call.shape for call in part.whole()] == [call.shape for call in seen[1:]]
    seen[2].cached.options["scale"] = 0.1
    with pytest.raises(ValueError, match="that are joined must have the same `scale`: step 7 has another."):
        seen.joined(name)


def test_a_call_by_itself_is_its_own_matrix():
    A = heedful.AttentionMatrix(torch.zeros(3, 4), torch.zeros(3, 4))
    assert Recording([AttentionCall("a", "self", A, "e")]).joined("a") is A


def test_weights_that_a_model_stores_are_joined_too():
    model = hf.BloomForCausalLM(hf.BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=2)).eval()
    with torch.no_grad():
        seen, expected = generation(model.double(), "llama")
    A = seen.joined("transformer.h.0.self_attention")
    [call] = seen.whole()
    assert call.notes == ("stored 7 x 7 by the model", "7 calls of a generation, joined")
    torch.testing.assert_close(A.dense(), expected.attentions[0].to(A.dense().dtype), atol=1e-5, rtol=0)


def test_a_report_has_each_layer_of_a_generation_once_and_keeps_its_budget(tmp_path):
    model = language_model(vocabulary_size=9, context_length=400, width=32, heads=4, layers=2, ffn_width=8)
    with watch(model) as seen:
        generate(model, [[1, 2, 3] * 50], 200)
    assert [line.split()[5:8] for line in str(seen).splitlines()[1:3]] == [["349", "x", "349"]] * 2
    section = seen.section(budget=300_000)
    assert [(layer.label, layer.kind, layer.queries, layer.keys) for layer in section.layers] == [
        ("layer 0", "self", 349, 349), ("layer 1", "self", 349, 349), ("rollout", "rollout", 349, 349),
    ]  # fmt: skip
    seen.report(tmp_path / "report.html", budget=300_000)
    seen_once = (tmp_path / "report.html").stat().st_size
    with torch.no_grad(), watch(model) as once:
        model(torch.tensor([[1, 2, 3] * 50 + [0] * 199]))
    once.report(tmp_path / "once.html", budget=300_000)
    assert seen_once < 1.2 * (tmp_path / "once.html").stat().st_size
