import math
import zlib
from base64 import b64decode

import numpy as np
import pytest
import torch

import heedful
from heedful import nn, ops
from heedful.inspection import AttentionCall, Recording
from heedful.report import Dense, Picture, Positions, QueryKey, Series, Text, TopWeights, attention_section
from heedful.report.blocks import ArrayBlocks
from tests.report.layers import pooled

HUGE = 10**12  # bytes: enough for everything


def qk(*lead, queries=9, keys=9, width=5, key_heads=None, seed=0):
    random = torch.Generator().manual_seed(seed)
    query = 2 * torch.randn(*lead, queries, width, generator=random, dtype=torch.float64)
    lead = lead if key_heads is None else (*lead[:-1], key_heads)
    return query, torch.randn(*lead, keys, width, generator=random, dtype=torch.float64)


def call_of(query, key, *, module="encoder.layers.0.attention", kind="self", causal=False, window=None, **mechanism):
    matrix = heedful.AttentionMatrix(query, key, **mechanism)
    return AttentionCall(module, kind, matrix, "eager", causal=causal, window=window)


def dense(query, key, hidden=None):
    """The weights, with a mask of what is hidden, and nothing of the package."""
    if query.dim() > 2:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    return scores.softmax(-1).numpy()


def later(queries, keys, ahead=0):
    return torch.arange(keys) > torch.arange(queries)[:, None] + ahead


def section_of(*calls, budget=HUGE, **options):
    return attention_section(Recording(calls), title="A model", budget=budget, **options)


def of_query_key(pairs):
    """The weights by the sentence that says what queries and keys are."""
    scores = pairs.scale * pairs.query.astype(np.float64) @ pairs.key.astype(np.float64).swapaxes(-1, -2)
    if pairs.ahead is not None:
        scores[:, later(*scores.shape[1:], pairs.ahead).numpy()] = -np.inf
    weights = np.exp(scores - np.where(np.isinf(top := scores.max(-1, keepdims=True)), 0, top))
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)


def assert_layer(layer, weights):
    """Everything of a layer that follows from its weights."""
    _, queries, keys = weights.shape
    assert (layer.queries, layer.keys) == (queries, keys)
    close = {"rtol": 1e-4, "atol": 1e-6}
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(weights > 0, weights * np.log(weights), 0).sum(-1)
    received = weights.sum(1)
    np.testing.assert_allclose(layer.map, pooled(weights, *layer.map.shape[1:]), **close)
    np.testing.assert_allclose(layer.numbers["entropy"], entropy.mean(-1), **close)
    np.testing.assert_allclose(layer.numbers["largest"], weights.max(-1).mean(-1), **close)
    np.testing.assert_allclose(layer.numbers["first"], weights[..., 0].mean(-1), **close)
    np.testing.assert_allclose(layer.numbers["received"], received.max(-1) / queries, **close)
    if queries == keys:
        apart = np.abs(np.arange(queries)[:, None] - np.arange(keys))
        np.testing.assert_allclose(layer.numbers["distance"], (weights * apart).sum(-1).mean(-1), **close)
    else:
        assert "distance" not in layer.numbers
    np.testing.assert_allclose(layer.curves["entropy"], entropy, **close)
    np.testing.assert_allclose(layer.curves["received"], received, **close)
    if isinstance(layer.pairs, Dense):
        np.testing.assert_allclose(layer.pairs.weights, weights, **close)
    elif isinstance(layer.pairs, QueryKey):
        np.testing.assert_allclose(of_query_key(layer.pairs), weights, **close)
    else:
        order = np.argsort(-weights, axis=-1, kind="stable")[..., : layer.pairs.weights.shape[-1]]
        largest = np.take_along_axis(weights, order, -1)
        np.testing.assert_allclose(layer.pairs.weights, largest, **close)
        known = largest > 1e-6  # among weights that are 0, any key may be named
        found = np.take_along_axis(weights, np.maximum(layer.pairs.indices, 0), -1)
        np.testing.assert_allclose(np.where(known, found, 0), np.where(known, largest, 0), **close)


