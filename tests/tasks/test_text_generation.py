import pytest
import torch

from heedful._errors import DataError, SettingsError
from heedful.data.text import Characters, ParallelTexts, Subwords
from heedful.data.text.documents import SummaryExamples
from heedful.models.seq2seq_recurrent import Recurrent
from heedful.tasks.summarize import Summarize
from heedful.tasks.text_generation import (
    Generated,
    ParallelData,
    TextGenerator,
    check_columns,
    learn_tokenizer,
    shortened,
    words_of,
)
from heedful.tasks.translate import Translate
from heedful.training.settings import settings_of

SMALL = ("data.tokenizer=characters", "model.width=16", "model.layers=1", "model.dropout=0", "search.beams=1")
TEXTS = ("the cat sat on a hat", "la kato sidis")


def generator_of(*settings, texts=TEXTS, most=5):
    settings = settings_of(Translate.Settings, [*SMALL, *settings])
    tokenizer = learn_tokenizer(settings.data, texts)
    return TextGenerator(settings, {"tokenizer": tokenizer.save(), "max_target_length": most})


@pytest.fixture
def generator():
    return generator_of("model.pointer=true", "model.heads=2", "model.ffn_width=16")


@pytest.fixture
def model(generator):
    torch.manual_seed(0)
    return generator.build().eval()


def predict(generator, model, texts, **options):
    return generator.predict(model, texts, Translate.Options(**options))


@pytest.mark.parametrize("task", [Translate, Summarize])
def test_a_recurrent_model_has_defaults_of_its_own(task):
    settings = settings_of(task.Settings, ["model.architecture=recurrent", "model.width=48", "training.epochs=7"])
    assert (settings.model.width, settings.model.layers, settings.model.score) == (48, 1, "additive")
    assert settings.model.pointer is (task is Summarize)
    training = settings.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.ema_decay) == (7, 2048, 5e-3, 0.998)
    assert settings_of(task.Settings, ["model.architecture=transformer"]) == task.Settings()
    with pytest.raises(SettingsError, match="`model.norm` is no setting of model.architecture = 'recurrent'"):
        settings_of(task.Settings, ["model.architecture=recurrent", "model.norm=post"])


def test_two_columns_are_two():
    assert check_columns(ParallelData(source=2, target="x")) == (2, "x")
    with pytest.raises(
        SettingsError, match=r"`data.target`: must be another one than data.source: got 'a' for both\.$"
    ):
        check_columns(ParallelData(source="a", target="a"))


def test_only_learned_positions_come_to_an_end():
    learned = generator_of("model.positions=learned", "model.max_positions=8")
    assert learned.max_positions == 8
    assert generator_of("model.positions=rotary", "model.max_positions=8").max_positions is None
    recurrent = generator_of("model.architecture=recurrent", "model.score=dot")
    assert isinstance(recurrent.build(), Recurrent)
    assert recurrent.max_positions is None
    assert len(learned.encode("the cat")) == 8
    with pytest.raises(
        DataError, match=r"^a text must have at most 7 tokens \(model.max_positions\): got 8, 'the cats'$"
    ):
        learned.encode("the cats")
    learned.check(ParallelTexts(["cat"], ["la kato"], ["a:1"]))
    with pytest.raises(DataError, match=r"^a:2: a text must have at most 7 tokens \(model.max_positions\): got 13$"):
        learned.check(ParallelTexts(["cat", "cat"], ["la", TEXTS[1]], ["a:1", "a:2"]))
    torch.manual_seed(0)
    (cut,) = predict(learned, learned.build().eval(), ["cat"], max_new_tokens=100)
    assert len(cut.output) <= 7


def test_pairs_as_tokens():
    generator = generator_of(texts=("big dog", "hundo granda"))
    pairs = ParallelTexts(["big dog", "dog"], ["hundo", "granda"], ["a:1", "a:2"])
    batches = generator.batches(pairs, training=False)
    source, target = batches.make([1, 0])
    assert source.lengths.tolist() == [4, 8]
    assert target.lengths.tolist() == [6, 5]
    assert generator.tokenizer.decode(source.tokens[0].numpy()) == "dog"
    assert source.tokens[0, 3] == source.tokens[1, 7] == generator.tokenizer.end
    assert generator.tokenizer.end not in target.tokens
    assert batches.size((source, target)) == 13, "with their ends"


def test_only_short_enough_pairs_are_trained_on():
    pairs = ParallelTexts(["a", "the cat", "a"], ["la", "la", "la kato"], ["", "", ""])
    generator = generator_of("data.max_length=4")
    training, validation = (generator.batches(pairs, training=training) for training in (True, False))
    assert [len(rows) for rows in training.order] == [1]
    assert training.make([0])[1].lengths.tolist() == [2]
    assert training.note == "2 pairs are left out that are longer than data.max_length = 4."
    assert (sorted(row for rows in validation.order for row in rows), validation.note) == ([0, 1, 2], "")
    vocabulary = TextGenerator.learn(generator.settings.data, pairs)
    assert vocabulary["max_target_length"] == 2
    with pytest.raises(
        DataError,
        match=r"^at least one pair must have at most 1 tokens a side \(data.max_length\): got 3 that have more$",
    ):
        TextGenerator.learn(ParallelData(tokenizer="characters", max_length=1), pairs)


@pytest.mark.parametrize(("name", "kind"), [("characters", Characters), ("subwords", Subwords)])
def test_one_tokenizer_is_learned_from_both_sides(name, kind):
    data = ParallelData(tokenizer=name, vocabulary_size=300, lowercase=True)
    tokenizer = learn_tokenizer(data, ["The CAT", "la kato"])
    assert isinstance(tokenizer, kind)
    if isinstance(tokenizer, Characters):
        assert set(tokenizer.alphabet) == set("the cat la kato")


