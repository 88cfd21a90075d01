from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from heedful._errors import SettingsError
from heedful.tasks.catalog import TASKS, find
from heedful.training import setting_names
from heedful.training.settings import (
    Section,
    TaskSettings,
    TrainingSettings,
    automatic,
    decided,
    defaults,
    describe_settings,
    epochs_for,
    follows_data,
    other_architectures,
    settings_of,
    values_of,
    write_settings,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


class Model(Section):
    layers: int = Field(2, ge=1, description="how many")
    stages: tuple[int, ...] = Field((3, 5), description="channels")
    size: int | tuple[int, int] = Field(0, description="side, or both")


class Settings(Section):
    model: Model = Model()
    training: TrainingSettings = TrainingSettings()


def read(tmp_path, text, *assignments):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return settings_of(Settings, assignments, file)


def test_a_file_changes_the_defaults_and_a_word_changes_the_file(tmp_path):
    settings = read(tmp_path, "# mine\n[model]\nlayers = 3\nstages = [7]\n", "model.layers=5", " training.epochs = 11 ")
    assert settings.model == Model(layers=5, stages=(7,))
    assert settings.training == TrainingSettings(epochs=11)


def test_without_a_file_and_words_there_are_the_defaults(tmp_path):
    assert settings_of(Settings) == Settings() == read(tmp_path, "")


@pytest.mark.parametrize(
    ("word", "section", "key", "value"),
    [
        ("model.stages=[2, 3]", "model", "stages", (2, 3)),
        ("model.size=[5, 7]", "model", "size", (5, 7)),
        ("model.size=5", "model", "size", 5),
        ("training.learning_rate=1e-3", "training", "learning_rate", 1e-3),
        ("training.precision=bf16-mixed", "training", "precision", "bf16-mixed"),
        ("training.precision='bf16-mixed'", "training", "precision", "bf16-mixed"),
    ],
)
def test_a_word_is_a_toml_value_or_a_string(word, section, key, value):
    assert getattr(getattr(settings_of(Settings, [word]), section), key) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.epoch=3", r"^unknown setting `training.epoch`, did you mean `training.epochs`\?$"),
        ("model.layer=3", r"^unknown setting `model.layer`, did you mean `model.layers`\?$"),
        ("trainng.epochs=3", r"^unknown setting `trainng`, did you mean `training`\?$"),
        ("zzz=3", r"^unknown setting `zzz`; known: model, training\.$"),
        ("training.epochs=many", r"^`training.epochs`: input should be a valid integer.*: got 'many'\.$"),
        ("training.epochs=2.5", r"^`training.epochs`: input should be a valid integer.*: got 2\.5\.$"),
        ("training.epochs=0", r"^`training.epochs`: input should be greater than or equal to 1: got 0\.$"),
        ("training.learning_rate=inf", r"^`training.learning_rate`: input should be a finite number: got inf\.$"),
        ("training.learning_rate=nan", r"^`training.learning_rate`: input should be a finite number: got nan\.$"),
        ("training.precision=8-bit", r"^`training.precision`: input should be '32-true', .*: got '8-bit'\.$"),
        ("model.stages=[3, x]", r"^`model.stages`: input should be a valid tuple: got '\[3, x\]'\.$"),
        ('model.stages=[3, "x"]', r"^`model.stages.1`: input should be a valid integer, .*: got 'x'\.$"),
        ("model.size=x", r"^`model.size`: [^:]*integer[^:]*: got 'x'; `model.size`: input should be a valid tuple: got 'x'\.$"),
        ("model=3", r"^`model`: input should be a valid dictionary or instance of Model: got 3\.$"),
        ("model.layers", r"^a setting must be written key=value, as in model.layers=4: got 'model.layers'\.$"),
        ("=4", r"^a setting must be written key=value, as in model.layers=4: got '=4'\.$"),
        ("model.layers.x=4", r"^`model.layers`: input should be a valid integer: got \{'x': 4\}\.$"),
    ],
)  # fmt: skip
def test_a_word_that_is_no_setting(word, message):
    with pytest.raises(SettingsError, match=message):
        settings_of(Settings, [word])


def test_a_word_below_a_value_of_the_file(tmp_path):
    with pytest.raises(
        SettingsError, match=r"must name a key in a section, as in model.layers=4: got 'model.layers.x=4'"
    ):
        read(tmp_path, "[model]\nlayers = 3\n", "model.layers.x=4")


