from pathlib import Path

import pytest
from pydantic import Field

from heedful._errors import SettingsError
from heedful.tasks.catalog import TASKS
from heedful.training.settings import Section, TrainingSettings, describe_settings, read_settings, write_settings

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
    return read_settings(Settings, file, assignments)


def test_a_file_changes_the_defaults_and_a_word_changes_the_file(tmp_path):
    settings = read(tmp_path, "# mine\n[model]\nlayers = 3\nstages = [7]\n", "model.layers=5", " training.epochs = 11 ")
    assert settings.model == Model(layers=5, stages=(7,))
    assert settings.training == TrainingSettings(epochs=11)


def test_without_a_file_and_words_there_are_the_defaults(tmp_path):
    assert read_settings(Settings, None) == Settings() == read(tmp_path, "")


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
    assert getattr(getattr(read_settings(Settings, None, [word]), section), key) == value


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
        read_settings(Settings, None, [word])


def test_a_word_below_a_value_of_the_file(tmp_path):
    with pytest.raises(
        SettingsError, match=r"must name a key in a section, as in model.layers=4: got 'model.layers.x=4'"
    ):
        read(tmp_path, "[model]\nlayers = 3\n", "model.layers.x=4")


def test_all_errors_are_reported_together(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "[model]\nlayer = 3\n[training]\nepochs = 'x'\nclip = -1\n", "training.sed=1")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'settings.toml'}: ")
    for part in (
        "unknown setting `model.layer`, did you mean `model.layers`?",
        "`training.epochs`: input should be a valid integer",
        "`training.clip`: input should be greater than or equal to 0: got -1",
        "unknown setting `training.sed`, did you mean `training.seed`?",
    ):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "content", [b"[model\nlayers = 3", b"layers", b"\xff\xfe[\0", b"[model]\nlayers = 1\nlayers = 2\n"]
)
def test_a_file_that_is_no_toml(tmp_path, content):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"^{file}: must be a TOML file: "):
        read_settings(Settings, file)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere.toml: the settings cannot be read: No such file or directory\.$"):
        read_settings(Settings, tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=rf"^{tmp_path}: the settings cannot be read: Is a directory\.$"):
        read_settings(Settings, tmp_path)


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
        settings = TASKS[file.parent.name].load().Settings
        assert read_settings(settings, file) != settings()
