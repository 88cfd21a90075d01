import csv
import gzip
import io
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data._rows import RowLog
from heedful.data.text import TableRow, read_table

CSV = 'id,Text,label\n1,"one, ""two""\nand three",x\r\n2,plain,y\n'


def values(source, *columns):
    return [row.values for row in (read_table(source, columns) if columns else read_table(source))]


REVIEWS = [(f"a film, number {i}, that is fine", ("neg", "pos")[i % 2]) for i in range(30)]
PAIRS = [(f"good morning {i}", f"guten Morgen {i}") for i in range(30)]


def table(*rows):
    content = io.StringIO(newline="")
    csv.writer(content).writerows(rows)
    return content.getvalue()


def swapped(rows):
    return [row[::-1] for row in rows]


@pytest.mark.parametrize(
    ("header", "swap"),
    [
        ("review,sentiment", 0),
        ("v1,v2", 0),
        ("v1,v2", 1),
        ("class,Tweets", 1),
        ("Full Review,stars", 0),
        ("", 0),
        ("", 1),
        ("text,v", 0),
    ],
)
def test_headers_and_the_text_are_known_by_names_or_contents(write, header, swap):
    rows = swapped(REVIEWS) if swap else REVIEWS
    log = RowLog()
    source = write(table(*filter(any, [header.split(",")]), *rows), "a.csv")
    assert [row.values for row in read_table(source, log=log)] == REVIEWS
    [note] = log.notes
    one, other = (f"'{name}'" for name in header.split(",")) if header else ("column 1", "column 2")
    one, other = (other, one) if swap else (one, other)
    assert note == f"{source}: {one} is the text, {other} is the label" + ("" if header else "; there is no header")


@pytest.mark.parametrize("header", ["en,de", "SRC,tgt", "article,summary", "v1,v2", ""])
def test_headers_of_pairs(write, header):
    source = write(table(*filter(any, [header.split(",")]), *PAIRS), "a.csv")
    assert values(source, "source", "target") == PAIRS
    if header == "en,de":
        assert values(source, "target", "source") == values(source, 2, 1)[1:] == swapped(PAIRS)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("Dave", "x"), *((f"name{i}", "fm"[i % 2]) for i in range(9))], ("text", "label"),
         "the first row must be .* got 'Dave', 'x'; .*data.text=1"),
        ([("ab"[i % 2], "xy"[i % 2]) for i in range(9)], ("text", "label"),
         "the contents must tell texts from labels: .*data.text=1"),
        ([("hello", "hallo"), *PAIRS[:5]], ("source", "target"), "the first row must be .*data.source=1"),
    ],
)  # fmt: skip
def test_contents_that_do_not_tell(write, rows, columns, message):
    source = write(table(*rows), "a.csv")
    with pytest.raises(DataError, match=f"^{re.escape(source)}:1: {message}"):
        values(source, *columns)
    assert values(source, 1, 2) == rows


def test_known_classes_tell_the_labels(write):
    for rows in ([("aa", "x"), ("b", "y")], [("h", "j"), ("aa", "x"), ("b", "y")]):
        for some in (rows, swapped(rows)):
            read = read_table(write(table(*some), "a.csv"), classes=["x", "y"])
            assert [row.values for row in read] == rows[-2:]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text\tlabel\n"say ""a"""\tx\nc\ty\n', [('say "a"', "x"), ("c", "y")]),
        ('text\tlabel\n"a\nb\tc"\tx\nc\ty\n', [("a\nb\tc", "x"), ("c", "y")]),
        ('"text"\t"label"\n"a"\t"x"\n', [("a", "x")]),
        ('text\tlabel\n"a"\tx\nc\ty\n', [('"a"', "x"), ("c", "y")]),
        ('text\tlabel\n"a ""b"" c"\tx\n"c"\ty\n', [('"a ""b"" c"', "x"), ('"c"', "y")]),
        ('text\tlabel\na "b" c\tx\n', [('a "b" c', "x")]),
    ],
)
def test_quotes_of_pandas_in_tsv(write, content, expected):
    assert values(write(content, "a.tsv")) == expected