KINDS = {
    Dense: {"queries": 9, "keys": 9, "width": 16, "budget": HUGE},
    QueryKey: {"queries": 90, "keys": 90, "width": 3, "budget": HUGE},
    TopWeights: {"queries": 90, "keys": 90, "width": 64, "budget": 30_000},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_every_number_equals_that_of_the_dense_matrix(kind, causal):
    sizes = dict(KINDS[kind])
    budget = sizes.pop("budget")
    query, key = qk(1, 3, **sizes)
    pattern = ops.Causal() if causal else ops.Global()
    [layer] = section_of(call_of(query, key, pattern=pattern, causal=causal), budget=budget).layers
    assert type(layer.pairs) is kind
    assert_layer(layer, dense(query, key, later(*query.shape[-2:-1] * 2) if causal else None)[0])
    assert (("causal", "yes") in layer.facts) is causal


@pytest.mark.parametrize("align", ["start", "end"])
@pytest.mark.parametrize(("queries", "keys"), [(80, 100), (100, 80)])
def test_query_and_key_of_causal_attention_say_how_far_ahead_a_query_sees(align, queries, keys):
    query, key = qk(1, 2, queries=queries, keys=keys, width=3)
    ahead = keys - queries if align == "end" else 0
    hidden = later(queries, keys, ahead)
    weights = np.nan_to_num(dense(query, key, hidden))[0]  # a row that sees nothing is 0
    [layer] = section_of(call_of(query, key, pattern=ops.Causal(align), causal=True)).layers
    assert isinstance(layer.pairs, QueryKey)
    assert layer.pairs.ahead == ahead
    np.testing.assert_allclose(of_query_key(layer.pairs), weights, rtol=1e-4, atol=1e-6)


def test_grouped_heads_have_a_key_each():
    for sizes in ({"width": 16}, {"queries": 90, "keys": 90, "width": 3}):
        query, key = qk(1, 6, key_heads=2, **sizes)
        [layer] = section_of(call_of(query, key)).layers
        assert_layer(layer, dense(query, key)[0])
        assert layer.map.shape[0] == 6


@pytest.mark.parametrize("lead", [(), (3,)])
def test_matrices_without_batch_or_heads(lead):
    query, key = qk(*lead)
    [layer] = section_of(call_of(query, key)).layers
    assert_layer(layer, dense(query, key).reshape(-1, 9, 9))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", [0, 2])
def test_one_sample_of_a_batch(kind, sample):
    sizes = dict(KINDS[kind])
    budget = sizes.pop("budget")
    query, key = qk(3, 2, **sizes)
    [layer] = section_of(call_of(query, key), budget=budget, sample=sample).layers
    assert type(layer.pairs) is kind
    assert_layer(layer, dense(query, key)[sample])


TOKENS_OF_THREE = [[f"{word}{row}" for word in "abcdefghi"] for row in range(3)]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3),
        ({"tokens": TOKENS_OF_THREE}, 3),
        ({"tokens": torch.arange(27).view(3, 9)}, 3),
        ({"axes": [TOKENS_OF_THREE]}, 3),
        ({"tokens": TOKENS_OF_THREE[0]}, 1),  # which of one sample says nothing of the others
        ({"axes": Positions(9)}, 1),
        ({"tokens": [*TOKENS_OF_THREE[:2], ["a"]]}, 1),
        ({"budget": 3 * 2 * 2 * 9 * 9 - 1}, 1),
        ({"sample": 1}, 1),
    ],
)
def test_a_section_holds_all_samples_that_fit_and_whose_tokens_are_known(options, count):
    query, key = qk(3, 2, width=64)
    section = section_of(call_of(query, key), **options)
    first = options.get("sample", 0)
    assert len(section.samples) == count - 1
    for sample, one in enumerate([section, *section.samples], first):
        assert one.text == f"Sample {sample} of a batch of 3, from 0."
        np.testing.assert_allclose(one.layers[0].curves["received"], dense(query, key)[sample].sum(1), rtol=1e-4)
        if isinstance(options.get("tokens"), list) and count == 3:
            assert list(one.axes[0].tokens) == TOKENS_OF_THREE[sample]
    section.encode(ArrayBlocks())


def test_a_batch_of_two_axes_is_counted_through():
    query, key = qk(2, 3, 2)
    [layer] = section_of(call_of(query, key), sample=4).layers
    assert_layer(layer, dense(query, key)[1, 1])


@pytest.mark.parametrize("budget", [HUGE, 20_000])
def test_a_window_is_kept_as_all_weights_or_the_largest_but_never_as_queries_and_keys(budget):
    query, key = qk(1, 2, queries=90, keys=90, width=3)
    apart = torch.arange(90)[:, None] - torch.arange(90)
    [layer] = section_of(call_of(query, key, pattern=ops.Local(2, 1), window=4), budget=budget).layers
    assert type(layer.pairs) is (Dense if budget == HUGE else TopWeights)
    assert_layer(layer, dense(query, key, (apart > 2) | (apart < -1))[0])
    assert ("window", 4) in layer.facts


