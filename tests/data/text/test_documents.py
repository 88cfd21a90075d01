import gzip
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text.documents import EncodedDocuments, SummaryExamples, read_documents, split_sentences
from heedful.data.text.tokenization import Tokenization
from heedful.data.text.words import WordVocabulary

ROW = {"source": ["We sort.", "It works."], "target": "Sorting", "chosen": [1, 0]}


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_lists_are_sentences_and_several_references(write):
    rows = [ROW, {"source": ["A.\n"], "target": ["x ", "y"], "chosen": [True]}]
    source = write("\n" + jsonl(*rows), "a.jsonl")
    locations = [f"{source}:2", f"{source}:3"]
    both = SummaryExamples(
        [["We sort.", "It works."], ["A."]], [["Sorting"], ["x", "y"]], [[True, False], [True]], locations
    )  # fmt: skip
    assert read_documents(source, labels="chosen") == both
    assert read_documents(source) == SummaryExamples(both.sources, both.references, None, locations)
    assert read_documents(source, summary=None, labels="chosen") == SummaryExamples(
        both.sources, None, both.labels, locations
    )
    assert read_documents(source, summary=None) == SummaryExamples(both.sources, None, None, locations)
    assert both.select([1]) == SummaryExamples([["A."]], [["x", "y"]], [[True]], locations[1:])
    assert len(both) == 2


def test_a_blank_sentence_is_left_out_with_its_label(write):
    rows = [{"source": ["a.", " \n", "b."], "target": "x", "chosen": [0, 0, 1]}]
    read = read_documents(write(jsonl(*rows), "a.jsonl"), labels="chosen")
    assert (read.sources, read.labels) == ([["a.", "b."]], [[False, True]])


def test_a_text_is_cut_into_sentences(write):
    text = "Dr. Hart measured it. It was 3.5 m long!\n\nAnother paragraph"
    cut = ["Dr. Hart measured it.", "It was 3.5 m long!", "Another paragraph"]
    assert split_sentences(text) == cut
    assert split_sentences(" \n ") == split_sentences("") == []
    assert split_sentences("Das ist z. B. so.", "de") == ["Das ist z. B. so."]
    row = {"source": text, "target": "Length", "chosen": [0, 1, 0]}
    source = write(gzip.compress(jsonl(row).encode()), "a.jsonl.gz")
    assert read_documents(source, labels="chosen") == SummaryExamples(
        [cut], [["Length"]], [[False, True, False]], [f"{source}:1"]
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_tables(write, name):
    content = 'id,abstract,tldr\n1,"One. Two.","It, counts"\n'
    if "tsv" in name:
        content = content.replace('"', "").replace("It,", "It").replace(",", "\t")
    source = write(gzip.compress(content.encode()) if name.endswith(".gz") else content, name)
    [reference] = read_documents(source, "abstract", "tldr").references
    assert reference[0].split(maxsplit=1)[1] == "counts"
    assert read_documents(source, 2, "tldr").sources == [["One.", "Two."]]
    assert read_documents(source, "abstract", "tldr").locations == [f"{source}:2"]
    assert read_documents(source, "abstract", None).sources == [["One.", "Two."]]


def test_two_aligned_files(write):
    one = write("One. Two.\nThree.\n", "a.long")
    write("1\n3\n", "a.short")
    read = read_documents(one.removesuffix(".long"), "long", "short")
    assert read == SummaryExamples(
        [["One.", "Two."], ["Three."]], [["1"], ["3"]], None, [f"{one}:1", f"{one}:2"]
    )  # fmt: skip


def test_without_summaries_an_empty_text_keeps_its_place(write):
    source = write("One. Two.\n\nThree.\n", "a.txt")
    assert read_documents(source, summary=None).sources == [["One.", "Two."], [], ["Three."]]
    source = write(jsonl({"source": ""}, {"source": ["a"]}, {"source": []}), "a.jsonl")
    assert read_documents(source, summary=None).sources == [[], ["a"], []]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"target": "x", "chosen": []}, "must have 'source': got 'target', 'chosen'"),
        ({"source": "a", "chosen": [1]}, "must have 'target': got 'source', 'chosen'"),
        ({"source": "a", "target": "x"}, "must have 'chosen': got 'source', 'target'"),
        ({}, "must have 'source': got an empty object"),
        (ROW | {"source": " "}, "'source' must have a sentence: got an empty text"),
        (ROW | {"source": ["", " "]}, "'source' must have a sentence: got an empty text"),
        (ROW | {"source": None}, "'source' must be a text or a list of texts: got null"),
        (ROW | {"source": ["a", ["b"]]}, "'source' must be a text or a list of texts: got a list with something else"),
        (ROW | {"source": "a\ud800"}, r"'source' must be text: got half a character, '\\ud800'"),
        (ROW | {"target": ""}, "'target' must be a summary: got an empty text"),
        (ROW | {"target": []}, "'target' must hold at least one summary: got an empty list"),
        (ROW | {"target": ["x", " "]}, "'target' must be a summary: got an empty text, number 2 of 2"),
        (ROW | {"target": {"x": 1}}, "'target' must be a text or a list of texts: got an object"),
        (ROW | {"chosen": [1]}, "'chosen' must have one label for each of 2 sentences: got 1"),
        (ROW | {"chosen": [0, 2]}, "'chosen' must be a list of 0 and 1: got '2' in it"),
        (ROW | {"chosen": [0, None]}, "'chosen' must be a list of 0 and 1: got null in it"),
        (ROW | {"chosen": [0, [1]]}, "'chosen' must be a list of 0 and 1: got a list in it"),
        (ROW | {"chosen": 1}, "'chosen' must be a list of 0 and 1: got '1'"),
        (ROW | {"chosen": True}, "'chosen' must be a list of 0 and 1: got true"),
        ([1], "must be an object of JSON, {...}: got '.1.'"),
    ],
)
def test_json_lines_that_do_not_fit(write, row, message):
    source = write(jsonl(ROW, row), "a.jsonl")
    with pytest.raises(DataError, match=f"^{re.escape(source)}:2: {message}"):
        read_documents(source, labels="chosen")


