import dataclasses
import io

import pytest
from rich.console import Console

from heedful._errors import DataError
from heedful.data.text import Characters, Pairs, Subwords
from heedful.tasks import translate
from heedful.training.settings import read_settings
from tests import languages


def prepared(data, *settings, **sources):
    read = read_settings(translate.Settings, None, [*languages.TINY, *settings])
    return translate.prepare(read, sources or {"data": str(data)}, Console(file=io.StringIO()))


def test_every_tenth_pair_is_held_out(tmp_path):
    file = languages.table(tmp_path / "pairs.tsv", 35)
    ready, rows = prepared(file), languages.pairs(35)
    assert ready.validation.sources == [rows[i][0] for i in (9, 19, 29)]
    assert ready.training.targets == [target for i, (_, target) in enumerate(rows) if i not in (9, 19, 29)]
    assert ready.validation.places[1] == f"{file}:20"
    assert ready.held_out == f"every 10th pair of {file}, 3 pairs"


def test_no_more_than_a_thousand_are_held_out(tmp_path, monkeypatch):
    many = Pairs(*([str(i) for i in range(20_500)] for _ in range(3)))
    monkeypatch.setattr(translate, "read_pairs", lambda *_: many)
    training, validation, name = translate._read(translate.DataSettings(), {"data": "x"})
    assert (len(training), len(validation), name) == (19_524, 976, "every 21th pair of x, 976 pairs")


@pytest.mark.parametrize("name", ["pairs.tsv.gz", "pairs.csv", "pairs.csv.gz", "pairs.jsonl", "pairs.jsonl.gz"])
def test_tables_say_what_aligned_files_say(tmp_path, name):
    beginning = languages.aligned(tmp_path, packed=True)
    one = prepared(beginning, "data.source=en", "data.target=eo")
    two = prepared(f"{beginning}.en,{beginning}.eo.gz")
    three = prepared(languages.table(tmp_path / name))
    assert one.checksum() == two.checksum() == three.checksum()
    assert one.checksum() != dataclasses.replace(one, training=one.validation).checksum()
    assert one.checksum() != prepared(languages.table(tmp_path / name, seed=1)).checksum()


@pytest.mark.parametrize(("tokens", "kind"), [("characters", Characters), ("subwords", Subwords)])
def test_tokens_are_learned_from_both_sides_of_the_training_alone(tmp_path, tokens, kind):
    file = languages.table(tmp_path / "pairs.tsv", 20)
    lines = file.read_text().splitlines()
    lines[9] = "Ж§\tgranda"
    file.write_text("\n".join(lines) + "\n")
    tokenizer = prepared(file, f"data.tokens={tokens}").model.parts.tokenizer
    assert isinstance(tokenizer, kind)
    if isinstance(tokenizer, Characters):
        assert not set("Ж§") & set(tokenizer.alphabet)
        assert set("bigvidas ") <= set(tokenizer.alphabet)
    else:
        assert {" vidas", " sees"} & {piece for text in (lines[0], lines[1]) for piece in tokenizer.pieces(text)}


def test_dates_can_stand_on_either_side(tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "dates", lambda split: Pairs([split], [split], ["dates"]))
    file = languages.table(tmp_path / "pairs.tsv", 3)

    def read(**sources):
        training, validation, name = translate._read(translate.DataSettings(), sources)
        return training.sources, validation.sources, name

    own = [source for source, _ in languages.pairs(3)]
    assert read(data="dates")[:2] == (["train"], ["valid"])
    assert read(train="dates", valid=str(file)) == (["train"], own, f"{file}, 3 pairs")
    assert read(train=str(file), valid="dates") == (own, ["valid"], "dates, 1 pairs")


def test_only_short_enough_pairs_are_trained_on(tmp_path):
    file = languages.table(tmp_path / "pairs.tsv", 30)
    ready = prepared(file, "data.tokens=characters", "data.longest=18")
    training = ready.model.training
    kept = [
        (a, b) for a, b in zip(ready.training.sources, ready.training.targets, strict=True) if max(len(a), len(b)) <= 18
    ]
    assert 0 < len(kept) < 27
    assert training.left_out == 27 - len(kept)
    assert [len(row) for row in training.targets] == [len(b) for _, b in kept]
    with pytest.raises(
        DataError, match=r"pairs.tsv:1: at least one pair must have at most 3 tokens a side .*: got 27 that"
    ):
        prepared(file, "data.tokens=characters", "data.longest=3")