MECHANISMS = {
    "bias": {"bias": torch.linspace(-3, 3, 90, dtype=torch.float64).expand(90, 90)},
    "softcap": {"softcap": 1.0},
    "sinks": {"sinks": torch.zeros(2, dtype=torch.float64)},
    "scale": {"scale": torch.full((2, 1, 1), 0.5, dtype=torch.float64)},
    "score": {"score": ops.Cosine()},
    "normalize": {"normalize": ops.sparsemax},
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_rows_that_do_not_follow_from_queries_and_keys_alone_are_not_kept_as_vectors(name):
    query, key = qk(1, 2, queries=90, keys=90, width=3)
    call = call_of(query, key, **MECHANISMS[name])
    [layer] = section_of(call).layers
    assert isinstance(layer.pairs, Dense)
    np.testing.assert_allclose(layer.pairs.weights, call.matrix.dense()[0], rtol=1e-4, atol=1e-6)


def test_another_scale_is_kept_with_the_vectors():
    query, key = qk(1, 2, queries=90, keys=90, width=3)
    [layer] = section_of(call_of(query, key, scale=0.25)).layers
    assert isinstance(layer.pairs, QueryKey)
    assert layer.pairs.scale == 0.25


# Room.


@pytest.mark.parametrize(("less", "kind"), [(0, Dense), (1, TopWeights)])
def test_cells_are_kept_while_they_fit(less, kind):
    query, key = qk(1, 2, width=64)
    [layer] = section_of(call_of(query, key), budget=2 * 2 * 9 * 9 - less).layers
    assert type(layer.pairs) is kind


@pytest.mark.parametrize(("less", "kind"), [(0, QueryKey), (1, TopWeights)])
def test_vectors_are_kept_while_they_fit(less, kind):
    query, key = qk(1, 2, queries=90, keys=90, width=3)
    [layer] = section_of(call_of(query, key), budget=4 * 2 * 180 * 3 - less).layers
    assert type(layer.pairs) is kind


def test_room_is_shared_by_rows():
    small, large = (call_of(*qk(1, 1, queries=n, keys=n, width=64), module=f"l.{n}") for n in (10, 90))
    kinds = [type(layer.pairs) for layer in section_of(small, large, budget=2 * 10 * 10 * 10).layers]
    assert kinds == [
        Dense,
        TopWeights,
    ]  # a tenth of the budget is enough for the small one, but nine tenths not for the large


@pytest.mark.parametrize("budget", [200_000, 300_000, 520_000])
def test_the_largest_weights_and_the_map_fill_the_budget_and_no_more(budget):
    query, key = qk(1, 4, queries=256, keys=256, width=64)
    [layer] = section_of(call_of(query, key), budget=budget).layers
    taken = 2 * layer.map.size + 4 * layer.pairs.weights.size + 4 * sum(curve.size for curve in layer.curves.values())
    assert 0.9 * min(budget, 4 * (2 * 128**2 + 4 * 256 * 66)) < taken <= budget
    assert_layer(layer, dense(query, key)[0])


def test_what_each_key_receives_is_exact_at_any_length():
    query, key = qk(1, 2, queries=1500, keys=1500, width=64)
    [layer] = section_of(call_of(query, key), budget=300_000).layers
    assert isinstance(layer.pairs, TopWeights)
    np.testing.assert_allclose(layer.curves["received"], dense(query, key)[0].sum(1), rtol=1e-5)


def test_a_report_without_room_has_one_link_a_row():
    query, key = qk(1, 2, queries=90, keys=70, width=64)
    [layer] = section_of(call_of(query, key, kind="cross"), budget=1).layers
    assert layer.pairs.weights.shape == (2, 90, 1)
    assert layer.map.shape == (2, 64, 64)
    assert_layer(layer, dense(query, key)[0])


# Sides.


def test_cross_attention_of_equal_lengths_has_the_source_along_the_keys():
    source, target = Text(["a"] * 9, name="source"), Text(["b"] * 9, name="target")
    calls = [
        call_of(*qk(1, 2), module="encoder.0"),
        call_of(*qk(1, 2), module="decoder.0", causal=True, pattern=ops.Causal()),
        call_of(*qk(1, 2), module="decoder.0.cross", kind="cross"),
    ]
    section = section_of(*calls, axes=[source, target])
    names = [(section.axes[la.rows].name, section.axes[la.columns].name) for la in section.layers[:3]]
    assert names == [("source", "source"), ("target", "target"), ("target", "source")]


def test_axes_are_found_by_their_length_or_are_bare_positions():
    series = Series(np.zeros(100, np.float32), count=7, name="series")
    section = section_of(
        call_of(*qk(1, 2), module="a"),
        call_of(*qk(1, 2, queries=4, keys=7), module="b", kind="cross"),
        axes=[Text(["a"] * 9), series],
    )
    first, second = section.layers
    assert (first.rows, first.columns) == (0, 0)
    assert section.axes[second.columns] is series
    assert isinstance(section.axes[second.rows], Positions)
    assert section.axes[second.rows].count == 4
    section.encode(ArrayBlocks())


def test_labels_are_unique_and_a_translation_opens_on_its_last_cross_attention():
    sizes = {"queries": 4, "keys": 7}
    calls = [
        call_of(*qk(1, 2, queries=7, keys=7), module="encoder.layers.0.attention"),
        call_of(*qk(1, 2, queries=4, keys=4), module="decoder.layers.0.attention"),
        call_of(*qk(1, 2, **sizes), module="decoder.layers.0.cross", kind="cross"),
        call_of(*qk(1, 2, **sizes), module="decoder.layers.0.cross", kind="cross"),
    ]
    section = section_of(*calls, axes=[Text(["s"] * 7), Text(["t"] * 4)])
    labels = [layer.label for layer in section.layers]
    assert labels == ["encoder 0", "decoder 0 self", "decoder 0 cross, call 0", "decoder 0 cross, call 1"]
    assert section.opens == {"view": "input", "layer": "3"}
    assert section_of(calls[0]).opens == {}


def test_an_axis_without_a_count_fits_every_axis():
    section = section_of(call_of(*qk(1, 2, queries=4, keys=7)), axes=[Positions(name="anything")])
    assert (section.layers[0].rows, section.layers[0].columns) == (0, 0)
    assert len(section.axes) == 1


def test_the_callers_list_of_axes_stays_as_it_was():
    axes = [Text(["a"] * 9)]
    section = section_of(call_of(*qk(1, 2)), call_of(*qk(1, 2, queries=4, keys=4)), axes=axes)
    assert len(axes) == 1
    assert len(section.axes) == 2


# Watched models.


def watched(model, *given, **options):
    with torch.no_grad(), heedful.watch(model) as seen:
        model(*given, **options)
    return seen


def test_an_encoder_of_heedful():
    torch.manual_seed(0)
    seen = watched(nn.TransformerEncoder(8, 2, 3).double(), torch.randn(2, 6, 8, dtype=torch.float64))
    tokens = torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
    section = attention_section(seen, title="T", text="S", tokens=tokens, separators=[2], sample=1)
    assert (section.title, section.text) == ("T", "S Sample 1 of a batch of 2, from 0.")
    *layers, rollout = section.layers
    assert [layer.name for layer in layers] == [f"layers.{i}.attention" for i in range(3)]
    for layer, call in zip(layers, seen, strict=True):
        assert_layer(layer, call.matrix.dense()[1].numpy())
        assert ("computed by", "heedful.attention") in layer.facts
    whole = np.eye(6)
    for call in seen:
        whole = (0.5 * call.matrix.dense()[1].numpy().mean(0) + 0.5 * np.eye(6)) @ whole
    assert rollout.kind == "rollout"
    np.testing.assert_allclose(rollout.map[0], whole, rtol=1e-4)
    np.testing.assert_allclose(rollout.pairs.weights[0], whole, rtol=1e-4)
    np.testing.assert_allclose(rollout.curves["received"][0], whole.sum(0), rtol=1e-4)
    section.encode(ArrayBlocks())


def test_the_kinds_of_heads_are_those_that_were_found():
    torch.manual_seed(0)
    seen = watched(nn.TransformerEncoder(8, 2, 2).double(), 3 * torch.randn(1, 6, 8, dtype=torch.float64))
    tokens = torch.tensor([[0, 1, 2, 0, 1, 2]])
    found = iter(seen.heads(tokens, [2]))
    for layer in attention_section(seen, title="", tokens=tokens, separators=[2]).layers[:2]:
        for head in range(2):
            expected = next(found)
            assert layer.kinds[head] == expected.kind
            for name, score in expected.scores.items():
                if name != "first":
                    wanted = math.nan if score is None else min(max(score, 0), 1)
                    assert layer.numbers[name][head] == pytest.approx(wanted, rel=1e-5, nan_ok=True)


def test_a_layer_of_torch_and_cross_attention():
    torch.manual_seed(0)
    model = torch.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True).eval().double()
    target, source = torch.randn(1, 5, 8, dtype=torch.float64), torch.randn(1, 7, 8, dtype=torch.float64)
    seen = watched(model, target, source)
    section = attention_section(seen, title="", axes=[Text(["s"] * 7), Text(["t"] * 5)])
    assert [(layer.kind, layer.rows, layer.columns) for layer in section.layers] == [("self", 1, 1), ("cross", 1, 0)]
    for layer, call in zip(section.layers, seen, strict=True):
        assert_layer(layer, call.matrix.dense()[0].numpy())


