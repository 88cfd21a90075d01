import math

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from torch import nn

import heedful
from heedful.inspection import watch
from heedful.inspection.cached import CachedCalls
from tests.inspection.capture.models import build, inputs

B, H, G, D = 2, 4, 2, 6


def draw(*sizes, seed=0, dtype=torch.float32):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).to(dtype)


def memory(shape, dtype):
    return torch.full(shape, math.nan).to(dtype), lambda: None


def begin(query, key):
    return CachedCalls(query, key, memory)


def assert_bits(calls, index, query, key):
    matrix = calls.matrix(index, {})
    for mine, theirs in ((matrix.query, query), (matrix.key, key)):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8))
    assert calls.shape(index) == matrix.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("lead", [(B, G), (G,), ()], ids=str)
def test_a_cache_that_grows_is_kept_once_and_steps_are_views_of_it(lead, dtype):
    heads = (*lead[:-1], H) if len(lead) == 2 else lead
    key = draw(*lead, 13, D, dtype=dtype)
    key[..., 2, 1] = math.nan  # which equals itself here
    queries = [draw(*heads, n, D, seed=n, dtype=dtype) for n in (5, 1, 3, 1)]
    ends = (5, 6, 9, 10)
    calls = begin(queries[0], key[..., :5, :])
    for query, end in zip(queries[1:], ends[1:], strict=True):
        assert calls.follow(query, key[..., :end, :].clone(), same=False)
    for index, (query, end) in enumerate(zip(queries, ends, strict=True)):
        assert_bits(calls, index, query, key[..., :end, :])
    assert calls.key.shape[-2] == calls.query.shape[-2] == 10
    address = {calls.matrix(index, {}).key.untyped_storage().data_ptr() for index in range(4)}
    assert address == {calls.key.untyped_storage().data_ptr()}


def test_a_window_that_slides_is_a_part_of_what_is_kept():
    key, window = draw(B, G, 20, D), 4
    calls = begin(draw(B, H, 7, D), key[:, :, :7])
    for end in range(8, 20):
        seen = key[:, :, max(end - window, 0) : end]
        assert calls.follow(draw(B, H, 1, D, seed=end), seen, same=False)
        assert_bits(calls, end - 7, draw(B, H, 1, D, seed=end), seen)
    assert calls.key.shape[-2] == 19


def test_keys_that_stay_the_same_count_only_where_they_may():
    key = draw(B, G, 9, D)
    calls = begin(draw(B, H, 1, D), key)
    assert not calls.follow(draw(B, H, 1, D, seed=1), key.clone(), same=False)
    assert calls.follow(draw(B, H, 1, D, seed=1), key.clone(), same=True)
    assert (calls.query.shape[-2], calls.key.shape[-2]) == (2, 9)


@pytest.mark.parametrize("place", [0, 3, 4])
def test_one_other_bit_is_another_sequence(place):
    key = draw(B, G, 6, D)
    calls = begin(draw(B, H, 5, D), key[:, :, :5])
    other = key.clone()
    other[1, 1, place, 2] = torch.nextafter(other[1, 1, place, 2], torch.tensor(9.0))
    assert not calls.follow(draw(B, H, 1, D), other, same=True)
    assert len(calls.spans) == 1
    assert calls.follow(draw(B, H, 1, D), key, same=True)


def test_what_has_another_type_or_other_heads_or_begins_anew_goes_on_with_nothing():
    key = draw(B, G, 6, D)
    calls = begin(draw(B, H, 5, D), key[:, :, :5])
    for other in (key.double(), draw(B, H, 6, D), key[0], key[..., :5], key[:, :, :4], draw(B, G, 1, D)):
        assert not calls.follow(draw(B, H, 1, D).to(other.dtype), other, same=True)


def test_samples_that_change_places_are_followed_to_their_parents():
    generator = torch.Generator().manual_seed(7)
    key, query = draw(3, G, 4, D, seed=1), draw(3, H, 4, D, seed=2)
    calls, histories = begin(query, key), [(query, key)]
    queries = query
    for step, samples in enumerate((3, 5, 5, 2, 2)):  # more, then fewer
        parents = torch.randint(0, len(key), (samples,), generator=generator)
        new, query = draw(samples, G, 1, D, seed=10 + step), draw(samples, H, 1, D, seed=20 + step)
        key, queries = torch.cat([key[parents], new], 2), torch.cat([queries[parents], query], 2)
        assert calls.follow(query, key, same=False)
        histories.append((query, key))
    for index, (query, key) in enumerate(histories):
        assert_bits(calls, index, query, key)
    for mine, theirs in zip(calls.whole(), (queries, histories[-1][1]), strict=True):
        assert torch.equal(mine, theirs)


def test_a_longer_text_that_begins_alike_is_no_step():
    key = draw(B, G, 9, D)
    calls = begin(draw(B, H, 5, D), key[:, :, :5])
    assert not calls.follow(draw(B, H, 9, D, seed=1), key, same=False)
    assert not calls.follow(draw(B, H, 2, D, seed=1), key, same=True)