def test_all_errors_are_reported_together(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "[model]\nlayer = 3\n[training]\nepochs = 'x'\ngradient_clip = -1\n", "training.sed=1")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'settings.toml'}: ")
    for part in (
        "unknown setting `model.layer`, did you mean `model.layers`?",
        "`training.epochs`: input should be a valid integer",
        "`training.gradient_clip`: input should be greater than or equal to 0: got -1",
        "unknown setting `training.sed`, did you mean `training.seed`?",
    ):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "content",
    [
        b"[model\nlayers = 3", b"layers", b"\xff\xfe[\0", b"[model]\nlayers = 1\nlayers = 2\n",
        b"a = " + b"[" * 100_000, b"[model]\nlayers = " + b"9" * 5000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_toml(tmp_path, content):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"^{file}(:\d+)?: must be a TOML file") as caught:
        settings_of(Settings, config=file)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        SettingsError, match=r"^/dev/zero: a file of settings must have at most 1,048,576 bytes: got more\.$"
    ):
        settings_of(Settings, config="/dev/zero")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model]\nlayers = ]", "settings.toml:2: must be a TOML file: Invalid value"),
        ("[model]".encode("utf-16"), "must be a TOML file in UTF-8: convert it, e.g. with iconv -f utf-16 -t utf-8"),
        (
            "# größer".encode("latin1"),
            "must be a TOML file in UTF-8: convert it, e.g. with iconv -f windows-1252 -t utf-8",
        ),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, content, message):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        settings_of(Settings, config=file)
    file.write_bytes(b"\xef\xbb\xbf[model]\r\nlayers = 3\r\n")
    assert settings_of(Settings, config=file).model.layers == 3, "as some editors write it"


@pytest.mark.parametrize(
    ("task", "word", "hint"),
    [
        ("tag", "lr=0.1", "unknown setting `lr`, did you mean `training.learning_rate`?"),
        ("tag", "optimizer.lr=0.1", "unknown setting `optimizer`, did you mean `training.learning_rate`?"),
        ("tag", "training.wd=0.1", "unknown setting `training.wd`, did you mean `training.weight_decay`?"),
        ("tag", "training.optimizer=adam", "unknown setting `training.optimizer`: the optimizer is AdamW."),
        ("tag", "gpus=1", "unknown setting `gpus`: a GPU is taken where PyTorch has one."),
        ("tag", "early_stopping=true", "unknown setting `early_stopping`, did you mean `training.patience`?"),
        ("tag", "model.d_model=8", "unknown setting `model.d_model`, did you mean `model.width`?"),
        ("translate", "embed_dim=8", "unknown setting `embed_dim`, did you mean `model.width`?"),
        ("translate", "max_length=8", "unknown setting `max_length`, did you mean `data.max_length`?"),
        ("language-model", "max_length=8", "unknown setting `max_length`, did you mean `model.context_length`?"),
        ("classify", "max_length=8", "unknown setting `max_length`, did you mean `model.max_positions`?"),
        ("classify", "epochs=3", "unknown setting `epochs`, did you mean `training.epochs`?"),
        ("classify", "model.epochs=3", "unknown setting `model.epochs`, did you mean `training.epochs`?"),
        ("classify", "widht=3", "unknown setting `widht`, did you mean `model.width`?"),
    ],
)
def test_names_that_other_libraries_have(task, word, hint):
    with pytest.raises(SettingsError) as caught:
        settings_of(find(task).Settings, [word])
    assert str(caught.value) == hint


def test_each_setting_that_is_hinted_at_is_one():
    known = {name for task in TASKS for name, *_ in describe_settings(find(task).Settings)}
    known |= {name for task in TASKS for name in find(task).Options.model_fields}
    named = [name for names in setting_names._ELSEWHERE for name in names.split()]
    assert set(named) <= known
    assert len(named) > 30


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere.toml: the settings cannot be read: No such file or directory\.$"):
        settings_of(Settings, config=tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=rf"^{tmp_path}: the settings cannot be read: Is a directory\.$"):
        settings_of(Settings, config=tmp_path)


def test_what_is_written_is_read_back_and_explained(tmp_path):
    settings = Settings(
        model=Model(layers=7, stages=(2, 3, 5), size=(7, 11)), training=TrainingSettings(precision="bf16-mixed")
    )
    text = write_settings(settings, "a title")
    assert read(tmp_path, text) == settings
    assert text.startswith("# a title\n")
    assert "# how many\nlayers = 7\n" in text


def test_settings_are_described():
    described = {key: rest for key, *rest in describe_settings(Settings)}
    assert described["model.layers"] == [2, "", "how many"]
    assert described["training.precision"][:2] == ["32-true", "(32-true, bf16-mixed, 16-mixed)"]


