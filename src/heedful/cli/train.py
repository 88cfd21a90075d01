"""`heedful train TASK`."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from heedful._errors import HeedfulError, RunFolderError
from heedful.tasks.catalog import task


def train(
    task_name: str,
    /,
    *,
    out: Path,
    data: str | None = None,
    train: str | None = None,
    valid: str | None = None,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    masked: Annotated[bool, Parameter(negative="")] = False,
    resume: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a model into a new run folder.

    Parameters
    ----------
    task_name
        A name that `heedful tasks` lists.
    out
        The run folder: settings, weights, measures, log, checkpoints.
    data
        The data, in a form that `heedful tasks` names; a tenth or less is held out to choose the best epoch. Or give --train and --valid.
    train
        The data to train on.
    valid
        The data that is held out.
    config
        A TOML file of settings, as `heedful show TASK` prints it.
    set_
        Change a setting: model.layers=4. May be given several times.
    masked
        A language model that fills gaps: the same as --set model.masked=true.
    resume
        Go on with an interrupted run: everything is taken from its folder, and comes out as if it had not been interrupted.
        Where none was begun, a new one begins.
    """
    entry = task(task_name)
    sources = {
        name: source for name, source in (("data", data), ("train", train), ("valid", valid)) if source is not None
    }
    if sources and set(sources) not in ({"data"}, {"train", "valid"}):
        raise HeedfulError(
            f"give either --data, or --train and --valid: got {' and '.join('--' + name for name in sources)}."
        )
    from rich.console import Console

    from heedful.training.run_folder import RunFolder, config_matches
    from heedful.training.settings import read_settings, write_settings

    set_ = [*(set_ or ()), *(["model.masked=true"] if masked else [])]
    module, run, console = entry.load(), RunFolder(out), Console()
    title = f"heedful {task_name}: every setting of this run"
    changed = config is not None or bool(set_)

    def asked(sources: dict[str, str]) -> list[str]:
        """The settings in words; those that fit embedded data come first, so that any other word outweighs them."""
        preset = entry.presets.get(sources.get("data", ""), ()) if config is None else ()
        return [*preset, *set_]

    if resume and run.begun():
        about = run.resumable()
        if about["task"] != task_name:
            raise RunFolderError(f"{out}: is a run of {about['task']}: it cannot be resumed as {task_name}.")
        if sources and sources != about["data"]:
            raise RunFolderError(
                f"{out}: was begun with {_options(about['data'])}: it cannot be resumed with {_options(sources)}."
            )
        settings = read_settings(module.Settings, run.config())
        if changed and not config_matches(
            write_settings(read_settings(module.Settings, config, asked(about["data"])), title),
            write_settings(settings, title),
        ):
            raise RunFolderError(
                f"{out}: was begun with other settings (config.toml): --resume takes them from there, without --config and --set."
            )
        if about.get("finished"):
            run.verified()
            print(f"{out}: this run has finished.")
            _print_measures(run.metrics(), out)
            return
        prepared = module.prepare(settings, about["data"], console)
        run.resumable(prepared.checksum())
    else:
        if not sources:
            raise HeedfulError("give --data, or --train and --valid: got neither.")
        if run.begun():
            raise RunFolderError(
                f"{out}: holds a run already; --resume goes on with it, another --out begins a new one."
            )
        run.check_new()
        if resume:
            print(f"{out}: no run was begun here; a new one begins.")
        settings = read_settings(module.Settings, config, asked(sources))
        prepared = module.prepare(settings, sources, console)
        command = ["heedful", *sys.argv[1:]] if sys.argv[1:2] == ["train"] else ["heedful", "train", task_name]
        run.begin(
            task=task_name,
            command=command,
            seed=settings.training.seed,
            data=sources,
            data_checksum=prepared.checksum(),
            config=write_settings(settings, title),
        )
    _print_measures(module.train(run, prepared, console, resume=resume), out)


def _options(sources: dict[str, str]) -> str:
    return " ".join(f"--{name} {source}" for name, source in sources.items())


def _print_measures(metrics: dict[str, Any], out: Path) -> None:
    from heedful.cli._tables import print_measures

    print_measures(metrics, f"on {metrics['held_out']}")
    print(f"run folder: {out}")
