"""What is the same for every task: from data to a run folder, and from a run folder to predictions."""

import math
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch

from heedful._errors import DataError, HeedfulError, RunFolderError, SettingsError, enough_memory
from heedful._files import user_path
from heedful._signals import TO_END, TO_END_SOON, ending_on
from heedful._terminal import visible, working
from heedful.data.inputs import InputKind
from heedful.tasks.batch_size import with_batch_size
from heedful.tasks.catalog import find, reference
from heedful.tasks.contract import Reading, Task
from heedful.tasks.evaluation import Evaluation, evaluated, may_read, named, training_of
from heedful.tasks.loading import built, task_and_model
from heedful.tasks.memory import less_memory
from heedful.tasks.sources import IN_MEMORY, checksum, counted, located, notes_of, prepare, preset, read, source_of
from heedful.tasks.task_inputs import listed
from heedful.tasks.transfer import Base, base_of, rates_of, transfer
from heedful.training.lock import locked
from heedful.training.run_folder import RunFolder, config_matches
from heedful.training.settings import (
    TransferSettings,
    automatic,
    flat,
    settings_of,
    validated,
    values_of,
    write_settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from heedful.report.page import Report


@final
class TrainedModel:
    """A task with trained weights, as `heedful.train` and `heedful.load` give it. It can be pickled.

    Args:
        task: with its settings and its vocabulary.
        model: the network.
        folder: its run folder.
        training: the examples that it was trained on, where they are available.
    """

    def __init__(self, task: Task[Any], model: torch.nn.Module, folder: RunFolder, training: Any = None) -> None:
        self.task, self.model, self.folder = task, model.eval(), folder
        self._training = training

    def __repr__(self) -> str:
        return (
            f"<{self.task.name}, {self.task.describe()}, {parameters_of(self.model):,} parameters: {self.folder.path}>"
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of the training."""
        return self.folder.metrics()

    def predict(self, inputs: Any = (), **options: Any) -> list[Any]:
        """The prediction for an input, or for each of several; the options are those of the task.

        Args:
            inputs: one, or any iterable of them: a text, a path, an array, ..., as the task has it; or examples that were read.
                A task without inputs is given none: its options say how many predictions are made.
            **options: of the task, as `heedful predict RUN --help` shows them.

        Raises:
            DataError: an input that the model cannot take.
            SettingsError: an option that the task lacks, or an impossible value.
            OutOfMemoryError: the message names what needs less.
        """
        with enough_memory(less_memory(self.task, predicting=True)):
            return self.task.predict(self.model, listed(inputs, self.task), self.options(options))

    def stream(self, chunks: Iterable[Sequence[Any]], **options: Any) -> Iterator[Any]:
        """Predictions for inputs that arrive in chunks; samples do not depend on how inputs are cut into chunks.

        Where an input cannot be taken, the predictions for those before it come first.
        """
        with enough_memory(less_memory(self.task, predicting=True)):
            yield from self._stream(chunks, self.options(options))

    def listen(self, stream: Any, /, **options: Any) -> Iterator[Any]:
        """Predictions of a binary stream, such as raw samples of a microphone, each as soon as it is known.

        Raises:
            DataError: the stream holds what cannot be taken.
            HeedfulError: the task takes no stream.
        """
        with enough_memory(less_memory(self.task, predicting=True)):
            yield from self.task.listen(self.model, stream, self.options(options))

    def _stream(self, chunks: Iterable[Sequence[Any]], chosen: Any) -> Iterator[Any]:
        first = 0
        for chunk in chunks:
            try:
                yield from self.task.predict(self.model, chunk, chosen, range(first, first + len(chunk)))
            except DataError:
                for number, one in enumerate(chunk, start=first):
                    try:
                        yield from self.task.predict(self.model, [one], chosen, [number])
                    except DataError as error:
                        if error.before is not None:
                            yield from self.task.predict(self.model, [error.before], chosen, [number])
                        location = (
                            f"input {number + 1}: "
                            if self.task.input is InputKind.TEXT and isinstance(one, str)
                            else ""
                        )
                        raise DataError(f"{location}{error}") from None
            first += len(chunk)
        if self.task.input is InputKind.NONE:
            yield from self.task.predict(self.model, [], chosen)

    def options(self, values: Mapping[str, Any]) -> Any:
        """The options of the task; those that are None are not set."""
        return validated(type(self.task).Options, {name: value for name, value in values.items() if value is not None})

    def read_inputs(self, source: Any, say: Callable[[str], None] | None = None) -> Sequence[Any]:
        """The inputs that a file of the task's own format holds, labeled or not; `say` is told what was taken for what."""
        task = self.task
        examples = read(type(task), source_of(source), task.settings, Reading("test", False, task.vocabulary))
        if say is not None:
            for note in notes_of(examples):
                say(note)
        return task.inputs(examples)

    def evaluate(self, data: Any, *, train: Any = None, progress: bool = False) -> Evaluation:
        """The metrics on labeled data, beside those of baselines fitted on the training data where they are available.

        Args:
            data: a path, an embedded name, or Python data, as `train` takes it.
            train: the data that the run was trained on. None: where its folder says that they are, if this user trained it; a
                folder from elsewhere may name any file or address, so that nothing is opened.
            progress: whether a terminal shows what is being done, on standard error.

        Raises:
            DataError: labels that the model does not know; training data that cannot be read, or are others.
        """
        from rich.console import Console

        data, train = source_of(data), source_of(train)
        task, console = self.task, Console(stderr=True, quiet=not progress)
        examples = read(type(task), data, task.settings, Reading("test", vocabulary=task.vocabulary))
        task.check(examples)
        training, note = self._training, ""
        if training is None or train is not None:
            with working(console, "reading the training data for the baselines"):
                training, note = training_of(task, self.folder, train)
        note = " ".join([*(f"{one}." for one in notes_of(examples)), note]).strip()
        return evaluated(task, self.model, training, examples, counted(task, examples, data), note, console)

    def report(self, data: Any = None, *, worst: int = 5, progress: bool = False) -> "Report":
        """An analysis of the errors, as one page: shown in a notebook, or saved by `report(...).save(path)`.

        Learning curves, confusions, metrics by class and by length, calibration, the examples that went most wrong with their
        attention, settings and environment: what of it the task has.

        Args:
            data: labeled data that are analyzed. None: the validation data of the run, if this user trained it.
            worst: of how many of the worst examples the attention is shown.
            progress: whether a terminal shows what is being done, on standard error.

        Raises:
            DataError: labels that the model does not know.
        """
        from rich.console import Console

        from heedful.report.page import Report
        from heedful.tasks.error_analysis import error_sections
        from heedful.tasks.evaluation import measured_of

        task, metrics = self.task, self.metrics
        if data is None:
            examples, note = measured_of(task, self.folder)
            count = metrics["examples"].get("test", metrics["examples"]["validation"])
            known = {name: metrics[name] for name in ("metrics", "units", "baselines", "details")}
            words = f"{metrics['note']} {note}".strip()
            evaluation = Evaluation(metrics["validation"], count, **known, note=words)
        else:
            examples = read(type(task), source_of(data), task.settings, Reading("test", vocabulary=task.vocabulary))
            evaluation = replace(self.evaluate(examples, progress=progress), data=counted(task, examples, data))
        with (
            working(Console(stderr=True, quiet=not progress), "looking at single examples"),
            enough_memory("--worst 0 needs less"),
        ):
            sections = error_sections(task, self.model, self.folder, evaluation, examples, worst)
        return Report(
            sections, f"{task.name}: {self.folder.path.name}", {"run": str(self.folder.path), "data": evaluation.data}
        )

    def inspect(self, inputs: Any = ()) -> "Report":
        """What the model attends to, a section for each input: shown in a notebook, or saved by `inspect(...).save(path)`."""
        from heedful.report.page import Report

        inputs = listed(inputs, self.task)
        for text in inputs:
            if isinstance(text, str) and not text.strip():
                raise DataError(f"an input to inspect must hold at least one character that is no blank: got {text!r}.")
        with enough_memory("a shorter input needs less"):
            sections = self.task.inspect(self.model, inputs)
        return Report(sections, f"{self.task.name}: what the model attends to")

    def save(self, folder: str | Path) -> None:
        """Copies the run folder, without its checkpoints, to a new place."""
        folder = user_path(folder)
        RunFolder(folder).check_new()
        shutil.copytree(
            self.folder.path, folder, ignore=shutil.ignore_patterns("checkpoints", ".*"), dirs_exist_ok=True
        )

    def __getstate__(self) -> dict[str, Any]:
        """The files of the run folder: weights stay safetensors."""
        files = {file.name: file.read_bytes() for file in self.folder.path.iterdir() if file.is_file()}
        kind = type(self.task)
        task = (
            reference(kind) if kind.__module__.startswith("heedful_task_") else kind
        )  # no other process has that module
        return {"task": task, "files": files, "training": self._training}

    def __setstate__(self, state: dict[str, Any]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="heedful-"))
        for name, content in state["files"].items():
            (folder / name).write_bytes(content)
        loaded = load(folder, task=state["task"])
        vars(self).update(vars(TrainedModel(loaded.task, loaded.model, loaded.folder, state["training"])))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def train(
    task: str | type[Task[Any]],
    data: Any = None,
    *,
    valid: Any = None,
    settings: Mapping[str, Any] | Sequence[str] | None = None,
    config: str | Path | None = None,
    from_: "str | Path | TrainedModel | None" = None,
    out: str | Path | None = None,
    resume: bool = False,
    time_limit: float | None = None,
    progress: bool = True,
    command: Sequence[str] = (),
) -> TrainedModel:
    """Trains a model into a new run folder.

    Args:
        task: a name that `heedful tasks` lists, `path/to/task.py:MyTask`, or a class.
        data: to train on: a path or an embedded name, as the task reads it; or Python data: a frame of pandas or polars, a
            `datasets.Dataset`, a pair of texts and labels, arrays of images and labels.
        valid: to choose the best epoch by; None: a tenth of the data, or less, is held out.
        settings: those that differ from the defaults: `{"model.layers": 4}`.
        config: a TOML file of settings, as `heedful show TASK` prints it.
        from_: a finished run of this task to go on from: its folder, or the trained model. Its settings are the defaults, its weights
            are taken where they fit, and rows of words and labels where both know them; `[transfer]` in the settings says how.
        out: the run folder, empty or not there; None: a temporary one, which goes with the model.
        resume: go on with the interrupted run in `out`, to the same numbers; where there is none, a new one begins.
        time_limit: the training ends with an epoch, the first one at least, so that it takes no more than so many seconds; the best
            epoch so far is evaluated, and `resume` goes on. None: it ends with the last epoch.
        progress: whether to print what is trained, and a line an epoch.
        command: the command of the run, for run.json.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit each other, the data, or this machine.
        RunFolderError: a run cannot be begun or resumed in `out`.
        OutOfMemoryError: the message names the settings that take less.
        Terminated: a signal (SIGTERM, SIGHUP, SIGUSR1, SIGUSR2) asked this process to end; complete epochs are saved.

    Example:
        >>> import heedful
        >>> texts = ["a fine film", "a dull film"] * 20
        >>> model = heedful.train("classify", (texts, ["good", "bad"] * 20), settings={"training.epochs": 1}, progress=False)
        >>> len(model.predict(texts[:3]))
        3
    """
    from rich.console import Console

    kind = find(task)
    if time_limit is not None and not time_limit > 0:
        raise SettingsError(f"`time_limit` must be positive: got {time_limit}.")
    end = math.inf if time_limit is None else time.monotonic() + time_limit
    base = None
    if from_ is not None:
        base = from_.folder if isinstance(from_, TrainedModel) else RunFolder(user_path(from_).absolute())
    folder = Path(tempfile.mkdtemp(prefix="heedful-")) if out is None else user_path(out).absolute()
    console = Console(quiet=not progress)
    data, valid = source_of(data), source_of(valid)
    try:
        with enough_memory(less_memory(kind)), ending_on(*TO_END, *TO_END_SOON), ExitStack() as stack:
            run = RunFolder(folder)
            trained = _train(kind, data, valid, settings, config, base, run, resume, end, console, command, stack)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(trained, shutil.rmtree, folder, ignore_errors=True)
    return trained


def _train(
    kind: type[Task[Any]],
    data: Any,
    valid: Any,
    settings: Mapping[str, Any] | Sequence[str] | None,
    config: str | Path | None,
    base_run: RunFolder | None,
    run: RunFolder,
    resume: bool,
    end: float,
    console: "Console",
    command: Sequence[str],
    stack: ExitStack,
) -> TrainedModel:
    started = time.monotonic()
    given = {"data": data} if valid is None else {"train": data, "valid": valid}
    resumed = resume and run.exists()
    if data is None and (valid is not None or not resumed):
        raise HeedfulError(
            "give --data, or --train and --valid: got " + ("neither." if valid is None else "--valid alone.")
        )
    sources = {} if data is None else given
    title = f"heedful {kind.name}: every setting of this run"
    if resumed:
        manifest = run.resumable()
        if manifest["task"] != reference(kind):
            raise RunFolderError(
                f"{run.path}: is a run of {manifest['task']}: it cannot be resumed as {reference(kind)}."
            )
        if base_run is not None and "base" not in manifest:
            raise RunFolderError(f"{run.path}: was not begun from a run: it cannot be resumed with --from.")
        chosen = settings_of(kind.Settings, config=run.config())
        done = manifest["finished"] and "stopped" not in manifest
        base = _base_again(kind, base_run, run) if settings or config or not done else None
        if settings or config:
            changed = _settings(kind, settings, config, manifest["data"], base)
            if not config_matches(write_settings(chosen, title), write_settings(changed, title)):
                raise RunFolderError(
                    f"{run.path}: was begun with other settings (config.toml): --resume takes them from there, without --config and --set."
                )
        if done:
            _say(console, f"{run.path}: this run has finished.")
            return load(run.path, task=kind)
        if not sources and IN_MEMORY in manifest["data"].values():
            raise RunFolderError(f"{run.path}: was begun with data in memory: give them again to go on.")
        if not sources and not may_read(kind, run):
            raise RunFolderError(f"{run.path}: was begun elsewhere: name its data again, {named(manifest['data'])}.")
        sources = sources or manifest["data"]
        stack.enter_context(locked(run.path))
    else:
        if run.exists():
            raise RunFolderError(
                f"{run.path}: holds a run already; --resume goes on with it, another --out begins a new one."
            )
        run.check_new()
        if resume:
            _say(console, f"{run.path}: no run was begun here; a new one begins.")
        base = None if base_run is None else base_of(base_run, kind)
        chosen = _settings(kind, settings, config, sources, base)
    # Imported here: the training library takes seconds, and a setting that is wrong is told before.
    from heedful.training.fit import check_training, fit, seed_everything

    following = [name for name in automatic(chosen) if name != "training.batch_size"]  # which is tried, not chosen
    if hasattr(chosen, "training"):
        check_training(chosen.training)
    parts, ours = prepare(kind, chosen, sources, base and base.task)
    chosen, values = ours.settings, values_of(ours.settings)
    training_settings: Any = getattr(chosen, "training", None)
    if following and training_settings is not None:
        check_training(training_settings)
    if training_settings is not None and training_settings.batch_size == "auto":
        with working(console, "trying batch sizes"):
            chosen, tried = with_batch_size(ours, parts.training, run, base)
        _say(console, tried)
        ours, training_settings = kind(chosen, ours.vocabulary), chosen.training
    examples = {"train": parts.training, "valid": parts.validation} | (
        {} if parts.test is None else {"test": parts.test}
    )
    checksums = {name: checksum(part) for name, part in examples.items()}
    seed = 0 if training_settings is None else training_settings.seed
    seed_everything(seed)
    model = built(ours)
    started_with = ours.begin(model, base and base.task)
    with working(console, "preparing the model"):
        started_with = [*started_with, *ours.prepare(model, parts.training, parts.validation)]
    taken = None if base is None else transfer(base, ours, model)
    batches = ours.batches(parts.training, training=True) if parameters_of(model) else None
    located_data = {name: located(kind, source) for name, source in sources.items()}
    if resumed:
        run.resumable(checksums)
        run.reopen()
        run.move_sources(located_data, base and base.named())
    else:
        stack.enter_context(locked(run.path))
        run.begin(
            task=reference(kind),
            command=list(command) or ["heedful.train", kind.name],
            seed=seed,
            data=located_data,
            data_checksums=checksums,
            config=write_settings(chosen, title),
            base=base and base.named(),
            automatic=following,
        )
    decisions = ", ".join(f"{name}={values[name]}" for name in following)
    notes = [*notes_of(*examples.values()), *started_with, *([batches.note] if batches and batches.note else ())]
    _say(
        console,
        f"{len(parts.training):,} {kind.example}s to train on, {ours.describe()}; validation: {parts.held_out}",
        f"{type(model).__name__}, {parameters_of(model):,} parameters",
        *([f"by the size of the data: {decisions}"] if following else ()),
        *(taken.lines() if taken is not None else ()),
        *(f"note: {note}" for note in notes),
    )
    weights, stopped = dict(model.state_dict()), None
    if batches is not None:
        weights, epoch = fit(
            ours, model, training=batches, validation=ours.batches(parts.validation, training=False),
            settings=training_settings, folder=run, console=console, unit=kind.unit, rates=rates_of(ours, model, taken),
            end=end, hyperparameters={"task": kind.name, **dict(flat(chosen.model_dump()))}, resume=resumed,
        )  # fmt: skip
        model.load_state_dict(weights)
        stopped = {"epoch": epoch, "epochs": training_settings.epochs} if epoch else None
    if calibration := ours.calibrate(model.eval(), parts.validation):
        ours = kind(chosen, {**ours.vocabulary, "calibration": calibration})
    trained = TrainedModel(ours, model, run, parts.training)
    measured = parts.validation if parts.test is None else parts.test
    if not console.is_terminal:  # which would show it while it goes on
        _say(console, f"evaluating on {len(measured):,} {kind.example}s, and fitting the baselines")
    found = evaluated(ours, trained.model, parts.training, measured, parts.held_out, console=console).to_dict()
    if stopped is not None:
        words = f"The time limit stopped the training after epoch {epoch} of {training_settings.epochs}; --resume goes on with it."
        found["note"] = f"{found['note']} {words}".strip()
    about = {
        "task": reference(kind),
        "validation": found.pop("data"),
        "examples": {"validation" if name == "valid" else name: len(part) for name, part in examples.items()},
        "parameters": parameters_of(model),
    }
    fraction = getattr(getattr(batches, "order", None), "non_padding_fraction", None)
    del found["examples"]
    about |= {} if fraction is None else {"non_padding_fraction": fraction()}
    about |= {} if taken is None else {"transfer": taken.to_dict()}
    run.finish(weights, dict(ours.vocabulary), about | found | {"seconds": time.monotonic() - started}, stopped)
    return trained


def _settings(
    kind: type[Task[Any]], settings: Any, config: str | Path | None, sources: Mapping[str, Any], base: Base | None
) -> Any:
    """The settings of a training: those that are given, over those of the run that it goes on from."""
    if base is not None:
        return settings_of(kind.Settings, settings or (), config, base=base.settings())
    chosen: Any = settings_of(kind.Settings, settings or (), config, preset(kind, sources))
    given = getattr(chosen, "transfer", TransferSettings())
    for name, value in given:
        if value != getattr(TransferSettings(), name):
            raise SettingsError(
                f"`transfer.{name}`: is for a training that goes on from a run, --from: got {value!r} without one."
            )
    return chosen


def _base_again(kind: type[Task[Any]], again: RunFolder | None, run: RunFolder) -> Base | None:
    """The run that an interrupted one goes on from, which may have moved."""
    known = run.manifest().get("base")
    if known is None:
        return None
    if again is None and not run.made_here():
        raise RunFolderError(
            f"{run.path}: was begun elsewhere: name again what it goes on from, --from {known['run']}."
        )
    base = base_of(again or RunFolder(Path(known["run"])), kind)
    if base.named()["weights"] != known["weights"]:
        raise RunFolderError(f"{run.path}: was begun from another run than {base.run.path}: the weights differ.")
    return base


def load(folder: str | Path, *, task: str | type[Task[Any]] | None = None) -> TrainedModel:
    """Loads a finished run folder; its files are checked, and nothing in it is unpickled or run.

    Args:
        folder: as `heedful train ... --out` wrote it.
        task: of a run whose task is a class in a file: that class, or `path/to/task.py:MyTask`. It is never taken from the folder.

    Raises:
        RunFolderError: a file is missing, changed, or of another version.
    """
    run = RunFolder(user_path(folder))
    return TrainedModel(*task_and_model(run, task), run)


def _say(console: "Console", *lines: str) -> None:
    console.out("\n".join(map(visible, lines)), highlight=False)


def parameters_of(model: torch.nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in model.parameters())