def test_every_example_is_of_its_task():
    files = sorted(EXAMPLES.glob("*/*.toml"))
    assert len(files) >= 2
    for file in files:
        settings = find(file.parent.name).Settings
        assert settings_of(settings, config=file) != settings()


class Small(Section):
    """The first architecture."""

    architecture: Literal["small"] = Field("small", description="which")
    layers: int = Field(2, ge=1, description="how many")
    heads: int = Field(3, ge=1, description="of each layer")


class Large(Section):
    """The second."""

    suits = {"training": {"epochs": 5, "learning_rate": 0.5}, "data": {"size": 7}}  # noqa: RUF012
    architecture: Literal["large"] = Field("large", description="which")
    layers: int = Field(11, ge=1, description="how many")
    window: int = Field(13, ge=0, description="how far")


class Data(Section):
    size: int = Field(0, description="side")


class Either(TaskSettings):
    data: Data = Data()
    model: Annotated[Small | Large, Field(discriminator="architecture")] = Small()


def test_the_architecture_says_which_settings_there_are():
    assert settings_of(Either) == Either()
    assert settings_of(Either, ["model.layers=5"]).model == Small(layers=5)
    assert settings_of(Either, ["model.window=5", "model.architecture=large"]).model == Large(window=5)
    assert settings_of(Either, {"model": {"architecture": "large"}}).model == Large()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.window=5"], r"^`model.window` is no setting of model.architecture = 'small'\.$"),
        (["model.architecture=large", "model.heads=5"], r"^`model.heads` is no setting of model.architecture = 'large'\.$"),
        (["model.architecture=lage"], r"^`model.architecture`: must be one of small, large: got 'lage'\.$"),
        (["model.architecture=3"], r"^`model.architecture`: must be one of small, large: got 3\.$"),
        (["model.architecture=large", "model.windw=5"], r"^unknown setting `model.windw`, did you mean `model.window`\?$"),
        (["model.lyers=5"], r"^unknown setting `model.lyers`, did you mean `model.layers`\?$"),
        (["model.architecture=large", "model.layers=0"], r"^`model.layers`: input should be greater than or equal to 1: got 0\.$"),
        (["model=large"], r"^`model`: input should be a valid dictionary .*: got 'large'\.$"),
        (["model.architecture=large", "model.heads=5", "training.epochs=0"],
         r"^`training.epochs`: .*: got 0; `model.heads` is no setting of model.architecture = 'large'\.$"),
    ],
)  # fmt: skip
def test_a_setting_of_another_architecture_is_none(words, message):
    with pytest.raises(SettingsError, match=message):
        settings_of(Either, words)


def test_what_suits_an_architecture_stands_below_what_is_set(tmp_path):
    large = settings_of(Either, ["model.architecture=large"])
    assert (large.training.epochs, large.training.learning_rate, large.data.size) == (5, 0.5, 7)
    assert large.training == TrainingSettings(epochs=5, learning_rate=0.5)
    assert settings_of(Either).training == TrainingSettings()
    chosen = settings_of(Either, ["model.architecture=large", "training.epochs=3", "training.seed=7"])
    assert chosen.training == TrainingSettings(epochs=3, learning_rate=0.5, seed=7)
    for settings in (large, chosen, Either()):
        file = tmp_path / "config.toml"
        file.write_text(write_settings(settings, "x"))
        assert settings_of(Either, config=file) == settings


def test_settings_of_several_architectures_are_described_and_written():
    keys = [key for key, *_ in describe_settings(Either)]
    assert {"model.heads", "model.window", "training.epochs", "data.size"} <= set(keys)
    assert "model.window" not in [key for key, *_ in describe_settings(Either, "small")]
    assert {key: default for key, default, *_ in describe_settings(Either, "large")}["model.layers"] == 11
    assert list(other_architectures(Either)) == [settings_of(Either, ["model.architecture=large"])]
    assert list(other_architectures(Settings)) == []
    text = write_settings(Either(), "x")
    assert '# which (small, large)\narchitecture = "small"\n' in text
    assert "window" not in text


def test_inherited_settings_get_other_defaults_and_nothing_else_changes():
    @defaults(layers=9)
    class Deep(Small):
        """Deeper."""

    assert (Deep().layers, Deep(layers=4).layers, Deep().heads) == (9, 4, 3)
    assert Small().layers == 2
    assert (Deep.model_fields["layers"].description, Small.model_fields["layers"].default) == ("how many", 2)
    with pytest.raises(ValidationError):
        Deep(layers=0)
    with pytest.raises(ValidationError):
        Deep(lyers=1)
    with pytest.raises(KeyError):
        defaults(lyers=9)(type("Other", (Small,), {}))


