"""What a task is: all that differs from one task to the next, and nothing else. `heedful/tasks/run.py` drives it."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor, nn

from heedful._errors import HeedfulError
from heedful.data.inputs import InputKind
from heedful.data.splits import Splitter
from heedful.training.objective import Batches, Mean, Pooled
from heedful.training.schema import Schema
from heedful.training.settings import NoOptions, Section, TaskSettings

if TYPE_CHECKING:
    from heedful.report import AttentionSection
    from heedful.tasks.forward_pass import ForwardPass

Part = Literal["train", "valid", "test"]


class Examples(Protocol):
    """Data of a task, read and checked."""

    def __len__(self) -> int: ...
    def select(self, rows: Iterable[int]) -> Self: ...
    def content(self) -> Iterator[bytes]: ...  # of which the checksum is taken


class Metric(NamedTuple):
    """A value and its unit: "%" of a share from 0 to 1; otherwise "nats", "bits", "BLEU", "px", ..."""

    value: float
    unit: str = "%"


class Scores(NamedTuple):
    """What metrics.json says of predictions."""

    metrics: Mapping[str, Metric]  # the first one is compared first
    details: Mapping[str, Any] = {}
    note: str = ""  # what a reader should know, such as why there are no baselines


class Embedded(NamedTuple):
    """Data that need no file: the parts that `Task.read` knows, and settings that suit them."""

    parts: tuple[Part, ...] = ("train", "test")
    settings: tuple[str, ...] = ()  # as words: "model.width=64"
    validation: str = ""  # what its part "valid" is, in words


class Shortcut(NamedTuple):
    """A flag of `heedful train` in place of a setting."""

    setting: str  # "model.objective=masked"
    help: str


class Rows(NamedTuple):
    """What the last rows of a tensor are named; any before them, such as that of padding, have the same meaning in each run."""

    kind: str  # "labels", "words", ...
    names: Sequence[str]


class Reading(NamedTuple):
    """What is read: which part of embedded data, whether with labels, and the vocabulary of a trained task."""

    part: Part = "train"
    labeled: bool = True
    vocabulary: Mapping[str, Any] | None = None


TRAINING = Reading()
HIGHER_IS_BETTER = ("%", "of 100", "of 10", "of 1")  # units of such metrics; the others are losses


E = TypeVar("E", bound=Examples)


class Task(abc.ABC, Generic[E]):
    """A task with its settings and its vocabulary: what the weights know by number, as JSON. Final classes only."""

    name: ClassVar[str]
    example: ClassVar[str]  # the noun of one: "sentence"
    unit: ClassVar[str]  # what speed is counted in: "words"
    Settings: ClassVar[type[TaskSettings]]
    Options: ClassVar[type[Section]] = NoOptions  # --top-k 40 on the command line, predict(..., top_k=40) in Python
    Vocabulary: ClassVar[type[Schema] | None] = (
        None  # what `learn` gives and vocabulary.json must hold; None: any object
    )
    input: ClassVar[InputKind]  # how inputs are read from words, files and standard input
    scored_with: ClassVar[Mapping[str, Any]] = {}  # options by which predictions are scored; others are the defaults
    lists: ClassVar[bool] = False  # whether a text may also be given as a list, of its words or its sentences
    split: ClassVar[Splitter]  # how examples are held out
    prediction: type[Any] | None = (
        None  # the dataclass of predictions, where the signature of `predict` does not say it
    )
    monitor: str = "loss"  # what chooses the best epoch: the loss, or a metric: higher is better, of "-metric" lower
    embedded: ClassVar[Mapping[str, Embedded]] = {}
    shortcuts: ClassVar[Mapping[str, Shortcut]] = {}
    formats: ClassVar[
        Mapping[str, Callable[[Iterable[Any]], Iterator[str]]]
    ] = {}  # of `predict --format`: the lines of predictions
    optimizers: Mapping[str, float] = {"": 1.0}  # the beginning of its parameters' names: share of the rate

    def __init__(self, settings: Any, vocabulary: Mapping[str, Any]) -> None:
        self.settings, self.vocabulary = settings, vocabulary

    @classmethod
    @abc.abstractmethod
    def read(cls, source: Any, settings: Any, reading: Reading = TRAINING) -> E:
        """Examples of a path, an embedded name or Python data. Raises DataError: location, rule, what was found."""

    @classmethod
    def adapt(cls, training: E, settings: Any) -> Mapping[str, Any]:
        """What each setting that is "auto" becomes with these training examples: {"training.epochs": 12}."""
        return {}

    @classmethod
    @abc.abstractmethod
    def learn(cls, training: E, settings: Any) -> dict[str, Any]:
        """The vocabulary: classes, words, the text of a tokenizer, the size of an image, a mean and a standard deviation."""

    @classmethod
    def extend(cls, training: E, settings: Any, base: Self) -> dict[str, Any]:
        """The vocabulary of a training that goes on from a run, whose task is `base`: with the words that it knows, too."""
        return cls.learn(training, settings)

    @abc.abstractmethod
    def describe(self) -> str:
        """The vocabulary in a few words: "2 classes"."""

    @abc.abstractmethod
    def check(self, examples: E) -> None:
        """Raises DataError for a label that the vocabulary lacks, or an input that the model has no positions for."""

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """A new model. Raises ValueError for settings that do not fit each other."""

    def begin(self, model: Any, base: Self | None = None) -> list[str]:
        """Puts weights into a new model that others have trained; gives notes for a reader. A loaded run does without it.

        `base`: the task of the run that the training goes on from, whose weights come after.
        """
        return []

    def prepare(self, model: Any, training: E, validation: E) -> list[str]:
        """Trains what no optimizer does, before all else, such as a classifier that judges; gives notes for a reader."""
        return []

    def rates(self, model: Any) -> Mapping[str, float]:
        """The share of the learning rate that a parameter has, by its name; 0: it stays as it is; of others 1."""
        return {}

    def rows(self) -> Mapping[str, Rows] | None:
        """The names of rows of the model's tensors, by the ends of the tensors' names; None: it is not known which have any.

        A training that goes on from a run takes a row that has the same name there. Rows of "labels" are always trained.
        """
        return None

    @abc.abstractmethod
    def batches(self, examples: E, *, training: bool) -> Batches:
        """The examples as tensors."""

    @abc.abstractmethod
    def loss(self, model: Any, batch: Any, optimizer: str) -> Tensor:
        """What an optimizer minimizes."""

    @abc.abstractmethod
    def validate(self, model: Any, batch: Any) -> Mapping[str, Mean | Pooled]:
        """The loss, "loss", and whatever else is to stand in log.csv and may be monitored."""

    def epoch_files(self, model: Any, epoch: int) -> Mapping[str, bytes]:
        """What the run folder keeps of an epoch, from 1 on, such as samples: {"samples/epoch-0001.png": ...}."""
        return {}

    def warning(self, before: Mapping[str, float], now: Mapping[str, float]) -> str:
        """What the metrics of an epoch, and of the one before it, tell of a training that goes wrong; else nothing.

        As log.csv has them, by name; before the first epoch there are none.
        """
        return ""

    def calibrate(self, model: Any, examples: E) -> dict[str, Any]:
        """What is fitted on the validation part after the training; the vocabulary keeps it as `calibration`."""
        return {}

    @abc.abstractmethod
    def predict(
        self, model: Any, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Any]:
        """Predictions for the inputs, in their order, as many for each; samples depend on its number, from 0 on.

        Frozen dataclasses whose fields are the JSON line, `input` first and the answer in `label`, `labels`, `items`,
        `number` or `output`, with `__str__`, a line to read, and `to_format`, the task's data format.
        Where `input` is InputKind.NONE, the options say how many there are.
        """

    def listen(self, model: Any, stream: Any, options: Any) -> Iterator[Any]:
        """Predictions of a binary stream that need not end, each as soon as it is known; an option `stream` asks for them."""
        raise HeedfulError(f"{self.name} takes no stream.")

    def file(self, prediction: Any, options: Any) -> tuple[str, bytes]:
        """A prediction as a file, by the end of its name and its bytes: what `heedful predict --out` writes.

        A prediction with a field `file` is told where it is.
        """
        raise HeedfulError(f"{self.name} predicts nothing that would be a file of its own: leave out --out.")

    def plot(self, predictions: Sequence[Any], path: str) -> None:
        """Draws predictions into one file, .png, .svg or .pdf: what `heedful predict --plot` writes."""
        raise HeedfulError(f"{self.name} draws no predictions: leave out --plot.")

    def forward_pass(self) -> "ForwardPass":
        """What `heedful export` writes. Raises HeedfulError where a prediction is more than one forward pass of the model."""
        raise HeedfulError(
            f"{self.name} cannot be exported: its prediction is more than one forward pass of its model."
        )

    @abc.abstractmethod
    def inputs(self, examples: E) -> Sequence[Any]:
        """What `predict` is given of examples."""

    @abc.abstractmethod
    def score(self, predictions: Sequence[Any], examples: E) -> Scores:
        """The metrics; the same for the model and for every baseline."""

    @abc.abstractmethod
    def baselines(self, training: E, examples: E) -> Mapping[str, Sequence[Any]]:
        """The predictions of simple methods that are fitted on the training examples."""

    def beside_training(self, predictions: Sequence[Any], examples: E, training: E) -> Mapping[str, Any]:
        """Details of the metrics that need the training examples, such as how near predictions come to them."""
        return {}

    def alone(self, examples: E, most: int) -> list[tuple[E, Any]]:
        """At most so many of the examples, evenly spaced: each alone, with what `inspect` is given of it."""
        ones = [examples.select([row]) for row in range(0, len(examples), -(-len(examples) // most))]
        return [(one, self.inputs(one)[0]) for one in ones]

    def expected(self, example: E) -> str:
        """The right answer of an example that stands alone, in words; nothing where there is none to be told."""
        return ""

    @abc.abstractmethod
    def inspect(self, model: Any, inputs: Sequence[Any]) -> "list[AttentionSection]":
        """A section of a report for each input; where there are none, as InputKind.NONE has it, for some predictions."""