@pytest.mark.parametrize("n", [197, 600])  # the patches of an image and a class token; more than are kept whole
def test_a_rollout_is_whole_up_to_some_size(n):
    parts = [qk(1, 2, queries=n, keys=n, width=2, seed=s) for s in range(2)]
    rollout = section_of(*(call_of(*part, module=f"l.{s}") for s, part in enumerate(parts))).layers[-1]
    whole = np.eye(n)
    for part in parts:
        whole = (0.5 * dense(*part)[0].mean(0) + 0.5 * np.eye(n)) @ whole
    if n == 197:
        np.testing.assert_allclose(rollout.pairs.weights[0], whole, rtol=1e-4)
    else:
        assert rollout.pairs is None
        np.testing.assert_allclose(rollout.map, pooled(whole[None], 128, 128), rtol=1e-4, atol=1e-7)


def test_a_class_token_and_registers_are_kept_apart_and_whole():
    grid, extra = (17, 31), ["class token", "register 1"]
    n = 2 + 17 * 31  # more than a rollout is whole for
    parts = [qk(1, 2, queries=n, keys=n, width=64, seed=s) for s in range(2)]
    calls = [call_of(*part, module=f"l.{s}") for s, part in enumerate(parts)]
    axis = Picture(np.zeros((17, 31), np.uint8), grid, extra)
    *layers, rollout = section_of(*calls, axes=axis, budget=100_000).layers
    weights = [dense(*part)[0] for part in parts]
    whole = np.eye(n)
    for layer, of_layer in zip(layers, weights, strict=True):
        whole = (0.5 * of_layer.mean(0) + 0.5 * np.eye(n)) @ whole
        assert layer.row_starts[:3] == layer.column_starts[:3] == [0, 1, 2]
        sums = np.add.reduceat(np.add.reduceat(of_layer, layer.column_starts[:-1], 2), layer.row_starts[:-1], 1)
        np.testing.assert_allclose(layer.map, sums / np.diff(layer.row_starts)[:, None], rtol=1e-4)
        assert layer.whole_rows.queries == [0, 1]
        np.testing.assert_allclose(layer.whole_rows.weights, of_layer[:, :2], rtol=1e-4)
        np.testing.assert_allclose(layer.curves["received"], of_layer.sum(1), rtol=1e-4)
    assert rollout.row_starts[:3] == [0, 1, 2]
    np.testing.assert_allclose(rollout.whole_rows.weights[0], whole[:2], rtol=1e-4)
    np.testing.assert_allclose(rollout.curves["received"][0], whole.sum(0), rtol=1e-4)


