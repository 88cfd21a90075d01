import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text import Sentence, read_tagged, write_tagged
from heedful.data.text.tagged import write_like

ROWS = "# text = Run\n1\tRun\trun\tVERB\tVB\t_\t0\troot\t_\t_\n\n"
COLUMNS = "Ada NNP B-PER\nran VBD O\n\nRun VB O\n\n"


@pytest.mark.parametrize("name", ["a.conllu", "a.CoNLL-U", "a.txt", "a"])
@pytest.mark.parametrize("packed", [False, True])
def test_conllu_is_known_by_name_or_contents(write, name, packed):
    content = ("\n" + ROWS).encode()
    source = write(gzip.compress(content) if packed else content, name + packed * ".gz")
    tagged = read_tagged(source, auxiliary_columns=["XPOS"])
    assert (tagged.format, tagged.column) == ("conllu", "UPOS")
    [sentence] = tagged.sentences
    assert sentence.labels == {"UPOS": ("VERB",), "XPOS": ("VB",)}
    assert sentence.location == f"{source}:3"
    assert list(write_tagged(tagged, [["NOUN"]])) == [ROWS.replace("VERB", "NOUN")]


def test_the_name_wins_over_the_contents(write):
    with pytest.raises(DataError, match="a.conllu:1: must have 10 columns, separated by tabs: got no tab in 'Ada NNP"):
        read_tagged(write(COLUMNS, "a.conllu"))


def test_all_else_is_columns(write):
    tagged = read_tagged(write(COLUMNS), auxiliary_columns=["2", 2])
    assert (tagged.format, tagged.column) == ("columns", "3")
    assert tagged.sentences[0].labels == {"3": ("B-PER", "O"), "2": ("NNP", "VBD")}
    assert read_tagged(write(ROWS.replace("1\tRun", "one\tRun"))).sentences[0].words == ("one",)


def test_what_is_written_can_be_read(write):
    tagged = read_tagged(write(COLUMNS), 2)
    text = "".join(write_tagged(tagged, [["A", "B"], ["C"]]))
    assert text == "Ada A B-PER\nran B O\n\nRun C O\n\n"


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        ("Ada\nran\n", None, "Ada\tA\nran\tB\n\n"),
        ("Ada\nran\n", 2, "Ada\tA\nran\tB\n\n"),
        ("Ada X\nran Y\n", None, "Ada X A\nran Y B\n\n"),
        ("Ada X\nran Y\n", "2", "Ada A\nran B\n\n"),
    ],
)
def test_words_alone(write, content, column, expected):
    tagged = read_tagged(write(content), column, labels=False)
    assert tagged.sentences[0].labels == {}
    assert "".join(write_tagged(tagged, [["A", "B"]])) == expected


def test_words_alone_of_conllu_need_no_labels(write):
    tagged = read_tagged(write(ROWS.replace("VERB", "_"), "a.conllu"), labels=False)
    assert tagged.sentences[0].labels == {}
    assert "".join(write_tagged(tagged, [["VERB"]])) == ROWS


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.txt", "a.txt: must hold at least one line: got an empty file"),
        ("\n \n", "a.txt", "a.txt: must hold at least one sentence: got none"),
        ("-DOCSTART- O\n", "a.txt", "a.txt: must hold at least one sentence: got none"),
        ("# text\n\n", "a.conllu", "a.conllu: must hold at least one sentence: got none"),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_no_sentence(write, content, name, message, labels):
    with pytest.raises(DataError, match=message):
        read_tagged(write(content, name), labels=labels)


GERMEVAL = "#\thttp://x.de\t[2009]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tO\n\n#\thttp://y\t[2]\n1\tEr\tO\tB-X\n\n"
MULTICONER = "# id 52\tdomain=train\nthe _ _ O\nbook _ _ B-CW\n\n# id 53\tdomain=train\nx _ _ O\n\n"


