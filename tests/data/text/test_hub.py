import sys

import pytest

from heedful._errors import DataError
from heedful.data.text import read_plain, read_tagged, read_texts, write_tagged
from heedful.data.text.hub import Address, address


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    yield datasets
    if not shown:
        datasets.enable_progress_bars()


@pytest.fixture
def reviews(datasets, tmp_path):
    """Three texts with labels that have names; the last one has none."""
    named = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features(text=datasets.Value("string"), label=named, stars=datasets.Value("int32"))
    rows = {"text": ["a fine film", "awful", "?"], "label": [1, 0, -1], "stars": [5, 1, None]}
    data = datasets.Dataset.from_dict(rows, features)
    datasets.DatasetDict(train=data.select([0, 1]), test=data).save_to_disk(tmp_path / "reviews")
    return f"hf:{tmp_path}/reviews"


@pytest.fixture
def names(datasets, tmp_path):
    """Two sentences (and an empty one) whose labels have names, and labels that are strings."""
    of = datasets.Sequence
    tags = of(datasets.ClassLabel(names=["O", "B-PER"]))
    string = of(datasets.Value("string"))
    features = datasets.Features(tokens=string, tags=tags, pos=string, id=datasets.Value("string"))
    rows = {
        "tokens": [["Ada", "ran"], [], ["Go on"]],
        "tags": [[1, 0], [], [0]],
        "pos": [["N", "V"], [], ["V"]],
        "id": ["", "", ""],
    }
    datasets.Dataset.from_dict(rows, features).save_to_disk(tmp_path / "names")
    return f"hf:{tmp_path}/names"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hf:imdb", ("imdb", None, "train")),
        ("hf:a/b", ("a/b", None, "train")),
        ("hf:a/b/c", ("a/b", "c", "train")),
        ("hf:a/b/c:test[:10]", ("a/b", "c", "test[:10]")),
        ("hf:a-b.c:", ("a-b.c", None, "train")),
    ],
)
def test_addresses(source, expected):
    assert address(source) == Address(*expected)


@pytest.mark.parametrize("name", ["", "a//b", "a/b/c/d", "a b"])
def test_what_is_no_address(name):
    with pytest.raises(DataError, match="must look like hf:NAMESPACE/NAME, .*: got '.*' for the name"):
        address(f"hf:{name}")


@pytest.mark.parametrize("name", ["/none/there", "./none", "~/none"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(DataError, match=f"^hf:{name}:test: must name a folder that is there: got '{name}'"):
        address(f"hf:{name}:test")


def test_a_folder_wins_over_the_hub(tmp_path, monkeypatch):
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert address("hf:a/b/c:test") == Address("a/b/c", None, "test")


def test_texts(reviews):
    texts = read_texts(reviews)
    assert texts.texts == ["a fine film", "awful"]
    assert texts.labels == ["good", "bad"]
    assert texts.locations == [f"{reviews}[0]", f"{reviews}[1]"]
    assert read_texts(reviews, label="stars").labels == ["5", "1"]
    assert read_texts(reviews + ":test", label=None).texts == ["a fine film", "awful", "?"]


def test_plain(reviews):
    assert read_plain(reviews).text == "a fine film\n\nawful\n"


def test_tables_in_a_folder(datasets, write, tmp_path):
    write("text,label\na,x\nb,y\n", "set/train.csv")
    assert read_texts(f"hf:{tmp_path}/set").labels == ["x", "y"]
    with pytest.raises(DataError, match="set:dev: must be a data set that can be loaded: got the error 'Unknown split"):
        read_texts(f"hf:{tmp_path}/set:dev")


def test_tagged(names):
    tagged = read_tagged(names, auxiliary_columns=["pos"])
    assert (tagged.format, tagged.column) == ("rows", "tags")
    first, second = tagged.sentences
    assert first.words == ("Ada", "ran")
    assert first.labels == {"tags": ("B-PER", "O"), "pos": ("N", "V")}
    assert (second.words, second.location) == (("Go on",), f"{names}[2]")
    assert "".join(write_tagged(tagged, [["X", "Y"], ["Z"]])) == "Ada\tX\nran\tY\n\nGo on\tZ\n\n"
    assert read_tagged(names, "pos").column == "pos"
    assert read_tagged(names, labels=False).sentences[0].labels == {}


def test_what_does_not_fit(reviews, names):
    for read, message in [
        (lambda: read_texts(reviews + ":test"), r"reviews:test\[2\]: label must be a label, 0 to 1: got -1"),
        (
            lambda: read_texts(reviews + ":test", label="stars"),
            r"\[2\]: stars must be a text, a number, .*: got nothing",
        ),
        (lambda: read_texts(reviews + ":dev"), "reviews:dev: the split must be one of 'train', 'test': got 'dev'"),
        (lambda: read_texts(reviews, "review"), "reviews: must have a column 'review': got 'text', 'label', 'stars'"),
        (lambda: read_tagged(reviews, "label"), "column 'text' must hold lists: got Value"),
        (lambda: read_tagged(names, "id"), "column 'id' must hold lists: got Value"),
        (lambda: read_tagged(names, "ner"), "must have a column 'ner': got 'tokens', 'tags', 'pos', 'id'"),
        (
            lambda: read_tagged(reviews),
            "the column of labels must be named, unless there is just one .*: got 'text', 'label'",
        ),
    ]:
        with pytest.raises(DataError, match=message):
            read()


def test_labels_must_be_as_many_as_words(datasets, tmp_path):
    rows = {"tokens": [["a"], ["b", "c"]], "pos": [["X"], ["Y"]]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "short")
    with pytest.raises(DataError, match=r"short\[1\]: pos must have one label for each of 2 words: got 1"):
        read_tagged(f"hf:{tmp_path}/short", "pos")


def test_an_unreachable_hub_is_one_line(datasets, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no network,\nnot today")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = "^hf:a/b: must be a data set that can be loaded: got the error 'no network, not today'$"
    for read in (read_texts, read_tagged, read_plain):
        with pytest.raises(DataError, match=message):
            read("hf:a/b")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match="a data set of Hugging Face needs `pip install 'heedful.datasets.'`"):
        read_texts("hf:a/b")
