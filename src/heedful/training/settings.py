"""Settings: pydantic sections whose defaults stand in one place, read from a commented TOML file and `key=value` words."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from heedful._errors import SettingsError


class Section(BaseModel):
    """A table of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


class TrainingSettings(Section):
    """How a model is trained; the same for every task."""

    seed: int = Field(1, ge=0, description="all randomness follows from it")
    epochs: int = Field(50, ge=1, description="passes over the training data")
    batch_size: int = Field(64, ge=1, description="examples a step")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW, at its highest")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises; then it falls as a cosine"
    )
    weight_decay: float = Field(0.05, ge=0, description="of matrices; offsets, norms and positions have none")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="AdamW's decay of squared gradients; lower where some weights are seldom used"
    )
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    average: float = Field(
        0.98, ge=0, lt=1, description="decay of the moving average of the weights that is evaluated and kept; 0: none"
    )
    average_epochs: int = Field(
        0,
        ge=0,
        description="keep the mean of the weights after each of so many last epochs; 0: those of the best epoch",
    )
    patience: int = Field(
        0, ge=0, description="stop after so many epochs without a better validation measure; 0: never"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="mixed precision: bf16-mixed, or 16-mixed on a GPU"
    )


def read_settings(kind: type[S], config: Path | None, assignments: Sequence[str] = ()) -> S:
    """Settings of a `kind` from a TOML file (or the defaults), changed by words such as "model.layers=4".

    Raises:
        SettingsError: for all unknown keys and impossible values at once, with the nearest known name.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{config}: must be a TOML file: {error}.") from None
        except OSError as error:
            raise SettingsError(f"{config}: the settings cannot be read: {error.strerror}.") from None
    for word in assignments:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"a setting must be written key=value, as in model.layers=4: got {word!r}.")
        _assign(values, key.strip().split("."), _value(text.strip()), word)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        place = "" if config is None else f"{config}: "
        words = "; ".join(dict.fromkeys(_words(kind, problem) for problem in error.errors()))
        raise SettingsError(f"{place}{words}{'' if words.endswith('?') else '.'}") from None


def write_settings(settings: Section, title: str) -> str:
    """The settings as a TOML text in which a comment explains each key."""
    document = tomlkit.document()
    document.add(tomlkit.comment(title))
    for name, section in settings:
        table = tomlkit.table()
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            table.add(tomlkit.comment(" ".join(filter(None, [field.description, _choices(field)]))))
            table.add(key, list(value) if isinstance(value, tuple) else value)
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document)


def describe_settings(kind: type[Section]) -> Iterator[tuple[str, Any, str, str]]:
    """(key, default, type or choices, meaning) of every setting."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        for key, inner in section.model_fields.items():
            yield f"{name}.{key}", inner.default, _choices(inner), inner.description or ""


def _choices(field: FieldInfo) -> str:
    """The words that a setting can be, where they are few."""
    return f"({', '.join(get_args(field.annotation))})" if get_origin(field.annotation) is Literal else ""


def _value(text: str) -> Any:
    """A value as TOML has it; what is not TOML is a word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(values: dict[str, Any], path: list[str], value: Any, word: str) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise SettingsError(f"a setting must name a key in a section, as in model.layers=4: got {word!r}.")
    values[path[-1]] = value


def _words(kind: type[Section], problem: Any) -> str:
    """One of pydantic's errors, in our grammar: name, rule, received."""
    place = problem["loc"]  # section, key, then positions, and pydantic's names for the alternatives of a type
    key = ".".join(map(str, [*place[:2], *(part for part in place[2:] if isinstance(part, int))]))
    if problem["type"] == "extra_forbidden":
        known = [name for name, *_ in describe_settings(kind)] if "." in key else list(kind.model_fields)
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return f"unknown setting `{key}`" + (f", did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}")
    rule = problem["msg"][0].lower() + problem["msg"][1:]
    return f"`{key}`: {rule}: got {problem['input']!r}"
