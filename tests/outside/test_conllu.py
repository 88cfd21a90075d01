"""The package conllu, which reads the same format."""

import pytest

from heedful.data.text import read_conllu, write_conllu

conllu = pytest.importorskip("conllu")

FILE = """\
# sent_id = 1
# text = Du kaufst's im Laden.
1\tDu\tdu\tPRON\tPPER\tCase=Nom|Number=Sing|Person=2\t2\tnsubj\t_\t_
2-3\tkaufst's\t_\t_\t_\t_\t_\t_\t_\t_
2\tkaufst\tkaufen\tVERB\tVVFIN\tNumber=Sing|Person=2\t0\troot\t_\t_
3\t's\tes\tPRON\tPPER\tCase=Acc\t2\tobj\t_\t_
3.1\tdoch\tdoch\tADV\t_\t_\t_\t_\t_\t_
4-5\tim\t_\t_\t_\t_\t_\t_\t_\t_
4\tin\tin\tADP\tAPPR\t_\t6\tcase\t_\t_
5\tdem\tder\tDET\tART\tCase=Dat|Definite=Def\t6\tdet\t_\t_
6\tLaden\tLaden\tNOUN\tNN\tCase=Dat|Number=Sing\t2\tobl\t_\tSpaceAfter=No
7\t.\t.\tPUNCT\t$.\t_\t2\tpunct\t_\t_

# sent_id = 2
1\tGut\tgut\tADJ\tADJD\tDegree=Pos\t0\troot\t_\t_
2\t10 000\t10000\tNUM\tCARD\tNumType=Card\t1\tdep\t_\t_

"""
COLUMNS = {"LEMMA": "lemma", "UPOS": "upos", "XPOS": "xpos", "DEPREL": "deprel"}


def test_words_and_labels(tmp_path):
    path = tmp_path / "de.conllu"
    path.write_text(FILE, encoding="utf-8")
    mine = list(read_conllu(path, [*COLUMNS, "Case", "Number"]))
    theirs = [sentence.filter(id=lambda number: isinstance(number, int)) for sentence in conllu.parse(FILE)]
    assert len(mine) == len(theirs) == 2
    for sentence, tokens in zip(mine, theirs, strict=True):
        assert sentence.words == tuple(token["form"] for token in tokens)
        for name, key in COLUMNS.items():
            assert sentence.labels[name] == tuple(token[key] for token in tokens)
        for name in ("Case", "Number"):
            assert sentence.labels[name] == tuple((token["feats"] or {}).get(name, "_") for token in tokens)


def test_what_is_written_is_the_same(tmp_path):
    path = tmp_path / "de.conllu"
    path.write_text(FILE, encoding="utf-8")
    theirs = conllu.parse(FILE)
    for sentence in theirs:
        for token in sentence.filter(id=lambda number: isinstance(number, int)):
            token["feats"] = {**(token["feats"] or {}), "Abbr": "Yes"}
    written = [write_conllu(sentence, {"Abbr": ["Yes"] * len(sentence.words)}) for sentence in read_conllu(path)]
    assert conllu.parse("".join(written)) == theirs
