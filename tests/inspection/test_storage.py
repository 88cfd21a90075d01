import dataclasses
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import heedful
from heedful import ops
from heedful.inspection import storage
from heedful.inspection.cached import CachedCall, CachedCalls
from heedful.inspection.calls import AttentionCall, Unseen
from heedful.inspection.storage import WatchFolderError, load, save
from heedful.ops.normalizers.alpha import Entmax

B, H, N, D = 2, 3, 12, 5
GRID = (3, 4)


def numbers(*sizes, seed=0):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


def integers(*sizes, high=3):
    return torch.randint(0, high, sizes, generator=torch.Generator().manual_seed(1))


IDS = integers(B, N)
OPTIONS = {
    "ScaledDot": {},
    "Dot": {"score": ops.Dot(), "scale": 0.3},
    "Bilinear": {"score": ops.Bilinear(numbers(H, D, D))},
    "Additive": {"score": ops.Additive(numbers(D))},
    "Cosine": {"score": ops.Cosine(), "scale": numbers(H, 1, 1), "softcap": 2.5},
    "Gaussian": {"score": ops.Gaussian(0.7)},
    "Gaussian, tensor": {"score": ops.Gaussian(numbers(H).exp())},
    "Global": {"pattern": ops.Global()},
    "Causal": {"pattern": ops.Causal("end")},
    "Local": {"pattern": ops.Local(2, 1)},
    "Dilated": {"pattern": ops.Dilated(1, None, 3, "start")},
    "Prefix": {"pattern": ops.Prefix(torch.tensor([3, 5]))},
    "Lengths": {"pattern": ops.Lengths(torch.tensor([12, 7]))},
    "Lengths, number": {"pattern": ops.Lengths(4)},
    "Neighborhood2d": {"pattern": ops.Neighborhood2d((3, 1), GRID)},
    "Axial": {"pattern": ops.Axial(GRID)},
    "Documents": {"pattern": ops.Documents(IDS, integers(B, N, high=2))},
    "GlobalTokens": {"pattern": ops.GlobalTokens([0, 3])},
    "Mask": {"pattern": ops.Mask(integers(B, 1, N, N, high=2) > 0)},
    "And": {"pattern": ops.Causal() & ops.Documents(IDS)},
    "Or": {"pattern": ops.Local(1) | ops.GlobalTokens([0], "keys") & ops.Causal()},
    "Not": {"pattern": ~(ops.Local(1) & ~ops.Causal())},
    "TensorBias": {"bias": numbers(H, N, N)},
    "PerKey": {"bias": ops.PerKey(numbers(B, 1, N).masked_fill(IDS[:, None] == 0, -torch.inf))},
    "PerQuery": {"bias": ops.PerQuery(numbers(N)), "normalize": ops.relu},
    "LowRank": {"bias": ops.LowRank(numbers(N, 2), numbers(H, N, 2))},
    "ALiBi": {"bias": ops.ALiBi(H)},
    "ALiBi2d": {"bias": ops.ALiBi2d(H, GRID)},
    "RelativeBias": {"bias": ops.RelativeBias(numbers(H, 8), "log", 16, True, "start")},
    "RelativeBias2d": {"bias": ops.RelativeBias2d(numbers(H, 5, 7), GRID)},
    "Sum": {"bias": ops.ALiBi(numbers(H).abs()) + ops.PerKey(numbers(N)) + numbers(N, N)},
    "Softmax": {"normalize": ops.softmax, "sinks": numbers(H)},
    "Softmax1": {"normalize": ops.softmax1},
    "Relu": {"normalize": ops.relu},
    "Proportional": {"normalize": ops.proportional},
    "Sigmoid": {"normalize": ops.Sigmoid(-1.5)},
    "Sigmoid, none": {"normalize": ops.sigmoid},
    "Sigmoid, tensor": {"normalize": ops.Sigmoid(numbers(H, 1, 1))},
    "Sparsemax": {"normalize": ops.sparsemax},
    "Entmax15": {"normalize": ops.entmax15},
    "Entmax": {"normalize": Entmax(1.3)},
    "Entmax, tensor": {"normalize": ops.entmax(numbers(H, 1, 1).exp() + 1)},
    "Linear": {"normalize": ops.linear},
}


def call(module="layer", dtype=torch.float32, query=None, key=None, **options):
    query = numbers(B, H, N, D, seed=2).to(dtype) if query is None else query
    key = numbers(B, H, N, D, seed=3).to(dtype) if key is None else key
    matrix = heedful.AttentionMatrix(query, key, **options)
    return AttentionCall(module, "self", matrix, "sdpa", ("a note", "ein Wört"), True, 7)