@pytest.mark.parametrize(
    ("content", "word", "words", "labels", "form"),
    [
        (GERMEVAL, None, ("Schartau", "sagte"), ("O", "O"), "columns separated by tabs, words in column 2, labels in column 4"),
        (MULTICONER, None, ("the", "book"), ("O", "B-CW"), "columns separated by blanks, words in column 1, labels in column 4"),
        (MULTICONER.replace("\t", " "), None, ("the", "book"), ("O", "B-CW"), "columns separated by blanks, .*"),
        ("#begin document (a); part 0\na 0 He *\na 1 ran V\n\n#end document\n\n", 3, ("He", "ran"), ("*", "V"), ".*column 3, .*"),
        ("Word\tPOS\nHe\tPRP\n#\tX\n\n#\tPRP\n\n", None, ("He", "#"), ("PRP", "X"), ".* labels in column 2; line 1 is a header"),
        ("x y\nHe O\nBo B-PER\n\n", None, ("He", "Bo"), ("O", "B-PER"), ".* labels in column 2; line 1 is a header"),
        ("3\tCD\nx\tN\n\n1\tCD\n2\tCD\n\n", None, ("3", "x"), ("CD", "N"), "columns separated by tabs, words in column 1, .*"),
    ],
)  # fmt: skip
def test_forms_of_columns(write, content, word, words, labels, form):
    """Ids, comments and headers are no words, and come back as they were; so does a comment at the end."""
    source = write(content)
    tagged = read_tagged(source, word_column=word)
    assert (tagged.sentences[0].words, tagged.sentences[0].labels[str(tagged.column)]) == (words, labels)
    assert re.fullmatch(f"{re.escape(source)}: {form}", tagged.notes[0])
    written = "".join(write_tagged(tagged, [sentence.labels[str(tagged.column)] for sentence in tagged.sentences]))
    assert written.rstrip() == content.rstrip()
    line = int(tagged.locations[0].rpartition(":")[2])
    assert content.splitlines()[line - 1].split()[-1] == labels[0]


def test_a_comment_behind_the_last_sentence_of_conllu_is_kept(write):
    tagged = read_tagged(write(ROWS + ROWS + "# the end\n\n", "a.conllu"))
    assert "".join(write_tagged(tagged, [["VERB"]] * 2)) == ROWS + ROWS + "# the end\n\n"


@pytest.mark.parametrize("content", ["Sky is clear\n", "Sky is clear\nIt rains hard\n", "It rains\n\nSky is clear .\n"])
def test_sentences_one_a_line_are_no_columns(write, content):
    with pytest.raises(
        DataError, match="txt:1: must be a word a line, .*: got what seems to be a sentence, .* standard input"
    ):
        read_tagged(write(content), labels=False, known=["NOUN", "."])


@pytest.mark.parametrize(
    "content", ["Sky NOUN\nis VERB\n", "Sky\nis\n", "Sky A\nis B\n\nIt A\nis B\n", "Sky is\tNOUN\n"]
)
def test_columns_without_labels_are_told_from_sentences(write, content):
    assert read_tagged(write(content), labels=False, known=["NOUN"]).sentences[0].words[0].startswith("Sky")


SIGNS = st.text(st.sampled_from("aB1#-_ \t\r\n\u00a0=."), max_size=6) | st.just("-DOCSTART-")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(SIGNS, min_size=1, max_size=3), min_size=1, max_size=3),
    st.sampled_from(["", "tabs", "blanks", "conllu"]),
    st.sampled_from(["X", "a b", "1", "#", "="]),
)
def test_what_is_written_is_read_again(write, sentences, form, label):
    """In every form, with any words and labels, as many sentences and words, and the same labels."""
    if form:
        words = [[re.sub(r"[\s=#-]", "x", word) or "x" for word in words] for words in sentences]
        rows = {"tabs": "{w}\tO", "blanks": "{w} N O", "conllu": "{i}\t{w}\t_\t_\t_\t_\t_\t_\t_\t_"}[form]
        text = "\n".join("".join(rows.format(w=w, i=i) + "\n" for i, w in enumerate(s, start=1)) for s in words)
        read = read_tagged(write(text, "a.conllu" if form == "conllu" else "a.txt"), labels=False).sentences
    else:
        read = [Sentence.of(words) for words in sentences]
    column = "XPOS" if form == "conllu" else "3" if form == "blanks" else "2"
    text = "".join(write_like(sentence, [label] * len(sentence.words), column) + "\n" for sentence in read)
    again = read_tagged(write(text, "b.txt"), column if form == "conllu" else None)
    assert [sentence.labels[str(again.column)] for sentence in again.sentences] == [
        (label,) * len(s) for s in sentences
    ]


def test_columns_have_no_names(write):
    message = "data.txt: the columns of this format have no names, so one must be a number: got 'UPOS'"
    with pytest.raises(DataError, match=message):
        read_tagged(write(COLUMNS), "UPOS")
    with pytest.raises(DataError, match=message):
        read_tagged(write(COLUMNS), auxiliary_columns=["UPOS"])


def test_predictions_must_be_as_many(write):
    tagged = read_tagged(write(COLUMNS))
    with pytest.raises(ValueError, match="shorter"):
        list(write_tagged(tagged, [["A", "B"]]))
