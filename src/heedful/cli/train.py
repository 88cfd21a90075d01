"""`heedful train TASK`."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, UnknownOptionError

from heedful._errors import HeedfulError, SettingsError
from heedful._terminal import visible
from heedful.cli._output import LastingOutput
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.tasks.contract import Task

_VALUED = ("--out", "--data", "--train", "--valid", "--config", "--set", "--from", "--time-limit")


def train(*words: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
    """Train a model into a new run folder; `heedful train TASK --help` shows the task's own flags, too."""
    from pydantic import Field, create_model

    from heedful.cli._options import read_words, run_command
    from heedful.tasks.catalog import find
    from heedful.training.setting_names import named_elsewhere
    from heedful.training.settings import Section, describe_settings

    name = next((word for option, word in read_words(words, _VALUED) if not option), None)
    kind = find(name) if name is not None else None
    flags: dict[str, Any] = {
        flag: (bool, Field(False, description=shortcut.help))
        for flag, shortcut in (kind.shortcuts if kind else {}).items()
    }
    section = create_model("Flags", __base__=Section, **flags)
    try:
        run_command("heedful train", _command(kind, section, words), section, words)
    except UnknownOptionError as error:
        option = (error.token.keyword or error.token.value).partition("=")[0]
        settings = [] if kind is None else [name for name, *_ in describe_settings(kind.Settings)]
        if (setting := named_elsewhere(option.lstrip("-"), settings)) is None:
            raise
        raise SettingsError(
            f"unknown option {option}: settings are changed by --set, as in --set {setting}=..."
        ) from None


def _command(kind: "type[Task[Any]] | None", flags: Any, words: Sequence[str]) -> Any:
    from heedful.cli._options import parameter_of

    described = parameter_of(flags, f"Flags of {kind.name}" if kind else "Flags of the task")

    def train(
        task_name: str,
        /,
        *,
        out: UserPath,
        data: str | None = None,
        train: str | None = None,
        valid: str | None = None,
        config: UserPath | None = None,
        from_: Annotated[UserPath | None, Parameter(name="--from")] = None,
        set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
        resume: bool = False,
        time_limit: str | None = None,
        flags: Annotated[flags, described] = flags(),
    ) -> None:
        """Train a model into a new run folder.

        Parameters
        ----------
        task_name
            A name that `heedful tasks` lists, or path/to/task.py:MyTask.
        out
            The run folder: settings, weights, metrics, log, checkpoints.
        data
            The data, in a format that `heedful tasks` lists; a tenth or less is held out for validation, to choose the best
            epoch. Or give --train and --valid.
        train
            The training data.
        valid
            The validation data.
        config
            A TOML file of settings, as `heedful show TASK` prints it.
        from_
            A finished run of this task to go on from, with its settings unless they are changed: weights are taken where they fit,
            those of words and labels where both know them. What is taken is printed.
        set_
            Change a setting: model.layers=4. May be given several times.
        resume
            Go on with an interrupted run, to the same numbers; settings and data are taken from its folder. Where there is no
            run, a new one begins.
        time_limit
            Train no longer than this time, such as 30m or 2h: the training ends with an epoch, the first one at least, the best one so
            far is evaluated, and --resume goes on later.
        """
        from heedful.cli._options import seconds_of
        from heedful.cli._tables import print_metrics
        from heedful.tasks import run

        assert kind is not None
        sources = {"data": data, "train": train, "valid": valid}
        named = [f"--{name}" for name, source in sources.items() if source is not None]
        if named not in ([], ["--data"], ["--train", "--valid"]):
            raise HeedfulError(f"give either --data, or --train and --valid: got {' and '.join(named)}.")
        shortcuts = [kind.shortcuts[name].setting for name, chosen in flags if chosen]
        command = ["heedful", *sys.argv[1:]] if sys.argv[1:2] == ["train"] else ["heedful", "train", *words]
        lasting: Any = LastingOutput(sys.stdout, "the training")
        with redirect_stdout(lasting):
            trained = run.train(
                kind, train if data is None else data, valid=valid, settings=[*(set_ or ()), *shortcuts], config=config, from_=from_,
                out=out, resume=resume, time_limit=seconds_of(time_limit), command=command,
            )  # fmt: skip
            metrics = trained.metrics
            print_metrics(metrics, f"on {metrics['validation']}")
            print(visible(f"run folder: {out}"), flush=True)

    return train