def assert_same(mine, theirs):
    """Compares values to the last bit, tensors with type, shape and bits."""
    assert type(mine) is type(theirs)
    if isinstance(mine, torch.Tensor):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        bits, other_bits = (t.contiguous().reshape(-1).view(torch.uint8) for t in (mine, theirs))
        assert torch.equal(bits, other_bits)
    elif dataclasses.is_dataclass(mine):
        for field in dataclasses.fields(mine):
            assert_same(getattr(mine, field.name), getattr(theirs, field.name))
    elif isinstance(mine, tuple):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert_same(one, other)
    else:
        assert mine == theirs


def assert_same_matrix(mine, theirs):
    for part in ("query", "key", "mechanism"):
        assert_same(getattr(mine, part), getattr(theirs, part))


def classes_within(value):
    """The names of the classes of a value and of all values in it."""
    if isinstance(value, tuple):
        return {name for item in value for name in classes_within(item)}
    if isinstance(value, torch.Tensor) or not dataclasses.is_dataclass(value):
        return set()
    inner = (getattr(value, field.name) for field in dataclasses.fields(value))
    return {type(value).__name__}.union(*(classes_within(item) for item in inner))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_matrix_is_as_it_was(name, dtype, tmp_path):
    before = call(dtype=dtype, **OPTIONS[name])
    save([before], tmp_path / "kept")
    [after] = load(tmp_path / "kept").calls
    assert_same_matrix(before.matrix, after.matrix)
    torch.testing.assert_close(before.matrix[:], after.matrix[:])


def test_every_exported_mechanism_is_tried():
    exported = [getattr(ops, name) for name in ops.__all__]
    kinds = {one if isinstance(one, type) else type(one) for one in exported} | {Entmax}
    axes = (ops.Score, ops.Normalizer, ops.Pattern, ops.Bias)
    expected = {k.__name__ for k in kinds if issubclass(k, axes) and k not in axes}
    tried = {name for options in OPTIONS.values() for name in classes_within(call(**options).matrix.mechanism)}
    assert expected <= tried
    assert len(expected) > 35


def test_what_is_told_of_a_call_is_kept_and_the_order(tmp_path):
    before = [
        call("b"),
        dataclasses.replace(call(""), kind="cross", engine="eager", notes=(), causal=False, window=None),
        call("b"),
    ]
    save(before, tmp_path / "a" / "kept", [Unseen("x.y", "softmax only")])
    kept = load(str(tmp_path / "a" / "kept"))
    assert [dataclasses.replace(c, matrix=None) for c in kept.calls] == [
        dataclasses.replace(c, matrix=None) for c in before
    ]
    assert kept.unseen == (("x.y", "softmax only"),)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["kept"]
    save([], tmp_path / "none")
    assert load(tmp_path / "none") == ((), ())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_special_numbers_strides_and_other_dtypes(dtype, tmp_path):
    query = numbers(B, N, H, D).to(dtype)
    query[0, 0, 0, :4] = torch.tensor([torch.nan, -torch.inf, -0.0, 1e-7], dtype=dtype)
    before = call(query=query.transpose(1, 2), dtype=dtype, scale=torch.tensor(0.5, dtype=dtype))
    (tmp_path / "kept").mkdir()
    save([before], tmp_path / "kept")
    assert_same_matrix(before.matrix, load(tmp_path / "kept").calls[0].matrix)


def test_what_learns_is_kept_as_numbers(tmp_path):
    before = call(query=numbers(B, H, N, D).requires_grad_(), bias=ops.ALiBi(torch.nn.Parameter(torch.ones(H))))
    save([before], tmp_path / "kept")
    after = load(tmp_path / "kept").calls[0].matrix
    assert not after.query.requires_grad
    assert not after.bias.slopes.requires_grad
    assert torch.equal(after.query, before.matrix.query)


def stored(folder):
    return [t for file in sorted(folder.glob("*.safetensors")) for t in load_file(file).values()]