@pytest.mark.parametrize(("budget", "kind"), [(HUGE, Dense), (1, TopWeights)])
def test_nan_stops_no_report_which_says_where_it_begins(budget, kind):
    query, key = qk(1, 3, queries=70, keys=70, width=64)
    query[0, 1, [4, 5, 20]] = math.nan
    calls = [call_of(*qk(1, 3, queries=70, keys=70), module="l.0"), call_of(query, key, module="l.1")]
    section = section_of(*calls, budget=budget)
    fine, broken, rollout = section.layers
    assert section.text == "NaN begins in layer 1 (l.1): heads 1, queries 4 to 5, 20."
    assert (fine.nan, rollout.nan) == ("", "heads 0, queries 4 to 5, 20")
    assert type(broken.pairs) is kind
    assert np.isnan(broken.pairs.weights).any(-1)[1].nonzero()[0].tolist() == [4, 5, 20]
    assert np.isnan(broken.map[1]).any()
    assert not np.isnan(broken.map[[0, 2]]).any()
    np.testing.assert_allclose(broken.curves["received"][0], dense(query, key)[0, 0].sum(0), rtol=1e-4)
    assert np.isnan(broken.numbers["entropy"]).tolist() == [False, True, False]
    blocks = ArrayBlocks()
    section.encode(blocks)
    assert all(blocks.texts())