def test_a_preset_yields_to_a_file_and_both_to_what_is_assigned(tmp_path):
    preset = ("model.layers=5", "model.stages=[7]", "training.epochs=3")
    file = tmp_path / "config.toml"
    file.write_text("[model]\nlayers = 13\n")
    assert settings_of(Settings, preset=preset).model == Model(layers=5, stages=(7,))
    assert settings_of(Settings, ["model.layers=11"], preset=preset).model == Model(layers=11, stages=(7,))
    assert settings_of(Settings, (), file, preset) == Settings(model=Model(layers=13))
    assert settings_of(Settings, ["training.epochs=17"], file, preset).model == Model(layers=13)
    assert settings_of(Settings, {"model.layers": 17}, file, preset).model == Model(layers=17)


def test_settings_are_words_or_a_mapping_nested_or_dotted():
    words = ["model.layers=5", "model.stages=[7, 2]", "training.precision=bf16-mixed", "training.epochs=3"]
    same = [
        {"model.layers": 5, "model.stages": [7, 2], "training.precision": "bf16-mixed", "training.epochs": 3},
        {"model": {"layers": 5, "stages": (7, 2)}, "training": {"precision": "bf16-mixed", "epochs": 3}},
        {"model": {"layers": 5}, "model.stages": (7, 2), "training": {"precision": "bf16-mixed"}, "training.epochs": 3},
    ]
    for mapping in same:
        assert settings_of(Settings, mapping) == settings_of(Settings, words)
    assert settings_of(Settings, {}) == Settings()
    with pytest.raises(SettingsError, match="^settings must be a mapping or a list of words: got 'model.layers=5'"):
        settings_of(Settings, "model.layers=5")
    with pytest.raises(SettingsError, match="^unknown setting `model.lyers`, did you mean `model.layers`"):
        settings_of(Settings, {"model": {"lyers": 5}})
    with pytest.raises(SettingsError, match="^`model.layers`: input should be a valid integer.*: got '5x'"):
        settings_of(Settings, {"model.layers": "5x"})
    with pytest.raises(SettingsError, match="^a setting must be written key=value, as in model.layers=4: got 7"):
        settings_of(Settings, [7])


class Following(Section):
    steps: int = follows_data(ge=1, description="how many")
    most: int = follows_data(7, ge=1, description="how many at most")
    name: str = Field("auto", description="what is called so, and follows nothing")


class FollowingSettings(Section):
    model: Following = Following()


def test_settings_that_follow_the_data():
    settings = settings_of(FollowingSettings)
    assert list(automatic(settings)) == ["model.steps"]
    assert 'steps = "auto"' in write_settings(settings, "settings")
    found = decided(settings, {"model.steps": 3, "model.most": 4})
    assert found == FollowingSettings(model=Following(steps=3))
    assert values_of(found) == {"model.steps": 3, "model.most": 7, "model.name": "auto"}
    assert not list(automatic(settings_of(FollowingSettings, ["model.steps=5"])))
    both = settings_of(FollowingSettings, ["model.most=auto", "model.steps=auto"])
    assert list(automatic(both)) == ["model.steps", "model.most"]
    assert decided(both, {"model.steps": 3, "model.most": 4}).model == Following(steps=3, most=4)


def test_what_cannot_follow_the_data():
    with pytest.raises(SettingsError, match=r"^`model.steps`: input should be a valid integer.*: got 'automatic'\.$"):
        settings_of(FollowingSettings, ["model.steps=automatic"])
    with pytest.raises(
        SettingsError, match=r"^`training.warmup_ratio`: input should be a valid number.*: got 'auto'\.$"
    ):
        settings_of(Settings, ["training.warmup_ratio=auto"])
    with pytest.raises(
        SettingsError,
        match=r"^`model.steps`: must have a value, which this task does not choose by the data: got auto\.$",
    ):
        decided(settings_of(FollowingSettings), {})


@pytest.mark.parametrize(
    ("examples", "size", "epochs"),
    [(100, 100, 400), (20, 100, 400), (64, "auto", 400), (65, "auto", 200), (10**6, 64, 5)],
)
def test_few_data_are_seen_more_often(examples, size, epochs):
    assert epochs_for(examples, TrainingSettings(batch_size=size), usual=5, steps=400) == epochs
