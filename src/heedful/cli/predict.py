"""`heedful predict RUN INPUT ...`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Parameter

from heedful._errors import HeedfulError
from heedful._files import user_path
from heedful._terminal import visible
from heedful.cli._formats import Format, printed
from heedful.cli._input import chunks, standard_input
from heedful.cli._paths import UserPath

_VALUED = ("--data", "--format", "--out", "--plot", "--task")


def predict(*words: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
    """Predict with a trained model; `heedful predict RUN --help` shows the options of that run's task, too."""
    from heedful.cli._options import read_words, run_command
    from heedful.training.settings import NoOptions

    pairs = list(read_words(words, _VALUED))
    folders = [word for option, word in pairs if not option]
    folder = next((word for word in folders if (Path(word) / "run.json").exists()), folders[0] if folders else None)
    kind = None
    if folder is not None:
        from heedful.tasks.loading import task_of
        from heedful.training.run_folder import RunFolder

        kind = task_of(RunFolder(user_path(folder)), dict(pairs).get("--task"))
    options, formats = (NoOptions, ()) if kind is None else (kind.Options, tuple(kind.formats))
    command = _command("the task" if kind is None else kind.name, options, formats)
    run_command("heedful predict", command, options, words)


def _command(name: str, section: Any, formats: tuple[str, ...]) -> Any:
    from heedful.cli._options import parameter_of

    described = parameter_of(section, f"Options of {name}")
    formats_known: Any = Literal[(*get_args(Format), *formats)]

    def predict(
        run_folder: UserPath,
        /,
        *inputs: str,
        data: str | None = None,
        format: formats_known = "text",
        out: UserPath | None = None,
        plot: UserPath | None = None,
        task: str | None = None,
        options: Annotated[section, described] = section(),
    ) -> None:
        """Predict with a trained model: a line for each input, in their order, as soon as it is predicted.

        Parameters
        ----------
        run_folder
            As `heedful train --out` wrote it.
        inputs
            As the task has them: texts; images as files, folders or archives. Without any, or for a `-`, standard input: a
            text or a path a line, or one image's bytes.
        data
            A file of inputs in the task's data format, labeled or not; `-` is standard input.
        format
            text: one line to read; label: the answer alone, a line for each; jsonl: a JSON object a line; data: the task's data
            format. Some tasks have further ones.
        out
            A folder in which each prediction is written as a file, too, where the task's predictions are pictures or tables.
        plot
            A file, .png, .svg or .pdf, into which the predictions are drawn, where the task draws them.
        task
            The task of a run whose task is a class in a file: path/to/task.py:MyTask.
        """
        from heedful.data._limits import STREAMS
        from heedful.data.inputs import inputs_of
        from heedful.tasks.prediction_files import PredictionFolder
        from heedful.tasks.run import load

        trained = load(run_folder, task=task)
        inputs = () if len(inputs) == 1 and inputs[0] in STREAMS else inputs
        stream = standard_input() if data is None and not inputs else None
        endless = getattr(options, "stream", False)
        if endless and (inputs or data is not None):
            raise HeedfulError("--stream reads standard input: give neither inputs nor --data.")
        if endless:
            items: Iterator[Any] = iter(())
        elif data is None:
            items = inputs_of(trained.task.input, inputs, stream)
        elif inputs:
            raise HeedfulError(f"give inputs by position or --data, not both: got {inputs[0]!r} and --data {data}.")
        else:
            items = iter(trained.read_inputs(data, lambda note: print(f"note: {visible(note)}", file=sys.stderr)))
        chosen = {key: getattr(options, key) for key in options.model_fields_set}
        folder = None if out is None else PredictionFolder(out, trained.task, trained.options(chosen))
        predictions = trained.listen(stream, **chosen) if endless else trained.stream(chunks(items, stream), **chosen)
        predictions = predictions if folder is None else map(folder.write, predictions)
        if plot is not None:
            predictions = iter(drawn := list(predictions))
            trained.task.plot(drawn, str(plot))
        lines = trained.task.formats[format](predictions) if format in formats else printed(predictions, format)
        for line in lines:
            print(line, flush=True)

    return predict