def test_each_stack_has_its_own_rollout():
    modules = ["text.layers.0", "text.layers.1", "image.layers.0", "image.layers.1"]
    layers = section_of(*(call_of(*qk(1, 2), module=module) for module in modules)).layers
    assert [layer.label for layer in layers if layer.kind == "rollout"] == [
        "rollout of text.layers",
        "rollout of image.layers",
    ]


def test_no_rollout_where_shapes_differ_or_one_layer_is_alone():
    one, other = call_of(*qk(1, 2), module="a"), call_of(*qk(1, 3), module="b")
    assert [layer.kind for layer in section_of(one, other).layers] == ["self", "self"]
    assert [layer.kind for layer in section_of(one).layers] == ["self"]


# What cannot be shown.


def test_nothing_was_seen():
    with heedful.watch(torch.nn.Identity()) as seen:
        pass
    with pytest.raises(ValueError, match="`calls` must hold at least one call of attention: got none."):
        attention_section(seen, title="")


@pytest.mark.parametrize("sample", [-1, 3])
def test_a_sample_that_is_not_of_the_batch(sample):
    call = call_of(*qk(3, 2), module="a")
    with pytest.raises(ValueError, match=f"`sample` must be from 0 to 2, of the batch of 'a': got {sample}."):
        section_of(call, sample=sample)


# What is stored.


def stored(blocks, reference):
    """An array as the page reads it."""
    data = b64decode(list(blocks.texts())[reference["block"]])
    if reference.get("coding") == "deflate":
        data = zlib.decompress(data, wbits=-zlib.MAX_WBITS)
    array = np.frombuffer(data, np.dtype(reference["dtype"]).newbyteorder("<")).reshape(reference["shape"])
    return array.astype(np.float64) / reference["factor"] if "factor" in reference else array


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_comes_back(kind):
    sizes = dict(KINDS[kind])
    budget = sizes.pop("budget")
    section = section_of(call_of(*qk(1, 3, **sizes)), budget=budget)
    blocks, layer = ArrayBlocks(), section.layers[0]
    [encoded] = section.encode(blocks)["layers"]
    np.testing.assert_allclose(stored(blocks, encoded["map"]), layer.map, rtol=1e-3, atol=1e-9)
    for name, values in layer.curves.items():
        np.testing.assert_array_equal(stored(blocks, encoded["curves"][name]), values)
    pairs = encoded["pairs"]
    if kind is QueryKey:
        np.testing.assert_array_equal(stored(blocks, pairs["query"]), layer.pairs.query)
        np.testing.assert_array_equal(stored(blocks, pairs["key"]), layer.pairs.key)
        assert 4 * (layer.pairs.query.size + layer.pairs.key.size) == QueryKey.bytes(3, 90, 90, 3)
    else:
        np.testing.assert_allclose(stored(blocks, pairs["weights"]), layer.pairs.weights, rtol=1e-3, atol=1e-9)
        if kind is TopWeights:
            np.testing.assert_array_equal(stored(blocks, pairs["indices"]), np.maximum(layer.pairs.indices, 0))
            assert pairs["indices"]["dtype"] == "uint16"
        else:
            assert 2 * layer.pairs.weights.size == Dense.bytes(3, 9, 9)


@pytest.mark.parametrize("largest", [1.0, 0.3, 1e-5, 1e-12, 1e-30])
def test_small_weights_keep_half_precision(largest):
    weights = np.geomspace(largest * 1e-6, largest, 50).astype(np.float32)
    blocks = ArrayBlocks()
    back = stored(blocks, blocks.add_weights(weights))
    np.testing.assert_allclose(back, weights, rtol=2**-11)
    assert np.isfinite(back).all()


def test_weights_of_nothing_but_0():
    blocks = ArrayBlocks()
    np.testing.assert_array_equal(stored(blocks, blocks.add_weights(np.zeros((2, 3), np.float32))), 0)


def test_pictures_can_stand_along_the_keys():
    picture = Picture(np.zeros((4, 4), np.uint8), (2, 4), ["class token"])
    section = section_of(call_of(*qk(1, 2)), axes=[picture])
    assert section.axes[section.layers[0].columns] is picture
