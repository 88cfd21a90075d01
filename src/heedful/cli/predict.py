"""`heedful predict RUN INPUT ...`."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from heedful._errors import HeedfulError
from heedful._files import user_path
from heedful._terminal import visible
from heedful.cli._formats import Format, printed
from heedful.cli._input import chunks, standard_input
from heedful.cli._paths import UserPath

_VALUED = ("--data", "--format", "--out", "--task")


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
    options = NoOptions if kind is None else kind.Options
    run_command("heedful predict", _command("the task" if kind is None else kind.name, options), options, words)


def _command(name: str, section: Any) -> Any:
    from heedful.cli._options import parameter_of

    described = parameter_of(section, f"Options of {name}")

    def predict(
        run_folder: UserPath,
        /,
        *inputs: str,
        data: str | None = None,
        format: Format = "text",
        out: UserPath | None = None,
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
            format.
        out
            A folder in which each prediction is written as a file, too, where the task's predictions are pictures.
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
        if data is None:
            items = inputs_of(trained.task.input, inputs, stream)
        elif inputs:
            raise HeedfulError(f"give inputs by position or --data, not both: got {inputs[0]!r} and --data {data}.")
        else:
            items = iter(trained.read_inputs(data, lambda note: print(f"note: {visible(note)}", file=sys.stderr)))
        chosen = {key: getattr(options, key) for key in options.model_fields_set}
        folder = None if out is None else PredictionFolder(out, trained.task, trained.options(chosen))
        predictions = trained.stream(chunks(items, stream), **chosen)
        for line in printed(predictions if folder is None else map(folder.write, predictions), format):
            print(line, flush=True)

    return predict
