"""Settings: pydantic sections whose defaults stand in one place, read from a commented TOML file and `key=value` words."""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from heedful._errors import SettingsError
from heedful._files import convert
from heedful.training.schema import received, shown
from heedful.training.setting_names import meant

_LARGEST = 1 << 20  # bytes of a file of settings
_MAX_ERRORS = 10  # that are told at once
_TAG = "architecture"  # the key that tells apart the models of a task
AUTO = "auto"  # the value of a setting that follows the data


def follows_data(default: Any = AUTO, **about: Any) -> Any:
    """A setting that may be "auto", which is its default where no other is given: `Task.adapt` chooses it by the data."""
    return Field(default, json_schema_extra={AUTO: True}, **about)


class Section(BaseModel):
    """A table of settings; an unknown key is an error.

    Attributes:
        suits: settings of other sections that suit this one where nobody sets them: `{"training": {"epochs": 20}}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    suits: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _automatic(cls, values: Any, validate: Callable[[Any], Self]) -> Self:
        """What is "auto" stays so, where it may be."""
        fields = cls.model_fields
        automatic = [
            key for key in fields if isinstance(values, dict) and values.get(key) == AUTO and _may_be_auto(fields[key])
        ]
        if not automatic:
            return validate(values)
        section = validate({key: value for key, value in values.items() if key not in automatic})
        vars(section).update(dict.fromkeys(automatic, AUTO))  # it is frozen, and must be the one that was made
        section.model_fields_set.update(automatic)
        return section


S = TypeVar("S", bound=Section)


def defaults(**values: Any) -> Callable[[type[S]], type[S]]:
    """Gives a section that inherits its settings other defaults for some of them: `@defaults(epochs=9)`."""

    def change(section: type[S]) -> type[S]:
        for name, value in values.items():
            field = copy(section.model_fields[name])
            field.default = value
            section.model_fields[name] = field
        section.model_rebuild(force=True)
        return section

    return change


class NoOptions(Section):
    """Of a task whose `predict` has no options."""


class TrainingSettings(Section):
    """How a model is trained; the same for every task."""

    seed: int = Field(1, ge=0, description="all randomness follows from it")
    epochs: int = follows_data(50, ge=1, description="passes over the training data")
    batch_size: int = follows_data(64, ge=1, description="examples a step; auto: what is fastest on this machine")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW, at its highest")
    warmup_ratio: float = Field(
        0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises; then it falls as a cosine"
    )
    weight_decay: float = Field(0.05, ge=0, description="of matrices; biases, norms and positions have none")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of gradients")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="AdamW's decay of squared gradients; lower where some weights are seldom used"
    )
    gradient_clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema_decay: float = Field(
        0.98, ge=0, lt=1, description="decay of the moving average of the weights that is evaluated and kept; 0: none"
    )
    average_last_epochs: int = Field(
        0,
        ge=0,
        description="keep the mean of the weights after this many last epochs; 0: the weights of the best epoch",
    )
    patience: int = Field(
        0, ge=0, description="stop after this many epochs without a better validation metric; 0: never"
    )
    max_examples: int = Field(0, ge=0, description="train on the first so many examples; 0: on all")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="mixed precision: bf16-mixed, or 16-mixed on a GPU"
    )
    logger: Literal["none", "tensorboard", "trackio", "wandb", "mlflow"] = Field(
        "none", description="a program that shows the training while it goes on; each is an extra of the package"
    )


class TransferSettings(Section):
    """How a training goes on from a run (`--from`); the same for every task."""

    frozen: bool = Field(
        False, description="with --from: what is taken as it is stays so; what is new is trained, and labels"
    )
    learning_rate: float = Field(
        0.0,
        ge=0,
        description="with --from: of what is taken, at its highest; 0: training.learning_rate, as all that is new",
    )
    labels: Literal["known", "new"] = Field(
        "known",
        description="with --from: weights of labels that the run knows are taken, at least one; new: all begin anew",
    )


def epochs_for(examples: int, training: TrainingSettings, *, usual: int, steps: int) -> int:
    """The usual number of epochs; of few data as many more as make so many steps, of at least one an epoch.

    Args:
        examples: how many there are, counted as the batch size is.
        training: of which the batch size is taken; where it is to be found, the usual one.
        usual: the number of epochs with many data.
        steps: what few data need.
    """
    usual_size = type(training).model_fields["batch_size"].default
    size = training.batch_size if isinstance(training.batch_size, int) else usual_size
    return max(usual, math.ceil(steps / max(math.ceil(examples / size), 1)))


class RowSettings(Section):
    """What is done with rows, or files, that are not what they should be."""

    bad_rows: Literal["stop", "skip"] = Field(
        "stop", description="a bad row or file: stop with its error; or skip it, and say how many there were"
    )
    max_bad_rows: float = Field(0.05, ge=0, lt=1, description="the largest share of rows that may be skipped")

    @property
    def skip(self) -> float | None:
        """The largest share of bad rows that may be skipped; None: the first one is an error."""
        return None if self.bad_rows == "stop" else self.max_bad_rows


class LossSettings(Section):
    """What is minimized: a cross entropy."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all labels")


