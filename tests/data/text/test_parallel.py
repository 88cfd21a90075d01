import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text import ParallelTexts, read_pairs, read_sources, read_texts


def test_select():
    pairs = ParallelTexts(["a", "b", "c"], ["x", "y", "z"], ["1", "2", "3"])
    assert pairs.select([2, 0]) == ParallelTexts(["c", "a"], ["z", "x"], ["3", "1"])
    assert len(pairs) == 3


def test_two_files_joined_by_a_comma(write):
    one, other = write("a b \n\tc\n", "train.en"), write("x\r\ny z\n", "train.de")
    assert read_pairs(f"{one},{other}") == ParallelTexts(["a b", "c"], ["x", "y z"], [f"{one}:1", f"{one}:2"])
    assert read_pairs(f"{one}, {other}").targets == ["x", "y z"]
    assert read_sources(f"{one},{other}") == ["a b", "c"]


def test_commas_in_names(write):
    one, other = write("a\n", "one,two.en"), write("x\n", "one,two.de")
    assert read_pairs(f"{one},{other}").targets == ["x"]
    table = write("a,x\n", "one,two.csv")
    assert read_pairs(table).targets == ["x"]


@pytest.mark.parametrize("packed", [(), ("en",), ("de",), ("en", "de")])
def test_a_common_beginning(write, tmp_path, packed):
    for name, content in (("en", b"a\nb\n"), ("de", b"x\ny\n")):
        write(gzip.compress(content) if name in packed else content, f"train.{name}" + ".gz" * (name in packed))
    end = ".gz" * ("en" in packed)
    expected = ParallelTexts(["a", "b"], ["x", "y"], [f"{tmp_path}/train.en{end}:{n}" for n in (1, 2)])
    assert read_pairs(f"{tmp_path}/train", ("en", "de")) == expected
    assert read_pairs(tmp_path / "train", ("de", "en")).targets == ["a", "b"]
    assert read_sources(tmp_path / "train", ("en", "de")) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "name", "names"),
    [
        ("a\tx\nb\ty\n", "a.tsv", ("source", "target")),
        ("a,x\nb,y\n", "a.csv", ("source", "target")),
        ("target,Source\nx,a\ny,b\n", "a.csv", ("source", "target")),
        ("id\tde\ten\n1\tx\ta\n2\ty\tb\n", "a.tsv", ("en", "de")),
        ("1\tx\ta\n2\ty\tb\n", "a.tsv", (3, 2)),
        ("1\tx\ta\n2\ty\tb\n", "a.tsv", ("3", "2")),
        ('{"source": "a", "target": "x"}\n{"source": "b", "target": "y"}\n', "a.jsonl", ("source", "target")),
    ],
)
def test_tables(write, content, name, names):
    plain, packed = write(content, name), write(gzip.compress(content.encode()), f"{name}.gz")
    for source in (plain, packed):
        pairs = read_pairs(source, names)
        assert (pairs.sources, pairs.targets) == (["a", "b"], ["x", "y"])
        assert read_sources(source, names) == ["a", "b"]
    first = len(content.splitlines()) - 1
    assert read_pairs(plain, names).locations == [f"{plain}:{first}", f"{plain}:{first + 1}"]


def test_no_pair_where_both_sides_are_empty(write):
    one, other = write("a\n\nb\n\n\n", "en"), write("x\n \ny\n", "de")
    assert read_pairs(f"{one},{other}") == ParallelTexts(["a", "b"], ["x", "y"], [f"{one}:1", f"{one}:3"])


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("a\nb\nc\n", "x\n", "{one}: must have as many lines as {other}: got 3 and 1"),
        ("a\n", "x\n\ny\n", "{one}: must have as many lines as {other}: got 1 and 3"),
        ("a\n \n", "x\ny\n", "{one}:2: must have a source: got an empty one, for the target 'y'"),
        ("a\nb\n", "x\n", "{one}: must have as many lines as {other}: got 2 and 1"),
        ("a\nb\n", "x\n\n", "{other}:2: must have a target: got an empty one, for the source 'b'"),
        ("\n", "\n", "{one},{other}: must hold at least one pair of texts: got none"),
        ("a\n", "", "{other}: must hold at least one line: got an empty file"),
        ("a\n", b"x\xff\n", "{other}:1: must be UTF-8: got byte 0xff at column 2; convert it"),
        ("a\n\0\n", "x\ny\n", "{one}:2: must be a text file in UTF-8: got a NUL byte"),
    ],
)
def test_aligned_files_that_do_not_fit(write, one, other, message):
    paths = {"one": write(one, "train.en"), "other": write(other, "train.de")}
    with pytest.raises(DataError, match="^" + re.escape(message.format(**paths))):
        read_pairs("{one},{other}".format(**paths))


@pytest.mark.parametrize(
    ("content", "names", "message"),
    [
        ("source\ttarget\na\t\n", ("source", "target"), ":2: must have a target: got an empty one, for the source 'a'"),
        (
            "source\ttarget\n \tx\n",
            ("source", "target"),
            ":2: must have a source: got an empty one, for the target 'x'",
        ),
        ("source\ttarget\n", ("source", "target"), ": must hold at least one pair of texts: got none"),
        ("a\tx\n", ("en", "de"), ":1: must have a column 'en': got 'a', 'x'; name the columns, or number them from 1"),
        ("a\tx\t1\n", ("source", "target"), ":1: must have a column 'source': got 'a', 'x', '1'"),
        ("source\tby\n", ("source", "target"), ":1: must have a column 'target': got 'source', 'by'"),
        ("a\tx\n", (1, 3), ":1: must have a column 3: got 2, 'a', 'x'"),
    ],
)
def test_tables_that_do_not_fit(write, content, names, message):
    source = write(content, "a.tsv")
    with pytest.raises(DataError, match="^" + re.escape(source + message)):
        read_pairs(source, names)