def test_rows_that_are_skipped(write):
    source = write("text,label\na,x\nb\nc,y,z\n" + "d,x\n" * 30, "a.csv")
    log = RowLog(0.1)
    assert len(list(read_table(source, log=log))) == 31
    assert log.finish(31) == (
        f"2 of 33 rows are bad and were skipped; the first: {source}:3: must have 2 columns, as line 1 has: got 1, 'b'",
    )
    log = RowLog(0.05)
    list(read_table(source, log=log))
    with pytest.raises(
        DataError, match=r":3: must have 2 columns.*; 2 of 33 rows are bad, and at most 5 % may be skipped"
    ):
        log.finish(31)


def test_csv_quotes_and_line_numbers(write):
    source = write(CSV, "a.csv")
    assert list(read_table(source)) == [
        TableRow(('one, "two"\nand three', "x"), f"{source}:2"),
        TableRow(("plain", "y"), f"{source}:4"),
    ]


def test_tsv_knows_no_quotes(write):
    source = write('label\ttext\nx\t"a, b\ny\t""c"\n', "a.tsv")
    assert values(source) == [('"a, b', "x"), ('""c"', "y")]


@pytest.mark.parametrize("name", ["a.CSV", "b.csv.gz", "b.tsv.gz", "b.tab", "b.jsonl.gz", "b.ndjson"])
def test_names(write, name):
    content = '{"label": "y", "text": "x"}' if "json" in name else "text,label\nx,y"
    content = content.replace(",", "\t") if "t" in name.split(".")[1] else content
    source = write(gzip.compress(content.encode()) if name.endswith(".gz") else content, name)
    assert values(source) == [("x", "y")]
    with pytest.raises(DataError, match="b.txt: must be a table, .csv, .tsv, .*: got another name"):
        values(write(content, "b.txt"))


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        ("a,b\nc,d\n", ("text", "label"), [("a", "b"), ("c", "d")]),
        ("a\nb\n", ("text",), [("a",), ("b",)]),
        ("a,b\nc,d\n", ("label", "text"), [("b", "a"), ("d", "c")]),
        ("a,b\nc,d\n", ("source", "target"), [("a", "b"), ("c", "d")]),
        ("a,b\nc,d\n", ("target", "source"), [("b", "a"), ("d", "c")]),
        ("a,b,e\nc,d,f\n", (3, 1), [("e", "a"), ("f", "c")]),
        ("a,b,e\nc,d,f\n", ("3", "1"), [("e", "a"), ("f", "c")]),
        ("a,b,e\nc,d,f\n", ("e", "1"), [("f", "c")]),
        ("\n\n TEXT ,b, Label\nc,d,f\n\n\n", ("text", "label"), [("c", "f")]),
        ("stars,review\n5,fine\n", ("Review", "STARS"), [("fine", "5")]),
    ],
)
def test_header_or_not(write, content, columns, expected):
    assert values(write(content, "a.csv"), *columns) == expected
    assert values(write(content.replace(",", "\t"), "a.tsv"), *columns) == expected


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            "a,b,c\n",
            ("text", "label"),
            ":1: must have a column 'text': got 'a', 'b', 'c'; name the columns, or number them from 1",
        ),
        ("a,b\n", ("text",), ":1: must have a column 'text': got 'a', 'b'"),
        ("a\n", ("text", "label"), ":1: must have a column 'text': got 'a'"),
        ("a,b\n", ("text", "target"), ":1: must have a column 'text': got 'a', 'b'"),
        ("text,by\n", ("text", "label"), ":1: must have a column 'label': got 'text', 'by'"),
        ("text,by,y\n", ("text", "z"), ":1: must have a column 'z': got 'text', 'by', 'y'"),
        (
            "review,tweet,y\n",
            ("text", "label"),
            ":1: one column must be the text: got 'review', 'tweet'; choose one: data.text=NAME",
        ),
        (
            "texts,stars\n",
            ("texts", "star"),
            ":1: must have a column 'star': got 'texts', 'stars'; did you mean 'stars'?",
        ),
        ("a,b\n", ("review", "stars"), ":1: must have a column 'review': got 'a', 'b'"),
        ("text,label,Text\n", ("text", "label"), ":1: must have one column 'text': got 'text', 'label', 'Text'"),
        ("a,b\n", (1, 3), ":1: must have a column 3: got 2, 'a', 'b'"),
        ("a,b\n", (0, 1), ": a column must be a name or a number from 1: got 0"),
        ("\n\n", ("text", "label"), ": must hold at least one row: got none"),
        ("", ("text", "label"), ": must hold at least one line: got an empty file"),
        ("text,label\na,b\nc\n", ("text", "label"), ":3: must have 2 columns, as line 1 has: got 1, 'c'"),
        ("text,label\na,b\nc,d,e\n", ("text", "label"), ":3: must have 2 columns, as line 1 has: got 3, 'c', 'd', 'e'"),
        ("\ntext,label\na,b\n\n\nc,d\n", ("text", "label"), ":4: must have 2 columns, as line 2 has: got a blank line"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_that_does_not_fit(write, content, columns, message, name):
    source = write(content if name == "a.csv" else content.replace(",", "\t"), name)
    with pytest.raises(DataError, match="^" + re.escape(source + message)):
        values(source, *columns)


@pytest.mark.parametrize(
    ("rest", "line", "message"),
    [
        ("c\n", 4, "must have 2 columns, as line 1 has: got 1, 'c'"),
        ('"c\nd,e\n', 4, "must be a row of comma-separated values: got the error 'unexpected end of data'"),
        ('x,y\n"c"d,e\n', 5, "must be a row of comma-separated values: got the error '',' expected after '\"''"),
        ('"' + 3 * ("a" * 999_000 + "\n"), 4, r"must be a row .* 'field larger than field limit \(1000000\)'"),
    ],
)
def test_lines_are_counted_through_quotes(write, rest, line, message):
    source = write('text,label\n"a\nb",x\n' + rest, "a.csv")
    with pytest.raises(DataError, match=f"^{re.escape(source)}:{line}: {message}"):
        values(source)


def test_long_fields(write):
    assert values(write(f"{'a' * 300_000},x\n", "a.csv")) == [("a" * 300_000, "x")]


def test_a_blank_line_is_an_empty_text_in_one_column(write):
    for name in ("a.csv", "a.tsv"):
        source = write("text\na\n\nb\nc\n\n", name)
        assert list(read_table(source, ["text"])) == [
            TableRow(("a",), f"{source}:2"),
            TableRow(("",), f"{source}:3"),
            TableRow(("b",), f"{source}:4"),
            TableRow(("c",), f"{source}:5"),
        ]


def test_json_lines(write):
    source = write(
        '{"text": "a\\n\\u00e9", "label": 1.0}\n\n{"label": true, "text": 12345678901234567890, "x": []}\n', "a.jsonl"
    )
    assert list(read_table(source)) == [
        TableRow(("a\né", "1.0"), f"{source}:1"),
        TableRow(("12345678901234567890", "true"), f"{source}:3"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 1', "must be an object of JSON: got '{\"text\": 1', 'Expecting ',' delimiter"),
        ("text", "must be an object of JSON: got 'text', 'Expecting value"),
        ("[" * 200_000, "must be an object of JSON: got '.*', brackets in brackets"),
        ("[1]", "must be an object of JSON, {...}: got '.1.'"),
        ('{"label": 1}', "must have 'text': got 'label'"),
        ("{}", "must have 'text': got an empty object"),
        ('{"text": null, "label": 1}', "'text' must be a text, a number, true or false: got null"),
        ('{"text": "a", "label": [1]}', "'label' must be a text, a number, true or false: got a list"),
        ('{"text": "a", "label": {"b": 1}}', "'label' must be a text, a number, true or false: got an object"),
        ('{"text": "a\\ud800", "label": 1}', r"'text' must be text: got half a character, '\\ud800'"),
    ],
)
def test_json_lines_that_do_not_fit(write, line, message):
    source = write('{"text": "a", "label": "b"}\n' + line + "\n", "a.jsonl")
    with pytest.raises(DataError, match=f"^{re.escape(source)}:2: {message}"):
        values(source)


def test_json_lines_have_names_alone(write):
    source = write('{"1": "a", "label": "b"}\n', "a.jsonl")
    with pytest.raises(DataError, match=r"the columns of JSON lines must be wanted by name: got \[1, 'label'\]"):
        values(source, 1, "label")
    assert values(source, "1") == [("a",)]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_what_others_write_is_read(write, rows):
    content = io.StringIO(newline="")
    csv.writer(content).writerows([("text", "label"), *rows])
    assert values(write(content.getvalue(), "a.csv")) == rows
    content = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    assert values(write(content, "a.jsonl")) == rows


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([*'\t\n\r",a{}:[]', "text", "label"])).map(lambda x: "".join(x).encode()),
    st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"]),
)
def test_nothing_but_data_errors(write, assert_read_or_refused, content, name):
    source = write(content, name)
    assert_read_or_refused(lambda: values(source), source)
