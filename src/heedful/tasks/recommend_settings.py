"""The settings, the options, the vocabulary and the predictions of recommend."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from heedful._terminal import visible
from heedful.data.events import EventColumns
from heedful.data.histories import SplitName
from heedful.models.recommender import LossName
from heedful.tasks.encoder_settings import EncoderSettings
from heedful.training.schema import Schema, Words
from heedful.training.settings import RowSettings, Section, TaskSettings, TrainingSettings, defaults, follows_data

NEGATIVES = {"sampled-softmax": 512, "bce": 1, "gbce": 256}  # that are drawn, where nothing else is said


class RecommendData(RowSettings):
    """Which events, and which of them are held out."""

    user: str | int = Field("user", description="the column of users: its name, or its number from 1")
    item: str | int = Field("item", description="the column of items")
    time: str | int = Field(
        "auto", description="the column of times; auto: where one is called so; none: it is not read"
    )
    weight: str | int = Field(
        "auto", description="the column of positive weights, by which targets count in the loss; likewise"
    )
    split: SplitName = Field(
        "leave-one-out",
        description="what is held out: the last two items of each user; by time, what comes after 80 % and 90 % of the events; or users",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop",
        description="the same item of a user at the same time; without times, right after itself: drop all but the first, or keep",
    )
    max_length: int = Field(
        50, ge=1, description="the most items of a history that the model sees at once: the last ones"
    )
    keep_users: bool = Field(
        True, description="the run folder keeps the histories of the users, so that predict knows them by their names"
    )

    @property
    def columns(self) -> EventColumns:
        """Which columns hold what."""
        return EventColumns(self.user, self.item, self.time, self.weight)


@defaults(width=64, heads=2, layers=1, dropout=0.3, positions="learned")
class RecommendModel(EncoderSettings):
    """A causal encoder over the items of a history."""

    time_bias: bool = Field(False, description="a learned bias for the time between two items; needs a column of times")


class RecommendLoss(Section):
    """What is minimized: how much less likely than others the next item seems."""

    kind: LossName = Field(
        "sampled-softmax",
        description="softmax: among all items, at a cost that follows their number; the others: among drawn items",
    )
    negatives: int = Field(
        0, ge=0, description="how many items are drawn; 0: 512 for a sampled softmax, 256 for gbce, 1 a target for bce"
    )
    sampling: Literal["uniform", "popularity"] = Field(
        "uniform", description="how they are drawn: each alike, or by the root of how often they occur"
    )
    log_q: bool = Field(
        True,
        description="sampled-softmax: correct the scores by how often an item is drawn, so that it estimates softmax",
    )
    calibration: float = Field(
        0.75,
        ge=0,
        le=1,
        description="gbce: 0 is binary cross entropy; 1 gives probabilities as if all items were drawn",
    )


class RecommendMeasure(Section):
    """How recommendations are measured."""

    seen: Literal["removed", "kept"] = Field(
        "removed", description="whether items of the history can be recommended, in metrics as in predict"
    )


@defaults(
    batch_size=128, learning_rate=1e-3, warmup_ratio=0.02, weight_decay=0.0, beta2=0.98, ema_decay=0.0, patience=10
)
class RecommendTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 60, or more where these are fewer than 3,000 steps"
    )


class RecommendSettings(TaskSettings):
    """All settings of recommend."""

    data: RecommendData = RecommendData()
    model: RecommendModel = RecommendModel()
    loss: RecommendLoss = RecommendLoss()
    measure: RecommendMeasure = RecommendMeasure()
    training: RecommendTraining = RecommendTraining()


class RecommendOptions(Section):
    """What is recommended."""

    top_k: int = Field(10, ge=1, le=100_000, description="how many items")
    exclude: str = Field("", description="items that are not recommended, written as a history is")
    within: str = Field("", description="items of which alone some are recommended, written as a history is")
    seen: Literal["", "removed", "kept"] = Field(
        "", description="whether items of the history are recommended; by default as the metrics have it (measure.seen)"
    )


class RecommendVocabulary(Schema):
    """What the weights know by number."""

    items: Words = Field(min_length=2)
    counts: list[int]  # how often each item occurs in the training part
    time_unit: float = Field(gt=0)  # seconds, or whatever the times are counted in
    users: dict[str, list[int]]  # the last items of each user, numbers from 0
    user_times: dict[str, list[float]]  # of them, where the model knows times

    @model_validator(mode="after")
    def _fits(self) -> "RecommendVocabulary":
        count = len(self.items)
        if len(self.counts) != count or any(not 0 <= one < 2**53 for one in self.counts):
            raise ValueError(f"must have {count:,} counts, none of them negative")
        if any(not 0 <= number < count for numbers in self.users.values() for number in numbers):
            raise ValueError(f"must have users with items from 0 to {count - 1:,}")
        if any(len(times) != len(self.users.get(user, ())) for user, times in self.user_times.items()):
            raise ValueError("must have a time for each item of a user")
        return self


@dataclass(frozen=True)
class Recommendation:
    """The items that are recommended for a history.

    Attributes:
        input: the history, as it was given; of a file the user.
        items: the best first.
        scores: of the items: the larger, the likelier.
        unknown: items of the history that the model does not know; they are skipped.
        rank: where the right item stands among all items, from 1; None where none is known.
        sampled_rank: where it stands among itself and 100 drawn items that are not in the history.
    """

    separator: ClassVar[str] = "\t"  # of items, as `--format label` prints them

    input: str
    items: list[str]
    scores: list[float]
    unknown: list[str]
    rank: int | None = field(default=None, metadata={"json": "set"})
    sampled_rank: int | None = field(default=None, metadata={"json": "set"})

    def to_format(self) -> str:
        """The items on one line, as a history is written."""
        return "\t".join(self.items)

    def __str__(self) -> str:
        best = ", ".join(f"{visible(item)} {score:.2f}" for item, score in zip(self.items, self.scores, strict=True))
        return f"{best}; unknown: {', '.join(map(visible, self.unknown))}" if self.unknown else best
