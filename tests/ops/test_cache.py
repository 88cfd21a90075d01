"""What is made of values without tensors is made once, for every mechanism, and takes no more than its bytes."""

import pytest
import torch

import heedful
from heedful.ops import mechanism
from heedful.ops._cache import LRUCache
from heedful.ops._tree import key_of
from heedful.ops.engines import assemble, bands, tiles

CALLS = {
    "a window": lambda: {"pattern": heedful.Local(4)},
    "a window in the past": lambda: {"pattern": heedful.Local(4) & heedful.Causal()},
    "a prefix": lambda: {"pattern": heedful.Prefix(3)},
    "lengths": lambda: {"pattern": heedful.Lengths(7)},
    "a grid": lambda: {"pattern": heedful.Neighborhood2d((3, 5), (4, 8)) | heedful.Axial((4, 8))},
    "not": lambda: {"pattern": ~heedful.Dilated(2, dilation=3)},
    "softmax1": lambda: {"normalize": heedful.softmax1},
    "entmax": lambda: {"normalize": heedful.entmax(1.3)},
    "entmax15": lambda: {"normalize": heedful.entmax15},
    "sigmoid": lambda: {"normalize": heedful.Sigmoid(offset=-1.0)},
    "cosine": lambda: {"score": heedful.Cosine(), "scale": 3.0},
    "gaussian": lambda: {"score": heedful.Gaussian(2.0)},
    "alibi": lambda: {"bias": heedful.ALiBi(2)},
    "softcap": lambda: {"softcap": 3.0},
    "hard": lambda: {"select": heedful.Hard()},
    "dropout": lambda: {"dropout": 0.5, "seed": 3},
}


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_calls_are_assembled_once(options):
    """Equal values that are made anew for each call count as the same."""
    query = torch.randn(1, 2, 32, 4, requires_grad=True)

    def call():
        heedful.attention(query, query, query, **options()).sum().backward()

    call()
    caches = (mechanism._MECHANISMS, assemble._FUNCTIONS, bands._BANDS, tiles._TILES)
    before = [(cache.hits, cache.misses) for cache in caches]
    for _ in range(5):
        call()
    for cache, (hits, misses) in zip(caches, before, strict=True):
        assert cache.misses == misses
        assert cache.hits == hits or cache.hits >= hits + 5
    assert caches[1].hits >= before[1][0] + 5


def test_what_is_not_equal_is_not_taken_for_it():
    values = [
        heedful.Local(1), heedful.Local(1, 2), heedful.Local(1, None, "end"), heedful.Prefix(1), heedful.Lengths(1),
        heedful.Lengths(0), heedful.Dilated(1), heedful.Dilated(1, dilation=1), ~heedful.Local(1), heedful.Causal(),
        heedful.Causal() & heedful.Local(1), heedful.Local(1) & heedful.Causal(), heedful.Local(1) | heedful.Causal(),
        heedful.Neighborhood2d(1, (2, 3)), heedful.Neighborhood2d(1, (3, 2)), heedful.Axial((2, 3)), heedful.Gaussian(1.0),
        heedful.Gaussian(2.0), heedful.Sigmoid(0.0), heedful.Sigmoid(), heedful.entmax(1.2), heedful.entmax(1.3),
        heedful.ALiBi(2), heedful.ALiBi(4), heedful.ALiBi(2) + heedful.ALiBi(2), heedful.ALiBi2d(2, (2, 3)),
    ]  # fmt: skip
    keys = [key_of(value) for value in values]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key_of((1.0,)) != key_of((1,)) != key_of((True,))
    for holds in (
        heedful.Lengths(torch.tensor([1])),
        heedful.GlobalTokens([1]),
        ~heedful.Mask(torch.ones(1, 1).bool()),
    ):
        assert key_of(holds) is None
        assert key_of(heedful.Causal() & holds) is None


def test_no_more_is_kept_than_its_bytes():
    cache = LRUCache[bytes](100, len)
    for i in range(10):
        assert cache.get(i, lambda: bytes(30)) == bytes(30)
    assert cache.bytes == 90
    assert cache.misses == 10
    cache.get(9, lambda: bytes(1))
    cache.get(7, lambda: bytes(1))
    assert cache.hits == 2
    assert len(cache.get("large", lambda: bytes(101))) == 101  # given, not kept
    assert cache.bytes == 90
    assert len(cache.get("new", lambda: bytes(40))) == 40
    assert (cache.get(7, lambda: b""), cache.get(8, lambda: b"")) == (bytes(30), b"")  # 8 was used the longest ago


def test_bands_and_tiles_are_bounded():
    assert bands._BANDS.bytes <= bands._BANDS.limit <= 2**26
    assert tiles._TILES.bytes <= tiles._TILES.limit <= 2**26
    query = torch.randn(1, 1, 4096, 4)
    for step in range(2, 40):  # each row of a tile is an index here
        heedful.attention(query, query, query, pattern=heedful.Dilated(3, dilation=step), normalize=heedful.sparsemax)
    assert tiles._TILES.bytes <= tiles._TILES.limit