def test_a_line_of_what_was_generated():
    one = Generated("x", " two\twords\n", 0, -1.23456)
    assert (str(one), one.to_format()) == ("two words", "two words")
    assert Generated("x", "1\u00a0000 \u3000 a\u2028b ").to_format() == "1\u00a0000 \u3000 a b"
    shown = Generated("x", "two", 0, -1.23456, False, alignment=[(0, 0), (3, 1)], scored=True)
    assert str(shown) == "two [cut off]\t-1.2346\t0-0 3-1"
    assert shown.to_format() == "two"


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["a", "b", " ", "c"], [0, 0, -1, 1]),
        (["the", " cat", "s", " sat"], [0, 1, 1, 2]),
        ([" ", "a", " ", " ", "b "], [-1, 0, -1, -1, 1]),
        (["a ", "b"], [0, 1]),
        ([], []),
    ],
)
def test_words_stand_between_blanks(tokens, words):
    assert words_of(tokens) == words


def test_a_source_is_read_as_words_between_single_blanks(generator):
    assert generator.encode("the\u2009\n  cat ") == generator.encode("the cat")


def test_a_long_text_is_named_by_its_beginning():
    assert shortened("a\n b") == "a b"
    assert shortened("x" * 50) == "x" * 39 + "…"


def test_any_blank_parts_words(generator, model):
    tokens = generator.encode("la kato")[:-1]
    words = {i for text in ("the cat", "the\tcat") for i, _ in generator.alignment(model, text, tokens)}
    assert words <= {0, 1}
    assert words_of(generator.source_tokens("the\tcat")[:-1]) == [0, 0, 0, -1, 1, 1, 1]


def test_a_word_is_aligned_with_the_one_that_it_attends_to_most(generator, monkeypatch):
    weights = torch.zeros(5, 8)
    weights[0, 5], weights[1, 1], weights[1, 5] = 1.0, 0.9, 0.3  # "la": 1.3 to the second word, 0.9 to the first
    weights[3, 0], weights[4, 7] = 1.0, 1.0
    monkeypatch.setattr(generator, "cross_attention", lambda model, source, target: weights)
    assert generator.alignment(None, "the cat", generator.encode("la k")[:-1]) == [(1, 0), (0, 1)]


def test_each_text_has_as_many_lines_as_were_asked_for(generator, model):
    for options in ({"n_best": 4}, {"num_samples": 4}):
        predictions = predict(generator, model, ["cat", "", "hat"], max_new_tokens=3, **options)
        expected = [(text, rank) for text in ("cat", "", "hat") for rank in range(4)]
        assert [(one.input, one.rank) for one in predictions] == expected
        assert [one.output for one in predictions[4:8]] == [""] * 4
    assert predict(generator, model, []) == []


def test_unknown_characters_are_told(generator, model):
    (one,) = predict(generator, model, ["Ж cat§Ж"], max_new_tokens=2)
    assert one.unknown == "§Ж"


def test_without_options_the_settings_say_how(monkeypatch):
    settings = (
        "model.heads=2",
        "model.ffn_width=16",
        "search.beams=2",
        "search.no_repeat_ngram=3",
        "search.length_penalty=0.5",
    )
    generator, calls = generator_of(*settings), []
    monkeypatch.setattr(
        "heedful.tasks.text_generation.beam_search", lambda *_, **given: calls.append(given) or [[] for _ in _[2]]
    )
    for options in ({}, {"n_best": 4}, {"beams": 7, "n_best": 4}, {"no_repeat_ngram": 0, "length_penalty": 2.0}):
        predict(generator, None, ["cat"], **options)
    shown = [(given["beams"], given["no_repeat_ngram"], given["length_penalty"]) for given in calls]
    assert shown == [(2, 3, 0.5), (4, 3, 0.5), (7, 3, 0.5), (2, 0, 2.0)], "a search must keep what it is to give"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 2, "length_penalty": 1.0}, r"^`length_penalty` must be left out where texts are drawn: got 1.0\.$"),
        ({"top_k": 2}, r"^`top_k` must be left out where no texts are drawn \(`num_samples`\): got 2\.$"),
    ],
)  # fmt: skip
def test_options_of_the_other_way(generator, options, message):
    with pytest.raises(SettingsError, match=message):
        predict(generator, None, [], **options)


def adapted(task, pairs, *settings):
    examples = ParallelTexts(*zip(*pairs, strict=True), [str(i) for i in range(len(pairs))])
    if task is Summarize:
        examples = SummaryExamples(
            [[source] for source in examples.sources],
            [[t] for t in examples.targets],
            None,
            list(map(str, examples.sources)),
        )
    return dict(task.adapt(examples, settings_of(task.Settings, settings)))


def test_settings_follow_the_data():
    few, many = [("a" * 60, "b" * 40)] * 3600, [("ab" * 500, "ba" * 500)] * 20_000
    # 360,000 characters; 60 bytes are 15 subwords, 54,000 of all pairs 14 steps an epoch
    assert adapted(Translate, few) == {
        "data.vocabulary_size": 1200, "model.dropout": 0.3, "training.epochs": 108,  # 1,500 steps
    }  # fmt: skip
    assert adapted(Translate, many) == {
        "data.vocabulary_size": 8000, "model.dropout": 0.2, "training.epochs": 40
    }  # fmt: skip
    assert adapted(Translate, few[:1])["data.vocabulary_size"] == 500
    characters = adapted(Translate, few, "data.tokenizer=characters")
    assert characters["training.epochs"] == 40  # 53 steps an epoch
    assert adapted(Translate, few, "training.batch_size=1024")["training.epochs"] == 40
    assert adapted(Summarize, many)["training.epochs"] == 20
