"""The settings, the options and the vocabulary of forecast."""

from datetime import date, time
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from heedful.training.schema import Schema, Words
from heedful.training.settings import (
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    follows_data,
)

LEVELS = (0.5, 0.8, 0.9, 0.95)  # of the intervals
_MOST_COLUMNS = 100_000


def _part(value: Any) -> Any:
    """A date of TOML is a text; shares are below 1."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float) and not (0 <= value < 1 or value == round(value) >= 1):
        raise ValueError("must be a share below 1, a number of rows, or a time")
    return value


Part = Annotated[float | str, BeforeValidator(_part)]


class ForecastData(Section):
    """Which series are forecast, how far, and from how much of the past."""

    horizon: int = Field(24, ge=1, le=2**20, description="steps that are forecast")
    input_length: int = follows_data(
        ge=1, le=2**20, description="steps of the past that are seen; auto: 512, at most a quarter of the training part"
    )
    columns: tuple[str, ...] = Field((), description="columns that are forecast, by name; none: all that hold numbers")
    known: tuple[str, ...] = Field(
        (), description="columns that are known of the future, too, such as holidays and prices"
    )
    time: str = Field("", description="column of the times; empty: one called time, date or the like, or the first one")
    series: str = Field(
        "", description="column that says which series a row belongs to, where they stand below each other"
    )
    time_format: str = Field("", description="how times are written, such as %d/%m/%Y; empty: as they tell")
    timezone: str = Field("", description="of the clock of the times, such as Europe/Berlin, which is set twice a year")
    decimal: Literal["auto", ".", ","] = Field("auto", description="decimal sign; auto: as the cells tell")
    duplicates: Literal["error", "mean", "first", "last"] = Field(
        "error", description="what two rows of one time are: an error, or their mean, the first or the last of them"
    )
    train: Part = Field(
        "auto",
        description="training part: rows, a share below 1, or the time at which it ends; auto: what the others leave",
    )
    valid: Part = Field(0.1, description="validation part, which follows; likewise")
    test: Part = Field(0.1, description="test part, which follows; likewise; 0: none")


class ForecastModel(Section):
    """A linear path, to which attention over patches of the past adds."""

    ridge: bool = Field(True, description="the linear path begins as a ridge regression in closed form; false: at 0")
    attention: Literal["time", "both", "none"] = Field(
        "time", description="over patches of time; both: over channels, too; none: the linear path alone"
    )
    patch: int = follows_data(
        ge=1,
        le=2**20,
        description="steps of a patch; auto: the period that is found, such as a day, from 4 to 64; else 16",
    )
    stride: int = Field(0, ge=0, description="steps from patch to patch; 0: those of a patch, so that none overlap")
    width: int = Field(16, ge=1, description="features of a patch")
    heads: int = Field(4, ge=1, description="attention heads")
    ffn_width: int = Field(128, ge=1, description="features inside each layer's network")
    layers: int = Field(3, ge=1, description="layers of attention")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of features that training sets to 0")
    cycle: int = follows_data(
        ge=0,
        le=2**20,
        description="steps of a learned table that recurs, such as 24 hours; 0: none; auto: the period that is found",
    )
    calendar: bool = Field(
        True, description="whether the place in the day, the week and the year is seen, where there is a calendar"
    )


class ForecastIntervals(Section):
    """How intervals follow what a forecast got wrong."""

    adapt: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="by which share an interval grows where it misses; 0: they stay as fitted on the validation part",
    )


@defaults(batch_size=128, learning_rate=3e-4, weight_decay=1e-2)
class ForecastTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 5, or more where these are fewer than 500 steps"
    )
    linear_rate: float = Field(
        0.0, ge=0, description="learning rate of the linear path, as a share; 0: it stays as it was solved"
    )


class ForecastSettings(TaskSettings):
    """All settings of forecast."""

    data: ForecastData = ForecastData()
    model: ForecastModel = ForecastModel()
    intervals: ForecastIntervals = ForecastIntervals()
    training: ForecastTraining = ForecastTraining()


class ForecastOptions(Section):
    """What is predicted of a series."""

    level: float = Field(0.9, description="share of the values that the intervals are to hold: 0.5, 0.8, 0.9 or 0.95")
    windows: int = Field(
        0,
        ge=0,
        le=100_000,
        description="forecast the last so many windows of the series, whose values are known, instead of what follows",
    )

    @field_validator("level")
    @classmethod
    def _fitted(cls, level: float) -> float:
        if level not in LEVELS:
            raise ValueError(f"must be one of {', '.join(map(str, LEVELS))}")
        return level


class ForecastVocabulary(Schema):
    """What the weights know by number, and what the training part told."""

    columns: Words
    known: Words
    calendar: list[Literal["day", "week", "year"]]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    seasonal_error: list[Annotated[float, Field(ge=0)]]  # mean, of the seasonal-naive forecast one period ahead
    period: int = Field(ge=1, le=2**20)
    start: str  # the first time of the training part
    end: str  # that at which the validation part ended
    frequency: list[Any] = Field(min_length=2, max_length=2)
    calibration: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> "ForecastVocabulary":
        count = len(self.columns)
        if not 1 <= count <= _MOST_COLUMNS or len(self.seasonal_error) != count:
            raise ValueError("must have an error for each column")
        if not len(self.mean) == len(self.std) == count + len(self.known):
            raise ValueError("must have a mean and a deviation for each column")
        return self