class TaskSettings(Section):
    """All settings of a task: sections, of which `model` may be one of several, told apart by its `architecture`."""

    training: TrainingSettings = TrainingSettings()
    transfer: TransferSettings = TransferSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Adds the default architecture where none is set, and the defaults that suit the chosen one."""
        if not isinstance(values, dict) or not isinstance(values.get("model", {}), dict):
            return values
        chosen = _architectures(cls)
        if len(chosen) < 2:
            return values
        default = getattr(cls.model_fields["model"].default, _TAG)
        model = {_TAG: default, **values.get("model", {})}
        values = {**values, "model": model}
        own = chosen.get(model[_TAG]) if isinstance(model[_TAG], str) else None
        for name, suited in (own.suits if own else {}).items():
            if isinstance(values.get(name, {}), dict):
                values[name] = {**suited, **values.get(name, {})}
        return values


def _architectures(kind: type[Section]) -> dict[str, type[Section]]:
    """The sections that `model` can be, by the architectures they are for; of a task with one kind of model that one, by no name."""
    field = kind.model_fields.get("model")
    if field is None:
        return {}
    options: list[Any] = [*(get_args(field.annotation) or (field.annotation,))]
    if len(options) == 1:
        return {"": options[0]}
    return {name: option for option in options for name in get_args(option.model_fields[_TAG].annotation)}


def settings_of(
    kind: type[S],
    assignments: Sequence[str] | Mapping[str, Any] = (),
    config: str | Path | None = None,
    preset: Sequence[str] = (),
    base: S | None = None,
) -> S:
    """Settings of a `kind`: the defaults or a base, changed by a TOML file, or else a preset, then by assignments.

    Args:
        kind: a section of sections.
        assignments: words such as "model.layers=4"; or a mapping, `{"model.layers": 4}` or `{"model": {"layers": 4}}`.
        config: a TOML file.
        preset: words that suit the data, where there is no file.
        base: settings in place of the defaults; with another architecture, those of the model are its defaults.

    Raises:
        SettingsError: for all unknown keys and impossible values at once, with the nearest known name.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            with open(config, "rb") as file:
                content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise SettingsError(f"{config}: a file of settings must have at most {_LARGEST:,} bytes: got more.")
            values = tomllib.loads(content.decode("utf-8-sig"))
        except SettingsError:
            raise
        except UnicodeDecodeError:
            raise SettingsError(f"{config}: must be a TOML file in UTF-8: {convert(content)}.") from None
        except (ValueError, RecursionError) as error:
            line = re.search(r" \(at line (\d+), column \d+\)", str(error))
            number, rule = (f":{line[1]}", str(error).replace(line[0], "")) if line else ("", str(error))
            raise SettingsError(f"{config}{number}: must be a TOML file: {shown(rule)}.") from None
        except OSError as error:
            raise SettingsError(f"{config}: the settings cannot be read: {error.strerror}.") from None
    words = [] if config is not None else list(preset)
    if isinstance(assignments, str):
        raise SettingsError(f"settings must be a mapping or a list of words: got {assignments!r}.")
    words += [] if isinstance(assignments, Mapping) else assignments
    for word in words:
        key, equals, text = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not equals or not key.strip():
            raise SettingsError(f"a setting must be written key=value, as in model.layers=4: got {received(word)}.")
        _assign(values, key.strip().split("."), _value(text.strip()), word)
    for key, value in flat(assignments) if isinstance(assignments, Mapping) else ():
        _assign(values, key.split("."), value, f"{key}={value!r}")
    if base is not None:
        values = _over(base, values)
    return validated(kind, values, "" if config is None else f"{config}: ")


def validated(kind: type[S], values: Mapping[str, Any], location: str = "") -> S:
    """A section with these values.

    Raises:
        SettingsError: for all unknown keys and impossible values at once.
    """
    if (key := _too_large(values)) is not None:
        raise SettingsError(f"{location}`{shown(key)}`: must have numbers from -2**53 to 2**53.")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(location + explained(kind, values, error)) from None


def explained(kind: type[Section], values: Mapping[str, Any], error: ValidationError) -> str:
    """All of pydantic's errors in one sentence."""
    problems = error.errors(include_url=False)
    words = "; ".join(dict.fromkeys(_words(kind, values, problem) for problem in problems[:_MAX_ERRORS]))
    words += f"; and {len(problems) - _MAX_ERRORS:,} more" if len(problems) > _MAX_ERRORS else ""
    return words if words.endswith("?") else f"{words}."


def automatic(settings: Section) -> Iterator[str]:
    """The names of all settings that are still to be chosen by the data: "training.epochs"."""
    for name, section in settings:
        if isinstance(section, Section):
            for key, field in type(section).model_fields.items():
                if _may_be_auto(field) and getattr(section, key) == AUTO:
                    yield f"{name}.{key}"


def decided(settings: S, values: Mapping[str, Any]) -> S:
    """The settings with a value for each that is "auto"; those that are not stay as they are.

    Raises:
        SettingsError: one of them has no value.
    """
    for name in automatic(settings):
        if name not in values:
            raise SettingsError(f"`{name}`: must have a value, which this task does not choose by the data: got auto.")
        section, key = name.split(".")
        changed = getattr(settings, section).model_copy(update={key: values[name]})
        settings = settings.model_copy(update={section: changed})
    return settings


