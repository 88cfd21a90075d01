import pytest
import torch

from heedful.data.batches import BucketBatches, LengthBatches, SequentialBatches, ShuffledBatches

LENGTHS = [7, 2, 5, 5, 11, 3, 2, 5, 7, 13, 2, 3, 5]


def order_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: ShuffledBatches(23, 23, seed),
        lambda seed: LengthBatches(LENGTHS, 20, seed),
        lambda seed: BucketBatches(LENGTHS, 3, seed, pool=2),
    ],
)
def test_an_epoch_has_its_order_by_seed_and_number(make):
    orders = [order_of(make(seed), epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    flat = [[i for batch in order for i in batch] for order in orders]
    assert all(sorted(each) == list(range(len(flat[0]))) for each in flat)
    assert len({str(order) for order in orders}) == 6
    torch.manual_seed(5)
    assert order_of(make(1), 2) == orders[2]


def test_what_is_left_over_waits():
    assert [len(batch) for batch in ShuffledBatches(23, 5, 1)] == [5, 5, 5, 5]
    assert len(ShuffledBatches(23, 5, 1)) == 4
    assert [len(batch) for batch in ShuffledBatches(3, 5, 1)] == [3], "fewer examples than a batch holds"


def test_in_order():
    assert list(SequentialBatches(7, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(SequentialBatches(7, 3)) == 3


def test_batches_by_length_have_room_for_their_padding():
    sampler = LengthBatches(LENGTHS, 12, seed=1)
    for epoch in range(5):
        batches = order_of(sampler, epoch)
        assert len(batches) == len(sampler)
        for batch in batches:
            lengths = [LENGTHS[i] for i in batch]
            assert len(batch) == 1 or len(batch) * max(lengths) <= 12
            assert max(lengths) - min(lengths) <= 2
    computed = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in sampler)
    assert sampler.non_padding_fraction() == pytest.approx(sum(LENGTHS) / computed)


def test_without_a_seed_from_the_shortest_to_the_longest():
    assert list(LengthBatches([3, 1, 3, 2], 6)) == [[1, 3], [0, 2]]


def test_buckets_mix_more_and_pad_a_little():
    lengths = [7, 2, 5, 11, 3, 2, 5, 7, 13] * 50
    sampler = BucketBatches(lengths, 9, seed=1)
    batches = order_of(sampler, 3)
    assert [len(batch) for batch in batches] == [9] * 50
    spreads = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert sum(spread <= 2 for spread in spreads) > 40
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert sampler.non_padding_fraction() == pytest.approx(sum(lengths) / computed)
    assert sampler.non_padding_fraction() > 0.9


def test_of_several_sides_the_longest_counts():
    lengths = [(5, 3), (2, 9), (2, 1), (5, 2), (2, 1), (3, 3), (7, 1)]
    sampler = LengthBatches(lengths, 10, seed=1)
    for epoch in range(5):
        batches = order_of(sampler, epoch)
        assert sorted(i for batch in batches for i in batch) == list(range(7))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(max(lengths[i]) for i in batch) <= 10
    assert list(LengthBatches(lengths, 10)) == [[2, 4], [1], [5, 3], [0], [6]], "by the first side, then by the second"
    computed = sum(len(batch) * sum(max(lengths[i][side] for i in batch) for side in (0, 1)) for batch in sampler)
    assert sampler.non_padding_fraction() == pytest.approx(sum(map(sum, lengths)) / computed)


def test_one_side_is_the_same_as_a_number():
    for seed in (None, 3):
        assert list(LengthBatches([(n,) for n in LENGTHS], 12, seed)) == list(LengthBatches(LENGTHS, 12, seed))