def test_what_is_not_there(write, tmp_path):
    forms = "must be a .csv, .tsv or .jsonl (also as .gz), two aligned files joined by a comma, or the common beginning"
    train = f"{tmp_path}/train"
    tried = [f"{train}.en or {train}.en.gz", f"{train}.de or {train}.de.gz"]
    cases = [
        (train, f"{train}: {forms} of two: got no such file, and no {tried[0]}, {tried[1]}"),
        (f"{tmp_path}", f"{tmp_path}: {forms} of two: got a folder, and no {tmp_path}.en or"),
        (f"{train}.tsv", f"{train}.tsv: cannot be read: No such file or directory"),
        (write("a\n", "a.txt"), f"{tmp_path}/a.txt: {forms} of two: got one file of another name"),
        ("none,there", "none,there: must be two files joined by a comma: got no such file, 'none'"),
        (
            f"{tmp_path}/a.txt,{tmp_path}",
            f"{tmp_path}/a.txt,{tmp_path}: must be two files joined by a comma: got a folder",
        ),
        ("a,b,c", "a,b,c: must be two files joined by one comma: got 2 commas"),
    ]
    for source, message in cases:
        with pytest.raises(DataError, match="^" + re.escape(message)):
            read_pairs(source, ("en", "de"))
    for end, missing in (("en", tried[1]), ("de", tried[0])):
        path = write("a\n", f"{end}/train.{end}").removesuffix(f".{end}")
        message = f"{path}: must be the beginning of two files: got {path}.{end}, but no "
        message += missing.replace(str(tmp_path), f"{tmp_path}/{end}")
        with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
            read_pairs(path, ("en", "de"))


def test_names_must_differ(write):
    for read in (read_pairs, read_sources):
        with pytest.raises(ValueError, match="`names` must be two different ones: got 'en' twice."):
            read(write("en\na\n", "a.tsv"), ("en", "en"))


def test_sources_are_lines(write):
    assert read_sources(write(" a\n\nb, c\n\n", "a.txt")) == ["a", "", "b, c", ""]
    assert read_sources(write(gzip.compress(b"a\tb\nc\n"), "a.en.gz")) == ["a\tb", "c"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("source\na\n\nb\n", "a.tsv"),
        ("a\n\nb\n", "a.csv"),
        ("by,source\nx,a\nx,\nx,b\n", "a.csv"),
        ("a\tx\n\ty\nb\t\n", "a.tsv"),
        ('{"source": "a"}\n{"source": ""}\n{"source": "b", "target": 1}\n', "a.jsonl"),
    ],
)
def test_sources_of_tables(write, content, name):
    assert read_sources(write(content, name)) == ["a", "", "b"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("source\ttarget\n", "a.tsv", ": must hold at least one text: got none"),
        ("a\tb\tc\n", "a.tsv", ":1: must have a column 'source': got 'a', 'b', 'c'"),
        (
            '{"target": "x"}\n',
            "a.jsonl",
            ":1: must have a column 'source': got 'target'; name the columns: data.source=...",
        ),
        ("", "a.txt", ": must hold at least one line: got an empty file"),
        (b"\xfc\n", "a.txt", ":1: must be UTF-8: got byte 0xfc"),
    ],
)
def test_sources_that_do_not_fit(write, content, name, message):
    source = write(content, name)
    with pytest.raises(DataError, match="^" + re.escape(source + message)):
        read_sources(source)


def test_no_file_of_sources(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path}/a.txt: cannot be read: No such file or directory"):
        read_sources(f"{tmp_path}/a.txt")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    yield datasets
    if not shown:
        datasets.enable_progress_bars()


def test_a_data_set_of_hugging_face(datasets, tmp_path):
    datasets.Dataset.from_dict({"en": ["a", ""], "de": ["x", ""]}).save_to_disk(tmp_path / "set")
    source = f"hf:{tmp_path}/set"
    assert read_pairs(source, ("en", "de")) == ParallelTexts(["a"], ["x"], [f"{source}[0]"])
    assert read_sources(source, ("en", "fr")) == ["a", ""]
    assert read_pairs(source).notes == (f"{source}: 'en' is the source, 'de' is the target",)
    with pytest.raises(DataError, match="set: must have a column 'text': got 'en', 'de'"):
        read_texts(source)


def test_languages_in_a_column_of_translations(datasets, tmp_path):
    rows = [{"en": "a", "de": "x"}, {"en": "b", "de": "y"}]
    datasets.Dataset.from_dict({"id": [1, 2], "translation": rows}).save_to_disk(tmp_path / "set")
    source = f"hf:{tmp_path}/set"
    assert read_pairs(source, ("en", "de")) == ParallelTexts(["a", "b"], ["x", "y"], [f"{source}[0]", f"{source}[1]"])
    assert read_sources(source, ("de", "en")) == ["x", "y"]
    with pytest.raises(DataError, match="set: must have a column 'translation.fr': got 'translation.en', 'trans"):
        read_pairs(source, ("en", "fr"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(st.sampled_from([*'\t\n\r",a{}: \xff\0', "source", "target"])).map(lambda x: "".join(x)))
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_nothing_but_data_errors(write, assert_read_or_refused, content, name):
    source = write(content.encode("latin1"), name)
    for read in (read_pairs, read_sources):
        assert_read_or_refused(lambda read=read: read(source), source)
    assert_read_or_refused(lambda: read_pairs(f"{source},{source}"), source)
