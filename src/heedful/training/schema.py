"""What the JSON files of a run folder must hold: one strict schema a file, whose first error is one line."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from heedful._errors import RunFolderError

_MAX_SHOWN = 80  # characters of what was received


class Schema(BaseModel):
    """Of one file; an unknown key is an error, and so is 1 for "1"."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _words(values: list[Any]) -> list[Any]:
    if wrong := [value for value in values if type(value) is not str][:1]:
        raise ValueError(f"must hold texts: got {received(wrong[0])}")
    if len(set(values)) < len(values):
        raise ValueError("must hold each text once")
    return values


def _several(values: list[Any]) -> list[Any]:
    if len(values) < 2:
        raise ValueError(f"must hold at least two texts: got {len(values)}")
    return values


def _counts(values: dict[Any, Any]) -> dict[Any, Any]:
    wrong = next((pair for pair in values.items() if type(pair[1]) is not int or not 0 < pair[1] < 2**53), None)
    if wrong is not None:
        raise ValueError(f"must hold positive numbers: got {received(wrong[1])} for {received(wrong[0])}")
    return values


# Checked as a whole: of millions of items that are wrong, one is an error.
Words = Annotated[list[Any], AfterValidator(_words)]
Counts = Annotated[dict[Any, Any], AfterValidator(_counts)]
Classes = Annotated[Words, AfterValidator(_several)]


class Manifest(Schema):
    """run.json."""

    format: int
    heedful: str
    torch: str
    task: str
    command: list[str]
    seed: int = Field(ge=0, lt=2**64)
    data: dict[str, str] = Field(min_length=1)
    data_checksums: dict[str, str]
    environment: dict[str, str] = {}
    base: dict[str, str] | None = None  # the run that it goes on from: "run", its folder, and "weights", their checksum
    automatic: list[str] = []  # the settings whose values followed the data
    signature: str = ""
    finished: bool
    stopped: dict[str, int] | None = None  # by a time limit: after which "epoch" of how many "epochs"
    files: dict[str, str]


class Metrics(Schema):
    """metrics.json; a metric may be infinite."""

    model_config = ConfigDict(allow_inf_nan=True)

    task: str
    validation: str
    examples: dict[str, int]
    parameters: int
    non_padding_fraction: float | None = None
    transfer: dict[str, Any] | None = None
    metrics: dict[str, float] = Field(min_length=1)
    units: dict[str, str]
    baselines: dict[str, dict[str, float]]
    details: dict[str, Any]
    note: str
    seconds: float


def checked(schema: type[Schema], content: Any, location: Any) -> dict[str, Any]:
    """The content, which must be an object as the schema says.

    Raises:
        RunFolderError: it is not; the message is one line and begins with `location`.
    """
    if not isinstance(content, Mapping):
        raise RunFolderError(f"{location}: must hold a JSON object: got {type(content).__name__}.")
    unknown = next((key for key in content if key not in schema.model_fields), None)
    if unknown is not None:
        raise RunFolderError(f"{location}: must hold {', '.join(schema.model_fields)}: got `{shown(unknown)}`.")
    try:
        schema.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = shown(".".join(map(str, problem["loc"])))
        rule = problem["msg"].removeprefix("Value error, ")
        got = "" if problem["type"] == "value_error" else f": got {received(problem['input'])}"
        got = ": got none" if problem["type"] == "missing" else got
        raise RunFolderError(f"{location}: `{key}`: {rule[0].lower()}{rule[1:]}{got}.") from None
    return dict(content)


def received(value: Any) -> str:
    """A value as Python writes it, on one line; of a long one the beginning."""
    try:
        return shown(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits, deep nesting
        return f"a {type(value).__name__} that is too large to be shown"


def shown(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