def test_shared_tensors_are_stored_once(tmp_path):
    mask, key = integers(B, 1, N, N, high=2) > 0, numbers(B, H, N, D)
    calls = [
        call(query=numbers(B, H, N, D, seed=5 + seed), key=key, pattern=ops.Mask(mask) & ops.Mask(mask[:]))
        for seed in range(5)
    ]
    save(calls, tmp_path / "kept")
    assert len(stored(tmp_path / "kept")) == 5 + 1 + 1
    kept = load(tmp_path / "kept").calls
    assert kept[0].matrix.key is kept[4].matrix.key
    assert kept[0].matrix.pattern.first.mask is kept[4].matrix.pattern.second.mask


def test_queries_and_keys_may_overlap_in_memory(tmp_path):
    both = numbers(N, D)
    before = call(query=both[:7], key=both[3:])
    save([before], tmp_path / "kept")
    assert_same_matrix(before.matrix, load(tmp_path / "kept").calls[0].matrix)


def test_equal_numbers_of_another_dtype_or_shape_are_not_the_same(tmp_path):
    key = torch.zeros(1, 1, N, D)
    save(
        [call(query=key, key=key), call(query=key[0], key=key[0]), call(query=key.double(), key=key.double())],
        tmp_path / "k",
    )
    assert [(c.matrix.query.dtype, c.matrix.query.dim()) for c in load(tmp_path / "k").calls] == [
        (torch.float32, 4),
        (torch.float32, 3),
        (torch.float64, 4),
    ]


def test_what_was_expanded_takes_no_room(tmp_path):
    mask = (integers(B, 1, 1, N, high=2) > 0).expand(B, H, N, N)
    before = call(pattern=ops.Mask(mask))
    save([before], tmp_path / "kept")
    assert min(t.numel() for t in stored(tmp_path / "kept")) == B * N
    after = load(tmp_path / "kept").calls[0].matrix
    assert_same_matrix(before.matrix, after)
    assert after.pattern.mask.stride() == mask.stride()


class Mine(ops.Pattern):
    """One that nobody knows."""

    def allowed(self, rows, columns, shape):
        return columns <= rows

    def check(self, shape):
        pass

    def depends(self, shape):
        return True, True