def test_sources_that_do_not_fit(write):
    with pytest.raises(DataError, match=r"a.csv: labels of sentences must be lists in a .jsonl .*: got another name"):
        read_documents(write("source,target\na,b\n", "a.csv"), labels="chosen")
    with pytest.raises(
        DataError, match=r"a.jsonl: the columns of JSON lines must be wanted by name: got \[1, 'target'\]"
    ):
        read_documents(write(jsonl(ROW), "a.jsonl"), 1)
    with pytest.raises(DataError, match=r"a.jsonl: must hold at least one document: got none"):
        read_documents(write("\n \n", "a.jsonl"))
    none = [ROW | {"chosen": [0, 0]}] * 2
    with pytest.raises(DataError, match=r"a.jsonl: 'chosen' must choose a sentence somewhere: got no 1 in 2 documents"):
        read_documents(write(jsonl(*none), "a.jsonl"), labels="chosen")
    assert read_documents(write(jsonl(ROW, *none), "a.jsonl"), labels="chosen").labels[1] == [False, False]
    with pytest.raises(DataError, match=r"a.csv:2: must have a target: got an empty one, for the source 'a'"):
        read_documents(write("source,target\na,\n", "a.csv"))


def test_documents_of_long_sentences_are_computed_apart():
    documents = [["a"] * 9, ["a " * 30], ["b"] * 9, ["a b c"]]
    corpus = EncodedDocuments(Tokenization(WordVocabulary.fit([["a", "b", "c"]])), documents)
    assert corpus.batches(20) == [[0, 2], [3], [1]]
    assert corpus.batches(10**6) == [[0, 2, 3, 1]]


def test_batches_hold_the_sentences_of_their_documents():
    documents = [["a b c", "d"], ["b"], ["c d", "a", "b d a c"]]
    vocabulary = WordVocabulary.fit([list("abcd")])
    corpus = EncodedDocuments(Tokenization(vocabulary), documents)
    assert (corpus.counts, corpus.lengths, len(corpus)) == ([2, 1, 3], [4, 1, 7], 3)
    batch = corpus.batch([2, 0])
    assert batch.counts.tolist() == [3, 2]
    assert batch.tokens.lengths.tolist() == [2, 1, 4, 3, 1]
    assert words_of(batch) == [
        [vocabulary.numbers(word)[0] for word in text.split()] for text in documents[2] + documents[0]
    ]


def words_of(batch):
    return [row[:count].tolist() for row, count in zip(batch.tokens.words, batch.tokens.lengths, strict=True)]


PARTS = ["{", "}", "[", "]", '"source"', '"target"', '"chosen"', ":", ",", '"a. b."', "0", "1", "null", '"', "\n", " "]


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=20) | st.lists(st.sampled_from(PARTS), max_size=20).map(lambda parts: "".join(parts).encode())
)
def test_nothing_but_data_errors(write, assert_read_or_refused, content):
    start = b'{"source": "a", "target": "b", "chosen": [1]}\n'
    for name in ("a.jsonl", "a.csv"):
        source = write(start + content, name)
        assert_read_or_refused(lambda source=source: read_documents(source, labels="chosen"), source)
        assert_read_or_refused(lambda source=source: read_documents(source, summary=None), source)