def test_a_call_can_be_taken_back():
    key = draw(B, G, 7, D)
    calls = begin(draw(B, H, 5, D), key[:, :, :5])
    assert calls.follow(draw(B, H, 1, D, seed=1), key[[1, 0], :, :6], same=False)
    calls.forget_last()
    assert calls.follow(draw(B, H, 1, D, seed=2), key[:, :, :6], same=False)
    assert_bits(calls, 1, draw(B, H, 1, D, seed=2), key[:, :, :6])


class Decoder(nn.Module):
    def forward(self, query, key):
        return F.scaled_dot_product_attention(query, key, key)


def steps(n, count):
    key = draw(1, H, n + count, D)
    yield draw(1, H, n, D), key[:, :, :n]
    for i in range(count):
        yield draw(1, H, 1, D, seed=i), key[:, :, : n + i + 1].clone()


def bytes_kept(recording):
    sequences = {id(call.cached.calls): call.cached.calls for call in recording}.values()
    return sum(t._memory.nbytes for one in sequences for t in (one._query, one._key))


def test_memory_grows_with_the_text_and_not_with_its_square(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, whole = Decoder(), 2 * 4 * H * D * 150
    with watch(model) as seen:
        for query, key in steps(50, 100):
            model(query, key)
    assert len(seen) == 101
    assert whole <= bytes_kept(seen) <= 1.25 * whole
    with watch(model, budget=whole // 2) as spilt:
        for query, key in steps(50, 100):
            model(query, key)
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= 1.25 * whole  # what was moved is deleted
    for a, b in zip(seen, spilt, strict=True):
        assert torch.equal(a.matrix.key, b.matrix.key)
        assert torch.equal(a.matrix.query, b.matrix.query)


def test_a_step_whose_output_is_another_is_named_and_the_next_one_begins_anew():
    class Wrong(nn.Module):
        def forward(self, query, key, mask):
            return F.scaled_dot_product_attention(query, key, key, attn_mask=mask)

    model = Wrong()
    with watch(model) as seen:
        for i, (query, key) in enumerate(steps(5, 4)):
            if i == 2:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("heedful.inspection.capture.sdpa.masks", lambda *_: (heedful.Lengths(2), None))
                    model(query, key, None)
            else:
                model(query, key, None)
    assert [call.shape[-1] for call in seen] == [5, 6, 8, 9]
    assert "does not give its output" in seen.unseen[0].why
    assert torch.equal(seen[-1].matrix.key, list(steps(5, 4))[-1][1])


def generated(name, **options):
    """What a model generates, with the attention that it gives itself."""
    model = build(name, "eager")
    x = {k: v for k, v in inputs(name, "left").items() if k != "decoder_input_ids"}
    with watch(model) as seen:
        out = model.generate(
            **x, max_new_tokens=6, min_new_tokens=6, do_sample=False, output_attentions=True,
            return_dict_in_generate=True, **options,
        )  # fmt: skip
    assert not seen.unseen
    return seen, out


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "t5"])
def test_each_step_of_a_beam_search_is_what_the_model_had(name):
    seen, out = generated(name, num_beams=3)
    own = out.decoder_attentions if name == "t5" else out.attentions
    module = "decoder.block.1.layer.0.SelfAttention" if name == "t5" else seen[1].module
    calls = seen.calls(module)
    assert any(span.parents is not None for span in calls[0].cached.calls.spans)
    assert len({id(call.cached.calls) for call in calls}) == 1
    for call, weights in zip(calls, own, strict=True):
        dense = call.matrix.dense()
        rows = dense.sum(-1) > 0
        torch.testing.assert_close(dense[rows], weights[1][rows], atol=1e-5, rtol=0)


def test_two_generations_in_one_watch_share_nothing():
    model = hf.T5ForConditionalGeneration(build("t5", "sdpa").config).eval()
    x = {k: v for k, v in inputs("t5").items() if k != "decoder_input_ids"}
    with watch(model) as seen:
        for _ in range(2):
            model.generate(**x, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    for kind, count in (("SelfAttention", 1), ("EncDecAttention", 1)):
        calls = [call for call in seen if call.module.startswith("decoder.block.0") and call.module.endswith(kind)]
        assert len(calls) == 6
        assert [call.cached.number for call in calls] == [0, 1, 2, 0, 1, 2], kind
        assert len({id(call.cached.calls) for call in calls}) == 2 * count


def test_a_softmax_by_hand_is_seen_in_the_steps_of_a_generation_too():
    class ByHand(nn.Module):
        def forward(self, query, key, by_hand):
            if by_hand:
                return (query @ key.mT / math.sqrt(D)).softmax(-1) @ key
            return F.scaled_dot_product_attention(query, key, key)

    model = nn.ModuleList([Decoder(), ByHand()])

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = model

        def forward(self, query, key, by_hand):
            return self.first(query, key) + self.second(query, key, by_hand)

    for hidden_until in (0, 3):  # in all steps, or from the third on
        with watch(whole := Both()) as seen:
            for i, (query, key) in enumerate(steps(5, 6)):
                whole(query, key, i >= hidden_until)
        expected = ["scaled_dot_product_attention"] * hidden_until + ["softmax by hand"] * (7 - hidden_until)
        assert [call.engine for call in seen.calls("second")] == expected
        assert not seen.unseen
