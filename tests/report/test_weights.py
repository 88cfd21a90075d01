"""The weights that a section holds, as numbers."""

import numpy as np
import pytest

from heedful.report import Picture, QueryKey, TopWeights
from heedful.report.weights import patch_weights, pool, weights_of
from tests.report.layers import layer_of, pooled, random_weights


@pytest.mark.parametrize("ahead", [None, 0, 2, -1])
def test_rows_are_computed_from_queries_and_keys(ahead):
    random = np.random.default_rng(1)
    query, key = random.normal(size=(2, 6, 4)), random.normal(size=(2, 8, 4))
    scores = 0.7 * query @ key.swapaxes(1, 2)
    if ahead is not None:
        scores[:, np.arange(8) > np.arange(6)[:, None] + ahead] = -np.inf
    weights = np.exp(scores)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    layer = layer_of(weights, QueryKey(query.astype(np.float32), key.astype(np.float32), 0.7, ahead))
    np.testing.assert_allclose(weights_of(layer, [0, 1]), weights.mean(0), atol=1e-6)
    np.testing.assert_allclose(weights_of(layer, [1]), weights[1], atol=1e-6)


def test_the_largest_weights_are_the_weights_only_where_they_are_of_all_keys():
    weights = random_weights(2, 5, 6)
    order = np.argsort(-weights, axis=-1)
    largest = np.take_along_axis(weights, order, -1)
    assert weights_of(layer_of(weights, TopWeights(order[..., :2], largest[..., :2])), [0]) is None
    np.testing.assert_array_equal(weights_of(layer_of(weights, TopWeights(order, largest)), [1]), weights[1])


def test_a_map_alone_holds_no_weights():
    assert weights_of(layer_of(random_weights(2, 5, 6), None), [0]) is None


def test_patches_get_what_the_class_token_gives_or_else_an_average_query():
    weights = random_weights(2, 5, 5)
    layer, pixels = layer_of(weights), np.zeros((2, 2), np.uint8)
    from_token, words = patch_weights(layer, Picture(pixels, (2, 2), extra=["class token"]), [1])
    np.testing.assert_array_equal(from_token, weights[1, 0])
    assert words == "from class token"
    average, words = patch_weights(layer, Picture(pixels, (1, 5)), [0, 1])
    np.testing.assert_allclose(average, weights.mean((0, 1)), rtol=1e-6)
    assert words == "from an average query"
    assert patch_weights(layer_of(weights, None, most=1), Picture(pixels, (1, 5)), [0]) is None


def test_pooling_keeps_what_a_row_adds_up_to():
    weights = random_weights(1, 23, 31)[0]
    np.testing.assert_allclose(pool(weights, 7, 9), pooled(weights[None], 7, 9)[0], rtol=1e-5)
    np.testing.assert_allclose(pool(weights, 7, 9).sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(pool(weights, 23, 31), weights)