def test_a_class_of_ones_own_is_refused_also_by_the_name_of_another(tmp_path):
    for name in ("Mine", "Causal"):
        pattern = dataclasses.dataclass(frozen=True)(type(name, (Mine,), {}))()
        with pytest.raises(WatchFolderError, match=f"'layer' cannot be saved: the parts of a mechanism .*: got {name}"):
            save([call(pattern=ops.Lengths(3) & pattern)], tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("text")
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(WatchFolderError, match=f"{folder.name}: a watch needs a new or an empty folder"):
            save([call()], folder)
    with pytest.raises(WatchFolderError, match="kept: cannot be written: .*"):
        save([call()], tmp_path / "mine" / "kept")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_half_written_folder_is_not_there(tmp_path, monkeypatch):
    def calls():
        yield call()
        assert [p.suffix for p in tmp_path.iterdir()] == [".unfinished"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(calls(), tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save_file", full)
    with pytest.raises(WatchFolderError, match="kept: cannot be written: No space left on device"):
        save([call()], tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "kept"
    save([call("a", pattern=ops.Local(2) & ops.Causal()), call("b", bias=numbers(H, N, N))], folder, [Unseen("m", "w")])
    return folder


def nested(depth):
    return {"tuple": [nested(depth - 1)]} if depth else 1


def change(folder, *path_and_value):
    """Puts a value at a place of watch.json; `...` takes the item away."""
    *path, last, value = path_and_value
    about = json.loads((folder / "watch.json").read_text())
    place = about
    for step in path:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    (folder / "watch.json").write_text(json.dumps(about))


CHANGES = {
    "kind": (("kind", "other"), "watch.json: must be of the kind 'heedful watch': it is something else"),
    "newer": (("format", 3), "watch.json: the format must be from 1 to 2: got 3, written by heedful 0"),
    "format": (("format", "1"), "the format must be from 1 to 2: got '1'"),
    "calls": (("calls", ...), "watch.json: must hold `calls`, a list: got none"),
    "tensors": (("tensors", []), "must hold `tensors`, a dict: got list"),
    "unseen": (("unseen", [["m"]]), "watch.json: unseen: must hold 2 words: got "),
    "call": (("calls", 1, 7), "watch.json: call 1: must be an object that holds `module`: got 7"),
    "module": (("calls", 1, "module", 7), "call 1: must hold 3 words"),
    "notes": (("calls", 0, "notes", "no"), "call 0: must hold words: got 'no'"),
    "causal": (("calls", 0, "causal", 1), "`causal` must be a truth value, .*: got 1, 7 and 0"),
    "window": (("calls", 0, "window", 1.5), "`window` a whole number or none, .*: got True, 1.5 and 0"),
    "no query": (("calls", 0, "query", ...), "call 0: must be an object that holds `query`"),
    "query": (("calls", 0, "query", 3), "call 0: its parts do not go together: "),
    "unknown class": (("calls", 0, "pattern", "class", "system"), "call 0: a class must be one of heedful.ops: got 'system'"),
    "no value": (("calls", 0, "pattern", "class", "AttentionMatrix"), "must be one of heedful.ops: got 'AttentionMatrix'"),
    "abstract": (("calls", 0, "pattern", "class", "Pattern"), "a class must be one of heedful.ops: got 'Pattern'"),
    "dunder": (("calls", 0, "pattern", "class", "__import__"), "one of heedful.ops: got '__import__'"),
    "class of another axis": (("calls", 0, "pattern", {"class": "Dot", "fields": {}}), "call 0: its parts do not go together: "),
    "fields": (("calls", 0, "pattern", "fields", "second", "fields", {}), "Causal must have the fields align: got none"),
    "more fields": (("calls", 0, "pattern", "fields", "x", 1), "And must have the fields first, second: got first, second, x"),
    "bad field": (
        ("calls", 0, "pattern", "fields", "first", "fields", "before", -2),
        "call 0: Local cannot be made: `before` must be a non-negative integer: got -2",
    ),
    "no kind of value": (("calls", 0, "scale", {"eval": "1"}), "must be a number, a word, a tensor or a class .*: got {'eval'"),
    "float": (("calls", 0, "scale", {"float": "1e5"}), "call 0: must be a number"),
    "foreign tensor": (("calls", 0, "query", {"tensor": "../x"}), "a tensor must be one of those listed in `tensors`: got '../x'"),
    "nested": (("calls", 0, "scale", nested(300)), "call 0: a mechanism must have at most 150 values in each other"),
    "large number": (("calls", 0, "scale", 2**60), "call 0: a number must be from "),
    "many fields": (("calls", 0, "pattern", "fields", dict.fromkeys(map(str, range(9999)))), "got 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\\.$"),
    "long value": (("calls", 0, "scale", {"eval": ["x" * 999] * 999}), r"must be a number, .*: got .{,400}$"),
    "far file": (("tensors", {}), "a tensor must be one of those listed in `tensors`"),
    "large shape": (("calls", 0, "query", "expanded", [2**60] * 4), "cannot be expanded to"),
    "expanded": (("calls", 0, "query", "expanded", [2, 3]), r"a tensor \[2, 3, 12, 5\] cannot be expanded to \[2, 3\]"),
}  # fmt: skip


def generation():
    """Calls that go on with each other's keys, the last with changed places."""
    key, query = numbers(B, H, 6, D), numbers(B, H, 6, D, seed=1)
    calls = CachedCalls(query[:, :, :4], key[:, :, :4], lambda shape, dtype: (torch.empty(shape, dtype=dtype), print))
    assert calls.follow(query[:, :, 4:5], key[:, :, :5], same=False)
    assert calls.follow(query[:, :, 5:], torch.cat([key[[1, 1], :, :5], key[:, :, 5:]], 2), same=False)
    patterns = ops.Causal(), ops.Global(), ops.Lengths(torch.tensor([6, 3]))
    return [
        AttentionCall("a", "self", CachedCall(calls, i, {"pattern": pattern, "scale": 0.3}), "sdpa", step=i)
        for i, pattern in enumerate(patterns)
    ]


def test_what_calls_share_is_stored_once(tmp_path):
    calls = generation()
    save(calls, tmp_path / "w")
    loaded = load(tmp_path / "w").calls
    for mine, theirs in zip(calls, loaded, strict=True):
        assert_same_matrix(mine.matrix, theirs.matrix)
        assert theirs.cached.number == mine.cached.number
        assert theirs.cached.calls is loaded[0].cached.calls
    tensors = [t for file in (tmp_path / "w").glob("*.safetensors") for t in load_file(file).values()]
    assert sum(t.numel() for t in tensors) == 2 * B * H * 6 * D + B  # and the lengths
    save(loaded[1:], tmp_path / "again")
    for mine, theirs in zip(calls[1:], load(tmp_path / "again").calls, strict=True):
        assert_same_matrix(mine.matrix, theirs.matrix)


SPAN = "each of `spans` must go on with the one before it: got "
SHARED = {
    "none": (("shared", ...), "watch.json: must hold `shared`, a list: got none"),
    "no such": (("calls", 0, "shared", 1), "call 0: `shared` must be from 0 to less than 1: got 1"),
    "no number": (("calls", 0, "number", 3), "call 0: `number` must be from 0 to less than 3: got 3"),
    "no tensor": (("shared", 0, "key", 1), "shared 0: `query` and `key` must be tensors of as many axes"),
    "no spans": (("shared", 0, "spans", []), "shared 0: `spans` must end with the queries and the keys: got "),
    "other": (("shared", 0, "spans", 7), "shared 0: `spans` must be a list, .*: got 7"),
    "short": (("shared", 0, "spans", 1, [2]), SPAN),
    "queries": (("shared", 0, "spans", 1, 1, 3), SPAN),
    "keys": (("shared", 0, "spans", 1, 4, 9), SPAN),
    "first": (("shared", 0, "spans", 1, 3, -1), SPAN),
    "samples": (("shared", 0, "spans", 1, 0, 3), SPAN),
    "parents": (("shared", 0, "spans", 2, 6, [0, 2]), SPAN),
    "few parents": (("shared", 0, "spans", 2, 6, [0]), SPAN),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_is_shared_is_checked(name, tmp_path):
    save(generation(), tmp_path / "w")
    change(tmp_path / "w", *SHARED[name][0])
    with pytest.raises(WatchFolderError, match=SHARED[name][1]):
        load(tmp_path / "w")


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_description_is_one_clear_error(name, kept):
    where, message = CHANGES[name]
    change(kept, *where)
    with pytest.raises(WatchFolderError, match=message) as raised:
        load(kept)
    assert str(raised.value).startswith(str(kept / "watch.json"))
    assert "\n" not in str(raised.value)
    assert not str(raised.value).endswith("..")


def test_a_damaged_file_is_named(kept, tmp_path):
    whole = shutil.copytree(kept, tmp_path / "copy")
    file = kept / "tensors-00001.safetensors"
    data = file.read_bytes()
    for damaged, message in (
        (data[:-9], "must be readable safetensors: "),
        (b"", "must be readable safetensors: "),
        (data[:-1] + bytes([data[-1] ^ 1]), "has changed: the checksum of tensor"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(WatchFolderError, match=f"tensors-00001.safetensors: {message}"):
            load(kept)
    save_file({"other": torch.zeros(3)}, file)
    with pytest.raises(WatchFolderError, match="tensors-00001.safetensors: must be readable safetensors"):
        load(kept)
    file.unlink()
    with pytest.raises(WatchFolderError, match="tensors-00001.safetensors: belongs to the watch, but is missing"):
        load(kept)
    for text in ("", "{", "[]", "[" * 100_000, '{"kind": "heedful watch"', "\x00"):
        (whole / "watch.json").write_text(text)
        with pytest.raises(WatchFolderError, match="watch.json: must be"):
            load(whole)
    (whole / "watch.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(WatchFolderError, match="watch.json: must be readable JSON"):
        load(whole)


def test_pipes_large_files_and_numbers(kept, monkeypatch):
    text = (kept / "watch.json").read_text()
    (kept / "watch.json").write_text('{"kind": ' + "1" * 5000 + "}")
    with pytest.raises(WatchFolderError, match=r"watch.json: must be readable JSON: Exceeds the limit [^\n]*digits"):
        load(kept)
    monkeypatch.setattr(storage, "_MAX_BYTES", len(text) - 1)
    (kept / "watch.json").write_text(text)
    with pytest.raises(WatchFolderError, match=r"watch.json: must be readable JSON: must have at most [\d,]+ bytes"):
        load(kept)
    monkeypatch.undo()
    (kept / "tensors-00001.safetensors").unlink()
    os.mkfifo(kept / "tensors-00001.safetensors")
    with pytest.raises(WatchFolderError, match="must be readable safetensors: must be a regular file"):
        load(kept)


def test_no_such_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(WatchFolderError, match=f"{folder.name}: must be a folder in which a watch was saved"):
            load(folder)


def test_nothing_is_opened_outside_of_the_folder(kept):
    [name] = [call["query"]["tensor"] for call in json.loads((kept / "watch.json").read_text())["calls"][:1]]
    change(kept, "tensors", name, "../../etc/passwd")
    with pytest.raises(WatchFolderError, match="a tensor must be one of those listed in `tensors`"):
        load(kept)
