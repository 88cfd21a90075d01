import pytest

from heedful.data.text import Characters, ParallelTexts, Subwords
from heedful.tasks import translate
from heedful.tasks.sources import checksum, prepare, preset
from heedful.tasks.text_generation import Generated
from heedful.tasks.translate import Translate
from heedful.training.settings import settings_of
from tests import languages


def prepared(data, *settings):
    chosen = settings_of(Translate.Settings, ["data.vocabulary_size=400", *settings])
    return prepare(Translate, chosen, data if isinstance(data, dict) else {"data": str(data)})


def test_every_tenth_pair_is_held_out(tmp_path):
    file = languages.table(tmp_path / "pairs.tsv", 35)
    (parts, _), rows = prepared(file), languages.pairs(35)
    assert parts.validation.sources == [rows[i][0] for i in (9, 19, 29)]
    assert parts.training.targets == [target for i, (_, target) in enumerate(rows) if i not in (9, 19, 29)]
    assert parts.validation.locations[1] == f"{file}:20"
    assert parts.held_out == f"every tenth pair of {file}, 3 pairs"


@pytest.mark.parametrize("name", ["pairs.tsv.gz", "pairs.csv", "pairs.csv.gz", "pairs.jsonl", "pairs.jsonl.gz"])
def test_tables_say_what_aligned_files_say(tmp_path, name):
    def checksums(data, *settings):
        parts, _ = prepared(data, *settings)
        return checksum(parts.training), checksum(parts.validation)

    beginning = languages.aligned(tmp_path, packed=True)
    one = checksums(beginning, "data.source=en", "data.target=eo")
    assert one == checksums(f"{beginning}.en,{beginning}.eo.gz") == checksums(languages.table(tmp_path / name))
    assert one[0] != one[1]
    assert one != checksums(languages.table(tmp_path / name, seed=1))


@pytest.mark.parametrize(("tokenizer", "kind"), [("characters", Characters), ("subwords", Subwords)])
def test_tokens_are_learned_from_both_sides_of_the_training_alone(tmp_path, tokenizer, kind):
    file = languages.table(tmp_path / "pairs.tsv", 20)
    lines = file.read_text().splitlines()
    lines[9] = "Ж§\tgranda"
    file.write_text("\n".join(lines) + "\n")
    learned = prepared(file, f"data.tokenizer={tokenizer}")[1].generator.tokenizer
    assert isinstance(learned, kind)
    if isinstance(learned, Characters):
        assert not set("Ж§") & set(learned.alphabet)
        assert set("bigvidas ") <= set(learned.alphabet)
    else:
        assert {" vidas", " sees"} & {piece for text in (lines[0], lines[1]) for piece in learned.tokenize(text)}


def test_dates_can_stand_on_either_side(tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "dates", lambda part: ParallelTexts([part] * 10, [part] * 10, ["dates"] * 10))
    file = languages.table(tmp_path / "pairs.tsv", 3)

    def read(**sources):
        parts, _ = prepared(sources)
        return parts.training.sources[0], parts.validation.sources[0], parts.held_out

    own = languages.pairs(3)[0][0]
    words = "dates of the training's pairs of language and format"
    assert read(data="dates") == ("train", "valid", words)
    assert read(train="dates", valid=str(file)) == ("train", own, f"{file}, 3 pairs")
    assert read(train=str(file), valid="dates") == (own, "valid", "dates, 10 pairs")
    assert preset(Translate, {"data": "dates"})[0] == "data.tokenizer=characters"
    assert preset(Translate, {"data": str(file)}) == preset(Translate, {"train": "dates", "valid": str(file)}) == ()


def test_metrics_of_lines_in_the_case_that_the_settings_say(tmp_path):
    examples = ParallelTexts(["a", "b", "c"], ["One two three four.", "five six", "x"], [""] * 3)
    predictions = [Generated("a", "one two  three\tfour."), Generated("b", "five six"), Generated("c", "")]
    scores = []
    for words in ([], ["data.lowercase=true"]):
        task = prepared(languages.table(tmp_path / "pairs.tsv", 20), *words)[1]
        scores.append(task.score(predictions, examples))
    plain, lowercase = scores
    assert list(plain.metrics) == ["bleu", "chrf", "exact_match"]
    assert plain.metrics["exact_match"].value == pytest.approx(1 / 3)
    assert lowercase.metrics["bleu"].value > plain.metrics["bleu"].value
    assert "case:lc" in lowercase.details["signatures"]["bleu"]
    exact = task.score([Generated("", text.upper()) for text in examples.targets], examples).metrics
    assert (exact["exact_match"].value, exact["bleu"].value) == (1, pytest.approx(100))