def values_of(settings: Section) -> dict[str, Any]:
    """All settings by their names: {"training.epochs": 12}."""
    sections = ((name, section) for name, section in settings if isinstance(section, Section))
    return {f"{name}.{key}": value for name, section in sections for key, value in section}


def write_settings(settings: Section, title: str) -> str:
    """The settings as a TOML text in which a comment explains each key."""
    document = tomlkit.document()
    document.add(tomlkit.comment(title))
    shared = list(TaskSettings.model_fields)  # what all tasks have comes last
    for name, section in sorted(settings, key=lambda pair: pair[0] in shared):
        table = tomlkit.table()
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            choices = _choices(field)
            if key == _TAG:
                choices = f"({', '.join(_architectures(type(settings)))})"
            table.add(tomlkit.comment(" ".join(filter(None, [field.description, choices]))))
            table.add(key, list(value) if isinstance(value, tuple) else value)
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document)


def other_architectures(kind: type[TaskSettings]) -> Iterator[TaskSettings]:
    """The default settings with each section that `model` can be, but the first."""
    for section in list(dict.fromkeys(_architectures(kind).values()))[1:]:
        yield kind.model_validate({"model": {_TAG: section.model_fields[_TAG].default}})


def describe_settings(kind: type[Section], architecture: str | None = None) -> Iterator[tuple[str, Any, str, str]]:
    """(key, default, type or choices, meaning) of every setting; of several models those of one architecture, or of all."""
    for name, field in kind.model_fields.items():
        sections: list[Any] = [field.annotation]
        if name == "model" and issubclass(kind, TaskSettings):
            known = _architectures(kind)
            sections = [known[architecture]] if architecture in known else list(dict.fromkeys(known.values()))
        for section in sections:
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", inner.default, _choices(inner), inner.description or ""


def _over(base: Section, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of sections, and those of a base where there are none."""
    known, model = base.model_dump(warnings=False), values.get("model")  # "auto" may stand for a number
    if isinstance(model, dict) and _TAG in model and model[_TAG] != known["model"].get(_TAG):
        del known["model"]
    for name, own in values.items():
        known[name] = (
            known.get(name, {}) | own if isinstance(own, dict) else own
        )  # what is no section is an error later
    return known


def _may_be_auto(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and AUTO in field.json_schema_extra


def _choices(field: FieldInfo) -> str:
    """The words that a setting can be, where they are few."""
    return f"({', '.join(map(str, get_args(field.annotation)))})" if get_origin(field.annotation) is Literal else ""


def _value(text: str) -> Any:
    """A value as TOML; what is not TOML is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _too_large(values: Any) -> str | None:
    """The key of an integer that neither a float nor a tensor can hold."""
    waiting: list[tuple[str, Any]] = [("", values)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(f"{key[:40]}.{name}".lstrip("."), inner) for name, inner in items]
        elif isinstance(value, int) and abs(value) > 2**53:
            return key
    return None


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested sections as dotted names with their values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _assign(values: dict[str, Any], path: list[str], value: Any, word: str) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise SettingsError(f"a setting must name a key in a section, as in model.layers=4: got {word!r}.")
    values[path[-1]] = value


def _words(kind: type[Section], values: Mapping[str, Any], problem: Any) -> str:
    """One of pydantic's errors, in our grammar: name, rule, received."""
    known_models = _architectures(kind)
    location = [part for part in problem["loc"] if part not in known_models or part == ""]  # a union adds its tag
    key = ".".join(map(str, [*location[:2], *(part for part in location[2:] if isinstance(part, int))]))
    if problem["type"] == "union_tag_invalid":
        return f"`model.{_TAG}`: must be one of {', '.join(known_models)}: got {received(values['model'][_TAG])}"
    if problem["type"] == "extra_forbidden":
        model = values.get("model")
        architecture = model.get(_TAG) if isinstance(model, dict) else None
        if architecture is None and len(known_models) > 1:
            architecture = next(iter(known_models))
        nested = any(isinstance(field.default, Section) for field in kind.model_fields.values())
        known, sections = list(kind.model_fields), list(kind.model_fields)
        if nested:
            known = [name for name, *_ in describe_settings(kind, architecture)]
            if key in {name for name, *_ in describe_settings(kind)}:
                return f"`{key}` is no setting of model.{_TAG} = {received(architecture)}"
        key = shown(key)
        if nested and isinstance(problem["input"], dict):  # a section that is not there
            near = difflib.get_close_matches(key, sections, n=1, cutoff=0.5)
            inner = shown(str(next(iter(problem["input"]), "")))
            hint = f", did you mean `{near[0]}`?" if near else meant(f"{key}.{inner}", known)
        else:
            hint = meant(key, known)
        return f"unknown setting `{key}`{hint or '; known: ' + ', '.join(sections if '.' not in key else known)}"
    rule = problem["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    return f"`{key}`: {rule}: got {received(problem['input'])}"
