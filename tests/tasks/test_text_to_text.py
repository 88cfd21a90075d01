import pytest

from heedful._errors import SettingsError
from heedful.data.text import Pairs
from heedful.models.sequence_to_sequence import Recurrent
from heedful.tasks import summarize, translate
from heedful.tasks.text_to_text import KINDS, Aligned, columns, prepared_parts
from heedful.training.settings import read_settings
from tests import languages


def parts(*settings, texts=("big dog", "hundo granda")):
    return prepared_parts(
        read_settings(translate.Settings, None, [*languages.TINY, "data.tokens=characters", *settings]), texts
    )


@pytest.mark.parametrize(
    ("task", "kind"), [(translate, "recurrent"), (summarize, "recurrent"), (summarize, "extractive")]
)
def test_a_kind_has_defaults_of_its_own(task, kind):
    settings = read_settings(task.Settings, None, [f"model.kind={kind}", "model.width=48"])
    for section, values in KINDS[kind].items():
        for name, value in values.items():
            assert getattr(getattr(settings, section), name) == (48 if name == "width" else value)
    assert settings.model.width != KINDS[kind]["model"]["width"]
    plain = read_settings(task.Settings, None)
    assert plain == task.Settings() == read_settings(task.Settings, None, ["model.kind=transformer"])
    assert plain.model.layers != settings.model.layers


@pytest.mark.parametrize(
    ("task", "words", "named"),
    [
        (
            translate,
            ["model.kind=recurrent", "model.heads=2", "model.norm=post", "model.width=8"],
            "model.heads, model.norm",
        ),
        (translate, ["model.kind=recurrent", "model.heads=4", "model.copy_source=true"], None),  # as it is by default
        (translate, ["model.heads=2", "model.window=3", "search.beams=1", "data.lowercase=true"], None),
        (summarize, ["extraction.members=2"], "extraction.members"),
        (
            summarize,
            ["model.kind=extractive", "search.beams=1", "data.vocabulary=500", "model.heads=2", "extraction.members=2"],
            "data.vocabulary, search.beams",
        ),
    ],
)
def test_settings_without_use_are_named(task, words, named):
    said = read_settings(task.Settings, None, words).unused()
    assert said == (f"; not used by this kind: {named}" if named else "")


def test_two_columns_are_two():
    assert columns(translate.DataSettings(source=2, target="x")) == (2, "x")
    with pytest.raises(
        SettingsError, match=r"`data.target`: must be another one than data.source: got 'a' for both\.$"
    ):
        columns(translate.DataSettings(source="a", target="a"))


def test_room_is_that_of_learned_positions():
    assert parts("model.positions=learned", "model.longest=30").room == 30
    assert parts("model.positions=rotary", "model.longest=30").room is None
    recurrent = parts("model.positions=learned", "model.longest=30", "model.kind=recurrent", "model.score=dot")
    assert isinstance(recurrent.model, Recurrent)
    assert recurrent.room is None


def test_pairs_as_tokens():
    made = parts()
    aligned = Aligned(Pairs(["big dog", "dog"], ["hundo", "granda"], ["a:1", "a:2"]), made)
    source, target = aligned[[1, 0]]
    assert source.lengths.tolist() == [4, 8]
    assert target.lengths.tolist() == [6, 5]
    assert made.tokenizer.decode(source.tokens[0].numpy()) == "dog"
    assert source.tokens[0, 3] == source.tokens[1, 7] == made.tokenizer.end
    assert made.tokenizer.end not in target.tokens
    assert aligned.lengths == [(8, 6), (4, 7)], "with their ends"
